"""Factors of smooth kernels' matrices, whose rank is far below their size."""

from __future__ import annotations

import numpy as np

# Pivots after which it is judged whether few enough will do.
STRETCH = 32
# How much faster the trace may fall later than it has so far.
FASTER = 4.0
# Rows from which the norm of K is estimated.
NORM_ROWS = 32
# Bytes that a factor may take.
MOST_BYTES = 1 << 27
# Of k(x, x): what is left on the diagonal below which it is rounding.
ROUNDING = 1e-13


def pivoted_cholesky(operator, most, tolerance):
    """L with ``K = L.T @ L`` but for a positive semi-definite rest of small trace.

    Parameters
    ----------
    operator : KernelOperator
        Of a symmetric positive semi-definite matrix, on the CPU.
    most : int
        Rank from which a factor is of no use.
    tolerance : float
        Trace of the rest that is allowed, as a share of the norm of K, centred and
        without its diagonal.

    Returns
    -------
    ndarray of shape (rank, n), float64, or None
        None where the rank would be more than `most`, or K is not such a matrix.

    References
    ----------
    Harbrecht, Peters & Schneider (2012), On the low-rank approximation by the pivoted
    Cholesky decomposition.
    """
    left = operator.diagonal().astype(np.float64)
    n, least = len(left), ROUNDING * float(left.max(initial=0.0))
    if not (np.isfinite(left) & (left >= 0.0)).all():
        return None
    most = min(most, n, max(1, MOST_BYTES // (8 * n)))
    norm = _norm(operator, left)
    if norm is None:
        return None
    L, goal = np.empty((most, n)), tolerance * norm
    before = float(left.sum())
    for rank in range(len(L)):
        rest = float(np.maximum(left, 0.0).sum())
        if rest <= goal:
            return L[:rank]
        if rank % STRETCH == STRETCH - 1:
            if rest >= before or goal <= 0.0:
                return None
            more = STRETCH * np.log(rest / goal) / np.log(before / rest)
            if rank + more > FASTER * len(L):
                return None
            before = rest
        i = int(left.argmax())
        if left[i] <= least:
            return L[:rank]
        row = operator.rows(i).astype(np.float64)
        row -= L[:rank, i] @ L[:rank]
        row /= np.sqrt(left[i])
        L[rank] = row
        left -= row * row
        left[i] = 0.0
        if left.min() < -1e3 * least:
            return None
    return None


def _norm(operator, diagonal):
    """Norm of K off its diagonal and centred, from some of its rows; None where these
    show that K is not positive semi-definite.

    The centred part is what sums over two groups of rows see, and may be far smaller
    than K. The median row stands for all: a few with huge values would let the rest go.
    """
    n = operator.shape[0]
    some = np.unique(np.linspace(0, n - 1, NORM_ROWS).astype(int))
    K = np.stack([operator.rows(int(i)).astype(np.float64) for i in some])
    bound = np.sqrt(np.outer(diagonal[some], diagonal))
    if not (abs(K) <= bound * (1.0 + 1e-6)).all():
        return None
    own = np.arange(len(some)), some
    K[own] = 0.0
    K = K - K.mean(axis=1, keepdims=True) - K.mean(axis=0) + K.mean()
    K[own] = 0.0
    return float(np.sqrt(n * np.median((K * K).sum(axis=1))))
