// Matrix products of integers. The accumulator type is proven wide enough for every reachable input.
#pragma once
#include "minifloat.hpp"

namespace qc {

// y[b][n][m] = sum over k of a[b][n][k] * w[b][k][m]; BATCH_A, BATCH_W: whether that operand has the axis b.
// RA, RW: how the elements are read (Int or Float). P holds a product; its DROP low bits are floored away (0: exact).
template <int B, int N, int K, int M, bool BATCH_A, bool BATCH_W, class RA, class RW, int DROP, class P, class A, class W, class Y>
inline void matmul(const A *a, const W *w, Y *y) {
#pragma HLS inline
BATCH:
  for (int b = 0; b < B; ++b) { // unroll
  ROW:
    for (int n = 0; n < N; ++n) { // unroll
    COLUMN:
      for (int m = 0; m < M; ++m) { // unroll
        Y sum = 0;
      TERM:
        for (int k = 0; k < K; ++k) { // unroll
          sum += Y(product<P>(RA::at(a, (BATCH_A ? b * N * K : 0) + n * K + k), RW::at(w, (BATCH_W ? b * K * M : 0) + k * M + m)) >> DROP);
        }
        y[(b * N + n) * M + m] = sum;
      }
    }
  }
}

// The same where one matrix is constant: S::of makes all sums of a vector. LEFT: the constant one is a.
template <int B, int N, int K, int M, bool LEFT, class S, class X, class Y> inline void matmul_sums(const X *x, Y *y) {
#pragma HLS inline
  const int vectors = LEFT ? M : N, rows = LEFT ? N : M;
SUMS_BATCH:
  for (int b = 0; b < B; ++b) { // unroll
  SUMS_VECTOR:
    for (int v = 0; v < vectors; ++v) { // unroll
      X vector[K];
      Y sums[rows];
#pragma HLS array_partition variable=vector complete
#pragma HLS array_partition variable=sums complete
    SUMS_TERM:
      for (int k = 0; k < K; ++k) { // unroll
        vector[k] = x[LEFT ? (b * K + k) * M + v : (b * N + v) * K + k];
      }
      S::of(vector, sums);
    SUMS_ROW:
      for (int r = 0; r < rows; ++r) { // unroll
        y[LEFT ? (b * N + r) * M + v : (b * N + v) * M + r] = sums[r];
      }
    }
  }
}

} // namespace qc
