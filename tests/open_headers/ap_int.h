// What an open HLS compiler offers of ap_int<W> and ap_uint<W>, to be parsed and not to be run: ranges can be read and not be written,
// single bits both; nothing becomes a plain integer by itself.
#pragma once
#include <cstdint>
#include <type_traits>

template <int W> struct ap_int;
template <int W> struct ap_uint;

namespace open {
template <int W, bool S> struct of { typedef ap_int<W> type; };
template <int W> struct of<W, false> { typedef ap_uint<W> type; };
template <class I> using integer = typename std::enable_if<std::is_integral<I>::value, I>::type;
constexpr int most(int a, int b) { return a > b ? a : b; }

struct Slice {};
struct Bit {
  Bit &operator=(bool);
  operator bool() const;
};

template <int W, bool S> struct number {
  static const int width = W;
  static_assert(W > 0, "a number without bits");
  number() {}
  template <class I, class = integer<I>> number(I) {}
  template <int V, bool T> number(const number<V, T> &) {}
  number(const Slice &) {}
  number(const Bit &) {}
  template <class I, class = integer<I>> explicit operator I() const;
  int to_int() const;
  uint64_t to_uint64() const;
  const Slice range(int, int) const;
  Bit operator[](int);
  bool operator[](int) const;
  typename of<W + 1, true>::type operator-() const;
  typename of<W + !S, true>::type operator~() const;
  bool operator!() const;
  template <class B> typename of<W, S>::type operator<<(const B &) const;
  template <class B> typename of<W, S>::type operator>>(const B &) const;
  template <class B> number &operator+=(const B &);
  template <class B> number &operator-=(const B &);
  template <class B> number &operator|=(const B &);
  template <class B> number &operator&=(const B &);
};

// An operator of two numbers, and of a number and a plain integer on either side.
#define OPEN_OPERATOR(op, width, sign)                                                                                                             \
  template <int V, bool S, int W, bool T> typename of<(width), (sign)>::type operator op(const number<V, S> &, const number<W, T> &);              \
  template <int V, bool S, class I, class = integer<I>>                                                                                            \
  auto operator op(const number<V, S> &a, I b)->decltype(a op number<8 * sizeof(I), std::is_signed<I>::value>(b));                                 \
  template <int V, bool S, class I, class = integer<I>>                                                                                            \
  auto operator op(I a, const number<V, S> &b)->decltype(number<8 * sizeof(I), std::is_signed<I>::value>(a) op b);
OPEN_OPERATOR(+, most(V + (T && !S), W + (S && !T)) + 1, S || T)
OPEN_OPERATOR(-, most(V + (T && !S), W + (S && !T)) + 1, true)
OPEN_OPERATOR(*, V + W, S || T)
OPEN_OPERATOR(/, V + T, S || T)
OPEN_OPERATOR(%, V, S)
OPEN_OPERATOR(&, most(V + (T && !S), W + (S && !T)), S || T)
OPEN_OPERATOR(|, most(V + (T && !S), W + (S && !T)), S || T)
OPEN_OPERATOR(^, most(V + (T && !S), W + (S && !T)), S || T)
#undef OPEN_OPERATOR
#define OPEN_COMPARISON(op)                                                                                                                        \
  template <int V, bool S, int W, bool T> bool operator op(const number<V, S> &, const number<W, T> &);                                            \
  template <int V, bool S, class I, class = integer<I>> bool operator op(const number<V, S> &, I);                                                 \
  template <int V, bool S, class I, class = integer<I>> bool operator op(I, const number<V, S> &);
OPEN_COMPARISON(==)
OPEN_COMPARISON(!=)
OPEN_COMPARISON(<)
OPEN_COMPARISON(<=)
OPEN_COMPARISON(>)
OPEN_COMPARISON(>=)
#undef OPEN_COMPARISON
} // namespace open

template <int W> struct ap_int : open::number<W, true> {
  using open::number<W, true>::number;
  ap_int() {}
};
template <int W> struct ap_uint : open::number<W, false> {
  using open::number<W, false>::number;
  ap_uint() {}
};
