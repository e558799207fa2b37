// Functions of element expressions that CUDA's library lacks. T is float or double.

__device__ __forceinline__ T gk_ratio(T a, T b) { return b == T(0) ? T(0) : a / b; }

// log(nu^nu exp(-nu) / Gamma(nu)).
__device__ inline double gk_scaled_gamma(double nu) {
  if (nu < 20.0) return nu * log(nu) - nu - lgamma(nu);
  const double i = 1.0 / (nu * nu);
  const double series =
      1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - i / 1680.0) * i) * i;
  return 0.5 * log(nu / 6.283185307179586) - series / nu;
}

// Logarithm of a Matern correlation of any order; kernels/special.py derives it.
__device__ inline double gk_log_matern_(double nu, double z) {
  if (z != z || nu != nu) return z + nu;
  if (z < 1e-8) {
    // The order says how steep the start is: a root's, or flat to all digits.
    if (nu >= 0.9 || z < 1e-300) return 0.0;
    const double power = 2.0 * nu * log(0.5 * z);
    return log(-expm1(power + lgamma(1.0 - nu) - lgamma(1.0 + nu)));
  }
  if (z > 1e300) return -1.0 / 0.0;
  const double s = hypot(z, nu), q = z * (z / (s + nu));  // q = s - nu
  const double peak = nu * log1p(q / (2.0 * nu)) - q + gk_scaled_gamma(nu);
  if (s > 2000.0) {
    const double p = (nu / s) * (nu / s);
    const double u3 =
        (30375.0 - p * (369603.0 - p * (765765.0 - 425425.0 * p))) / 414720.0;
    const double u2 = (81.0 - p * (462.0 - 385.0 * p)) / 1152.0;
    const double u = ((3.0 - 5.0 * p) / 24.0 - (u2 - u3 / s) / s) / s;
    return peak + 0.5 * log(6.283185307179586 / s) + log1p(-u);
  }
  const double h = 0.6 / sqrt(s + 8.0);
  double total = 1.0;
  for (int k = 1; k <= 256; ++k) {
    const double t = k * h, rise = expm1(t), fall = rise / (1.0 + rise);
    const double wide = 0.5 * q * rise * fall;  // q (cosh t - 1)
    const double left = wide + nu * (t - fall);
    total += exp(-wide - nu * (rise - t)) + exp(-left);
    if (left > 40.0) break;
  }
  return peak + log(h * total);
}
__device__ inline T gk_log_matern(T nu, T z) { return T(gk_log_matern_(nu, z)); }
__device__ inline T gk_matern(T nu, T z) { return T(exp(gk_log_matern_(nu, z))); }
