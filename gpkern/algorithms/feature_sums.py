"""Tests of whether finitely many features of independent rows have the mean 0.

For features f of mean 0, ``|sum_i f_i|^2`` is a degenerate V-statistic, of which signs
make replicates (`gpkern.algorithms.resampling`). Of many rows, random groups are given
one sign each: their sums are independent and of mean 0 as well, so that the level
holds, and the products cost as much as those of so many rows.
"""

from __future__ import annotations

import numpy as np

from .._device import is_cupy, is_dask
from .._signs import RandomSigns

# Groups of rows. Pairs of rows within a group, one in so many, say nothing.
MOST_GROUPS = 1 << 14
# Signs that are held at a time.
SIGNS = 1 << 22


def group_size(n):
    """Rows of a group: 1 unless they are many."""
    return -(-n // MOST_GROUPS)


def scored_blocks(points, scores, order, entries, device):
    """Points and scores of whole groups, gathered in an order.

    Parameters
    ----------
    points, scores : array of shape (n, d)
        On the device, or on the host where they are too large for it.
    order : ndarray of whole numbers, on the host
        The rows, shuffled: one group after another.
    entries : float
        Rows of a block, nearly.
    device : Device

    Yields
    ------
    X, S : array of shape (height, d), float64
    """
    size = group_size(len(order))
    height = max(1, int(entries // size)) * size
    for a in range(0, len(order), height):
        at = order[a : a + height]
        yield tuple(
            device.xp.asarray(rows_at(m, at, device), dtype=np.float64)
            for m in (points, scores)
        )


def rows_at(array, at, device):
    """Rows of an array on the device; of data that is too large for it, these alone."""
    return device.put(array[device.xp.asarray(at) if is_cupy(array) else at])


def scored_at(points, scores, at, device):
    """Points and scores of some rows, on the device; of Dask arrays in one pass.

    Parameters
    ----------
    points, scores : array of shape (n, d)
    at : ndarray of whole numbers
    device : Device
    """
    if not is_dask(points):
        return tuple(rows_at(a, at, device) for a in (points, scores))
    from ..dask import arrays, sample_rows

    order, d = np.argsort(at, kind="stable"), points.shape[1]
    rows = np.empty((len(at), 2 * d))
    rows[order] = arrays.take(sample_rows.stein_rows(points, scores), at[order])
    return rows[:, :d], rows[:, d:]


def group_sums(F, size):
    """Sums of so many successive rows; the last ones may be fewer."""
    if size == 1:
        return F
    whole = len(F) // size * size
    out = F[:whole].reshape(-1, size, F.shape[1]).sum(axis=1)
    rest = F[whole:].sum(axis=0, keepdims=True)
    return np.concatenate([out, rest]) if whole < len(F) else out


def signed_test(sums, n, n_features, count, device, rng):
    """Squared length of the mean feature, and replicates with random signs.

    Parameters
    ----------
    sums : iterable of array of shape (height, n_features), float64
        Of the groups of n rows, on the device.
    n, n_features : int
    count : int
        Replicates.
    device : Device
    rng : RandomState

    Returns
    -------
    statistic : float
        Mean of ``f_i . f_j`` over pairs of rows in different groups, of any two rows
        where they are fewer than `MOST_GROUPS`: unbiased.
    replicates : ndarray of shape (count,), float64
        The same with a random sign for each group.
    """
    xp, size = device.xp, group_size(n)
    whole, rest = divmod(n, size)
    signs = RandomSigns(whole + (rest > 0), count, rng)
    total, signed = xp.zeros(n_features), xp.zeros((n_features, count))
    own, start = 0.0, 0
    height = max(1, SIGNS // count)
    for block in sums:
        for a in range(0, len(block), height):
            F = block[a : a + height]
            R = signs.rows(start, start + len(F), xp, np.float64)
            signed += F.T @ R
            total += F.sum(axis=0)
            own += float((F * F).sum())
            start += len(F)
    pairs = float(n) ** 2 - whole * float(size) ** 2 - float(rest) ** 2
    replicates = device.get((signed * signed).sum(axis=0) - own) / pairs
    return (float(total @ total) - own) / pairs, replicates
