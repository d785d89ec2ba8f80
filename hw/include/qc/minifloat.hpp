// Minifloat codes: sign, E bits of exponent field, M bits of fraction. A number is significand << shift in units of the smallest
// subnormal, so a product is a small multiplication and a shift, and a sum of products is exact in fixed point.
#pragma once
#include "tool.hpp"

namespace qc {

// How a kernel reads element i of an array. Int: numbers (constants may hold LIMBS words each); Float: codes.
template <class T, int LIMBS> struct Int {
  template <class P> static T at(const P *p, int i) { return load<T, LIMBS>(p, i); }
  template <class V> static const V &order(const V &v) { return v; }
};

template <int M> struct Scaled {
  ap_int<M + 2> significand;
  int shift;
};

template <int E, int M, bool SIGNED> struct Float {
  static const int width = E + M + (SIGNED ? 1 : 0);

  template <class P> static Scaled<M> at(const P *p, int i) {
    const ap_uint<width> code = p[i];
    const ap_uint<E> field = code >> M;
    const ap_uint<M + 1> fraction = code & ((1 << M) - 1);
    const ap_int<M + 2> size = field == 0 ? ap_int<M + 2>(fraction) : ap_int<M + 2>(fraction + (1 << M));
    Scaled<M> number;
    number.significand = SIGNED && code[width - 1] ? ap_int<M + 2>(-size) : size;
    number.shift = field == 0 ? 0 : field.to_int() - 1;
    return number;
  }

  // An integer in the order of the numbers (both zeros alike).
  static ap_int<width + 1> order(ap_uint<width> code) {
    const ap_int<width + 1> size = code & ((1 << (E + M)) - 1);
    return SIGNED && code[width - 1] ? ap_int<width + 1>(-size) : size;
  }
};

// Exact product of two elements, as a number of the accumulator's type.
template <class Y, class A, class B> inline Y product(const A &a, const B &b) { return a * b; }
template <class Y, int MA, int MB> inline Y product(const Scaled<MA> &a, const Scaled<MB> &b) {
  return Y(a.significand * b.significand) << (a.shift + b.shift);
}
template <class Y, int M, class B> inline Y product(const Scaled<M> &a, const B &b) { return Y(a.significand * b) << a.shift; }
template <class Y, class A, int M> inline Y product(const A &a, const Scaled<M> &b) { return Y(a * b.significand) << b.shift; }

// An element as a number.
template <class Y, class V> inline Y number(const V &v) { return Y(v); }
template <class Y, int M> inline Y number(const Scaled<M> &v) { return Y(v.significand) << v.shift; }

// Codes to numbers.
template <int N, class Reader, class X, class Y> inline void decode(const X *x, Y *y) {
DECODE:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    y[i] = number<Y>(Reader::at(x, i));
  }
}

// mul * a + add over 2**shift, rounded to the grid (EVEN: ties to even; else up, toward +infinity), limited, as a code. TN holds every
// intermediate of W bits; lo, hi: codes in order (see Float::order).
template <int N, class Row, bool EVEN, int W, int E, int M, bool SIGNED, class TM, int LM, int LA, class A, class D, class C, class L, class Y>
inline void float_round(const A *a, Y *y, const D *mul, const C *add, const int16_t *shift, const L *lo, const L *hi, int base = 0) {
  typedef ap_int<W> TN;
FLOAT_ROUND:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int i = 0; i < N; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const int row = Row::at(base + i);
    const TN value = TN(load<TM, LM>(mul, row) * a[i]) + load<TN, LA>(add, row);
    const bool negative = value[W - 1];
    const TN size = !negative ? value : EVEN ? TN(-value) : TN(~value);
    int length = 0;
  LEADING_ONE:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int b = 0; b < W - 1; ++b) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      length = size[b] ? b + 1 : length;
    }
    const int above = length - shift[row] - 1 - M;
    const int step = above > 0 ? above : 0;
    const int drop = shift[row] + step;
    TN half = drop > 0 ? TN(TN(1) << (drop > 0 ? drop - 1 : 0)) : TN(0);
    if (EVEN && drop > 0 && !size[drop])
      half = half - 1;
    const TN kept = TN(size + half) >> drop;
    // The leading one of a normal significand carries into the exponent field.
    const TN code = kept + (TN(step) << M);
    TN ordered = negative ? TN(-code) : code;
    ordered = ordered < lo[row] ? TN(lo[row]) : ordered > hi[row] ? TN(hi[row]) : ordered;
    const bool below = ordered[W - 1];
    const ap_uint<E + M> magnitude = below ? TN(-ordered) : ordered;
    y[i] = SIGNED && below ? Y(Y(magnitude) | (Y(1) << (E + M))) : Y(magnitude);
  }
}

} // namespace qc
