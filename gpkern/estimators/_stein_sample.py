"""Samples with their scores, from whatever a user has of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from threadpoolctl import threadpool_limits

from ..algorithms.stein import stein_rows
from ..targets import as_target
from ._chains import as_rows, check_gradients, is_tree, read_draws, scores_of
from ._door import ArrayKind, check_fit_X, check_predict_X, to_numpy_or_cupy
from ._testing import check_sample, correlation_of_rows

TARGET = [object]
# Rows from which a fit is worth threads.
MANY_ROWS = 20_000
EDGE = (
    "the density of the target falls to 0 at an edge of its support too slowly, or not "
    "at all, where scores have no variance, or Stein's identity fails: samples of the "
    "target itself may be rejected. Move to "
    "coordinates without edges, such as log x for x > 0, logit x for 0 < x < 1"
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
        Of the library and the dtype that they came in.
    target : Target or None
    n_chains : int
        Of which the rows are draws, one chain after another.
    has_chains : bool
        Whether X had an axis of chains.
    """

    points: Any
    scores: Any
    target: Any
    n_chains: int
    has_chains: bool

    @property
    def looks_dependent(self):
        """Whether successive rows visibly correlate."""
        return correlation_of_rows(self.points) is not None

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
    draws = read_draws(X, scores, target)
    points = check_fit_X(estimator, draws.points, sparse_ok=False)
    check_sample(points)
    given = scores_of(
        draws, points, None if target is None else target.score, ArrayKind(X)
    )
    chains = is_tree(X) or hasattr(X, "data_vars") or np.ndim(X) == 3
    return SteinSample(points, given, target, draws.n_chains, chains)


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
    points = check_predict_X(estimator, as_rows(X, "X")[0], sparse_ok=False)
    if scores is not None:
        scores = as_rows(scores, "scores")[0]
    if scores is None:
        target = as_target(estimator.target)
        scores = target.score(to_numpy_or_cupy(points))
    scores = check_gradients(scores, points, "scores")
    return stein_rows(device.put(points), device.put(scores), device.xp)
