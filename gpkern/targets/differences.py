"""Gradients by central differences, of an order and with steps that are safe."""

from __future__ import annotations

import numpy as np
from sklearn import get_config

from .base import as_float64, like, namespace

# Steps are this often made smaller, by this factor, where the log density bends.
SHRINKS, FACTOR = 7, 8.0
# Of the gradient: the error of second order at which that of fourth is of no account.
BENDS = 1e-4
# Bytes of the rows of one call.
BATCH = 2**26
# Coefficients of the fourth order at -2, -1, 1, 2 steps.
OFFSETS = (-2.0, -1.0, 1.0, 2.0)


def gradient(f, X, step=None, precision=None):
    """Gradient of a function of rows, and how far it may be off.

    Central differences of fourth order. Steps are ``eps^(1/5)`` of the spread of the
    columns of X; where the function is seen to bend within a step, or is not finite at
    its ends, they are made smaller.

    Parameters
    ----------
    f : callable
        ``f(X) -> (n,)``.
    X : array of shape (n, d), float64
        NumPy or CuPy.
    step : float, array of shape (d,) or None
        Steps to use instead.
    precision : dtype, default=None
        Of the function; None is that of what it returns.

    Returns
    -------
    slopes : array of shape (n, d), float64
        NaN where the function is not finite.
    errors : array of shape (n, d), float64
        A generous bound, of truncation and rounding.
    """
    xp, (_, d) = namespace(X), X.shape
    values = f(X)
    single = precision == np.float32 or values.dtype.itemsize <= 4
    eps = float(np.finfo(np.float32 if single else np.float64).eps)
    values = as_float64(like(values, X))

    def around(rows, h):
        out = xp.empty((4, len(rows), d))
        size = max(1, int(min(BATCH, _memory()) // (32 * d * d)))
        for i in range(0, len(rows), size):
            part = rows[i : i + size]
            out[:, i : i + size] = _shifted(f, X[part], h[i : i + size], xp)
        return out

    return refined(around, X, values[:, None], step, eps, spread(X))


def refined(around, X, values, step, eps, scale):
    """Slopes from function values, with steps as `gradient` says.

    Parameters
    ----------
    around : callable
        ``around(rows, h) -> (4, m, d)``: values at `OFFSETS` times the steps h, of
        shape (m, d), along each column from these rows of X.
    X : array of shape (n, d)
    values : array of shape (n, 1) or (n, d)
        Values at X itself.
    step : float, array of shape (d,) or None
        Fixed steps.
    eps : float
        Of the function's precision.
    scale : array of shape (d,) or (n, d)
        Lengths over which the function may be expected to change.

    Returns
    -------
    slopes, errors : arrays of shape (n, d)
    """
    xp = namespace(X)
    h = eps**0.2 * scale if step is None else xp.asarray(step, dtype=np.float64)
    h = xp.array(xp.broadcast_to(h, X.shape))
    noise = eps * abs(values)

    def estimate(rows):
        # Steps as they are after rounding, and never below it.
        least = 64.0 * np.finfo(np.float64).eps * abs(X[rows])
        h[rows] = (X[rows] + xp.maximum(h[rows], least)) - X[rows]
        with np.errstate(invalid="ignore"):
            return _fourth_order(xp, around(rows, h[rows]), h[rows])

    slopes, bends = estimate(xp.arange(len(X)))
    known = xp.isfinite(values).all(axis=1)
    slopes[~known] = np.nan
    floor = xp.broadcast_to(1.0 / xp.asarray(scale), X.shape)
    left = known
    for _ in range(SHRINKS if step is None else 0):
        size = xp.maximum(abs(slopes).max(axis=1, keepdims=True), floor)
        allowed = BENDS * xp.where(xp.isfinite(size), size, 0.0)
        # Below what rounding makes of it, nothing is gained by a smaller step.
        left = left & ~(bends <= xp.maximum(allowed, noise / h)).all(axis=1)
        rows = xp.nonzero(left)[0]
        if len(rows) == 0:
            break
        h[rows] /= FACTOR
        new, bent = estimate(rows)
        better = bent < 0.25 * bends[rows]  # by less, it is luck
        slopes[rows] = xp.where(better, new, slopes[rows])
        bends[rows] = xp.where(better, bent, bends[rows])
    return slopes, bends + 4.0 * noise / h


def _fourth_order(xp, values, h):
    """Slopes, and the error of those of second order, infinite where not finite."""
    far_left, left, right, far_right = values
    near, far = right - left, far_right - far_left
    slopes = (8.0 * near - far) / (12.0 * h)
    bends = abs(2.0 * near - far) / (12.0 * h)
    fine = xp.isfinite(slopes)
    return xp.where(fine, slopes, np.nan), xp.where(fine, bends, np.inf)


def _shifted(f, X, h, xp):
    """Values at rows moved along each column, shape (4, m, d), in one call."""
    m, d = X.shape
    rows = xp.empty((4, m, d, d))
    rows[...] = X[:, None, :]
    columns = xp.arange(d)
    for i, offset in enumerate(OFFSETS):
        rows[i][:, columns, columns] += offset * h
    return as_float64(like(f(rows.reshape(-1, d)), X)).reshape(4, m, d)


def spread(X):
    """Lengths of the columns, of which a few rows far away change nothing.

    Those of the middle half, in units in which a normal column has its standard
    deviation, but not tiny beside the values.
    """
    xp = namespace(X)
    if len(X) < 8:
        # A few rows tell nothing of how far the density extends.
        lengths = xp.maximum(X.std(axis=0), abs(X).max(axis=0))
    else:
        low, high = xp.percentile(X, xp.asarray([25.0, 75.0]), axis=0)
        lengths = xp.where(high > low, (high - low) / 1.349, X.std(axis=0))
        lengths = xp.maximum(lengths, 1e-3 * xp.median(abs(X), axis=0))
    return xp.where(lengths > 0, lengths, 1.0)


def _memory():
    return get_config()["working_memory"] * 2**20


def compare(scores, f, X, rtol, precision=None):
    """Largest relative difference of scores and differences of a log density.

    Relative to the length of the score at the row, or its usual length where that is
    longer; of each difference, what may be the error of the differences is taken off.

    Parameters
    ----------
    scores : array of shape (n, d), float64
    f : callable
        The log density.
    X : array of shape (n, d), float64
    rtol : float
    precision : dtype, default=None
        Of both.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where it is above `rtol`; a wrong sign is named.
    """
    slopes, errors = gradient(f, X, precision=precision)
    seen = namespace(X).isfinite(slopes).all(axis=1)
    if not bool(seen.any()):
        raise ValueError(
            "the score cannot be checked: the log density is finite at none of the "
            f"{len(X)} rows"
        )
    xp = namespace(slopes)
    scores, slopes = like(scores, slopes)[seen], slopes[seen]
    worst = _largest(xp, scores, slopes, errors[seen])
    if worst <= rtol:
        return worst
    if _largest(xp, -scores, slopes, errors[seen]) <= rtol:
        raise ValueError(
            "the score has the wrong sign: is it the gradient of the negative log "
            "density (potential energy)? It must be that of the log density itself"
        )
    raise ValueError(
        "the score is not the gradient of the log density: the largest relative "
        f"difference, against central differences at {len(slopes)} rows, is "
        f"{worst:.2g}, and {rtol:.2g} is allowed"
    )


def _largest(xp, scores, slopes, errors):
    lengths = xp.maximum(abs(scores).max(axis=1), abs(slopes).max(axis=1))
    lengths = xp.maximum(lengths, xp.sqrt((lengths**2).mean()))
    gaps = xp.maximum(abs(scores - slopes) - errors, 0.0).max(axis=1)
    tiny = np.finfo(np.float64).tiny
    return float((gaps / xp.maximum(lengths, tiny)).max())
