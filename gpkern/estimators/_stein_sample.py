"""Samples with their scores, from whatever a user has of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from threadpoolctl import threadpool_limits

from .._device import is_dask
from ..algorithms.stein import scale_of, stein_rows
from ..targets import as_target
from ._chains import (
    MISSING,
    as_rows,
    check_gradients,
    is_tree,
    read_draws,
    scores_of,
)
from ._door import ArrayKind, check_fit_X, check_predict_X, to_numpy_or_cupy
from ._testing import check_sample, correlation_of_rows, if_visible

TARGET = [object]
# Rows from which a fit is worth threads.
MANY_ROWS = 20_000
EDGE = (
    "the density of the target falls to 0 at an edge of its support too slowly, or not "
    "at all, where scores have no variance, or Stein's identity fails: samples of the "
    "target itself may be rejected. Move to "
    "coordinates without edges, such as log x for x > 0, logit x for 0 < x < 1"
)
CHAINS_IN_BLOCKS = (
    "X is a Dask array of chains, which take their order into account: gather them, "
    "X.compute(), or pass independent rows of shape (n, n_features)"
)
NOT_REFITTED = (
    "null='parametric' draws samples of the target, and fits it to each: it needs a "
    "target with `fit` and `sample` that is not frozen, or a distribution without "
    "parameters to fit, and not {}; for a target that is known, use null='wild'"
)


@dataclass(frozen=True)
class SteinSample:
    """Rows and the scores of a target at them.

    Attributes
    ----------
    points, scores : array of shape (n, d)
        Of the library and the dtype that they came in; of many rows in blocks, Dask
        arrays, whose scores are computed with the rows.
    target : Target or None
    n_chains : int
        Of which the rows are draws, one chain after another.
    has_chains : bool
        Whether X had an axis of chains.
    moments : Moments or None
        Of points and scores in blocks.
    """

    points: Any
    scores: Any
    target: Any
    n_chains: int
    has_chains: bool
    moments: Any = None

    @cached_property
    def correlation(self):
        """The largest one of a column's successive values; None if not visible."""
        if self.moments is None:
            return correlation_of_rows(self.points)
        return if_visible(self.moments.correlation, len(self.points))

    @property
    def score_scale(self):
        """That of `gpkern.algorithms.stein` where it is known, of blocks; or None."""
        return None if self.moments is None else scale_of(*self.moments.spreads)

    @property
    def in_blocks(self):
        """Whether points and scores are Dask arrays."""
        return self.moments is not None

    @property
    def height(self):
        """Rows of the largest block; None in memory."""
        return None if self.moments is None else max(self.points.chunks[0])

    def refitted_draws(self, n, count, rng):
        """Samples of the target, each with the scores of the target fitted to it.

        Yields
        ------
        points, scores : ndarray of shape (n, d)
        """
        for _ in range(count):
            X, fitted = self.target.sample(n, rng), self.target
            if fitted.can_refit:
                # Threads that wait for each other take far longer than small fits.
                with threadpool_limits(1 if n < MANY_ROWS else None):
                    fitted = fitted.refit(X)
            yield X, fitted.score(X)


def read_sample(estimator, X, scores=None, parametric=False):
    """The rows of `fit`, checked, with their scores; sets ``n_features_in_``.

    Parameters
    ----------
    estimator : BaseEstimator
        With a `target`.
    X : array-like of shape (n, d) or (chain, draw, d), or ArviZ data
        Of a Dask array with many rows, the sample stays in its blocks.
    scores : array-like, str, list of str or None
    parametric : bool
        Whether the target must give samples to which it can be fitted.

    Returns
    -------
    SteinSample
    """
    target = None
    if estimator.target is not None:
        target = as_target(estimator.target)
        if target.has_edge:
            warnings.warn(EDGE, UserWarning, stacklevel=4)
    if parametric:
        _check_refits(estimator.target, target)
    if is_dask(X):
        return _read_blocks(estimator, X, scores, target)
    draws = read_draws(X, scores, target)
    points = check_fit_X(estimator, draws.points, sparse_ok=False)
    check_sample(points)
    given = scores_of(
        draws, points, None if target is None else target.score, ArrayKind(X)
    )
    chains = is_tree(X) or hasattr(X, "data_vars") or np.ndim(X) == 3
    return SteinSample(points, given, target, draws.n_chains, chains)


def _read_blocks(estimator, X, scores, target):
    """`SteinSample` of a Dask array: in memory if it is small, as others are."""
    from ..dask import sample_rows

    if getattr(X, "ndim", 2) == 3:
        raise ValueError(CHAINS_IN_BLOCKS)
    if scores is not None and target is not None:
        raise ValueError("scores and target both give the scores: pass one of them")
    if scores is None and target is None:
        raise ValueError(MISSING)
    points = sample_rows.checked(check_fit_X(estimator, X, sparse_ok=False))
    given = None
    if scores is not None:
        given = sample_rows.scores_of(points, None, scores)
    if sample_rows.are_few(points):
        points = sample_rows.gathered(points, points)
        check_sample(points)
        given = target.score(points) if given is None else sample_rows.gathered(given)
        return SteinSample(points, given, target, 1, False)
    given = sample_rows.scores_of(points, target) if given is None else given
    moments = sample_rows.moments_of(points, given)
    check_sample(points, are_equal=moments.are_equal)
    return SteinSample(points, given, target, 1, False, moments)


def _check_refits(given, target):
    """An error for targets of which there is no parametric bootstrap."""
    if target is None:
        raise ValueError(NOT_REFITTED.format("scores alone"))
    frozen = isinstance(given, FrozenEstimator)
    if frozen or not target.can_sample:
        what = "a FrozenEstimator" if frozen else f"{type(given).__name__}"
        raise ValueError(NOT_REFITTED.format(what))


def scored_rows(estimator, X, scores, device):
    """Rows of a Stein kernel at queries, on a device."""
    if estimator.target is None and scores is None:
        raise ValueError(
            "there is no target: pass scores, the gradients of the log density at X"
        )
    if X is None:
        raise ValueError("scores are those of X: pass the rows too")
    if is_dask(X):
        from ..dask import sample_rows

        points = sample_rows.checked(check_predict_X(estimator, X, sparse_ok=False))
        target = None if scores is not None else as_target(estimator.target)
        return sample_rows.stein_rows(
            points, sample_rows.scores_of(points, target, scores)
        )
    points = check_predict_X(estimator, as_rows(X, "X")[0], sparse_ok=False)
    if scores is not None:
        scores = as_rows(scores, "scores")[0]
    if scores is None:
        target = as_target(estimator.target)
        scores = target.score(to_numpy_or_cupy(points))
    scores = check_gradients(scores, points, "scores")
    return stein_rows(device.put(points), device.put(scores), device.xp)
