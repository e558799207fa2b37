// Functions of element expressions that CUDA's library lacks. T is float or double.

__device__ __forceinline__ T gk_ratio(T a, T b) { return b == T(0) ? T(0) : a / b; }

// Matern correlation of any order, 2^(1-nu) / Gamma(nu) z^nu K_nu(z), with K_nu by
// the trapezoidal rule on int exp(-z cosh t) cosh(nu t) dt (DLMF 10.32.9).
__device__ inline T gk_matern(T nu_, T z_) {
  const double nu = nu_, z = z_;
  if (z < 1e-8) return T(1);
  // For large z the integrand is a narrow Gaussian, of width 1 / sqrt(z).
  const double step = fmin(0.05, 0.5 / sqrt(z));
  double total = 0.5;
  for (double t = step;; t += step) {
    const double decay = z * (cosh(t) - 1.0) - nu * t;
    if (decay > 45.0) break;
    total += 0.5 * exp(-decay) * (1.0 + exp(-2.0 * nu * t));
  }
  const double log_k = log(step * total) - z;
  return T(exp((1.0 - nu) * 0.6931471805599453 - lgamma(nu) + nu * log(z) + log_k));
}
