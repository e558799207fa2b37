"""Weighted samples in blocks: moments, histograms, neighbours, rows drawn by weight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.random import sample_without_replacement

from .. import _device
from .._validation import check_rows
from ..algorithms import bandwidth as rules
from ..algorithms.whitening import Whitening
from .arrays import take
from .compute import gather
from .graphs import over_blocks, total_over_blocks
from .work import Sum, on_block, on_host


@dataclass(frozen=True)
class BlockedSample:
    """What the rules of bandwidths ask of a sample; see `bandwidth.Sample`.

    Rows that are alike are not merged.

    Attributes
    ----------
    rows : dask.array.Array of shape (n, d)
    weights : dask.array.Array of shape (n,)
        Of sum 1; rows of weight 0 have no part.
    device : Device
    """

    rows: Any
    weights: Any
    device: Any

    def __len__(self):
        return self.rows.shape[0]

    def positive(self):
        """Itself: rows of weight 0 add nothing."""
        return self

    @cached_property
    def moments(self):
        """`Moments` of all rows."""
        return total_over_blocks(_moments, self.rows, self.weights)

    @property
    def mean(self):
        """Shape (d,)."""
        return self.moments.mean

    def extremes(self):
        """The least and the largest value of each column."""
        return self.moments.low, self.moments.high

    def covariance(self, n_effective, diagonal=False):
        """See `bandwidth.covariance`."""
        left = max(1.0 - 1.0 / n_effective, 1e-300)
        C = self.moments.squares / left
        return np.diagonal(C).copy() if diagonal else 0.5 * (C + C.T)

    def standardized(self, spread):
        """Rows less their mean, by so much, lazily."""
        return whitened(self.rows, Whitening(self.mean, spread), np.float64)

    def plug_in(self):
        """The bandwidth "isj" of one column."""
        low, high = (float(v[0]) for v in self.extremes())
        margin = 0.5 * (high - low)
        ends = low - margin, high + margin
        counts = total_over_blocks(_counts, self.rows, self.weights, ends=ends)
        n = 1.0 / float(gather((self.weights**2).sum()))
        return rules.fixed_point(counts, ends[1] - ends[0], n)

    def nearest(self, points, rng):
        """Median distance from some points to the nearest other, by root columns."""
        n, d = points.shape
        chosen = some_of(n, rules.MOST_ROWS, rng)
        found = total_over_blocks(
            _distances, points, chosen=chosen, some=take(points, chosen)
        )
        median = float(np.median(found))
        if not median > 0:
            raise ValueError(
                "bandwidth='nn' is 0, as half of the rows have copies, which are not "
                "merged in a Dask array: set a number, or use 'scott'"
            )
        return median / np.sqrt(d)


def whitened(X, whitening, dtype, farthest=np.inf):
    """Rows in units of a bandwidth, lazily.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    whitening : Whitening
    dtype : dtype
        Of the result.
    farthest : float
        An error for rows that are further from 0, in these units.
    """
    how = {"whitening": whitening, "kind": np.dtype(dtype), "farthest": farthest}
    return over_blocks(_whitened, X, shape=(X.shape[1],), dtype=dtype, **how)


def _whitened(rows, place, whitening, kind, farthest):
    with on_block(place):
        rows = check_rows(rows).astype(kind)
        rows = whitening.into(rows, _device.select(None, rows).xp)
        size = float(abs(rows).max())
        if size > farthest:
            raise ValueError(
                f"X has values {size:.1g} bandwidths from the mean of the sample, "
                f"whose squares overflow in {kind}: remove or clip them, or pass X as "
                "float64"
            )
        return rows


@dataclass(frozen=True)
class Moments:
    """Of weighted rows; those of two parts add up without a loss of digits.

    Attributes
    ----------
    weight : float
    mean, low, high : ndarray of shape (d,)
    squares : ndarray of shape (d, d)
        Weighted sums of products of differences from the mean.
    """

    weight: float
    mean: Any
    low: Any
    high: Any
    squares: Any

    @property
    def value(self):
        """Itself, as what blocks are reduced to."""
        return self

    def __add__(self, other):
        if self.weight == 0 or other.weight == 0:
            return other if self.weight == 0 else self
        weight = self.weight + other.weight
        away, share = other.mean - self.mean, other.weight / weight
        squares = self.squares + other.squares
        with np.errstate(over="ignore", invalid="ignore"):  # of which the caller tells
            squares = squares + self.weight * share * np.outer(away, away)
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        return Moments(weight, self.mean + share * away, low, high, squares)


def _moments(rows, place, weights):
    with on_block(place):
        rows, weights = on_host(check_rows(rows)), on_host(weights)
        rows, weights = rows[weights > 0].astype(np.float64), weights[weights > 0]
        if not len(rows):
            nothing = np.zeros(rows.shape[1])
            return Moments(0.0, nothing, nothing, nothing, np.diag(nothing))
        low, high, total = rows.min(axis=0), rows.max(axis=0), float(weights.sum())
        mean = weights @ rows / total
        away = rows - mean
        with np.errstate(over="ignore", invalid="ignore"):
            squares = (away * weights[:, None]).T @ away
        return Moments(total, mean, low, high, squares)


def _counts(rows, place, weights, ends):
    x = on_host(rows)[:, 0].astype(np.float64)
    return Sum(np.histogram(x, rules.BINS, ends, weights=on_host(weights))[0])


class _Least(Sum):
    """The smaller of two arrays."""

    def __add__(self, other):
        return _Least(np.minimum(self.value, other.value))


def _distances(points, place, chosen, some):
    """From chosen points to the nearest of a block, which is not the same one."""
    _, first, last = place[0]
    found = NearestNeighbors(n_neighbors=min(2, len(points))).fit(on_host(points))
    distances = found.kneighbors(some)[0]
    inside = (first <= chosen) & (chosen < last)
    second = distances[:, 1] if distances.shape[1] > 1 else np.inf
    return _Least(np.where(inside, second, distances[:, 0]))


def some_of(n, most, rng):
    """At most so many of n numbers by chance, ascending."""
    if n <= most:
        return np.arange(n)
    return np.sort(sample_without_replacement(n, most, random_state=rng))


def drawn(weights, count, rng):
    """At most so many rows, drawn by weight without putting back; ascending.

    Those with the largest ``log(weight) + Gumbel`` draws (Efraimidis & Spirakis 2006).

    Parameters
    ----------
    weights : dask.array.Array of shape (n,)
    count : int
    rng : RandomState
    """
    if count >= weights.shape[0]:
        return np.arange(weights.shape[0])
    seed = int(rng.randint(2**31 - 1))
    return np.sort(
        total_over_blocks(_race, weights, count=count, seed=seed)[:, 1]
    ).astype(np.int64)


class _Top:
    """The rows of two columns that are largest in the first."""

    def __init__(self, value, count):
        order = np.argsort(-value[:, 0], kind="stable")[:count]
        self.value, self.count = value[order], count

    def __add__(self, other):
        return _Top(np.concatenate([self.value, other.value]), self.count)


def _race(weights, place, count, seed):
    number, first, _ = (int(v) for v in place[0])
    weights = on_host(weights)
    kept = np.flatnonzero(weights > 0)
    draws = np.random.default_rng([seed, number]).gumbel(size=len(weights))
    keys = np.log(weights[kept]) + draws[kept]
    return _Top(np.stack([keys, kept + float(first)], axis=1), count)


def picked(weights, u):
    """Rows at places u of the cumulated weights, as of draws that are put back.

    Parameters
    ----------
    weights : dask.array.Array of shape (n,)
        Of sum 1.
    u : ndarray of shape (m,)
        Within [0, 1).
    """
    n_blocks = weights.numblocks[0]
    sums = total_over_blocks(_block_sums, weights, n_blocks=n_blocks)
    ends = np.cumsum(sums)
    u = u * ends[-1]
    block = np.minimum(np.searchsorted(ends, u, side="right"), n_blocks - 1)
    how = {"block": block, "rest": u - (ends - sums)[block]}
    return total_over_blocks(_picked, weights, **how)


def _block_sums(weights, place, n_blocks):
    sums = np.zeros(n_blocks)
    sums[int(place[0, 0])] = on_host(weights).sum()
    return Sum(sums)


def _picked(weights, place, block, rest):
    number, first, _ = (int(v) for v in place[0])
    found, mine = np.zeros(len(block), np.int64), block == number
    if mine.any():
        weights = on_host(weights)
        last = np.flatnonzero(weights > 0)[-1]  # rounding goes no further
        place = np.searchsorted(np.cumsum(weights), rest[mine], side="right")
        found[mine] = first + np.minimum(place, last)
    return Sum(found)


def without(weights, chosen):
    """Weights of which some, ascending, are 0; lazily."""
    return over_blocks(_without, weights, shape=(), dtype=weights.dtype, chosen=chosen)


def _without(weights, place, chosen):
    _, first, last = (int(v) for v in place[0])
    weights = weights.copy()
    a, b = np.searchsorted(chosen, [first, last])
    weights[chosen[a:b] - first] = 0.0
    return weights
