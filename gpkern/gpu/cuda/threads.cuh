// Sums of a block of 16 x 16 threads: each has TM rows, and of a tile's columns groups
// of W, 16 bytes, 16 threads apart.
//
// Macros: T (float or double), TM, TN (columns of a thread), C (columns of V), LOGSUMEXP,
// DIAGONAL. EXP comes with the element function.
#pragma once

#define THREADS 256
#define BM (16 * TM)
#define BN (16 * TN)
#define W (16 / (int)sizeof(T))
// Tiles before sums in registers go to the long sums, which are float64.
#define FLUSH 8
#define UNROLL _Pragma("unroll")
#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

struct __align__(16) Vector {
  T v[W];
};

__device__ __forceinline__ void load(T (&to)[W], const T* from) {
  *(Vector*)to = *(const Vector*)from;
}

// A multiple of 16 bytes to shared memory, by all threads.
__device__ __forceinline__ void copy_ahead(T* to, const T* from, int count) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  for (int i = threadIdx.x; i < count / W; i += THREADS)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at + i * 16),
                 "l"(from + i * W)
                 : "memory");
}
__device__ __forceinline__ void copies_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group 0;" ::: "memory");
}

struct Sums {
#if LOGSUMEXP
  T peak[TM], total[TM];
#else
  T sum[TM][C];
#endif

  __device__ __forceinline__ void start() {
    UNROLL for (int i = 0; i < TM; ++i) {
#if LOGSUMEXP
      peak[i] = -INFINITY;
      total[i] = 0;
#else
      UNROLL for (int c = 0; c < C; ++c) sum[i][c] = 0;
#endif
    }
  }

  // Values e of row i and columns with the entries v of V.
  __device__ __forceinline__ void add(int i, T (&e)[W], const T (&v)[C][W]) {
#if LOGSUMEXP
    T top = peak[i];
    UNROLL for (int j = 0; j < W; ++j) {
      e[j] += v[0][j];
      top = e[j] > top ? e[j] : top;
    }
    const T shift = top == -INFINITY ? T(0) : top;
    T part = 0;
    // NaN passes by the comparison, but not by the sum.
    UNROLL for (int j = 0; j < W; ++j) part += EXP(e[j] - shift);
    total[i] = total[i] * EXP(peak[i] - shift) + part;
    peak[i] = top;
#else
    UNROLL for (int j = 0; j < W; ++j) UNROLL for (int c = 0; c < C; ++c)
        sum[i][c] += e[j] * v[c][j];
#endif
  }

  // Add what has gathered to the long sums `out` of this thread's rows.
  __device__ __forceinline__ void flush(double* out, bool first, int tx) {
#if !LOGSUMEXP
    UNROLL for (int i = 0; i < TM; ++i) UNROLL for (int c = 0; c < C; ++c) {
      T o = sum[i][c];
      UNROLL for (int d = 1; d < 16; d <<= 1) o += __shfl_xor_sync(~0u, o, d);
      if (tx == 0) out[i * C + c] = o + (first ? 0. : out[i * C + c]);
      sum[i][c] = 0;
    }
#endif
  }

  // Peak and total of each row.
  __device__ __forceinline__ void finish(double* out, int tx) {
#if LOGSUMEXP
    UNROLL for (int i = 0; i < TM; ++i) {
      T m = peak[i], s = total[i];
      UNROLL for (int d = 1; d < 16; d <<= 1) {
        const T m2 = __shfl_xor_sync(~0u, m, d), s2 = __shfl_xor_sync(~0u, s, d);
        const T top = m2 > m ? m2 : m, shift = top == -INFINITY ? T(0) : top;
        s = s * EXP(m - shift) + s2 * EXP(m2 - shift);
        m = top;
      }
      if (tx == 0) ((double2*)out)[i] = make_double2(m, s);
    }
#endif
  }
};
