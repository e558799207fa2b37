// Rows chosen one by one: a row of K added to the objective, and its smallest entry.
//
// From the formula: T, element(), and LEAF_ARGUMENTS, MAKE_LEAVES and VALUE, which make
// the kernel value of rows i and j. Macro: THREADS, of a block.

#include "element.cuh"

#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

// The smallest of all threads' values in thread 0, of equals the first in place.
__device__ void first_of_block(T& top, long long& where) {
  __shared__ T tops[THREADS];
  __shared__ long long places[THREADS];
  tops[threadIdx.x] = top;
  places[threadIdx.x] = where;
  for (int half = THREADS / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) {
      const T other = tops[threadIdx.x + half];
      const long long place = places[threadIdx.x + half];
      const T mine = tops[threadIdx.x];
      if (other < mine || (other == mine && place < places[threadIdx.x])) {
        tops[threadIdx.x] = other;
        places[threadIdx.x] = place;
      }
    }
  }
  top = tops[0];
  where = places[0];
}

extern "C" __global__ void greedy_step(
    LEAF_ARGUMENTS, const T* diagonal, const long long* before, T scale, T growth,
    const T* penalty, const T* reward, T* objective, T* least, long long* place,
    int cols) {
  T top = INFINITY;
  long long where = cols;
  for (int j = blockIdx.x * blockDim.x + threadIdx.x; j < cols;
       j += gridDim.x * blockDim.x) {
    T value = objective[j];
    if (before) {
      const int i = (int)*before;
      [[maybe_unused]] const long long at = 0, zj = j;
      MAKE_LEAVES
      value += scale * (j == i ? diagonal[i] : VALUE);
      objective[j] = value;
    }
    if (penalty) value += penalty[j];
    if (reward) value -= growth * reward[j];
    if (value < top) { top = value; where = j; }
  }
  first_of_block(top, where);
  if (threadIdx.x == 0) {
    least[blockIdx.x] = top;
    place[blockIdx.x] = where;
  }
}

extern "C" __global__ void greedy_pick(
    const T* least, const long long* place, int count, int cols, int unique,
    T* objective, long long* chosen, T* values) {
  T top = INFINITY;
  long long where = cols;
  for (int b = threadIdx.x; b < count; b += blockDim.x)
    if (least[b] < top) { top = least[b]; where = place[b]; }
  first_of_block(top, where);
  if (threadIdx.x == 0) {
    where = min(where, (long long)cols - 1);
    *chosen = where;
    *values = objective[where];
    if (unique) objective[where] = INFINITY;
  }
}
