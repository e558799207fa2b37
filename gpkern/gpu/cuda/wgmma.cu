// Reductions over K(X, Z) with wgmma, for compute capability 9.0 and wide rows: two
// warpgroups of 64 rows each walk over tiles of BN columns; one thread of a third
// feeds the ring of stages by bulk copies.
//
// The warpgroups wait for stages, not for each other, so that one computes kernel
// values while the tensor cores work for the other.
//
// Macros beyond those of reduce.cuh: BN, KS, STAGES. wgmma() comes before this text.

#define CONSUMERS 2
#define BM (64 * CONSUMERS)
#define THREADS (CONSUMERS * 128 + 128)
#define NT (BN / 8)
#include "common.cuh"
#include "element.cuh"
#include "reduce.cuh"

#define XBYTES (CONSUMERS * SLAB)  // of one part of a stage
#define ZBYTES (BN / 64 * SLAB)
#define STAGE ((XBYTES + ZBYTES) * PARTS)
#define FLUSH 4

__device__ __forceinline__ void barrier_init(u32 at, u32 arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(at), "r"(arrivals));
}
__device__ __forceinline__ void barrier_expect(u32 at, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(at), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void barrier_arrive(u32 at) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(at) : "memory");
}
__device__ __forceinline__ void barrier_wait(u32 at, u32 parity) {
  asm volatile(
      "{ .reg .pred p;\nAGAIN%=: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
      "@!p bra AGAIN%=;\n}" ::"r"(at),
      "r"(parity)
      : "memory");
}
__device__ __forceinline__ void copy_bulk(u32 to, const void* from, u32 bytes, u32 bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(bar)
      : "memory");
}
// Matrix descriptor of slabs: rows of KS columns, swizzled, groups of eight rows in turn.
__device__ __forceinline__ u64 descriptor(u32 at) {
  const u64 swizzle = KS == 64 ? 1 : KS == 32 ? 2 : 3;
  return (u64)((at & 0x3ffff) >> 4) | (1ull << 16) |
         ((u64)((8 * KS * 2) >> 4) << 32) | (swizzle << 62);
}

