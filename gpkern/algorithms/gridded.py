"""Sums of Gaussians in one to three dimensions, by a grid, with a bound on their error.

Points are shared out onto a periodic grid by B-splines, the grid is convolved with the
kernel by Fourier transforms, and values are read from it by the same splines, as in
particle-mesh methods (Hockney & Eastwood 1988) and non-equispaced transforms (Dutt &
Rokhlin 1993). With

    k(x) = sum_j c_j exp(i w_j x),
    c_j = sqrt(2 pi) / P exp(-w_j^2 / 2),   w_j = 2 pi j / P

for the Gaussian of period P, and a spline of order p, whose transform is sinc^p, what
the grid returns in place of ``exp(i w x)`` is off by a factor of at most

    1 + a(w),   a(w) = sum_{m != 0} |u / (u + 2 pi m)|^p,   u = w times the spacing,

the sum of two Hurwitz zeta functions. As all c_j are positive, those beyond the grid,
the other periods and ``sum_j c_j ((1 + a_j)^2 - 1)`` bound the error of the kernel
wherever it is evaluated, and so that of means of kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import fft, special

from .._device import is_dask
from ..cpu import gridding, parallel
from ..kernels.density import Gaussian

# Orders of splines, and nodes in a bandwidth.
ORDERS = (2, 4, 6, 8, 10, 12)
PER_SCALE = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
MOST_NODES = 1 << 26
# Frequency from which a Gaussian's spectrum adds nothing: erfc of it is 1e-16.
SPECTRUM = 8.3
# Period from which it is no matter for sums over the spectrum how long it is.
LONG = 60.0
# Least error that is relied on: the transforms round.
ROUNDING = 2e-14
# Nanoseconds of a core: for a pair of the exact sum, for a node that a point has a part
# in, and for a node of the transforms.
PAIR, PART, NODE = 1.0, 1.5, 40.0


@dataclass(frozen=True)
class Plan:
    """A grid over some points.

    Attributes
    ----------
    low : ndarray of shape (d,)
        Where it begins.
    period, counts : tuple
        Of each dimension: its length, and its nodes.
    order : int
        Of the splines.
    margin : float
        How far beyond the points it can be asked.
    error : float
        Bound on the error of a mean of kernels.
    cost : float
        Estimated nanoseconds.
    """

    low: Any
    period: tuple
    counts: tuple
    order: int
    margin: float
    error: float
    cost: float


def axis_error(period, count, order, margin):
    """Bound on the error of a Gaussian of one dimension, its own largest value 1."""
    if period > LONG:
        # The sum below is a trapezoidal rule, as exact with this step as with a finer
        # one.
        count = 2 * int(count * LONG / period / 2.0)
        period = LONG
    step, share = 2.0 * np.pi / period, math.sqrt(2.0 * np.pi) / period
    last = min(count // 2 - 1, int(SPECTRUM / step) + 1)
    w = step * np.arange(1, last + 1)
    u = w * period / count / (2.0 * np.pi)
    off = u**order * (special.zeta(order, 1.0 + u) + special.zeta(order, 1.0 - u))
    aliased = 2.0 * share * float(np.exp(-0.5 * w * w) @ (off * (2.0 + off)))
    # The spectrum beyond, as an integral; aliased, a term is at most (1 + 2)^2 of it.
    cut = special.erfc(w[-1] / math.sqrt(2.0))
    others = 4.0 * math.exp(-0.5 * margin**2)
    return aliased + 10.0 * cut + others


def plan(low, high, n, m, target, most=np.inf):
    """The cheapest grid with an error below `target`; None where there is none.

    Parameters
    ----------
    low, high : ndarray of shape (d,)
        The least box around the points, in bandwidths.
    n, m : int
        Points, and places that are asked for.
    target : float
    most : float
        Cost from which a grid is of no use.

    Returns
    -------
    Plan or None
    """
    if target < 2.0 * ROUNDING:
        return None
    d, threads, options = len(low), parallel.n_threads(), []
    margin = math.sqrt(2.0 * math.log(40.0 * d / min(target, 0.1)))
    for order in ORDERS:
        for per_scale in PER_SCALE:
            least = np.maximum((high - low + 2.0 * margin) * per_scale, 2 * order)
            nodes = float(np.prod(least))
            cost = PART * (n + m) * order**d / threads + NODE * nodes
            if nodes <= MOST_NODES and cost < most:
                options.append((cost, order, per_scale, least))
    for cost, order, per_scale, least in sorted(options, key=lambda o: o[:3]):
        counts = tuple(fft.next_fast_len(math.ceil(c), real=True) for c in least)
        period = tuple(float(c) / per_scale for c in least)
        sizes = zip(period, counts, strict=True)
        errors = [axis_error(p, c, order, margin) for p, c in sizes]
        error = float(np.prod(1.0 + np.array(errors)) - 1.0) + ROUNDING
        if error <= target:
            return Plan(low - margin, period, counts, order, margin, error, cost)
    return None


class GriddedSum:
    """Means of Gaussians at places, from a grid.

    Parameters
    ----------
    points : ndarray of shape (n, d)
        In bandwidths.
    weights : ndarray of shape (n,)
        Of sum 1.
    made : Plan
    """

    def __init__(self, points, weights, made):
        self.plan, d = made, points.shape[1]
        self.scale = np.array(made.counts) / np.array(made.period)
        self.shape = (1,) * (3 - d) + made.counts
        grid = gridding.spread(
            points, made.low, self.scale, weights, made.order, self.shape
        )
        threads = parallel.n_threads()
        spectrum = fft.rfftn(grid, overwrite_x=True, workers=threads)
        for axis, period in zip(range(3 - d, 3), made.period, strict=True):
            factor = self._factor(period, self.shape[axis])[: spectrum.shape[axis]]
            spectrum *= factor.reshape([-1 if a == axis else 1 for a in range(3)])
        self.grid = fft.irfftn(
            spectrum, s=self.shape, overwrite_x=True, workers=threads
        )

    def _factor(self, period, count):
        """What the spectrum is multiplied by along one dimension."""
        j = fft.fftfreq(count, 1.0 / count)
        w = 2.0 * np.pi * j / period
        gaussian = math.sqrt(2.0 * np.pi) / period * np.exp(-0.5 * w * w)
        spline = np.sinc(j / count) ** self.plan.order
        return count * gaussian / spline**2

    def at(self, rows):
        """Means at rows, shape (m,): within `plan.error` of the exact ones."""
        made = self.plan
        inside = (rows >= made.low).all(axis=1)
        inside &= (rows <= made.low + made.period).all(axis=1)
        out = np.zeros(len(rows))  # beyond, less than the error remains
        near = rows if inside.all() else rows[inside]
        out[inside] = gridding.read(self.grid, near, made.low, self.scale, made.order)
        return out


def serves(sums):
    """Whether these sums may come from a grid."""
    few = 1 <= sums.points.shape[1] <= 3 and not is_dask(sums.points)
    return few and sums.device.name == "cpu" and type(sums.kernel) is Gaussian


def log_sum(sums, rows, atol, rtol):
    """Log of a sum of Gaussians at rows, within given errors of the sum.

    Parameters
    ----------
    sums : KernelSum
        Of the Gaussian, in one to three dimensions, on the CPU.
    rows : ndarray of shape (m, d)
    atol, rtol : float
        The sum is off by at most ``atol + rtol * sum``.

    Returns
    -------
    ndarray of shape (m,), float64
    """
    points, rows = (
        np.ascontiguousarray(a, dtype=np.float64) for a in (sums.points, rows)
    )
    n, m = len(points), len(rows)
    exact_cost = PAIR * n * m / parallel.n_threads()
    # Near any point the sum is about its own term at least.
    target = max(atol, 0.1 * rtol / n)
    low = np.array([column.min() for column in points.T])
    high = np.array([column.max() for column in points.T])
    # A coarser one serves most rows still, where a share of the sum is allowed.
    coarser = (1.0, 1e2, 1e4) if rtol > 0 else (1.0,)
    plans = (plan(low, high, n, m, target * more, 0.5 * exact_cost) for more in coarser)
    made = next((p for p in plans if p is not None), None)
    if made is None:
        return sums.log(rows)
    found = GriddedSum(points, sums.weights, made).at(rows)
    # By Jensen's inequality no log can be less.
    mean, squares = sums.weights @ points, np.einsum("ij,ij->i", points, points)
    spread = float(sums.weights @ squares) - float(mean @ mean)
    least = -0.5 * (((rows - mean) ** 2).sum(axis=1) + spread)
    with np.errstate(divide="ignore"):
        out = np.maximum(np.log(np.maximum(found, 0.0)), least)
    allowed = atol + rtol * np.maximum(found - made.error, 0.0)
    left = np.flatnonzero(made.error > allowed)
    if len(left):
        out[left] = sums.log(rows[left])
    return out
