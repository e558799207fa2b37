"""Graphs over blocks of rows: a result for each block, and sums over all of them."""

from __future__ import annotations

import string

import dask
import dask.array as da
import numpy as np

from .compute import gather

# Blocks that one task adds up.
WIDTH = 8


def places(X):
    """Of each block its number, its first row and the one after its last.

    As one more argument it says what block a task is given.

    Returns
    -------
    dask.array.Array of shape (n_blocks, 3)
    """
    ends = np.cumsum(X.chunks[0], dtype=np.int64)
    first = np.concatenate([[0], ends[:-1]])
    numbers = np.arange(len(ends))
    table = np.stack([numbers, first, ends], axis=1)
    return da.from_array(table, chunks=(1, 3), name=False)


def over_blocks(function, X, *arrays, shape, dtype, **held):
    """``function(rows, place, *parts, **held)`` of each block, put together.

    Parameters
    ----------
    function : callable
        Its result has a row for each of the block.
    X : dask.array.Array of shape (n, d)
    *arrays : dask.array.Array of shape (n, ...), or None
        Of the same blocks.
    shape : tuple of int
        Of a row of the result.
    dtype : dtype
    **held : object
        What all tasks are given, delayed or not.

    Returns
    -------
    dask.array.Array of shape (n, *shape)
    """
    trailing = string.ascii_uppercase[: len(shape)]
    return da.blockwise(
        function,
        "i" + trailing,
        *_pairs(X, arrays),
        new_axes=dict(zip(trailing, shape, strict=True)),
        concatenate=True,
        align_arrays=False,
        dtype=dtype,
        meta=_meta(X, 1 + len(shape), dtype),
        **held,
    )


def total_over_blocks(function, X, *arrays, **held):
    """The sum of ``function(rows, place, *parts, **held)`` over the blocks.

    Parameters
    ----------
    function : callable
        Returns a `Sum`.
    X, *arrays, **held
        Of `over_blocks`.

    Returns
    -------
    number, array, or tuple of these
        Computed: this runs the graph.
    """
    parts = da.blockwise(
        function,
        "i",
        *_pairs(X, arrays),
        adjust_chunks={"i": 1},
        concatenate=True,
        align_arrays=False,
        dtype=object,
        meta=np.empty(0, object),
        **held,
    )
    total = da.reduction(
        parts,
        chunk=_same,
        combine=_add,
        aggregate=_add,
        axis=0,
        concatenate=False,
        split_every=WIDTH,
        dtype=object,
        meta=np.empty((), object),
    )
    sources = [a for a in (X, *arrays) if a is not None]
    return gather(total, *sources).value


def delayed_blocks(X):
    """The blocks of an array with one chunk of columns, each as a delayed object."""
    # With an optimized graph they would not keep alive what workers hold of it.
    return list(X.to_delayed(optimize_graph=False).ravel())


def total_of(tasks, *sources):
    """The sum of what delayed tasks return, each a `Sum`; computed."""
    add = dask.delayed(_add_all, pure=False, traverse=False)
    while len(tasks) > 1:
        tasks = [add(tasks[a : a + WIDTH]) for a in range(0, len(tasks), WIDTH)]
    return gather(tasks[0], *sources).value


def _add_all(parts):
    return _add(parts, None, None)


def _pairs(X, arrays):
    """Arguments of `da.blockwise`: arrays, and what their axes are called."""
    out = [X, "ix"[: X.ndim], places(X), "ip"]
    for k, array in enumerate(arrays):
        if array is None:
            out += [None, None]
        else:
            axes = string.ascii_lowercase[k] + "y" if array.ndim > 1 else ""
            out += [array, "i" + axes[: array.ndim - 1]]
    return out


def _meta(X, ndim, dtype):
    """An empty array of the kind that the blocks are."""
    kind = type(X._meta).__module__.split(".")[0]
    if kind == "cupy":
        import cupy

        return cupy.empty((0,) * ndim, dtype)
    return np.empty((0,) * ndim, dtype)


def _same(part, axis, keepdims):
    return part


def _add(parts, axis, keepdims):
    """Sums of nested lists of parts, in their order."""
    if not isinstance(parts, list):
        return parts
    total = None
    for part in parts:
        part = _add(part, axis, keepdims)
        total = part if total is None else total + part
    return total
