// What the kernels share: types, the layout of packed rows, and PTX by name.
//
// A packed row is one or two half-precision parts whose sum is the scaled row: 11 or
// 22 significant bits. Rows lie in slabs of 64 rows by KS columns, 16-byte chunks
// permuted as the tensor cores' shared-memory swizzle has it, so that a slab is copied
// as it is and read by ldmatrix and wgmma without bank conflicts.
#pragma once
typedef unsigned u32;
typedef unsigned long long u64;

#define SLAB (64 * KS * 2)  // bytes of a slab of one part
#define UNROLL _Pragma("unroll")
#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

__device__ __forceinline__ u32 swizzled(int row, int chunk) {
  const int mask = KS == 64 ? row & 7 : KS == 32 ? (row >> 1) & 3 : (row >> 2) & 1;
  return (chunk ^ mask) << 4;
}

__device__ __forceinline__ u32 shared_address(const void* p) {
  return (u32)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void copy16(u32 to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from)
               : "memory");
}
__device__ __forceinline__ void copies_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void load_matrices(u32 (&r)[4], u32 from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}

// d += a b: 16 x 16 by 16 x 8 in half precision, 16 x 8 by 8 x 8 in TF32.
__device__ __forceinline__ void mma_half(float* d, const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void mma_tf32(float (&d)[4], u32 a0, u32 a1, u32 a2, u32 a3,
                                         u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The part of a float that TF32 holds; what is left is exact in float.
__device__ __forceinline__ u32 tf32_part(float x) {
  return __float_as_uint(x) & 0xffffe000u;
}
// Nearest TF32 of a finite number.
__device__ __forceinline__ u32 tf32_nearest(float x) {
  return __float_as_uint(x) + 0x1000u;
}
