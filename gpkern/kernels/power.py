"""Power kernels: those whose spectral density is a power of another kernel's."""

from __future__ import annotations

import math

from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, Product

from .radial import InverseMultiquadric


def power_kernel(kernel, n_features, alpha=None):
    """Kernel whose spectral density is that of `kernel` to the power alpha, scaled.

    Generalised kernel thinning splits points by it (Dwivedi & Mackey 2022, "Generalized
    kernel thinning", section 3). Scaled to 1 where two rows meet.

    Parameters
    ----------
    kernel : Kernel
        RBF, Matern or InverseMultiquadric, or a constant times one of them.
    n_features : int
    alpha : float, default=None
        From 1/2 to 1; by default 1/2, or for a Matern kernel too rough for that the
        middle of what is possible.

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
        return RBF(kernel.length_scale * math.sqrt(0.5 if alpha is None else alpha))
    if type(kernel) is Matern:
        return _matern(kernel, n_features, alpha)
    if type(kernel) is InverseMultiquadric:
        if alpha not in (None, 0.5):
            raise ValueError(
                "InverseMultiquadric has a power kernel for alpha=0.5 alone"
            )
        # Dominates the square-root kernel, which has no closed form.
        exponent = n_features / 4.0 + kernel.exponent / 2.0
        return InverseMultiquadric(kernel.length_scale, exponent)
    raise ValueError(
        f"kernel={kernel} has no power kernel in closed form: use RBF, Matern or "
        "InverseMultiquadric, or another method"
    )


def _matern(kernel, d, alpha):
    """The exponent nu + d / 2 of the spectral density times alpha, its scale kept."""
    least = d / (2.0 * kernel.nu + d)
    if alpha is None:
        alpha = 0.5 if least < 0.5 else 0.5 * (1.0 + least)
    nu = alpha * kernel.nu - (1.0 - alpha) * d / 2.0
    if nu <= 0.0:
        raise ValueError(
            f"alpha={alpha} is too small for {kernel} of {d} columns: it must be above "
            f"{least:.3g}"
        )
    return Matern(kernel.length_scale * math.sqrt(nu / kernel.nu), nu=nu)
