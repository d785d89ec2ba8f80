// Processes of the architecture `dataflow`: loops over tokens with one read and one write per stream and iteration.
// How a token's elements are packed is a Lanes type (see below); a process that computes more is printed with the project.
#pragma once
#include "conv.hpp"
#include "pack.hpp"
#include "stream.hpp"

namespace qc {

// N elements of W bits in a token: integers (SIGNED or not), or bipolar ones.
template <int N, int W, bool SIGNED, bool BIPOLAR> struct Lanes {
  static const int count = N, width = N * W;
  typedef typename token<N * W>::type word;

  template <class T> static void read(hls::stream<word> &in, T *v) {
#pragma HLS inline
    const ap_uint<N * W> bits = in.read();
    open<T>(bits, v);
  }
  template <class T> static void open(const ap_uint<N * W> &bits, T *v) {
#pragma HLS inline
    if (BIPOLAR)
      unpack_bipolar<N>(bits, v);
    else
      unpack<N, W, SIGNED>(bits, v);
  }
  template <class T> static void write(hls::stream<word> &out, const T *v) {
#pragma HLS inline
    ap_uint<N * W> bits;
    if (BIPOLAR)
      pack_bipolar<N>(v, bits);
    else
      pack<N, W>(v, bits);
    out.write(word(bits));
  }
};

// STEP tokens of W bits become one.
template <int TOKENS, int W, int STEP, class IN, class OUT> inline void widen(hls::stream<IN> &in, hls::stream<OUT> &out) {
#pragma HLS inline
  ap_uint<W * STEP> held = 0;
WIDEN:
  for (int t = 0; t < TOKENS; ++t) { // loop
    for (int s = 0; s < STEP; ++s) { // pipeline
      const ap_uint<W> word = in.read();
      held = (held >> W) | (ap_uint<W * STEP>(word) << (W * (STEP - 1)));
      if (s == STEP - 1)
        out.write(OUT(held));
    }
  }
}

// One token becomes STEP of W bits.
template <int TOKENS, int W, int STEP, class IN, class OUT> inline void narrow(hls::stream<IN> &in, hls::stream<OUT> &out) {
#pragma HLS inline
  ap_uint<W * STEP> held = 0;
NARROW:
  for (int t = 0; t < TOKENS; ++t) { // loop
    for (int s = 0; s < STEP; ++s) { // pipeline
      held = s == 0 ? ap_uint<W * STEP>(in.read()) : ap_uint<W * STEP>(held >> W);
      out.write(OUT(ap_uint<W>(held)));
    }
  }
}

// Windows of an H x W plane with G tokens per place, channels last. Of every window all places follow one another: for each place all G
// tokens (BY_GROUP false: what a dot product reads) or for each of the G groups all places (what works channel by channel).
// HELD rows are buffered; a token is read while there is room, and one written where its window is complete (see schedule/tokens.py).
// Addresses and what is lacking are counters that constants advance, and whether to read and to write is known an iteration before.
// The buffer belongs to the process: two processes of the same sizes must not share one.
template <int H, int W, int G, int KH, int KW, int SH, int SW, int DH, int DW, int HELD, int ITERATIONS, bool BY_GROUP, class WORD>
inline void window(hls::stream<WORD> &in, hls::stream<WORD> &out, WORD *held) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
  const int line = W * G, size = HELD * line, down = SH * line, first = ((KH - 1) * DH * W + (KW - 1) * DW + 1) * G;
  typename counter<H * line>::type rest = H * line; // tokens to read
  typename counter<size + down, true>::type space = size, lack = first; // tokens that there is room for; that the window lacks
  bool open = true, reads = true, ready = first <= 0, nearly = first <= 1; // a window is left; read; lack <= 0; lack <= 1
  typename counter<size>::type to = 0, from = 0;              // addresses of the tokens to read and to write,
  typename counter<size>::type start = 0, corner = 0, top = 0; // of its row of the window, of the window, and of the window's row
  typename counter<rows>::type i = 0;
  typename counter<columns>::type j = 0;
  typename counter<KH>::type k = 0;
  typename counter<KW>::type l = 0;
  typename counter<G>::type g = 0;
WINDOW:
  for (int t = 0; t < ITERATIONS; ++t) { // pipeline
    if (reads) {
      held[index(to)] = in.read();
      to = further<size, 1>(to);
      rest = rest - 1;
      space = space - 1;
      lack = lack - 1;
    }
    if (open && (reads ? nearly : ready)) {
      out.write(held[index(from)]);
      const bool last_group = g == G - 1, last_column = l == KW - 1, last_row = k == KH - 1;
      if (!BY_GROUP && !last_group) {
        g = g + 1;
        from = from + 1;
      } else if (!last_column) {
        if (!BY_GROUP)
          g = 0;
        l = l + 1;
        from = from + (BY_GROUP ? DW * G : DW * G - (G - 1));
      } else if (!last_row) {
        if (!BY_GROUP)
          g = 0;
        l = 0;
        k = k + 1;
        start = further<size, DH * line>(start);
        from = start;
      } else if (BY_GROUP && !last_group) {
        g = g + 1;
        l = 0;
        k = 0;
        start = from = corner + g;
      } else {
        g = 0;
        l = 0;
        k = 0;
        if (j < columns - 1) {
          j = j + 1;
          corner = corner + SW * G;
          lack = lack + SW * G;
        } else {
          j = 0;
          top = further<size, down>(top);
          corner = top;
          lack = lack + (down - (columns - 1) * SW * G);
          space = space + down;
          open = i != rows - 1;
          i = i + 1;
        }
        start = from = corner;
      }
    }
    ready = lack <= 0;
    nearly = lack <= 1;
    reads = rest != 0 && (!open || space > 0);
  }
}

