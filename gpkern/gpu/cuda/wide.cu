// Reductions over K(X, Z) by ordinary arithmetic, from any number of columns: for what
// is no single inner product (L1 and chi-squared distances, formulas of several leaves),
// for float64, and for float32 arithmetic throughout.
//
// X and Z come in tiles, BM or BN samples wide, of LEAVES * slabs * KS + ROW_LEAVES
// numbers each: the columns of each leaf, zeros up to a multiple of KS, then what belongs
// to a row alone. Macros beyond those of threads.cuh: KS, LEAVES, ROW_LEAVES, BLOCKS;
// GATHER_LEAVES(f) calls f(Number<leaf>()) for each; term(leaf, s, x, z) adds a column's
// term; VALUE(s, x, z, i, k, j) makes the kernel's
// value from s[leaf][i][k], x[row leaf][i] and z[row leaf][j].

#include "element.cuh"
#include "threads.cuh"

// A number that code may be chosen by, passed as an argument.
template <int N>
struct Number {
  static constexpr int value = N;
};

#define XSLAB (KS * BM)
#define ZSLAB (KS * BN)
#define STAGE (XSLAB + ZSLAB)
#define ASIDE ((C + ROW_LEAVES) * BN)  // V and the columns' own numbers

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    reduce(const T* __restrict__ X, const T* __restrict__ Z, const T* __restrict__ V,
           const T* __restrict__ params, const T* __restrict__ diagonal,
           double* __restrict__ out, int n, int slabs, int shift, int tiles,
           int tiles_per_split, int padded_rows) {
  __shared__ __align__(16) T stages[2][STAGE];
  __shared__ __align__(16) T asides[2][ASIDE];
  const int tx = threadIdx.x & 15, ty = threadIdx.x >> 4;
  const int first_tile = blockIdx.y * tiles_per_split;
  const int last_tile = min(tiles, first_tile + tiles_per_split);
  const int row = blockIdx.x * BM + ty * TM;
  const int depth = LEAVES * slabs * KS + ROW_LEAVES;
  const T* x_tile = X + (size_t)blockIdx.x * depth * BM;
  [[maybe_unused]] T p[NP + 1];
  UNROLL for (int i = 0; i < NP; ++i) p[i] = params[i];
  [[maybe_unused]] T own[ROW_LEAVES + 1][TM];
  UNROLL for (int r = 0; r < ROW_LEAVES; ++r) UNROLL for (int i = 0; i < TM; ++i)
      own[r][i] = x_tile[(size_t)(depth - ROW_LEAVES + r) * BM + ty * TM + i];
  Sums sums;
  sums.start();
  double* mine = out + ((size_t)blockIdx.y * padded_rows + row) * (LOGSUMEXP ? 2 : C);
  bool first = true;
  int since = 0, next_tile = first_tile, next_slab = 0, at_stage = 0;
  // The next slab of both sides, and with a tile's first one what stands aside.
  auto ask = [&](int stage) {
    if (next_tile < last_tile) {
      const T* z_tile = Z + (size_t)next_tile * depth * BN;
      copy_ahead(stages[stage], x_tile + (size_t)next_slab * XSLAB, XSLAB);
      copy_ahead(stages[stage] + XSLAB, z_tile + (size_t)next_slab * ZSLAB, ZSLAB);
      if (next_slab == 0) {
        T* aside = asides[next_tile & 1];
        copy_ahead(aside, V + (size_t)next_tile * (C * BN), C * BN);
        copy_ahead(aside + C * BN, z_tile + (size_t)(depth - ROW_LEAVES) * BN,
                   ROW_LEAVES * BN);
      }
      if (++next_slab == LEAVES * slabs) {
        next_slab = 0;
        ++next_tile;
      }
    }
    copies_commit();
  };
  ask(0);
  for (int tile = first_tile; tile < last_tile; ++tile) {
    T s[LEAVES][TM][TN];
    auto gather = [&](auto number) {
      constexpr int leaf = decltype(number)::value;
      UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int k = 0; k < TN; ++k)
          s[leaf][i][k] = 0;
      for (int slab = 0; slab < slabs; ++slab) {
        copies_wait();
        __syncthreads();
        ask(at_stage ^ 1);
        const T* xs = stages[at_stage] + ty * TM;
        const T* zs = stages[at_stage] + XSLAB + tx * W;
        at_stage ^= 1;
        UNROLL for (int k = 0; k < KS; ++k) {
          T x[TM / W][W], z[TN / W][W];
          UNROLL for (int q = 0; q < TM / W; ++q) load(x[q], xs + k * BM + q * W);
          UNROLL for (int q = 0; q < TN / W; ++q)
              load(z[q], zs + k * BN + q * (16 * W));
          UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int j = 0; j < TN; ++j)
              term(leaf, s[leaf][i][j], x[i / W][i % W], z[j / W][j % W]);
        }
      }
    };
    GATHER_LEAVES(gather)
    const T* aside = asides[tile & 1];
    const bool on_diagonal = DIAGONAL && tile * BN < (int)(blockIdx.x + 1) * BM + shift &&
                             (tile + 1) * BN > (int)blockIdx.x * BM + shift;
    UNROLL for (int q = 0; q < TN / W; ++q) {
      const int at = q * (16 * W) + tx * W;
      T v[C][W];
      [[maybe_unused]] T other[ROW_LEAVES + 1][W];
      UNROLL for (int c = 0; c < C; ++c) load(v[c], aside + c * BN + at);
      UNROLL for (int r = 0; r < ROW_LEAVES; ++r)
          load(other[r], aside + (C + r) * BN + at);
      UNROLL for (int i = 0; i < TM; ++i) {
        T e[W];
        UNROLL for (int j = 0; j < W; ++j) e[j] = VALUE(s, own, other, i, q * W + j, j);
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
