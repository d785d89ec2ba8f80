// Integer softmax along the last axis of [OUTER][SIZE]:
// d = min((max(a) - a) * mul >> SHIFT, ENTRIES - 1); e = table[d]; y = floor((e * 2**FRAC + sum(e) / 2) / sum(e)).
#pragma once
#include "tool.hpp"

namespace qc {

template <int OUTER, int SIZE, int SHIFT, int ENTRIES, int FRAC, int WD, class TM, class A, class Y>
inline void softmax(const A *a, Y *y, long long mul, const int32_t *table) {
SOFTMAX:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int o = 0; o < OUTER; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    A best = a[o * SIZE];
  BEST:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 1; i < SIZE; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      best = a[o * SIZE + i] > best ? a[o * SIZE + i] : best;
    }
    ap_uint<32> e[SIZE];
    ap_uint<48> sum = 0;
  EXPONENTIAL:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < SIZE; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      const ap_uint<WD> distance = (best - a[o * SIZE + i]) * TM(mul);
      const ap_uint<WD> shifted = distance >> SHIFT;
      e[i] = table[shifted < ENTRIES - 1 ? shifted.to_int() : ENTRIES - 1];
      sum += e[i];
    }
  DIVIDE:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < SIZE; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      const ap_uint<64> scaled = (ap_uint<64>(e[i]) << FRAC) + (sum >> 1);
      y[o * SIZE + i] = Y(scaled / ap_uint<64>(sum));
    }
  }
}

} // namespace qc
