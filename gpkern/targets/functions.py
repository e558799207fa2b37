"""Targets from functions: a score, or a log density."""

from __future__ import annotations

import numpy as np

from .base import (
    Target,
    as_float64,
    as_rows,
    check_scores,
    check_values,
)
from .differences import compare, gradient

# Rows of the first call at which a score is held against its log density.
CHECKED_ROWS = 8
# By which it may be off: mistakes are larger, errors of float32 smaller.
RTOL = 1e-3


class Score(Target):
    """A score function, and a log density where there is one.

    Parameters
    ----------
    f : callable
        ``f(X) -> (n, d)``: gradients of the log density at rows, which are passed all
        at once, as a copy, in the array library of X; float32 rows stay float32.
    log_density : callable, default=None
        ``log_density(X) -> (n,)``, up to a constant. With it the first call of `score`
        checks up to eight rows against central differences.
    n_features : int, default=None
        Columns that rows must have; None for any.

    References
    ----------
    Liu, Lee & Jordan (2016), A kernelized Stein discrepancy for goodness-of-fit tests,
    section 2.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.targets import Score
    >>> normal = Score(lambda X: -X, lambda X: -0.5 * (X**2).sum(axis=1))
    >>> normal.score([[1.0, 2.0]])
    array([[-1., -2.]])
    """

    _keeps_float32 = True

    def __init__(self, f, log_density=None, n_features=None):
        self.f = _callable(f, "f")
        self.f_log = log_density
        if log_density is not None:
            _callable(log_density, "log_density")
        self.n_features = _columns(n_features)
        self.has_log_density = log_density is not None
        self._is_checked = log_density is None

    def _score(self, X):
        scores = check_scores(self.f(X.copy()), X)
        if not self._is_checked:
            few = np.unique(np.linspace(0, len(X) - 1, CHECKED_ROWS).astype(int))
            rows = as_float64(X[few])
            compare(scores[few], self._log_density, rows, RTOL)
            # At a mode a wrong sign is not seen.
            self._is_checked = bool((scores[few] != 0).any())
        return scores

    def _log_density(self, X):
        return check_values(self.f_log(X.copy()), X)


class LogDensity(Target):
    """A log density alone; its score is found by central differences.

    These are of fourth order: 4 d values for each row of d columns, in one call where
    memory allows. Of a log density in float64 whose values are near 1, about ten digits
    of the score are right; of values near 1e6, as sums over many data have, five or
    six. Where there are gradients, `Score`, `from_torch` or `from_jax` are quicker.

    Parameters
    ----------
    f : callable
        ``f(X) -> (n,)``: logarithms of the density, up to a constant, at rows, which
        are passed all at once in float64, in the array library of X.
    step : float or array-like of shape (n_features,), default=None
        Steps, in units of the columns. None is ``eps^(1/5)`` of the columns' spread
        over the rows that are passed, made smaller where the function is
        seen to bend or to be infinite; so digits beyond those above depend on the
        other rows.
    n_features : int, default=None
        Columns that rows must have; None for any.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.targets import LogDensity
    >>> quartic = LogDensity(lambda X: -0.25 * (X**4).sum(axis=1))
    >>> quartic.score([[1.0, 2.0]]).round(6)
    array([[-1., -8.]])
    """

    has_log_density = True

    def __init__(self, f, step=None, n_features=None):
        self.f = _callable(f, "f")
        if step is not None:
            step = np.asarray(step, dtype=np.float64)
            if step.ndim > 1 or not ((step > 0) & (step < np.inf)).all():
                raise ValueError(
                    f"step={step} must be a positive number, or one for each column"
                )
        self.step = step
        self.n_features = _columns(n_features)

    def _score(self, X):
        step = self.step
        if step is not None and step.ndim and len(step) != X.shape[1]:
            raise ValueError(
                f"step has {len(step)} numbers, and X {X.shape[1]} columns"
            )
        return gradient(self._log_density, X, step)[0]

    def _log_density(self, X):
        return check_values(self.f(X.copy()), X)


def check_score(target, X, *, rtol=1e-3):
    """Compare a score with central differences of its log density.

    Parameters
    ----------
    target : object
        What `as_target` takes, with a log density.
    X : array-like of shape (n, d)
        Rows to look at; a few where the density is large will do.
    rtol : float, default=1e-3
        What is allowed. An estimate of the differences' own error is taken off:
        of a right score next to nothing is left.

    Returns
    -------
    float
        The largest relative error over the rows: of the score's length there, or of
        its root mean square where that is longer.

    Raises
    ------
    TypeError
        Where the target has no log density.
    ValueError
        Where the error is larger than `rtol`; a wrong sign is named.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.targets import Score, check_score
    >>> normal = Score(lambda X: -X, lambda X: -0.5 * (X**2).sum(axis=1))
    >>> check_score(normal, np.random.default_rng(0).normal(size=(50, 2))) < 1e-6
    True
    """
    from .resolve import as_target

    target = as_target(target)
    X = as_rows(X, target.n_features)
    target.log_density(X[:1])  # an error where there is none
    return compare(target.score(X), target.log_density, X, rtol, target._precision)


def _callable(f, name):
    if not callable(f):
        raise TypeError(f"{name} must be a function of rows, not {type(f).__name__}")
    return f


def _columns(n_features):
    if n_features is not None and not (int(n_features) == n_features >= 1):
        raise ValueError(f"n_features={n_features!r} must be a positive integer")
    return None if n_features is None else int(n_features)
