"""Two samples: the squared distance of their kernel means, and its replicates."""

from __future__ import annotations

import numpy as np

from .._signs import RandomSigns

# Numbers that are worked on at a time.
CHUNK = 1 << 24


def permutations(n, m, count, rng):
    """Signs that tell n + m rows apart into n of +1 and m of -1 at random.

    Returns
    -------
    ndarray of int8, shape (n + m, count)
    """
    out = np.full((n + m, count), -1, np.int8)
    for b in range(count):
        out[rng.permutation(n + m)[:n], b] = 1
    return out


def swaps(n, count, rng):
    """Signs of n pairs of rows, +1 where a pair stays and -1 where it is swapped.

    The rows of the first sample come first; those of a pair have opposite signs.

    Returns
    -------
    ndarray of int8, shape (2 n, count)
    """
    signs = RandomSigns(n, count, rng).rows(0, n, np, np.int8)
    return np.concatenate([signs, -signs])


def group_signs(n, m):
    """The signs of the samples themselves, shape (n + m, 1)."""
    return np.repeat(np.array([1, -1], np.int8), [n, m])[:, None]


def squared_distances(sums, signs, kind):
    """Squared MMD of the two groups that signs make of the rows.

    With ``e`` the signs, and K without its diagonal, the sum of K over the pairs of
    group +1 is ``(e'Ke + 2 e'K1 + 1'K1) / 4``, and the others follow from the sums of
    the rows: one product serves all three blocks.

    Parameters
    ----------
    sums : PairSums or GramSums
        Of all rows.
    signs : ndarray of int8, shape (N, b)
    kind : {"u", "v"}
        Without or with pairs of a row with itself.

    Returns
    -------
    ndarray of shape (k, b)
    """
    get = sums.device.get
    apart, own = get(sums.row_sums - sums.diagonals), get(sums.diagonals)
    forms, along = sums.forms(signs), _products(apart, signs)
    total = apart.sum(axis=1)[:, None]
    first = (forms + 2.0 * along + total) / 4.0
    second = (forms - 2.0 * along + total) / 4.0
    between = (total - forms) / 4.0
    n = (signs == 1).sum(axis=0).astype(np.float64)
    m = len(signs) - n
    if kind == "u":
        inside = first / (n * (n - 1.0)) + second / (m * (m - 1.0))
    else:
        diagonal, trace = _products(own, signs), own.sum(axis=1)[:, None]
        inside = (first + (trace + diagonal) / 2.0) / n**2
        inside += (second + (trace - diagonal) / 2.0) / m**2
    return inside - 2.0 * between / (n * m)


def swapped_distances(sums, signs, between):
    """Replicates of squared MMD (U) whose pairs of rows were swapped, shape (k, b).

    Parameters
    ----------
    sums : PairSums or GramSums
    signs : ndarray of int8, shape (2 n, b)
        Of `swaps`.
    between : ndarray of shape (k,)
        Sums of ``k(x_i, y_i)`` over the pairs, which count with no sign.
    """
    n = len(signs) // 2
    return (sums.forms(signs) + 2.0 * between[:, None]) / (n * (n - 1.0))


def _products(rows, signs):
    """``rows @ signs`` in float64, some columns at a time."""
    out, width = np.empty((len(rows), signs.shape[1])), max(1, CHUNK // len(signs))
    for a in range(0, signs.shape[1], width):
        out[:, a : a + width] = rows @ signs[:, a : a + width].astype(np.float64)
    return out
