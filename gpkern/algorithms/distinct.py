"""Rows that occur more than once, as one row with their weight together."""

from __future__ import annotations

import numpy as np

from .._device import is_cupy

# Multipliers of the columns' bits: odd numbers, of one seed for all runs.
SEED = 20_260
# Share of distinct rows up to which copies are merged, and pairs of equal ones in a
# sample from which all rows are looked through.
MOST_DISTINCT, FEWEST_PAIRS = 0.9, 5


def merged_rows(X, weights, xp=np):
    """Distinct rows with the weight of all their copies, where there are many.

    A sample tells first whether it is worth the sorting: where a tenth of all rows are
    copies, it has about 25 pairs of equal ones.

    Parameters
    ----------
    X : array of shape (n, d)
        Of floats.
    weights : array of shape (n,)
    xp : module, default=numpy

    Returns
    -------
    rows : array of shape (k, d)
    weights : array of shape (k,)
    place : array of int, shape (n,), or None
        Which of these each row is; None where all are left as they were.
    """
    n = len(X)
    count = int(16 * np.sqrt(n))
    worth = True
    if count < n:
        few = np.unique(np.random.RandomState(SEED).randint(n, size=count))
        found, _ = distinct_rows(X[xp.asarray(few)], xp)
        worth = len(few) - len(found) >= FEWEST_PAIRS
    if worth:
        first, place = distinct_rows(X, xp)
        if len(first) <= MOST_DISTINCT * n:
            return X[first], xp.bincount(place, weights, minlength=len(first)), place
    return X, weights, None


def distinct_rows(X, xp=np):
    """The distinct rows of an array.

    Rows are told apart by a hash of their bits, which sorts as one number each, and
    then compared: two that share a hash by chance are found out.

    Parameters
    ----------
    X : array of shape (n, d)
        Of floats.
    xp : module, default=numpy
        The library of X.

    Returns
    -------
    first : array of int, shape (k,)
        A place of each distinct row, ascending.
    place : array of int, shape (n,)
        Which of these each row is.
    """
    X = xp.ascontiguousarray(X) + 0.0  # one zero, of the two that there are
    integer = {4: np.uint32, 8: np.uint64}[X.dtype.itemsize]
    bits = X.view(integer).astype(np.uint64)
    hashes = _hashes(bits, xp)
    _, first, place = xp.unique(hashes, return_index=True, return_inverse=True)
    place = place.reshape(-1)
    if not bool((X[first[place]] == X).all()):
        host = X.get() if is_cupy(X) else X
        _, first, place = np.unique(
            host, axis=0, return_index=True, return_inverse=True
        )
        first, place = xp.asarray(first), xp.asarray(place.reshape(-1))
    order = xp.argsort(first)
    rank = xp.empty_like(order)
    rank[order] = xp.arange(len(order))
    return first[order], rank[place]


def _hashes(bits, xp):
    """One number of 64 bits for each row."""
    draws = np.random.RandomState(SEED).randint(1, 2**62, bits.shape[1], np.int64)
    odd = xp.asarray(draws.astype(np.uint64) * np.uint64(2) + np.uint64(1))
    # The upper half of a product depends on all bits, the lower on few.
    mixed = bits * odd
    mixed = (mixed ^ (mixed >> np.uint64(29))) * odd[::-1]
    return mixed.sum(axis=1, dtype=np.uint64)
