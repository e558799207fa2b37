// The right operand of a product laid out in tiles, and sums of the parts of a result.
// Macro: T, float or double.
#ifndef INFINITY  // NVRTC has no math.h
#define INFINITY __int_as_float(0x7f800000)
#endif

// out[tile][c][j]: columns `first` to `first` + `count` of V (m x c), transposed, `pad`
// beyond; then the norms of the tile's samples, when there are any, times norm_factor.
extern "C" __global__ void lay_out(const T* V, int m, int c, int first, int count,
                                   int groups, int width, int stride, T pad,
                                   const T* norms, T norm_factor, T* out, int tiles) {
  const int size = groups * stride + (norms ? width : 0);
  for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
       at < (size_t)tiles * size; at += (size_t)gridDim.x * blockDim.x) {
    const int tile = at / size, rest = at % size;
    if (rest >= groups * stride) {
      out[at] = norm_factor * norms[(size_t)tile * width + rest - groups * stride];
      continue;
    }
    const int k = rest / stride, j = tile * width + rest % stride;
    const bool there = rest % stride < width && j < m && k < count;
    const T v = there ? V[(size_t)j * c + first + k] : pad;
    // A NaN that stays one when its bits are rounded to TF32.
    out[at] = v == v ? v : T(__int_as_float(0x7fc00000));
  }
}

// out[i][first + k] = weights_i (sum over parts - targets[i][first + k]).
extern "C" __global__ void sum_parts(const double* parts, int n_parts, int padded,
                                     int width, int n, int c, int first, int count,
                                     const T* targets, const T* weights, T* out) {
  for (size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x; at < (size_t)n * count;
       at += (size_t)gridDim.x * blockDim.x) {
    const int i = at / count, k = at % count;
    double total = 0.;
    for (int s = 0; s < n_parts; ++s)
      total += parts[((size_t)s * padded + i) * width + k];
    const size_t to = (size_t)i * c + first + k;
    if (targets) total -= targets[to];
    if (weights) total *= weights[i];
    out[to] = (T)total;
  }
}

// out[i] = log of the sum over parts of exp(peak) total.
extern "C" __global__ void logsumexp_parts(const double2* parts, int n_parts, int padded,
                                           int n, double* out) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  double peak = -INFINITY, total = 0.;
  for (int s = 0; s < n_parts; ++s) peak = fmax(peak, parts[(size_t)s * padded + i].x);
  const double shift = peak == -INFINITY ? 0. : peak;
  for (int s = 0; s < n_parts; ++s) {
    const double2 part = parts[(size_t)s * padded + i];
    total += part.y * exp(part.x - shift);
  }
  out[i] = shift + log(total);
}
