// Port words <-> integers. Element 0 is in the low bits; a word holds COUNT elements of W bits.
#pragma once
#include "tool.hpp"

namespace qc {

// Fixed point: the code is the number (two's complement if SIGNED).
template <int COUNT, int W, bool SIGNED, class WORD, class T> inline void unpack(const WORD &word, T *v) {
#pragma HLS inline
UNPACK:
  for (int i = 0; i < COUNT; ++i) { // unroll
    const ap_uint<W> bits = word.range(W * i + W - 1, W * i);
    v[i] = typename integer<W, SIGNED>::type(bits);
  }
}

// Bipolar: bit 0 is -1, bit 1 is +1.
template <int COUNT, class WORD, class T> inline void unpack_bipolar(const WORD &word, T *v) {
#pragma HLS inline
UNPACK_BIPOLAR:
  for (int i = 0; i < COUNT; ++i) { // unroll
    v[i] = word[i] ? T(1) : T(-1);
  }
}

template <int COUNT, int W, class WORD, class T> inline void pack(const T *v, WORD &word) {
#pragma HLS inline
  WORD packed = 0;
PACK:
  for (int i = 0; i < COUNT; ++i) { // unroll
    packed |= WORD(ap_uint<W>(v[i])) << (W * i);
  }
  word = packed;
}

template <int COUNT, class WORD, class T> inline void pack_bipolar(const T *v, WORD &word) {
#pragma HLS inline
  WORD packed = 0;
PACK_BIPOLAR:
  for (int i = 0; i < COUNT; ++i) { // unroll
    packed[i] = v[i] > 0;
  }
  word = packed;
}

} // namespace qc
