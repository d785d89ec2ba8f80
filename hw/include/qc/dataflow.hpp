// Processes of the architecture `dataflow`: loops over tokens with one read and one write per stream and iteration.
// How a token's elements are packed is a Lanes type (see below); a process that computes more is printed with the project.
#pragma once
#include "conv.hpp"
#include "pack.hpp"
#include "stream.hpp"

namespace qc {

// N elements of W bits in a token: integers (SIGNED or not), or bipolar ones.
template <int N, int W, bool SIGNED, bool BIPOLAR> struct Lanes {
  static const int count = N, width = N * W;
  typedef typename token<N * W>::type word;

  template <class T> static void read(hls::stream<word> &in, T *v) {
    const ap_uint<N * W> bits = in.read();
    open<T>(bits, v);
  }
  template <class T> static void open(const ap_uint<N * W> &bits, T *v) {
    if (BIPOLAR)
      unpack_bipolar<N>(bits, v);
    else
      unpack<N, W, SIGNED>(bits, v);
  }
  template <class T> static void write(hls::stream<word> &out, const T *v) {
    ap_uint<N * W> bits;
    if (BIPOLAR)
      pack_bipolar<N>(v, bits);
    else
      pack<N, W>(v, bits);
    out.write(word(bits));
  }
};

// STEP tokens of W bits become one.
template <int TOKENS, int W, int STEP, class IN, class OUT> inline void widen(hls::stream<IN> &in, hls::stream<OUT> &out) {
  ap_uint<W * STEP> held = 0;
WIDEN:
  for (int t = 0; t < TOKENS; ++t) {
    for (int s = 0; s < STEP; ++s) {
#ifndef __BAMBU__
#pragma HLS pipeline II=1
#endif
      const ap_uint<W> word = in.read();
      held.range(s * W + W - 1, s * W) = word;
      if (s == STEP - 1)
        out.write(OUT(held));
    }
  }
}

// One token becomes STEP of W bits.
template <int TOKENS, int W, int STEP, class IN, class OUT> inline void narrow(hls::stream<IN> &in, hls::stream<OUT> &out) {
  ap_uint<W * STEP> held = 0;
NARROW:
  for (int t = 0; t < TOKENS; ++t) {
    for (int s = 0; s < STEP; ++s) {
#ifndef __BAMBU__
#pragma HLS pipeline II=1
#endif
      if (s == 0)
        held = in.read();
      const ap_uint<W> word = held.range(s * W + W - 1, s * W);
      out.write(OUT(word));
    }
  }
}

// Windows of an H x W plane with G tokens per place, channels last. Of every window all places follow one another: for each place all G
// tokens (BY_GROUP false: what a dot product reads) or for each of the G groups all places (what works channel by channel).
// HELD rows are buffered; a token is read while there is room, and one written where its window is complete (see schedule/tokens.py).
// The buffer belongs to the process: two processes of the same sizes must not share one.
template <int H, int W, int G, int KH, int KW, int SH, int SW, int DH, int DW, int HELD, int ITERATIONS, bool BY_GROUP, class WORD>
inline void window(hls::stream<WORD> &in, hls::stream<WORD> &out, WORD *held) {
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
  int got = 0, slot = 0, place = 0;   // tokens read; where the next one goes: row of the buffer, place in the row
  int i = 0, j = 0, k = 0, l = 0, g = 0; // the next token to write
  int base = 0;                          // row of the buffer that holds row i * SH
WINDOW:
  for (int t = 0; t < ITERATIONS; ++t) {
#ifndef __BAMBU__
#pragma HLS pipeline II=1
#endif
    const bool open = i < rows;
    const int room = (i * SH + HELD) * W * G;
    if (got < H * W * G && (!open || got < room)) {
      held[slot * W * G + place] = in.read();
      ++got;
      ++place;
      if (place == W * G) {
        place = 0;
        slot = slot == HELD - 1 ? 0 : slot + 1;
      }
    }
    const int need = ((i * SH + (KH - 1) * DH) * W + j * SW + (KW - 1) * DW + 1) * G;
    if (open && got >= need) {
      int from = base + k * DH;
      from = from >= HELD ? from - HELD : from;
      out.write(held[(from * W + j * SW + l * DW) * G + g]);
      bool next = false; // the window is done
      if (BY_GROUP) {
        next = g == G - 1 && k == KH - 1 && l == KW - 1;
        if (l < KW - 1) {
          ++l;
        } else {
          l = 0;
          if (k < KH - 1) {
            ++k;
          } else {
            k = 0;
            g = g == G - 1 ? 0 : g + 1;
          }
        }
      } else {
        next = g == G - 1 && k == KH - 1 && l == KW - 1;
        if (g < G - 1) {
          ++g;
        } else {
          g = 0;
          if (l < KW - 1) {
            ++l;
          } else {
            l = 0;
            k = k == KH - 1 ? 0 : k + 1;
          }
        }
      }
      if (next) {
        if (j < columns - 1) {
          ++j;
        } else {
          j = 0;
          ++i;
          base = base + SH >= HELD ? base + SH - HELD : base + SH;
        }
      }
    }
  }
}

// Weights of a step: N codes of W bits, TOGETHER in an element of the memory. BIPOLAR: one bit, -1 or +1.
template <int N, int W, int TOGETHER, bool SIGNED, bool BIPOLAR, class T, class M> inline void weights(const M *memory, int step, T *v) {
WEIGHT:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int n = 0; n < N; ++n) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const ap_uint<W * TOGETHER> element = memory[step * (N / TOGETHER) + n / TOGETHER];
    const ap_uint<W> bits = element >> (W * (n % TOGETHER));
    typename integer<W, SIGNED>::type code;
    code = bits;
    v[n] = BIPOLAR ? (code != 0 ? T(1) : T(-1)) : T(code);
  }
}

// total[p] (+)= sum over s of x[s] * w[p][s]: the products of one step; FIRST starts the sums.
template <int PE, int SIMD, class RX, class RW, int DROP, class P, class X, class K, class Y>
inline void multiply_add(const X *x, const K *w, Y *total, bool first) {
PE_LOOP:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int p = 0; p < PE; ++p) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    Y sum = first ? Y(0) : total[p];
  SIMD_LOOP:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int s = 0; s < SIMD; ++s) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      sum += Y(product<P>(RX::at(x, s), RW::at(w, p * SIMD + s)) >> DROP);
    }
    total[p] = sum;
  }
}

// The same channel by channel: total[p] (+)= x[p] * w[p].
template <int PE, class RX, class RW, int DROP, class P, class X, class K, class Y>
inline void multiply_each(const X *x, const K *w, Y *total, bool first) {
EACH:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int p = 0; p < PE; ++p) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    const Y term = Y(product<P>(RX::at(x, p), RW::at(w, p)) >> DROP);
    total[p] = first ? term : Y(total[p] + term);
  }
}

template <int PE, class X, class Y> inline void add_each(const X *x, Y *total, bool first) {
ADD:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int p = 0; p < PE; ++p) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    total[p] = first ? Y(x[p]) : Y(total[p] + x[p]);
  }
}

template <int PE, class R, class X> inline void largest_each(const X *x, X *best, bool first) {
LARGEST:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int p = 0; p < PE; ++p) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    best[p] = first || R::order(x[p]) > R::order(best[p]) ? x[p] : best[p];
  }
}

} // namespace qc
