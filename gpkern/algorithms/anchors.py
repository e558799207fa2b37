"""Anchors: a few rows at which the kernel means of a compressed sample are made exact.

What compression gets wrong is a smooth function, the difference of two kernel means. It
is known at the anchors, whose means with the whole sample cost few kernel values, and
interpolation takes most of it away: all but its part that is orthogonal to the anchors.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.linalg import lapack

from .compress import standard

# Rows that serve as anchors.
COUNT = 512
# Squared distances to the span of the other anchors, as a share of the largest k(x, x),
# below which one more shows nothing but rounding.
RESOLUTION = 1e-10


def places(n):
    """Which of n rows serve as anchors."""
    return standard(np.arange(n), min(COUNT, n))


class Interpolation:
    """Functions in the space of a kernel, from their values at the anchors.

    Parameters
    ----------
    K : ndarray of shape (a, a)
        Kernel matrix of the anchors, on the host.
    """

    def __init__(self, K):
        tolerance = RESOLUTION * float(np.diagonal(K).max())
        factor, pivots, rank, _ = lapack.dpstrf(K, tol=tolerance, lower=1)
        self._used = pivots[:rank] - 1
        self._factor = factor[:rank, :rank]
        self._size = len(K)

    def features(self, values):
        """Coordinates of functions with these values at the anchors, (..., a).

        Their inner products are those of the functions' projections.
        """
        values = values[..., self._used].T
        return linalg.solve_triangular(self._factor, values, lower=True).T

    def weights(self, gap):
        """Weights of the anchors whose kernel mean takes the values `gap` there."""
        out, seen = np.zeros(self._size), self.features(gap)
        out[self._used] = linalg.solve_triangular(
            self._factor, seen, lower=True, trans=1
        )
        return out
