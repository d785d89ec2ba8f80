// Everything that depends on the tool: Vitis HLS, PandA-Bambu (defines __BAMBU__), or g++ for C simulation.
#pragma once
#include <ap_int.h>
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

// C simulation may watch every intermediate tensor; hardware never does.
#ifdef QC_TRACE_ENABLED
#include <cstdio>
namespace qc {
extern FILE *trace_file;
template <int W, class T> void trace(const T *v, int n) {
  if (!trace_file)
    return;
  const int limbs = (W + 63) / 64;
  for (int i = 0; i < n; ++i) {
    ap_int<64 * limbs> wide = v[i];
    for (int limb = 0; limb < limbs; ++limb) {
      uint64_t word = ap_uint<64>(wide.range(64 * limb + 63, 64 * limb)).to_uint64();
      fwrite(&word, sizeof word, 1, trace_file);
    }
  }
}
} // namespace qc
#define QC_TRACE(width, v, n) qc::trace<width>(v, n)

// Processes run side by side: what each of them writes is collected by tensor, and put into the file behind the frame.
#include <map>
#include <vector>
namespace qc {
inline std::map<int, std::vector<uint64_t>> &collected() {
  static std::map<int, std::vector<uint64_t>> words;
  return words;
}
template <int W, class T> void collect(int tensor, const T *v, int n) {
  const int limbs = (W + 63) / 64;
  for (int i = 0; trace_file && i < n; ++i) {
    ap_int<64 * limbs> wide = v[i];
    for (int limb = 0; limb < limbs; ++limb)
      collected()[tensor].push_back(ap_uint<64>(wide.range(64 * limb + 63, 64 * limb)).to_uint64());
  }
}
inline void flush_trace() {
  for (auto &entry : collected())
    fwrite(entry.second.data(), sizeof(uint64_t), entry.second.size(), trace_file);
  collected().clear();
}
} // namespace qc
#define QC_COLLECT(tensor, width, v, n) qc::collect<width>(tensor, v, n)
#else
#define QC_TRACE(width, v, n)
#define QC_COLLECT(tensor, width, v, n)
#endif
