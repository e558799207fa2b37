"""`Target`: a density known up to a constant, by its score."""

from __future__ import annotations

import sys

import numpy as np
from sklearn.utils import check_random_state

from .._device import is_cupy

OUTSIDE = (
    "such rows lie outside of the support of the density, or so far out that it "
    "underflows or overflows; leave them out, or move to coordinates in which the "
    "density is positive everywhere (log x for x > 0, logit x for 0 < x < 1)"
)


class Target:
    """A density known up to a constant.

    What a Stein discrepancy needs is the score, the gradient of the log density, from
    which the constant drops out. Subclasses write

    - ``_score(self, X)``, which returns an array of the shape of X;

    and, where they can,

    - ``_log_density(self, X)``, which returns one number a row;
    - ``_sample(self, n, rng)``, which returns n rows, with ``rng`` a
      `numpy.random.RandomState`;
    - ``refit(self, X)``, which returns another target, fitted to rows.

    X is a checked float64 array of shape (n, d), of NumPy or CuPy. There is no
    ``__init__`` that a subclass would have to call.

    Attributes
    ----------
    n_features : int or None
        Columns that rows must have; None for any.
    has_log_density, can_sample, can_refit : bool
        Whether there are `log_density`, `sample` and `refit`; set for a subclass that
        writes them.
    has_edge : bool
        Whether the density falls to 0 at an edge of its support no faster than in
        proportion to the distance, so that scores have no variance, or not at all, so
        that Stein's identity fails: the discrepancy of the density to itself is not 0.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.targets import Target
    >>> class Quartic(Target):
    ...     def _score(self, X):
    ...         return -(X**3)
    ...
    ...     def _log_density(self, X):
    ...         return -0.25 * (X**4).sum(axis=1)
    >>> Quartic().score([[1.0, 2.0]])
    array([[-1., -8.]])
    """

    n_features = None
    has_log_density = can_sample = can_refit = has_edge = False
    # Of the target's numbers: checks allow more for float32.
    _precision = np.float64
    # Whether float32 rows are passed to `_score` as they are.
    _keeps_float32 = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        written = {
            "has_log_density": "_log_density",
            "can_sample": "_sample",
            "can_refit": "refit",
        }
        for flag, method in written.items():
            if method in vars(cls) and flag not in vars(cls):
                setattr(cls, flag, True)

    def __repr__(self):
        columns = "" if self.n_features is None else f"n_features={self.n_features}"
        return f"{type(self).__name__}({columns})"

    def score(self, X):
        """Gradient of the log density.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NumPy or CuPy.

        Returns
        -------
        array of shape (n, d), float64
            NumPy or CuPy.

        Raises
        ------
        ValueError
            For rows of another shape, or where the score is not finite, as outside of
            the support of the density: the message counts such rows.
        """
        X = as_rows(X, self.n_features, keep=self._keeps_float32)
        return check_scores(self._score(X), X)

    def log_density(self, X):
        """Logarithm of the density, up to a constant.

        Parameters
        ----------
        X : array-like of shape (n, d)
            NumPy or CuPy.

        Returns
        -------
        array of shape (n,), float64
            -inf outside of the support.

        Raises
        ------
        TypeError
            Where there is none, as of a target made from a score function alone.
        """
        if not self.has_log_density:
            raise TypeError(
                f"{type(self).__name__} has no log density, but a score alone: pass "
                "gpkern.targets.Score(score, log_density), or LogDensity(f)"
            )
        X = as_rows(X, self.n_features)
        return as_float64(check_values(self._log_density(X), X))

    def sample(self, n, random_state=None):
        """Draw rows.

        Parameters
        ----------
        n : int
        random_state : int, RandomState or None, default=None

        Returns
        -------
        array of shape (n, d), float64

        Raises
        ------
        TypeError
            Where the target cannot: the message says what can.
        """
        if not self.can_sample:
            raise TypeError(
                f"{type(self).__name__} cannot be sampled from: draw from a mixture, a "
                "fitted estimator with `sample`, or a distribution of scipy.stats"
            )
        return self._sample(n, check_random_state(random_state))

    def refit(self, X):
        """The target of a clone of the estimator, fitted to rows.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        Target

        Raises
        ------
        TypeError
            For all but unfrozen estimators with `fit` and `sample`.
        """
        raise TypeError(
            f"{type(self).__name__} has no parameters to fit: pass an estimator with "
            "`fit` and `sample` that is not frozen"
        )

    def _score(self, X):
        raise NotImplementedError(
            f"{type(self).__name__} has no `_score`, which returns an array of the "
            "shape of X: write it, or pass gpkern.targets.LogDensity(log_density)"
        )

    def _log_density(self, X):
        raise NotImplementedError

    def _sample(self, n, rng):
        raise NotImplementedError


