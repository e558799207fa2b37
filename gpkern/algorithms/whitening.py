"""Rows in units of a bandwidth: shifted, and divided by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg


@dataclass(frozen=True)
class Whitening:
    """``rows -> factor^-1 (rows - offset)``.

    Attributes
    ----------
    offset : ndarray of shape (d,)
    factor : float, ndarray of shape (d,), or lower triangle of shape (d, d)
    """

    offset: Any
    factor: Any

    @classmethod
    def of(cls, offset, bandwidth):
        """By a number, one a column, or the covariance matrix of a kernel.

        Raises
        ------
        ValueError
            Where that is not symmetric and positive definite.
        """
        if np.ndim(bandwidth) < 2:
            return cls(offset, bandwidth)
        H = np.asarray(bandwidth, dtype=np.float64)
        size = np.sqrt(np.abs(np.diagonal(H)))
        if (abs(H - H.T) > 1e-8 * np.outer(size, size)).any():
            raise ValueError("bandwidth is a matrix that is not symmetric")
        try:
            factor = linalg.cholesky(0.5 * (H + H.T), lower=True)
            # Of a singular matrix too, rounding may leave pivots above 0.
            if (np.diagonal(factor) <= 1e-6 * size).any():
                raise linalg.LinAlgError
            return cls(offset, factor)
        except linalg.LinAlgError:
            raise ValueError(
                "bandwidth is a matrix that is not positive definite, as of "
                "'normal_reference' where a column is a combination of others, or "
                "there are fewer rows than columns: use one number, one for each "
                "column, or bandwidth='scott'"
            ) from None

    def log_determinant(self, d):
        """Of the factor, on d columns."""
        if np.ndim(self.factor) == 2:
            return float(np.log(np.diagonal(self.factor)).sum())
        return float(np.log(np.broadcast_to(self.factor, d)).sum())

    def _inverse(self):
        if np.ndim(self.factor) == 2:
            return linalg.solve_triangular(
                self.factor, np.eye(len(self.factor)), lower=True
            )
        return 1.0 / np.asarray(self.factor)

    def into(self, X, xp):
        """Rows on the device, in the float dtype they have; work is in float64."""
        dtype = X.dtype if X.dtype == np.float32 else np.dtype(np.float64)
        rows = X.astype(np.float64) - xp.asarray(self.offset)
        inverse = xp.asarray(self._inverse())
        rows = rows @ inverse.T if inverse.ndim == 2 else rows * inverse
        return xp.ascontiguousarray(rows.astype(dtype))

    def back(self, rows, xp):
        """The inverse of `into`, float64."""
        factor = xp.asarray(self.factor)
        rows = rows.astype(np.float64)
        rows = rows @ factor.T if factor.ndim == 2 else rows * factor
        return rows + xp.asarray(self.offset)

    def gradient_back(self, slopes, xp):
        """Slopes by whitened rows as slopes by rows, shape (m, d)."""
        inverse = xp.asarray(self._inverse())
        return slopes @ inverse if inverse.ndim == 2 else slopes * inverse

    def hessian_back(self, curvatures, xp):
        """Second derivatives by whitened rows as those by rows, shape (m, d, d)."""
        inverse = xp.asarray(self._inverse())
        if inverse.ndim == 2:
            return inverse.T @ curvatures @ inverse
        inverse = xp.broadcast_to(inverse, curvatures.shape[-1])
        return curvatures * inverse[:, None] * inverse
