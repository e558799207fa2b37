"""`PairSums` of the rows of a Dask array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..algorithms.pair_sums import PairSums, squares_of
from ..kernels.compose import OffDiagonal
from ..operator import make_operator
from . import pairs
from .compute import persist
from .sample_rows import gathered, pair_values

# Blocks of a sample beyond which they are put together: each pair of them is a task.
MOST_BLOCKS = 64


@dataclass(frozen=True)
class BlockedPairSums(PairSums):
    """Kernels of rows that workers hold; each pair of blocks is a task.

    There is no factor of low rank: its pivots would go through all blocks one by one.
    """

    @classmethod
    def of(cls, rows, kernels, device, rest, precision):
        """Of lazy rows, which are computed, and held until the sums are forgotten."""
        if len(rows.chunks[0]) > MOST_BLOCKS:
            rows = rows.rechunk({0: -(-len(rows) // MOST_BLOCKS)})
        return cls(persist(rows), kernels, device, rest, precision)

    @cached_property
    def row_sums(self):
        """``sum_j k(x_i, x_j)``, shape (len(kernels), n), float64; held by workers."""
        return self.device.keep(self._operators[0].row_sums(self.kernels))

    @cached_property
    def diagonals(self):
        """``k(x_i, x_i)``, shape (len(kernels), n), float64, on the host."""
        return np.stack([gathered(op.diagonal(), self.rows) for op in self._operators])

    def totals(self):
        """Sums over all pairs with i != j, shape (len(kernels),), on the host."""
        total = pairs.totals(self._operators[0], self._apart)
        return total - np.where(self._have_formula, 0.0, self._traces_if_needed)

    def forms(self, R):
        """``sum_{i != j} r_i r_j k(x_i, x_j)`` of each column r of R.

        Parameters
        ----------
        R : RandomSigns or array of shape (n, b)

        Returns
        -------
        ndarray of shape (len(kernels), b), float64, on the host
        """
        operator = self._operators[0].with_precision(self.precision)
        out = pairs.forms(operator, R, self._apart)
        for k, has_formula in enumerate(self._have_formula):
            if not has_formula:
                out[k] -= squares_of(R, self.diagonals[k], np)
        return out

    def own_pairs(self, first, second):
        """Sums of ``k(x_i, y_i)`` over two samples of as many rows, shape (k,)."""
        operator = self._operators[0]
        parts = (pair_values(k, first, second, operator) for k in self.kernels)
        return np.array([float(gathered(part.sum(), first, second)) for part in parts])

    @cached_property
    def _have_formula(self):
        """Of which kernels the diagonal can be left out."""
        row = np.ones((1, self.rows.shape[1]))
        operators = (make_operator(k, row, None, "cpu") for k in self.kernels)
        return [op.matrix_.program is not None for op in operators]

    @property
    def _apart(self):
        """The kernels, without a diagonal that may be far larger than all the rest."""
        each = zip(self.kernels, self._have_formula, strict=True)
        return [OffDiagonal(k) if has_formula else k for k, has_formula in each]

    @property
    def _traces_if_needed(self):
        return 0.0 if all(self._have_formula) else self.traces()
