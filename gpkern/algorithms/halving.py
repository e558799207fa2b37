"""Kernel halving: split points into two halves whose kernel means nearly agree.

Points are taken in pairs, and each pair's two points go to different halves, by a
self-balancing walk (Dwivedi & Mackey 2021, "Kernel thinning", algorithm 1a with its
adaptive thresholds): a coin that is biased against the halves' present imbalance.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..operator import make_operator

# Pairs that are decided on one tile of the kernel matrix.
BLOCK_PAIRS = 64


def halve(kernel, X, order, delta, random_state, device):
    """Split some rows into two halves.

    Parameters
    ----------
    kernel : Kernel or callable
    X : array of shape (n, d)
        On the device.
    order : ndarray of int
        The rows; those at 2 i and 2 i + 1 are a pair. One that is left over at the end
        goes to either half.
    delta : float
        Probability that the halves' error exceeds its bound.
    random_state : RandomState
        Its numbers decide, so that devices agree up to rounding.
    device : Device

    Returns
    -------
    left, right : ndarray of int
        One row of each pair, and the other.
    """
    pairs = len(order) // 2
    p, q = order[: 2 * pairs : 2], order[1 : 2 * pairs : 2]
    signs = walk(kernel, X, order[: 2 * pairs], delta, random_state, device)
    left, right = np.where(signs > 0, p, q), np.where(signs > 0, q, p)
    if len(order) % 2:
        if random_state.randint(2):
            left = np.append(left, order[-1])
        else:
            right = np.append(right, order[-1])
    return left, right


def walk(kernel, X, order, delta, random_state, device):
    """Signs of the pairs: +1 where the first of them goes left.

    Memory is a strip of the kernel matrix; each entry is computed once.
    """
    pairs, xp = len(order) // 2, device.xp
    if not pairs:
        return np.empty(0)
    coins = random_state.random_sample(pairs)
    rows = X[xp.asarray(order)]
    # Pairs are differences of functions: digits lost here are lost for good.
    operator = make_operator(kernel, rows, None, device, dtype=np.float64)
    squares = pair_squares(operator, pairs)
    limits, _ = thresholds(squares, 2.0 * np.log(2.0 * len(order) / delta))
    signs, balance = np.empty(pairs), np.zeros(pairs)
    for a in range(0, pairs, BLOCK_PAIRS):
        b = min(a + BLOCK_PAIRS, pairs)
        K = operator.matrix_.tile(2 * a, 2 * b, 2 * a, 2 * pairs)
        own, inner = signs[a:b], device.get(K[:, : 2 * (b - a)])
        _decide(inner, balance[a:b], limits[a:b], coins[a:b], own)
        # What the block's points add up to at the points of the pairs to come.
        weights = np.stack([own, -own], axis=1).ravel()
        values = device.get(xp.asarray(weights) @ K[:, 2 * (b - a) :])
        balance[b:] += values[0::2] - values[1::2]
    return signs


def pair_squares(operator, pairs):
    """``|k(p, .) - k(q, .)|^2`` of each pair, on the host."""
    get, out = operator.device.get, np.empty(pairs)
    diagonal = get(operator.diagonal())
    for a in range(0, pairs, BLOCK_PAIRS):
        b = min(a + BLOCK_PAIRS, pairs)
        K = get(operator.matrix_.tile(2 * a, 2 * b, 2 * a, 2 * b))
        own = diagonal[2 * a : 2 * b]
        out[a:b] = own[0::2] + own[1::2] - 2.0 * np.diagonal(K, 1)[0::2]
    return np.maximum(out, 0.0)


@njit(cache=True)
def thresholds(squares, log_factor):
    """How far the balance must be off for a coin to be decided.

    Grows with the sub-Gaussian constant of the walk so far.

    Parameters
    ----------
    squares : ndarray of shape (h,)
        Of `pair_squares`.
    log_factor : float
        ``2 log(2 n / delta)``.

    Returns
    -------
    limits : ndarray of shape (h,)
    variance : float
        The balance at x is sub-Gaussian with this, times k(x, x), while no limit is
        exceeded.
    """
    out, variance = np.empty_like(squares), 0.0
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


def split(kernel, X, order, rounds, delta, random_state, device):
    """All sets that so many rounds of halving leave, 2^rounds of them.

    Parameters
    ----------
    kernel, X, order, random_state, device
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
        halves = [halve(kernel, X, s, share, random_state, device) for s in sets]
        sets = [half for pair in halves for half in pair]
    return sets
