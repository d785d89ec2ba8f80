// Everything that depends on the tool: Vitis HLS, PandA-Bambu (defines __BAMBU__), or g++ for C simulation.
#pragma once
#if defined(__SYNTHESIS__) || defined(QC_VENDOR) || defined(__BAMBU__) || defined(QC_AP_TYPES)
#ifndef AP_INT_MAX_W
#define AP_INT_MAX_W 4096 // a token of whole windows is wider than what most tools take unasked
#endif
#include <ap_int.h>
#else
#include "native.hpp"
#define QC_NATIVE
#endif
#include <cstdint>
#include <type_traits>

#if defined(__BAMBU__) || defined(QC_VENDOR)
#define QC_HARDWARE
#endif

namespace qc {

// ap_int<W> or ap_uint<W>.
template <int W, bool SIGNED> struct integer { typedef ap_int<W> type; };
template <int W> struct integer<W, false> { typedef ap_uint<W> type; };

// An element of a memory of constants. In C simulation a plain integer: g++ takes a list of those many times faster than one of a class.
template <int W, bool SIGNED, bool PLAIN> struct element_of { typedef typename integer<W, SIGNED>::type type; };
#ifdef QC_NATIVE
template <int W, bool SIGNED> struct element_of<W, SIGNED, true> {
  typedef native::Storage<native::bytes(W), W> storage;
  typedef typename std::conditional<SIGNED, typename storage::with_sign, typename storage::without>::type type;
};
#endif
template <int W, bool SIGNED> struct element { typedef typename element_of<W, SIGNED, W <= 32>::type type; };

// Numbers of W bits that hold every value that reaches them: plain integers in C simulation, which compiles many of them in less time.
#ifdef QC_NATIVE
template <int W> struct exact {
  typedef typename std::conditional<(W < 63), int64_t, ap_int<W>>::type with_sign;
  typedef typename std::conditional<(W < 63), int64_t, ap_uint<W>>::type without;
};
#else
template <int W> struct exact { typedef ap_int<W> with_sign; typedef ap_uint<W> without; };
#endif
template <int W> using Signed = typename exact<W>::with_sign;
template <int W> using Unsigned = typename exact<W>::without;

// Bits of a number from 0 to MOST.
template <int MOST> struct bits { static const int count = 1 + bits<MOST / 2>::count; };
template <> struct bits<1> { static const int count = 1; };
template <> struct bits<0> { static const int count = 1; };

// Counters of MOST at most, with a sign those of -MOST to MOST: as wide as they need to be in hardware, plain integers in C simulation.
#ifdef QC_HARDWARE
template <int MOST, bool SIGNED = false> struct counter { typedef typename integer<bits<MOST>::count + SIGNED, SIGNED>::type type; };
#else
template <int MOST, bool SIGNED = false> struct counter { typedef int type; };
#endif
template <int W> inline int index(const ap_uint<W> &at) {
#pragma HLS inline
  return at.to_int();
}
template <int W> inline int index(const ap_int<W> &at) {
#pragma HLS inline
  return at.to_int();
}
inline int index(int at) {
#pragma HLS inline
  return at;
}

// STEP places further in a ring of SIZE.
template <int SIZE, int STEP, class C> inline C further(const C &at) {
#pragma HLS inline
  return at >= SIZE - STEP ? C(at - (SIZE - STEP)) : C(at + STEP);
}

// Number i of a constant array: of plain integers, or of numbers in LIMBS words of 64 bits, low word first.
template <class T, int LIMBS, class P> inline T load(const P *p, int i) {
#pragma HLS inline
  if (LIMBS == 1)
    return T(p[i]);
  ap_int<64 * LIMBS> wide = 0;
LOAD:
  for (int limb = 0; limb < LIMBS; ++limb) { // unroll
    wide |= ap_int<64 * LIMBS>(ap_uint<64>((uint64_t)p[i * LIMBS + limb])) << (64 * limb);
  }
  return T(wide);
}

typedef std::integral_constant<int, 0> Start; // the first element of a call on a whole tensor
template <class Row, class B> struct fixed { static const bool value = Row::count == 1 || std::is_same<B, Start>::value; };

// What a number that is computed chooses from an array. LOGIC: from SIZE constants STRIDE apart, by multiplexers that each reader has for
// itself: a memory would serve two readers a cycle. Else from a memory with one reader. (C simulation need not tell them apart.)
template <bool LOGIC, class T, int LIMBS, int SIZE, int STRIDE> struct chosen {
  template <class P> static T from(const P *p, int first, int place) {
#pragma HLS inline
    return load<T, LIMBS>(p, first + place * STRIDE);
  }
};
#ifdef QC_HARDWARE
template <class T, int LIMBS, int SIZE, int STRIDE> struct chosen<true, T, LIMBS, SIZE, STRIDE> {
  template <class P> static T from(const P *p, int first, int place) {
#pragma HLS inline
    const int levels = SIZE > 1 ? bits<SIZE - 1>::count : 0, leaves = 1 << levels;
    T level[leaves];
#pragma HLS array_partition variable=level complete
  LEAF:
    for (int c = 0; c < leaves; ++c) { // unroll
      level[c] = load<T, LIMBS>(p, first + (c < SIZE ? c : SIZE - 1) * STRIDE);
    }
  LEVEL:
    for (int b = 0; b < levels; ++b) { // unroll
    MULTIPLEXER:
      for (int c = 0; c < leaves >> (b + 1); ++c) { // unroll
        level[c] = (place >> b) & 1 ? level[2 * c + 1] : level[2 * c];
      }
    }
    return level[0];
  }
};
#endif

} // namespace qc

// C simulation may watch every intermediate tensor, and put given numbers in its place; hardware never does.
#ifdef QC_TRACE_ENABLED
#include <cstdio>
#include <cstdlib>
namespace qc {
extern FILE *trace_file;
extern const uint64_t *given;      // the frame's numbers, in the layout of the trace; null: those that were computed stay
extern uint64_t trace_frame[];     // of the frame that runs
extern size_t trace_at[];          // where a tensor's next number goes; one after the other where no processes run side by side
extern const size_t trace_end;     // words of a frame

inline void wrong_trace() {
  printf("FAIL a tensor has more or fewer elements than its trace\n");
  std::exit(1);
}
template <int W, class T> void trace(int tensor, T *v, int n) {
  const int limbs = (W + 63) / 64;
  for (int i = 0; trace_file && i < n; ++i) {
    const size_t at = trace_at[tensor];
    trace_at[tensor] += limbs;
    if (trace_at[tensor] > trace_end)
      wrong_trace();
    const ap_int<64 * limbs> wide = v[i];
    for (int limb = 0; limb < limbs; ++limb)
      trace_frame[at + limb] = ap_uint<64>(wide >> (64 * limb)).to_uint64();
    if (given)
      v[i] = load<T, limbs>(given + at, 0);
  }
}
} // namespace qc
#define QC_TRACE(width, v, n) qc::trace<width>(0, v, n)
#define QC_COLLECT(tensor, width, v, n) qc::trace<width>(tensor, v, n)
#else
#define QC_TRACE(width, v, n)
#define QC_COLLECT(tensor, width, v, n)
#endif
