// Activation chains: from accumulators to the units of the next format. Every parameter set is a row; Row::at(i) is the row of element i
// of the tensor; a call works on its elements base, base + 1, ... Where the row of an element is a constant (of an unrolled tensor, or the
// only one), its parameters are logic; else they are in memories.
#pragma once
#include "tool.hpp"
#include <utility>

namespace qc {

// Rows that follow an axis: (i / INNER) % P.
template <int INNER, int P> struct AxisRow {
  static const int count = P;
  static int at(int i) {
#pragma HLS inline
    return (i / INNER) % P;
  }
};

// Rows that the caller counts.
struct CountedRow {
  static const int count = 0;
  static int at(int i) {
#pragma HLS inline
    return i;
  }
};

// Any other assignment of rows, as a table with an entry per row of Place.
template <const int *TABLE, class Place> struct TableRow {
  static const int count = 0; // not known here
  static int at(int i) {
#pragma HLS inline
    return TABLE[Place::at(i)];
  }
};

// An array read with other strides (transposed, sliced, repeated): element (i0, i1, ...) of RANK axes of SIZES comes from OFFSET + sum i * STEPS.
template <int RANK, const int *SIZES, const int *STEPS, int OFFSET> struct StridedRow {
  static const int count = 0;
  static int at(int i) {
#pragma HLS inline
    int from = OFFSET;
  STRIDE:
    for (int r = RANK - 1; r >= 0; --r) { // unroll
      from += (i % SIZES[r]) * STEPS[r];
      i /= SIZES[r];
    }
    return from;
  }
};

// floor(sqrt(num / n)), less than 2**K: bits of the root r from above; r * n and r * r * n grow with them by sums of shifted numbers.
template <int K, class Y, class T> inline Y inverse_root(const T n, const T num) {
#pragma HLS inline
  T line = 0, square = 0;
  Y root = 0;
BITS:
  for (int k = K - 1; k >= 0; --k) { // unroll
    const T more = T(T(square + T(line << (k + 1))) + T(n << (2 * k)));
    const bool fits = more <= num;
    square = fits ? more : square;
    line = fits ? T(line + T(n << k)) : line;
    root = Y(root * 2 + fits);
  }
  return root;
}

// 2 * floor(n / d), and 1 more where d does not divide n: K digits, 1 or -1, of non-restoring division (a remainder is in [-d, d)). D is
// signed and holds 2 * d; |n| < d * 2**K.
template <int K, class D, class Y, class T> inline Y odd_quotient(const T n, const D d) {
#pragma HLS inline
  D rest = D(n >> K);
  Y positive = 0;
DIGITS:
  for (int k = K - 1; k >= 0; --k) { // unroll
    const bool less = rest < 0;
    const D twice = D(rest * 2 + n[k]);
    rest = less ? D(twice + d) : D(twice - d);
    positive = Y(positive * 2 + !less);
  }
  const bool less = rest < 0;
  const bool whole = less ? rest + d == 0 : rest == 0;
  return Y(Y(Y(positive * 4) - Y((ap_int<K + 4>(1) << (K + 1)) - 2)) - Y(2 * less) + !whole);
}

// The same roots, a bit in two steps behind the one that takes n = x * den: `rest`, in its high bits, is what n * y * y leaves of the bits of
// num so far; a 1 behind y would take n * (4 * y + 1) of it. T holds num and n * (y + 1) * 8.
template <int K, class T> struct root_digits {
  T by, line, rest, less; // line: n * y
  ap_uint<2 * K> left;
  ap_uint<K> y;
  bool fits, compare;
  void start(const T n, const T num) {
#pragma HLS inline
    by = n;
    line = 0;
    rest = num >> (2 * K);
    left = num;
    y = 0;
    fits = compare = false;
  }
  void step(bool) {
#pragma HLS inline
    if (!compare) {
      rest = T(rest << 2) | T(left >> (2 * K - 2));
      left = left << 2;
      line = T(line << 1) + (fits ? by : T(0));
    } else {
      const T more = T(line << 2) + by;
      fits = more <= rest;
      rest = fits ? T(rest - more) : rest;
      y = ap_uint<K>(y << 1) | ap_uint<K>(fits);
    }
    compare = !compare;
  }
  ap_uint<K> result() const { return y; }
};

// The same quotients, a digit in a step between the one that takes n and d and the last one, which makes a number of them.
template <int K, class T, class D> struct quotient_digits {
  D by, rest;
  ap_uint<K> left, positive;
  void start(const T n, const D d) {
#pragma HLS inline
    by = d;
    rest = D(n >> K);
    left = ap_uint<K>(n);
    positive = 0;
  }
  void step(bool last) {
#pragma HLS inline
    if (last)
      return;
    const bool less = rest < 0;
    const D twice = D(rest * 2 + bool(left[K - 1]));
    rest = less ? D(twice + by) : D(twice - by);
    left = left << 1;
    positive = ap_uint<K>(positive << 1) | ap_uint<K>(!less);
  }
  ap_int<K + 4> result() const {
#pragma HLS inline
    const bool less = rest < 0;
    const bool whole = less ? rest + by == 0 : rest == 0;
    return ap_int<K + 4>(positive) * 4 - ((ap_int<K + 4>(1) << (K + 1)) - 2) - 2 * less + !whole;
  }
};

// total[i] (+)= coefficient[row] * x[from[i]]: terms with different scales over their common unit.
template <int N, class Row, class From, bool FIRST, class TX, class TC, int LX, int LC, class X, class C, class T, class BASE = Start>
inline void accumulate(const X *x, const C *coefficient, T *total, BASE base = BASE()) {
#pragma HLS inline
ACCUMULATE:
  for (int i = 0; i < N; ++i) { // unroll
    T product = load<TC, LC>(coefficient, Row::at(base + i)) * load<TX, LX>(x, From::at(i));
    total[i] = FIRST ? product : T(total[i] + product);
  }
}

// How many of K numbers, which ascend, are <= a. CHOSEN: a is compared with every other one and with the one that is left between them.
template <bool CHOSEN, int K, class TC, int LC> struct reached {
  template <class A, class C> static int of(const A &a, const C *cuts, int first) {
#pragma HLS inline
    int count = 0;
  CUT:
    for (int k = 0; k < K; ++k) { // unroll
      count += a >= load<TC, LC>(cuts, first + k) ? 1 : 0;
    }
    return count;
  }
};
template <int K, class TC, int LC> struct reached<true, K, TC, LC> {
  template <class A, class C> static int of(const A &a, const C *cuts, int first) {
#pragma HLS inline
    int place = 0;
  CUT:
    for (int k = 1; k < K; k += 2) { // unroll
      place += a >= load<TC, LC>(cuts, first + k) ? 1 : 0;
    }
    const bool left = 2 * place < K;
    return 2 * place + (left && a >= chosen<true, TC, LC, (K + 1) / 2, 2>::from(cuts, first, left ? place : 0) ? 1 : 0);
  }
};
// Whether that is less: constants, of which a place takes at most three bits.
template <class Row, class BASE, int K> struct few { static const bool value = fixed<Row, BASE>::value && K >= 3 && K <= 15; };

// values[row][number of cuts[row] that are <= a].
template <int N, class Row, int K, class TC, int LC, class TV, int LV, class A, class C, class V, class Y, class BASE = Start>
inline void thresholds(const A *a, Y *y, const C *cuts, const V *values, BASE base = BASE()) {
#pragma HLS inline
THRESHOLDS:
  for (int i = 0; i < N; ++i) { // unroll
    const int row = Row::at(base + i), count = reached<few<Row, BASE, K>::value, K, TC, LC>::of(a[i], cuts, row * K);
    y[i] = chosen<fixed<Row, BASE>::value, TV, LV, K + 1, 1>::from(values, row * (K + 1), count);
  }
}

// start[row] + step[row] * number of cuts: no table of values.
template <int N, class Row, int K, class TC, int LC, class TV, class A, class C, class V, class D, class Y, class BASE = Start>
inline void thresholds_affine(const A *a, Y *y, const C *cuts, const V *start, const D *step, BASE base = BASE()) {
#pragma HLS inline
THRESHOLDS_AFFINE:
  for (int i = 0; i < N; ++i) { // unroll
    const int row = Row::at(base + i), count = reached<few<Row, BASE, K>::value, K, TC, LC>::of(a[i], cuts, row * K);
    y[i] = start[row] + TV(step[row]) * TV(count);
  }
}

// The same result by binary search: step s compares with cuts[s][count][row] and appends a bit to the count of those that were reached.
template <bool LOGIC, int SIZE, int ROWS, class TC, int LC, class A, class C> inline int found(const A &a, int count, const C *cuts, int row) {
#pragma HLS inline
  return 2 * count + (a >= chosen<LOGIC, TC, LC, SIZE, ROWS>::from(cuts, row, count) ? 1 : 0);
}

template <bool LOGIC, int ROWS, class TC, int LC, class A, class... C, std::size_t... STEP>
inline int searched(const A &a, int row, std::index_sequence<STEP...>, const C *...cuts) {
#pragma HLS inline
  int count = 0;
  const int steps[] = {(count = found<LOGIC, (1 << STEP), ROWS, TC, LC>(a, count, cuts, row))...}; // from left to right
  (void)steps;
  return count;
}

template <int N, class Row, int ROWS, int VALUES, class TC, int LC, class TV, int LV, class A, class V, class Y, class BASE, class... C>
inline void thresholds_search(const A *a, Y *y, const V *values, BASE base, const C *...cuts) {
#pragma HLS inline
  const bool logic = fixed<Row, BASE>::value;
THRESHOLDS_SEARCH:
  for (int i = 0; i < N; ++i) { // unroll
    const int row = Row::at(base + i), count = searched<logic, ROWS, TC, LC>(a[i], row, std::index_sequence_for<C...>(), cuts...);
    y[i] = chosen<logic, TV, LV, VALUES, ROWS>::from(values, row, count);
  }
}

// clamp((mul * a + add) >> shift); of S segments the last one whose break is <= a. With TIES of 1, where the `tie` bits below
// the binary point are all zero and the quotient is odd, one less: round half to even; of 2, where they are all one and it is even, one
// more: to odd. TN holds mul * a + add.
template <int N, class Row, int S, int TIES, class TN, class TM, int LM, int LA, class TB, int LB, class TL, int LL, class A, class M, class D,
          class S1, class S2, class B, class L, class H, class Y, class BASE = Start>
inline void multiply_add_shift(const A *a, Y *y, const M *mul, const D *add, const S1 *shift, const S2 *tie, const B *breaks, const L *lo,
                               const H *hi, BASE base = BASE()) {
#pragma HLS inline
MULTIPLY_ADD_SHIFT:
  for (int i = 0; i < N; ++i) { // unroll
    const int row = Row::at(base + i);
    int segment = row * S;
  SEGMENT:
    for (int s = 1; s < S; ++s) { // unroll
      if (a[i] >= load<TB, LB>(breaks, row * (S - 1) + s - 1))
        segment = row * S + s;
    }
    const TN product = load<TM, LM>(mul, segment) * a[i];
    const TN sum = product + load<TN, LA>(add, segment);
    const int places = index(shift[segment]), below = index(tie[segment]);
    TN quotient = sum >> places;
    if (TIES) {
      const TN fine = sum >> (places - below);
      const TN above = fine >> below;
      if (TIES == 1 && below > 0 && TN(above << below) == fine && quotient[0])
        quotient = quotient - 1;
      if (TIES == 2 && below > 0 && TN(TN(above + 1) << below) == TN(fine + 1) && !quotient[0])
        quotient = quotient + 1;
    }
    const TL low = load<TL, LL>(lo, row), high = load<TL, LL>(hi, row);
    y[i] = quotient < low ? Y(low) : quotient > high ? Y(high) : Y(quotient);
  }
}

// values[row][a - first], from multiplexers where the row is known here, or from a MEMORY. TI holds a, first and their difference.
template <int N, class Row, bool MEMORY, int SIZE, class TI, class TV, int LF, int LV, class A, class F, class V, class Y, class BASE = Start>
inline void table(const A *a, Y *y, const F *first, const V *values, BASE base = BASE()) {
#pragma HLS inline
TABLE:
  for (int i = 0; i < N; ++i) { // unroll
    const TI place = TI(a[i]) - load<TI, LF>(first, 0);
    y[i] = chosen<!MEMORY && fixed<Row, BASE>::value, TV, LV, SIZE, 1>::from(values, Row::at(base + i) * SIZE, place.to_int());
  }
}

} // namespace qc
