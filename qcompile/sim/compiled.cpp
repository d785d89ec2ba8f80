// Compiled forms of the kernels of kernels.py that take the time. compiled.py compiles this file, loads it and calls it;
// every function gives the numbers of the numpy kernel; a zero may have another sign.
//
// Numbers are integers in float or double, and every sum of products is exact in its type: neither the order of a sum
// nor a fused multiply-add changes a result. Arrays are contiguous, vectors first. No function keeps anything: several
// threads may be in it at once.

#include <cstdint>
#include <cstdlib>
#include <cstring>

using Size = std::int64_t;

namespace {

Size least(Size a, Size b) { return a < b ? a : b; }
Size most(Size a, Size b) { return a > b ? a : b; }

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T>
struct Lanes {
    typedef T vector __attribute__((vector_size(BYTES)));
    typedef T unaligned __attribute__((vector_size(BYTES), aligned(sizeof(T)), may_alias));
    static constexpr int count = BYTES / sizeof(T);
};

// --- functions of one number, with a row of parameters each

enum Kind : Size { SCALE_ROUND, COUNT_THRESHOLDS, SEARCH_THRESHOLDS, LOOKUP };

struct Map {
    Size kind;
    Size mode;             // scale_round: 0 no rounding, 1 half to even, 2 floor; else cuts or values in a row
    const Size* index;     // row of the tables of search_thresholds and lookup; null: all take the first
    const double* scale;   // count_thresholds: step; search_thresholds, lookup: values
    const double* offset;  // count_thresholds: start; lookup: first
    const double* lo;      // count_thresholds, search_thresholds: cuts
    const double* hi;
};

constexpr Size STEP = 8;    // numbers at a time: loops of a known length, which any compiler makes vectors of
constexpr Size SPAN = 256;  // of numbers that are brought to another type and back

template <int MODE, class C>
void scale_round(C* v, Size n, C scale, C offset, C lo, C hi) {
    for (Size first = 0; first < n; first += STEP, v += STEP)
        for (Size i = 0; i < STEP; i++) {
            C x = v[i] * scale + offset;
            x = MODE == 1 ? C(sizeof(C) == 4 ? __builtin_rintf(x) : __builtin_rint(x)) : MODE == 2 ? C(sizeof(C) == 4 ? __builtin_floorf(x) : __builtin_floor(x)) : x;
            x = x > lo ? x : lo;
            v[i] = x < hi ? x : hi;
        }
}

template <class C>
void scale_round(const Map& m, Size row, C* v, Size n) {
    const C scale = C(m.scale[row]), offset = C(m.offset[row]), lo = C(m.lo[row]), hi = C(m.hi[row]);
    if (m.mode == 1) scale_round<1>(v, n, scale, offset, lo, hi);
    else if (m.mode == 2) scale_round<2>(v, n, scale, offset, lo, hi);
    else scale_round<0>(v, n, scale, offset, lo, hi);
}

template <class C>
void count_thresholds(const Map& m, Size row, C* v, Size n) {
    using Vector = typename Lanes<C>::vector;
    using Unaligned = typename Lanes<C>::unaligned;
    const C step = C(m.scale[row]), start = C(m.offset[row]);
    const double* const cuts = m.lo + row * m.mode;
    for (C* const end = v + n; v < end; v += 4 * Lanes<C>::count) {
        auto* const p = reinterpret_cast<Unaligned*>(v);
        const Vector x[4] = {p[0], p[1], p[2], p[3]};
        decltype(x[0] >= x[0]) below[4] = {};  // minus the number of cuts
        for (Size k = 0; k < m.mode; k++) {
            const C cut = C(cuts[k]);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) below[i] += x[i] >= cut;
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) p[i] = __builtin_convertvector(-below[i], Vector) * step + start;
    }
}

