"""Kernel logistic regression: Newton's method with Falkon's preconditioner.

With the centres' matrix ``M = T' T`` and K rows against centres, functions are
``f = K T^-1 g`` and their squared norms ``|g|^2``. Each Newton step is a weighted least
squares problem ``T^-T K' W K T^-1 + alpha``, which `conjugate_gradients` solves as
roughly as the step deserves. The weights W at the centres make its preconditioner, as
in Marteau-Ferey, Bach & Rudi (2019), Globally convergent Newton methods for
ill-conditioned generalized self-concordant losses.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .least_squares import JITTER, conjugate_gradients, gram_of_upper
from .nystrom import regularised_cholesky

# Largest relative residual of a step's equations, and iterations that they may take.
FORCING, MOST_ITERATIONS = 0.1, 200
# What a step gains over what it was to gain: below the first, where that is little, all
# that is left is rounding; within the second of 1 it was one of Newton's last.
NOISE, NEARLY = 0.25, 0.5
# Iterations from which a preconditioner with newer weights pays.
SLOW = 12
# Armijo's share of the decrease that the slope promises, and shorter steps to try.
SUFFICIENT, SHORTEST = 1e-4, 2.0**-20
# Rows over those of a first, rough solution, and the least of it over the centres.
COARSE, LEAST_ROWS = 8, 2
# Decrement, over the objective, to which that is brought.
ROUGH_TOL = 1e-3
# Of constants, so that there is something to divide by.
LEAST_CURVATURE = 1e-300


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

    def some(self, rows):
        """That of some rows."""
        rows = self.xp.asarray(rows)
        weights = None if self.weights is None else self.weights[rows]
        return LogLoss(self.codes[rows], self.n_columns, weights, self.xp)

    def total_weight(self):
        """Sum of the weights."""
        return float(len(self.codes) if self.weights is None else self.weights.sum())

    def value(self, F):
        """Sum over the rows, added in float64."""
        xp = self.xp
        F = F.astype(np.float64)
        if self.n_columns == 1:
            F = xp.concatenate([xp.zeros_like(F), F], axis=1)
        top = F.max(axis=1)
        losses = xp.log(xp.exp(F - top[:, None]).sum(axis=1)) + top
        losses -= F[xp.arange(len(F)), self.codes]
        return float((losses if self.weights is None else self.weights * losses).sum())

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


class GramOperator:
    """A kernel matrix that is given, where an operator is wanted.

    Parameters
    ----------
    K : array of shape (n, n)
        Symmetric, on the device.
    device : Device
    """

    def __init__(self, K, device):
        self.K, self.device = K, device
        self.shape, self.dtype, self.T = K.shape, K.dtype, self

    def __matmul__(self, V):
        return self.K @ V

    def normal_matmat(self, V, targets, weights):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``."""
        U = self.K @ V
        U = weights[:, None] * (U if targets is None else U - targets)
        return self.K @ U, U


@dataclass
class State:
    """Where the iteration is.

    Attributes
    ----------
    g : array of shape (p, c) or (p + 1, c), float64
        ``T`` times the coefficients; then the constants, where there are any.
    scores : array of shape (n, c)
        F of the rows.
    objective : float
    """

    g: Any
    scores: Any
    objective: float


