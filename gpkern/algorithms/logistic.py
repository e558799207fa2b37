"""Kernel logistic regression: Newton's method with Falkon's preconditioner.

With the centres' matrix ``M = T' T`` and K rows against centres, functions are
``f = K T^-1 g`` and their squared norms ``|g|^2``. Each Newton step is a weighted least
squares problem ``T^-T K' W K T^-1 + alpha``, which `conjugate_gradients` solves as
roughly as the step deserves. Its preconditioner is the matrix itself where that is
cheap; else the weights W at the centres stand for all, as in Marteau-Ferey, Bach & Rudi
(2019), Globally convergent Newton methods for ill-conditioned generalized
self-concordant losses.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .least_squares import JITTER, PATIENCE, conjugate_gradients
from .newton_preconditioner import Preconditioner
from .nystrom import regularised_cholesky

# Largest relative residual of a step's equations, and iterations that they may take.
FORCING, MOST_ITERATIONS = 0.1, 200
# What a step gains over what it was to gain: below the first, where that is little, all
# that is left is rounding; within the second of 1 it was one of Newton's last. And how
# far above gains of mere rounding promises may be.
NOISE, NEARLY, ROUGHLY = 0.25, 0.5, 30.0
# Iterations from which a preconditioner with newer weights pays.
SLOW = 12
# Change of the rows' curvatures, over their sum, from which it is too old: where they
# have fallen since, little of a step's residual may be much of its gain. And for a step
# that is to be the last.
STALE, FRESH = 0.25, 1e-3
# Of a step that is surely Newton's last: how far it is from its promise, and that from
# the one before.
CALM = 0.1
# Share of the objective at the start that is as good as 0.
PERFECT = 1e-10
# Armijo's share of the decrease that the slope promises, and shorter steps to try.
SUFFICIENT, SHORTEST = 1e-4, 2.0**-20
# Rows over those of a first, rough solution, and the least of it over the centres.
COARSE, LEAST_ROWS = 8, 2
# Decrement, over the objective, to which that is brought.
ROUGH_TOL = 1e-3


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

    def blocks(self):
        """All rows, as one block."""
        yield slice(None), self.K

    def normal_sums(self, V, targets, weights):
        """``K.T @ U`` and the sums of ``U = weights * (K @ V - targets)``."""
        U = self.K @ V
        return self.adjoint_sums(
            weights[:, None] * (U if targets is None else U - targets)
        )

    def adjoint_sums(self, U):
        """``K.T @ U``, and the sums of the columns of U."""
        return self.K @ U, U.sum(axis=0, dtype=np.float64)


@dataclass
class State:
    """Where the iteration is.

    Attributes
    ----------
    g : array of shape (p, c) or (p + 1, c), float64
        ``T`` times the coefficients; then the constants, where there are any.
    scores : array of shape (n, c)
        F of the rows.
    objectives : ndarray of shape (k,)
        Of each problem, on the host.
    """

    g: Any
    scores: Any
    objectives: Any


@dataclass(frozen=True)
class Problem:
    """Rows against centres, their loss, and a penalty.

    Attributes
    ----------
    operator : KernelOperator or GramOperator
        Rows against centres.
    T : array of shape (p, p), float64
        Upper factor of the centres' matrix.
    loss : LogLoss or LogLosses
    alpha : float
    has_intercept : bool
        Whether constants, without a penalty, are added to the scores.
    is_whole : bool, default=False
        Whether the rows are the centres.
    """

    operator: Any
    T: Any
    loss: Any
    alpha: float
    has_intercept: bool
    is_whole: bool = False

    @property
    def xp(self):
        return self.operator.device.xp

    @property
    def shape(self):
        """Of the coefficients, constants included."""
        return len(self.T) + self.has_intercept, self.loss.n_columns

    def state(self, g, scores=None):
        """The `State` of coefficients."""
        scores = self.scores(g) if scores is None else scores
        inside = g[: len(self.T)]
        penalty = 0.5 * self.alpha * self.inner(inside, inside)
        scores = self.operator.device.keep(scores)
        return State(g, scores, self.loss.values(scores) + penalty)

    def flat(self, V):
        """Each problem's numbers as one column."""
        return V.reshape(-1, self.loss.n_problems)

    def inner(self, U, V):
        """Inner products of each problem's numbers, shape (k,), on the host."""
        out = (self.flat(U) * self.flat(V)).sum(axis=0)
        return self.operator.device.get(out)

    def scores(self, g):
        """F of the rows."""
        F = self.operator @ self._coef(g)
        return F + g[len(self.T) :].astype(F.dtype) if self.has_intercept else F

    def slope(self, g, P):
        """Derivative of the objective by g, where the probabilities are P."""
        return self._by_g(self.operator.adjoint_sums(self.loss.slope(P)), g)

    def bent(self, P, V):
        """The matrix of a step times V, of the shape of g."""
        if self.loss.n_columns > 1 or self.loss.n_problems > 1:
            U = self.loss.bend(P, self.scores(V))
            return self._by_g(self.operator.adjoint_sums(U), V)
        w, less = (P * (1.0 - P))[:, 0], None
        w = w if self.loss.weights is None else w * self.loss.weights.reshape(-1)
        if self.has_intercept:
            less = self.operator.device.xp.full_like(P, -float(V[-1, 0]))
        return self._by_g(self.operator.normal_sums(self._coef(V), less, w), V)

    def _coef(self, g):
        coef = self.operator.device.linalg.solve_upper(self.T, g[: len(self.T)])
        return coef.astype(self.operator.dtype)

    def _by_g(self, parts, V):
        """``T^-T K' U + alpha V``, and the sums of U for the constants."""
        device, (back, sums) = self.operator.device, parts
        back = back.astype(np.float64)
        out = device.linalg.solve_upper(self.T, back, transposed=True)
        out = out + self.alpha * V[: len(self.T)]
        if not self.has_intercept:
            return out
        return device.xp.concatenate([out, sums[None, :]])


