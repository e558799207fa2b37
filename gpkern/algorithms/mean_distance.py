"""Distances between the kernel means of a sample and of a few of its rows (MMD)."""

from __future__ import annotations

import numpy as np

from .halving import take_rows

# Random rows, twice, from which the mean kernel value is estimated.
RANDOM_ROWS = 4096


def mean_distance(operator, rows, weights, share, limit, random_state):
    """MMD of weighted rows to the sample, and its standard error.

    Parameters
    ----------
    operator : KernelOperator
        K of the sample with itself, float64.
    rows : ndarray of int, shape (s,)
    weights : ndarray of shape (s,)
    share : ndarray of shape (n,) or None
        Weights of the sample; None for equal ones.
    limit : int or None
        Rows of the sample above which so many random ones stand for it.
    random_state : RandomState

    Returns
    -------
    mmd, stderr : float
        The second is 0 where all rows were compared.
    """
    device, n = operator.device, operator.shape[0]
    xp = device.xp
    w = xp.asarray(weights)
    points = take_rows(operator, rows)
    inner = float(w @ (operator.with_samples(points) @ w))
    if limit is None or n <= limit:
        p = np.full(n, 1.0 / n) if share is None else share
        # Rows may stand more than once.
        p = xp.asarray(p - np.bincount(rows, weights, minlength=n))
        return float(np.sqrt(max(0.0, float(p @ (operator @ p))))), 0.0
    some = np.sort(random_state.choice(n, limit, replace=share is not None, p=share))
    sample = operator.with_samples(take_rows(operator, some))
    # Without a row's own value: what is estimated is the mean of the whole sample.
    own = sample.diagonal()
    means = (sample.row_sum() - own) / (limit - 1)
    cross = sample.with_samples(take_rows(operator, some), points) @ w
    squared = inner + float(means.mean()) - 2.0 * float(cross.mean())
    error = 2.0 * float((means - cross).std()) / np.sqrt(limit)
    mmd = float(np.sqrt(max(0.0, squared)))
    return mmd, error / (2.0 * mmd) if mmd > 0 else float(np.sqrt(error))


def random_distance(operator, size, share, random_state):
    """Root of the mean squared MMD of random subsets of a size.

    ``(E k(x, x) - E k(x, x')) / size``, and for subsets without replacement of equal
    weights less by ``1 - (size - 1) / (n - 1)``.
    """
    device, n = operator.device, operator.shape[0]
    own = device.get(operator.diagonal())
    own = float(own.mean() if share is None else own @ share)
    if n <= RANDOM_ROWS:
        p = device.xp.asarray(np.full(n, 1.0 / n) if share is None else share)
        between = float(p @ (operator @ p))
    else:
        a, b = (
            take_rows(operator, random_state.choice(n, RANDOM_ROWS, p=share))
            for _ in range(2)
        )
        between = operator.with_samples(a, b).total() / RANDOM_ROWS**2
    squared = max(0.0, own - between) / size
    if share is None:
        squared *= 1.0 - (size - 1.0) / max(1.0, n - 1.0)
    return float(np.sqrt(squared))
