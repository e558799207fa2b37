// Reductions over K(X, Z) from few columns: quantities of a pair by differences, exact,
// a thread's rows in registers.
//
// A block is 16 x 16 threads, each with TM rows against TN columns of a tile.
// X comes as DIM rows of `x_stride` numbers, Z as tiles of DIM x BN; a formula of several
// leaves has the columns of each in turn. Macros: DIM, TM, TN, C (columns of V),
// BLOCKS, LOGSUMEXP, DIAGONAL; PAIR(x, z, k, j) makes ELEMENT's value from x[i][k] and
// z[k][j].

#include "element.cuh"

#define THREADS 256
#define BM (16 * TM)
#define BN (16 * TN)
#define TILE (DIM * BN)
#define W 4
// Tiles before sums in registers go to the long sums, which are float64.
#define FLUSH 8
#define UNROLL _Pragma("unroll")
#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

__device__ __forceinline__ void copy_floats(float* to, const float* from, int count) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  for (int i = threadIdx.x; i < count / 4; i += THREADS)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at + i * 16),
                 "l"(from + i * 4)
                 : "memory");
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    reduce(const float* __restrict__ X, const float* __restrict__ Z,
           const float* __restrict__ V, const float* __restrict__ params,
           const float* __restrict__ diagonal, double* __restrict__ out, int n,
           long long x_stride, int shift, int tiles, int tiles_per_split, int padded_rows) {
  __shared__ __align__(16) float buffer[2][TILE + C * BN];
  const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
  const int first_tile = blockIdx.y * tiles_per_split;
  const int last_tile = min(tiles, first_tile + tiles_per_split);
  const int row = blockIdx.x * BM + ty * TM;
  [[maybe_unused]] float p[NP + 1];
  UNROLL for (int i = 0; i < NP; ++i) p[i] = params[i];
  float x[TM][DIM];
  UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int k = 0; k < DIM; ++k)
      x[i][k] = X[(size_t)k * x_stride + min(row + i, n - 1)];
#if LOGSUMEXP
  float peak[TM], total[TM];
  UNROLL for (int i = 0; i < TM; ++i) peak[i] = -INFINITY, total[i] = 0.f;
#else
  float sum[TM][C];
  UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int c = 0; c < C; ++c) sum[i][c] = 0.f;
#endif
  double* mine = out + ((size_t)blockIdx.y * padded_rows + row) * (LOGSUMEXP ? 2 : C);
  [[maybe_unused]] bool first = true;
  [[maybe_unused]] int since = 0;
  auto load = [&](int tile) {
    float* to = buffer[tile & 1];
    copy_floats(to, Z + (size_t)tile * TILE, TILE);
    copy_floats(to + TILE, V + (size_t)tile * (C * BN), C * BN);
    asm volatile("cp.async.commit_group;" ::: "memory");
  };
  if (first_tile < last_tile) load(first_tile);
  for (int tile = first_tile; tile < last_tile; ++tile) {
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    if (tile + 1 < last_tile) load(tile + 1);
    const float* zs = buffer[tile & 1];
    const bool on_diagonal = DIAGONAL && tile * BN < (int)(blockIdx.x + 1) * BM + shift &&
                             (tile + 1) * BN > (int)blockIdx.x * BM + shift;
    UNROLL for (int q = 0; q < TN / W; ++q) {
      const int at = q * (16 * W) + tx * W;
      float z[DIM][W], v[C][W];
      UNROLL for (int k = 0; k < DIM; ++k) *(float4*)z[k] = *(const float4*)(zs + k * BN + at);
      UNROLL for (int c = 0; c < C; ++c)
          *(float4*)v[c] = *(const float4*)(zs + TILE + c * BN + at);
      UNROLL for (int i = 0; i < TM; ++i) {
        float e[W];
        UNROLL for (int j = 0; j < W; ++j) e[j] = PAIR(x, z, i, j);
#if DIAGONAL
        if (on_diagonal) {
          UNROLL for (int j = 0; j < W; ++j) if (row + i + shift == tile * BN + at + j)
              e[j] = diagonal[min(row + i, n - 1)];
        }
#endif
#if LOGSUMEXP
        float top = peak[i];
        UNROLL for (int j = 0; j < W; ++j) {
          e[j] += v[0][j];
          top = fmaxf(top, e[j]);
        }
        const float shift = top == -INFINITY ? 0.f : top;
        float part = 0.f;
        UNROLL for (int j = 0; j < W; ++j) part += fast_exp(e[j] - shift);
        total[i] = fmaf(total[i], fast_exp(peak[i] - shift), part);
        peak[i] = top;
#else
        UNROLL for (int j = 0; j < W; ++j) UNROLL for (int c = 0; c < C; ++c)
            sum[i][c] = fmaf(e[j], v[c][j], sum[i][c]);
#endif
      }
    }
#if !LOGSUMEXP
    if (++since == FLUSH || tile + 1 == last_tile) {
      since = 0;
      UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int c = 0; c < C; ++c) {
        float o = sum[i][c];
        UNROLL for (int d = 1; d < 16; d <<= 1) o += __shfl_xor_sync(~0u, o, d);
        if (tx == 0) mine[i * C + c] = o + (first ? 0. : mine[i * C + c]);
        sum[i][c] = 0.f;
      }
      first = false;
    }
#endif
  }
#if LOGSUMEXP
  UNROLL for (int i = 0; i < TM; ++i) {
    float m = peak[i], s = total[i];
    UNROLL for (int d = 1; d < 16; d <<= 1) {
      const float m2 = __shfl_xor_sync(~0u, m, d), s2 = __shfl_xor_sync(~0u, s, d);
      const float top = fmaxf(m, m2), shift = top == -INFINITY ? 0.f : top;
      s = s * fast_exp(m - shift) + s2 * fast_exp(m2 - shift);
      m = top;
    }
    if (tx == 0) ((double2*)mine)[i] = make_double2(m, s);
  }
#endif
}