@dataclass(frozen=True)
class Problem:
    """Rows against centres, their loss, and a penalty.

    Attributes
    ----------
    operator : KernelOperator or GramOperator
        Rows against centres.
    T : array of shape (p, p), float64
        Upper factor of the centres' matrix.
    loss : LogLoss
    alpha : float
    has_intercept : bool
        Whether constants, without a penalty, are added to the scores.
    """

    operator: Any
    T: Any
    loss: LogLoss
    alpha: float
    has_intercept: bool

    @property
    def shape(self):
        """Of the coefficients, constants included."""
        return len(self.T) + self.has_intercept, self.loss.n_columns

    def state(self, g, scores=None):
        """The `State` of coefficients."""
        scores = self.scores(g) if scores is None else scores
        penalty = 0.5 * self.alpha * float((g[: len(self.T)] ** 2).sum())
        return State(g, scores, self.loss.value(scores) + penalty)

    def scores(self, g):
        """F of the rows."""
        F = self.operator @ self._coef(g)
        return F + g[len(self.T) :].astype(F.dtype) if self.has_intercept else F

    def slope(self, g, P):
        """Derivative of the objective by g, where the probabilities are P."""
        U = self.loss.slope(P)
        return self._by_g(self.operator.T @ U, U, g)

    def bent(self, P, V):
        """The matrix of a step times V, of the shape of g."""
        if self.loss.n_columns > 1:
            U = self.loss.bend(P, self.scores(V))
            return self._by_g(self.operator.T @ U, U, V)
        w, less = (P * (1.0 - P))[:, 0], None
        w = w if self.loss.weights is None else w * self.loss.weights
        if self.has_intercept:
            less = self.operator.device.xp.full_like(P, -float(V[-1, 0]))
        back, U = self.operator.normal_matmat(self._coef(V), less, w)
        return self._by_g(back, U, V)

    def _coef(self, g):
        coef = self.operator.device.linalg.solve_upper(self.T, g[: len(self.T)])
        return coef.astype(self.operator.dtype)

    def _by_g(self, back, U, V):
        """``T^-T back + alpha V``, and the sums of U for the constants."""
        device, back = self.operator.device, back.astype(np.float64)
        out = device.linalg.solve_upper(self.T, back, transposed=True)
        out = out + self.alpha * V[: len(self.T)]
        if not self.has_intercept:
            return out
        sums = U.astype(np.float64).sum(axis=0, keepdims=True)
        return device.xp.concatenate([out, sums])


class Preconditioner:
    """Upper factor A of about the matrix of a step, by the weights at the centres.

    Parameters
    ----------
    problem : Problem
    g : array of shape (p, c) or (p + 1, c)
        Where the step starts.
    """

    def __init__(self, problem, g):
        T, loss, device = problem.T, problem.loss, problem.operator.device
        self.xp, self.linalg, self.p = device.xp, device.linalg, len(T)
        F = T.T @ g[: self.p]
        P = loss.probabilities(F + g[self.p :] if problem.has_intercept else F)
        weights = loss.curvatures(P) * (loss.total_weight() / self.p)
        A = gram_of_upper(T * self.xp.sqrt(weights), self.xp)
        at = self.xp.arange(self.p)
        A[at, at] += problem.alpha
        self.factor = self.linalg.cholesky(A)
        self.of_constants = max(float(weights.sum()), LEAST_CURVATURE) ** 0.5

    def solve(self, V, transposed=False):
        """``A^-1 V``, or ``A^-T V``."""
        out = self.linalg.solve_upper(self.factor, V[: self.p], transposed=transposed)
        if len(V) == self.p:
            return out
        return self.xp.concatenate([out, V[self.p :] / self.of_constants])


