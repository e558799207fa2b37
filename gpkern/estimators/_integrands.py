"""Integrands at draws with scores, from whatever a user has of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._device import is_cupy
from ..algorithms.distinct import distinct_rows
from ..targets import as_target
from ..targets.base import namespace, to_numpy
from ._chains import read_draws, scores_of
from ._door import (
    ArrayKind,
    check_fit_X,
    check_predict_X,
    check_targets,
    to_numpy_or_cupy,
)
from ._gathered import gathered

# Draws of an integrand that leave something to predict.
LEAST = 3


@dataclass(frozen=True)
class Integrands:
    """Distinct draws, one set of them or one for each integrand.

    Attributes
    ----------
    points, scores : list of array of shape (n, d)
    values : list of array of shape (n, c)
        c is 1 where there are several sets.
    places : list of ndarray of int or None
        Where in the draws that were given these are; None for all of them.
    counts : list of int
        Of the draws that were given.
    is_vector : bool
        Whether the results have an axis of integrands.
    kind : ArrayKind
    """

    points: list
    scores: list
    values: list
    places: list
    counts: list
    is_vector: bool
    kind: Any

    def of_all(self, weights):
        """Weights (n, t) of these draws for all that were given, 0 for copies."""
        parts = np.split(weights, np.cumsum(self.sizes)[:-1])
        whole = []
        for part, places, count in zip(parts, self.places, self.counts, strict=True):
            own = np.zeros((count, weights.shape[1]))
            own[slice(None) if places is None else places] = part
            whole.append(own)
        return np.concatenate(whole)

    @property
    def arrays(self):
        return [*self.points, *self.scores]

    @property
    def sizes(self):
        return [len(x) for x in self.points]


def is_list_of_sets(X):
    """Whether X holds an array of draws for each integrand."""
    is_list = isinstance(X, (list, tuple)) and len(X) > 0
    return is_list and all(np.ndim(x) >= 2 for x in X)


def read_integrands(estimator, X, y, scores=None):
    """`Integrands` of a fit; sets ``n_features_in_``."""
    if y is None:
        raise ValueError(
            "requires y to be passed, but the target y is None: values of the "
            "integrand at the rows of X"
        )
    if callable(y):
        raise TypeError("y is a function: pass its values at the rows of X, y=f(X)")
    if not is_list_of_sets(X):
        own = _read_set(estimator, X, y, scores, estimator.target, check_fit_X)
        points, given, values, places, count = own
        is_vector = values.ndim == 2
        values = values.reshape(len(values), -1)
        return Integrands(
            [points], [given], [values], [places], [count], is_vector, ArrayKind(X)
        )
    t = len(X)
    lists = {"y": y, "scores": scores}
    if isinstance(estimator.target, (list, tuple)):
        lists["target"] = estimator.target
    for name, value in lists.items():
        if value is not None and (not hasattr(value, "__len__") or len(value) != t):
            raise ValueError(
                f"X is a list of the draws of {t} integrands, so {name} must be a list "
                f"of {t} too"
            )
    targets = lists.get("target", [estimator.target] * t)
    scores = [None] * t if scores is None else scores
    sets = []
    for j in range(t):
        check = check_fit_X if j == 0 else check_predict_X
        found = _read_set(estimator, X[j], y[j], scores[j], targets[j], check)
        if found[2].ndim != 1:
            raise ValueError(f"y[{j}] has shape {found[2].shape}, and must have (n,)")
        sets.append((*found[:2], found[2][:, None], *found[3:]))
    return Integrands(*map(list, zip(*sets, strict=True)), True, ArrayKind(X[0]))


def _read_set(estimator, X, y, scores, target, check):
    """Distinct draws, their scores and their values; where they are; how many were."""
    target = None if target is None else as_target(target)
    draws = read_draws(X, scores, target)
    points = check(estimator, draws.points, sparse_ok=False)
    points = gathered(points, "the fit takes all draws: thin them first, X[::10]")
    given = scores_of(
        draws, points, None if target is None else target.score, ArrayKind(X)
    )
    y = to_numpy_or_cupy(y)
    y = y if is_cupy(y) else np.asarray(y)
    n = len(points)
    chains = getattr(X, "ndim", 0) != 2 and y.ndim > 1
    if chains and len(y) != n == y.shape[0] * y.shape[1]:
        y = y.reshape(n, *y.shape[2:])
    y = check_targets(y, points, estimator)
    first, _ = distinct_rows(points, namespace(points))
    if len(first) < LEAST:
        raise ValueError(
            f"n_samples={len(first)} distinct draws: an integral needs at least {LEAST}"
        )
    if len(first) == n:
        return points, given, y, None, n
    places = first if is_cupy(y) else to_numpy(first)
    others = (a[namespace(a).asarray(first)] for a in (points, given))
    return *others, y[places], to_numpy(first), n


def correlation_of(given, t):
    """Correlation matrix of a given covariance."""
    B = np.asarray(given, dtype=np.float64)
    if B.shape != (t, t):
        raise ValueError(
            f"task_covariance has shape {B.shape}, and there are {t} integrands"
        )
    if not (np.isfinite(B).all() and np.allclose(B, B.T)):
        raise ValueError("task_covariance must be finite and symmetric")
    if not (np.diag(B) > 0).all():
        raise ValueError(
            "task_covariance must be positive semi-definite, with variances above 0: "
            f"its diagonal is {np.diag(B).tolist()}"
        )
    wide = np.sqrt(np.diag(B))
    C = 0.5 * (B + B.T) / np.outer(wide, wide)
    if np.linalg.eigvalsh(C)[0] < -1e-10:
        raise ValueError("task_covariance must be positive semi-definite")
    np.fill_diagonal(C, 1.0)
    return C
