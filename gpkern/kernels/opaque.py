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
        if _diag_is_its_own(self.function):
            return self.function.diag(X)
        rows = (X[i : i + 1] for i in range(X.shape[0]))
        if isinstance(self.function, Kernel):
            # Of one sample, so that white noise counts.
            return np.concatenate([self.function(x).ravel() for x in rows])
        return np.concatenate([self.block(x, x).ravel() for x in rows])


def _diag_is_its_own(kernel):
    """Whether `diag` belongs to the values: not inherited past another ``__call__``.

    That must hold for the parts of a compound kernel too, which its `diag` asks.
    """
    if not hasattr(kernel, "diag"):
        return False
    if not isinstance(kernel, Kernel):
        parts = [kernel]
    else:
        inner = kernel.get_params().values()
        parts = [kernel, *(p for p in inner if isinstance(p, Kernel))]
    for part in parts:
        for base in type(part).__mro__:
            if "diag" in vars(base):
                break
            if "__call__" in vars(base):
                return False
    return True


_SINGLE_ROWS = (
    "an estimator takes a function of two single rows, as scikit-learn's KernelRidge "
    "does; this one takes two matrices of rows, which is what KernelOperator takes"
)


@dataclass(frozen=True, eq=False)
class RowCallable:
    """A function of two single rows, as scikit-learn's `KernelRidge` takes it."""

    function: Any
    params: dict = field(default_factory=dict)
    on_host = True

    def block(self, X, Z):
        """Matrix of shape (len(X), len(Z))."""
        try:
            return pairwise_kernels(X, Z, metric=self.function, **self.params)
        except (ValueError, TypeError, IndexError) as error:
            if self._takes_matrices(X[:1], Z[:1]):
                raise ValueError(_SINGLE_ROWS) from error
            raise

    def diagonal(self, X):
        """k(x, x) for each row."""
        try:
            return np.array([float(self.function(x, x, **self.params)) for x in X])
        except (ValueError, TypeError, IndexError) as error:
            if self._takes_matrices(X[:1], X[:1]):
                raise ValueError(_SINGLE_ROWS) from error
            raise

    def _takes_matrices(self, X, Z):
        try:
            return np.shape(self.function(X, Z, **self.params)) == (1, 1)
        except Exception:  # the user's function, which has failed once already
            return False


@dataclass(frozen=True, eq=False)
class Transposed:
    """An opaque kernel with its roles swapped, as one that is not symmetric needs."""

    kernel: Any

    @property
    def on_host(self):
        """As the kernel's own."""
        return self.kernel.on_host

    def block(self, X, Z):
        """Matrix of shape (len(X), len(Z))."""
        return self.kernel.block(Z, X).T

    def diagonal(self, X):
        """k(x, x) for each row."""
        return self.kernel.diagonal(X)


def transposed(kernel):
    """An opaque kernel with its roles swapped; None stays None."""
    if kernel is None:
        return None
    return kernel.kernel if isinstance(kernel, Transposed) else Transposed(kernel)
