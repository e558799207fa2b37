"""Compress: halving in near-linear time, from small sets of points to larger ones.

Shetty, Dwivedi & Mackey (2022), "Distribution compression in near-linear time": four
parts of a sample are compressed, put together, and halved. Each level has a quarter of
the sets of the one below, of twice the size, so that halving, quadratic by itself,
costs n log n kernel values in all.
"""

from __future__ import annotations

import numpy as np

from .coresets import objective, without_worst
from .halving import halve_all, split


def levels_of(n, oversampling):
    """How many times `compress` halves a sample of n rows."""
    levels = round(np.emath.logn(4, n / 4**oversampling))
    # Of parts of about the smallest size, and none of them empty.
    return max(0, min(levels, int(np.emath.logn(4, n))))


def compress(operator, order, oversampling, delta, random_state, levels=None):
    """Rows that stand for a sample, about ``2^oversampling sqrt(n)`` of them.

    Parameters
    ----------
    operator : KernelOperator
        Of `halving.halve`.
    order : ndarray of int
        The rows of the sample; any number.
    oversampling : int
        The larger, the better and slower: four times the kernel values for one more.
    delta : float
        Probability that the error exceeds its bound.
    random_state : RandomState
    levels : int, default=None
        How often the sample is halved; None for `levels_of` its rows.

    Returns
    -------
    ndarray of int
    """
    n, smallest = len(order), 4**oversampling
    levels = levels_of(n, oversampling) if levels is None else levels
    parts = np.array_split(order, 4**levels)
    for _ in range(levels):
        joined = [np.concatenate(parts[i : i + 4]) for i in range(0, len(parts), 4)]
        # The share of each halving in delta, among those of all levels.
        shares = [len(j) ** 2 * delta / (4.0 * smallest * levels * n) for j in joined]
        shares = np.minimum(shares, 0.5)
        halves = halve_all(operator, joined, shares, random_state)
        # Either half, so that errors cancel.
        parts = [pair[random_state.randint(2)] for pair in halves]
    return parts[0]


def thin(operator, splitter, order, size, mu, delta, random_state, unique=True):
    """The best of the sets that repeated halving leaves, cut down to a size.

    Parameters
    ----------
    operator, splitter : KernelOperator
        K of all rows by which the sets are compared, and that by which they are split.
    order : ndarray of int
        Rows to choose from, some of them perhaps more than once.
    size : int
    mu : ndarray of shape (n,)
        Mean kernel value of each row with the sample that is to be stood for.
    delta : float
    random_state : RandomState
    unique : bool, default=True
        Whether a row may be chosen only once.

    Returns
    -------
    ndarray of int
        Of so many rows.
    """
    rounds = int(np.floor(np.log2(len(order) / size)))
    sets = [order]
    if rounds > 0:
        sets = split(splitter, order, rounds, delta, random_state)
    if unique:
        sets = [np.unique(s) for s in sets]
    sets = [s for s in sets if len(s) >= size]
    sets.append(standard_start(order, size, operator.shape[0], unique))
    best = min(sets, key=lambda rows: objective(operator, rows, mu))
    if len(best) > size:
        best = best[without_worst(operator, best, mu[best], size)]
    return best


def standard(order, size):
    """Every k-th row, counted from the end: standard thinning."""
    return order[standard_places(len(order), size)]


def standard_places(n, size):
    """Which of n rows `standard` takes."""
    steps = np.arange(size, 0, -1) * (n / size)
    return np.maximum(np.ceil(n - steps), 0).astype(int)


def standard_start(order, size, n, unique):
    """`standard` of rows each as often as its weight has it, of n in all.

    Where rows must not be chosen twice, copies make room for others, those in `order`
    first.
    """
    found = standard(order, size)
    if not unique:
        return found
    found = np.unique(found)
    for others in (np.unique(order), np.arange(n)):
        others = np.setdiff1d(others, found, assume_unique=True)
        missing = min(size - len(found), len(others))
        if missing:
            found = np.append(found, standard(others, missing))
    return np.sort(found)
