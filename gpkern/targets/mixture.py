"""`Mixture`: normal distributions, by their parameters."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from .base import Target, namespace

SHAPES = (
    "a number, of shape (k,): one variance a term, (k, d): one a column too, or "
    "(k, d, d): matrices (one matrix C of all terms: np.broadcast_to(C, (k, d, d)))"
)


class Mixture(Target):
    """A mixture of normal distributions.

    Parameters
    ----------
    weights : array-like of shape (k,)
        Not negative; divided by their sum.
    means : array-like of shape (k, d)
    covariances : float or array-like of shape (k,), (k, d) or (k, d, d)
        Variances, in squared units of the columns, or covariance matrices. Shape (k, d)
        is variances also where k = d.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Of sum 1.
    means : ndarray of shape (k, d)

    Raises
    ------
    ValueError
        For shapes that do not fit, negative weights, or covariances that are not
        positive definite.

    Examples
    --------
    >>> from gpkern.targets import Mixture
    >>> two = Mixture([0.5, 0.5], [[-2.0], [2.0]], 1.0)
    >>> two.score([[0.0], [2.0], [100.0]]).round(2)
    array([[  0.],
           [ -0.],
           [-98.]])
    """

    has_log_density = can_sample = True

    def __init__(self, weights, means, covariances):
        means = _finite(means, "means")
        if means.ndim != 2 or 0 in means.shape:
            raise ValueError(
                f"means must have shape (k, d), one row a term, not {means.shape}"
            )
        self.weights, self.means = _weights(weights, len(means)), means
        self.n_features = means.shape[1]
        # Of each term the root of its precision: a matrix, or the columns' factors.
        self._roots = _roots(_finite(covariances, "covariances"), means)

    def _terms(self, X):
        """Logs of the terms, shape (m, k), and the roots in the library of X."""
        xp = namespace(X)
        means, roots = xp.asarray(self.means), xp.asarray(self._roots)
        if roots.ndim == 2:
            log_roots = np.log(self._roots).sum(axis=1)
        else:
            diagonals = np.diagonal(self._roots, axis1=1, axis2=2)
            log_roots = np.log(diagonals).sum(axis=1)
        with np.errstate(divide="ignore"):
            peaks = np.log(self.weights) + log_roots
        logs = xp.empty((len(X), len(means)))
        for k, (mean, root) in enumerate(zip(means, roots, strict=True)):
            logs[:, k] = (_times(X - mean, root) ** 2).sum(axis=1)
        constant = 0.5 * self.n_features * np.log(2.0 * np.pi)
        return xp.asarray(peaks - constant) - 0.5 * logs, means, roots

    def _log_density(self, X):
        logs, xp = self._terms(X)[0], namespace(X)
        most = logs.max(axis=1)
        return most + xp.log(xp.exp(logs - most[:, None]).sum(axis=1))

    def _score(self, X):
        logs, means, roots = self._terms(X)
        xp = namespace(X)
        shares = xp.exp(logs - logs.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        out = xp.zeros(X.shape)
        for share, mean, root in zip(shares.T, means, roots, strict=True):
            out += share[:, None] * _times(_times(mean - X, root), root.T)
        return out

    def _sample(self, n, rng):
        terms = rng.choice(len(self.weights), n, p=self.weights)
        out = rng.standard_normal((n, self.n_features))
        for k, root in enumerate(self._roots):
            own = terms == k
            if root.ndim == 1:
                out[own] /= root
            else:
                # The root R has R R' = S^-1, so R'^-1 z has the covariance S.
                out[own] = linalg.solve_triangular(root.T, out[own].T, lower=True).T
        return out + self.means[terms]


def _times(X, root):
    return X * root if root.ndim == 1 else X @ root


def _finite(array, name):
    try:
        array = np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is not an array of numbers: {error}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity")
    return array


def _weights(weights, k):
    weights = _finite(weights, "weights")
    if weights.shape != (k,):
        raise ValueError(
            f"weights has shape {weights.shape}: one for each of the {k} rows of means "
            "is needed"
        )
    if (weights < 0).any():
        raise ValueError("weights must not be negative")
    if not weights.any():
        raise ValueError("weights are all 0: one at least must be positive")
    weights = weights / weights.max()  # a sum of large ones overflows
    return weights / weights.sum()


def _roots(covariances, means):
    """Roots R of the precisions R R': of shape (k, d), or upper ones (k, d, d)."""
    k, d = means.shape
    shape = covariances.shape
    if shape in ((), (k,), (k, d)):
        if not (covariances > 0).all():
            raise ValueError(
                f"covariances must be positive: of shape {shape} they are variances"
            )
        columns = covariances if covariances.ndim == 2 else covariances[..., None]
        return np.broadcast_to(1.0 / np.sqrt(columns), (k, d)).copy()
    if shape != (k, d, d):
        raise ValueError(
            f"covariances has shape {shape}, and means {means.shape}: it must be "
            f"{SHAPES}"
        )
    roots = np.empty((k, d, d))
    for i, matrix in enumerate(covariances):
        largest = abs(matrix).max()
        if abs(matrix - matrix.T).max() > 1e-8 * largest:
            raise ValueError(f"covariances[{i}] is not symmetric: use (C + C.T) / 2")
        try:
            lower = linalg.cholesky(matrix, lower=True)
        except linalg.LinAlgError:
            raise ValueError(
                f"covariances[{i}] is not positive definite: its smallest eigenvalue "
                f"is {np.linalg.eigvalsh(matrix)[0]:.2g}; leave columns out that "
                "others determine, or add a small variance to its diagonal"
            ) from None
        roots[i] = linalg.solve_triangular(lower, np.eye(d), lower=True).T
    return roots
