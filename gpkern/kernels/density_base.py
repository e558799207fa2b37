"""What kernels of a density estimate have in common.

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


def positive(x):
    """x, or 0 where it is negative."""
    return 0.5 * (x + ex.absolute(x))


def accepted(propose, share, size, rng):
    """So many draws of a proposal, each kept with a probability of `share` of it."""
    out = np.empty(0)
    while len(out) < size:
        draws = propose(2 * (size - len(out)) + 16)
        out = np.append(out, draws[rng.uniform(size=len(draws)) < share(draws)])
    return out[:size]


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
        apart = positive(ex.sqrt(pair.sqdist()) - pair.hyper("reach"))
        scale = inner.number("length_scale", positive=True)
        return self.kernel.profile((apart / scale) ** 2, inner)