template <class C>
void search_thresholds(const Map& m, Size row, C* v, Size n) {
    const Size own = m.index ? m.index[row] : 0;
    const double *const cuts = m.lo + own * m.mode, *const values = m.scale + own * (m.mode + 1);
    for (Size i = 0; i < n; i++) {
        const double x = v[i];
        const double* from = cuts;
        Size left = m.mode;
        for (; left > 1; left -= left / 2) from += from[left / 2 - 1] <= x ? left / 2 : 0;
        if (left && *from <= x) from++;
        v[i] = C(values[from - cuts]);
    }
}

template <class C>
void lookup(const Map& m, Size row, C* v, Size n) {
    const double* const values = m.scale + (m.index ? m.index[row] : 0) * m.mode;
    const double first = m.offset[0], last = double(m.mode - 1);
    for (Size i = 0; i < n; i++) {
        double at = v[i] - first;
        at = at > 0 ? at : 0;
        v[i] = C(values[Size(at < last ? at : last)]);
    }
}

// Functions one behind the other, of a sum of coefficient * term where there are terms.
struct Maps {
    Size count;
    const Map* each;
    Size terms;
    const double* coefficients;  // [rows, terms]
};

// n numbers of one row, in place, in a span of SPAN of which all may change.
template <class C>
__attribute__((noinline)) void mapped(const Maps& maps, Size row, C* v, Size n) {
    for (const Map* m = maps.each; m < maps.each + maps.count; m++) {
        if (m->kind == SCALE_ROUND) scale_round(*m, row, v, n);
        else if (m->kind == COUNT_THRESHOLDS) count_thresholds(*m, row, v, n);
        else if (m->kind == SEARCH_THRESHOLDS) search_thresholds(*m, row, v, n);
        else lookup(*m, row, v, n);
    }
}

// The same functions of numbers that have a row each, from `row` on.
template <class F>
void each(Size n, const F& f) {
    Size first = 0;
    for (; first + STEP <= n; first += STEP)
        for (Size i = 0; i < STEP; i++) f(first + i);
    for (; first < n; first++) f(first);
}

template <int MODE, class C>
void scale_round_each(const Map& m, Size row, C* v, Size n) {
    const double *const scale = m.scale + row, *const offset = m.offset + row, *const lo = m.lo + row, *const hi = m.hi + row;
    each(n, [=](Size i) {
        C x = v[i] * C(scale[i]) + C(offset[i]);
        x = MODE == 1 ? C(sizeof(C) == 4 ? __builtin_rintf(x) : __builtin_rint(x)) : MODE == 2 ? C(sizeof(C) == 4 ? __builtin_floorf(x) : __builtin_floor(x)) : x;
        x = x > C(lo[i]) ? x : C(lo[i]);
        v[i] = x < C(hi[i]) ? x : C(hi[i]);
    });
}

template <class C>
void count_thresholds_each(const Map& m, Size row, C* v, Size n) {
    const double *const step = m.scale + row, *const start = m.offset + row, *const cuts = m.lo + row * m.mode;
    C found[SPAN] = {};
    for (Size k = 0; k < m.mode; k++)
        if (m.mode == 1) each(n, [&, v](Size i) { found[i] = v[i] >= C(cuts[i]) ? C(1) : C(0); });
        else each(n, [&, v](Size i) { found[i] += v[i] >= C(cuts[i * m.mode + k]) ? C(1) : C(0); });
    each(n, [&, v](Size i) { v[i] = found[i] * C(step[i]) + C(start[i]); });
}

template <class C>
__attribute__((noinline)) void mapped_each(const Maps& maps, Size row, C* v, Size n) {
    for (const Map* m = maps.each; m < maps.each + maps.count; m++) {
        if (m->kind == SCALE_ROUND && m->mode == 1) scale_round_each<1>(*m, row, v, n);
        else if (m->kind == SCALE_ROUND && m->mode == 2) scale_round_each<2>(*m, row, v, n);
        else if (m->kind == SCALE_ROUND) scale_round_each<0>(*m, row, v, n);
        else if (m->kind == COUNT_THRESHOLDS) count_thresholds_each(*m, row, v, n);
        else if (m->kind == SEARCH_THRESHOLDS) for (Size i = 0; i < n; i++) search_thresholds(*m, row + i, v + i, 1);
        else for (Size i = 0; i < n; i++) lookup(*m, row + i, v + i, 1);
    }
}