// Whole windows of an H x W plane with G tokens of C elements of B bits per place, channels last: all places of a window in one token, the
// tokens of a window one after the other. A token passes through a line (`rows`) as long as the distance of two rows of the kernel and one
// (`columns`) as that of two columns; a word of a line has what all rows, or columns, but the newest need. Places before and behind the
// plane have the code `fill`; the first windows begin ABOVE rows and LEFT columns before it.
// Where a token has TALL rows of WIDE places, what leaves has the places that all windows in it need, each once: of ROWS_TAKEN rows and
// COLUMNS_TAKEN columns the first is ROW_FROM (COLUMN_FROM) places after where the window of tokens begins, the others ROW_STEP each.
template <int H, int W, int G, int KH, int KW, int SH, int SW, int DH, int DW, int ROWS, int COLUMNS, int ABOVE, int LEFT, int FIRST, int NEXT_ROW,
          int PLACES, int C, int B, int TALL = 1, int ROW_FROM = 0, int ROW_STEP = 1, int ROWS_TAKEN = KH, int WIDE = 1, int COLUMN_FROM = 0,
          int COLUMN_STEP = 1, int COLUMNS_TAKEN = KW, class IN, class OUT, class R, class K>
inline void whole_windows(hls::stream<IN> &in, hls::stream<OUT> &out, R *rows, K *columns, uint64_t fill) {
#pragma HLS inline
  const int token = C * B, place = token / (TALL * WIDE), newest = token * (KH > 1 ? KH - 2 : 0), column = token * KH, last = column * (KW > 1 ? KW - 2 : 0);
  ap_uint<place> outside = 0;
FILL:
  for (int c = 0; c < C / (TALL * WIDE); ++c) { // unroll
    outside = outside | (ap_uint<place>(fill) << (B * c));
  }
  typename counter<H * W * G>::type rest = H * W * G;          // tokens to read
  typename counter<DH * W * G>::type row = 0;                  // places in the lines
  typename counter<DW * G>::type at = 0;
  typename counter<G>::type g = 0;
  typename counter<H * W + FIRST>::type gap = FIRST; // places to come before that which completes the next window
  typename counter<ROWS>::type i = 0;
  typename counter<COLUMNS>::type j = 0;
  bool open = true, complete = FIRST == 0;
WINDOWS:
  for (int t = 0; t < PLACES * G; ++t) { // pipeline
    ap_uint<token> now[KH];
#pragma HLS array_partition variable=now complete
    now[KH - 1] = 0;
    if (rest != 0) {
      now[KH - 1] = in.read();
      rest = rest - 1;
    }
    if (KH > 1) {
      const R held = rows[index(row)];
    ROW:
      for (int k = 0; k < KH - 1; ++k) { // unroll
        now[k] = held >> (token * k);
      }
      rows[index(row)] = (held >> token) | (R(now[KH - 1]) << newest);
    }
    ap_uint<column> all = 0;
  NOW:
    for (int k = 0; k < KH; ++k) { // unroll
      all = all | (ap_uint<column>(now[k]) << (token * k));
    }
    K before = 0;
    if (KW > 1) {
      before = columns[index(at)];
      columns[index(at)] = (before >> column) | (K(all) << last);
    }
    if (complete) {
      OUT window = 0;
    WINDOW_ROW:
      for (int r = 0; r < ROWS_TAKEN; ++r) { // unroll
        const int y = ROW_FROM + r * ROW_STEP;
        const bool row_there = y >= 0 && y < KH * TALL;
        const int k = row_there ? y / TALL : 0, row_at = row_there ? y % TALL : 0, top = int(i) * SH + k * DH - ABOVE;
      WINDOW_COLUMN:
        for (int c = 0; c < COLUMNS_TAKEN; ++c) { // unroll
          const int x = COLUMN_FROM + c * COLUMN_STEP;
          const bool there = row_there && x >= 0 && x < KW * WIDE;
          const int l = there ? x / WIDE : 0, column_at = there ? x % WIDE : 0, left = int(j) * SW + l * DW - LEFT;
          const bool inside = there && top >= 0 && top < H && left >= 0 && left < W;
          const ap_uint<token> whole = l == KW - 1 ? now[k] : ap_uint<token>(before >> (column * l + token * k));
          const ap_uint<place> one = whole >> (place * (row_at * WIDE + column_at));
          window = window | (OUT(inside ? one : outside) << (place * (r * COLUMNS_TAKEN + c)));
        }
      }
      out.write(window);
    }
    row = further<DH * W * G, 1>(row);
    at = further<DW * G, 1>(at);
    if (g != G - 1) {
      g = g + 1;
    } else {
      g = 0;
      const bool last_column = j == COLUMNS - 1;
      if (complete) {
        gap = last_column ? NEXT_ROW : SW - 1;
        open = open && !(last_column && i == ROWS - 1);
        if (last_column)
          i = i + 1;
        j = last_column ? 0 : j + 1;
      } else if (open) {
        gap = gap - 1;
      }
      complete = open && gap == 0;
    }
  }
}

