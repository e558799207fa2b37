// Rows and operands laid out for the reductions; see common.cuh for the packed rows.
//
// Macros: KS, PARTS, and S, the type of the source rows.

#include "common.cuh"
#include "half.cuh"

struct Source {
  const S* rows;
  const double* centre;  // or null
  const double* factor;  // or null
  int n, d;
  // In float64, as the offset may be large.
  __device__ __forceinline__ float at(int i, int k) const {
    double v = (double)rows[(size_t)min(i, n - 1) * d + k];
    if (centre) v -= centre[k];
    return (float)(factor ? v * factor[k] : v);
  }
};

// largest[0] = max |entry|, as the bits of a float; it must be 0 before.
extern "C" __global__ void find_largest(const S* rows, const double* centre,
                                        const double* factor, int n, int d, u32* largest) {
  const Source source = {rows, centre, factor, n, d};
  float top = 0.f;
  for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; at < (size_t)n * d;
       at += (size_t)gridDim.x * blockDim.x)
    top = fmaxf(top, fabsf(source.at(at / d, at % d)));
  for (int w = 16; w > 0; w >>= 1) top = fmaxf(top, __shfl_xor_sync(~0u, top, w));
  if ((threadIdx.x & 31) == 0) atomicMax(largest, __float_as_uint(top));
}

// A warp packs a row: parts of its entries times a power of two that brings the largest
// of all entries near 2^13, where half precision has most digits to spare. Norms are
// those of the rounded rows: then rounding has only moved the rows.
extern "C" __global__ void pack_rows(const S* rows, const double* centre,
                                     const double* factor, int n, int d, int padded,
                                     int slabs, const u32* largest, unsigned char* out,
                                     float* norms, float* scale) {
  const int row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int lane = threadIdx.x & 31;
  if (row >= padded) return;
  const Source source = {rows, centre, factor, n, d};
  const float top = __uint_as_float(largest[0]);
  const int exponent = top > 0.f ? 13 - (int)ceilf(log2f(top)) : 0;
  const float by = exp2f((float)max(-120, min(120, exponent)));
  if (row == 0 && lane == 0) scale[0] = by;
  double total = 0.;
  for (int c = lane; c < slabs * (KS / 8); c += 32) {
    const int slab = c / (KS / 8), chunk = c % (KS / 8);
    unsigned short part[PARTS][8];
    UNROLL for (int e = 0; e < 8; ++e) {
      const int k = c * 8 + e;
      const float v = k < d ? source.at(row, k) * by : 0.f;
      part[0][e] = half_of(v);
      double held = float_of(part[0][e]);
#if PARTS == 2
      part[1][e] = half_of(v - float_of(part[0][e]));
      held += float_of(part[1][e]);
#endif
      total += held * held;
    }
    unsigned char* to = out + ((size_t)(row >> 6) * slabs + slab) * (PARTS * SLAB) +
                        (row & 63) * (KS * 2) + swizzled(row & 63, chunk);
    UNROLL for (int q = 0; q < PARTS; ++q) {
      uint4 word;
      word.x = part[q][0] | (u32)part[q][1] << 16;
      word.y = part[q][2] | (u32)part[q][3] << 16;
      word.z = part[q][4] | (u32)part[q][5] << 16;
      word.w = part[q][6] | (u32)part[q][7] << 16;
      *(uint4*)(to + q * SLAB) = word;
    }
  }
  UNROLL for (int w = 16; w > 0; w >>= 1) total += __shfl_xor_sync(~0u, total, w);
  if (lane == 0) norms[row] = (float)(total / ((double)by * by));
}