template <class I, class O>
void convert(const I* a, O* y, Size n) {
    for (; n >= STEP; n -= STEP, a += STEP, y += STEP)
        for (Size i = 0; i < STEP; i++) y[i] = O(a[i]);
    for (Size i = 0; i < n; i++) y[i] = O(a[i]);
}

template <class I, class C>
void add(const I* a, C coefficient, C* y, Size n) {
    for (; n >= STEP; n -= STEP, a += STEP, y += STEP)
        for (Size i = 0; i < STEP; i++) y[i] += C(a[i]) * coefficient;
    for (Size i = 0; i < n; i++) y[i] += C(a[i]) * coefficient;
}

template <class I, class C, class O>
void map_each(const Maps& m, const I* const* a, O* y, Size outer, Size rows) {
    C v[SPAN] = {};
    for (Size o = 0, at = 0; o < outer; o++)
        for (Size first = 0, n; first < rows; first += n, at += n) {
            n = least(rows - first, SPAN);
            if (!m.terms) convert(a[0] + at, v, n);
            else for (Size i = 0; i < n; i++) v[i] = 0;
            for (Size t = 0; t < m.terms; t++) {
                const I* const own = a[t] + at;
                const double* const coefficients = m.coefficients + first * m.terms + t;
                each(n, [&, own, coefficients](Size i) { v[i] += C(own[i]) * C(coefficients[i * m.terms]); });
            }
            mapped_each(m, first, v, n);
            convert(v, y + at, n);
        }
}

// a: as many arrays [outer, rows, inner] as there are terms, or one.
template <class I, class C, class O>
void map(const Maps& m, const I* const* a, O* y, Size outer, Size rows, Size inner) {
    if (rows > 1 && inner == 1) return map_each<I, C, O>(m, a, y, outer, rows);
    C v[SPAN] = {};
    for (Size o = 0, at = 0; o < outer * rows; o++)
        for (Size first = 0; first < inner; first += SPAN) {
            const Size n = least(inner - first, SPAN);
            if (!m.terms) convert(a[0] + at, v, n);
            else for (Size i = 0; i < n; i++) v[i] = 0;
            for (Size t = 0; t < m.terms; t++) add(a[t] + at, C(m.coefficients[o % rows * m.terms + t]), v, n);
            mapped(m, o % rows, v, n);
            convert(v, y + at, n);
            at += n;
        }
}

// Floats to integers: clamp(round(x * scale + offset), ties to even). What it says of them all: 0: right; 1: there are
// others than numbers; 2: one comes so near a tie that double does not tell, `slack` being the relative error.
template <class I>
int quantize(const Map& m, const I* x, float* y, Size outer, Size rows, Size inner, double lo, double hi, double slack) {
    double doubt[STEP], odd[STEP] = {};
    for (double& d : doubt) d = -1;
    for (Size o = 0; o < outer * rows; o++)
        for (Size first = 0; first < inner; first += STEP) {
            const double scale = m.scale[o % rows], offset = m.offset[o % rows], size = offset < 0 ? -offset : offset;
            const Size n = least(inner - first, STEP);
            double v[STEP] = {};
            convert(x, v, n);
            for (Size i = 0; i < STEP; i++) {
                odd[i] += v[i] - v[i];
                const double product = v[i] * scale, sum = product + offset, whole = __builtin_rint(sum);
                const double near = __builtin_fabs(__builtin_fabs(sum - whole) - 0.5);
                const double margin = (__builtin_fabs(product) + size) * slack - near;
                doubt[i] = margin > doubt[i] ? margin : doubt[i];
                const double held = whole > lo ? whole : lo;
                v[i] = held < hi ? held : hi;
            }
            convert(v, y, n);
            x += n, y += n;
        }
    bool other = false, close = false;
    for (Size i = 0; i < STEP; i++) other |= odd[i] != 0, close |= doubt[i] >= 0;
    return other ? 1 : close ? 2 : 0;
}

