// ap_int<W> and ap_uint<W> for C simulation, on the machine's own integers. Widths and signs of all results are those of ap_types, so that
// both give the same bits (tests/test_native.py); here is only what emitted C++ uses. `make csim AP_TYPES=1` takes ap_types instead.
#pragma once
#include <cstdint>
#include <type_traits>

namespace qc {
namespace native {

// Integers of more than 128 bits: N words of 64, low word first, in two's complement.
template <int N> struct Limbs {
  uint64_t words[N];

  Limbs() = default;
  template <class C> constexpr Limbs(C c) : words{} {
    for (int i = 0; i < N; ++i)
      words[i] = i == 0 ? uint64_t(c) : i == 1 && sizeof(C) > 8 ? uint64_t((unsigned __int128)(c) >> 64) : c < C(0) ? ~uint64_t(0) : 0;
  }
  template <int M> constexpr Limbs(const Limbs<M> &other) : words{} {
    for (int i = 0; i < N; ++i)
      words[i] = i < M ? other.words[i] : other.negative() ? ~uint64_t(0) : 0;
  }
  template <class C> explicit constexpr operator C() const {
    return sizeof(C) > 8 ? C((unsigned __int128)(words[1]) << 64 | words[0]) : C(words[0]);
  }
  constexpr bool negative() const { return words[N - 1] >> 63; }

  friend constexpr Limbs operator+(const Limbs &a, const Limbs &b) {
    Limbs sum = 0;
    unsigned __int128 carry = 0;
    for (int i = 0; i < N; ++i, carry >>= 64)
      sum.words[i] = uint64_t(carry += (unsigned __int128)(a.words[i]) + b.words[i]);
    return sum;
  }
  friend constexpr Limbs operator-(const Limbs &a, const Limbs &b) { return a + ~b + Limbs(1); }
  friend constexpr Limbs operator*(const Limbs &a, const Limbs &b) {
    Limbs product = 0;
    for (int i = 0; i < N; ++i) {
      unsigned __int128 carry = 0;
      for (int j = 0; i + j < N; ++j, carry >>= 64)
        product.words[i + j] = uint64_t(carry += (unsigned __int128)(a.words[i]) * b.words[j] + product.words[i + j]);
    }
    return product;
  }
  // Rounded to zero: the quotient's bits one after the other.
  friend constexpr Limbs operator/(const Limbs &a, const Limbs &b) {
    const Limbs size = a.negative() ? Limbs(0) - a : a, by = b.negative() ? Limbs(0) - b : b;
    Limbs quotient = 0, rest = 0;
    for (int i = 64 * N - 1; i >= 0; --i) {
      rest = (rest << 1) | ((size >> i) & Limbs(1));
      quotient = quotient << 1;
      if (!(rest < by)) {
        rest = rest - by;
        quotient = quotient | Limbs(1);
      }
    }
    return a.negative() != b.negative() ? Limbs(0) - quotient : quotient;
  }
  friend constexpr Limbs operator~(const Limbs &a) {
    Limbs out = 0;
    for (int i = 0; i < N; ++i)
      out.words[i] = ~a.words[i];
    return out;
  }
  friend constexpr Limbs operator&(const Limbs &a, const Limbs &b) {
    Limbs out = 0;
    for (int i = 0; i < N; ++i)
      out.words[i] = a.words[i] & b.words[i];
    return out;
  }
  friend constexpr Limbs operator|(const Limbs &a, const Limbs &b) { return ~(~a & ~b); }
  friend constexpr Limbs operator^(const Limbs &a, const Limbs &b) { return (a | b) & ~(a & b); }
  friend constexpr Limbs operator<<(const Limbs &a, int n) {
    Limbs out = 0;
    for (int i = n / 64; i < N; ++i) {
      const int from = i - n / 64;
      out.words[i] = a.words[from] << (n % 64) | (n % 64 && from ? a.words[from - 1] >> (64 - n % 64) : 0);
    }
    return out;
  }
  friend constexpr Limbs operator>>(const Limbs &a, int n) {
    const uint64_t sign = a.negative() ? ~uint64_t(0) : 0;
    Limbs out = 0;
    for (int i = 0; i < N; ++i) {
      const int from = i + n / 64;
      const uint64_t low = from < N ? a.words[from] : sign, high = from + 1 < N ? a.words[from + 1] : sign;
      out.words[i] = low >> (n % 64) | (n % 64 ? high << (64 - n % 64) : 0);
    }
    return out;
  }
  friend constexpr bool operator==(const Limbs &a, const Limbs &b) {
    bool same = true;
    for (int i = 0; i < N; ++i)
      same &= a.words[i] == b.words[i];
    return same;
  }
  friend constexpr bool operator<(const Limbs &a, const Limbs &b) {
    bool less = false;
    for (int i = 0; i < N; ++i)
      less = a.words[i] == b.words[i] ? less : a.words[i] < b.words[i];
    return a.negative() == b.negative() ? less : a.negative();
  }
  friend constexpr bool operator!=(const Limbs &a, const Limbs &b) { return !(a == b); }
  friend constexpr bool operator>(const Limbs &a, const Limbs &b) { return b < a; }
  friend constexpr bool operator<=(const Limbs &a, const Limbs &b) { return !(b < a); }
  friend constexpr bool operator>=(const Limbs &a, const Limbs &b) { return !(a < b); }
};

// The integer that holds W bits; beyond 128 one with a sign in any case.
template <int BYTES, int W> struct Storage { typedef Limbs<W / 64 + 1> with_sign, without; };
template <int W> struct Storage<1, W> { typedef int8_t with_sign; typedef uint8_t without; };
template <int W> struct Storage<2, W> { typedef int16_t with_sign; typedef uint16_t without; };
template <int W> struct Storage<4, W> { typedef int32_t with_sign; typedef uint32_t without; };
template <int W> struct Storage<8, W> { typedef int64_t with_sign; typedef uint64_t without; };
template <int W> struct Storage<16, W> { typedef __int128 with_sign; typedef unsigned __int128 without; };

constexpr int bytes(int w) { return w <= 8 ? 1 : w <= 16 ? 2 : w <= 32 ? 4 : w <= 64 ? 8 : w <= 128 ? 16 : 0; }
constexpr int larger(int a, int b) { return a > b ? a : b; }

template <int W, bool SIGNED> struct Bit;
template <int W, bool SIGNED> struct Range;

template <int W, bool SIGNED> struct Number {
  typedef Storage<bytes(W), W> storage;
  typedef typename storage::without U;
  typedef typename std::conditional<SIGNED, typename storage::with_sign, U>::type T;
  static const int width = W, spare = (bytes(W) ? 8 * sizeof(T) : 64 * (W / 64 + 1)) - W; // bits above the number
  T value;                                                                               // always within W bits

  Number() = default;
  template <class C, class = typename std::enable_if<std::is_integral<C>::value>::type>
  constexpr Number(C c) : value(wrapped(T(c))) {}
  template <int W2, bool S2> constexpr Number(const Number<W2, S2> &n) : value(W >= W2 + (SIGNED && !S2) && SIGNED >= S2 ? T(n.value) : wrapped(T(n.value))) {}

  // What fits needs no wrapping.
  template <class V> static constexpr Number exact(V v) {
    Number n = Number();
    n.value = T(v);
    return n;
  }
  static constexpr T wrapped(T v) {
    if constexpr (spare == 0)
      return v;
    else if constexpr (SIGNED || !bytes(W))
      return SIGNED ? T(T(U(v) << spare) >> spare) : T(v & T((T(1) << W) - T(1)));
    else
      return v & T(T(~T(0)) >> spare);
  }

  template <class C, class = typename std::enable_if<std::is_integral<C>::value>::type> explicit constexpr operator C() const {
    return std::is_same<C, bool>::value ? C(!(value == T(0))) : C(value);
  }
  constexpr int to_int() const { return int(value); }
  constexpr int64_t to_int64() const { return int64_t(value); }
  constexpr uint64_t to_uint64() const { return uint64_t(value); }
  constexpr bool negative() const { return SIGNED && value < T(0); }

  constexpr bool operator[](int i) const { return (*this >> i).to_int() & 1; }
  constexpr Bit<W, SIGNED> operator[](int i) { return {*this, i}; }
  constexpr Number<W, false> range(int high, int low) const {
    const Number<W, false> bits = Number<W, false>(*this) >> low;
    return bits & Number<W, false>::exact(ones(high - low + 1));
  }
  constexpr Range<W, SIGNED> range(int high, int low) { return {*this, high, low}; }
  static constexpr typename Number<W, false>::T ones(int n) { return (~Number<W, false>(0) >> (W - n)).value; }

  template <class C> constexpr Number &operator+=(const C &c) { return *this = *this + c; }
  template <class C> constexpr Number &operator-=(const C &c) { return *this = *this - c; }
  template <class C> constexpr Number &operator*=(const C &c) { return *this = *this * c; }
  template <class C> constexpr Number &operator&=(const C &c) { return *this = *this & c; }
  template <class C> constexpr Number &operator|=(const C &c) { return *this = *this | c; }
  template <class C> constexpr Number &operator^=(const C &c) { return *this = *this ^ c; }
  constexpr Number &operator<<=(int n) { return *this = *this << n; }
  constexpr Number &operator>>=(int n) { return *this = *this >> n; }
  constexpr Number &operator++() { return *this = *this + 1; }
  constexpr Number &operator--() { return *this = *this - 1; }

  constexpr Number<larger(W, 1 + SIGNED) + 1, true> operator-() const { return Number<1, false>(0) - *this; }
  constexpr Number operator~() const { return exact(wrapped(T(~value))); }
  constexpr bool operator!() const { return value == T(0); }

  // Shifts keep the type; beyond the width nothing is left but the sign; a negative one goes the other way.
  friend constexpr Number operator<<(const Number &a, int n) {
    return n < 0 ? a >> -n : exact(n < W ? wrapped(T(U(a.value) << n)) : T(0));
  }
  friend constexpr Number operator>>(const Number &a, int n) {
    return n < 0 ? a << -n : exact(n < W ? T(a.value >> n) : a.negative() ? T(~T(0)) : T(0));
  }
};

// A bit, or a range of bits, that can be read and written.
template <int W, bool SIGNED> struct Bit {
  Number<W, SIGNED> &of;
  int at;
  constexpr operator bool() const { return static_cast<const Number<W, SIGNED> &>(of)[at]; }
  constexpr Bit &operator=(bool bit) {
    const auto mask = Number<W, false>(1) << at;
    of = bit ? Number<W, false>(of) | mask : Number<W, false>(of) & ~mask;
    return *this;
  }
};
template <int W, bool SIGNED> struct Range : Number<W, false> {
  Number<W, SIGNED> &of;
  int high, low;
  constexpr Range(Number<W, SIGNED> &number, int high, int low)
      : Number<W, false>(static_cast<const Number<W, SIGNED> &>(number).range(high, low)), of(number), high(high), low(low) {}
  template <class C> constexpr Range &operator=(const C &c) {
    const auto mask = Number<W, false>::exact(Number<W, false>::ones(high - low + 1));
    of = (Number<W, false>(of) & ~(mask << low)) | ((Number<W, false>(c) & mask) << low);
    return *this;
  }
  constexpr Range &operator=(const Range &r) { return *this = Number<W, false>(r); }
};

// Types of results, all of them exact.
template <int W1, bool S1, int W2, bool S2> struct Result {
  static const int common = larger(W1 + (S2 && !S1), W2 + (S1 && !S2));
  typedef Number<common, S1 || S2> logic;
  typedef Number<common + 1, S1 || S2> plus;
  typedef Number<common + 1, true> minus;
  typedef Number<W1 + W2, S1 || S2> times;
  typedef Number<W1 + S2, S1 || S2> quotient;
  struct truth {
    static constexpr bool exact(bool v) { return v; }
  };
};

template <class C> using Integral = Number<std::is_same<C, bool>::value ? 1 : 8 * sizeof(C), std::is_signed<C>::value>;
template <class C> using IfIntegral = typename std::enable_if<std::is_integral<C>::value>::type;

// An operator on two numbers, computed in a type WITHIN which both fit; and the same with an integer of C++ on one side.
#define QC_OPERATOR(OP, WITHIN, RESULT)                                                                                                            \
  template <int W1, bool S1, int W2, bool S2> constexpr auto operator OP(const Number<W1, S1> &a, const Number<W2, S2> &b) {                       \
    typedef typename Result<W1, S1, W2, S2>::WITHIN::T T;                                                                                          \
    return Result<W1, S1, W2, S2>::RESULT::exact(T(a.value) OP T(b.value));                                                                        \
  }                                                                                                                                                \
  template <int W, bool S, class C, class = IfIntegral<C>> constexpr auto operator OP(const Number<W, S> &a, C c) { return a OP Integral<C>(c); }  \
  template <int W, bool S, class C, class = IfIntegral<C>> constexpr auto operator OP(C c, const Number<W, S> &a) { return Integral<C>(c) OP a; }
QC_OPERATOR(+, plus, plus)
QC_OPERATOR(-, minus, minus)
QC_OPERATOR(*, times, times)
QC_OPERATOR(/, plus, quotient)
QC_OPERATOR(&, logic, logic)
QC_OPERATOR(|, logic, logic)
QC_OPERATOR(^, logic, logic)
QC_OPERATOR(==, logic, truth)
QC_OPERATOR(!=, logic, truth)
QC_OPERATOR(<, logic, truth)
QC_OPERATOR(>, logic, truth)
QC_OPERATOR(<=, logic, truth)
QC_OPERATOR(>=, logic, truth)
#undef QC_OPERATOR

} // namespace native
} // namespace qc

template <int W> using ap_int = qc::native::Number<W, true>;
template <int W> using ap_uint = qc::native::Number<W, false>;
