"""Dense float64 factorisations on a GPU; see `gpkern.cpu.linalg`."""

from __future__ import annotations

import cupy as cp
import cupyx
import numpy as np
from cupyx.scipy.linalg import solve_triangular


def cholesky(A, keep_lower=False):
    """Upper factor R with ``R.T @ R = A``; A is left as it is."""
    failure = np.linalg.LinAlgError("matrix is not positive definite")
    try:
        with cupyx.errstate(linalg="raise"):
            R = cp.linalg.cholesky(A).T
    except np.linalg.LinAlgError as error:
        raise failure from error
    if not bool(cp.isfinite(R[-1, -1])):  # of a matrix that holds NaN
        raise failure
    return R


def solve_upper(R, B, transposed=False):
    """``R^-1 B`` for an upper triangle, or ``R^-T B``."""
    return solve_triangular(R, B, lower=False, trans=1 if transposed else 0)


def eigh(A, q=None):
    """Largest eigenvalues of a symmetric matrix, descending, and their vectors."""
    values, vectors = cp.linalg.eigh(A)
    return values[::-1][:q], cp.ascontiguousarray(vectors[:, ::-1][:, :q])


def orthonormal(A):
    """Orthonormal basis of the columns of A."""
    return cp.linalg.qr(A)[0]


def least_squares(A, B):
    """Least-squares solution of smallest norm of a symmetric system."""
    return cp.linalg.lstsq(A, B, rcond=None)[0]