// Positions in a ring, and the parity that its barriers have there.
struct Ring {
  int at;
  u32 parity;
  __device__ __forceinline__ void advance(int size) {
    if (++at == size) {
      at = 0;
      parity ^= 1;
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    reduce(const unsigned char* __restrict__ X, const unsigned char* __restrict__ Z,
           const float* __restrict__ x_norms, const float* __restrict__ V,
           const float* __restrict__ x_scale, const float* __restrict__ z_scale,
           const float* __restrict__ params, const float* __restrict__ x_rows,
           const float* __restrict__ z_rows, const float* __restrict__ factor,
           const float* __restrict__ diagonal, const float* __restrict__ given,
           void* __restrict__ out, float* kept,
           long long kept_row, float fold, int n, int m, int columns, int shift, int slabs,
           int tiles, int tiles_per_split, int padded_rows) {
  extern __shared__ __align__(1024) unsigned char shared[];
  __shared__ __align__(8) u64 barriers[2 * STAGES + 4];
  const u32 stages = (shared_address(shared) + 1023) & ~1023u;
  const u32 v_at = stages + STAGES * STAGE;
  const u32 full = shared_address(barriers), empty = full + 8 * STAGES;
  const u32 v_full = empty + 8 * STAGES, v_empty = v_full + 16;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int first_tile = blockIdx.y * tiles_per_split;
  const int last_tile = min(tiles, first_tile + tiles_per_split);
  if (threadIdx.x == 0) {
    for (int s = 0; s < STAGES; ++s) {
      barrier_init(full + 8 * s, 1);
      barrier_init(empty + 8 * s, CONSUMERS);
    }
    for (int s = 0; s < 2; ++s) {
      barrier_init(v_full + 8 * s, 1);
      barrier_init(v_empty + 8 * s, CONSUMERS);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  __syncthreads();

  if (warp >= CONSUMERS * 4) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (warp > CONSUMERS * 4 || lane > 0) return;
    Ring ring = {0, 1}, v = {0, 1};
    for (int tile = first_tile; tile < last_tile; ++tile) {
      for (int s = 0; s < slabs; ++s) {
        barrier_wait(empty + 8 * ring.at, ring.parity);
        const u32 bar = full + 8 * ring.at, to = stages + ring.at * STAGE;
        barrier_expect(bar, STAGE);
        for (int q = 0; q < PARTS; ++q) {
          for (int b = 0; b < CONSUMERS; ++b) {
            const size_t group = (size_t)blockIdx.x * CONSUMERS + b;
            copy_bulk(to + q * XBYTES + b * SLAB, X + ((group * slabs + s) * PARTS + q) * SLAB,
                      SLAB, bar);
          }
          for (int b = 0; b < BN / 64; ++b) {
            const size_t group = (size_t)tile * (BN / 64) + b;
            copy_bulk(to + PARTS * XBYTES + q * ZBYTES + b * SLAB,
                      Z + ((group * slabs + s) * PARTS + q) * SLAB, SLAB, bar);
          }
        }
        ring.advance(STAGES);
        if (s == 0) {
          barrier_wait(v_empty + 8 * v.at, v.parity);
          barrier_expect(v_full + 8 * v.at, VFLOATS * 4);
          copy_bulk(v_at + v.at * VFLOATS * 4, V + (size_t)tile * VFLOATS, VFLOATS * 4,
                    v_full + 8 * v.at);
          v.advance(2);
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int group = warp >> 2;
    const bool leader = (threadIdx.x & 127) == 0;
    Pairs pairs;
    UNROLL for (int i = 0; i < NP; ++i) pairs.p[i] = params[i];
    pairs.scale = fold * (DOT ? 1.f : -2.f) / (x_scale[0] * z_scale[0]);
    pairs.rows = {x_rows, z_rows, factor, diagonal, columns, fold};
    pairs.shift = shift;
    pairs.kept = kept;
    pairs.kept_row = kept_row;
    pairs.n = n;
    pairs.m = m;
    const int row = blockIdx.x * BM + group * 64 + (warp & 3) * 16 + (lane >> 2);
    const float x_norm0 = x_norms[row] * (DOT ? 1.f : fold);
    const float x_norm1 = x_norms[row + 8] * (DOT ? 1.f : fold);
    float2 x_given = {};
    if (GIVEN)
      x_given = make_float2(given[min(row, n - 1)], given[min(row + 8, n - 1)]);
    const size_t mine = (size_t)blockIdx.y * padded_rows + row;
    Reduction<1> reduction;
    reduction.start();
    Ring ring = {0, 0}, v = {0, 0};
    int before = 0;
    [[maybe_unused]] int since = 0;
    [[maybe_unused]] bool first = true;
    for (int tile = first_tile; tile < last_tile; ++tile) {
      float acc[NT * 4];
      for (int s = 0; s < slabs; ++s) {
        barrier_wait(full + 8 * ring.at, ring.parity);
        const u32 x = stages + ring.at * STAGE + group * SLAB;
        const u32 z = stages + ring.at * STAGE + PARTS * XBYTES;
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
        UNROLL for (int k = 0; k < KS / 16; ++k) {
          const u64 x_high = descriptor(x + k * 32), z_high = descriptor(z + k * 32);
#if PARTS == 2
          const u64 x_low = descriptor(x + XBYTES + k * 32);
          const u64 z_low = descriptor(z + ZBYTES + k * 32);
          wgmma(acc, x_low, z_high, s + k > 0);
          wgmma(acc, x_high, z_low, 1);
          wgmma(acc, x_high, z_high, 1);
#else
          wgmma(acc, x_high, z_high, s + k > 0);
#endif
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
        // The slab before this one has been read: its stage may be filled again.
        if (s > 0 && leader) barrier_arrive(empty + 8 * before);
        before = ring.at;
        ring.advance(STAGES);
      }
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      if (leader) barrier_arrive(empty + 8 * before);
      barrier_wait(v_full + 8 * v.at, v.parity);
      const float* v_tile =
          (const float*)(shared + (v_at - shared_address(shared)) + v.at * VFLOATS * 4);
      reduction.strip(0, acc, x_norm0, x_norm1, x_given, v_tile, 0, lane, row, tile * BN, pairs);
      asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
      if (leader) barrier_arrive(v_empty + 8 * v.at);
      v.advance(2);
#if !LOGSUMEXP
      if (++since == FLUSH || tile + 1 == last_tile) {
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
}
