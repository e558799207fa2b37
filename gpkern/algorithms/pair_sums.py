"""Sums over all pairs of rows for several kernels, and their forms in multipliers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .._device import is_dask
from .._forms import quadratic_forms
from ..operator import make_operator
from .low_rank import pivoted_cholesky

# Numbers of a factor that are worked on at a time.
CHUNK = 1 << 24
# Rows and vectors from which a factor of low rank is worth looking for, and the share
# of the rows that its rank may be.
LEAST_ROWS, LEAST_VECTORS, RANK_SHARE = 500, 200, 1 / 16


def pair_sums(rows, kernels, device, rest=1e-5, precision="medium"):
    """`PairSums`, of the rows of a Dask array too, which workers then hold."""
    if not is_dask(rows):
        return PairSums(rows, kernels, device, rest, precision)
    from ..dask.pair_sums import BlockedPairSums

    return BlockedPairSums.of(rows, kernels, device, rest, precision)


@dataclass(frozen=True)
class PairSums:
    """Kernels k_1, k_2, ... of the same rows.

    Attributes
    ----------
    rows : array of shape (n, d)
        On the device.
    kernels : list of Kernel
        Positive semi-definite.
    device : Device
    rest : float, default=1e-5
        Of `forms` on a CPU: what a factor of low rank may leave of a matrix.
    precision : {"medium", "high"}, default="medium"
        Of `forms`: 24 significant bits of kernel values on a CPU and 11 on a GPU, or
        those of the dtype and 22.
    """

    rows: Any
    kernels: list
    device: Any
    rest: float = 1e-5
    precision: str = "medium"

    @cached_property
    def _operators(self):
        first = make_operator(
            self.kernels[0], self.rows, None, self.device, dtype=np.float64
        )
        return [first, *(first.with_kernel(k) for k in self.kernels[1:])]

    @cached_property
    def row_sums(self):
        """``sum_j k(x_i, x_j)``, shape (len(kernels), n), float64."""
        return self._operators[0].row_sums(self.kernels)

    @cached_property
    def diagonals(self):
        """``k(x_i, x_i)``, shape (len(kernels), n), float64."""
        return self.device.xp.stack([op.diagonal() for op in self._operators])

    def totals(self):
        """Sums over all pairs with i != j, shape (len(kernels),), on the host."""
        return self.device.get((self.row_sums - self.diagonals).sum(axis=1))

    def traces(self):
        """Sums of k(x_i, x_i), shape (len(kernels),), on the host."""
        return self.device.get(self.diagonals.sum(axis=1))

    def means_at(self, X):
        """``mean_j k(x, x_j)`` at other rows, shape (len(kernels), m), float64."""
        n, means = len(self.rows), []
        for kernel in self.kernels:
            operator = make_operator(
                kernel, X, self.rows, self.device, dtype=np.float64
            )
            means.append(operator.row_sum() / n)
        return self.device.xp.stack(means)

    def own_pairs(self, first, second):
        """Sums of ``k(x_i, y_i)`` over two samples of as many rows, shape (k,)."""
        operators = (make_operator(k, first, second, self.device) for k in self.kernels)
        return np.array([float(op.diagonal().sum()) for op in operators])

    def squares(self, R):
        """``sum_i r_i^2 k(x_i, x_i)``, shape (len(kernels), b), on the host."""
        xp = self.device.xp
        R = R if hasattr(R, "rows") else xp.asarray(R)
        return self.device.get(xp.stack([squares_of(R, o, xp) for o in self.diagonals]))

    def forms(self, R):
        """``sum_{i != j} r_i r_j k(x_i, x_j)`` of each column r of R.

        Parameters
        ----------
        R : RandomSigns or array of shape (n, b)
            Of whole numbers.

        Returns
        -------
        ndarray of shape (len(kernels), b), float64, on the host
            Off by some 1e-5 of their spread, at most, as kernel values are rounded.
        """
        if self.device.name != "cpu":
            return self.device.get(self._forms_by_products(R))
        return np.stack([self._forms_of(op, R) for op in self._operators])

    def _forms_of(self, operator, R):
        """Of one kernel, on the CPU: from a factor of low rank where there is one."""
        (n, b), L = R.shape, None
        if n >= LEAST_ROWS and b >= LEAST_VECTORS:
            L = pivoted_cholesky(operator, int(n * RANK_SHARE), self.rest)
        if L is None:
            operator, own = _apart(operator)
            out = operator.with_precision(self.precision).quadratic_forms(R)
            if not np.isfinite(out).all():  # beyond float32
                out = operator.quadratic_forms(R)
            return out if own is None else out - squares_of(R, own, np)
        out, own = np.zeros((len(L), b)), np.einsum("ri,ri->i", L, L)
        height = max(1, CHUNK // b)
        for a in range(0, n, height):
            z = min(a + height, n)
            out += L[:, a:z] @ _part(R, a, z, np, np.float64)
        # The diagonal of the factor: what is left of K's is as small as the rest.
        return np.einsum("rb,rb->b", out, out) - squares_of(R, own, np)

    def _forms_by_products(self, R):
        """Of all kernels, on a GPU, in float32."""
        xp = self.device.xp
        first = make_operator(
            self.kernels[0],
            self.rows,
            None,
            self.device,
            dtype=np.float32,
            precision=self.precision,
        )
        R = R if hasattr(R, "rows") else xp.asarray(R)
        apart = [_apart(first.with_kernel(k)) for k in self.kernels]
        out = quadratic_forms([op for op, _ in apart], R)
        spread = out.std(axis=1)
        if not bool(((spread > 0) & (spread < np.inf)).all()):  # beyond float32
            apart = [_apart(op) for op in self._operators]
            out = quadratic_forms([op for op, _ in apart], R)
        for k, (_, own) in enumerate(apart):
            if own is not None:
                out[k] -= squares_of(R, own, xp)
        return out


def _apart(operator):
    """The operator without its diagonal, which may be far larger than all the rest.

    For functions without a formula, itself and its diagonal.
    """
    if operator.matrix_.program is None:
        return operator, operator.diagonal()
    return operator.without_diagonal(), None


def _part(R, start, stop, xp, dtype):
    if hasattr(R, "rows"):
        return R.rows(start, stop, xp, dtype)
    return R[start:stop].astype(dtype)


def squares_of(R, diagonal, xp):
    """``sum_i r_i^2 k(x_i, x_i)``; of signs the trace."""
    diagonal = diagonal.astype(np.float64)
    if hasattr(R, "rows") or R.dtype == np.int8:  # signs, all of them
        return xp.full(R.shape[1], diagonal.sum())
    n, b = R.shape
    out, height = xp.zeros(b), max(1, CHUNK // b)
    for a in range(0, n, height):
        out += diagonal[a : a + height] @ (R[a : a + height].astype(np.float64) ** 2)
    return out


class GramSums:
    """The same of one kernel whose matrix is given.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric, on the device.
    device : Device
    """

    def __init__(self, K, device):
        self.rows, self.device = K, device
        self.row_sums = K.sum(axis=1, dtype=np.float64)[None]
        self.diagonals = device.xp.diagonal(K).astype(np.float64)[None]

    totals, traces, squares = PairSums.totals, PairSums.traces, PairSums.squares

    def forms(self, R):
        """``sum_{i != j} r_i r_j K_ij`` of each column r, shape (1, b), on the host."""
        xp, (n, b) = self.device.xp, R.shape
        R = xp.asarray(_part(R, 0, n, xp, np.int8) if hasattr(R, "rows") else R)
        out, width = xp.empty(b), max(1, CHUNK // n)
        for a in range(0, b, width):
            part = R[:, a : a + width].astype(self.rows.dtype)
            out[a : a + width] = (part * (self.rows @ part)).sum(axis=0)
        own = squares_of(R, self.diagonals[0], xp)
        return self.device.get(out - own)[None]
