// Sums and maxima along an axis of [OUTER][SIZE][INNER].
#pragma once
#include "minifloat.hpp"

namespace qc {

// R: how elements are read and compare (Int or Float).
template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_max(const X *x, Y *y) {
MAX_OUTER:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int o = 0; o < OUTER; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  MAX_INNER:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < INNER; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      X best = x[o * SIZE * INNER + i];
    MAX_STEP:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int k = 1; k < SIZE; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        const X next = x[(o * SIZE + k) * INNER + i];
        best = R::order(next) > R::order(best) ? next : best;
      }
      y[o * INNER + i] = best;
    }
  }
}

template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_sum(const X *x, Y *y) {
SUM_OUTER:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int o = 0; o < OUTER; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  SUM_INNER:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < INNER; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      Y sum = 0;
    SUM_STEP:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int k = 0; k < SIZE; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        sum += number<Y>(R::at(x, (o * SIZE + k) * INNER + i));
      }
      y[o * INNER + i] = sum;
    }
  }
}

// Index of the maximum; of equal ones the first, or the LAST.
template <int OUTER, int SIZE, int INNER, bool LAST, class R, class X, class Y> inline void arg_max(const X *x, Y *y) {
ARG_OUTER:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int o = 0; o < OUTER; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  ARG_INNER:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < INNER; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      X best = x[o * SIZE * INNER + i];
      Y place = 0;
    ARG_STEP:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int k = 1; k < SIZE; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        const X next = x[(o * SIZE + k) * INNER + i];
        const bool better = LAST ? !(R::order(best) > R::order(next)) : R::order(next) > R::order(best);
        place = better ? Y(k) : place;
        best = better ? next : best;
      }
      y[o * INNER + i] = place;
    }
  }
}

} // namespace qc
