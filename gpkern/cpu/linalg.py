"""Dense float64 factorisations on a CPU."""

from __future__ import annotations

import numpy as np
from scipy import linalg

# OpenBLAS's threaded Cholesky factor writes past its buffers beyond some 15,000 rows.
LARGEST_FACTOR = 8192
STRIP = 2048


def cholesky(A, keep_lower=False):
    """Upper factor R with ``R.T @ R = A``, in the memory of A.

    Only A's upper triangle is read. Large matrices are factored in halves, by
    products and triangular solves.

    Parameters
    ----------
    A : array of shape (n, n), float64
        Overwritten.
    keep_lower : bool, default=False
        Leave what is below the diagonal, in A and so in R; otherwise zeros.

    Raises
    ------
    numpy.linalg.LinAlgError
        When A is not numerically positive definite.
    """
    n = len(A)
    if n > LARGEST_FACTOR:
        return _cholesky_by_halves(A, keep_lower)
    # In LAPACK's order of columns, the upper triangle of A is the lower of A.T.
    L, info = linalg.lapack.dpotrf(A.T, lower=1, clean=not keep_lower, overwrite_a=1)
    if info:
        raise np.linalg.LinAlgError("matrix is not positive definite")
    return L.T


def _cholesky_by_halves(A, keep_lower):
    n = len(A)
    k = n // 2
    A[:k, :k] = cholesky(A[:k, :k], keep_lower)
    A[:k, k:] = solve_upper(A[:k, :k], A[:k, k:], transposed=True)
    for a in range(k, n, STRIP):
        b = min(a + STRIP, n)
        update = A[:k, a:b].T @ A[:k, a:]
        below = A[a:b, a:b][np.tri(b - a, k=-1, dtype=bool)]
        A[a:b, a:] -= update
        A[a:b, a:b][np.tri(b - a, k=-1, dtype=bool)] = below
    A[k:, k:] = cholesky(A[k:, k:], keep_lower)
    if not keep_lower:
        A[k:, :k] = 0.0
    return A


def solve_upper(R, B, transposed=False):
    """``R^-1 B`` for an upper triangle, or ``R^-T B``."""
    return linalg.solve_triangular(
        R, B, lower=False, trans=1 if transposed else 0, check_finite=False
    )


def eigh(A, q=None):
    """Largest eigenvalues of a symmetric matrix, descending, and their vectors.

    All of them, or the first q.
    """
    n = len(A)
    some = None if q is None or q > n // 2 else (n - q, n - 1)
    driver = "evd" if some is None else "evr"
    values, vectors = linalg.eigh(
        A, check_finite=False, driver=driver, subset_by_index=some
    )
    return values[::-1][:q], np.ascontiguousarray(vectors[:, ::-1][:, :q])


def orthonormal(A):
    """Orthonormal basis of the columns of A."""
    return linalg.qr(A, mode="economic", check_finite=False)[0]


def least_squares(A, B):
    """Least-squares solution of smallest norm of a symmetric system.

    A is overwritten; one matrix more is all that it takes.
    """
    values, V = linalg.eigh(A.T, overwrite_a=True, check_finite=False, driver="evr")
    size = np.abs(values)
    keep = size > len(A) * np.finfo(np.float64).eps * size.max()
    inverse = np.divide(1.0, values, out=np.zeros_like(values), where=keep)
    return V @ (inverse[:, None] * (V.T @ B))
