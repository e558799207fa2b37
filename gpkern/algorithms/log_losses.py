"""Negative log likelihoods of classes, with their derivatives by the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LogLoss:
    """Weighted negative log likelihood of classes, by scores F of shape (n, c).

    Attributes
    ----------
    codes : array of int of shape (n,)
        Class numbers, on the device.
    n_columns : int
        1 of two classes: the log odds of class 1. Else one for each class.
    weights : array of shape (n,) or None
    xp : module
    """

    codes: Any
    n_columns: int
    weights: Any
    xp: Any

    n_problems = 1

    def some(self, rows):
        """That of some rows."""
        rows = self.xp.asarray(rows)
        weights = None if self.weights is None else self.weights[rows]
        return LogLoss(self.codes[rows], self.n_columns, weights, self.xp)

    def zeros(self, dtype):
        """Scores 0 of all rows."""
        return self.xp.zeros((len(self.codes), self.n_columns), dtype)

    def total_weight(self):
        """Sum of the weights."""
        return float(len(self.codes) if self.weights is None else self.weights.sum())

    def values(self, F):
        """Sum over the rows, shape (1,), added in float64, on the host."""
        xp = self.xp
        F = F.astype(np.float64)
        if self.n_columns == 1:
            F = xp.concatenate([xp.zeros_like(F), F], axis=1)
        top = F.max(axis=1)
        losses = xp.log(xp.exp(F - top[:, None]).sum(axis=1)) + top
        losses -= F[xp.arange(len(F)), self.codes]
        total = (losses if self.weights is None else self.weights * losses).sum()
        return np.array([float(total)])

    def probabilities(self, F):
        """Of class 1, or of each class, shape (n, c)."""
        if self.n_columns == 1:
            return 0.5 + 0.5 * self.xp.tanh(0.5 * F)
        P = self.xp.exp(F - F.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        return P

    def slope(self, P):
        """Derivative by F, shape (n, c), where the probabilities are P."""
        out = P.copy()
        if self.n_columns == 1:
            out[:, 0] -= self.codes
        else:
            out[self.xp.arange(len(P)), self.codes] -= 1.0
        return out if self.weights is None else self.weights[:, None] * out

    def bend(self, P, V):
        """Second derivative by F, in the direction of V, both of shape (n, c)."""
        out = P * V
        if self.n_columns == 1:
            out *= 1.0 - P
        else:
            out -= P * out.sum(axis=1, keepdims=True)
        return out if self.weights is None else self.weights[:, None] * out

    def curvatures(self, P):
        """Of a row of weight 1, over its columns on average, shape (n,)."""
        return (P * (1.0 - P)).mean(axis=1)


@dataclass(frozen=True)
class LogLosses:
    """Those of many problems of two classes: each column of F is one of its own.

    Attributes
    ----------
    is_one : array of bool of shape (n, k)
        Which rows are of class 1.
    weights : array of shape (n, k)
        Of the rows; 0 leaves one out.
    xp : module
    """

    is_one: Any
    weights: Any
    xp: Any

    @property
    def n_columns(self):
        return self.is_one.shape[1]

    n_problems = n_columns

    def zeros(self, dtype):
        """Scores 0 of all rows."""
        return self.xp.zeros(self.is_one.shape, dtype)

    def total_weight(self):
        """Sum of the weights, on average over the problems."""
        return float(self.weights.sum(dtype=np.float64)) / self.n_problems

    def values(self, F):
        """Sums over the rows, shape (k,), on the host."""
        losses = self.xp.logaddexp(0.0, F) - self.is_one * F
        total = (self.weights * losses).sum(axis=0, dtype=np.float64)
        return total.get() if hasattr(total, "get") else total

    def probabilities(self, F):
        """Of class 1, shape (n, k)."""
        return 0.5 + 0.5 * self.xp.tanh(0.5 * F)

    def slope(self, P):
        """Derivative by F, where the probabilities are P."""
        return self.weights * (P - self.is_one)

    def bend(self, P, V):
        """Second derivative by F, in the direction of V."""
        return self.weights * P * (1.0 - P) * V

    def curvatures(self, P):
        """Of a row of weight 1, on average over the problems, shape (n,)."""
        return (P * (1.0 - P)).mean(axis=1)