// --- convolutions

// Windows over planes of height x width numbers with a border of `fill`.
struct Window {
    Size images, groups, depth, outs;  // depth: channels that a group reads; outs: channels that it makes
    Size rows;                         // of sums that are made at once: 1 or 4; weights are [group, stack, term, row]
    Size height, width, top, left, bottom, right;
    Size kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x;
    Size parts;        // of the products of a sum, each exact in their own type
    const Size* ends;  // of the parts
    double fill;
    Size sum, map, result;  // types of a sum of parts, of what follows it, of the result: 0 float, 1 double
};

// How the numbers of some images lie while they are multiplied: [channel][phase][image][row][column], so that from one
// place of a window to another is the same distance for all windows, and windows beside each other read numbers beside
// each other. There is a phase for every place of a window modulo the strides, and surplus numbers where a row ends; or,
// where those would be many, one for every place (im2col). Vectors of windows follow one another over all of that, or
// begin with every row of windows, whichever makes fewer.
struct Layout {
    Size high, wide;                     // windows of an image
    bool spare;                          // a phase for every place, of the windows' own size
    Size in_row;                         // vectors of a row of windows that begin with it; 0: they do not
    Size rows, columns, plane;           // of one phase of an image
    Size phases_y, phases_x;             // that any place has
    Size images, phase, channel, reach;  // images at once; distances; numbers behind the last channel

    Layout(const Window& g, Size lanes, Size tile) {
        const Size full_y = g.height + g.top + g.bottom, full_x = g.width + g.left + g.right;
        high = (full_y - g.dilation_y * (g.kernel_y - 1) - 1) / g.stride_y + 1;
        wide = (full_x - g.dilation_x * (g.kernel_x - 1) - 1) / g.stride_x + 1;
        rows = (full_y + g.stride_y - 1) / g.stride_y, columns = (full_x + g.stride_x - 1) / g.stride_x;
        in_row = (wide + lanes - 1) / lanes;
        spare = g.outs >= 64 && 2 * least(rows * columns, high * in_row * lanes) > 3 * high * wide;  // else the copies cost more
        if (spare) rows = high, columns = wide;
        plane = rows * columns;
        if (spare || plane <= high * in_row * lanes) in_row = 0;
        phases_y = spare ? g.kernel_y : least(g.stride_y, g.dilation_y * (g.kernel_y - 1) + 1);
        phases_x = spare ? g.kernel_x : least(g.stride_x, g.dilation_x * (g.kernel_x - 1) + 1);
        const Size image = plane * phases_y * phases_x * g.depth;
        images = most(1, least(g.images, least(2048 / plane, 65536 / image)));  // they stay in the cache
        phase = images * plane, channel = phases_y * phases_x * phase;
        reach = channel + plane + tile;
    }

    // Windows of some images, with those that fill up vectors.
    Size span(Size count, Size lanes) const { return count * (in_row ? high * in_row * lanes : plane); }

    // Where a vector of windows begins.
    Size base(Size vector, Size lanes) const {
        if (!in_row) return vector * lanes;
        const Size row = vector / in_row;
        return row / high * plane + row % high * columns + vector % in_row * lanes;
    }

    // Distance of a place of the window.
    Size place(const Window& g, Size i, Size j) const {
        if (spare) return (i * phases_x + j) * phase;
        const Size y = i * g.dilation_y, x = j * g.dilation_x;
        return (y % g.stride_y * phases_x + x % g.stride_x) * phase + y / g.stride_y * columns + x / g.stride_x;
    }
};

// Windows whose results lie beside each other: `count` from the window `at` of a run on, to the number `to`.
struct Piece {
    Size at, count, to;
};

