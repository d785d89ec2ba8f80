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

// y[i] = floor(sqrt(num / (x[i] * den))). T holds num, and x[i] * den * 4**K.
template <int N, int K, class T, class RX, class RM, class RD, class X, class M, class V, class Y>
inline void inverse_roots(const X *x, const M *num, const V *den, Y *y) {
#pragma HLS inline
ROOT:
  for (int i = 0; i < N; ++i) { // unroll
    y[i] = inverse_root<K, Y>(T(number<T>(RX::at(x, i)) * number<T>(RD::at(den, 0))), number<T>(RM::at(num, 0)));
  }
}

// Quotients x = a[i] * mul / (b[FromB(i)] * div), doubled and rounded to odd. T holds the dividend, D the divisor.
template <int N, int K, class FromB, class T, class D, class RA, class RB, class RM, class RD, class A, class B, class M, class V, class Y>
inline void divide(const A *a, const B *b, const M *mul, const V *div, Y *y) {
#pragma HLS inline
DIVIDE:
  for (int i = 0; i < N; ++i) { // unroll
    const T dividend = number<T>(RA::at(a, i)) * number<T>(RM::at(mul, 0));
    const D divisor = number<D>(RB::at(b, FromB::at(i))) * number<D>(RD::at(div, 0));
    y[i] = odd_quotient<K, D, Y>(dividend, divisor);
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
