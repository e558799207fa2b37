"""Eigenvectors on the host, few of many."""

from __future__ import annotations

from scipy import linalg


def largest_axes(A, count):
    """The largest eigenvalues of a symmetric matrix, ascending, and their vectors."""
    d = len(A)
    # Of LAPACK's drivers the one that finds all that it was asked for: "evr" has been
    # seen to return none of a matrix with eigenvalues close together.
    return linalg.eigh(A, subset_by_index=[d - count, d - 1], driver="evx")
