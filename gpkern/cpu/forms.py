"""Quadratic forms ``r' K r`` of many vectors, from half of the tiles of K."""

from __future__ import annotations

import numpy as np

from . import parallel

# Shape of a tile; strips of fewer rows share out a small matrix.
ROWS, COLUMNS = 256, 512
LEAST_ROWS = 64
# Columns of R that are worked on together, at least.
LEAST_COLUMNS = 64
# Rows from which the size of kernel values is told.
SCALE_ROWS = 8


def quadratic_forms(matrix, R):
    """Forms of one symmetric matrix.

    The tiles above the diagonal stand for those below it too, so that a form takes n^2
    multiplications rather than 2 n^2. With ``precision="medium"`` they are made in
    float32 whatever the dtype; forms are added up in float64.

    Parameters
    ----------
    matrix : gpkern.cpu.matrix.Matrix
    R : ndarray of shape (n, b)

    Returns
    -------
    ndarray of shape (b,), float64
    """
    n, b = R.shape
    dtype = np.float32 if matrix.precision == "medium" else matrix.dtype
    each = max(LEAST_COLUMNS, int(matrix.budget // (4 * n * dtype_size(dtype))))
    recipe, out, scale = matrix.recipe(), np.empty(b), 1.0
    recipe.prepare()
    if dtype != matrix.dtype:  # their exponents may be beyond float32
        rows = np.unique(np.linspace(0, n - 1, SCALE_ROWS).astype(int))
        tiles = (abs(matrix.tile(i, i + 1, 0, n, recipe=recipe)) for i in rows)
        top = float(np.max([tile.max() for tile in tiles]))
        scale = 2.0 ** -np.round(np.log2(top)) if 0.0 < top < np.inf else 1.0
    for a in range(0, b, each):
        part = np.ascontiguousarray(R[:, a : a + each], dtype=dtype)
        out[a : a + each] = _forms(matrix, recipe, part, scale)
    return out


def dtype_size(dtype):
    """Bytes of a number."""
    return np.dtype(dtype).itemsize


def _forms(matrix, recipe, R, scale):
    """Of as many columns as fit; kernel values are multiplied by `scale` first."""
    (n, b), workers = R.shape, parallel.n_threads()
    # As many strips as balance their falling sizes, if there are rows for these.
    height = int(min(ROWS, max(LEAST_ROWS, -(-n // (8 * workers)))))
    strips = -(-n // height)
    sums = np.zeros((strips, b))

    def strip(index, worker):
        i0, i1 = index * height, min((index + 1) * height, n)
        own = matrix.tile(i0, i1, i0, i1, recipe=recipe)
        own *= 0.5 * scale
        total = own.astype(R.dtype, copy=False) @ R[i0:i1]
        for a in range(i1, n, COLUMNS):
            z = min(a + COLUMNS, n)
            tile = matrix.tile(i0, i1, a, z, recipe=recipe)
            if scale != 1.0:
                tile *= scale
            total += tile.astype(R.dtype, copy=False) @ R[a:z]
        sums[index] = np.einsum("ib,ib->b", R[i0:i1], total, dtype=np.float64)

    parallel.run(strip, strips)
    return 2.0 / scale * sums.sum(axis=0)
