"""Kernels of a density estimate that end at the bandwidth."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from . import expr as ex
from .density_base import (
    CUSP,
    SMOOTH,
    DensityKernel,
    accepted,
    log_ball,
    log_sphere,
    positive,
)


class Epanechnikov(DensityKernel):
    """``1 - u^2`` up to u = 1."""

    is_compact, is_smooth, is_tame, degree = True, False, False, 1

    def profile(self, r, pair):
        """See `DensityKernel`."""
        inside = positive(1.0 - r)
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
        return positive(1.0 - ex.sqrt(r + CUSP))

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
        room = positive(1.0 - ex.sqrt(r + SMOOTH))
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

        return accepted(lambda n: rng.beta(d, 2.0, n), share, size, rng)


def _inside(x):
    """1 where x is positive, else 0."""
    return ex.guarded_ratio(positive(x), ex.absolute(x))