// The windows of a token of what all of them cover: DOWN rows of ACROSS windows, of KH x KW places of C elements, SH and SW places apart,
// places of the kernel DH and DW, in rows of WIDTH places. From v to x, window by window.
template <int DOWN, int ACROSS, int KH, int KW, int SH, int SW, int DH, int DW, int WIDTH, int C, class T> inline void cut(const T *v, T *x) {
#pragma HLS inline
CUT:
  for (int n = 0; n < DOWN * ACROSS * KH * KW; ++n) { // unroll
    const int l = n % KW, k = n / KW % KH, across = n / (KW * KH) % ACROSS, down = n / (KW * KH * ACROSS);
    const int at = (down * SH + k * DH) * WIDTH + across * SW + l * DW;
  CUT_CHANNEL:
    for (int c = 0; c < C; ++c) { // unroll
      x[n * C + c] = v[at * C + c];
    }
  }
}

// Of each of SEVERAL places the N elements of fold f, of FOLDS.
template <int SEVERAL, int FOLDS, int N, class T> inline void take(const T *v, int f, T *x) {
#pragma HLS inline
TAKE_PLACE:
  for (int q = 0; q < SEVERAL; ++q) { // unroll
  TAKE_ELEMENT:
    for (int n = 0; n < N; ++n) { // unroll
      x[q * N + n] = v[(q * FOLDS + f) * N + n];
    }
  }
}

// Weights of a step: N codes of W bits, TOGETHER in an element of the memory. BIPOLAR: one bit, -1 or +1.
template <int N, int W, int TOGETHER, bool SIGNED, bool BIPOLAR, class T, class M> inline void weights(const M *memory, int step, T *v) {
#pragma HLS inline
WEIGHT:
  for (int n = 0; n < N; ++n) { // unroll
    const ap_uint<W * TOGETHER> element = memory[step * (N / TOGETHER) + n / TOGETHER];
    const ap_uint<W> bits = element >> (W * (n % TOGETHER));
    const typename integer<W, SIGNED>::type code = bits;
    v[n] = BIPOLAR ? (code != 0 ? T(1) : T(-1)) : T(code);
  }
}