def namespace(array):
    """NumPy or CuPy, as the array is."""
    # Who has made such an array has imported CuPy; here nothing imports it.
    return sys.modules["cupy"] if is_cupy(array) else np


def to_numpy(array):
    """The array on the host."""
    return array.get() if is_cupy(array) else np.asarray(array)


def like(array, other):
    """A NumPy or CuPy array in the library of another one."""
    return (
        to_numpy(array) if namespace(other) is np else namespace(other).asarray(array)
    )


def as_float64(array):
    """A NumPy or CuPy array in float64."""
    return namespace(array).asarray(array, dtype=np.float64)


def as_rows(X, n_features=None, name="X", keep=False):
    """Finite rows in float64, of NumPy or CuPy.

    Parameters
    ----------
    X : array-like of shape (n, d)
    n_features : int or None
        Columns that there must be.
    name : str
        For messages.
    keep : bool, default=False
        Whether float32 stays.
    """
    X = _real(X, name)
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(
            f"{name} must be a non-empty 2-D array, one row a point, not of shape "
            f"{X.shape}: use X.reshape(-1, 1) for one column"
        )
    if n_features is not None and X.shape[1] != n_features:
        raise ValueError(
            f"{name} has {X.shape[1]} columns, and the target {n_features}"
        )
    if not (keep and X.dtype == np.float32):
        X = X.astype(np.float64, copy=False)
    bad = ~(abs(X) < np.inf).all(axis=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name} contains NaN or infinity in {int(bad.sum())} of {len(X)} rows, "
            f"the first of them row {int(bad.argmax())}: leave these out"
        )
    return X


def _real(array, name):
    """A NumPy or CuPy array of real numbers."""
    if not is_cupy(array):
        try:
            array = np.asarray(array)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ValueError(f"{name} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    return array


def check_scores(scores, X, name="the score"):
    """Scores as float64, one finite number for each entry of X."""
    scores = _real(scores, name)
    n, d = X.shape
    if scores.shape == (n,) and d == 1:
        scores = scores[:, None]
    if scores.shape == (n,):
        raise ValueError(
            f"{name} of rows of shape {X.shape} has shape {scores.shape}, one number a "
            "row, and looks like a log density: pass gpkern.targets.LogDensity(f)"
        )
    if scores.shape != X.shape:
        raise ValueError(
            f"{name} of rows of shape {X.shape} has shape {scores.shape}: it must have "
            "the shape of the rows, which are passed all at once"
        )
    bad = ~(abs(scores) < np.inf).all(axis=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name} is NaN or infinite in {int(bad.sum())} of {n} rows, the first of "
            f"them row {int(bad.argmax())}: {OUTSIDE}"
        )
    return as_float64(scores)


def check_values(values, X, name="the log density"):
    """Log densities in their own float dtype, one number a row."""
    values = _real(values, name)
    if values.shape == (len(X), 1):
        values = values[:, 0]
    if values.shape != (len(X),):
        raise ValueError(
            f"{name} of rows of shape {X.shape} has shape {values.shape}: it must give "
            "one number for each row of a 2-D array (of a function f of one row, pass "
            "lambda X: np.array([f(x) for x in X]))"
        )
    single = values.dtype.kind == "f" and values.dtype.itemsize <= 4
    return values if single else as_float64(values)
