"""Statistics of Stein kernels: discrepancies, replicates, and where they arise."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.stein import BaseSlope, SteinKernel
from ..operator import make_operator
from .pair_sums import PairSums


def stein_sums(points, scores, bases, device):
    """`PairSums` of the Stein kernels of these bases.

    Parameters
    ----------
    points, scores : array of shape (n, d)
        On the device.
    bases : list of Kernel
    device : Device
    """
    scale = score_scale(points, scores, device.xp)
    kernels = [SteinKernel(base, points.shape[1], scale) for base in bases]
    return PairSums(stein_rows(points, scores, device.xp), kernels, device)


def stein_rows(points, scores, xp):
    """Rows of a Stein kernel, points and scores side by side; float64."""
    parts = (xp.asarray(a, dtype=np.float64) for a in (points, scores))
    return xp.concatenate(list(parts), axis=1)


def score_scale(points, scores, xp):
    """Spread of the points over that of the scores, as `SteinKernel` wants it."""
    wide, high = (float(xp.asarray(a, np.float64).std()) for a in (points, scores))
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
    total = operator @ device.xp.asarray(scores, dtype=np.float64)
    return (total - operator.row_gradient()) / len(points)


def own_parts(base, points, scores, device):
    """The part of `coordinate_parts` that pairs of a row with itself have."""
    xp, n = device.xp, len(points)
    S = xp.asarray(scores, dtype=np.float64)
    X = xp.asarray(points, dtype=np.float64)
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
    X, S = (xp.asarray(a, dtype=np.float64) for a in (points, scores))
    X = X - X.mean(axis=0)  # products of coordinates cancel
    (n, d), one = X.shape, xp.ones((len(X), 1))
    value = make_operator(base, X, None, device, dtype=np.float64)
    first = value.with_kernel(BaseSlope(base, 1))
    second = value.with_kernel(BaseSlope(base, 2))
    parts = (S * (value @ S)).sum(axis=0)
    product = first @ xp.concatenate([X, one], axis=1)
    ones = product[:, d:]
    parts -= 4.0 * (S * (X * ones - product[:, :d])).sum(axis=0) + 2.0 * ones.sum()
    product = second @ xp.concatenate([X, one], axis=1)
    parts -= 8.0 * (X * (X * product[:, d:] - product[:, :d])).sum(axis=0)
    return parts / n**2
