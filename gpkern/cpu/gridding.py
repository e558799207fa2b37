"""Points shared out onto a periodic grid by B-splines, and values read from it.

A grid has three dimensions, of which the first may have one node, all of which a point
has: so one loop serves one, two and three columns. The loops are compiled for each
number of columns and order of the splines, which lets the compiler unroll them.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit

from . import parallel

# Bytes of the grids of all workers together.
GRID_BYTES = 1 << 28
# Rows whose values are read by one task.
ROWS = 1 << 14

compiled = njit(nogil=True, cache=True, error_model="numpy")


@lru_cache(maxsize=64)
def _loops(d, order):
    """The two loops over rows: `spread` and `read` of one thread."""
    first, second = order if d == 3 else 1, order if d >= 2 else 1

    @compiled
    def parts(row, low, scale, shape, weights, base):
        """Of the nodes around a row, in which it has parts, and the first of these.

        By the recursion of the cardinal splines; the nodes come in the order of the
        falling end of the spline to the rising one.
        """
        for k in range(d):
            axis = 3 - d + k
            u = (row[k] - low[k]) * scale[k]
            # Rounding may have left the grid.
            base[axis] = min(max(int(np.floor(u)), 0), shape[axis] - 1)
            t, w = u - base[axis], weights[axis]
            w[order - 1] = 1.0
            for q in range(2, order + 1):
                part = 1.0 / (q - 1)
                w[order - q] = 0.0
                for i in range(q - 1, 0, -1):
                    x, at = t + i, order - 1 - i
                    w[at] = (x * w[at] + (q - x) * w[at + 1]) * part
                w[order - 1] = t * w[order - 1] * part

    @compiled
    def spread(rows, low, scale, masses, grid):
        w, base = np.ones((3, order)), np.zeros(3, np.int64)
        n0, n1, n2 = grid.shape
        for r in range(len(rows)):
            parts(rows[r], low, scale, grid.shape, w, base)
            start = base[2]
            for a in range(first):
                i = base[0] + a
                for b in range(second):
                    j = base[1] + b
                    line = grid[i if i < n0 else i - n0, j if j < n1 else j - n1]
                    mass = masses[r] * w[0, a] * w[1, b]
                    if start + order <= n2:
                        for c in range(order):
                            line[start + c] += mass * w[2, c]
                    else:
                        for c in range(order):
                            k = start + c
                            line[k if k < n2 else k - n2] += mass * w[2, c]

    @compiled
    def read(grid, rows, low, scale, out):
        w, base = np.ones((3, order)), np.zeros(3, np.int64)
        n0, n1, n2 = grid.shape
        for r in range(len(rows)):
            parts(rows[r], low, scale, grid.shape, w, base)
            start, total = base[2], 0.0
            for a in range(first):
                i = base[0] + a
                for b in range(second):
                    j, part = base[1] + b, 0.0
                    line = grid[i if i < n0 else i - n0, j if j < n1 else j - n1]
                    if start + order <= n2:
                        for c in range(order):
                            part += line[start + c] * w[2, c]
                    else:
                        for c in range(order):
                            k = start + c
                            part += line[k if k < n2 else k - n2] * w[2, c]
                    total += part * w[0, a] * w[1, b]
            out[r] = total

    return spread, read


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
    loop = _loops(rows.shape[1], order)[0]
    cuts = [i * len(rows) // workers for i in range(workers + 1)]

    def task(i, worker):
        part = slice(cuts[i], cuts[i + 1])
        loop(rows[part], low, scale, masses[part], grids[worker])

    parallel.run_fixed(task, workers, workers)
    for other in grids[1:]:
        grids[0] += other
    return grids[0]


def read(grid, rows, low, scale, order):
    """Values at rows, from those at the nodes of `spread`; shape (m,)."""
    out, loop = np.empty(len(rows)), _loops(rows.shape[1], order)[1]

    def task(i, worker):
        part = slice(i * ROWS, (i + 1) * ROWS)
        loop(grid, rows[part], low, scale, out[part])

    parallel.run(task, -(-len(rows) // ROWS))
    return out
