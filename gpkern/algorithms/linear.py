"""Eigenvectors on the host, few of many."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, eigsh


def largest_axes(A, count):
    """The largest eigenvalues of a symmetric matrix, ascending, and their vectors."""
    d = len(A)
    # Of LAPACK's drivers the one that finds all that it was asked for: "evr" has been
    # seen to return none of a matrix with eigenvalues close together.
    return linalg.eigh(A, subset_by_index=[d - count, d - 1], driver="evx")


def largest_axis(A):
    """The largest eigenvalue of a symmetric matrix, and its vector.

    By Lanczos' method, which takes a fraction of the time in hundreds of columns.
    """
    start = np.random.RandomState(0).normal(size=len(A))
    try:
        values, axes = eigsh(A, 1, which="LA", v0=start)
    except ArpackError:  # not within its steps: eigenvalues are close together
        values, axes = largest_axes(A, 1)
    return values[0], axes[:, 0]
