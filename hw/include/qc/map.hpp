// Activation chains: from accumulators to the units of the next format. Every parameter set is a row; Row::at(i) is the row of element i
// of the tensor; a call works on its elements base, base + 1, ...
#pragma once
#include "tool.hpp"

namespace qc {

// Rows that follow an axis: (i / INNER) % P.
template <int INNER, int P> struct AxisRow {
  static int at(int i) { return (i / INNER) % P; }
};

// Any other assignment of rows, as a table with an entry per row of Place.
template <const int *TABLE, class Place> struct TableRow {
  static int at(int i) { return TABLE[Place::at(i)]; }
};

// An array read with other strides (transposed, sliced, repeated): element (i0, i1, ...) of RANK axes of SIZES comes from OFFSET + sum i * STEPS.
template <int RANK, const int *SIZES, const int *STEPS, int OFFSET> struct StridedRow {
  static int at(int i) {
    int from = OFFSET;
  STRIDE:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int r = RANK - 1; r >= 0; --r) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      from += (i % SIZES[r]) * STEPS[r];
      i /= SIZES[r];
    }
    return from;
  }
};

// total[i] (+)= coefficient[row] * x[from[i]]: terms with different scales over their common unit.
template <int N, class Row, class From, bool FIRST, class TX, class TC, int LX, int LC, class X, class C, class T>
inline void accumulate(const X *x, const C *coefficient, T *total, int base = 0) {
ACCUMULATE:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    T product = load<TC, LC>(coefficient, Row::at(base + i)) * load<TX, LX>(x, From::at(i));
    total[i] = FIRST ? product : T(total[i] + product);
  }
}

// values[row][number of cuts[row] that are <= a].
template <int N, class Row, int K, class TC, int LC, class TV, int LV, class A, class C, class V, class Y>
inline void thresholds(const A *a, Y *y, const C *cuts, const V *values, int base = 0) {
THRESHOLDS:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const int row = Row::at(base + i);
    int count = 0;
  CUT:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int k = 0; k < K; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      count += a[i] >= load<TC, LC>(cuts, row * K + k) ? 1 : 0;
    }
    y[i] = load<TV, LV>(values, row * (K + 1) + count);
  }
}

// start[row] + step[row] * number of cuts: no table of values.
template <int N, class Row, int K, class TC, int LC, class TV, class A, class C, class V, class D, class Y>
inline void thresholds_affine(const A *a, Y *y, const C *cuts, const V *start, const D *step, int base = 0) {
THRESHOLDS_AFFINE:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const int row = Row::at(base + i);
    TV count = 0;
  CUT:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int k = 0; k < K; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      count += a[i] >= load<TC, LC>(cuts, row * K + k) ? step[row] : D(0);
    }
    y[i] = start[row] + count;
  }
}

// The same result by binary search: step s compares with cuts[s][count][row] and appends a bit to the count of those that were reached.
template <class TC, int LC, class A, class C> inline int found(const A &a, int count, const C *cuts, int rows, int row) {
  return 2 * count + (a >= load<TC, LC>(cuts, count * rows + row) ? 1 : 0);
}

template <int N, class Row, int ROWS, class TC, int LC, class TV, int LV, class A, class V, class Y, class... C>
inline void thresholds_search(const A *a, Y *y, const V *values, int base, const C *...cuts) {
THRESHOLDS_SEARCH:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const int row = Row::at(base + i);
    int count = 0;
    const int steps[] = {(count = found<TC, LC>(a[i], count, cuts, ROWS, row))...}; // from left to right
    (void)steps;
    y[i] = load<TV, LV>(values, count * ROWS + row);
  }
}

// clamp((mul * a + add) >> shift); of S segments the last one whose break is <= a. With TIES, where the `tie` bits below the binary
// point are all zero and the quotient is odd, one less: round half to even. TN holds mul * a + add.
template <int N, class Row, int S, bool TIES, class TN, class TM, int LM, int LA, class TB, int LB, class TL, int LL, class A, class M, class D,
          class B, class L, class Y>
inline void multiply_add_shift(const A *a, Y *y, const M *mul, const D *add, const int16_t *shift, const int16_t *tie, const B *breaks,
                               const L *lo, const L *hi, int base = 0) {
MULTIPLY_ADD_SHIFT:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const int row = Row::at(base + i);
    int segment = row * S;
  SEGMENT:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int s = 1; s < S; ++s) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      if (a[i] >= load<TB, LB>(breaks, row * (S - 1) + s - 1))
        segment = row * S + s;
    }
    const TN product = load<TM, LM>(mul, segment) * a[i];
    const TN sum = product + load<TN, LA>(add, segment);
    TN quotient = sum >> shift[segment];
    if (TIES) {
      const TN fine = sum >> (shift[segment] - tie[segment]);
      const TN above = fine >> tie[segment];
      if (tie[segment] > 0 && TN(above << tie[segment]) == fine && quotient[0])
        quotient = quotient - 1;
    }
    const TL low = load<TL, LL>(lo, row), high = load<TL, LL>(hi, row);
    y[i] = quotient < low ? Y(low) : quotient > high ? Y(high) : Y(quotient);
  }
}

// values[row][a - first]. TI holds a, first and their difference.
template <int N, class Row, int SIZE, class TI, class TV, int LF, int LV, class A, class F, class V, class Y>
inline void table(const A *a, Y *y, const F *first, const V *values, int base = 0) {
TABLE:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const TI place = TI(a[i]) - load<TI, LF>(first, 0);
    y[i] = load<TV, LV>(values, Row::at(base + i) * SIZE + place.to_int());
  }
}

} // namespace qc
