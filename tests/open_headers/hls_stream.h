// Streams of an open HLS compiler: of plain unsigned integers of at most 64 bits, which are read and written and nothing else.
#pragma once
#include <type_traits>

namespace hls {
template <class T> class stream {
  static_assert(std::is_integral<T>::value && std::is_unsigned<T>::value, "class types on streams are slow or wrong");

public:
  stream() {}
  stream(const stream &) = delete;
  T read();
  void write(const T &value);
};
} // namespace hls
