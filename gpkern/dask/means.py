"""Means over the columns of a kernel matrix, merged over blocks of these.

What `row_softmax` and its like return for some of the columns is a mean by weights of
these. It goes together with the logarithm of the sum of these weights: of two blocks,
each mean counts by its share of both sums. So nothing underflows that would not for all
columns at once.
"""

from __future__ import annotations

import numpy as np

from .._device import is_dask
from .._gradients import (
    _dense,
    logsumexp_gradient,
    logsumexp_hessian,
    slope_means,
    softmax_product,
)
from . import pairs
from .graphs import over_blocks


def merged(operator, method, shape, dtype, arguments):
    """A method of K(X, Z), Z in blocks.

    Parameters
    ----------
    operator : DaskKernelOperator
    method : {"row_softmax", "row_logsumexp_gradient", "row_logsumexp_hessian", \
"row_mean_shift"}
    shape : tuple of int
        Of the result for a row.
    dtype : dtype
    arguments : tuple of arrays of shape (m, ...), or None

    Returns
    -------
    dask.array.Array, or ndarray where X is no Dask array
    """
    if operator.flipped:
        raise TypeError(f"{method} is of the rows of X: make the operator anew")
    names = ("V", "log_weights") if method == "row_softmax" else ("log_weights", "V")
    if not shape:
        raise ValueError(f"{method}: V must have shape ({operator.shape[1]}, c)")
    arguments = tuple(
        None if a is None else operator._of_columns(name, a)
        for name, a in zip(names, arguments, strict=False)
    )
    bends = len(shape) == 2
    width = int(np.prod(shape)) + (shape[0] if bends else 0)
    merge = together_with_bends if bends else together
    how = {"method": OF_BLOCKS[method], "shape": (1 + width,), "dtype": np.float64}
    found = pairs.merged(operator, arguments, merge, **how)
    how = {"shape": shape, "dtype": dtype}
    how["needs_some"] = method != "row_mean_shift"
    if not is_dask(found):
        return finished(found, None, **how)
    return over_blocks(_finished, found, shape=shape, dtype=dtype, how=how)


def together(parts, axis=0):
    """Log sums and means of several blocks as those of all.

    Parameters
    ----------
    parts : ndarray of shape (..., 1 + c)
        The logarithm first, -inf where the block has nothing for the row.
    axis : int
        Of the blocks.
    """
    logs = parts[..., :1]
    top = logs.max(axis=axis, keepdims=True)
    shares = np.exp(logs - np.where(top == -np.inf, 0.0, top))
    total = shares.sum(axis=axis)
    # What a block says where it has nothing may be NaN.
    sums = np.where(shares > 0, shares * parts[..., 1:], 0.0).sum(axis=axis)
    none = total == 0
    means = np.where(none, parts.take(0, axis)[..., 1:], sums / (total + none))
    with np.errstate(divide="ignore"):
        logs = np.log(total) + np.squeeze(top, axis)
    return np.concatenate([logs, means], axis=-1)


def together_with_bends(parts, axis=0):
    """`together` of slopes (d) and second derivatives (d * d) of log sums.

    The second derivative of the logarithm of a sum is the mean of those of its parts,
    and the covariance of their slopes: as such it loses no digits.
    """
    out = together(parts, axis)
    d = int(np.sqrt(parts.shape[-1] - 1))  # of d + d^2
    with np.errstate(invalid="ignore"):
        shares = np.exp(parts[..., :1] - np.expand_dims(out[..., :1], axis))
    away = parts[..., 1 : 1 + d] - np.expand_dims(out[..., 1 : 1 + d], axis)
    spread = (away[..., :, None] * away[..., None, :]).reshape(*away.shape[:-1], d * d)
    out[..., 1 + d :] += np.where(shares > 0, shares * spread, 0.0).sum(axis=axis)
    return out


def finished(found, place, *, shape, dtype, needs_some):
    """The result of log sums and means."""
    if needs_some and not (found[:, 0] > -np.inf).all():
        raise ValueError(
            "a softmax needs a column with a positive kernel value and a weight in "
            "each row; some rows have none"
        )
    if len(shape) == 2:
        return found[:, 1 + shape[0] :].reshape(-1, *shape)
    return found[:, 1:].astype(dtype)


def _finished(found, place, how):
    return finished(found, place, **how)


def _softmax(operator, V, log_weights):
    V = operator.device.xp.asarray(V, dtype=operator.dtype)
    return _beside_logs(
        operator,
        log_weights,
        V.shape[1],
        lambda few, *given: softmax_product(few, V, *given),
    )


def _gradient(operator, log_weights):
    d = operator.matrix_.X.shape[1]
    return _beside_logs(operator, log_weights, d, logsumexp_gradient)


def _hessian(operator, log_weights):
    """Slopes and second derivatives."""
    d = operator.matrix_.X.shape[1]

    def both(few, *given):
        slopes = logsumexp_gradient(few, *given).astype(np.float64)
        bends = logsumexp_hessian(few, *given).reshape(-1, d * d)
        return operator.device.xp.concatenate([slopes, bends], axis=1)

    return _beside_logs(operator, log_weights, d + d * d, both)


def _shift(operator, log_weights, V):
    """Means by slopes; rows that no slope moves stay, with a weight of 0."""
    with operator.device.here():
        xp = operator.device.xp
        log_weights = operator._log_weights(log_weights)
        if V is not None:
            V = xp.asarray(V)
        if log_weights is not None and not bool((log_weights > -np.inf).any()):
            n = operator.shape[0]
            rows = xp.full((n, V.shape[1]), np.nan) if V is not None else None
            rows = _dense(operator, operator.matrix_.X) if rows is None else rows
            return xp.concatenate([xp.full((n, 1), -np.inf), rows], axis=1)
        found, logs = slope_means(operator, log_weights, V)
        return xp.concatenate([logs[:, None], found], axis=1)


OF_BLOCKS = {
    "row_softmax": _softmax,
    "row_logsumexp_gradient": _gradient,
    "row_logsumexp_hessian": _hessian,
    "row_mean_shift": _shift,
}


def _beside_logs(operator, log_weights, width, function):
    """Log sums of the rows, and what a function makes of those that have any."""
    with operator.device.here():
        xp = operator.device.xp
        log_weights = operator._log_weights(log_weights)
        sums = operator.row_logsumexp(log_weights)
        out = xp.zeros((len(sums), 1 + width))
        out[:, 0] = sums
        kept = xp.flatnonzero(sums > -np.inf)
        if len(kept) == len(sums):
            out[:, 1:] = function(operator, log_weights, sums)
        elif len(kept):
            if operator.matrix_.X is operator.matrix_.Z:
                # Of one sample; of some of its rows the diagonal would be another.
                raise ValueError("a softmax needs a positive kernel value in each row")
            few = operator.with_rows(operator.matrix_.X.some(kept))
            out[kept, 1:] = function(few, log_weights, sums[kept])
        return out
