"""Kernels of a distance that is not the Euclidean one, by its name."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import pairwise_distances

from . import expr as ex
from .pair import Pair


class OtherMetric:
    """A `DensityKernel` of the distances of another metric: a function of two arrays.

    Parameters
    ----------
    kernel : DensityKernel
    metric : str
        Of `sklearn.metrics.pairwise_distances`.
    metric_params : dict or None
    """

    def __init__(self, kernel, metric, metric_params=None):
        self.kernel, self.metric = kernel, metric
        self.metric_params = metric_params or {}

    @property
    def is_compact(self):
        """Of the kernel."""
        return True  # sums are taken before the logarithm

    def __call__(self, X, Z):
        """Kernel values of all pairs of rows."""
        distances = pairwise_distances(X, Z, metric=self.metric, **self.metric_params)
        r = ex.leaf("sqeuclidean")
        pair = Pair(self.kernel, n_features=X.shape[1])
        formula = self.kernel.profile(r / self.kernel.length_scale**2, pair)
        (leaf,) = ex.leaves(formula)
        values = ex.evaluate(formula, {leaf: distances**2})
        return np.asarray(values, dtype=np.float64)
