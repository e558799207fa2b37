// From inner products of a strip, 16 rows of a warp by NT blocks of 8 columns, to
// kernel values, and on into the reduction: registers only.
//
// The accumulators of mma.sync and wgmma share one layout: a thread holds rows g and
// g + 8, columns 2 t and 2 t + 1 of each block (g = lane / 4, t = lane % 4). It is also
// that of a TF32 left operand once the rows of V are taken in the order 2 t, 2 t + 1,
// so that kernel values enter the product with V without moving between threads.
//
// Macros: NT; CG, groups of eight columns of V, or 0 for a single column without tensor
// cores; LOGSUMEXP; PARTS; DOT (the leaf is an inner product, not a squared distance);
// UNIT (leaves are squared norms of the difference and of the sum of rows of norm 1);
// DIAGONAL (one sample: entries on the diagonal are given); EXACT (a squared distance
// far below the norms is computed again from the rows); STORE (values are written to
// memory too, for a product with the transposed); ELEMENT(s, x, z, g) of `p`, and GIVEN
// where it reads g, a number of the left row.
#pragma once

#if CG > 0
#define CP (CG * 8)
#else
#define CP 1
#endif
// In shared memory: V transposed, one row a column of V, then the columns' norms.
#define VSTRIDE (BN + 8)
#define VFLOATS (CP * VSTRIDE + BN)
// Blocks of columns whose products are chained in the tensor cores, which truncate as
// they add: a longer chain would show as a bias.
#define CHAIN 4

struct Rows {  // what a second look at a pair needs
  const float* x;
  const float* z;
  const float* factor;  // inverse length scales, or null
  const float* diagonal;
  int columns;
  float fold;  // what distances are multiplied by
};

// By value, so that what the caller holds stays in registers.
__device__ __noinline__ float exact_distance(const float* x, const float* z,
                                             const float* factor, int columns,
                                             float sign = -1.f) {
  float s = 0.f;
  for (int k = 0; k < columns; ++k) {
    const float t = (x[k] + sign * z[k]) * (factor ? factor[k] : 1.f);
    s = fmaf(t, t, s);
  }
  return s;
}

struct Pairs {
  float p[NP + 1];  // the numbers of the formula
  float scale;  // from an accumulator to -2 x.z, or x.z, times the fold
  Rows rows;
  int n, m;    // rows and columns that exist
  int shift;   // the diagonal is where row + shift = column
  float* kept;         // STORE: the values go here as well,
  long long kept_row;  // rows so far apart

#if EXACT
  // Entry q of a block from the rows themselves.
  __device__ __forceinline__ float again(int row, int column, int q, float sign) const {
    const size_t i = min(row + (q >> 1) * 8, n - 1), j = min(column + (q & 1), m - 1);
    return rows.fold * exact_distance(rows.x + i * rows.columns,
                                      rows.z + j * rows.columns, rows.factor,
                                      rows.columns, sign);
  }
#endif

  // Kernel values of one block: `row`, `row` + 8 by `column`, `column` + 1.
  __device__ __forceinline__ void values(float (&k)[4], const float* a, float x0,
                                         float x1, float2 g, float2 z, int row,
                                         int column, bool on_diagonal) const {
#if DOT
    const float s[4] = {a[0] * scale, a[1] * scale, a[2] * scale, a[3] * scale};
    [[maybe_unused]] const float* o = s;
#elif UNIT
    float s[4], o[4];
    UNROLL for (int q = 0; q < 4; ++q) {
      s[q] = fmaf(a[q], scale, 2.f);
      o[q] = 4.f - s[q];
    }
#if EXACT
    bool close = false;
    UNROLL for (int q = 0; q < 4; ++q) close |= fminf(s[q], o[q]) < CLOSE;
    if (close) {
      UNROLL for (int q = 0; q < 4; ++q) if (s[q] < CLOSE) {
        s[q] = again(row, column, q, -1.f);
        o[q] = 4.f - s[q];
      } else if (o[q] < CLOSE) {
        o[q] = again(row, column, q, 1.f);
        s[q] = 4.f - o[q];
      }
    }
#endif
#else
    const float norms[4] = {x0 + z.x, x0 + z.y, x1 + z.x, x1 + z.y};
    float s[4];
    [[maybe_unused]] const float* o = s;
    UNROLL for (int q = 0; q < 4; ++q) s[q] = fmaf(a[q], scale, norms[q]);
#if EXACT
    bool close = false;
    UNROLL for (int q = 0; q < 4; ++q) close |= s[q] < CLOSE * norms[q];
    if (close) {
      UNROLL for (int q = 0; q < 4; ++q) if (s[q] < CLOSE * norms[q])
          s[q] = again(row, column, q, -1.f);
    }
#endif
#endif
    k[0] = ELEMENT(s[0], o[0], x0, z.x, g.x);
    k[1] = ELEMENT(s[1], o[1], x0, z.y, g.x);
    k[2] = ELEMENT(s[2], o[2], x1, z.x, g.y);
    k[3] = ELEMENT(s[3], o[3], x1, z.y, g.y);
#if DIAGONAL
    if (on_diagonal) {
      UNROLL for (int q = 0; q < 4; ++q) {
        const int i = row + (q >> 1) * 8;
        if (i + shift == column + (q & 1)) k[q] = rows.diagonal[min(i, n - 1)];
      }
    }
#endif
#if STORE
    UNROLL for (int h = 0; h < 2; ++h) if (row + 8 * h < n)
        *(float2*)(kept + (row + 8 * h) * kept_row + column) =
            make_float2(k[2 * h], k[2 * h + 1]);
#endif
  }
};

