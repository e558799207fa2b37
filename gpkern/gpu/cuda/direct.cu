// Reductions over K(X, Z) from few columns: quantities of a pair by differences, exact,
// a thread's rows in registers.
//
// X comes as DIM rows of `x_stride` numbers, Z as tiles of DIM x BN; a formula of several
// leaves has the columns of each in turn. Macros beyond those of threads.cuh: DIM,
// BLOCKS; PAIR(x, z, i, j) makes ELEMENT's value from x[i][k] and z[k][j].

#include "element.cuh"
#include "threads.cuh"

#define TILE (DIM * BN)

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    reduce(const T* __restrict__ X, const T* __restrict__ Z, const T* __restrict__ V,
           const T* __restrict__ params, const T* __restrict__ diagonal,
           double* __restrict__ out, int n, long long x_stride, int shift, int tiles,
           int tiles_per_split, int padded_rows) {
  __shared__ __align__(16) T buffer[2][TILE + C * BN];
  const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
  const int first_tile = blockIdx.y * tiles_per_split;
  const int last_tile = min(tiles, first_tile + tiles_per_split);
  const int row = blockIdx.x * BM + ty * TM;
  [[maybe_unused]] T p[NP + 1];
  UNROLL for (int i = 0; i < NP; ++i) p[i] = params[i];
  T x[TM][DIM];
  UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int k = 0; k < DIM; ++k)
      x[i][k] = X[(size_t)k * x_stride + min(row + i, n - 1)];
  Sums sums;
  sums.start();
  double* mine = out + ((size_t)blockIdx.y * padded_rows + row) * (LOGSUMEXP ? 2 : C);
  bool first = true;
  int since = 0;
  auto ask = [&](int tile) {
    T* to = buffer[tile & 1];
    copy_ahead(to, Z + (size_t)tile * TILE, TILE);
    copy_ahead(to + TILE, V + (size_t)tile * (C * BN), C * BN);
    copies_commit();
  };
  if (first_tile < last_tile) ask(first_tile);
  for (int tile = first_tile; tile < last_tile; ++tile) {
    copies_wait();
    __syncthreads();
    if (tile + 1 < last_tile) ask(tile + 1);
    const T* zs = buffer[tile & 1];
    const bool on_diagonal = DIAGONAL && tile * BN < (int)(blockIdx.x + 1) * BM + shift &&
                             (tile + 1) * BN > (int)blockIdx.x * BM + shift;
    UNROLL for (int q = 0; q < TN / W; ++q) {
      const int at = q * (16 * W) + tx * W;
      T z[DIM][W], v[C][W];
      UNROLL for (int k = 0; k < DIM; ++k) load(z[k], zs + k * BN + at);
      UNROLL for (int c = 0; c < C; ++c) load(v[c], zs + TILE + c * BN + at);
      UNROLL for (int i = 0; i < TM; ++i) {
        T e[W];
        UNROLL for (int j = 0; j < W; ++j) e[j] = PAIR(x, z, i, j);
        if (on_diagonal) {
          UNROLL for (int j = 0; j < W; ++j) if (row + i + shift == tile * BN + at + j)
              e[j] = diagonal[min(row + i, n - 1)];
        }
        sums.add(i, e, v);
      }
    }
    if (++since == FLUSH || tile + 1 == last_tile) {
      sums.flush(mine, first, tx);
      since = 0;
      first = false;
    }
  }
  sums.finish(mine, tx);
}
