"""Kernels without a formula: evaluated block by block by the user's own code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import Kernel
from sklearn.metrics.pairwise import pairwise_kernels


@dataclass(frozen=True, eq=False)
class MatrixCallable:
    """A function of two arrays of rows that returns their kernel matrix."""

    function: Any

    @property
    def on_host(self):
        """Whether it wants NumPy rows, as scikit-learn's kernel objects do."""
        return isinstance(self.function, Kernel)

    def block(self, X, Z):
        """Matrix of shape (len(X), len(Z))."""
        out = self.function(X, Z)
        if getattr(out, "shape", None) != (X.shape[0], Z.shape[0]):
            raise ValueError(
                f"the kernel callable returned shape {np.shape(out)} for "
                f"{X.shape[0]} and {Z.shape[0]} rows"
            )
        return out

    def diagonal(self, X):
        """k(x, x) for each row."""
        diag = getattr(self.function, "diag", None)
        if diag is not None:
            return diag(X)
        rows = (X[i : i + 1] for i in range(X.shape[0]))
        return np.concatenate([self.block(x, x).ravel() for x in rows])


@dataclass(frozen=True, eq=False)
class RowCallable:
    """A function of two single rows, as scikit-learn's `KernelRidge` takes it."""

    function: Any
    params: dict = field(default_factory=dict)
    on_host = True

    def block(self, X, Z):
        """Matrix of shape (len(X), len(Z))."""
        return pairwise_kernels(X, Z, metric=self.function, **self.params)

    def diagonal(self, X):
        """k(x, x) for each row."""
        return np.array([float(self.function(x, x, **self.params)) for x in X])
