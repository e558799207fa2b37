"""Normal mixtures, as sums that rows climb like those of kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import special

from .bounds import highest

# Columns up to which bounds are searched for.
BOUNDED_COLUMNS = 3
# Of a term's variance by the mean one; rounding is not far below.
NARROWEST = 1e-12


@dataclass(frozen=True)
class MixtureField:
    """``log sum_k w_k N(x; m_k, S_k)`` and its derivatives, on the host.

    Attributes
    ----------
    weights : ndarray of shape (k,)
    points : ndarray of shape (k, d)
        The means.
    precisions : ndarray of shape (k, d, d)
    device : Device
    """

    weights: Any
    points: Any
    precisions: Any
    device: Any

    is_smooth, has_cusp = True, False

    def _terms(self, X):
        """Logs of the terms (m, k), and ``S_k^-1 (m_k - x)``, shape (m, k, d)."""
        away = self.points - X[:, None, :]
        pulls = np.einsum("kab,mkb->mka", self.precisions, away)
        return self._log_peaks - 0.5 * (away * pulls).sum(axis=2), pulls

    @cached_property
    def _log_peaks(self):
        """Logs of the terms at their own means."""
        logs, d = np.linalg.slogdet(self.precisions)[1], self.points.shape[1]
        with np.errstate(divide="ignore"):
            return np.log(self.weights) + 0.5 * logs - 0.5 * d * np.log(2.0 * np.pi)

    def _shares(self, X):
        logs, pulls = self._terms(X)
        return special.softmax(logs, axis=1), pulls

    def log(self, X):
        """Shape (m,)."""
        return special.logsumexp(self._terms(X)[0], axis=1)

    def gradient(self, X):
        """Shape (m, d)."""
        shares, pulls = self._shares(X)
        return np.einsum("mk,mka->ma", shares, pulls)

    def shift(self, X):
        """The fixed-point step of Carreira-Perpinan (2000), shape (m, d)."""
        shares, _ = self._shares(X)
        left = np.einsum("mk,kab->mab", shares, self.precisions)
        right = np.einsum("mk,kab,kb->ma", shares, self.precisions, self.points)
        return np.linalg.solve(left, right[:, :, None])[:, :, 0]

    def hessian(self, X):
        """Shape (m, d, d)."""
        shares, pulls = self._shares(X)
        slope = np.einsum("mk,mka->ma", shares, pulls)
        out = np.einsum("mk,mka,mkb->mab", shares, pulls, pulls)
        out -= np.einsum("mk,kab->mab", shares, self.precisions)
        return out - slope[:, :, None] * slope[:, None, :]

    def exact(self):
        """Itself: all is in float64."""
        return self

    def starts(self, count, rng):
        """Where to climb from: the means, what is between them, and rows drawn.

        A mode need not be near a mean: of three in the corners of a triangle it may be
        in its middle.
        """
        k, d = self.points.shape
        i, j = np.triu_indices(k, 1)
        few = rng.permutation(len(i))[:count]
        between = 0.5 * (self.points[i[few]] + self.points[j[few]])
        middle = (self.weights @ self.points)[None]
        # Some are within the hull of the means, some of the mixture.
        mixed = rng.dirichlet(np.ones(k), count) @ self.points
        terms = rng.choice(k, count, p=self.weights / self.weights.sum())
        steps = np.linalg.solve(
            np.linalg.cholesky(self.precisions).transpose(0, 2, 1)[terms],
            rng.normal(size=(count, d, 1)),
        )
        drawn = self.points[terms] + steps[:, :, 0]
        return np.concatenate([self.points, middle, between, mixed, drawn])

    def bound(self, found, tolerance):
        """What the log of the sum exceeds nowhere.

        In few dimensions by branch and bound, over the box of all places at which some
        term is large enough; in more, by the terms at their own means.

        Parameters
        ----------
        found : float
            The log of the sum somewhere.
        tolerance : float
        """
        (k, d), peaks = self.points.shape, self._log_peaks
        least = float(special.logsumexp(peaks))
        if d > BOUNDED_COLUMNS:
            return least
        # A sum of k terms is above `found` only where the largest is above this.
        room = np.sqrt(np.maximum(2.0 * (peaks + np.log(k) - found), 0.0))[:, None]
        spread = np.sqrt(np.diagonal(np.linalg.inv(self.precisions), axis1=1, axis2=2))
        low = (self.points - room * spread).min(axis=0)
        high = (self.points + room * spread).max(axis=0)
        roots = np.linalg.cholesky(self.precisions).transpose(0, 2, 1)

        def bounds_of(boxes, sides):
            away = np.einsum("kab,mkb->mka", roots, boxes[:, None, :] - self.points)
            reach = np.linalg.norm(abs(roots) @ (0.5 * sides), axis=1)
            least = np.maximum(np.linalg.norm(away, axis=2) - reach, 0.0)
            return special.logsumexp(peaks - 0.5 * least**2, axis=1)

        return min(least, highest(np, self.log, bounds_of, low, high, found, tolerance))


def mixture_field(mixture, whitening, device):
    """`MixtureField` of a fitted scikit-learn mixture, in whitened coordinates.

    Parameters
    ----------
    mixture : GaussianMixture or BayesianGaussianMixture
    whitening : Whitening
    device : Device
        The CPU.
    """
    d = mixture.means_.shape[1]
    P = np.asarray(mixture.precisions_, dtype=np.float64)
    count = len(mixture.weights_)
    P = {
        "full": lambda: P,
        "tied": lambda: np.broadcast_to(P, (count, d, d)),
        "diag": lambda: P[:, :, None] * np.eye(d),
        "spherical": lambda: P[:, None, None] * np.eye(d),
    }[mixture.covariance_type]()
    factor = np.asarray(whitening.factor)
    factor = factor if factor.ndim == 2 else np.diag(np.broadcast_to(factor, d))
    means = whitening.into(np.asarray(mixture.means_, dtype=np.float64), np)
    return MixtureField(mixture.weights_, means, factor.T @ P @ factor, device)


def unit_covariance(mixture):
    """The mean covariance matrix of the terms, as small as the narrowest of them.

    Lengths in its units are those by which modes of any term can be told apart.
    """
    (k, d), C = mixture.means_.shape, np.asarray(mixture.covariances_)
    C = {
        "full": lambda: C,
        "tied": lambda: np.broadcast_to(C, (k, d, d)),
        "diag": lambda: C[:, :, None] * np.eye(d),
        "spherical": lambda: C[:, None, None] * np.eye(d),
    }[mixture.covariance_type]()
    pooled = np.einsum("k,kab->ab", mixture.weights_, C)
    root = np.linalg.inv(np.linalg.cholesky(pooled))
    narrowest = np.linalg.eigvalsh(root @ C @ root.T).min()
    return max(float(narrowest), NARROWEST) * pooled
