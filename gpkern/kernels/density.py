"""Kernels of a density estimate, with tails or without: integrals, and draws."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from . import expr as ex
from .compact import Biweight, Cosine, Epanechnikov, Linear, Tophat, Triweight
from .density_base import CUSP, SMOOTH, DensityKernel, accepted, log_sphere


class Gaussian(DensityKernel):
    """``exp(-u^2 / 2)``."""

    def profile(self, r, pair):
        """See `DensityKernel`."""
        return ex.exp(-0.5 * r)

    def log_integral(self, d):
        """See `DensityKernel`."""
        return 0.5 * d * math.log(2.0 * math.pi)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return np.sqrt(rng.chisquare(d, size))


class GeneralizedGaussian(DensityKernel):
    """``exp(-u^power)``: 1 is the exponential kernel, 2 a Gaussian of variance 1/2.

    Parameters
    ----------
    length_scale : float, default=1.0
        Bandwidth, in the units of the data.
    power : float, default=1.5
        Above 0.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.
    """

    def __init__(self, length_scale=1.0, power=1.5, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.power = power
        self.length_scale_bounds = length_scale_bounds

    @property
    def is_smooth(self):
        """Whether it is where two rows meet."""
        return self.power >= 2.0

    @property
    def has_cusp(self):
        """Whether it falls at once where two rows meet."""
        return self.power < 2.0

    @property
    def is_tame(self):
        """Whether the bounds of mode finding hold."""
        return self.power <= 2.0

    def profile(self, r, pair):
        """See `DensityKernel`."""
        power = pair.number("power", positive=True)
        if power == 1.0:
            return ex.exp(-ex.sqrt(r + CUSP))
        if power < 2.0:
            return ex.exp(-((r + CUSP) ** (0.5 * power)))
        return ex.exp(-(r if power == 2.0 else r ** (0.5 * power)))

    def log_integral(self, d):
        """See `DensityKernel`."""
        ratio = d / self.power
        return log_sphere(d) + special.gammaln(ratio) - math.log(self.power)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return rng.gamma(d / self.power, size=size) ** (1.0 / self.power)


class Exponential(DensityKernel):
    """``exp(-u)``."""

    is_smooth, has_cusp = False, True

    def profile(self, r, pair):
        """See `DensityKernel`."""
        return ex.exp(-ex.sqrt(r + CUSP))

    def log_integral(self, d):
        """See `DensityKernel`."""
        return log_sphere(d) + special.gammaln(d)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return rng.gamma(d, size=size)


class Logistic(DensityKernel):
    """``1 / cosh(u / 2)^2``, the density of the logistic distribution, scaled."""

    def profile(self, r, pair):
        """See `DensityKernel`."""
        fall = ex.exp(-ex.sqrt(r + SMOOTH))
        return 4.0 * fall * (1.0 + fall) ** -2.0

    def log_integral(self, d):
        """4 Gamma(d) eta(d - 1) times the sphere, of Dirichlet's eta."""
        s = d - 1.0
        if s in (0.0, 1.0):
            eta = (0.5, math.log(2.0))[int(s)]
        else:
            eta = -math.expm1((1.0 - s) * math.log(2.0)) * special.zeta(s)
        return log_sphere(d) + math.log(4.0 * eta) + special.gammaln(d)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return accepted(
            lambda n: rng.gamma(d, size=n),
            lambda u: (1.0 + np.exp(-u)) ** -2,
            size,
            rng,
        )


class Sigmoid(DensityKernel):
    """``1 / cosh(u)``."""

    def profile(self, r, pair):
        """See `DensityKernel`."""
        distance = ex.sqrt(r + SMOOTH)
        return 2.0 * ex.exp(-distance) / (1.0 + ex.exp(-2.0 * distance))

    def log_integral(self, d):
        """2 Gamma(d) beta(d) times the sphere, of Dirichlet's beta."""
        if d == 1:
            beta = 0.25 * math.pi
        elif d < 40:
            beta = 4.0**-d * (special.zeta(d, 0.25) - special.zeta(d, 0.75))
        else:
            beta = 1.0 - 3.0**-d
        return log_sphere(d) + math.log(2.0 * beta) + special.gammaln(d)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return accepted(
            lambda n: rng.gamma(d, size=n),
            lambda u: 1.0 / (1.0 + np.exp(-2.0 * u)),
            size,
            rng,
        )


class StudentT(DensityKernel):
    """``(1 + u^2 / nu)^(-(nu + d) / 2)``, the multivariate t distribution, scaled.

    Parameters
    ----------
    length_scale : float, default=1.0
        Bandwidth, in the units of the data.
    nu : float, default=3.0
        Degrees of freedom: the smaller, the longer the tails.
    n_columns : int, default=None
        What stands for d in the exponent; None is the columns of the data.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.
    """

    def __init__(
        self,
        length_scale=1.0,
        nu=3.0,
        n_columns=None,
        length_scale_bounds=(1e-5, 1e5),
    ):
        self.length_scale = length_scale
        self.nu = nu
        self.n_columns = n_columns
        self.length_scale_bounds = length_scale_bounds

    def profile(self, r, pair):
        """See `DensityKernel`."""
        nu, d = pair.number("nu", positive=True), self.n_columns or pair.n_features
        return (1.0 + r / nu) ** (-0.5 * (nu + (d or 1)))

    def of_columns(self, d):
        """See `DensityKernel`."""
        return type(self)(**(self.get_params() | {"n_columns": d}))

    def log_integral(self, d):
        """See `DensityKernel`."""
        left = self._left(d)
        ratio = special.gammaln(0.5 * left) - special.gammaln(0.5 * (left + d))
        return 0.5 * d * math.log(self.nu * math.pi) + ratio

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        left = rng.chisquare(self._left(d), size)
        return np.sqrt(rng.chisquare(d, size) * self.nu / left)

    def _left(self, d):
        """Twice the exponent less d: ``nu``, but for another number of columns."""
        left = self.nu + (self.n_columns or d) - d
        if left <= 0:
            raise ValueError(
                f"StudentT(nu={self.nu}, n_columns={self.n_columns}) has no integral "
                f"over {d} columns: set n_columns=None"
            )
        return left


class Cauchy(DensityKernel):
    """``(1 + u^2)^(-(1 + d) / 2)``: that of `StudentT` with ``nu = 1``."""

    nu, n_columns = 1.0, None

    def profile(self, r, pair):
        """See `DensityKernel`."""
        return (1.0 + r) ** (-0.5 * (1.0 + (pair.n_features or 1)))

    def of_columns(self, d):
        """See `DensityKernel`."""
        return StudentT(self.length_scale, 1.0, d)

    log_integral, radii, _left = StudentT.log_integral, StudentT.radii, StudentT._left


DENSITY_KERNELS = {
    "gaussian": Gaussian,
    "tophat": Tophat,
    "epanechnikov": Epanechnikov,
    "exponential": Exponential,
    "linear": Linear,
    "cosine": Cosine,
    "biweight": Biweight,
    "triweight": Triweight,
    "logistic": Logistic,
    "sigmoid": Sigmoid,
    "student-t": StudentT,
    "cauchy": Cauchy,
    "generalized-gaussian": GeneralizedGaussian,
}
