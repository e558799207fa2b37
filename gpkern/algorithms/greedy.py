"""Rows chosen one by one, each the best for what those before leave."""

from __future__ import annotations

import numpy as np


def choose(operator, objective, size, scale, penalty=None, reward=None, unique=False):
    """Again and again the row of the least objective, which the choice changes.

    The row of place t = 1, 2, ... is that of the smallest ``objective + penalty -
    t * reward``; then its row of K, times `scale`, is added to the objective.

    Parameters
    ----------
    operator : KernelOperator
        K of the rows with each other, float64.
    objective : array of shape (n,), float64
        At the start; overwritten.
    size : int
    scale : float
    penalty, reward : array of shape (n,), default=None
    unique : bool, default=False
        Whether a row may be chosen only once.

    Returns
    -------
    rows : ndarray of int, shape (size,)
    values : ndarray of shape (size,)
        The objective of each when it was chosen.
    """
    device = operator.device
    if _stays_on_the_gpu(operator):
        options = penalty, reward, unique
        rows, values = operator.matrix_.greedy(objective, size, scale, *options)
        return device.get(rows), device.get(values)
    rows, values = np.empty(size, int), device.xp.empty(size)
    for t in range(size):
        key = objective if penalty is None else objective + penalty
        if reward is not None:
            key = key - (t + 1) * reward
        row = int(key.argmin())
        rows[t], values[t] = row, objective[row]
        if t + 1 < size:
            added = operator.rows(row)
            added *= scale
            objective += added
            if unique:
                objective[row] = np.inf
    return rows, device.get(values)


def _stays_on_the_gpu(operator):
    matrix = operator.matrix_
    return hasattr(matrix, "greedy") and matrix.opaque is None and matrix.symmetric
