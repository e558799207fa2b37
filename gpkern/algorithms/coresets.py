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


def objective(K, mu):
    """``mean k(C, C) - 2 mean mu(C)``: the squared MMD less a constant.

    Parameters
    ----------
    K : ndarray of shape (s, s)
        Of the coreset.
    mu : ndarray of shape (s,)
        Mean kernel value of its rows with the sample.
    """
    return float(K.mean() - 2.0 * mu.mean())


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
    xp, size, n = operator.device.xp, len(rows), operator.shape[0]
    mu = xp.asarray(mu, dtype=np.float64)
    diagonal = operator.diagonal().astype(np.float64)
    rows, path = np.array(rows), []
    keep = 8 * size * n <= KEPT_BYTES
    kept = {}

    def row_of(place):
        if place not in kept:
            values = operator.rows(int(rows[place])).astype(np.float64)
            if not keep:
                return values
            kept[place] = values
        return kept[place]

    total = sum(row_of(t) for t in range(size))
    taken = xp.zeros(n)
    if unique:
        taken[xp.asarray(rows)] = np.inf
    for _ in range(MOST_PASSES if passes is None else passes):
        changed = False
        for t in range(size):
            old = int(rows[t])
            total -= row_of(t)
            taken[old] = 0.0
            gain = diagonal / size + 2.0 * (total / size - mu) + taken
            best = int(gain.argmin())
            # Of equals the present one stays: no exchange without a gain.
            if best != old and float(gain[best]) < float(gain[old]):
                rows[t], changed = best, True
                kept.pop(t, None)
            total += row_of(t)
            if unique:
                taken[int(rows[t])] = np.inf
        inner = float(total[xp.asarray(rows)].sum()) / size**2
        path.append(inner - 2.0 * float(mu[xp.asarray(rows)].mean()))
        if not changed:
            break
    return Coreset(rows, path)


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
