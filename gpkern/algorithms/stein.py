"""Statistics of Stein kernels: discrepancies, replicates, and where they arise."""

from __future__ import annotations

import math

import numpy as np

from .._device import is_dask
from ..kernels.stein import BaseSlope, SteinKernel
from ..operator import make_operator
from .pair_sums import pair_sums


def stein_sums(points, scores, bases, device):
    """`PairSums` of the Stein kernels of these bases.

    Parameters
    ----------
    points, scores : array of shape (n, d)
        On the device; or Dask arrays.
    bases : list of Kernel
    device : Device
    """
    rows, d = device.keep(stein_rows(points, scores, device.xp)), points.shape[1]
    if is_dask(rows):  # which workers hold, so that no score is computed again
        points, scores = rows[:, :d], rows[:, d:]
    scale = score_scale(points, scores, device.xp)
    kernels = [SteinKernel(base, d, scale) for base in bases]
    return pair_sums(rows, kernels, device)


def stein_rows(points, scores, xp):
    """Rows of a Stein kernel, points and scores side by side; float64."""
    if is_dask(points):
        from ..dask import sample_rows

        return sample_rows.stein_rows(points, scores)
    parts = (xp.asarray(a, dtype=np.float64) for a in (points, scores))
    return xp.concatenate(list(parts), axis=1)


def score_scale(points, scores, xp):
    """Spread of the points over that of the scores, as `SteinKernel` wants it."""
    if is_dask(points):
        from ..dask.sample_rows import moments_of

        return scale_of(*moments_of(points, scores).spreads)
    return scale_of(*(float(_wide(a, xp).std()) for a in (points, scores)))


def scale_of(wide, high):
    """`score_scale` of standard deviations of all points and of all scores."""
    ratio = wide / high if high > 0 and wide > 0 else 1.0
    # A power of two: kernels of samples that are alike are equal, and compiled once.
    if not 1e-100 < ratio < 1e100:
        raise ValueError(
            f"X spreads over {wide:.2g} and its scores over {high:.2g}: such units "
            "leave no digits; rescale X"
        )
    return 2.0 ** round(math.log2(ratio))


def statistics(sums, kind):
    """Squared discrepancies, shape (k,), on the host.

    Parameters
    ----------
    sums : PairSums
    kind : {"u", "v"}
        Mean over pairs of different rows, or over all pairs.
    """
    n = len(sums.rows)
    apart = sums.totals()
    if kind == "u":
        return apart / (n * (n - 1.0))
    return (apart + sums.traces()) / n**2


def replicates(sums, R, kind):
    """Replicates of `statistics`, shape (k, b), on the host.

    Parameters
    ----------
    sums : PairSums
    R : RandomSigns or array of shape (n, b)
        Signs, or of the multinomial bootstrap numbers of draws less one.
    kind : {"u", "v"}
    """
    n = len(sums.rows)
    signs = hasattr(R, "rows") or R.dtype == np.int8
    out = sums.forms(R)
    if kind == "u":
        return out / (n * (n - 1.0) if signs else n**2)
    return (out + sums.squares(R)) / n**2


def witness(base, points, scores, V, device):
    """``mean_i s_i k(x_i, v) + grad k(x_i, v)`` at rows, shape (m, d), float64."""
    operator = make_operator(base, V, points, device, dtype=np.float64)
    # Of a function of the distance, the slope by one row is minus that by the other.
    total = operator @ _wide(scores, device.xp)
    return (total - operator.row_gradient()) / len(points)


def own_parts(base, points, scores, device):
    """The part of `coordinate_parts` that pairs of a row with itself have."""
    xp, n = device.xp, len(points)
    X, S = (_wide(a, xp) for a in (points, scores))
    first = make_operator(base, X, None, device, dtype=np.float64)
    slope = first.with_kernel(BaseSlope(base, 1)).diagonal()
    parts = first.diagonal()[:, None] * S * S - 2.0 * slope[:, None]
    return parts.sum(axis=0) / n**2


def coordinate_parts(base, points, scores, device):
    """What each column adds to the V-statistic, shape (d,), float64.

    The discrepancy is the squared norm of a witness of d functions, one a column:

        u_k = phi s_k t_k - 2 phi' (s_k - t_k)(x_k - y_k) - 2 phi'
              - 4 phi'' (x_k - y_k)^2.
    """
    xp = device.xp
    X, S = (device.keep(_wide(a, xp)) for a in (points, scores))
    X = device.keep(X - device.whole(X.mean(axis=0)))  # products of coordinates cancel
    (n, d), one = X.shape, xp.ones_like(X[:, :1])
    value = make_operator(base, X, None, device, dtype=np.float64)
    first = value.with_kernel(BaseSlope(base, 1))
    second = value.with_kernel(BaseSlope(base, 2))
    parts = (S * (value @ S)).sum(axis=0)
    beside = stein_rows(X, one, xp)
    product = first @ beside
    ones = product[:, d:]
    parts -= 4.0 * (S * (X * ones - product[:, :d])).sum(axis=0) + 2.0 * ones.sum()
    product = second @ beside
    parts -= 8.0 * (X * (X * product[:, d:] - product[:, :d])).sum(axis=0)
    return parts / n**2


def _wide(array, xp):
    """In float64; Dask arrays stay these."""
    if is_dask(array):
        return array.astype(np.float64)
    return xp.asarray(array, dtype=np.float64)
