"""Kernels of a density estimate: what they are, integrate to, and how to draw of them.

Each is 1 where two rows meet and a function of ``u = |x - z| / length_scale``.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from . import expr as ex
from .base import FormulaKernel
from .pair import Pair

# Added to the squared distance under a root, so that slopes by that distance are right
# where rows meet: of kernels that are smooth there, and of those with a cusp.
SMOOTH, CUSP = 1e-12, 1e-30


class DensityKernel(FormulaKernel):
    """A kernel whose integral over all rows is known.

    Subclasses say `profile`, `log_integral` and `radii`.

    Parameters
    ----------
    length_scale : float, default=1.0
        Bandwidth h, in the units of the data.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.

    Attributes
    ----------
    is_compact : bool
        Whether the kernel is 0 beyond a distance of 1.
    is_smooth : bool
        Whether it has second derivatives everywhere.
    has_cusp : bool
        Whether its slope by the squared distance is infinite where two rows meet.
    is_tame : bool
        Whether minus its logarithm is a concave function of the squared distance, on
        which the lift of mode finding rests, and the kernel positive definite, on which
        a bound does.
    """

    is_compact, is_smooth, is_tame, has_cusp = False, True, True, False

    def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return self.profile(pair.sqdist("length_scale"), pair)

    def profile(self, r, pair):
        """Expression of the kernel in the squared distance ``r = u^2``."""
        raise NotImplementedError

    def of_columns(self, d):
        """The kernel that has the same profile on any rows as this one has on d."""
        return self

    def log_integral(self, d):
        """Logarithm of the integral over d dimensions, for a length scale of 1."""
        raise NotImplementedError

    def radii(self, size, d, rng):
        """Distances from the centre, for a length scale of 1, of so many draws."""
        raise NotImplementedError


def log_ball(d):
    """Logarithm of the volume of the unit ball of d dimensions."""
    return 0.5 * d * math.log(math.pi) - special.gammaln(0.5 * d + 1.0)


def log_sphere(d):
    """Logarithm of the area of its surface."""
    return math.log(d) + log_ball(d)


def _positive(x):
    """x, or 0 where it is negative."""
    return 0.5 * (x + ex.absolute(x))


def _accepted(propose, share, size, rng):
    """So many draws of a proposal, each kept with a probability of `share` of it."""
    out = np.empty(0)
    while len(out) < size:
        draws = propose(2 * (size - len(out)) + 16)
        out = np.append(out, draws[rng.uniform(size=len(draws)) < share(draws)])
    return out[:size]


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
        return _accepted(
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
        return _accepted(
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


class Epanechnikov(DensityKernel):
    """``1 - u^2`` up to u = 1."""

    is_compact, is_smooth, is_tame, degree = True, False, False, 1

    def profile(self, r, pair):
        """See `DensityKernel`."""
        inside = _positive(1.0 - r)
        out = inside
        for _ in range(self.degree - 1):
            out = out * inside
        return out

    def log_integral(self, d):
        """See `DensityKernel`."""
        ratio = special.betaln(0.5 * d, self.degree + 1.0)
        return log_sphere(d) - math.log(2.0) + ratio

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return np.sqrt(rng.beta(0.5 * d, self.degree + 1.0, size))


class Biweight(Epanechnikov):
    """``(1 - u^2)^2`` up to u = 1."""

    degree = 2


class Triweight(Epanechnikov):
    """``(1 - u^2)^3`` up to u = 1."""

    degree = 3


class Tophat(DensityKernel):
    """1 up to u = 1, which itself is outside."""

    is_compact, is_smooth, is_tame = True, False, False

    def profile(self, r, pair):
        """See `DensityKernel`."""
        return _inside(1.0 - r)

    def log_integral(self, d):
        """See `DensityKernel`."""
        return log_ball(d)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return rng.uniform(size=size) ** (1.0 / d)


class Linear(DensityKernel):
    """``1 - u`` up to u = 1."""

    is_compact, is_smooth, is_tame, has_cusp = True, False, False, True

    def profile(self, r, pair):
        """See `DensityKernel`."""
        return _positive(1.0 - ex.sqrt(r + CUSP))

    def log_integral(self, d):
        """See `DensityKernel`."""
        return log_ball(d) - math.log(d + 1.0)

    def radii(self, size, d, rng):
        """See `DensityKernel`."""
        return rng.beta(d, 2.0, size)


class Cosine(DensityKernel):
    """``cos(pi u / 2)`` up to u = 1."""

    is_compact, is_smooth, is_tame = True, False, False

    def profile(self, r, pair):
        """See `DensityKernel`."""
        room = _positive(1.0 - ex.sqrt(r + SMOOTH))
        return ex.sin(0.5 * math.pi * room)

    def log_integral(self, d):
        """By Gauss's rule, which is exact to rounding with so many nodes."""
        nodes, weights = special.roots_legendre(40 + d // 2)
        u = 0.5 * (1.0 + nodes)
        # u^(d - 1) is divided by its mean, 1 / d, so that none underflow.
        terms = 0.5 * weights * np.cos(0.5 * math.pi * u) * d * u ** (d - 1)
        return log_sphere(d) - math.log(d) + math.log(terms.sum())

    def radii(self, size, d, rng):
        """See `DensityKernel`."""

        def share(u):
            room = np.maximum(1.0 - u, 1e-300) * (0.5 * math.pi)
            return np.sin(room) / room

        return _accepted(lambda n: rng.beta(d, 2.0, n), share, size, rng)


class Nearest(FormulaKernel):
    """The largest value of a kernel within a ball about the left row.

    Parameters
    ----------
    kernel : DensityKernel
    reach : float
        Radius of the ball, in the units of the rows.
    """

    def __init__(self, kernel, reach):
        self.kernel = kernel
        self.reach = reach

    @property
    def is_compact(self):
        """Of the kernel."""
        return self.kernel.is_compact

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        inner = Pair(self.kernel, f"{pair.prefix}kernel__", pair.n_features)
        apart = _positive(ex.sqrt(pair.sqdist()) - pair.hyper("reach"))
        scale = inner.number("length_scale", positive=True)
        return self.kernel.profile((apart / scale) ** 2, inner)


def _inside(x):
    """1 where x is positive, else 0."""
    return ex.guarded_ratio(_positive(x), ex.absolute(x))


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
