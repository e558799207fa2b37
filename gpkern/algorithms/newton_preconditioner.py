"""Preconditioners of the steps of kernel logistic regression, see `logistic`."""

from __future__ import annotations

from functools import partial

import numpy as np

from .least_squares import gram_of_upper

# Rows times squares of the centres up to which it is made of all rows.
ALL_ROWS = {"cpu": 2e10, "cuda": 2e12}
# Of constants, so that there is something to divide by: and of what others leave them.
LEAST_CURVATURE, LEAST_SHARE = 1e-300, 1e-10


class Preconditioner:
    """Upper factor A of about the matrix of a step.

    Parameters
    ----------
    A : array of shape (p, p), float64
        Upper triangle of the matrix without the penalty; overwritten.
    problem : Problem
    column : array of shape (p, 1), default=None
        The row of the constant 1, for an intercept.
    total : float, default=None
        Its last entry.
    """

    loss = curvatures = None
    is_given = property(lambda self: self.curvatures is None)

    def __init__(self, A, problem, column=None, total=None):
        device = problem.operator.device
        self.xp, self.linalg, self.p = device.xp, device.linalg, len(A)
        at = self.xp.arange(self.p)
        least = np.finfo(np.float64).eps * float(A[at, at].max())
        A[at, at] += max(problem.alpha, least)
        self.factor = self.linalg.cholesky(A)
        if column is not None:
            u = self.linalg.solve_upper(self.factor, column, transposed=True)
            left = total - float((u * u).sum())
            self.last = u, max(left, LEAST_SHARE * total, LEAST_CURVATURE) ** 0.5

    @classmethod
    def of(cls, problem, state, P):
        """That of the step from a state, with the probabilities P of the rows."""
        (n, p), device = problem.operator.shape, problem.operator.device
        kind, loss = device.name.partition(":")[0], problem.loss
        if problem.is_whole or n * p * p > ALL_ROWS[kind] or loss.n_problems > 1:
            made = cls.by_centers(problem, state.g)
        else:
            made = cls.by_rows(problem, P)
        made.loss, made.curvatures = loss, loss.curvatures(P)
        return made

    def change(self, P):
        """Of the rows' curvatures since it was made, over their sum."""
        if self.is_given:
            return 0.0
        now = self.loss.curvatures(P)
        away = abs(now - self.curvatures)
        if self.loss.n_problems == 1 and self.loss.weights is not None:
            weights = self.loss.weights.reshape(-1)
            now, away = weights * now, weights * away
        return float(away.sum()) / max(float(now.sum()), np.finfo(np.float64).tiny)

    @classmethod
    def by_centers(cls, problem, g):
        """With the weights at the centres, as those of all rows are."""
        T, loss, xp, p = problem.T, problem.loss, problem.xp, len(problem.T)
        F = T.T @ g[:p]
        P = loss.probabilities(F + g[p:] if problem.has_intercept else F)
        weights = loss.curvatures(P)
        if problem.is_whole and loss.weights is not None:
            weights *= loss.weights.reshape(-1)
        else:
            weights *= loss.total_weight() / p
        A = gram_of_upper(T * xp.sqrt(weights), xp)
        if not problem.has_intercept:
            return cls(A, problem)
        return cls(A, problem, (T @ weights)[:, None], float(weights.sum()))

    @classmethod
    def by_rows(cls, problem, P):
        """Of the rows themselves, ``n p^2`` operations; P are their probabilities."""
        loss = problem.loss
        weights = loss.curvatures(P).astype(np.float64)
        if loss.weights is not None:
            weights = weights * loss.weights.reshape(-1)
        sums = problem.operator.sum_over_rows(partial(_of_rows, problem.T), weights)
        if not problem.has_intercept:
            return cls(sums[0], problem)
        return cls(sums[0], problem, sums[1][:, None], float(sums[2]))

    def solve(self, V, transposed=False):
        """``A^-1 V``, or ``A^-T V``."""
        solve, top = self.linalg.solve_upper, V[: self.p]
        if len(V) == self.p:
            return solve(self.factor, top, transposed=transposed)
        u, corner = self.last
        if transposed:
            top = solve(self.factor, top, transposed=True)
            end = (V[self.p :] - u.T @ top) / corner
        else:
            end = V[self.p :] / corner
            top = solve(self.factor, top - u @ end)
        return self.xp.concatenate([top, end])


def _of_rows(T, device, K, weights):
    """What some rows add to the matrix of a step, to its last row and its corner."""
    T = device.xp.asarray(device.put(T))
    rows = device.linalg.solve_upper(T, K.T.astype(np.float64), transposed=True)
    return (rows * weights) @ rows.T, rows @ weights, weights.sum()