// Long sums are kept in float64, in global memory where only this thread writes.
template <int STRIPS>
struct Reduction {
#if LOGSUMEXP
  float peak[STRIPS][2], total[STRIPS][2];
#elif CG > 0
  float sum[STRIPS][CG][4];
#else
  float sum[STRIPS][2];
#endif

  __device__ __forceinline__ void start() {
    UNROLL for (int i = 0; i < STRIPS; ++i) {
#if LOGSUMEXP
      peak[i][0] = peak[i][1] = -INFINITY;
      total[i][0] = total[i][1] = 0.f;
#elif CG > 0
      UNROLL for (int c = 0; c < CG; ++c) UNROLL for (int q = 0; q < 4; ++q)
          sum[i][c][q] = 0.f;
#else
      sum[i][0] = sum[i][1] = 0.f;
#endif
    }
  }

  // `tile` is V and norms in shared memory; `at` the strip's first column in there,
  // `row` and `column` this thread's first row and the tile's first column.
  __device__ __forceinline__ void strip(int i, float (&a)[NT * 4], float x0, float x1,
                                        float2 given, const float* tile, int at, int lane, int row,
                                        int column, const Pairs& pairs) {
    [[maybe_unused]] const int g = lane >> 2;
    const int t = lane & 3;
    const float* norms = tile + CP * VSTRIDE;
    const bool on_diagonal =
        DIAGONAL && row - g + pairs.shift < column + at + NT * 8 &&
        row - g + pairs.shift + 16 > column + at;
#if LOGSUMEXP
    float top[2] = {peak[i][0], peak[i][1]};
    UNROLL for (int j = 0; j < NT; ++j) {
      const int c = at + j * 8 + 2 * t;
      const float2 z = *(const float2*)(norms + c), w = *(const float2*)(tile + c);
      float k[4];
      pairs.values(k, a + 4 * j, x0, x1, given, z, row, column + c, on_diagonal);
      UNROLL for (int q = 0; q < 4; ++q) {
        k[q] += q & 1 ? w.y : w.x;
        top[q >> 1] = fmaxf(top[q >> 1], k[q]);
        a[4 * j + q] = k[q];
      }
    }
    UNROLL for (int h = 0; h < 2; ++h) {
      const float shift = top[h] == -INFINITY ? 0.f : top[h];
      float part = 0.f;
      UNROLL for (int j = 0; j < NT; ++j) part +=
          fast_exp(a[4 * j + 2 * h] - shift) + fast_exp(a[4 * j + 2 * h + 1] - shift);
      total[i][h] = fmaf(total[i][h], fast_exp(peak[i][h] - shift), part);
      peak[i][h] = top[h];
      // NaN passes by fmaxf, but not by the sum.
    }
#elif CG > 0
    float high[CG][4] = {};
    [[maybe_unused]] float low[CG][4] = {};
    UNROLL for (int j = 0; j < NT; ++j) {
      const int c = at + j * 8 + 2 * t;
      float k[4];
      pairs.values(k, a + 4 * j, x0, x1, given, *(const float2*)(norms + c), row,
                   column + c, on_diagonal);
      u32 h[4];
#if PARTS == 2
      u32 l[4];
      UNROLL for (int q = 0; q < 4; ++q) {
        h[q] = tf32_part(k[q]);
        l[q] = __float_as_uint(k[q] - __uint_as_float(h[q]));
      }
#else
      UNROLL for (int q = 0; q < 4; ++q) h[q] = tf32_nearest(k[q]);
#endif
      UNROLL for (int v = 0; v < CG; ++v) {
        const float2 w = *(const float2*)(tile + (v * 8 + g) * VSTRIDE + c);
#if PARTS == 2
        const u32 w0 = tf32_part(w.x), w1 = tf32_part(w.y);
        mma_tf32(low[v], l[0], l[2], l[1], l[3], w0, w1);
        mma_tf32(low[v], h[0], h[2], h[1], h[3],
                 __float_as_uint(w.x - __uint_as_float(w0)),
                 __float_as_uint(w.y - __uint_as_float(w1)));
#else
        const u32 w0 = tf32_nearest(w.x), w1 = tf32_nearest(w.y);
#endif
        mma_tf32(high[v], h[0], h[2], h[1], h[3], w0, w1);
      }
      if ((j + 1) % CHAIN == 0 || j + 1 == NT) {
        UNROLL for (int v = 0; v < CG; ++v) UNROLL for (int q = 0; q < 4; ++q) {
          sum[i][v][q] += high[v][q];
          high[v][q] = 0.f;
        }
      }
    }
#if PARTS == 2
    UNROLL for (int v = 0; v < CG; ++v) UNROLL for (int q = 0; q < 4; ++q)
        sum[i][v][q] += low[v][q];
#endif
#else
    float s0 = 0.f, s1 = 0.f;
    UNROLL for (int j = 0; j < NT; ++j) {
      const int c = at + j * 8 + 2 * t;
      const float2 w = *(const float2*)(tile + c);
      float k[4];
      pairs.values(k, a + 4 * j, x0, x1, given, *(const float2*)(norms + c), row,
                   column + c, on_diagonal);
      s0 = fmaf(k[0], w.x, fmaf(k[1], w.y, s0));
      s1 = fmaf(k[2], w.x, fmaf(k[3], w.y, s1));
    }
    sum[i][0] += s0;
    sum[i][1] += s1;
#endif
  }

#if !LOGSUMEXP
  // Add what has gathered to the long sums.
  __device__ __forceinline__ void flush(double* out, bool first, int lane) {
    UNROLL for (int i = 0; i < STRIPS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
#if CG > 0
      UNROLL for (int v = 0; v < CG; ++v) {
        double2* at =
            (double2*)(out + (size_t)(i * 16 + h * 8) * CP + v * 8 + 2 * (lane & 3));
        double2 o = first ? make_double2(0., 0.) : *at;
        o.x += sum[i][v][2 * h];
        o.y += sum[i][v][2 * h + 1];
        *at = o;
        sum[i][v][2 * h] = sum[i][v][2 * h + 1] = 0.f;
      }
#else
      float o = sum[i][h];
      o += __shfl_xor_sync(~0u, o, 1);
      o += __shfl_xor_sync(~0u, o, 2);
      double* at = out + i * 16 + h * 8;
      if ((lane & 3) == 0) *at = o + (first ? 0. : *at);
      sum[i][h] = 0.f;
#endif
    }
  }
#else
  // Peak and total of each row; the four threads of a row come together.
  __device__ __forceinline__ void finish(double2* out, int lane) {
    UNROLL for (int i = 0; i < STRIPS; ++i) UNROLL for (int h = 0; h < 2; ++h) {
      float m = peak[i][h], s = total[i][h];
      UNROLL for (int d = 1; d < 4; d <<= 1) {
        const float m2 = __shfl_xor_sync(~0u, m, d), s2 = __shfl_xor_sync(~0u, s, d);
        const float top = fmaxf(m, m2), shift = top == -INFINITY ? 0.f : top;
        s = s * fast_exp(m - shift) + s2 * fast_exp(m2 - shift);
        m = top;
      }
      if ((lane & 3) == 0) out[i * 16 + h * 8] = make_double2(m, s);
    }
  }
#endif
};
