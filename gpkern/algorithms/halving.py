"""Kernel halving: split points into two halves whose kernel means nearly agree.

Points are taken in pairs, and each pair's two points go to different halves, by a
self-balancing walk (Dwivedi & Mackey 2021, "Kernel thinning", algorithm 1a with its
adaptive thresholds): a coin that is biased against the halves' present imbalance.
"""

from __future__ import annotations

import numpy as np
from numba import njit

# Pairs that are decided on one tile of the kernel matrix: all of a small problem.
BLOCK_PAIRS, SMALL_PAIRS = 256, 768


def halve(operator, order, delta, random_state):
    """Split some rows into two halves.

    Parameters
    ----------
    operator : KernelOperator
        K(X, X) in float64: digits lost in a pair's difference are lost for good.
    order : ndarray of int
        The rows; those at 2 i and 2 i + 1 are a pair. One that is left over at the end
        goes to either half.
    delta : float
        Probability that the halves' error exceeds its bound.
    random_state : RandomState
        Its numbers decide, so that devices agree up to rounding.

    Returns
    -------
    left, right : ndarray of int
        One row of each pair, and the other.
    """
    pairs = len(order) // 2
    p, q = order[: 2 * pairs : 2], order[1 : 2 * pairs : 2]
    signs = walk(operator, order[: 2 * pairs], delta, random_state)
    left, right = np.where(signs > 0, p, q), np.where(signs > 0, q, p)
    if len(order) % 2:
        if random_state.randint(2):
            left = np.append(left, order[-1])
        else:
            right = np.append(right, order[-1])
    return left, right


def walk(operator, order, delta, random_state):
    """Signs of the pairs: +1 where the first of them goes left.

    Each entry of the kernel matrix is computed once, and only those within a block
    of pairs are held.
    """
    pairs, device = len(order) // 2, operator.device
    signs, balance, variance = np.empty(pairs), np.zeros(pairs), 0.0
    coins = random_state.random_sample(pairs)
    rows = take_rows(operator, order)
    log_factor = 2.0 * np.log(2.0 * max(1, len(order)) / delta)
    size = pairs if pairs <= SMALL_PAIRS else BLOCK_PAIRS
    for a in range(0, pairs, max(1, size)):
        b = min(a + size, pairs)
        block = rows[2 * a : 2 * b]
        inner = device.get(operator.with_samples(block).to_dense())
        limits, variance = thresholds(pair_squares(inner), log_factor, variance)
        _decide(inner, balance[a:b], limits, coins[a:b], signs[a:b])
        if b < pairs:
            # What the block's points add up to at the points of the pairs to come.
            weights = np.stack([signs[a:b], -signs[a:b]], axis=1).ravel()
            ahead = operator.with_samples(rows[2 * b :], block)
            values = device.get(ahead @ device.xp.asarray(weights))
            balance[b:] += values[0::2] - values[1::2]
    return signs


def take_rows(operator, order):
    """Some of the rows of an operator's X, on its device."""
    X = operator.matrix_.X.raw(0, operator.shape[0])
    return X[operator.device.xp.asarray(order)]


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
    """The walk over the pairs of a block, whose `balance` counts all before them."""
    for i in range(signs.size):
        heads = coins[i] <= 0.5 * (1.0 + balance[i] / limits[i])
        signs[i] = -1.0 if heads else 1.0
        p, q = 2 * i, 2 * i + 1
        for j in range(i + 1, signs.size):
            same = K[p, 2 * j] + K[q, 2 * j + 1]
            other = K[p, 2 * j + 1] + K[q, 2 * j]
            balance[j] += signs[i] * (same - other)


def split(operator, order, rounds, delta, random_state):
    """All sets that so many rounds of halving leave, 2^rounds of them.

    Parameters
    ----------
    operator, order, random_state
        Of `halve`.
    rounds : int
    delta : float
        Shared among the rounds.

    Returns
    -------
    list of ndarray of int
    """
    sets = [order]
    for j in range(rounds):
        share = delta * 2**j / rounds
        halves = [halve(operator, s, share, random_state) for s in sets]
        sets = [half for pair in halves for half in pair]
    return sets
