"""Coresets: their distance to a sample, and rows exchanged until none is better."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import linalg, optimize

from .halving import take_rows

# Passes over a coreset, at most; far fewer are needed.
MOST_PASSES = 100
# Rows of K that may be kept while rows are exchanged, in bytes.
KEPT_BYTES = 1 << 28


@dataclass
class Coreset:
    """Rows that stand for a sample.

    Attributes
    ----------
    rows : ndarray of int, shape (s,)
    path : list of float
        ``mean k(C, C) - 2 mean mu(C)`` after each pass.
    """

    rows: np.ndarray
    path: list = field(default_factory=list)


def objective(operator, rows, mu):
    """``mean k(C, C) - 2 mean mu(C)``: the squared MMD less a constant.

    Parameters
    ----------
    operator : KernelOperator
    rows : ndarray of int, shape (s,)
        The coreset.
    mu : ndarray of shape (n,)
        Mean kernel value of each row with the sample.
    """
    own = operator.with_samples(take_rows(operator, rows))
    return own.total() / len(rows) ** 2 - 2.0 * float(mu[rows].mean())


def block(operator, rows):
    """The dense K of some rows with each other, on the host; float64."""
    own = operator.with_samples(take_rows(operator, rows))
    return operator.device.get(own.to_dense()).astype(np.float64)


def without_worst(K, mu, size):
    """Which rows remain when the worst are taken out one by one.

    Parameters
    ----------
    K : ndarray of shape (k, k)
    mu : ndarray of shape (k,)
    size : int

    Returns
    -------
    ndarray of int
        Sorted places among the k.
    """
    kept = np.ones(len(mu), bool)
    sums, total, means = K.sum(axis=1), K.sum(), mu.sum()
    for k in range(len(mu) - 1, size - 1, -1):
        left = (total - 2.0 * sums + np.diagonal(K)) / k**2 - 2.0 * (means - mu) / k
        worst = int(np.argmin(np.where(kept, left, np.inf)))
        kept[worst] = False
        total += K[worst, worst] - 2.0 * sums[worst]
        sums -= K[:, worst]
        means -= mu[worst]
    return np.flatnonzero(kept)


def exchange(operator, rows, mu, passes=None, unique=True):
    """Exchange each row of a coreset for the best one, until nothing improves.

    Parameters
    ----------
    operator : KernelOperator
        K of all rows that may be chosen, with each other; symmetric.
    rows : ndarray of int, shape (s,)
        The start.
    mu : array of shape (n,)
        Mean kernel value of each row with the sample to stand for.
    passes : int, default=None
        At most; None until a pass changes nothing.
    unique : bool, default=True
        Whether a row may be in the coreset only once.

    Returns
    -------
    Coreset
    """
    xp, size = operator.device.xp, len(rows)
    mu = xp.asarray(mu, dtype=np.float64)
    kind = DenseExchange if DenseExchange.serves(operator) else RowExchange
    work, path = kind(operator, rows, mu, unique), []
    for _ in range(MOST_PASSES if passes is None else passes):
        changed = work.run()
        chosen = xp.asarray(work.rows)
        inner = float(work.total[chosen].sum()) / size**2
        path.append(inner - 2.0 * float(mu[chosen].mean()))
        if not changed:
            break
    return Coreset(operator.device.get(work.rows), path)


class RowExchange:
    """Passes of `exchange` by rows of K, which are computed when they are needed.

    Attributes
    ----------
    rows : ndarray of int, shape (s,)
    total : array of shape (n,)
        Sum of the rows of K in the coreset.
    """

    def __init__(self, operator, rows, mu, unique):
        xp, n = operator.device.xp, operator.shape[0]
        self.operator, self.mu, self.unique = operator, mu, unique
        self.diagonal = operator.diagonal().astype(np.float64)
        self.rows, self.taken = np.array(rows), xp.zeros(n)
        self.kept = {}
        self.keep = 8 * len(rows) * n <= KEPT_BYTES
        self.total = sum(self._row(t) for t in range(len(rows)))
        if unique:
            self.taken[xp.asarray(rows)] = np.inf

    def _row(self, place):
        if place not in self.kept:
            row = self.operator.rows(int(self.rows[place])).astype(np.float64)
            if not self.keep:
                return row
            self.kept[place] = row
        return self.kept[place]

    def run(self):
        """One pass; whether anything was exchanged."""
        changed, size = False, len(self.rows)
        for t in range(size):
            old = int(self.rows[t])
            self.total -= self._row(t)
            self.taken[old] = 0.0
            means = self.total / size - self.mu
            gain = self.diagonal / size + 2.0 * means + self.taken
            best = int(gain.argmin())
            # Of equals the present one stays: no exchange without a gain.
            if best != old and float(gain[best]) < float(gain[old]):
                self.rows[t], changed = best, True
                self.kept.pop(t, None)
            self.total += self._row(t)
            if self.unique:
                self.taken[int(self.rows[t])] = np.inf
        return changed


class DenseExchange:
    """The same on a GPU, a pass in one launch, where K itself fits its memory."""

    def __init__(self, operator, rows, mu, unique):
        xp, n = operator.device.xp, operator.shape[0]
        self.walks, self.K, self.mu = operator.device.walks, operator.to_dense(), mu
        self.diagonal, self.unique = operator.diagonal(), unique
        self.chosen = xp.asarray(rows, dtype=np.int64).reshape(1, -1)
        self.sums = self.K[self.chosen[0]].sum(axis=0).reshape(1, n)
        self.taken = xp.zeros((1, n), np.int8)
        self.taken[0, self.chosen[0]] = 1

    @staticmethod
    def serves(operator):
        """Whether there is a GPU with room for K, in float64."""
        device, n = operator.device, operator.shape[0]
        fits = 8 * n * n <= device.dense_bytes()
        return device.name != "cpu" and operator.dtype == np.float64 and fits

    @property
    def rows(self):
        """See `RowExchange`."""
        return self.chosen[0]

    @property
    def total(self):
        """See `RowExchange`."""
        return self.sums[0]

    def run(self):
        """One pass; whether anything was exchanged."""
        state = self.mu, self.chosen, self.sums, self.taken
        return bool(self.walks.exchange(self.K, self.diagonal, *state, self.unique)[0])


def herd(operator, size, mu, unique=True):
    """Rows chosen one by one, each the best for the mean of those before: herding.

    Parameters
    ----------
    operator, mu, unique
        Of `exchange`.
    size : int

    Returns
    -------
    ndarray of int
    """
    xp, rows = operator.device.xp, np.empty(size, int)
    mu = xp.asarray(mu, dtype=np.float64)
    total, taken = xp.zeros(operator.shape[0]), xp.zeros(operator.shape[0])
    for t in range(size):
        rows[t] = int((mu - total / (t + 1) - taken).argmax())
        total += operator.rows(int(rows[t])).astype(np.float64)
        if unique:
            taken[int(rows[t])] = np.inf
    return rows


def simplex_weights(K, mu):
    """Weights of least squared MMD that are not negative and sum to 1.

    Parameters
    ----------
    K : ndarray of shape (s, s)
        Of the coreset.
    mu : ndarray of shape (s,)

    Returns
    -------
    ndarray of shape (s,)
    """
    scale = float(np.diagonal(K).max())
    A = linalg.cholesky(K + 1e-12 * scale * np.eye(len(K)))
    b = linalg.solve_triangular(A, mu, trans=1)
    # The sum as one more equation, of a weight that leaves it no slack to speak of.
    heavy = 1e4 * np.sqrt(scale)
    A, b = np.vstack([A, np.full(len(K), heavy)]), np.append(b, heavy)
    w = optimize.nnls(A, b, maxiter=30 * len(K) + 100)[0]
    return w / w.sum()


def affine_weights(K, mu):
    """Weights of least squared MMD that sum to 1, of any sign."""
    K = K + 1e-12 * float(np.diagonal(K).max()) * np.eye(len(K))
    a, b = linalg.solve(K, np.column_stack([mu, np.ones(len(K))]), assume_a="pos").T
    return a + b * (1.0 - a.sum()) / b.sum()
