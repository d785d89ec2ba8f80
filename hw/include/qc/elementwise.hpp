// Products and quotients of tensors, and wiring.
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

// Quotients to the nearest integer, ties up: y[i] = floor((a[i] * 2**FRAC + b / 2) / b), b = b[FromB(i)]. T holds the
// numerator, D a divisor.
template <int N, int FRAC, class FromB, class T, class D, class RA, class RB, class A, class B, class Y>
inline void divide(const A *a, const B *b, Y *y) {
#pragma HLS inline
DIVIDE:
  for (int i = 0; i < N; ++i) { // unroll
    const D by = number<D>(RB::at(b, FromB::at(i)));
    y[i] = Y(((number<T>(RA::at(a, i)) << FRAC) + (by >> 1)) / by);
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

// v[i] keeps its lowest width[i] bits, which are all that it needs: the others are its sign, or zeros. T has W bits.
template <int N, int W, class T, class B> inline void narrow(T *v, const B *width) {
#pragma HLS inline
NARROW:
  for (int i = 0; i < N; ++i) { // unroll
    const int spare = W - width[i];
    v[i] = T(v[i] << spare) >> spare;
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
