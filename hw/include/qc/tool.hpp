// Everything that depends on the tool: Vitis HLS, PandA-Bambu (defines __BAMBU__), or g++ for C simulation.
#pragma once
#if defined(__SYNTHESIS__) || defined(QC_VENDOR) || defined(__BAMBU__) || defined(QC_AP_TYPES)
#include <ap_int.h>
#else
#include "native.hpp"
#endif
#include <cstdint>

namespace qc {

// ap_int<W> or ap_uint<W>.
template <int W, bool SIGNED> struct integer { typedef ap_int<W> type; };
template <int W> struct integer<W, false> { typedef ap_uint<W> type; };

// Number i of a constant array: of plain integers, or of numbers in LIMBS words of 64 bits, low word first.
template <class T, int LIMBS, class P> inline T load(const P *p, int i) {
  if (LIMBS == 1)
    return T(p[i]);
  ap_int<64 * LIMBS> wide = 0;
LOAD:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int limb = 0; limb < LIMBS; ++limb) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    wide.range(64 * limb + 63, 64 * limb) = ap_uint<64>((uint64_t)p[i * LIMBS + limb]);
  }
  return T(wide);
}

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
