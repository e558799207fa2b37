"""`LogLoss` of the rows of Dask arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from ..algorithms.log_losses import LogLoss
from .arrays import aligned
from .compute import gather, persist
from .graphs import over_blocks, total_over_blocks
from .work import Sum


@dataclass(frozen=True)
class BlockedLoss:
    """Negative log likelihood of classes, its arrays of rows in blocks.

    Attributes
    ----------
    codes : dask.array.Array of int of shape (n,)
    n_columns : int
    weights : dask.array.Array of shape (n,), or None
    """

    codes: Any
    n_columns: int
    weights: Any

    n_problems = 1

    def some(self, rows, X):
        """That of some sorted rows, in the blocks of X, which are these rows."""
        codes, weights = (
            None if a is None else persist(aligned(a[rows], X, "y"))
            for a in (self.codes, self.weights)
        )
        return replace(self, codes=codes, weights=weights)

    def total_weight(self):
        """Sum of the weights."""
        if self.weights is None:
            return float(len(self.codes))
        return float(gather(self.weights.astype(np.float64).sum()))

    def zeros(self, dtype):
        """Scores 0 of all rows."""
        shape, blocks = (len(self.codes), self.n_columns), self.codes.chunks[0]
        return da.zeros(shape, dtype, chunks=(blocks, self.n_columns))

    def values(self, F):
        """Sum over the rows, shape (1,)."""
        return total_over_blocks(
            _value, F, self.codes, self.weights, columns=self.n_columns
        )

    def probabilities(self, F):
        """Of class 1, or of each class, shape (n, c)."""
        return self._of_rows("probabilities", F)

    def slope(self, P):
        """Derivative by F, shape (n, c)."""
        return self._of_rows("slope", P)

    def bend(self, P, V):
        """Second derivative by F in the direction of V, shape (n, c)."""
        return self._of_rows("bend", P, V)

    def curvatures(self, P):
        """Of a row of weight 1, over its columns on average, shape (n,)."""
        return self._of_rows("curvatures", P, shape=())

    def _of_rows(self, method, P, *others, shape=None):
        return over_blocks(
            _of_block,
            P,
            self.codes,
            self.weights,
            *others,
            shape=(self.n_columns,) if shape is None else shape,
            dtype=P.dtype,
            method=method,
            columns=self.n_columns,
        )


def _of_block(P, place, codes, weights, *others, method, columns):
    return getattr(LogLoss(codes, columns, weights, np), method)(P, *others)


def _value(F, place, codes, weights, columns):
    return Sum(LogLoss(codes, columns, weights, np).values(F))
