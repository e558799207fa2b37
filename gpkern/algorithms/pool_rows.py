"""Covariances of the rows of a pool, one row at a time, for batch active learning.

`KernelRows` has them from a kernel whose matrix is never formed, `FeatureRows` from
features; both have the same methods. The rows are those of the pool, and after them
those of the training set.
"""

from __future__ import annotations

import numpy as np

# Kernel values that are held at a time while many rows are looked at.
BLOCK_VALUES = 1 << 22
# Rows over which variances are summed, where a kernel is given.
REFERENCE_ROWS = 2000


class KernelRows:
    """Covariances of rows by a kernel, given some of them with noise.

    Parameters
    ----------
    operator : KernelOperator
        K of N rows with the first W of them, float64; W is N wherever rows beyond are
        conditioned on, or summed over.
    variance : array of shape (N,)
        k(x, x); overwritten.
    noise : float
        Variance of the noise, above 0.
    """

    def __init__(self, operator, variance, noise):
        self.device, self.operator = operator.device, operator
        self.variance, self.noise = variance, noise
        self.prior = variance.copy()
        self.factor = self.device.xp.empty((0, operator.shape[1]))
        self.count = self.start = 0
        self.some = None

    def centred(self):
        """The same for distances alone."""
        return self

    def condition_on(self, first):
        """Condition on all rows from `first` on."""
        xp, linalg = self.device.xp, self.device.linalg
        K = self.operator.rows(slice(first, self.operator.shape[0]))
        own = K[:, first:].copy()
        own[xp.arange(len(own)), xp.arange(len(own))] += self.noise
        R = _factored(own, linalg)
        self.factor = xp.ascontiguousarray(linalg.solve_upper(R, K, transposed=True))
        self.count = self.start = len(own)
        squares = (self.factor**2).sum(axis=0)
        self.variance = xp.maximum(self.variance - squares, 0.0)

    def reserve(self, size):
        """Room for so many rows more."""
        xp = self.device.xp
        more = xp.empty((size, self.operator.shape[1]))
        self.factor = xp.concatenate([self.factor[: self.count], more])

    def covariance(self, index):
        """Of a row, shape (W,), or of a slice of them, shape (b, W)."""
        out, known = self.operator.rows(index), self.factor[: self.count]
        return out - known[:, index].T @ known if self.count else out

    def condition(self, row, covariance):
        """Condition on one row more, whose `covariance` this is."""
        spread = float(covariance[row]) + self.noise
        self.factor[self.count] = covariance / spread**0.5
        self.count += 1
        self.variance = _less(self.variance, covariance, spread, self.device.xp)

    def rewind(self):
        """Forget all of `condition`; `variance` is not brought back."""
        self.count = self.start

    def sums(self, weights):
        """``sum_z weights_z k(z, .)`` over all rows z."""
        out, known = self.operator.row_sum(weights), self.factor[: self.count]
        return out - (known @ weights) @ known if self.count else out

    def start_pairs(self, random_state):
        """Squared covariances of each row with all, summed; or an estimate of that."""
        N, m = self.operator.shape[0], REFERENCE_ROWS
        chosen = np.arange(N)
        if m < N:
            chosen = np.sort(random_state.choice(N, m, replace=False))
        xp, self.share = self.device.xp, N / len(chosen)
        self.some = xp.asarray(chosen)
        self.block = xp.empty((len(chosen), self.operator.shape[1]))
        height = max(1, BLOCK_VALUES // N)
        for cut in cuts(0, len(chosen), height):
            # Not one call for each row: their distances are one product.
            points = self.operator.matrix_.X.some(self.some[cut])
            self.block[cut] = self.operator.with_rows(points).to_dense()
        if self.count:
            known = self.factor[: self.count]
            self.block -= known[:, self.some].T @ known
        return self.share * (self.block**2).sum(axis=0)

    def pairs(self, covariance):
        """``sum_z k(z, .) c_z`` and ``sum_z c_z^2`` over the rows of `start_pairs`."""
        c = covariance[self.some]
        out, known = c @ self.block, self.factor[self.start : self.count]
        if len(known):
            out -= (known[:, self.some] @ c) @ known
        return self.share * out, self.share * float(c @ c)


class FeatureRows:
    """Covariances of rows that are inner products of features; see `KernelRows`.

    Parameters
    ----------
    features : array of shape (N, p), float64
    noise : float
    device : Device
    """

    def __init__(self, features, noise, device):
        self.device, self.features, self.noise = device, features, noise
        self.variance = (features**2).sum(axis=1)
        self.prior = self.variance.copy()
        self.factor = device.xp.empty((features.shape[1], 0))
        self.count = 0

    def centred(self):
        """The same for distances alone, which then lose fewer digits."""
        apart = self.features - self.features.mean(axis=0)
        return FeatureRows(apart, self.noise, self.device)

    def condition_on(self, first):
        """Condition on all rows from `first` on: by features of the same number."""
        xp, linalg = self.device.xp, self.device.linalg
        train, at = self.features[first:], xp.arange(self.features.shape[1])
        gram = train.T @ train
        gram[at, at] += self.noise
        R = _factored(gram, linalg)
        features = linalg.solve_upper(R, self.features.T, transposed=True).T
        self.features = xp.ascontiguousarray(features) * self.noise**0.5
        self.variance = (self.features**2).sum(axis=1)

    def reserve(self, size):
        """Room for so many rows more."""
        self.factor = self.device.xp.empty((self.features.shape[1], size))

    def covariance(self, index):
        """Of a row, shape (N,), or of a slice of them, shape (b, N)."""
        return self._left(self.features[index]) @ self.features.T

    def condition(self, row, covariance):
        """Condition on one row more, whose `covariance` this is."""
        spread = float(covariance[row]) + self.noise
        self.factor[:, self.count] = self._left(self.features[row]) / spread**0.5
        self.count += 1
        self.variance = _less(self.variance, covariance, spread, self.device.xp)

    def rewind(self):
        """Forget all of `condition`; `variance` is not brought back."""
        self.count = 0

    def sums(self, weights):
        """``sum_z weights_z k(z, .)`` over all rows z."""
        return self.features @ self._left(weights @ self.features)

    def start_pairs(self, random_state):
        """Squared covariances of each row with all, summed."""
        gram = self.features.T @ self.features
        return ((self.features @ gram) * self.features).sum(axis=1)

    def pairs(self, covariance):
        """``sum_z k(z, .) c_z`` and ``sum_z c_z^2``."""
        return self.sums(covariance), float(covariance @ covariance)

    def _left(self, vectors):
        """What conditioning leaves of vectors of features."""
        known = self.factor[:, : self.count]
        return vectors - (vectors @ known) @ known.T


def _factored(A, linalg):
    try:
        return linalg.cholesky(A)
    except np.linalg.LinAlgError:
        raise ValueError(
            "noise is so small that rounding makes the matrix of the training rows "
            "singular: set a larger one"
        ) from None


def _less(variance, covariance, spread, xp):
    """Variances after one more row; those beyond the columns are left."""
    W = len(covariance)
    variance = variance.copy()
    variance[:W] = xp.maximum(variance[:W] - covariance**2 / spread, 0.0)
    return variance


def cuts(start, stop, height):
    return [slice(a, min(a + height, stop)) for a in range(start, stop, height)]
