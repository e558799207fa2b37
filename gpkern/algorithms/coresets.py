"""Coresets: their distance to a sample, herding, and weights."""

from __future__ import annotations

import numpy as np
from scipy import linalg, optimize

from . import greedy
from .halving import take_rows

# Dense rows of K that may be kept, in bytes.
KEPT_BYTES = 1 << 28


def distance_of(squared):
    """Root of a squared distance, which rounding may have left below 0.

    Raises
    ------
    ValueError
        When it is NaN or infinite.
    """
    if not np.isfinite(squared):
        raise ValueError(
            "kernel values overflow on this sample: scale X, or use a bounded kernel"
        )
    return float(np.sqrt(max(0.0, squared)))


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


def without_worst(operator, rows, mu, size):
    """Which of some rows remain when the worst are taken out one by one.

    Parameters
    ----------
    operator : KernelOperator
    rows : ndarray of int, shape (k,)
    mu : ndarray of shape (k,)
        Mean kernel value of each with the sample.
    size : int

    Returns
    -------
    ndarray of int
        Sorted places among the k.
    """
    get, kept = operator.device.get, np.ones(len(mu), bool)
    own = operator.with_samples(take_rows(operator, rows))
    dense = get(own.to_dense()) if 8 * len(rows) ** 2 <= KEPT_BYTES else None
    diagonal, sums = (
        get(a).astype(np.float64) for a in (own.diagonal(), own.row_sum())
    )
    total, means = sums.sum(), mu.sum()
    for k in range(len(mu) - 1, size - 1, -1):
        left = (total - 2.0 * sums + diagonal) / k**2 - 2.0 * (means - mu) / k
        worst = int(np.argmin(np.where(kept, left, np.inf)))
        kept[worst] = False
        total += diagonal[worst] - 2.0 * sums[worst]
        sums -= get(own.rows(worst)) if dense is None else dense[worst]
        means -= mu[worst]
    return np.flatnonzero(kept)


def herd(operator, size, mu, unique=True):
    """Rows chosen one by one, each the best for the mean of those before: herding.

    Parameters
    ----------
    operator, mu, unique
        Of `exchanges.exchange`.
    size : int

    Returns
    -------
    ndarray of int
    """
    xp = operator.device.xp
    mu, total = xp.asarray(mu, dtype=np.float64), xp.zeros(operator.shape[0])
    return greedy.choose(operator, total, size, 1.0, reward=mu, unique=unique)[0]


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
    K, mu = _scaled(K, mu)
    A = linalg.cholesky(K + 1e-12 * np.eye(len(K)))
    b = linalg.solve_triangular(A, mu, trans=1)
    # The sum as one more equation, of a weight that leaves it no slack to speak of.
    heavy = 1e4
    A, b = np.vstack([A, np.full(len(K), heavy)]), np.append(b, heavy)
    w = optimize.nnls(A, b, maxiter=30 * len(K) + 100)[0]
    return w / w.sum()


def affine_weights(K, mu):
    """Weights of least squared MMD that sum to 1, of any sign."""
    K, mu = _scaled(K, mu)
    sides = np.column_stack([mu, np.ones(len(K))])
    factor = linalg.cho_factor(K + 1e-12 * np.eye(len(K)))
    a, b = linalg.cho_solve(factor, sides).T
    out = a + b * (1.0 - a.sum()) / b.sum()
    return out / out.sum()


def _scaled(K, mu):
    """Both by the largest k(x, x), so that none is beyond what squares can hold."""
    scale = float(np.diagonal(K).max())
    if not 0.0 < scale < np.inf:
        raise ValueError("the kernel is 0, or overflows, on all chosen rows")
    return K / scale, mu / scale
