"""Distances between the kernel means of a sample and of a few of its rows (MMD)."""

from __future__ import annotations

import numpy as np

from .anchors import COUNT, Interpolation
from .halving import take_rows
from .thinning import sample_means

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
    if limit is None or n <= limit:
        p = np.full(n, 1.0 / n) if share is None else share
        # Rows may stand more than once.
        p = device.xp.asarray(p - np.bincount(rows, weights, minlength=n))
        return float(np.sqrt(max(0.0, float(p @ (operator @ p))))), 0.0
    some = np.sort(random_state.choice(n, limit, replace=share is not None, p=share))
    # Drawn by themselves: what is left of a row that is an anchor is nothing.
    few = np.unique(random_state.choice(n, COUNT, p=share))
    points, some, few = (take_rows(operator, r) for r in (rows, some, few))
    squared, error = _estimated(operator, points, weights, share, some, few)
    mmd = float(np.sqrt(max(0.0, squared)))
    return mmd, error / (2.0 * mmd) if mmd > 0 else float(np.sqrt(error))


def _estimated(operator, points, weights, share, some, few):
    """Squared MMD of weighted points to the sample, and its standard error.

    What can be seen at a few anchors is computed from the whole sample, and only what
    is orthogonal to them is estimated, from `some` of its rows.
    """
    device, n = operator.device, operator.shape[0]
    sample = operator.with_samples(some)
    seen = Interpolation(device.get(sample.with_samples(few).to_dense()))
    w = device.xp.asarray(weights)

    def features(X):
        return seen.features(device.get(sample.with_samples(X, few).to_dense()))

    F, G = features(some), weights @ features(points)
    at_few = device.get(sample_means(operator.with_rows(few), share))
    known = float(((seen.features(at_few) - G) ** 2).sum())
    inner = float(w @ (sample.with_samples(points) @ w)) - G @ G
    own = device.get(sample.diagonal()) - (F**2).sum(axis=1)
    sums = device.get(sample.row_sum()) - F @ F.sum(axis=0)
    means = (sums - own) / (len(some) - 1)
    if share is None:  # drawn without replacement: no row met itself
        means += (own - means) / n
    cross = device.get(sample.with_samples(some, points) @ w) - F @ G
    squared = known + inner + means.mean() - 2.0 * cross.mean()
    return squared, 2.0 * float((means - cross).std()) / np.sqrt(len(some))


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
