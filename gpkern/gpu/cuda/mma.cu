// Reductions over K(X, Z) with mma.sync: a block of BM rows walks over tiles of BN
// columns; slabs of both come through a ring of stages, or X stays (XSTAYS).
//
// Macros beyond those of reduce.cuh: BM, BN, WM, WN (rows and columns of a block and of
// a warp), KS, STAGES, XSTAYS, BLOCKS (resident on a multiprocessor).

#define WARPS_N (BN / WN)
#define THREADS ((BM / WM) * WARPS_N * 32)
#define MT (WM / 16)
#define NT (WN / 8)
#include "common.cuh"
#include "element.cuh"
#include "reduce.cuh"

#define XBYTES (BM / 64 * PARTS * SLAB)
#define ZBYTES (BN / 64 * PARTS * SLAB)
// Tiles before sums in registers go to the long sums.
#define FLUSH 8

__device__ __forceinline__ u32 chunk_address(int row, int chunk, int part) {
  return (row >> 6) * (PARTS * SLAB) + part * SLAB + (row & 63) * (KS * 2) +
         swizzled(row & 63, chunk);
}

// Copy slabs of `blocks` groups of 64 rows, `slabs` apart in the packed rows.
__device__ __forceinline__ void copy_slabs(u32 to, const unsigned char* from, int bytes,
                                           int slabs) {
  for (int i = threadIdx.x; i < bytes / 16; i += THREADS) {
    const int group = i / (PARTS * SLAB / 16), rest = i % (PARTS * SLAB / 16);
    copy16(to + i * 16, from + (size_t)group * slabs * (PARTS * SLAB) + rest * 16);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    reduce(const unsigned char* __restrict__ X, const unsigned char* __restrict__ Z,
           const float* __restrict__ x_norms, const float* __restrict__ V,
           const float* __restrict__ x_scale, const float* __restrict__ z_scale,
           const float* __restrict__ params, const float* __restrict__ x_rows,
           const float* __restrict__ z_rows, const float* __restrict__ factor,
           const float* __restrict__ diagonal, const float* __restrict__ given,
           void* __restrict__ out, float* kept,
           long long kept_row, float fold, int n, int m, int columns, int shift, int slabs,
           int tiles, int tiles_per_split, int padded_rows) {
  extern __shared__ __align__(128) unsigned char shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int wm = (warp / WARPS_N) * WM, wn = (warp % WARPS_N) * WN;
  const int first_tile = blockIdx.y * tiles_per_split;
  const int last_tile = min(tiles, first_tile + tiles_per_split);
  const int steps = (last_tile - first_tile) * slabs;
  const u32 stages = shared_address(shared);
  const u32 stage_bytes = ZBYTES + (XSTAYS ? 0 : XBYTES);
  const u32 x_at = stages + STAGES * stage_bytes;  // of rows that stay
  const u32 v_at = x_at + (XSTAYS ? slabs * XBYTES : 0) - stages;
  const unsigned char* x_slabs =
      X + (size_t)blockIdx.x * (BM / 64) * slabs * (PARTS * SLAB);

  struct {
    int tile, slab, stage, v;
  } next = {first_tile, 0, 0, 0};
  auto load = [&]() {
    if (next.tile < last_tile) {
      const u32 to = stages + next.stage * stage_bytes;
      const size_t z = ((size_t)next.tile * (BN / 64) * slabs + next.slab) * (PARTS * SLAB);
      copy_slabs(to, Z + z, ZBYTES, slabs);
      if (!XSTAYS)
        copy_slabs(to + ZBYTES, x_slabs + (size_t)next.slab * (PARTS * SLAB), XBYTES,
                   slabs);
      if (next.slab == 0) {
        const u32 v_to = stages + v_at + next.v * (VFLOATS * 4);
        const float* v = V + (size_t)next.tile * VFLOATS;
        for (int i = threadIdx.x; i < VFLOATS / 4; i += THREADS)
          copy16(v_to + i * 16, v + i * 4);
        next.v = next.v == 2 ? 0 : next.v + 1;
      }
      next.stage = next.stage + 1 == STAGES ? 0 : next.stage + 1;
      if (++next.slab == slabs) {
        next.slab = 0;
        ++next.tile;
      }
    }
    copies_commit();  // an empty group at the end, so that the count stays
  };
  if (XSTAYS)
    for (int s = 0; s < slabs; ++s)
      copy_slabs(x_at + s * XBYTES, x_slabs + (size_t)s * (PARTS * SLAB), XBYTES, slabs);
  UNROLL for (int s = 0; s < STAGES - 1; ++s) load();

  Pairs pairs;
  UNROLL for (int i = 0; i < NP; ++i) pairs.p[i] = params[i];
  pairs.scale = fold * (DOT ? 1.f : -2.f) / (x_scale[0] * z_scale[0]);
  pairs.rows = {x_rows, z_rows, factor, diagonal, columns, fold};
  pairs.shift = shift;
  pairs.kept = kept;
  pairs.kept_row = kept_row;
  pairs.n = n;
  pairs.m = m;
  const int row = blockIdx.x * BM + wm + (lane >> 2);
  float x_norm[MT][2], acc[MT][NT * 4];
  float2 x_given[MT] = {};
  UNROLL for (int i = 0; i < MT; ++i) {
    x_norm[i][0] = x_norms[row + i * 16] * (DOT ? 1.f : fold);
    x_norm[i][1] = x_norms[row + i * 16 + 8] * (DOT ? 1.f : fold);
    if (GIVEN)
      x_given[i] = make_float2(given[min(row + i * 16, n - 1)],
                               given[min(row + i * 16 + 8, n - 1)]);
    UNROLL for (int j = 0; j < NT * 4; ++j) acc[i][j] = 0.f;
  }
  Reduction<MT> reduction;
  reduction.start();
  const size_t mine = (size_t)(blockIdx.y * WARPS_N + warp % WARPS_N) * padded_rows + row;
  const int a_row = wm + (lane & 15), a_chunk = lane >> 4;
  const int b_row = wn + ((lane >> 4) << 3) + (lane & 7), b_chunk = (lane >> 3) & 1;
  int slab = 0, stage = 0, v = 0, tile = first_tile;
  [[maybe_unused]] int since = 0;
  [[maybe_unused]] bool first = true;
  for (int step = 0; step < steps; ++step) {
    copies_wait<STAGES - 2>();
    __syncthreads();
    load();
    const u32 z_stage = stages + stage * stage_bytes;
    const u32 x_stage = XSTAYS ? x_at + slab * XBYTES : z_stage + ZBYTES;
    UNROLL for (int k = 0; k < KS / 16; ++k) {
      u32 a[PARTS][MT][4];
      UNROLL for (int q = 0; q < PARTS; ++q) UNROLL for (int i = 0; i < MT; ++i)
          load_matrices(a[q][i], x_stage + chunk_address(a_row + i * 16, 2 * k + a_chunk, q));
      UNROLL for (int j = 0; j < NT; j += 2) {
        u32 b[PARTS][4];
        UNROLL for (int q = 0; q < PARTS; ++q)
            load_matrices(b[q], z_stage + chunk_address(b_row + j * 8, 2 * k + b_chunk, q));
#if PARTS == 2
        UNROLL for (int h = 0; h < 2; ++h) {
          UNROLL for (int i = 0; i < MT; ++i)
              mma_half(acc[i] + 4 * (j + h), a[1][i], b[0][2 * h], b[0][2 * h + 1]);
          UNROLL for (int i = 0; i < MT; ++i)
              mma_half(acc[i] + 4 * (j + h), a[0][i], b[1][2 * h], b[1][2 * h + 1]);
        }
#endif
        UNROLL for (int h = 0; h < 2; ++h) UNROLL for (int i = 0; i < MT; ++i)
            mma_half(acc[i] + 4 * (j + h), a[0][i], b[0][2 * h], b[0][2 * h + 1]);
      }
    }
    stage = stage + 1 == STAGES ? 0 : stage + 1;
    if (++slab < slabs) continue;
    slab = 0;
    const float* v_tile = (const float*)(shared + v_at + v * (VFLOATS * 4));
    v = v == 2 ? 0 : v + 1;
    UNROLL for (int i = 0; i < MT; ++i) {
      reduction.strip(i, acc[i], x_norm[i][0], x_norm[i][1], x_given[i], v_tile,
                      wn, lane, row + i * 16, tile * BN, pairs);
      UNROLL for (int j = 0; j < NT * 4; ++j) acc[i][j] = 0.f;
    }
    ++tile;
#if !LOGSUMEXP
    if (++since == FLUSH || tile == last_tile) {
      reduction.flush((double*)out + mine * CP, first, lane);
      since = 0;
      first = false;
    }
#endif
  }
#if LOGSUMEXP
  reduction.finish((double2*)out + mine, lane);
#endif
}
