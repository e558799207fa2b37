"""Anchors: a few rows at which the kernel means of a compressed sample are made exact.

What compression gets wrong is a smooth function, the difference of two kernel means. It
is known at the anchors, whose means with the whole sample cost few kernel values, and
interpolation takes most of it away: all but its part that is orthogonal to the anchors.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from .compress import standard

# Rows that serve as anchors.
COUNT = 512
# Eigenvalues below this share of the largest are rounding.
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
        values, vectors = linalg.eigh(K)
        seen = values > RESOLUTION * values[-1]
        self._factor = vectors[:, seen] / np.sqrt(values[seen])

    def features(self, values):
        """Coordinates of functions with these values at the anchors, (..., a).

        Their inner products are those of the functions' projections.
        """
        return values @ self._factor

    def weights(self, gap):
        """Weights of the anchors whose kernel mean takes the values `gap` there."""
        return self._factor @ self.features(gap)
