// Streams between processes, and words on them. A token is a word of whole elements, element 0 in the low bits.
#pragma once
#include "tool.hpp"

#if defined(__BAMBU__) || defined(QC_VENDOR)
#include <hls_stream.h>
#ifdef QC_VENDOR
#include <ap_axi_sdata.h>
#endif
#define QC_DEPTH(stream, depth)
#define QC_PROCESS(call) call
#define QC_JOIN()
#else
#include "simulation.hpp"
#endif

// The open compiler makes one module of functions with the same body, and a module can be one process only: each has a number in its body.
#ifdef __BAMBU__
#define QC_DISTINCT(number)                                                                                                                        \
  static volatile uint16_t process;                                                                                                                \
  process = number
#else
#define QC_DISTINCT(number)
#endif

namespace qc {

#ifdef __BAMBU__
// Class types on streams are slow or wrong there: plain unsigned integers of at most 64 bits.
template <int BYTES> struct plain {};
template <> struct plain<1> { typedef uint8_t type; };
template <> struct plain<2> { typedef uint16_t type; };
template <> struct plain<4> { typedef uint32_t type; };
template <> struct plain<8> { typedef uint64_t type; };
template <int W> struct token {
  static_assert(W <= 64, "the open compiler takes tokens of at most 64 bits: fold less");
  typedef typename plain<(W <= 8 ? 1 : W <= 16 ? 2 : W <= 32 ? 4 : 8)>::type type;
};
#else
template <int W> struct token { typedef ap_uint<W> type; };
#endif

// Words of W bits at the ports of the top: an AXI stream whose last word of a frame is marked (TLAST); plain words for the open compiler.
#ifdef __BAMBU__
template <int W> struct axis {
  typedef typename token<W>::type type;
  static ap_uint<W> read(hls::stream<type> &in) {
#pragma HLS inline
    return ap_uint<W>(in.read());
  }
  static void write(hls::stream<type> &out, const ap_uint<W> &data, bool last) {
#pragma HLS inline
    out.write(type(data));
  }
};
#else
template <int W> struct axis {
  static const int bytes = W <= 8 ? 1 : W <= 16 ? 2 : W <= 32 ? 4 : W <= 64 ? 8 : W <= 128 ? 16 : W <= 256 ? 32 : W <= 512 ? 64 : 128; // as a DMA takes them
#ifdef QC_VENDOR
  typedef ap_axiu<8 * bytes, 0, 0, 0> type;
#else
  struct type {
    ap_uint<8 * bytes> data;
    ap_uint<1> last;
  };
#endif
  static ap_uint<W> read(hls::stream<type> &in) {
#pragma HLS inline
    return ap_uint<W>(in.read().data);
  }
  static void write(hls::stream<type> &out, const ap_uint<W> &data, bool last) {
#pragma HLS inline
    type word;
    word.data = data;
    word.last = last;
#ifdef QC_VENDOR
    word.keep = -1;
    word.strb = -1;
#endif
    out.write(word);
  }
};
#endif

} // namespace qc
