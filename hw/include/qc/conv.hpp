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
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
CONV_BATCH:
  for (int b = 0; b < B; ++b) { // unroll
  CONV_GROUP:
    for (int g = 0; g < G; ++g) { // unroll
    CONV_OUTPUT:
      for (int o = 0; o < O; ++o) { // unroll
      CONV_ROW:
        for (int i = 0; i < rows; ++i) { // unroll
        CONV_COLUMN:
          for (int j = 0; j < columns; ++j) { // unroll
            Y sum = 0;
          CONV_CHANNEL:
            for (int c = 0; c < C; ++c) { // unroll
            CONV_KERNEL_ROW:
              for (int k = 0; k < KH; ++k) { // unroll
              CONV_KERNEL_COLUMN:
                for (int l = 0; l < KW; ++l) { // unroll
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

// The same with constant weights: S::of makes all sums of a window of all channels.
template <int B, int G, int O, int C, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class S, class X, class Y>
inline void conv_sums(const X *x, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
SUMS_BATCH:
  for (int b = 0; b < B; ++b) { // unroll
  SUMS_ROW:
    for (int i = 0; i < rows; ++i) { // unroll
    SUMS_COLUMN:
      for (int j = 0; j < columns; ++j) { // unroll
        X window[G * C * KH * KW];
        Y sums[G * O];
#pragma HLS array_partition variable=window complete
#pragma HLS array_partition variable=sums complete
      SUMS_CHANNEL:
        for (int c = 0; c < G * C; ++c) { // unroll
        SUMS_KERNEL_ROW:
          for (int k = 0; k < KH; ++k) { // unroll
          SUMS_KERNEL_COLUMN:
            for (int l = 0; l < KW; ++l) { // unroll
              window[(c * KH + k) * KW + l] = x[((b * G * C + c) * H + i * SH + k * DH) * W + j * SW + l * DW];
            }
          }
        }
        S::of(window, sums);
      SUMS_OUTPUT:
        for (int o = 0; o < G * O; ++o) { // unroll
          y[((b * G * O + o) * rows + i) * columns + j] = sums[o];
        }
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void sum_pool(const X *x, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
SUM_CHANNEL:
  for (int n = 0; n < N; ++n) { // unroll
  SUM_ROW:
    for (int i = 0; i < rows; ++i) { // unroll
    SUM_COLUMN:
      for (int j = 0; j < columns; ++j) { // unroll
        Y sum = 0;
      SUM_KERNEL_ROW:
        for (int k = 0; k < KH; ++k) { // unroll
        SUM_KERNEL_COLUMN:
          for (int l = 0; l < KW; ++l) { // unroll
            sum += number<Y>(R::at(x, (n * H + i * SH + k * DH) * W + j * SW + l * DW));
          }
        }
        y[(n * rows + i) * columns + j] = sum;
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void max_pool(const X *x, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
MAX_CHANNEL:
  for (int n = 0; n < N; ++n) { // unroll
  MAX_ROW:
    for (int i = 0; i < rows; ++i) { // unroll
    MAX_COLUMN:
      for (int j = 0; j < columns; ++j) { // unroll
        X best = x[(n * H + i * SH) * W + j * SW];
      MAX_KERNEL_ROW:
        for (int k = 0; k < KH; ++k) { // unroll
        MAX_KERNEL_COLUMN:
          for (int l = 0; l < KW; ++l) { // unroll
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
#pragma HLS inline
BORDER_OUTER:
  for (int o = 0; o < OUTER; ++o) { // unroll
  BORDER:
    for (int k = 0; k < TOTAL; ++k) { // unroll
    BORDER_INNER:
      for (int i = 0; i < INNER; ++i) { // unroll
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