// total[p] (+)= sum over s of x[s] * w[p][s]: the products of one step; FIRST starts the sums.
template <int PE, int SIMD, class RX, class RW, int DROP, class P, class X, class K, class Y>
inline void multiply_add(const X *x, const K *w, Y *total, bool first) {
#pragma HLS inline
PE_LOOP:
  for (int p = 0; p < PE; ++p) { // unroll
    Y sum = 0; // of the products alone: what is carried from iteration to iteration is one addition
  SIMD_LOOP:
    for (int s = 0; s < SIMD; ++s) { // unroll
      sum += Y(product<P>(RX::at(x, s), RW::at(w, p * SIMD + s)) >> DROP);
    }
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

// Three times each of N numbers, for sums that are made digit after digit.
template <int N, class RX, class T, class X> inline void triples(const X *x, T *triple) {
#pragma HLS inline
TRIPLE:
  for (int n = 0; n < N; ++n) { // unroll
    triple[n] = T(RX::at(x, n)) + (T(RX::at(x, n)) << 1);
  }
}

// Sum over s of x[s * STEP] * w[s], digit after digit of the weights at base 4, in chains of at most 4 products: a digit takes none, one, two
// or three times x; the highest digit of a weight with a SIGN goes from -2 to 1. T holds three times x, S what a chain has of a digit with
// what the digit below left; its low two bits are final.
template <int SIMD, int STEP, int DIGITS, bool SIGN, class RX, class RW, class S, class Y, class X, class T, class K>
inline Y digit_products(const X *x, const T *triple, const K *w) {
#pragma HLS inline
  const int chains = (SIMD + 3) / 4, terms = SIMD / chains, longer = SIMD % chains;
  Y sum = 0;
DIGIT_CHAIN:
  for (int c = 0; c < chains; ++c) { // unroll
    S left = 0;
  DIGIT:
    for (int k = 0; k < DIGITS; ++k) { // unroll
    DIGIT_TERM:
      for (int i = 0; i < terms + (c < longer); ++i) { // unroll
        const int s = c * terms + (c < longer ? c : longer) + i;
        const ap_uint<2> digit = RW::at(w, s) >> (2 * k);
        const T one = RX::at(x, s * STEP), two = one << 1;
        const bool negative = SIGN && k == DIGITS - 1 && digit[1];
        const T part = digit[1] == 0 ? (digit[0] ? one : T(0)) : negative ? (digit[0] ? one : two) : digit[0] ? triple[s * STEP] : two;
        left = negative ? S(left - part) : S(left + part);
      }
      sum += (k == DIGITS - 1 ? Y(left) : Y(left & 3)) << (2 * k);
      left = left >> 2;
    }
  }
  return sum;
}

// As multiply_add, of such sums. OWN: every row has its own x, element s * PE + p.
template <int PE, int SIMD, bool OWN, int DIGITS, bool SIGN, class RX, class RW, class T, class S, class X, class K, class Y>
inline void digit_multiply_add(const X *x, const K *w, Y *total, bool first) {
#pragma HLS inline
  T triple[OWN ? PE * SIMD : SIMD];
#pragma HLS array_partition variable=triple complete
  triples<OWN ? PE * SIMD : SIMD, RX>(x, triple);
DIGIT_PE:
  for (int p = 0; p < PE; ++p) { // unroll
    const int own = OWN ? p : 0;
    const Y sum = digit_products<SIMD, OWN ? PE : 1, DIGITS, SIGN, RX, RW, S, Y>(&x[own], &triple[own], &w[p * SIMD]);
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

// The same of weights that are w times a factor of their row: k, or 2**k where SHIFT; or a sum of PLANES such products. S holds a sum
// without it.
template <int PE, int SIMD, int PLANES, class RX, class RW, bool SHIFT, class S, class X, class K, class F, class Y>
inline void scaled_multiply_add(const X *x, const K *w, const F *k, Y *total, bool first) {
#pragma HLS inline
SCALED_PE:
  for (int p = 0; p < PE; ++p) { // unroll
    Y scaled = 0;
  SCALED_PLANE:
    for (int q = p * PLANES; q < (p + 1) * PLANES; ++q) { // unroll
      S sum = 0;
    SCALED_SIMD:
      for (int s = 0; s < SIMD; ++s) { // unroll
        sum += product<S>(RX::at(x, s), RW::at(w, q * SIMD + s));
      }
      scaled += SHIFT ? Y(Y(sum) << index(k[q])) : Y(sum * k[q]);
    }
    total[p] = first ? scaled : Y(total[p] + scaled);
  }
}

// As scaled_multiply_add, of sums that are made digit after digit; L holds what a chain has, S a sum without its factor.
template <int PE, int SIMD, int PLANES, int DIGITS, bool SIGN, class RX, class RW, bool SHIFT, class T, class L, class S, class X, class K,
          class F, class Y>
inline void scaled_digit_multiply_add(const X *x, const K *w, const F *k, Y *total, bool first) {
#pragma HLS inline
  T triple[SIMD];
#pragma HLS array_partition variable=triple complete
  triples<SIMD, RX>(x, triple);
SCALED_DIGIT_PE:
  for (int p = 0; p < PE; ++p) { // unroll
    Y scaled = 0;
  SCALED_DIGIT_PLANE:
    for (int q = p * PLANES; q < (p + 1) * PLANES; ++q) { // unroll
      const S sum = digit_products<SIMD, 1, DIGITS, SIGN, RX, RW, L, S>(x, triple, &w[q * SIMD]);
      scaled += SHIFT ? Y(Y(sum) << index(k[q])) : Y(sum * k[q]);
    }
    total[p] = first ? scaled : Y(total[p] + scaled);
  }
}

// The same with DSP blocks, each for a term of ROWS rows: their weights side by side, SPACING bits apart, in the block's wide operand. With
// half of a place added, which the block does, a lower product borrows nothing from the upper one; its highest bit is turned back.
// TERMS blocks stand behind one another. OWN: every row has its own x, element s * PE + p.
template <int PE, int SIMD, int ROWS, int SPACING, int TERMS, bool OWN, class RX, class RW, class X, class K, class Y>
inline void packed_multiply_add(const X *x, const K *w, Y *total, bool first) {
#pragma HLS inline
PACKED_ROW:
  for (int p = 0; p < PE; p += ROWS) { // unroll
    Y sums[ROWS];
#pragma HLS array_partition variable=sums complete
  PACKED_CLEAR:
    for (int r = 0; r < ROWS; ++r) { // unroll
      sums[r] = 0;
    }
  PACKED_STEP:
    for (int s = 0; s < SIMD; s += TERMS) { // unroll
      ap_int<48> block = 0;
    PACKED_OFFSET:
      for (int r = 1; r < ROWS; ++r) { // unroll
        block += ap_int<48>(1) << (SPACING * r - 1);
      }
    PACKED_TERM:
      for (int t = s; t < s + TERMS; ++t) { // unroll
        ap_int<25> side_by_side = 0;
      PACKED_WEIGHT:
        for (int r = 0; r < ROWS; ++r) { // unroll
          side_by_side += ap_int<25>(RW::at(w, (p + r) * SIMD + t)) << (SPACING * r);
        }
        const ap_int<18> number = RX::at(x, OWN ? t * PE + p : t);
        const ap_int<48> product = side_by_side * number;
#pragma HLS bind_op variable=product op=mul impl=dsp
        block += product;
      }
    PACKED_PLACE:
      for (int r = 0; r < ROWS; ++r) { // unroll
        const ap_uint<SPACING> place = block >> (SPACING * r);
        const ap_uint<SPACING> half = ap_uint<SPACING>(r < ROWS - 1) << (SPACING - 1);
        sums[r] += Y(ap_int<SPACING>(place ^ half));
      }
    }
  PACKED_TOTAL:
    for (int r = 0; r < ROWS; ++r) { // unroll
      total[p + r] = first ? sums[r] : Y(total[p + r] + sums[r]);
    }
  }
}

// Weights in pairs of codes of 4 bits, as `weights`, to places in a table of BELOW numbers, -7 to 7, and others: 15 is a 0 whose neighbour
// is one of the BELOW and others; else a code is a place among -7 to 7.
template <int N, int TOGETHER, int BELOW, class T, class M> inline void paired_weights(const M *memory, int step, T *v) {
#pragma HLS inline
PAIRED_WEIGHT:
  for (int n = 0; n < N; ++n) { // unroll
    const int other = n ^ 1;
    const ap_uint<4 * TOGETHER> element = memory[step * (N / TOGETHER) + n / TOGETHER];
    const ap_uint<4 * TOGETHER> beside = memory[step * (N / TOGETHER) + other / TOGETHER];
    const ap_uint<4> code = element >> (4 * (n % TOGETHER)), neighbour = beside >> (4 * (other % TOGETHER));
    const ap_uint<5> normal = code == 15 ? ap_uint<5>(BELOW + 7) : ap_uint<5>(code + BELOW);
    const ap_uint<5> rare = code < BELOW ? ap_uint<5>(code) : ap_uint<5>(code + 15);
    v[n] = T(neighbour == 15 ? rare : normal);
  }
}

// Weights that are 2 of 4, as `weights`: of W bits the highest two say at which place of its block one is.
template <int N, int W, int TOGETHER, bool SIGNED, class T, class M>
inline void sparse_weights(const M *memory, int step, T *v, ap_uint<2> *at) {
#pragma HLS inline
SPARSE_WEIGHT:
  for (int n = 0; n < N; ++n) { // unroll
    const ap_uint<W * TOGETHER> element = memory[step * (N / TOGETHER) + n / TOGETHER];
    const ap_uint<W> bits = element >> (W * (n % TOGETHER));
    const typename integer<W - 2, SIGNED>::type code = ap_uint<W - 2>(bits);
    v[n] = T(code);
    at[n] = ap_uint<2>(bits >> (W - 2));
  }
}

// total[p] (+)= sum over s of x[place of s] * w[p][s]: two products for every four elements.
template <int PE, int PRODUCTS, class RX, class RW, int DROP, class P, class X, class K, class Y>
inline void sparse_multiply_add(const X *x, const K *w, const ap_uint<2> *at, Y *total, bool first) {
#pragma HLS inline
SPARSE_PE:
  for (int p = 0; p < PE; ++p) { // unroll
    Y sum = 0;
  SPARSE_PRODUCT:
    for (int s = 0; s < PRODUCTS; ++s) { // unroll
      const X taken[1] = {chosen<true, X, 1, 4, 1>::from(x, s / 2 * 4, index(at[p * PRODUCTS + s]))};
      sum += Y(product<P>(RX::at(taken, 0), RW::at(w, p * PRODUCTS + s)) >> DROP);
    }
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

// The same, of sums that are made digit after digit.
template <int PE, int PRODUCTS, int DIGITS, bool SIGN, class RX, class RW, class T, class S, class X, class K, class Y>
inline void sparse_digit_multiply_add(const X *x, const K *w, const ap_uint<2> *at, Y *total, bool first) {
#pragma HLS inline
SPARSE_DIGIT_PE:
  for (int p = 0; p < PE; ++p) { // unroll
    X taken[PRODUCTS];
    T triple[PRODUCTS];
#pragma HLS array_partition variable=taken complete
#pragma HLS array_partition variable=triple complete
  SPARSE_DIGIT_TAKE:
    for (int s = 0; s < PRODUCTS; ++s) { // unroll
      taken[s] = chosen<true, X, 1, 4, 1>::from(x, s / 2 * 4, index(at[p * PRODUCTS + s]));
    }
    triples<PRODUCTS, RX>(taken, triple);
    const Y sum = digit_products<PRODUCTS, 1, DIGITS, SIGN, RX, RW, S, Y>(taken, triple, &w[p * PRODUCTS]);
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

// The same of products of which every row has its own x: element s * PE + p.
template <int PE, int SIMD, class RX, class RW, int DROP, class P, class X, class K, class Y>
inline void multiply_each(const X *x, const K *w, Y *total, bool first) {
#pragma HLS inline
EACH:
  for (int p = 0; p < PE; ++p) { // unroll
    Y sum = 0;
  EACH_PLACE:
    for (int s = 0; s < SIMD; ++s) { // unroll
      sum += Y(product<P>(RX::at(x, s * PE + p), RW::at(w, p * SIMD + s)) >> DROP);
    }
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

// Of elements s * PE + p: their sum, and the largest.
template <int PE, int SIMD, class X, class Y> inline void add_each(const X *x, Y *total, bool first) {
#pragma HLS inline
ADD:
  for (int p = 0; p < PE; ++p) { // unroll
    Y sum = 0;
  ADD_PLACE:
    for (int s = 0; s < SIMD; ++s) { // unroll
      sum += Y(x[s * PE + p]);
    }
    total[p] = first ? sum : Y(total[p] + sum);
  }
}

template <int PE, int SIMD, class R, class X> inline void largest_each(const X *x, X *best, bool first) {
#pragma HLS inline
LARGEST:
  for (int p = 0; p < PE; ++p) { // unroll
    X most = x[p];
  LARGEST_PLACE:
    for (int s = 1; s < SIMD; ++s) { // unroll
      most = R::order(x[s * PE + p]) > R::order(most) ? x[s * PE + p] : most;
    }
    best[p] = first || R::order(most) > R::order(best[p]) ? most : best[p];
  }
}

// The place of the largest so far: of equal elements the first, or the LAST. R: their order.
template <bool LAST, class R, class X, class Y> inline void larger(const X &x, int f, X &best, Y &place) {
#pragma HLS inline
  if (f == 0 || R::order(x) > R::order(best) || (LAST && !(R::order(best) > R::order(x)))) {
    best = x;
    place = f;
  }
}

} // namespace qc
