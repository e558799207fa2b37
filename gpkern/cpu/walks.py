"""What goes one step after another, on a CPU; `gpkern.gpu.walks` does the same."""

from __future__ import annotations

import numpy as np
from numba import njit


def decide(K, balance, coins, factors, variance):
    """The halving walk over the pairs of a block, for several problems.

    Parameters
    ----------
    K : array of shape (problems, 2 h, 2 h), float64
        Of the points; those at 2 i and 2 i + 1 are a pair.
    balance : array of shape (problems, h)
        What the signs of all pairs before add up to at each pair; overwritten.
    coins : array of shape (problems, h)
        Uniform random numbers.
    factors : array of shape (problems,)
        ``2 log(2 n / delta)``.
    variance : array of shape (problems,)
        Of the walks so far; updated.

    Returns
    -------
    array of shape (problems, h)
        +1 where the first of a pair goes left, -1 where the second does.
    """
    signs = np.empty(coins.shape)
    for p in range(len(K)):
        limits, variance[p] = thresholds(pair_squares(K[p]), factors[p], variance[p])
        _decide(K[p], balance[p], limits, coins[p], signs[p])
    return signs


def pair_squares(K):
    """``|k(p, .) - k(q, .)|^2`` of each pair, from the matrix of their points."""
    own = np.diagonal(K)
    return np.maximum(own[0::2] + own[1::2] - 2.0 * np.diagonal(K, 1)[0::2], 0.0)


@njit(cache=True)
def thresholds(squares, log_factor, variance=0.0):
    """How far the balance must be off for a coin to be decided.

    Grows with the sub-Gaussian constant of the walk so far.

    Parameters
    ----------
    squares : ndarray of shape (h,)
        Of `pair_squares`.
    log_factor : float
        ``2 log(2 n / delta)``.
    variance : float
        That of the pairs before.

    Returns
    -------
    limits : ndarray of shape (h,)
    variance : float
        The balance at x is sub-Gaussian with this, times k(x, x), while no limit is
        exceeded.
    """
    out = np.empty_like(squares)
    for i in range(squares.size):
        square = squares[i]
        limit = max(np.sqrt(variance * square * log_factor), square)
        if variance == 0.0:
            variance = square
        elif limit > 0.0:
            growth = 1.0 + (square / limit - 2.0) * variance / limit
            variance += square * max(0.0, growth)
        out[i] = limit if limit > 0.0 else 1.0
    return out, variance


@njit(cache=True)
def _decide(K, balance, limits, coins, signs):
    for i in range(signs.size):
        heads = coins[i] <= 0.5 * (1.0 + balance[i] / limits[i])
        signs[i] = -1.0 if heads else 1.0
        p, q = 2 * i, 2 * i + 1
        for j in range(i + 1, signs.size):
            same = K[p, 2 * j] + K[q, 2 * j + 1]
            other = K[p, 2 * j + 1] + K[q, 2 * j]
            balance[j] += signs[i] * (same - other)