// The pieces of the run of windows [p, end) in vectors that begin with every row.
Piece* pieces_of_rows(const Layout& l, Size lanes, Size p, Size end, Size outs, Piece* out) {
    Piece* const first = out;
    for (Size q = p; q < end; q += lanes) {
        const Size row = q / lanes / l.in_row, column = q / lanes % l.in_row * lanes;
        const Piece own = {q - p, least(lanes, l.wide - column), (row / l.high * outs * l.high + row % l.high) * l.wide + column};
        const bool joined = out > first && out[-1].at + out[-1].count == own.at && out[-1].to + out[-1].count == own.to;
        if (joined) out[-1].count += own.count;
        else *out++ = own;
    }
    return out;
}

// The pieces of the run of windows [p, end); `outs`: channels of the result.
Piece* pieces_of(const Layout& l, Size lanes, Size p, Size end, Size outs, Piece* out) {
    if (l.in_row) return pieces_of_rows(l, lanes, p, end, outs, out);
    for (Size q = p; q < end;) {
        const Size n = q / l.plane, r = q % l.plane / l.columns, c = q % l.columns;
        if (r >= l.high || c >= l.wide) {
            q += c >= l.wide ? l.columns - c : l.plane - q % l.plane;
            continue;
        }
        const Size room = l.wide == l.columns ? l.high * l.wide - r * l.wide - c : l.wide - c;
        const Size count = least(room, end - q);
        *out++ = {q - p, count, (n * outs * l.high + r) * l.wide + c};
        q += count;
    }
    return out;
}

// Rows of a plane of numbers that go to one of its phases: phase (i, j) has the numbers (i + y * stride_y, j + x * stride_x)
// of the bordered plane, with i and j times the dilation where there is one for every place.
struct Copy {
    Size from, to, rows, count;

    Copy(const Window& g, const Layout& l, Size i, Size j) {
        const Size gap_y = l.spare ? g.dilation_y : 1, gap_x = l.spare ? g.dilation_x : 1;
        const auto within = [](Size at, Size n, Size stride) { return at < n ? (n - at + stride - 1) / stride : 0; };
        const Size above = i * gap_y - g.top, left = j * gap_x - g.left;  // of the plane, for the first of the phase
        const Size y0 = above < 0 ? within(above, 0, g.stride_y) : 0, y1 = least(l.rows, within(above, g.height, g.stride_y));
        const Size x0 = left < 0 ? within(left, 0, g.stride_x) : 0, x1 = least(l.columns, within(left, g.width, g.stride_x));
        from = (above + y0 * g.stride_y) * g.width + left + x0 * g.stride_x;
        to = (i * l.phases_x + j) * l.phase + y0 * l.columns + x0;
        rows = most(0, y1 - y0), count = most(0, x1 - x0);
    }

    template <class T>
    void made(const Window& g, const Layout& l, const T* a, T* x) const {
        a += from, x += to;
        for (Size y = 0; y < rows; y++, a += g.stride_y * g.width, x += l.columns) {
            if (g.stride_x == 1) convert(a, x, count);
            else for (Size i = 0; i < count; i++) x[i] = a[i * g.stride_x];
        }
    }
};

// Sums of products of ROWS rows of weights [count][ROWS] with VECTORS vectors of windows, which begin at `bases`, to rows
// that are `stride` apart. Unrolled, so that they stay in registers.
template <class T, int ROWS, int VECTORS>
void products(const T* x, const Size* bases, const Size* offsets, Size count, const T* w, T* out, Size stride) {
    using Vector = typename Lanes<T>::vector;
    using Unaligned = typename Lanes<T>::unaligned;
    Vector sum[ROWS * VECTORS] = {};
    const T* from[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) from[v] = x + bases[v];
    for (Size k = 0; k < count; k++, w += ROWS) {
        Vector part[VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < VECTORS; v++) part[v] = *reinterpret_cast<const Unaligned*>(from[v] + offsets[k]);
#pragma GCC unroll 16
        for (int i = 0; i < ROWS * VECTORS; i++) sum[i] += part[i % VECTORS] * w[i / VECTORS];
    }
#pragma GCC unroll 16
    for (int i = 0; i < ROWS * VECTORS; i++)
        reinterpret_cast<Unaligned*>(out + i / VECTORS * stride)[i % VECTORS] = sum[i];
}

