"""Points shared out onto a periodic grid by B-splines, and values read from it.

A grid has three dimensions, of which the first may have one node, all of which a point
has: so one loop serves one, two and three columns.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import parallel

# Bytes of the grids of all workers together.
GRID_BYTES = 1 << 28
# Rows whose values are read by one task.
ROWS = 1 << 14

compiled = njit(nogil=True, cache=True, error_model="numpy")


@compiled
def _splines(t, order, out):
    """Parts of the nodes around a place that is `t` beyond the first of them."""
    out[0] = 1.0
    for k in range(2, order + 1):
        scale = 1.0 / (k - 1)
        out[k - 1] = 0.0
        for i in range(k - 1, 0, -1):
            x = t + i
            out[i] = (x * out[i] + (k - x) * out[i - 1]) * scale
        out[0] = t * out[0] * scale
    # From the falling end of the spline to the rising one, as the nodes come.
    for i in range(order // 2):
        out[i], out[order - 1 - i] = out[order - 1 - i], out[i]


@compiled
def _place(u, count, order, weights, nodes):
    """The nodes that a place has a part in, and its parts."""
    base = min(max(int(np.floor(u)), 0), count - 1)  # rounding may leave the grid
    _splines(u - base, order, weights)
    for i in range(order):
        node = base + i
        nodes[i] = node if node < count else node - count


@compiled
def _spread(rows, low, scale, masses, order, grid):
    d = rows.shape[1]
    w, at = np.ones((3, order)), np.zeros((3, order), np.int64)
    first, second = order if d == 3 else 1, order if d >= 2 else 1
    for r in range(len(rows)):
        for k in range(d):
            u, axis = (rows[r, k] - low[k]) * scale[k], 3 - d + k
            _place(u, grid.shape[axis], order, w[axis], at[axis])
        for a in range(first):
            for b in range(second):
                part = masses[r] * w[0, a] * w[1, b]
                line = grid[at[0, a], at[1, b]]
                for c in range(order):
                    line[at[2, c]] += part * w[2, c]


@compiled
def _read(grid, rows, low, scale, order, out):
    d = rows.shape[1]
    w, at = np.ones((3, order)), np.zeros((3, order), np.int64)
    first, second = order if d == 3 else 1, order if d >= 2 else 1
    for r in range(len(rows)):
        for k in range(d):
            u, axis = (rows[r, k] - low[k]) * scale[k], 3 - d + k
            _place(u, grid.shape[axis], order, w[axis], at[axis])
        total = 0.0
        for a in range(first):
            for b in range(second):
                line, part = grid[at[0, a], at[1, b]], 0.0
                for c in range(order):
                    part += line[at[2, c]] * w[2, c]
                total += part * w[0, a] * w[1, b]
        out[r] = total


def spread(rows, low, scale, masses, order, shape):
    """Sums of masses at the nodes of a grid.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        With 1 to 3 columns.
    low, scale : ndarray of shape (d,)
        Where the grid begins, and its nodes in a unit of length.
    masses : ndarray of shape (n,)
    order : int
        Of the splines.
    shape : tuple of 3 int
        Nodes; the first ``3 - d`` are 1.

    Returns
    -------
    ndarray of that shape
    """
    fit = max(1, GRID_BYTES // (8 * int(np.prod(shape))))
    workers = int(max(1, min(parallel.n_threads(), fit, len(rows) // ROWS)))
    grids = [np.zeros(shape) for _ in range(workers)]
    cuts = [i * len(rows) // workers for i in range(workers + 1)]

    def task(i, worker):
        part = slice(cuts[i], cuts[i + 1])
        _spread(rows[part], low, scale, masses[part], order, grids[worker])

    parallel.run_fixed(task, workers, workers)
    for other in grids[1:]:
        grids[0] += other
    return grids[0]


def read(grid, rows, low, scale, order):
    """Values at rows, from those at the nodes of `spread`; shape (m,)."""
    out = np.empty(len(rows))

    def task(i, worker):
        part = slice(i * ROWS, (i + 1) * ROWS)
        _read(grid, rows[part], low, scale, order, out[part])

    parallel.run(task, -(-len(rows) // ROWS))
    return out
