"""Kernel halving: split points into two halves whose kernel means nearly agree.

Points are taken in pairs, and each pair's two points go to different halves, by a
self-balancing walk (Dwivedi & Mackey 2021, "Kernel thinning", algorithm 1a with its
adaptive thresholds): a coin that is biased against the halves' present imbalance.
Problems of one size are worked on together, which is what a GPU needs.
"""

from __future__ import annotations

import numpy as np

from .._groups import group_blocks, group_products, groups_within, take_rows

# Pairs that are decided on one tile of the kernel matrix, and on a CPU all of a small
# problem.
BLOCK_PAIRS, SMALL_PAIRS = 256, 768

__all__ = ["halve", "halve_all", "split", "take_rows", "walk"]


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
    return halve_all(operator, [order], [delta], random_state)[0]


def halve_all(operator, orders, deltas, random_state):
    """`halve` of several sets of rows.

    Parameters
    ----------
    operator, random_state
        Of `halve`.
    orders : list of ndarray of int
    deltas : list of float

    Returns
    -------
    list of (left, right)
    """
    coins = [random_state.random_sample(len(order) // 2) for order in orders]
    signs = walk(operator, orders, deltas, coins)
    return [
        _halves(order, s, random_state) for order, s in zip(orders, signs, strict=True)
    ]


def _halves(order, signs, random_state):
    p, q = order[: 2 * len(signs) : 2], order[1 : 2 * len(signs) : 2]
    left, right = np.where(signs > 0, p, q), np.where(signs > 0, q, p)
    if len(order) % 2:
        if random_state.randint(2):
            left = np.append(left, order[-1])
        else:
            right = np.append(right, order[-1])
    return left, right


def walk(operator, orders, deltas, coins):
    """Signs of the pairs of each set: +1 where the first of them goes left.

    Parameters
    ----------
    operator, orders, deltas
        Of `halve_all`.
    coins : list of ndarray
        A uniform random number for each pair of each set.

    Returns
    -------
    list of ndarray
    """
    pairs, signs = np.array([len(c) for c in coins]), [np.empty(0)] * len(coins)
    for h in np.unique(pairs[pairs > 0]):
        alike = np.flatnonzero(pairs == h)
        factors = 2.0 * np.log(4.0 * h / np.array([deltas[i] for i in alike]))
        each = groups_within(operator, 2 * min(h, _block_size(operator, h)))
        for cut in range(0, len(alike), each):
            some = alike[cut : cut + each]
            found = _walk_together(
                operator,
                np.stack([orders[i][: 2 * h] for i in some]),
                np.stack([coins[i] for i in some]),
                factors[cut : cut + each],
            )
            for i, s in zip(some, found, strict=True):
                signs[i] = s
    return signs


def _block_size(operator, pairs):
    small = operator.device.name == "cpu" and pairs <= SMALL_PAIRS
    return int(pairs) if small else BLOCK_PAIRS


def _walk_together(operator, orders, coins, factors):
    """`walk` of sets of one size, stacked.

    Each entry of the kernel matrix is computed once, and only those within a block of
    pairs are held.
    """
    device, (count, pairs) = operator.device, coins.shape
    xp = device.xp
    orders, coins, factors = (xp.asarray(a) for a in (orders, coins, factors))
    signs, balance = xp.empty((count, pairs)), xp.zeros((count, pairs))
    variance, size = xp.zeros(count), _block_size(operator, pairs)
    for a in range(0, pairs, size):
        b = min(a + size, pairs)
        block = orders[:, 2 * a : 2 * b]
        inner = group_blocks(operator, block)
        signs[:, a:b] = device.walks.decide(
            inner, balance[:, a:b], coins[:, a:b], factors, variance
        )
        if b < pairs:
            # What the block's points add up to at the points of the pairs to come.
            weights = xp.stack([signs[:, a:b], -signs[:, a:b]], axis=2)
            weights = weights.reshape(count, -1)
            ahead = group_products(operator, orders[:, 2 * b :], block, weights)
            balance[:, b:] += ahead[:, 0::2] - ahead[:, 1::2]
    return device.get(signs)


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
        shares = [delta * 2**j / rounds] * len(sets)
        halves = halve_all(operator, sets, shares, random_state)
        sets = [half for pair in halves for half in pair]
    return sets
