// Layers that work on tensors in memories: loops, one product, term or element an iteration, for architecture `dataflow`. Every nest is
// perfect, so that it becomes one pipelined loop. Same arguments as the unrolled kernels of the same names.
#pragma once
#include "conv.hpp"
#include "map.hpp"

namespace qc {
namespace buffered {

// y[b][g][o][i][j] = sum over c, k, l of x[b][g][c][i * SH + k * DH][j * SW + l * DW] * w[g][o][c][k][l].
template <int B, int G, int O, int C, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class RX, class RW, int DROP,
          class P, class X, class K, class Y>
inline void conv(const X *x, const K *w, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
  Y sum = 0;
CONV_BATCH:
  for (int b = 0; b < B; ++b) { // loop
    for (int g = 0; g < G; ++g) { // loop
      for (int o = 0; o < O; ++o) { // loop
        for (int i = 0; i < rows; ++i) { // loop
          for (int j = 0; j < columns; ++j) { // loop
            for (int c = 0; c < C; ++c) { // loop
              for (int k = 0; k < KH; ++k) { // loop
                for (int l = 0; l < KW; ++l) { // pipeline
                  const int from = (((b * G + g) * C + c) * H + i * SH + k * DH) * W + j * SW + l * DW;
                  const Y term = Y(product<P>(RX::at(x, from), RW::at(w, (((g * O + o) * C + c) * KH + k) * KW + l)) >> DROP);
                  sum = c == 0 && k == 0 && l == 0 ? term : Y(sum + term);
                  if (c == C - 1 && k == KH - 1 && l == KW - 1)
                    y[(((b * G + g) * O + o) * rows + i) * columns + j] = sum;
                }
              }
            }
          }
        }
      }
    }
  }
}

// y[b][n][m] = sum over k of a[b][n][k] * w[b][k][m].
template <int B, int N, int K, int M, bool BATCH_A, bool BATCH_W, class RA, class RW, int DROP, class P, class A, class W, class Y>
inline void matmul(const A *a, const W *w, Y *y) {
#pragma HLS inline
  Y sum = 0;
BATCH:
  for (int b = 0; b < B; ++b) { // loop
    for (int n = 0; n < N; ++n) { // loop
      for (int m = 0; m < M; ++m) { // loop
        for (int k = 0; k < K; ++k) { // pipeline
          const Y term =
              Y(product<P>(RA::at(a, (BATCH_A ? b * N * K : 0) + n * K + k), RW::at(w, (BATCH_W ? b * K * M : 0) + k * M + m)) >> DROP);
          sum = k == 0 ? term : Y(sum + term);
          if (k == K - 1)
            y[(b * N + n) * M + m] = sum;
        }
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void sum_pool(const X *x, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
  Y sum = 0;
SUM_CHANNEL:
  for (int n = 0; n < N; ++n) { // loop
    for (int i = 0; i < rows; ++i) { // loop
      for (int j = 0; j < columns; ++j) { // loop
        for (int k = 0; k < KH; ++k) { // loop
          for (int l = 0; l < KW; ++l) { // pipeline
            const Y term = number<Y>(R::at(x, (n * H + i * SH + k * DH) * W + j * SW + l * DW));
            sum = k == 0 && l == 0 ? term : Y(sum + term);
            if (k == KH - 1 && l == KW - 1)
              y[(n * rows + i) * columns + j] = sum;
          }
        }
      }
    }
  }
}

template <int N, int H, int W, int KH, int KW, int SH, int SW, int DH, int DW, class R, class X, class Y> inline void max_pool(const X *x, Y *y) {
#pragma HLS inline
  const int rows = windows<H, KH, SH, DH>::count, columns = windows<W, KW, SW, DW>::count;
  X best = 0;
MAX_CHANNEL:
  for (int n = 0; n < N; ++n) { // loop
    for (int i = 0; i < rows; ++i) { // loop
      for (int j = 0; j < columns; ++j) { // loop
        for (int k = 0; k < KH; ++k) { // loop
          for (int l = 0; l < KW; ++l) { // pipeline
            const X next = x[(n * H + i * SH + k * DH) * W + j * SW + l * DW];
            best = (k == 0 && l == 0) || R::order(next) > R::order(best) ? next : best;
            if (k == KH - 1 && l == KW - 1)
              y[(n * rows + i) * columns + j] = best;
          }
        }
      }
    }
  }
}

template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_max(const X *x, Y *y) {
#pragma HLS inline
  X best = 0;
MAX_OUTER:
  for (int o = 0; o < OUTER; ++o) { // loop
    for (int i = 0; i < INNER; ++i) { // loop
      for (int k = 0; k < SIZE; ++k) { // pipeline
        const X next = x[(o * SIZE + k) * INNER + i];
        best = k == 0 || R::order(next) > R::order(best) ? next : best;
        if (k == SIZE - 1)
          y[o * INNER + i] = best;
      }
    }
  }
}

template <int OUTER, int SIZE, int INNER, class R, class X, class Y> inline void reduce_sum(const X *x, Y *y) {
#pragma HLS inline
  Y sum = 0;
SUM_OUTER:
  for (int o = 0; o < OUTER; ++o) { // loop
    for (int i = 0; i < INNER; ++i) { // loop
      for (int k = 0; k < SIZE; ++k) { // pipeline
        const Y term = number<Y>(R::at(x, (o * SIZE + k) * INNER + i));
        sum = k == 0 ? term : Y(sum + term);
        if (k == SIZE - 1)
          y[o * INNER + i] = sum;
      }
    }
  }
}

// Index of the maximum; of equal ones the first, or the LAST.
template <int OUTER, int SIZE, int INNER, bool LAST, class R, class X, class Y> inline void arg_max(const X *x, Y *y) {
#pragma HLS inline
  X best = 0;
  Y place = 0;
ARG_OUTER:
  for (int o = 0; o < OUTER; ++o) { // loop
    for (int i = 0; i < INNER; ++i) { // loop
      for (int k = 0; k < SIZE; ++k) { // pipeline
        const X next = x[(o * SIZE + k) * INNER + i];
        const bool better = k == 0 || R::order(next) > R::order(best) || (LAST && !(R::order(best) > R::order(next)));
        place = better ? Y(k) : place;
        best = better ? next : best;
        if (k == SIZE - 1)
          y[o * INNER + i] = place;
      }
    }
  }
}

// One part of a concatenation: OUTER blocks of SIZE elements, STRIDE apart.
template <int OUTER, int SIZE, int STRIDE, class TX, int LX, class X, class Y> inline void place(const X *x, Y *y) {
#pragma HLS inline
PLACE:
  for (int o = 0; o < OUTER; ++o) { // loop
    for (int i = 0; i < SIZE; ++i) { // pipeline
      y[o * STRIDE + i] = load<TX, LX>(x, o * SIZE + i);
    }
  }
}

// Along one axis of [OUTER][SIZE][INNER]: BEFORE elements of fill[row] in front, GAP - 1 between neighbours, up to TOTAL.
template <int OUTER, int SIZE, int INNER, int TOTAL, int BEFORE, int GAP, class Row, class TF, int LF, class X, class F, class Y>
inline void border(const X *x, const F *fill, Y *y) {
#pragma HLS inline
BORDER_OUTER:
  for (int o = 0; o < OUTER; ++o) { // loop
    for (int k = 0; k < TOTAL; ++k) { // loop
      for (int i = 0; i < INNER; ++i) { // pipeline
        const int to = (o * TOTAL + k) * INNER + i;
        if (k >= BEFORE && (k - BEFORE) % GAP == 0 && (k - BEFORE) / GAP < SIZE)
          y[to] = x[(o * SIZE + (k - BEFORE) / GAP) * INNER + i];
        else
          y[to] = load<TF, LF>(fill, Row::at(to));
      }
    }
  }
}

// Copies, and codes to numbers.
template <int N, class From, class TX, int LX, class X, class Y> inline void wire(const X *x, Y *y) {
#pragma HLS inline
WIRE:
  for (int i = 0; i < N; ++i) { // pipeline
    y[i] = load<TX, LX>(x, From::at(i));
  }
}

template <int N, class Reader, class X, class Y> inline void decode(const X *x, Y *y) {
#pragma HLS inline
DECODE:
  for (int i = 0; i < N; ++i) { // pipeline
    y[i] = number<Y>(Reader::at(x, i));
  }
}

// y[i] = floor(sqrt(num / (x[i] * den))). T holds num, and x[i] * den * 4**K.
template <int N, int K, class T, class RX, class RM, class RD, class X, class M, class V, class Y>
inline void inverse_roots(const X *x, const M *num, const V *den, Y *y) {
#pragma HLS inline
ROOT:
  for (int i = 0; i < N; ++i) { // pipeline
    y[i] = inverse_root<K, Y>(T(number<T>(RX::at(x, i)) * number<T>(RD::at(den, 0))), number<T>(RM::at(num, 0)));
  }
}

// Quotients x = a[i] * mul / (b[FromB(i)] * div), doubled and rounded to odd. T holds the dividend, D the divisor.
template <int N, int K, class FromB, class T, class D, class RA, class RB, class RM, class RD, class A, class B, class M, class V, class Y>
inline void divide(const A *a, const B *b, const M *mul, const V *div, Y *y) {
#pragma HLS inline
DIVIDE:
  for (int i = 0; i < N; ++i) { // pipeline
    const T dividend = number<T>(RA::at(a, i)) * number<T>(RM::at(mul, 0));
    const D divisor = number<D>(RB::at(b, FromB::at(i))) * number<D>(RD::at(div, 0));
    y[i] = odd_quotient<K, D, Y>(dividend, divisor);
  }
}

} // namespace buffered
} // namespace qc
