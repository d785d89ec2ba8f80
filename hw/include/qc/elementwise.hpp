// Products of tensors and wiring.
#pragma once
#include "map.hpp"
#include "minifloat.hpp"

namespace qc {

template <int N, class FromA, class FromB, class RA, class RB, class A, class B, class Y>
inline void multiply(const A *a, const B *b, Y *y) {
#pragma HLS inline
MULTIPLY:
  for (int i = 0; i < N; ++i) { // unroll
    y[i] = product<Y>(RA::at(a, FromA::at(i)), RB::at(b, FromB::at(i)));
  }
}

// y[i] = x[FROM(i)]: transposes, slices, constant gathers.
template <int N, class From, class TX, int LX, class X, class Y> inline void wire(const X *x, Y *y) {
#pragma HLS inline
WIRE:
  for (int i = 0; i < N; ++i) { // unroll
    y[i] = load<TX, LX>(x, From::at(i));
  }
}

// One part of a concatenation: OUTER blocks of SIZE elements, STRIDE apart.
template <int OUTER, int SIZE, int STRIDE, class TX, int LX, class X, class Y> inline void place(const X *x, Y *y) {
#pragma HLS inline
PLACE:
  for (int o = 0; o < OUTER; ++o) { // unroll
  BLOCK:
    for (int i = 0; i < SIZE; ++i) { // unroll
      y[o * STRIDE + i] = load<TX, LX>(x, o * SIZE + i);
    }
  }
}

} // namespace qc