// One row of sums, behind which there are SPAN more numbers: what follows, and where it goes.
template <class S, class C, class O>
void finished(const Maps& m, Size row, void* sums, void* line, void* y, Size n, const Piece* piece, const Piece* end) {
    if (sizeof(S) == sizeof(C) && sizeof(C) == sizeof(O)) {
        mapped(m, row, static_cast<C*>(sums), n);
        for (; piece < end; piece++) convert(static_cast<C*>(sums) + piece->at, static_cast<O*>(y) + piece->to, piece->count);
        return;
    }
    C v[SPAN] = {};
    O* const found = static_cast<O*>(line);
    for (Size first = 0; first < n; first += SPAN) {
        const Size count = least(n - first, SPAN);
        convert(static_cast<const S*>(sums) + first, v, count);
        mapped(m, row, v, count);
        convert(v, found + first, count);
    }
    for (; piece < end; piece++) convert(found + piece->at, static_cast<O*>(y) + piece->to, piece->count);
}

using Finish = void (*)(const Maps&, Size, void*, void*, void*, Size, const Piece*, const Piece*);

Finish finish(Size sum, Size map, Size result) {
    if (result) return sum ? finished<double, double, double> : finished<float, double, double>;
    return sum ? finished<double, double, float> : map ? finished<float, double, float> : finished<float, float, float>;
}

// T: type of products.
template <class T>
struct Convolution {
    const Window& g;
    const Maps& maps;
    static constexpr Size lanes = Lanes<T>::count;
    const Size rows, tile;  // of sums that are made at once
    const Layout l;
    const Size terms, stacks, outs, size;
    const Size run;     // windows that are finished at once
    const Size stride;  // of rows of sums
    const Finish finish;
    T* x = nullptr;
    const T* weights = nullptr;
    T* part = nullptr;     // [rows][stride]
    double* whole = nullptr;
    double* line = nullptr;
    Size* offsets = nullptr;
    Size* bases = nullptr;  // of all vectors
    Copy* copies = nullptr;  // of all phases
    Piece* pieces = nullptr;
    Piece** ends = nullptr;  // of the pieces of every run, behind the beginning of the first
    char* y = nullptr;

    Convolution(const Window& window, const Maps& after)
        : g(window), maps(after), rows(g.rows), tile((rows == 1 ? 6 : 3) * lanes), l(window, lanes, tile),
          terms(g.depth * g.kernel_y * g.kernel_x), stacks((g.outs + rows - 1) / rows), outs(g.groups * g.outs),
          size(g.result ? sizeof(double) : sizeof(float)),
          run(least(most(32768 / (g.depth * tile), 4), 1024 / tile) * tile), stride(run + SPAN), finish(::finish(g.sum, g.map, g.result)) {}

