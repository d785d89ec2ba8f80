// Windows over one or two spatial axes of [OUTER][channels][H][W] (one axis: H = 1). Borders are put around the data by `border`.
#pragma once
#include "minifloat.hpp"

namespace qc {

// Number of windows of K elements, DILATION apart, every STRIDE elements along SIZE.
template <int SIZE, int K, int STRIDE, int DILATION> struct windows { static const int count = (SIZE - DILATION * (K - 1) - 1) / STRIDE + 1; };

// y[b][g][o][i][j] = sum over c, k, l of x[b][g][c][i * SH + k * DH][j * SW + l * DW] * w[g][o][c][k][l].
// RX, RW: how the elements are read (Int or Float). P holds a product; its DROP low bits are floored away (0: exact).
template <int B, int G, int O, int C, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class RX, class RW, int DROP,
          class P, class X, class K, class Y>
inline void conv(const X *x, const K *w, Y *y) {
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
CONV_BATCH:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int b = 0; b < B; ++b) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  CONV_GROUP:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int g = 0; g < G; ++g) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    CONV_OUTPUT:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int o = 0; o < O; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
      CONV_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
        for (int i = 0; i < rows; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        CONV_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
          for (int j = 0; j < columns; ++j) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
            Y sum = 0;
          CONV_CHANNEL:
#ifdef __BAMBU__
#pragma unroll
#endif
            for (int c = 0; c < C; ++c) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
            CONV_KERNEL_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
              for (int k = 0; k < KH; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
              CONV_KERNEL_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
                for (int l = 0; l < KW; ++l) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
                  const int from = (((b * G + g) * C + c) * H + i * SH + k * DH) * W + j * SW + l * DW;
                  sum += Y(product<P>(RX::at(x, from), RW::at(w, (((g * O + o) * C + c) * KH + k) * KW + l)) >> DROP);
                }
              }
            }
            y[(((b * G + g) * O + o) * rows + i) * columns + j] = sum;
          }
        }
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void sum_pool(const X *x, Y *y) {
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
SUM_CHANNEL:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int n = 0; n < N; ++n) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  SUM_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < rows; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    SUM_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int j = 0; j < columns; ++j) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        Y sum = 0;
      SUM_KERNEL_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
        for (int k = 0; k < KH; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        SUM_KERNEL_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
          for (int l = 0; l < KW; ++l) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
            sum += number<Y>(R::at(x, (n * H + i * SH + k * DH) * W + j * SW + l * DW));
          }
        }
        y[(n * rows + i) * columns + j] = sum;
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void max_pool(const X *x, Y *y) {
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
MAX_CHANNEL:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int n = 0; n < N; ++n) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  MAX_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int i = 0; i < rows; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    MAX_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int j = 0; j < columns; ++j) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        X best = x[(n * H + i * SH) * W + j * SW];
      MAX_KERNEL_ROW:
#ifdef __BAMBU__
#pragma unroll
#endif
        for (int k = 0; k < KH; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        MAX_KERNEL_COLUMN:
#ifdef __BAMBU__
#pragma unroll
#endif
          for (int l = 0; l < KW; ++l) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
            const X next = x[(n * H + i * SH + k * DH) * W + j * SW + l * DW];
            best = R::order(next) > R::order(best) ? next : best;
          }
        }
        y[(n * rows + i) * columns + j] = best;
      }
    }
  }
}

// Along one axis of [OUTER][SIZE][INNER]: BEFORE elements of fill[row] in front, GAP - 1 between neighbours, up to TOTAL.
template <int OUTER, int SIZE, int INNER, int TOTAL, int BEFORE, int GAP, class Row, class TF, int LF, class X, class F, class Y>
inline void border(const X *x, const F *fill, Y *y) {
BORDER_OUTER:
#ifdef __BAMBU__
#pragma unroll
#endif
  for (int o = 0; o < OUTER; ++o) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
  BORDER:
#ifdef __BAMBU__
#pragma unroll
#endif
    for (int k = 0; k < TOTAL; ++k) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
    BORDER_INNER:
#ifdef __BAMBU__
#pragma unroll
#endif
      for (int i = 0; i < INNER; ++i) {
#ifndef __BAMBU__
#pragma HLS unroll
#endif
        const int to = (o * TOTAL + k) * INNER + i;
        if (k >= BEFORE && (k - BEFORE) % GAP == 0 && (k - BEFORE) / GAP < SIZE)
          y[to] = x[(o * SIZE + (k - BEFORE) / GAP) * INNER + i];
        else
          y[to] = load<TF, LF>(fill, Row::at(to));
      }
    }
  }
}

} // namespace qc
