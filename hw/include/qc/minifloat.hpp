// Minifloat codes: sign, E bits of exponent field, M bits of fraction. A number is significand << shift in units of the smallest
// subnormal, so a product is a small multiplication and a shift, and a sum of products is exact in fixed point.
#pragma once
#include "tool.hpp"

namespace qc {

// How a kernel reads element i of an array. Int: numbers (constants may hold LIMBS words each); Float, Lookup: codes.
template <class T, int LIMBS> struct Int {
  template <class P> static T at(const P *p, int i) {
#pragma HLS inline
    return load<T, LIMBS>(p, i);
  }
  template <class V> static const V &order(const V &v) {
#pragma HLS inline
    return v;
  }
};

template <int E, int M> struct Scaled {
  static const int most = (1 << E) - 2; // the largest shift
  ap_uint<M + 1> significand;
  ap_uint<E> shift;
  bool negative;
};

template <int E, int M, bool SIGNED> struct Float {
  static const int width = E + M + (SIGNED ? 1 : 0);

  template <class P> static Scaled<E, M> at(const P *p, int i) {
#pragma HLS inline
    const ap_uint<width> code = p[i];
    const ap_uint<E> field = code >> M;
    const ap_uint<M + 1> fraction = code & ((1 << M) - 1);
    Scaled<E, M> number;
    number.significand = field == 0 ? fraction : ap_uint<M + 1>(fraction | (1 << M));
    number.shift = field == 0 ? ap_uint<E>(0) : ap_uint<E>(field - 1);
    number.negative = SIGNED && code[width - 1];
    return number;
  }

  // An integer in the order of the numbers (both zeros alike).
  static ap_int<width + 1> order(ap_uint<width> code) {
#pragma HLS inline
    const ap_int<width + 1> size = code & ((1 << (E + M)) - 1);
    return SIGNED && code[width - 1] ? ap_int<width + 1>(-size) : size;
  }
};

// Codes of W bits whose numbers are in a table, in ascending order: a few LUTs for every reader.
template <int W, class T, int... NUMBERS> struct Lookup {
  template <class P> static T at(const P *p, int i) {
#pragma HLS inline
    static const int numbers[] = {NUMBERS...}; // read at constant places in hardware: no memory
    const int place = index(ap_uint<W>(p[i])) & ((1 << W) - 1); // C simulation may hold anything in what is not used
    return chosen<true, T, 1, 1 << W, 1>::from(numbers, 0, place);
  }
  static const ap_uint<W> &order(const ap_uint<W> &code) {
#pragma HLS inline
    return code;
  }
};

// A magnitude, shifted by at most MOST places while it is as narrow as it can be, and then turned: a number of type Y, which holds it.
template <class Y, int W, int MOST, class S> inline Y scaled(const ap_uint<W> &significand, const S &shift, bool negative) {
#pragma HLS inline
  const int width = W + MOST < Y::width ? W + MOST : int(Y::width);
  const ap_uint<width> size = ap_uint<width>(significand) << index(shift);
  return negative ? Y(-Y(size)) : Y(size);
}

// Exact product of two elements, as a number of the accumulator's type.
template <class Y, class A, class B> inline Y product(const A &a, const B &b) {
#pragma HLS inline
  return a * b;
}
template <class Y, int EA, int MA, int EB, int MB> inline Y product(const Scaled<EA, MA> &a, const Scaled<EB, MB> &b) {
#pragma HLS inline
  const ap_uint<MA + MB + 2> significand = a.significand * b.significand;
  const ap_uint<(EA > EB ? EA : EB) + 1> shift = a.shift + b.shift;
  return scaled<Y, MA + MB + 2, Scaled<EA, MA>::most + Scaled<EB, MB>::most>(significand, shift, a.negative != b.negative);
}
template <class Y, int E, int M, class B> inline Y product(const Scaled<E, M> &a, const B &b) {
#pragma HLS inline
  const Y size = Y(a.significand * b) << index(a.shift);
  return a.negative ? Y(-size) : size;
}
template <class Y, class A, int E, int M> inline Y product(const A &a, const Scaled<E, M> &b) {
#pragma HLS inline
  const Y size = Y(b.significand * a) << index(b.shift);
  return b.negative ? Y(-size) : size;
}

// An element as a number.
template <class Y, class V> inline Y number(const V &v) {
#pragma HLS inline
  return Y(v);
}
template <class Y, int E, int M> inline Y number(const Scaled<E, M> &v) {
#pragma HLS inline
  return scaled<Y, M + 1, Scaled<E, M>::most>(v.significand, v.shift, v.negative);
}

// Codes to numbers.
template <int N, class Reader, class X, class Y> inline void decode(const X *x, Y *y) {
#pragma HLS inline
DECODE:
  for (int i = 0; i < N; ++i) { // unroll
    y[i] = number<Y>(Reader::at(x, i));
  }
}

// mul * a + add over 2**shift, rounded to the grid (EVEN: ties to even; else up, toward +infinity), limited, as a code. TN holds every
// intermediate of W bits; lo, hi: codes in order (see Float::order).
template <int N, class Row, bool EVEN, int W, int E, int M, bool SIGNED, class TM, int LM, int LA, class A, class D, class C, class S, class L, class H, class Y, class BASE = Start>
inline void float_round(const A *a, Y *y, const D *mul, const C *add, const S *shift, const L *lo, const H *hi, BASE base = BASE()) {
#pragma HLS inline
  typedef ap_int<W> TN;
FLOAT_ROUND:
  for (int i = 0; i < N; ++i) { // unroll
    const int row = Row::at(base + i);
    const TN value = TN(load<TM, LM>(mul, row) * a[i]) + load<TN, LA>(add, row);
    const bool negative = value[W - 1];
    const TN size = !negative ? value : EVEN ? TN(-value) : TN(~value);
    int length = 0;
  LEADING_ONE:
    for (int b = 0; b < W - 1; ++b) { // unroll
      length = size[b] ? b + 1 : length;
    }
    const int places = index(shift[row]), above = length - places - 1 - M;
    const int step = above > 0 ? above : 0;
    const int drop = places + step;
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
