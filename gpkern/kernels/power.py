"""Power kernels: those whose spectral density is a power of another kernel's."""

from __future__ import annotations

import math

import numpy as np
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, Product

from .products import BSpline, Sinc
from .radial import InverseMultiquadric

# Of the length scale, for a kernel that dominates the square root of an inverse
# multiquadric's: at a half its spectral density would fall as fast.
IMQ_SHARE = 0.45


def power_kernel(kernel, n_features, alpha=None):
    """Kernel whose spectral density is that of `kernel` to the power alpha, scaled.

    Generalised kernel thinning splits points by it (Dwivedi & Mackey 2022, "Generalized
    kernel thinning", section 3). Scaled to 1 where two rows meet.

    Parameters
    ----------
    kernel : Kernel
        RBF, Matern, InverseMultiquadric, Sinc or BSpline, or a constant times one of
        them.
    n_features : int
    alpha : float, default=None
        From 1/2 to 1. By default the least for which the kernel has elementary
        functions: 1/2 but for BSpline, and for Matern of order 3/2, 5/2, ... For other
        orders 1/2, or the middle of what is possible where that is not.

    Returns
    -------
    Kernel

    Raises
    ------
    ValueError
        For kernels without a closed form.

    Examples
    --------
    >>> from gpkern.kernels import RBF, power_kernel
    >>> power_kernel(RBF(2.0), n_features=3)
    RBF(length_scale=1.41)
    """
    if isinstance(kernel, Product):
        inner = [k for k in (kernel.k1, kernel.k2) if type(k) is not ConstantKernel]
        if len(inner) == 1:
            return power_kernel(inner[0], n_features, alpha)
    if type(kernel) is Matern and kernel.nu > 1e15:
        kernel = RBF(kernel.length_scale)
    if type(kernel) is RBF:
        return RBF(
            _times(kernel.length_scale, math.sqrt(0.5 if alpha is None else alpha))
        )
    if type(kernel) is Matern:
        return _matern(kernel, n_features, alpha)
    if type(kernel) is InverseMultiquadric:
        return _inverse_multiquadric(kernel, n_features, alpha)
    if type(kernel) is Sinc:  # of constant density, up to where it ends
        return Sinc(kernel.length_scale)
    if type(kernel) is BSpline:
        return _b_spline(kernel, alpha)
    raise ValueError(
        f"kernel={kernel} has no power kernel in closed form: use RBF, Matern, "
        "InverseMultiquadric, Sinc or BSpline, or another method"
    )


def _times(length_scale, factor):
    """A length scale, or those in a list or an array, times a number."""
    if np.ndim(length_scale) == 0:
        return length_scale * factor
    return np.asarray(length_scale, dtype=np.float64) * factor


def _inverse_multiquadric(kernel, d, alpha):
    """A kernel that dominates the square-root kernel, which has no closed form.

    Its spectral density is as steep at 0 as the root, and falls more slowly far away.
    """
    if alpha not in (None, 0.5):
        raise ValueError("InverseMultiquadric has a power kernel for alpha=0.5 alone")
    exponent = d / 4.0 + kernel.exponent / 2.0
    return InverseMultiquadric(_times(kernel.length_scale, IMQ_SHARE), exponent)


def _b_spline(kernel, alpha):
    """The power p + 1 of a sinc function, which must be even, times alpha."""
    order = kernel.degree + 1
    new = 2 * math.ceil(order / 4) if alpha is None else order * alpha
    if new != int(new) or new % 2 or not 0 < new <= order:
        raise ValueError(
            f"alpha={alpha}: a BSpline of degree {kernel.degree} has power kernels for "
            f"alpha times {order} an even number alone"
        )
    return BSpline(kernel.length_scale, degree=int(new) - 1)


def _matern(kernel, d, alpha):
    """The exponent nu + d / 2 of the spectral density times alpha, its scale kept."""
    least = d / (2.0 * kernel.nu + d)
    if alpha is None and kernel.nu > 0.5 and (kernel.nu - 0.5) % 1 == 0:
        # The next order with a half: others take Bessel functions, far slower.
        nu = max(0.0, math.ceil(kernel.nu / 2.0 - d / 4.0 - 0.5)) + 0.5
    else:
        if alpha is None:
            alpha = 0.5 if least < 0.5 else 0.5 * (1.0 + least)
        nu = alpha * kernel.nu - (1.0 - alpha) * d / 2.0
    if nu <= 0.0:
        raise ValueError(
            f"alpha={alpha} is too small for {kernel} of {d} columns: it must be above "
            f"{least:.3g}"
        )
    return Matern(_times(kernel.length_scale, math.sqrt(nu / kernel.nu)), nu=nu)