def newton(problem, state, tol, max_iter, report=None, A=None):
    """Minimise from a start; several problems at a time.

    Parameters
    ----------
    problem : Problem
    state : State
        The start.
    tol : float
        End where no more than this share of the objective is left to gain.
    max_iter : int
    report : callable, default=None
        Called with the number of the step and the `State` after it.
    A : Preconditioner, default=None
        Of the first steps; None makes one at the start.

    Returns
    -------
    state : State
    n_iter : int
    gap : float
        About what is left to gain, over the objective, in the worst problem.
    """
    xp, tiny = problem.xp, np.finfo(np.float64).tiny
    noise = np.finfo(problem.operator.dtype).eps ** 0.5
    # In float64 a residual that rises comes down again.
    patience = MOST_ITERATIONS if problem.operator.dtype == np.float64 else PATIENCE
    first, iterations, is_last = None, 0, False
    promises = np.full(problem.loss.n_problems, np.inf)
    # Of separated classes the objective falls for ever, by shares of itself.
    floor = np.maximum(PERFECT * state.objectives, tiny)
    gaps = np.full(problem.loss.n_problems, np.inf)
    for step in range(1, max_iter + 1):
        P = problem.loss.probabilities(state.scores)
        change = np.inf if A is None else A.change(P)
        if iterations >= SLOW or change > (FRESH if is_last else STALE):
            A, change = Preconditioner.of(problem, state, P), 0.0
        slope = problem.slope(state.g, P)
        # Problems that have ended stay where they are.
        slope *= _by_columns(problem, gaps > tol)
        right = A.solve(slope, transposed=True)
        sizes = np.sqrt(problem.inner(right, right))
        first = sizes if first is None else first
        if not np.isfinite(sizes).all():
            raise ValueError(
                "the kernel's values or their sums overflow: scale X, or the kernel "
                "matrix, to smaller numbers"
            )
        if not sizes.any():
            return state, step - 1, 0.0

        def apply(v, A=A, P=P, shape=right.shape):
            V = A.solve(v.reshape(shape))
            return problem.flat(A.solve(problem.bent(P, V), transposed=True))

        forcing = _forcing(sizes, first, tol * np.maximum(state.objectives, floor))
        found, iterations, residual = conjugate_gradients(
            apply,
            problem.flat(right),
            lambda r: r,
            forcing,
            MOST_ITERATIONS,
            xp,
            patience,
        )
        move = -A.solve(found.reshape(right.shape))
        promised = -0.5 * problem.inner(move, slope)
        new = _line_search(problem, state, move, promised)
        gained, before = state.objectives - new.objectives, state.objectives
        state = new
        if report is not None:
            report(step, state)
        before = np.maximum(before, floor)
        # A step whose equations are not solved yet promises less than there is.
        unsolved = 0.5 * (residual * sizes) ** 2 / before
        falls = promised / np.maximum(promises, tiny)
        gaps = _gaps(gaps, promised, gained, before, residual, noise, unsolved, falls)
        gaps[state.objectives <= floor] = 0.0
        promises = promised
        gap = float(gaps.max())
        done = gap <= tol
        sure = (abs(gained - promised) <= CALM * promised) & (falls <= CALM)
        if done and (A.is_given or sure.all() or (is_last and change <= FRESH)):
            break
        # Small penalties have steps that promise little in between others: once more.
        is_last = done
        if done:
            gaps = np.full_like(gaps, np.inf)
    return state, step, gap


