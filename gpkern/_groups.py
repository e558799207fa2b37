"""Many small parts of one kernel matrix at a time."""

from __future__ import annotations

import numpy as np


def take_rows(operator, order):
    """Some of the rows of an operator's X, on its device."""
    return operator.take(order)


def group_blocks(operator, rows):
    """K of the rows in each group with themselves, the diagonals exact.

    Parameters
    ----------
    operator : KernelOperator
        K(X, X).
    rows : array of int, shape (groups, a)

    Returns
    -------
    array of shape (groups, a, a)
    """
    if _at_once(operator):
        return operator.matrix_.group_blocks(rows)
    xp, (groups, a) = operator.device.xp, rows.shape
    out = xp.empty((groups, a, a), operator.dtype)
    for block, some in zip(out, rows, strict=True):
        block[...] = operator.with_samples(take_rows(operator, some)).to_dense()
    return out


def group_products(operator, rows, columns, V):
    """K of rows and columns of each group, times a vector of its own.

    Parameters
    ----------
    operator : KernelOperator
        K(X, X); off its diagonal even where a row meets itself.
    rows, columns : array of int, shape (groups, a), (groups, b)
    V : array of shape (groups, b)

    Returns
    -------
    array of shape (groups, a)
    """
    if _at_once(operator):
        return operator.matrix_.group_products(rows, columns, V)
    out = operator.device.xp.empty(rows.shape, operator.dtype)
    for result, r, c, v in zip(out, rows, columns, V, strict=True):
        X, Z = take_rows(operator, r), take_rows(operator, c)
        result[...] = operator.with_samples(X, Z) @ v
    return out


def _at_once(operator):
    """Whether the engine takes all groups in one launch: dense rows and a formula."""
    matrix = operator.matrix_
    plain = getattr(matrix, "given", None) is None and matrix.opaque is None
    return plain and hasattr(matrix, "group_blocks")


def groups_within(operator, a):
    """How many blocks of `group_blocks` stay within an eighth of the memory budget."""
    return max(1, int(operator.matrix_.budget // (8 * a * a * np.dtype("f8").itemsize)))