    int made(const T* a, const T* w, void* to) {
        const Size held = g.depth * l.channel + l.reach, span = l.span(l.images, lanes);
        const Size runs = span / run + 1, vectors = runs * run / lanes;
        x = static_cast<T*>(std::malloc((held + rows * stride) * sizeof(T)));
        whole = static_cast<double*>(std::malloc((rows + 1) * stride * sizeof(double)));
        offsets = static_cast<Size*>(std::malloc(terms * sizeof(Size)));
        bases = static_cast<Size*>(std::malloc(vectors * sizeof(Size)));
        copies = static_cast<Copy*>(std::malloc(l.phases_y * l.phases_x * sizeof(Copy)));
        pieces = static_cast<Piece*>(std::malloc((runs + l.images * l.high * most(l.in_row, 1)) * sizeof(Piece)));
        ends = static_cast<Piece**>(std::malloc((runs + 1) * sizeof(Piece*)));
        const bool enough = x && whole && offsets && bases && copies && pieces && ends;
        if (enough) {
            for (Size i = 0; i < held; i++) x[i] = T(g.fill);
            weights = w, part = x + held, line = whole + rows * stride;
            measure();
            for (Size i = 0; i < vectors; i++) bases[i] = i * lanes < span ? l.base(i, lanes) : 0;
            for (Size first = 0; first < g.images; first += l.images) {
                const Size count = least(g.images - first, l.images);
                if (!first || count < l.images) cut(l.span(count, lanes));
                y = static_cast<char*>(to) + first * outs * l.high * l.wide * size;
                for (Size group = 0; group < g.groups; group++)
                    block(a + (first * g.groups + group) * g.depth * g.height * g.width, count, group);
            }
        }
        std::free(ends);
        std::free(pieces);
        std::free(copies);
        std::free(bases);
        std::free(offsets);
        std::free(whole);
        std::free(x);
        return !enough;
    }

    void measure() {
        const Size places = g.kernel_y * g.kernel_x;
        for (Size i = 0; i < places; i++) offsets[i] = l.place(g, i / g.kernel_x, i % g.kernel_x);
        for (Size i = places; i < terms; i++) offsets[i] = offsets[i - places] + l.channel;
        for (Size i = 0; i < l.phases_y * l.phases_x; i++) copies[i] = Copy(g, l, i / l.phases_x, i % l.phases_x);
    }

    void cut(Size end) {
        ends[0] = pieces;
        for (Size p = 0, i = 0; p < end; p += run, i++) ends[i + 1] = pieces_of(l, lanes, p, least(p + run, end), outs, ends[i]);
    }

    void block(const T* a, Size count, Size group) {
        const Size area = g.height * g.width, step = g.groups * g.depth * area, end = l.span(count, lanes);
        for (Size n = 0; n < count; n++)
            for (Size c = 0; c < g.depth; c++)
                for (const Copy* copy = copies; copy < copies + l.phases_y * l.phases_x; copy++)
                    copy->made(g, l, a + n * step + c * area, x + c * l.channel + n * l.plane);
        for (Size p = 0, i = 0; p < end; p += run, i++) {
            if (ends[i] == ends[i + 1]) continue;
            const Size used = ends[i + 1][-1].at + ends[i + 1][-1].count;  // windows up to the last one that there is
            for (Size stack = 0; stack < stacks; stack++) windows(p, used, group, stack, ends[i], ends[i + 1]);
        }
    }

    void windows(Size p, Size count, Size group, Size stack, const Piece* first, const Piece* last) {
        const T* const w = weights + (group * stacks + stack) * terms * rows;
        for (Size t = 0; t < count; t += tile) sums(bases + (p + t) / lanes, w, t);
        for (Size r = 0; r < least(rows, g.outs - stack * rows); r++) {
            const Size out = group * g.outs + stack * rows + r;
            void* const from = g.sum ? static_cast<void*>(whole + r * stride) : part + r * stride;
            finish(maps, out, from, line, y + out * l.high * l.wide * size, count, first, last);
        }
    }

    void sums(const Size* from, const T* w, Size t) {
        for (Size i = 0, k = 0; i < g.parts; k = g.ends[i++]) {
            const Size count = g.ends[i] - k;
            if (rows == 1) products<T, 1, 6>(x, from, offsets + k, count, w + k, part + t, stride);
            else products<T, 4, 3>(x, from, offsets + k, count, w + k * 4, part + t, stride);
            for (Size r = 0; g.sum && r < rows; r++) {
                const T* const own = part + r * stride + t;
                double* const sum = whole + r * stride + t;
                if (i) add(own, 1.0, sum, tile);
                else convert(own, sum, tile);
            }
        }
    }
};

// --- pools

