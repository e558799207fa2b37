"""Quadratic forms ``r' K r`` of very many vectors: half-precision products of tiles.

A tile of K is made once from a tile of distances for each kernel, rounded to one or two
half-precision parts, and multiplied with as many columns as there are vectors: the
product is what takes the time, and runs at the tensor cores' full rate.
"""

from __future__ import annotations

import math

import cupy as cp
import numpy as np
from cupy_backends.cuda.libs import cublas

TILE = 8192
# Rows from which the size of kernel values is told.
SCALE_ROWS = 64
# Largest kernel value after scaling: room above it, and digits for small ones below.
LARGEST = 2.0**9
# Of the CUDA toolkit: types of entries, of sums, and the choice of an algorithm.
_HALF, _FLOAT, _COMPUTE_FLOAT, _DEFAULT = 2, 0, 68, -1

_ONE = np.ones(1, np.float32)  # read by cuBLAS, so it stays

_dot_columns = cp.ReductionKernel(
    "float16 r, float32 p",
    "float64 y",
    "(double)((float)r * p)",
    "a + b",
    "y = a",
    "0",
    "gpkern_dot_columns",
)


def quadratic_forms(matrix, programs, R):
    """Forms of kernels that share their pairwise quantities; symmetric matrix.

    Parameters
    ----------
    matrix : gpkern.gpu.matrix.Matrix
        In float32.
    programs : list of Program
    R : array or RandomSigns of shape (n, b)
        Entries that half precision holds, such as signs.

    Returns
    -------
    array of shape (len(programs), b), float64
        Not finite where a kernel's values leave the range of half precision.
    """
    n, b = R.shape
    out = cp.zeros((len(programs), b))
    diagonals = [matrix._diagonal(0, n, p) for p in programs]
    scales = _scales(matrix, programs)
    # A tile of products, and of sums for each kernel, within half of the budget.
    room = matrix.budget // (2 * 4 * (TILE + 2 * len(programs) * b))
    if 2 * n * b <= matrix.budget // 8:  # made once, not for each tile
        R = _rows(R, 0, n)
    height = int(min(TILE, max(256, room // 256 * 256)))
    for i0 in range(0, n, height):
        i1 = min(i0 + height, n)
        Ri = _rows(R, i0, i1)
        sums = cp.zeros((len(programs), i1 - i0, Ri.shape[1]), np.float32)
        for a, z in _spans(i1, n):
            _add_products(
                matrix, programs, scales, (i0, i1, a, z), _rows(R, a, z), sums
            )
        sums *= 2
        _add_products(matrix, programs, scales, (i0, i1, i0, i1), Ri, sums)
        for k, scale in enumerate(scales):
            out[k] += _dot_columns(Ri, sums[k], axis=0)[:b] / scale
            diagonal = diagonals[k][i0:i1]
            out[k] += diagonal @ (Ri[:, :b].astype(np.float64) ** 2)
    return out


def _spans(start, stop):
    return [(a, min(a + TILE, stop)) for a in range(start, stop, TILE)]


def _scales(matrix, programs):
    """Powers of two that bring the largest k(x, z) of some rows near `LARGEST`.

    The diagonal, which may be far larger than all else, is added by itself.
    """
    n = matrix.shape[0]
    if n < 2:
        return [1.0] * len(programs)
    rows = np.unique(np.linspace(0, n - 1, min(n, SCALE_ROWS)).astype(int))
    some = matrix.with_rows(matrix.X.some(cp.asarray(rows)))
    tops = cp.zeros((-(-n // TILE), len(programs)), np.float32)
    for s, (a, z) in enumerate(_spans(0, n)):
        inside = (rows >= a) & (rows < z)
        own = cp.asarray(np.flatnonzero(inside)), cp.asarray(rows[inside] - a)
        kinds, quantities = some.pair_quantities(programs[0], 0, len(rows), a, z)
        tile = cp.empty((len(rows), z - a), np.float32)
        for k, program in enumerate(programs):
            some.evaluate(program, kinds, quantities, tile)
            tile[own] = 0.0
            tops[s, k] = abs(tile).max()
    return [_power_of_two(top) for top in tops.max(axis=0).tolist()]


def _power_of_two(top):
    return 2.0 ** math.floor(math.log2(LARGEST / top)) if 0 < top < np.inf else 1.0


def _rows(R, start, stop):
    """Rows of R in half precision, with columns of zeros up to a multiple of eight."""
    b = R.shape[1]
    if b % 8 == 0 and getattr(R, "dtype", None) == np.float16:
        return R[start:stop]
    out = cp.zeros((stop - start, -(-b // 8) * 8), np.float16)
    if hasattr(R, "rows"):
        out[:, :b] = R.rows(start, stop, cp, np.float16)
    else:
        out[:, :b] = R[start:stop]
    return out


def _add_products(matrix, programs, scales, cut, R, sums):
    """``sums[k] += K_k R`` for a tile without its diagonal."""
    i0, i1, a, z = cut
    shape = (i1 - i0, -(-(z - a) // 8) * 8)
    parts = [cp.zeros(shape, np.float16) for _ in range(matrix.parts)]
    kinds, quantities = matrix.pair_quantities(programs[0], *cut)
    for k, (program, scale) in enumerate(zip(programs, scales, strict=True)):
        matrix.evaluate_halves(program, kinds, quantities, z - a, scale, parts)
        for part in parts:
            if i0 == a:
                cp.fill_diagonal(part, 0)
            _multiply(part, R, sums[k])


def _multiply(K, R, out):
    """``out += K R``; K may have columns of zeros beyond R's rows."""
    one = _ONE.ctypes.data
    (h, w), (rows, b) = K.shape, R.shape
    cublas.gemmEx(
        cp.cuda.Device().cublas_handle,
        cublas.CUBLAS_OP_N,
        cublas.CUBLAS_OP_N,
        b,
        h,
        rows,
        one,
        R.data.ptr,
        _HALF,
        b,
        K.data.ptr,
        _HALF,
        w,
        one,
        out.data.ptr,
        _FLOAT,
        b,
        _COMPUTE_FLOAT,
        _DEFAULT,
    )