def newton(problem, g, tol, max_iter, report=None):
    """Minimise from a start.

    Parameters
    ----------
    problem : Problem
    g : array of shape (p, c), float64
    tol : float
        End where no more than this share of the objective is left to gain.
    max_iter : int
    report : callable, default=None
        Called with the number of the step and the `State` after it.

    Returns
    -------
    state : State
    n_iter : int
    gap : float
        About what is left to gain, over the objective.
    """
    xp = problem.operator.device.xp
    state, A, first, gap = problem.state(g), None, None, np.inf
    tiny, noise = np.finfo(np.float64).tiny, np.finfo(problem.operator.dtype).eps ** 0.5
    iterations = SLOW
    for step in range(1, max_iter + 1):
        P = problem.loss.probabilities(state.scores)
        if iterations >= SLOW:
            A = Preconditioner(problem, state.g)
        slope = problem.slope(state.g, P)
        right = A.solve(slope, transposed=True)
        size = float(xp.sqrt((right * right).sum()))
        first = size if first is None else first
        if size == 0.0:
            return state, step - 1, 0.0

        def apply(v, A=A, P=P, shape=right.shape):
            V = A.solve(v.reshape(shape))
            return A.solve(problem.bent(P, V), transposed=True).reshape(-1, 1)

        # The nearer the end, the more digits a step must have to be a Newton step; but
        # what it leaves, in squares of the residual, need not be less than tol.
        enough = (0.1 * tol * max(state.objective, tiny)) ** 0.5 / size
        forcing = min(FORCING, max(size / first, enough))
        found, iterations, _ = conjugate_gradients(
            apply, right.reshape(-1, 1), lambda r: r, forcing, MOST_ITERATIONS, xp
        )
        move = -A.solve(found.reshape(right.shape))
        promised = -0.5 * float((move * slope).sum())
        new = _line_search(problem, state, move, slope)
        if new is None:  # to rounding
            return state, step, 0.0
        kept = (state.objective - new.objective) / max(promised, tiny)
        gap = promised / max(state.objective, tiny)
        state = new
        if report is not None:
            report(step, state)
        if gap < noise and kept < NOISE:
            return state, step, 0.0
        if abs(kept - 1.0) < NEARLY:
            gap *= abs(kept - 1.0) + forcing**2
        if gap <= tol:
            break
    return state, step, gap


def _line_search(problem, state, move, slope):
    """The state after a step along `move`, halved until it is downhill; None: none."""
    ahead, promised, t = problem.scores(move), float((move * slope).sum()), 1.0
    rounding = np.finfo(np.float64).eps * abs(state.objective)
    while t >= SHORTEST:
        new = problem.state(
            state.g + t * move, state.scores + ahead.dtype.type(t) * ahead
        )
        if new.objective <= state.objective + SUFFICIENT * t * promised:
            return new
        if -t * promised <= rounding:
            return None
        t *= 0.5
    return None


def solve_logistic(
    operator,
    M,
    loss,
    alpha,
    tol,
    max_iter,
    intercept=False,
    coarse=None,
    report=None,
):
    """Coefficients of centres that minimise ``sum_i w_i loss_i + alpha / 2 |f|^2``.

    Parameters
    ----------
    operator : KernelOperator or GramOperator
        Rows against centres.
    M : array of shape (p, p), float64
        Centres against centres; overwritten.
    loss : LogLoss
    alpha : float
    tol, max_iter, report
        Of `newton`.
    intercept : bool, default=False
        Whether the scores are f and a constant, which has no penalty.
    coarse : callable, default=None
        ``coarse(size)`` gives the numbers of so many random rows and the operator of
        these alone, for a first solution; None for none.

    Returns
    -------
    coef : array of shape (p, c), of the operator's dtype
    constants : array of shape (c,), float64
        Zeros without an intercept.
    n_iter : int
        Steps with all rows.
    objective : float
    """
    (n, p), device = operator.shape, operator.device
    xp = device.xp
    T = regularised_cholesky(M, device.linalg, xp, JITTER[operator.dtype.name])
    problem = Problem(operator, T, loss, alpha, intercept)
    g = xp.zeros(problem.shape)
    size = max(n // COARSE, LEAST_ROWS * p)
    if coarse is not None and size <= n // 2:
        rows, some = coarse(size)
        part = loss.some(rows)
        share = part.total_weight() / loss.total_weight()
        if share > 0:
            rough = Problem(some, T, part, alpha * share, intercept)
            g = newton(rough, g, ROUGH_TOL, max_iter)[0].g
    state, n_iter, gap = newton(problem, g, tol, max_iter, report)
    if n_iter == max_iter and gap > tol:
        warnings.warn(
            f"Newton's method stopped after max_iter={max_iter} steps. The last was to "
            f"lower the objective by {gap:.1e} of it, above tol={tol:.1e}: raise "
            "max_iter or alpha",
            ConvergenceWarning,
            stacklevel=2,
        )
    coef = device.linalg.solve_upper(T, state.g[:p]).astype(operator.dtype)
    constants = state.g[p] if intercept else xp.zeros(loss.n_columns)
    return coef, constants, n_iter, state.objective
