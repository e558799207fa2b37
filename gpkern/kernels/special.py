"""What the operations of an expression compute, by NumPy."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

# Orders below this have, near z = 0, the slope of a root.
_ROUGH_ORDER = 0.9


def ratio(a, b):
    """``a / b``, and 0 where b is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b == 0, 0.0, np.divide(a, b))


def matern(nu, z):
    """Matern correlation of any order; see `log_matern`."""
    return np.exp(log_matern(nu, z))


def log_matern(nu, z):
    r"""Logarithm of ``2^(1-nu) / Gamma(nu) z^nu K_nu(z)``.

    With ``K_nu(z) = 1/2 int exp(nu t - z cosh t) dt`` (DLMF 10.32.9), whose integrand
    has its peak where ``z sinh t = nu``. The value there is taken out by hand:
    what is left neither overflows nor cancels, for any order and any z. The integral
    is a trapezoidal sum about the peak, which converges geometrically in the number
    of nodes, or Debye's expansion (DLMF 10.41) where the peak is narrow.

    Parameters
    ----------
    nu : float
        Order, positive.
    z : array-like
        Not negative.

    Returns
    -------
    ndarray, float64
    """
    z = np.asarray(z, dtype=np.float64)
    with np.errstate(all="ignore"):
        s = np.hypot(z, nu)
        q = z * (z / (s + nu))  # s - nu
        peak = nu * np.log1p(q / (2.0 * nu)) - q + _scaled_gamma(nu)
        out = peak + np.where(s > 2000.0, _debye(nu, s), _trapezoid(nu, s, q))
        if nu < _ROUGH_ORDER:
            power = 2.0 * nu * np.log(0.5 * z)
            near = -np.expm1(power + gammaln(1.0 - nu) - gammaln(1.0 + nu))
            near = np.log(near)
        else:
            near = 0.0
        out = np.where(z < 1e-8, near, out)
        return np.where(z > 1e300, -np.inf, out)  # whose square is none


def _scaled_gamma(nu):
    """``log(nu^nu exp(-nu) / Gamma(nu))``."""
    if nu < 20:
        return nu * math.log(nu) - nu - math.lgamma(nu)
    i = 1.0 / (nu * nu)
    series = 1 / 12 - (1 / 360 - (1 / 1260 - i / 1680) * i) * i
    return 0.5 * math.log(nu / (2.0 * math.pi)) - series / nu


def _debye(nu, s):
    """Logarithm of the integral over its peak, for large s."""
    p = np.square(nu / s)
    u3 = (30375 - p * (369603 - p * (765765 - 425425 * p))) / 414720
    u2 = (81 - p * (462 - 385 * p)) / 1152
    u = ((3 - 5 * p) / 24 - (u2 - u3 / s) / s) / s
    return 0.5 * np.log(2.0 * math.pi / s) + np.log1p(-u)


def _trapezoid(nu, s, q):
    """Logarithm of the integral over its peak."""
    h = 0.6 / np.sqrt(s + 8.0)
    total = np.ones_like(s)
    for k in range(1, 257):
        t = k * h
        rise = np.expm1(t)
        fall = rise / (1.0 + rise)  # 1 - exp(-t)
        wide = 0.5 * q * rise * fall  # q (cosh t - 1)
        left = wide + nu * (t - fall)
        total += np.exp(-wide - nu * (rise - t)) + np.exp(-left)
        if not (left < 40.0).any():
            break
    return np.log(h * total)


NUMPY = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "pow": lambda a, b: a**b,
    "angle": np.arctan2,
    "ratio": ratio,
    "matern": matern,
    "log_matern": log_matern,
    **{
        f: getattr(np, f)
        for f in ("absolute", "exp", "log", "log1p", "sqrt", "sin", "cos", "tanh")
    },
}
