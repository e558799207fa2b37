"""Quadratic forms of a kernel matrix, on any device."""

from __future__ import annotations

import numpy as np

# Columns of R that are worked on together, at least.
LEAST_COLUMNS = 64


def quadratic_forms(operators, R):
    """``r' K r`` for each operator and each column r of R, float64.

    Parameters
    ----------
    operators : list of KernelOperator
        Square matrices of the same rows.
    R : array or RandomSigns of shape (n, b)

    Returns
    -------
    array of shape (len(operators), b), float64
    """
    first = operators[0]
    if hasattr(first.matrix_, "quadratic_forms"):  # one device's
        programs = [op.matrix_.program for op in operators]
        out = first.matrix_.quadratic_forms(programs, R)
        if out is not None:
            return out
    return first.device.xp.stack([_by_products(op, R) for op in operators])


def _by_products(operator, R):
    """The forms of one operator: ``K @ R``, some columns at a time."""
    xp, dtype, (n, b) = operator.device.xp, operator.dtype, R.shape
    if hasattr(R, "rows"):
        R = R.rows(0, n, xp, np.int8)
    each = max(LEAST_COLUMNS, int(operator.matrix_.budget // (4 * 8 * n)))
    out = xp.empty(b)
    for a in range(0, b, each):
        part = R[:, a : a + each].astype(dtype)
        product = operator.matrix_.matmat(part).astype(np.float64)
        out[a : a + each] = (part * product).sum(axis=0)
    return out
