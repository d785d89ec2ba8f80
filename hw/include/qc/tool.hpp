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

// C simulation may watch every intermediate tensor, and put given numbers in its place; hardware never does.
#ifdef QC_TRACE_ENABLED
#include <cstdio>
#include <map>
#include <vector>
namespace qc {
extern FILE *trace_file;
extern const uint64_t *given;         // the frame's numbers, in the layout of the trace; null: those that were computed stay
extern const size_t trace_starts[]; // first word of every tensor in a frame, where processes run side by side

template <int LIMBS, class T> void watch(std::vector<uint64_t> &words, T &v, const uint64_t *instead) {
  const ap_int<64 * LIMBS> wide = v;
  for (int limb = 0; limb < LIMBS; ++limb)
    words.push_back(ap_uint<64>(wide.range(64 * limb + 63, 64 * limb)).to_uint64());
  if (instead)
    v = load<T, LIMBS>(instead, 0);
}
template <int W, class T> void trace(T *v, int n) {
  if (!trace_file)
    return;
  const int limbs = (W + 63) / 64;
  std::vector<uint64_t> words;
  for (int i = 0; i < n; ++i)
    watch<limbs>(words, v[i], given ? given + i * limbs : nullptr);
  fwrite(words.data(), sizeof(uint64_t), words.size(), trace_file);
  given = given ? given + words.size() : nullptr;
}

// Processes run side by side: what each of them writes is collected by tensor, and put into the file behind the frame.
inline std::map<int, std::vector<uint64_t>> &collected() {
  static std::map<int, std::vector<uint64_t>> words;
  return words;
}
template <int W, class T> void collect(int tensor, T *v, int n) {
  std::vector<uint64_t> &words = collected()[tensor];
  for (int i = 0; trace_file && i < n; ++i)
    watch<(W + 63) / 64>(words, v[i], given ? given + trace_starts[tensor] + words.size() : nullptr);
}
inline void flush_trace() {
  for (auto &entry : collected())
    fwrite(entry.second.data(), sizeof(uint64_t), entry.second.size(), trace_file);
  collected().clear();
}
} // namespace qc
#define QC_TRACE(width, v, n) qc::trace<width>(v, n)
#define QC_COLLECT(tensor, width, v, n) qc::collect<width>(tensor, v, n)
#else
#define QC_TRACE(width, v, n)
#define QC_COLLECT(tensor, width, v, n)
#endif
