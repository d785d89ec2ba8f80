// Port words <-> integers. Element 0 is in the low bits; a word holds COUNT elements of W bits.
#pragma once
#include "tool.hpp"

namespace qc {

// Fixed point: the code is the number (two's complement if SIGNED).
template <int COUNT, int W, bool SIGNED, class WORD, class T> inline void unpack(const WORD &word, T *v) {
UNPACK:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < COUNT; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    typename integer<W, SIGNED>::type code;
    code.range(W - 1, 0) = word.range(W * i + W - 1, W * i);
    v[i] = code;
  }
}

// Bipolar: bit 0 is -1, bit 1 is +1.
template <int COUNT, class WORD, class T> inline void unpack_bipolar(const WORD &word, T *v) {
UNPACK_BIPOLAR:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < COUNT; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    v[i] = word[i] ? T(1) : T(-1);
  }
}

template <int COUNT, int W, class WORD, class T> inline void pack(const T *v, WORD &word) {
  WORD packed = 0;
PACK:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < COUNT; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    ap_int<W + 1> code = v[i];
    packed.range(W * i + W - 1, W * i) = code.range(W - 1, 0);
  }
  word = packed;
}

template <int COUNT, class WORD, class T> inline void pack_bipolar(const T *v, WORD &word) {
  WORD packed = 0;
PACK_BIPOLAR:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < COUNT; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    packed[i] = v[i] > 0;
  }
  word = packed;
}

} // namespace qc
