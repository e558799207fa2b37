"""Bandwidths of a density estimate: rules of thumb, and what the data says."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import fft, optimize
from sklearn.neighbors import NearestNeighbors

from .._device import is_dask
from .kernel_sum import KernelSum, log_of_parts

# Rows at which a sample is judged, at most, and kernel values for it, each time.
MOST_ROWS, MOST_PAIRS = 4096, 1e8
# Bandwidths that are looked at, in units of Silverman's, and how many before the best
# is refined.
NARROWEST, WIDEST, COARSE = 0.02, 20.0, 16
# Bins of the plug-in rule.
BINS = 1 << 14


def scott(n_effective, d):
    """Factor of the standard deviation: ``n^(-1 / (d + 4))``."""
    return n_effective ** (-1.0 / (d + 4.0))


def silverman(n_effective, d):
    """``(n (d + 2) / 4)^(-1 / (d + 4))``, the best for a normal distribution."""
    return (n_effective * (d + 2.0) / 4.0) ** (-1.0 / (d + 4.0))


def covariance(X, weights, diagonal=False, n_effective=None):
    """Of weighted rows, unbiased as that of repeated measurements.

    Parameters
    ----------
    X : array of shape (n, d)
        On either device.
    weights : array of shape (n,)
        Of sum 1.
    diagonal : bool, default=False
        Only the variances, shape (d,).
    n_effective : float, default=None
        Measurements; None for what the weights say. More than these where rows are
        several that were alike.

    Returns
    -------
    array of shape (d, d) or (d,), float64
        Zeros of one row.
    """
    X = X.astype(np.float64)
    X = X - X[:1] if len(X) == 1 else X - weights @ X
    if n_effective is None:
        n_effective = 1.0 / float((weights**2).sum())
    left = max(1.0 - 1.0 / n_effective, 1e-300)
    with np.errstate(over="ignore"):  # of which the caller tells
        if diagonal:
            return (weights @ (X * X)) / left
        C = (X * weights[:, None]).T @ X / left
        return 0.5 * (C + C.T)


@dataclass(frozen=True)
class Sample:
    """What the rules ask of a weighted sample.

    Attributes
    ----------
    rows : array of shape (n, d)
        On the device.
    weights : array of shape (n,)
        Of sum 1.
    device : Device
    """

    rows: Any
    weights: Any
    device: Any

    def __len__(self):
        return len(self.rows)

    def positive(self):
        """That of the rows with a weight above 0."""
        kept = self.weights > 0
        if bool(kept.all()):
            return self
        return Sample(self.rows[kept], self.weights[kept], self.device)

    def extremes(self):
        """The least and the largest value of each column, on the host."""
        get = self.device.get
        return get(self.rows.min(axis=0)), get(self.rows.max(axis=0))

    def covariance(self, n_effective, diagonal=False):
        """See `covariance`; on the host."""
        options = {"diagonal": diagonal, "n_effective": n_effective}
        return self.device.get(covariance(self.rows, self.weights, **options))

    def standardized(self, spread):
        """Rows less their mean, by so much."""
        rows = self.rows.astype(np.float64)
        return (rows - self.weights @ rows) / self.device.xp.asarray(spread)

    def plug_in(self):
        """`plug_in` of the only column."""
        x = self.device.get(self.rows).astype(np.float64)[:, 0]
        return plug_in(x - x.mean(), self.device.get(self.weights))

    def nearest(self, points, rng):
        """`nearest_neighbors` of standardized rows."""
        return nearest_neighbors(self.device.get(points), rng)


def sample_of(rows, weights, device):
    """`Sample` of rows, or what does the same on blocks of a Dask array."""
    if not is_dask(rows):
        return Sample(rows, weights, device)
    from ..dask.samples import BlockedSample

    return BlockedSample(rows, weights, device)


def cross_validated(criterion, kernel, points, weights, device, rng):
    """The length scale that leave-one-out prefers, and what it reaches.

    Parameters
    ----------
    criterion : {"lcv", "lscv"}
        Likelihood, or squared distance to the density (of a Gaussian kernel).
    kernel : DensityKernel
    points : array of shape (n, d)
        In units in which Silverman's factor is a sensible bandwidth.
    weights : array of shape (n,)
        Of sum 1.
    device : Device
    rng : RandomState
        Chooses the rows at which it is judged, where there are many.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where the best is at an end of what is looked at.
    """
    d = points.shape[1]
    judge = _Judge(criterion, kernel, points, weights, device, rng)
    start = silverman(1.0 / float((weights**2).sum()), d)
    logs = np.log(start) + np.linspace(math.log(NARROWEST), math.log(WIDEST), COARSE)
    values = np.array([judge(s) for s in logs])
    best = int(np.argmin(values))
    if not np.isfinite(values[best]) or best == 0:
        raise ValueError(
            f"bandwidth={criterion!r} has no best value: the narrower, the better, as "
            "rows are repeated or lie in few places; set a number, or use 'scott'"
        )
    bracket = logs[max(best - 1, 0)], logs[min(best + 1, COARSE - 1)]
    found = optimize.minimize_scalar(
        judge, bounds=bracket, method="bounded", options={"xatol": 1e-3}
    )
    return math.exp(found.x if found.fun <= values[best] else logs[best])


class _Judge:
    """Value of a logarithmic length scale; the smaller, the better."""

    def __init__(self, criterion, kernel, points, weights, device, rng):
        self.criterion, self.kernel, self.device = criterion, kernel, device
        n, self.d = points.shape
        field = KernelSum(kernel, points, weights, device)
        count = int(min(n, MOST_ROWS, max(256, MOST_PAIRS // n)))
        self.all, self.parts = field, field.split(field.draw(count, rng))
        self.own, m = self.parts[0].weights, len(self.parts[0].points)
        # Of all rows each by its weight; rows that were drawn by it count alike.
        self.share = self.own if count == n else device.xp.full(m, 1.0 / m)

    def __call__(self, log_scale):
        xp, scale = self.device.xp, math.exp(log_scale)
        kernel = type(self.kernel)(
            **(self.kernel.get_params() | {"length_scale": scale})
        )
        loo = log_of_parts(*(p and replace(p, kernel=kernel) for p in self.parts))
        loo = loo - xp.log1p(-self.own) - self.d * log_scale
        loo = loo - kernel.log_integral(self.d)
        if self.criterion == "lcv":
            return -float((self.share * loo).sum())
        # As if of one length scale: the integral of the square of the density.
        wide = type(kernel)(length_scale=math.sqrt(2.0) * scale)
        wide = replace(self.all, kernel=wide)
        square = wide.log(self.parts[0].points) - 0.5 * self.d * math.log(2.0)
        square = square - self.d * log_scale - kernel.log_integral(self.d)
        with np.errstate(over="ignore"):
            return float((self.share * (xp.exp(square) - 2.0 * xp.exp(loo))).sum())


def plug_in(x, weights):
    """Bandwidth of a Gaussian kernel in one dimension: improved Sheather-Jones.

    Botev, Grotowski & Kroese (2010), "Kernel density estimation via diffusion",
    section 4: the squared bandwidth is a fixed point of five functionals of the
    density, which a cosine transform of its histogram has.

    Parameters
    ----------
    x, weights : ndarray of shape (n,)

    Raises
    ------
    ValueError
        Where there is no fixed point, as of few rows or few distinct ones.
    """
    low, high = float(x.min()), float(x.max())
    margin = 0.5 * (high - low)
    span = 2.0 * margin + high - low
    counts = np.histogram(x, BINS, (low - margin, high + margin), weights=weights)[0]
    n = 1.0 / float((weights**2).sum()) if len(x) > 1 else 1.0
    return fixed_point(counts, span, n)


def fixed_point(counts, span, n):
    """`plug_in` of a histogram.

    Parameters
    ----------
    counts : ndarray of shape (BINS,)
        Of sum 1.
    span : float
        What the bins cover.
    n : float
        Effective number of rows.
    """
    squares = (fft.dct(counts)[1:] / 2.0) ** 2
    frequencies = np.arange(1.0, BINS) ** 2

    def functional(order, t):
        decay = np.exp(-frequencies * math.pi**2 * t)
        return (
            2.0 * math.pi ** (2 * order) * (frequencies**order * squares * decay).sum()
        )

    def excess(t):
        value = functional(7, t)
        for s in range(6, 1, -1):
            odd = math.prod(range(1, 2 * s, 2)) / math.sqrt(2.0 * math.pi)
            constant = (1.0 + 0.5 ** (s + 0.5)) / 3.0
            value = functional(
                s, (2.0 * constant * odd / (n * value)) ** (2 / (3 + 2 * s))
            )
        return t - (2.0 * n * math.sqrt(math.pi) * value) ** -0.4

    with np.errstate(all="ignore"):
        times = np.geomspace(1e-12, 0.1, 60)
        signs = np.array([excess(t) for t in times])
    change = np.flatnonzero((signs[:-1] < 0) & (signs[1:] >= 0))
    if not len(change):
        raise ValueError(
            "bandwidth='isj' finds no fixed point: there are too few distinct rows; "
            "use 'silverman', or a number"
        )
    k = change[0]
    return math.sqrt(optimize.brentq(excess, times[k], times[k + 1], rtol=1e-10)) * span


def nearest_neighbors(points, rng):
    """Median distance to the nearest other row, over the root of the columns."""
    n, d = points.shape
    some = points
    if n > MOST_ROWS:
        some = points[np.sort(rng.choice(n, MOST_ROWS, replace=False))]
    distances = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(some)[0][:, 1]
    return float(np.median(distances)) / math.sqrt(d)
