"""Samples of hypothesis tests in blocks: rows, scores of a density, moments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from .. import _device
from .._validation import check_rows, working_dtype
from .arrays import aligned, check_blocks, collect
from .compute import gather, literal
from .graphs import over_blocks, total_over_blocks
from .work import on_block, on_host

# Rows that are gathered rather than worked on in blocks: all pairs of them take less
# time than the graph of their blocks.
FEW_ROWS = 5_000


def are_few(*samples):
    """Whether samples are small enough to be tested in the memory of the caller."""
    return sum(len(X) for X in samples) <= FEW_ROWS


def checked(X, name="X"):
    """Rows whose blocks are checked when they are computed, lazily; as floats.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    name : str
    """
    X = check_blocks(X, name)
    how = {"shape": X.shape[1:], "dtype": working_dtype(X)}
    return over_blocks(_checked, X, **how, name_of=name)


def whole(X, remedy, name="X"):
    """All rows of a Dask array in the memory of the caller; an error names the block.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    remedy : str
        What to do where they do not fit.
    name : str
    """
    return collect(checked(X, name), remedy)


def gathered(array, *sources):
    """What a Dask array comes to, as a NumPy array."""
    return on_host(gather(array, *sources))


def in_blocks(X, height):
    """A NumPy array as a Dask array with blocks of so many rows."""
    return da.from_array(X, chunks=(height, *X.shape[1:]), name=False)


def scores_of(X, target, scores=None):
    """Scores of a density at rows, in their blocks, float64, lazily.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
        Of `checked`.
    target : Target or None
        It is sent to the workers and asked there, block by block.
    scores : dask.array.Array or array-like of shape (n, d), default=None
        What to take without a target.

    Returns
    -------
    dask.array.Array of shape (n, d)
    """
    how = {"shape": X.shape[1:], "dtype": np.float64}
    if target is not None:
        # Part of the graph, so that a test that keeps the scores can be pickled.
        return over_blocks(_scored, X, **how, target=literal(target))
    scores = aligned(scores, X, "scores")
    if scores.shape != X.shape:
        raise ValueError(
            f"scores has shape {scores.shape} and X has {X.shape}: it must have one "
            "number for each entry of X, by the same coordinates"
        )
    if scores.dtype.kind not in "fiub":
        raise ValueError(f"scores must hold real numbers, not {scores.dtype}")
    return over_blocks(_checked, scores.astype(np.float64), **how, name_of="scores")


def stein_rows(X, scores):
    """Rows of a Stein kernel, points and scores side by side; float64, lazily."""
    how = {"shape": (X.shape[1] + scores.shape[1],), "dtype": np.float64}
    return over_blocks(_side_by_side, X, scores, **how)


def pair_values(kernel, first, second, operator):
    """``k(x_i, y_i)`` of two samples of as many rows, shape (n,), lazily.

    Parameters
    ----------
    kernel : Kernel
    first, second : dask.array.Array of shape (n, d)
    operator : DaskKernelOperator
        How values are computed: where, and of which dtype.
    """
    held = literal(operator.with_samples(first).with_kernel(kernel)._held_here())
    how = {"shape": (), "dtype": operator.dtype, "held": held}
    return over_blocks(_pair_values, first, aligned(second, first, "Y"), **how)


def moments_of(X, scores):
    """`Moments` of rows and their scores, in one pass."""
    return total_over_blocks(_moments, X, scores)


@dataclass(frozen=True)
class Moments:
    """What some successive rows are like; those of the next ones can be added.

    Attributes
    ----------
    n : int
    means, squares : ndarray of shape (2 d,)
        Of the columns of points and of scores: means, and sums of squared differences
        from these.
    lag : ndarray of shape (2 d,)
        Sums of products of successive differences.
    first, last : ndarray of shape (2 d,)
    are_equal : bool
        Whether all the points are the same.
    """

    n: int
    means: Any
    squares: Any
    lag: Any
    first: Any
    last: Any
    are_equal: bool

    @property
    def value(self):
        """Itself, as the value of a sum over blocks."""
        return self

    def __add__(self, other):
        n, d = self.n + other.n, len(self.means) // 2
        step = other.means - self.means
        means = self.means + step * (other.n / n)
        lag = self._lag_about(means) + other._lag_about(means)
        lag += (self.last - means) * (other.first - means)
        same = (self.first[:d] == other.first[:d]).all()
        return replace(
            self,
            n=n,
            means=means,
            squares=self.squares + other.squares + step**2 * (self.n * other.n / n),
            lag=lag,
            last=other.last,
            are_equal=bool(self.are_equal and other.are_equal and same),
        )

    def _lag_about(self, means):
        """`lag` of differences from other means."""
        step = means - self.means
        ends = self.first + self.last - 2.0 * self.means
        return self.lag + step * ends + (self.n - 1) * step**2

    @property
    def correlation(self):
        """The largest correlation of successive values of a column of points."""
        d = len(self.means) // 2
        lag, squares = self.lag[:d], self.squares[:d]
        moves = squares > 0
        return float((lag[moves] / squares[moves]).max()) if moves.any() else 0.0

    @property
    def spreads(self):
        """Standard deviations of all entries, of points and of scores."""
        both = np.reshape(self.means, (2, -1)), np.reshape(self.squares, (2, -1))
        return [
            float(np.sqrt(squares.mean() / self.n + means.var()))
            for means, squares in zip(*both, strict=True)
        ]


# ---------------------------------------------------------------------- on a worker


def _checked(rows, place, name_of):
    with on_block(place, name_of):
        return check_rows(rows, name_of)


def _scored(rows, place, target):
    with on_block(place):
        return target.score(rows)


def _side_by_side(rows, place, scores):
    xp = _device.select(None, rows).xp
    return xp.concatenate([xp.asarray(a, np.float64) for a in (rows, scores)], axis=1)


def _pair_values(rows, place, others, held):
    with on_block(place):
        cuts = held.cuts(rows)
        parts = [held.operator(rows[c], others[c]).diagonal() for c in cuts]
        return np.concatenate([on_host(part) for part in parts])


def _moments(rows, place, scores):
    with on_block(place):
        X = on_host(_side_by_side(rows, place, scores))
        means, points = X.mean(axis=0), X[:, : rows.shape[1]]
        apart = X - means
        return Moments(
            len(X),
            means,
            (apart**2).sum(axis=0),
            (apart[1:] * apart[:-1]).sum(axis=0),
            X[0],
            X[-1],
            bool((points == points[:1]).all()),
        )
