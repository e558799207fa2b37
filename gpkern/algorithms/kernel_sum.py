"""Sums of kernels at points: the values, slopes and curvatures of a density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from .._device import is_dask
from ..kernels import OffDiagonal
from ..operator import make_operator


@dataclass(frozen=True)
class KernelSum:
    """``log sum_j w_j k(x, p_j)`` and what follows from it.

    Attributes
    ----------
    kernel : DensityKernel
        1 where two rows meet.
    points : array of shape (n, d)
        On the device. Those of a Dask array stay in its blocks; sums at rows in memory
        are computed, and at rows in blocks they are lazy.
    weights : array of shape (n,), float64
        Of sum 1; some may be 0. In the blocks of the points.
    device : Device
    power : float, default=1.0
        Of the kernel.
    """

    kernel: Any
    points: Any
    weights: Any
    device: Any
    power: float = 1.0

    @property
    def _log_weights(self):
        return self._logarithm(self.weights)

    def _logarithm(self, sums):
        """-inf of 0."""
        if is_dask(sums):
            return sums.map_blocks(self._logarithm_of_block, dtype=np.float64)
        return self._logarithm_of_block(sums)

    @staticmethod
    def _logarithm_of_block(sums):
        with np.errstate(divide="ignore"):
            return np.log(sums)

    @property
    def _powered(self):
        return self.kernel if self.power == 1.0 else self.kernel**self.power

    @cached_property
    def _prepared(self):
        """Of one row: the points are read and scaled once for all calls."""
        return make_operator(self._powered, self.points[:1], self.points, self.device)

    def _operator(self, X):
        return self._prepared.with_rows(X)

    def log(self, X):
        """Of rows on the device, shape (m,), float64; -inf beyond compact kernels."""
        return self._log_rows(self._operator(X))

    def _log_rows(self, operator):
        if not self.kernel.is_compact:
            return operator.row_logsumexp(self._log_weights)
        sums = operator.row_sum(self.weights.astype(operator.dtype))
        return self._logarithm(sums.astype(np.float64))

    def log_without_self(self):
        """At each point, of the others alone, shape (n,), float64."""
        apart = OffDiagonal(self._powered)
        operator = make_operator(apart, self.points, None, self.device)
        return self._log_rows(operator)

    def log_of_others(self, chosen):
        """The same at some of the points alone.

        Each of these is left out of its own sum: the sum is that over all others,
        and over the rest of the chosen ones.
        """
        return log_of_parts(*self.split(chosen))

    def split(self, chosen):
        """The sums of some of the points, in memory, and of the others, or None."""
        few = self.part(chosen)
        if is_dask(self.points):
            from ..dask.samples import without

            return few, replace(self, weights=without(self.weights, chosen))
        xp = self.device.xp
        left = xp.ones(len(self.points), bool)
        left[xp.asarray(chosen)] = False
        return few, self.part(xp.flatnonzero(left)) if bool(left.any()) else None

    def part(self, rows):
        """The sum of some of the points, ascending, in memory."""
        if is_dask(self.points):
            from ..dask.arrays import take

            points, weights = take(self.points, rows), take(self.weights, rows)
        else:
            rows = self.device.xp.asarray(rows)
            points, weights = self.points[rows], self.weights[rows]
        return replace(self, points=points, weights=weights)

    def draw(self, count, rng):
        """At most so many points, drawn by weight: their numbers, ascending.

        Parameters
        ----------
        count : int
        rng : RandomState
        """
        n = len(self.points)
        if count >= n:
            return np.arange(n)
        if is_dask(self.points):
            from ..dask.samples import drawn

            return drawn(self.weights, count, rng)
        share = self.device.get(self.weights)
        count = min(count, int((share > 0).sum()))
        return np.sort(rng.choice(n, count, replace=False, p=share / share.sum()))

    def gradient(self, X):
        """Of `log`, shape (m, d), float64; zeros where the sum is 0."""
        operator = self._operator(X)
        if not self.kernel.is_compact:
            return operator.row_logsumexp_gradient(self._log_weights).astype(np.float64)
        weights = self.weights.astype(operator.dtype)
        sums = operator.row_sum(weights).astype(np.float64)[:, None]
        slopes = operator.row_gradient(weights).astype(np.float64)
        return self.device.xp.where(sums > 0, slopes / abs(sums + (sums <= 0)), 0.0)

    def shift(self, X, V=None):
        """Where a step of mean shift goes, shape (m, d), float64; see the operator."""
        return self._operator(X).row_mean_shift(self._log_weights, V)

    def hessian(self, X):
        """Second derivatives of `log`, shape (m, d, d), float64."""
        return self._operator(X).row_logsumexp_hessian(self._log_weights)

    @property
    def is_smooth(self):
        """Whether `hessian` exists everywhere."""
        return self.kernel.is_smooth

    @property
    def has_cusp(self):
        """Whether it falls at once on all sides of a point."""
        return self.kernel.has_cusp

    def exact(self):
        """The same in float64."""
        return self if self.points.dtype == np.float64 else self._exact

    @cached_property
    def _exact(self):
        return replace(self, points=self.points.astype(np.float64))

    def effective_number(self, log):
        """How many terms make up a sum: ``(sum v)^2 / sum v^2`` of them.

        Parameters
        ----------
        log : callable
            Of a `KernelSum`: one of its methods, with its arguments.

        Returns
        -------
        array, float64
            0 where all terms are 0.
        """
        xp, first = self.device.xp, log(self)
        squares = replace(self, weights=self.weights**2, power=2.0 * self.power)
        none = first == -np.inf
        excess = 2.0 * xp.where(none, 0.0, first) - xp.where(none, 0.0, log(squares))
        return xp.where(none, 0.0, xp.exp(excess))


def log_of_parts(few, rest):
    """`KernelSum.log_of_others` of the two sums of `KernelSum.split`."""
    logs = few.log_without_self()
    return logs if rest is None else few.device.xp.logaddexp(logs, rest.log(few.points))
