"""Checks of Dask arrays, and their rows as blocks."""

from __future__ import annotations

import os

import dask.array as da
import numpy as np

from .._validation import check_rows
from .compute import gather, persist
from .work import on_host


def from_frame(X):
    """The array of a Dask DataFrame or Series, its blocks counted; others unchanged.

    Counting takes a pass over the data.
    """
    if not hasattr(X, "to_dask_array"):
        return X
    # `lengths=True` counts the partitions of another, less optimized, expression.
    return X.to_dask_array().compute_chunk_sizes()


def check_blocks(X, name="X"):
    """A two-dimensional Dask array whose blocks are whole rows of real numbers.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
    name : str
        For messages.

    Returns
    -------
    dask.array.Array

    Raises
    ------
    ValueError
        The message names what to call on X first.
    """
    X = from_frame(X)
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: {name} must have shape "
            "(n_samples, n_features)"
        )
    check_lengths(X, name)
    if X.shape[1] == 0 or X.shape[0] == 0:
        raise ValueError(f"{name} must be a non-empty 2-D array, got {X.shape}")
    if X.numblocks[1] > 1:
        raise ValueError(
            f"{name} has {X.numblocks[1]} chunks across its columns, and rows must be "
            f"whole: {name}.rechunk({{1: -1}})"
        )
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {X.dtype}; it must hold real numbers")
    return X


def check_lengths(X, name):
    """An error for blocks of an unknown number of rows, or of none."""
    lengths = np.asarray(X.chunks[0], dtype=np.float64)
    if np.isnan(lengths).any():
        raise ValueError(
            f"{name} has chunks of unknown sizes: call {name}.compute_chunk_sizes() "
            "first, or to_dask_array(lengths=True) of a DataFrame"
        )
    empty = np.flatnonzero(lengths == 0)
    if len(empty) and X.shape[0]:
        raise ValueError(
            f"block {empty[0]} of {name} has no rows: leave it out, such as by "
            f"{name}.rechunk({{0: 'auto'}}), or repartition of a DataFrame"
        )


def aligned(array, X, name):
    """An array of rows as a Dask array with the blocks of X.

    Parameters
    ----------
    array : dask.array.Array, dask Series or ndarray of shape (n, ...)
    X : dask.array.Array of shape (n, d)
    name : str

    Returns
    -------
    dask.array.Array
        NumPy arrays are cut up, and their parts held by the workers.
    """
    array = from_frame(array)
    blocks = X.chunks[0]
    if isinstance(array, da.Array):
        if array.ndim:
            check_lengths(array, name)
        check_same_length(array, X, name)
        rest = dict.fromkeys(range(1, array.ndim), -1)
        return array.rechunk({0: blocks, **rest})
    array = np.asarray(array)
    check_same_length(array, X, name)
    # Under a name of its own: one by its contents could be that of an array which is
    # about to be forgotten.
    chunks = (blocks, *array.shape[1:])
    return persist(da.from_array(array, chunks=chunks, name=False))


def check_same_length(array, X, name):
    """An error for another number of rows than X has."""
    n = array.shape[0] if array.ndim else 1
    if n != X.shape[0]:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: "
            f"[{X.shape[0]}, {n}]: X and {name}"
        )


def take(X, rows):
    """Some rows, as a NumPy array.

    Parameters
    ----------
    X : dask.array.Array of shape (n, ...)
    rows : ndarray of int
        Sorted.
    """
    out = on_host(gather(X[rows], X))
    if out.dtype.kind == "f" and not np.isfinite(out).all():
        bad = rows[int(np.argmin(np.isfinite(out.reshape(len(out), -1)).all(axis=1)))]
        ends = np.cumsum(X.chunks[0])
        number = int(np.searchsorted(ends, bad, side="right"))
        raise ValueError(
            f"block {number} (rows {ends[number] - X.chunks[0][number]} to "
            f"{ends[number] - 1}): the input contains NaN or infinity, in row {bad}"
        )
    return out


def collect(X, remedy):
    """All rows, as a NumPy array.

    Raises
    ------
    MemoryError
        Where they would take more than half of this machine's memory.
    """
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if X.nbytes > room:
        raise MemoryError(
            f"the rows take {X.nbytes / 2**30:.1f} GiB, more than half of the memory "
            f"here: {remedy}"
        )
    rows = check_rows(on_host(gather(X, X)))
    return np.ascontiguousarray(rows)
