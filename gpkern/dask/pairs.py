"""Reductions over pairs of blocks, or over blocks of columns."""

from __future__ import annotations

import string

import dask
import dask.array as da
import numpy as np

from .._device import is_dask
from . import work
from .arrays import aligned
from .compute import everywhere, gather, literal
from .graphs import delayed_blocks, places, table_of, total_of


def products(operator, rows, columns, V):
    """``K @ V`` where both sides are in blocks, lazily.

    Parameters
    ----------
    operator : DaskKernelOperator
    rows, columns : dask.array.Array
        Its sides, as they are where it is flipped.
    V : dask.array.Array of shape (m, c)
        In the blocks of the columns.
    """
    parts = da.blockwise(
        work.pair,
        "ijc",
        *(rows, "ix", places(rows), "i"),
        *(columns, "jx", places(columns), "j"),
        *(V, "jc"),
        adjust_chunks={"j": 1},
        concatenate=True,
        align_arrays=False,
        dtype=np.float64,
        meta=np.empty((0, 0, 0)),
        held=operator._held,
        flip=operator.flipped,
        is_sample=operator.Z is None,
    )
    return parts.sum(axis=1).astype(operator.dtype)


def merged(operator, arguments, merge, *, method, shape, dtype):
    """A method of K(X, Z), Z in blocks, its results merged over these.

    Parameters
    ----------
    operator : DaskKernelOperator
    arguments : tuple of dask.array.Array of shape (m, ...), or None
        In the blocks of Z.
    merge : callable
        Of results stacked along an axis, such as `np.sum`.
    method : str or callable
        Of `KernelOperator`, or a function of one; it takes the arguments.
    shape : tuple of int
        Of the result for a row.
    dtype : dtype

    Returns
    -------
    dask.array.Array, or ndarray where X is no Dask array
    """
    rows, columns = operator._sides
    trailing = string.ascii_uppercase[: len(shape)]
    given = []
    for k, array in enumerate(arguments):
        axis = string.ascii_lowercase[k]
        given += [array, None if array is None else ("j" + axis)[: array.ndim]]
    first, out = (None, None, None, None), "j"
    new_axes = dict(zip(trailing, shape, strict=True))
    if is_dask(rows):
        first, out = (rows, "ix", places(rows), "i"), "ji"
    else:
        out, new_axes = "jr", {"r": len(rows), **new_axes}
    parts = da.blockwise(
        work.of_pair,
        out + trailing,
        *first,
        *(columns, "jx", places(columns), "j"),
        *given,
        new_axes=new_axes,
        adjust_chunks={"j": 1},
        concatenate=True,
        align_arrays=False,
        dtype=dtype,
        meta=np.empty((0,) * (2 + len(shape)), dtype),
        held=operator._held,
        method=method,
        is_sample=operator.Z is None,
    )

    def put_together(part, axis, keepdims):
        out = merge(part, axis=axis[0])
        return np.expand_dims(out, axis[0]) if keepdims else out

    total = da.reduction(
        parts,
        chunk=put_together,
        aggregate=put_together,
        axis=0,
        dtype=dtype,
        meta=np.empty((0,) * (1 + len(shape)), dtype),
    )
    return total if is_dask(rows) else gather(total, columns)


def forms(operator, R, kernels):
    """``r' K r`` of each kernel and column of R; each pair of blocks once.

    Parameters
    ----------
    operator : DaskKernelOperator
        K(X, X).
    R : RandomSigns or array of shape (n, b)
    kernels : list of kernels

    Returns
    -------
    ndarray of shape (len(kernels), b), float64
    """
    X = operator.X
    table = table_of(X)
    blocks = delayed_blocks(X)
    if hasattr(R, "rows"):
        signs = everywhere(R)
        parts = [signs] * len(blocks)
    else:
        parts = delayed_blocks(aligned(R, X, "R"))
    held = everywhere(operator._with(kernel=kernels[0])._held_here())
    kernels = literal(list(kernels))
    form = dask.delayed(work.form, pure=False, traverse=False)
    tasks = [
        form(
            blocks[i],
            blocks[j],
            table[i : i + 1],
            table[j : j + 1],
            parts[i],
            parts[j],
            held,
            kernels,
        )
        for i in range(len(blocks))
        for j in range(i, len(blocks))
    ]
    return total_of(tasks, X)


def totals(operator, kernels):
    """Sum of all entries of K(X, X) for each kernel; each pair of blocks once.

    Parameters
    ----------
    operator : DaskKernelOperator
        K(X, X).
    kernels : list of kernels

    Returns
    -------
    ndarray of shape (len(kernels),), float64
    """
    return forms(operator, _Ones(operator.shape[0]), kernels)[:, 0]


class _Ones:
    """A column of ones that is made where it is needed, like `RandomSigns`."""

    def __init__(self, n):
        self.shape = n, 1

    def rows(self, start, stop, xp=np, dtype=np.float64):
        """Rows ``start:stop``."""
        return xp.ones((stop - start, 1), dtype)
