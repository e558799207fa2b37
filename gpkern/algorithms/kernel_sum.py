"""Sums of kernels at points: the values, slopes and curvatures of a density."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

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
        On the device.
    weights : array of shape (n,), float64
        Of sum 1; some may be 0.
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
        with np.errstate(divide="ignore"):
            return self.device.xp.log(self.weights)

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
        with np.errstate(divide="ignore"):
            return self.device.xp.log(sums.astype(np.float64))

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
        xp, n = self.device.xp, len(self.points)
        left = xp.ones(n, bool)
        left[chosen] = False
        few = self._part(chosen).log_without_self()
        if not bool(left.any()):
            return few
        return xp.logaddexp(
            few, self._part(xp.flatnonzero(left)).log(self.points[chosen])
        )

    def _part(self, rows):
        return replace(self, points=self.points[rows], weights=self.weights[rows])

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
