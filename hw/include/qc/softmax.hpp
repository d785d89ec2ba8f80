// Integer softmax along the last axis of [OUTER][SIZE]:
// d = min((max(a) - a) * mul >> SHIFT, ENTRIES - 1); e = table[d]; y = floor((e * 2**FRAC + sum(e) / 2) / sum(e)).
// TD, TM, TE, TS, TN hold (max(a) - a) * mul, mul, an entry of the table, their sum, and the numerator.
#pragma once
#include "tool.hpp"

namespace qc {

template <int OUTER, int SIZE, int SHIFT, int ENTRIES, int FRAC, int LM, int LE, class TD, class TM, class TE, class TS, class TN, class A,
          class M, class E, class Y>
inline void softmax(const A *a, Y *y, const M *mul, const E *table) {
#pragma HLS inline
SOFTMAX:
  for (int o = 0; o < OUTER; ++o) { // unroll
    A best = a[o * SIZE];
  BEST:
    for (int i = 1; i < SIZE; ++i) { // unroll
      best = a[o * SIZE + i] > best ? a[o * SIZE + i] : best;
    }
    TE e[SIZE];
    TS sum = 0;
  EXPONENTIAL:
    for (int i = 0; i < SIZE; ++i) { // unroll
      const TD distance = (best - a[o * SIZE + i]) * load<TM, LM>(mul, 0);
      const TD shifted = distance >> SHIFT;
      e[i] = chosen<true, TE, LE, ENTRIES, 1>::from(table, 0, shifted < ENTRIES - 1 ? shifted.to_int() : ENTRIES - 1);
      sum += e[i];
    }
  DIVIDE:
    for (int i = 0; i < SIZE; ++i) { // unroll
      const TN scaled = (TN(e[i]) << FRAC) + (sum >> 1);
      y[o * SIZE + i] = Y(scaled / sum);
    }
  }
}

} // namespace qc