def _by_columns(problem, values):
    """Numbers of the problems for each column of g, on the device."""
    values = np.broadcast_to(values, problem.loss.n_columns)
    return problem.operator.device.xp.asarray(values.astype(np.float64))


def _forcing(sizes, first, wanted):
    """Relative residual to which the equations of a step are solved.

    The nearer the end, the more digits a step must have to be a Newton step; but what
    it leaves, in squares of the residual, need not be less than what is wanted.
    """
    moving = sizes > 0
    nearer = sizes[moving] / first[moving]
    enough = np.sqrt(0.1 * wanted[moving]) / sizes[moving]
    return min(FORCING, float(np.maximum(nearer, enough).min()))


def _gaps(gaps, promised, gained, objectives, residual, noise, unsolved, falls):
    """What is left to gain after a step, over the objectives; of ended ones as before.

    Parameters
    ----------
    gaps, promised, gained, objectives : ndarray of shape (k,)
    residual : float
        Relative, of the step's equations.
    noise : float
        Gains over the objective below which rounding may be all there is.
    unsolved : ndarray of shape (k,)
        What about the step would gain more, were its equations solved.
    falls : ndarray of shape (k,)
        What is promised, over what the step before promised.
    """
    kept = np.where(promised > 0, gained / np.where(promised > 0, promised, 1.0), 1.0)
    new = promised / objectives
    near = (abs(kept - 1.0) < NEARLY) & (residual <= FORCING)
    # Steps may be far from their model while, on the whole, it keeps what it promised.
    more = np.where(falls < 0.5, falls / (1.0 - np.minimum(falls, 0.5)), 1.0)
    more = np.maximum(more, abs(kept - 1.0) + residual**2)
    left = new * np.where(near, more, 1.0)
    left = np.maximum(left, unsolved)
    # Slopes may be too rough for the promise to become small.
    rounding = (new * kept < noise) & (new < ROUGHLY * noise)
    left[rounding & (kept < NOISE)] = 0.0
    return np.where(promised > 0, left, np.minimum(gaps, 0.0))


def _line_search(problem, state, move, promised):
    """The state after a step along `move`, halved until it is downhill.

    Problems that only rounding keeps from going down stay where they are.
    """
    ahead, t = problem.scores(move), np.ones_like(promised)
    ahead = problem.operator.device.keep(ahead)
    rounding = np.finfo(np.float64).eps * abs(state.objectives)
    while True:
        steps = _by_columns(problem, t)
        scores = state.scores + steps.astype(ahead.dtype) * ahead
        new = problem.state(state.g + steps * move, scores)
        bound = state.objectives - 2.0 * SUFFICIENT * t * promised
        up = ~(new.objectives <= bound) & (t > 0)
        if not up.any():
            return new
        still = (2.0 * t * promised <= rounding) | (t < SHORTEST)
        t = np.where(up, np.where(still, 0.0, 0.5 * t), t)


def solve_logistic(
    operator,
    M,
    loss,
    alpha,
    tol,
    max_iter,
    intercept=False,
    is_whole=False,
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
    is_whole : bool, default=False
        Whether the rows are the centres.
    coarse : callable, default=None
        ``coarse(size)`` gives the loss of about so many random rows and the operator
        of these alone, for a first solution; None for none.

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
    problem = Problem(operator, T, loss, alpha, intercept, is_whole)
    state = _zeros(problem)
    size = max(n // COARSE, LEAST_ROWS * p)
    if coarse is not None and size <= n // 2:
        part, some = coarse(size)
        share = part.total_weight() / loss.total_weight()
        if share > 0:
            rough = Problem(some, T, part, alpha * share, intercept)
            found = newton(rough, _zeros(rough), ROUGH_TOL, max_iter)[0]
            # Of few rows and a small penalty it may be worse than none.
            found = problem.state(found.g)
            state = found if found.objectives[0] < state.objectives[0] else state
    state, n_iter, gap = newton(problem, state, tol, max_iter, report)
    if n_iter == max_iter and gap > tol:
        warnings.warn(
            f"Newton's method stopped after max_iter={max_iter} steps. The last was to "
            f"lower the objective by {gap:.1e} of it, above tol={tol:.1e}: raise "
            "max_iter or alpha",
            ConvergenceWarning,
            stacklevel=6,
        )
    coef = device.linalg.solve_upper(T, state.g[:p]).astype(operator.dtype)
    constants = state.g[p] if intercept else xp.zeros(loss.n_columns)
    return coef, constants, n_iter, float(state.objectives[0])


def _zeros(problem):
    """The state of coefficients 0, without products."""
    g = problem.xp.zeros(problem.shape)
    return problem.state(g, problem.loss.zeros(problem.operator.dtype))
