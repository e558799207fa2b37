"""Graphs over blocks of rows: a result for each block, and sums over all of them."""

from __future__ import annotations

import string
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from dask.layers import ArrayBlockwiseDep

from .compute import gather

# Blocks that one task adds up.
WIDTH = 8


class Places(ArrayBlockwiseDep):
    """Of each block its number, its first row and the one after its last.

    As one more argument, of index "i", it says what block a task is given, as an array
    of shape (1, 3), and takes no task of its own.

    Parameters
    ----------
    lengths : tuple of int
        Of the blocks.
    """

    def __init__(self, lengths):
        super().__init__((lengths,))
        self.ends = np.cumsum(lengths, dtype=np.int64)

    def __getitem__(self, index):
        number, last = index[0], self.ends[index[0]]
        return np.array([[number, last - self.chunks[0][number], last]])

    def __dask_tokenize__(self):
        return type(self).__name__, self.chunks


def places(X):
    """`Places` of the blocks of rows of an array."""
    return Places(X.chunks[0])


def table_of(X):
    """The same of all blocks, shape (n_blocks, 3)."""
    found = places(X)
    return np.concatenate([found[(k,)] for k in range(len(found.ends))])


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
    total = _tree(parts)
    sources = [a for a in (X, *arrays) if a is not None]
    return gather(total, *sources).value


def _tree(parts):
    """The sum of the blocks of a one-dimensional array, added up in a tree."""
    name = f"sum-{uuid4().hex}"
    keys, layer, height = [(parts.name, k) for k in range(len(parts))], {}, 0
    while len(keys) > 1 or not height:
        groups = [keys[a : a + WIDTH] for a in range(0, len(keys), WIDTH)]
        keys = [(f"part-{name}", height, k) for k in range(len(groups))]
        keys = [(name,)] if len(groups) == 1 else keys
        layer.update(
            (key, (_add_all, group)) for key, group in zip(keys, groups, strict=True)
        )
        height += 1
    graph = HighLevelGraph.from_collections(name, layer, dependencies=[parts])
    return da.Array(graph, name, (), dtype=object, meta=np.empty((), object))


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
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _pairs(X, arrays):
    """Arguments of `da.blockwise`: arrays, and what their axes are called."""
    out = [X, "ix"[: X.ndim], places(X), "i"]
    for k, array in enumerate(arrays):
        if array is None:
            out += [None, None]
        else:
            axes = string.ascii_lowercase[k] + "y" if array.ndim > 1 else ""
            out += [array, "i" + axes[: array.ndim - 1]]
    return out


def _meta(X, ndim, dtype):
    """An empty array of the kind that the blocks are."""
    # Of CuPy's arrays NumPy's functions are CuPy's own.
    return np.empty_like(X._meta, shape=(0,) * ndim, dtype=dtype)