struct Most {
    static double none() { return -__builtin_inf(); }
    template <class T>
    static T join(T a, T b) { return a > b ? a : b; }
};
struct Sum {
    static double none() { return 0; }
    template <class T>
    static T join(T a, T b) { return a + b; }
};

template <class J, int STRIDE, class T>
void join(const T* a, T* y, Size n, Size stride) {
    for (; STRIDE && n >= STEP; n -= STEP, a += STEP * STRIDE, y += STEP)
        for (Size i = 0; i < STEP; i++) y[i] = J::join(y[i], a[i * STRIDE]);
    for (Size i = 0; i < n; i++) y[i] = J::join(y[i], a[i * stride]);
}

// Rows of windows joined place by place; J::NONE changes no number.
template <class J, class T>
void pool(const Window& g, const T* a, T* y) {
    const Layout l(g, 1, 0);
    for (Size n = 0; n < g.images; n++, a += g.height * g.width)
        for (Size r = 0; r < l.high; r++, y += l.wide) {
            for (Size c = 0; c < l.wide; c++) y[c] = T(J::none());
            if (l.wide == 1) {
                T total = y[0];
                for (Size i = 0; i < g.kernel_y; i++)
                    for (Size j = 0; j < g.kernel_x; j++)
                        total = J::join(total, a[(r * g.stride_y + i * g.dilation_y) * g.width + j * g.dilation_x]);
                y[0] = total;
                continue;
            }
            for (Size i = 0; i < g.kernel_y; i++)
                for (Size j = 0; j < g.kernel_x; j++) {
                    const T* const from = a + (r * g.stride_y + i * g.dilation_y) * g.width + j * g.dilation_x;
                    if (g.stride_x == 1) join<J, 1>(from, y, l.wide, 1);
                    else if (g.stride_x == 2) join<J, 2>(from, y, l.wide, 2);
                    else join<J, 0>(from, y, l.wide, g.stride_x);
                }
        }
}

}  // namespace

extern "C" {
int conv_f(const Window* g, const float* a, const float* w, void* y, const Maps* m) {
    return Convolution<float>(*g, *m).made(a, w, y);
}
int conv_d(const Window* g, const double* a, const double* w, void* y, const Maps* m) {
    return Convolution<double>(*g, *m).made(a, w, y);
}

// Letters: types of the numbers, of what is between, of the result.
void map_fff(const Maps* m, const float* const* a, float* y, Size outer, Size rows, Size inner) {
    map<float, float>(*m, a, y, outer, rows, inner);
}
void map_fdf(const Maps* m, const float* const* a, float* y, Size outer, Size rows, Size inner) {
    map<float, double>(*m, a, y, outer, rows, inner);
}
void map_fdd(const Maps* m, const float* const* a, double* y, Size outer, Size rows, Size inner) {
    map<float, double>(*m, a, y, outer, rows, inner);
}
void map_ddf(const Maps* m, const double* const* a, float* y, Size outer, Size rows, Size inner) {
    map<double, double>(*m, a, y, outer, rows, inner);
}
void map_ddd(const Maps* m, const double* const* a, double* y, Size outer, Size rows, Size inner) {
    map<double, double>(*m, a, y, outer, rows, inner);
}

int quantize_f(const Maps* m, const float* x, float* y, Size outer, Size rows, Size inner, double lo, double hi,
               double slack) {
    return quantize(*m->each, x, y, outer, rows, inner, lo, hi, slack);
}
int quantize_d(const Maps* m, const double* x, float* y, Size outer, Size rows, Size inner, double lo, double hi,
               double slack) {
    return quantize(*m->each, x, y, outer, rows, inner, lo, hi, slack);
}

void max_pool_f(const Window* g, const float* a, float* y) { pool<Most>(*g, a, y); }
void max_pool_d(const Window* g, const double* a, double* y) { pool<Most>(*g, a, y); }
void sum_pool_f(const Window* g, const float* a, float* y) { pool<Sum>(*g, a, y); }
void sum_pool_d(const Window* g, const double* a, double* y) { pool<Sum>(*g, a, y); }
}
