"""Distances between the kernel means of a sample and of a few of its rows (MMD)."""

from __future__ import annotations

import numpy as np
from sklearn.utils.random import sample_without_replacement

from .._device import is_dask
from .anchors import COUNT, Interpolation
from .coresets import distance_of
from .halving import take_rows
from .thinning import sample_means

# Random rows, twice, from which the mean kernel value is estimated.
RANDOM_ROWS = 4096


def mean_distance(operator, rows, weights, share, limit, random_state):
    """MMD of weighted rows to the sample, and its standard error.

    Parameters
    ----------
    operator : KernelOperator
        K of the sample with itself, float64; also of a Dask array.
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
    n = operator.shape[0]
    if limit is not None and n > limit:
        estimate = DistanceEstimate(operator, share, limit, random_state)
        return estimate.to(take_rows(operator, rows), weights)
    if _in_blocks(operator):
        return _distance_of_blocks(operator, rows, weights, share), 0.0
    p = np.full(n, 1.0 / n) if share is None else share
    # Rows may stand more than once.
    p = p - np.bincount(rows, weights, minlength=n)
    p = operator.device.xp.asarray(p)
    return distance_of(float(p @ (operator @ p))), 0.0


def _distance_of_blocks(operator, rows, weights, share):
    """`mean_distance` to all rows of a Dask array."""
    points, n = take_rows(operator, rows), operator.shape[0]
    inner = weights @ (operator.with_samples(points) @ weights)
    cross = weights @ sample_means(operator.with_rows(points), share)
    R = np.full((n, 1), 1.0 / n) if share is None else share[:, None]
    return distance_of(float(inner - 2.0 * cross + operator.quadratic_forms(R)[0]))


def _in_blocks(operator):
    return is_dask(getattr(operator, "X", None))


def drawn(operator, count, share, random_state, replace=True):
    """Random rows of a sample, by their shares.

    Parameters
    ----------
    operator : KernelOperator
        K of the sample with itself.
    count : int
    share : array of shape (n,) or None
    random_state : RandomState
    replace : bool, default=True
        Whether a row may be drawn again.

    Returns
    -------
    ndarray of int
    """
    n = operator.shape[0]
    if is_dask(share):
        from ..dask import weighted

        return weighted.drawn(share, random_state.random_sample(count))
    if _in_blocks(operator) and not replace:  # without an array of all row numbers
        return sample_without_replacement(n, count, random_state=random_state)
    return random_state.choice(n, count, replace=replace, p=share)


class DistanceEstimate:
    """MMD of weighted points to a sample that is too large to go through.

    What can be seen at a few anchors is computed from the whole sample, and only what
    is orthogonal to them is estimated, from some of its rows.

    Parameters
    ----------
    operator, share, random_state
        Of `mean_distance`.
    limit : int
        Rows to estimate from.
    """

    def __init__(self, operator, share, limit, random_state):
        n, device = operator.shape[0], operator.device
        some = drawn(operator, limit, share, random_state, replace=share is not None)
        # Drawn by themselves: what is left of a row that is an anchor is nothing.
        few = np.unique(drawn(operator, COUNT, share, random_state))
        both = take_rows(operator, np.concatenate([np.sort(some), few]))
        self.rows, self.few = both[:limit], both[limit:]
        self.sample, self.device = operator.with_samples(self.rows), device
        K = self.sample.with_samples(self.few).to_dense()
        self.seen = Interpolation(device.get(K))
        exact = sample_means(operator.with_rows(self.few), share)
        self.target = self.seen.features(device.get(exact))
        self.features = F = self._features(self.rows)
        own = device.get(self.sample.diagonal()) - (F**2).sum(axis=1)
        sums = device.get(self.sample.row_sum()) - F @ F.sum(axis=0)
        self.means = (sums - own) / (limit - 1)
        if share is None:  # drawn without replacement: no row met itself
            self.means += (own - self.means) / n

    def _features(self, X):
        values = self.sample.with_samples(X, self.few).to_dense()
        return self.seen.features(self.device.get(values))

    def to(self, points, weights):
        """MMD of points of these weights, and its standard error.

        Parameters
        ----------
        points : array of shape (s, d)
        weights : ndarray of shape (s,)
        """
        G, w = weights @ self._features(points), self.device.xp.asarray(weights)
        inner = float(w @ (self.sample.with_samples(points) @ w)) - G @ G
        across = self.sample.with_samples(self.rows, points) @ w
        cross = self.device.get(across) - self.features @ G
        known = float(((self.target - G) ** 2).sum())
        squared = known + inner + self.means.mean() - 2.0 * cross.mean()
        error = 2.0 * float((self.means - cross).std()) / np.sqrt(len(cross))
        mmd = distance_of(squared)
        return mmd, error / (2.0 * mmd) if mmd > 0 else float(np.sqrt(error))


def random_distance(operator, size, share, random_state):
    """Root of the mean squared MMD of random subsets of a size.

    ``(E k(x, x) - E k(x, x')) / size``, and for subsets without replacement of equal
    weights less by ``1 - (size - 1) / (n - 1)``. Of a Dask array, the first mean is
    estimated too.
    """
    device, n = operator.device, operator.shape[0]
    if not _in_blocks(operator):
        own = device.get(operator.diagonal())
        own = float(own.mean() if share is None else own @ share)
    if n <= RANDOM_ROWS and not _in_blocks(operator):
        p = device.xp.asarray(np.full(n, 1.0 / n) if share is None else share)
        between = float(p @ (operator @ p))
    else:
        both = [drawn(operator, RANDOM_ROWS, share, random_state) for _ in range(2)]
        both = take_rows(operator, np.concatenate(both))
        a, b = both[:RANDOM_ROWS], both[RANDOM_ROWS:]
        if _in_blocks(operator):
            own = float(operator.with_samples(a).diagonal().mean())
        between = operator.with_samples(a, b).total() / RANDOM_ROWS**2
    squared = (own - between) / size
    if share is None:
        squared *= 1.0 - (size - 1.0) / max(1.0, n - 1.0)
    return distance_of(squared)
