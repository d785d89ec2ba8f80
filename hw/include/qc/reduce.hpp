// Sums and maxima along an axis of [OUTER][SIZE][INNER].
#pragma once
#include "minifloat.hpp"

namespace qc {

// R: how elements are read and compare (Int or Float).
template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_max(const X *x, Y *y) {
#pragma HLS inline
MAX_OUTER:
  for (int o = 0; o < OUTER; ++o) { // unroll
  MAX_INNER:
    for (int i = 0; i < INNER; ++i) { // unroll
      X best = x[o * SIZE * INNER + i];
    MAX_STEP:
      for (int k = 1; k < SIZE; ++k) { // unroll
        const X next = x[(o * SIZE + k) * INNER + i];
        best = R::order(next) > R::order(best) ? next : best;
      }
      y[o * INNER + i] = best;
    }
  }
}

template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_sum(const X *x, Y *y) {
#pragma HLS inline
SUM_OUTER:
  for (int o = 0; o < OUTER; ++o) { // unroll
  SUM_INNER:
    for (int i = 0; i < INNER; ++i) { // unroll
      Y sum = 0;
    SUM_STEP:
      for (int k = 0; k < SIZE; ++k) { // unroll
        sum += number<Y>(R::at(x, (o * SIZE + k) * INNER + i));
      }
      y[o * INNER + i] = sum;
    }
  }
}

// Index of the maximum; of equal ones the first, or the LAST.
template <int OUTER, int SIZE, int INNER, bool LAST, class R, class X, class Y> inline void arg_max(const X *x, Y *y) {
#pragma HLS inline
ARG_OUTER:
  for (int o = 0; o < OUTER; ++o) { // unroll
  ARG_INNER:
    for (int i = 0; i < INNER; ++i) { // unroll
      X best = x[o * SIZE * INNER + i];
      Y place = 0;
    ARG_STEP:
      for (int k = 1; k < SIZE; ++k) { // unroll
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
