"""Rows of a Dask array by their weights: those above 0, and random ones."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np

from .._validation import check_rows
from .compute import gather
from .graphs import delayed_blocks, places
from .work import on_block, on_host


def positive(X, weights):
    """Rows of a weight above 0.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    weights : dask.array.Array of shape (n,), or None
        In the blocks of X, not negative.

    Returns
    -------
    X : dask.array.Array of shape (m, d)
        These rows.
    numbers : dask.array.Array of int, shape (m,), or None
        Which they were; None where all are.
    share : dask.array.Array of shape (m,), or None
        Their weights, of sum 1.
    """
    if weights is None:
        return X, None, None
    numbers, counts = None, _of_each_block(_count, weights)
    if (counts < X.chunks[0]).any():
        numbers = da.arange(X.shape[0], chunks=(X.chunks[0],))
        X, numbers, weights = (
            _without_the_others(a, weights, counts) for a in (X, numbers, weights)
        )
    return X, numbers, weights / float(masses(weights).sum())


def all_but(rows, X):
    """Weights of the rows of a Dask array: 0 of some sorted ones, otherwise 1."""
    numbers = da.arange(X.shape[0], chunks=(X.chunks[0],))
    return numbers.map_blocks(_is_none_of, rows, dtype=np.float64)


def _is_none_of(numbers, rows):
    return np.isin(numbers, rows, assume_unique=True, invert=True).astype(np.float64)


def beside(X, y):
    """Rows ``[x, y]`` of two Dask arrays of the same blocks, in float64."""
    rows = da.concatenate([X.astype(np.float64), y.astype(np.float64)], axis=1)
    return rows.rechunk({1: -1})


def masses(weights):
    """Sum of the weights of each block, in float64."""
    return _of_each_block(_sum, weights)


def drawn(share, chances):
    """Rows as `RandomState.choice` draws them by their shares, sorted.

    Parameters
    ----------
    share : dask.array.Array of shape (n,)
    chances : ndarray of shape (k,)
        Numbers in [0, 1), each of which decides on a row.

    Returns
    -------
    ndarray of int, shape (k,)
    """
    mass = np.concatenate([[0.0], np.cumsum(masses(share))])
    ticks = np.sort(chances) * mass[-1]
    cuts = np.searchsorted(ticks, mass)
    first = np.concatenate([[0], np.cumsum(share.chunks[0], dtype=np.int64)])
    task = dask.delayed(_hit, pure=False, traverse=False)
    blocks = delayed_blocks(share)
    hit = [i for i in range(len(blocks)) if cuts[i] < cuts[i + 1]]
    found = [task(blocks[i], ticks[cuts[i] : cuts[i + 1]] - mass[i]) for i in hit]
    found = gather(found, share)
    return np.concatenate([first[i] + rows for i, rows in zip(hit, found, strict=True)])


def _without_the_others(array, weights, counts):
    """Rows of a weight above 0, so many of each block; empty blocks are left out."""
    axes = "ix"[: array.ndim]
    out = da.blockwise(
        _positive_rows,
        axes,
        *(array, axes, weights, "i", places(array), "i"),
        adjust_chunks={"i": tuple(int(c) for c in counts)},
        concatenate=True,
        align_arrays=False,
        dtype=array.dtype,
        meta=array._meta,
    )
    return out.blocks[np.flatnonzero(counts)]


def _positive_rows(rows, weights, place):
    if rows.ndim == 2:  # an error has the number that the block has here
        with on_block(place):
            rows = check_rows(rows)
    return rows[weights > 0]


def _of_each_block(function, array):
    """A number of each block of a Dask array of shape (n,), computed."""
    parts = array.map_blocks(function, chunks=((1,) * array.numblocks[0],), dtype="f8")
    return np.asarray(on_host(gather(parts, array)))


def _count(weights):
    return (weights > 0).sum(keepdims=True)


def _sum(weights):
    return weights.sum(dtype=np.float64, keepdims=True)


def _hit(weights, ticks):
    """Rows of a block at which these sums of weights are reached."""
    ends = np.cumsum(on_host(weights), dtype=np.float64)
    return np.minimum(np.searchsorted(ends, ticks, side="right"), len(ends) - 1)
