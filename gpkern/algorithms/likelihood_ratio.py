"""The learned likelihood ratio of a batch and a reference (NPLM), and its toys.

A logistic machine told the rows of a batch, of weight 1, from those of a reference,
each of weight ``w = expected / n_reference``, learns the logarithm f of the ratio of
their densities, counts included. The test statistic is the extended likelihood ratio

    t = 2 (sum_batch f + w sum_reference (1 - exp f))

(D'Agnolo & Wulzer 2019, eq. 8; Letizia et al. 2022, eq. 13). Toys, batches that hold
nothing but the reference, share their rows, their centres and the preconditioner with
each other and with the tests: many of them are columns of one problem.

The machine has an intercept, which the published one lacks. Without it f is 0 where no
centre is near, so that rows far outside the reference add nothing to t: a hundred
events at an overflow value would go unseen. The intercept is their ratio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

from ..operator import make_operator
from .least_squares import JITTER
from .log_losses import LogLoss, LogLosses
from .logistic import Problem, newton
from .newton_preconditioner import Preconditioner
from .nystrom import regularised_cholesky

# Arrays of rows by toys that are alive at a time, of which memory is for so many toys;
# and toys with rows of their own that are worked on together.
ARRAYS, SIMULATED = 12, 8
# Standard deviations of a count for which rows of the reference are set aside.
SPARE = 5.0
# Logarithm of a p-value below which SciPy's is about to underflow, and terms of a
# continued fraction that takes its place.
TINY, TERMS = -600.0, 100_000


@dataclass(frozen=True)
class Machine:
    """What all tests against a reference share.

    Attributes
    ----------
    kernel : Kernel
    centers : array of shape (p, d)
        On the device.
    T : array of shape (p, p), float64
        Upper factor of the centres' matrix.
    alpha : float
        Penalty.
    A : Preconditioner
    device : Device
    tol, max_iter
        Of `newton`.
    """

    kernel: Any
    centers: Any
    T: Any
    alpha: float
    A: Any
    device: Any
    tol: float
    max_iter: int

    @classmethod
    def of(cls, kernel, centers, alpha, expected, device, tol, max_iter):
        """Factors for batches of about so many rows as are expected."""
        xp, dtype = device.xp, np.dtype(centers.dtype)
        own = make_operator(kernel, centers, None, device, dtype=np.float64)
        T = regularised_cholesky(own.to_dense(), device.linalg, xp, JITTER[dtype.name])
        # Of nothing learned yet: both samples weigh the same, everywhere.
        even = LogLosses(xp.zeros((1, 1), bool), xp.full((1, 1), 2.0 * expected), xp)
        problem = Problem(own, T, even, alpha, True)
        A = Preconditioner.by_centers(problem, xp.zeros(problem.shape))
        return cls(kernel, centers, T, alpha, A, device, tol, max_iter)

    def learn(self, X, loss):
        """Log ratios of rows, and what they are made of.

        Parameters
        ----------
        X : array of shape (n, d)
        loss : LogLoss or LogLosses

        Returns
        -------
        scores : array of shape (n, k)
        coef : array of shape (p, k)
            Of the centres.
        constants : array of shape (k,), float64
        converged : bool
        """
        operator = make_operator(self.kernel, X, self.centers, self.device)
        problem = Problem(operator, self.T, loss, self.alpha, True)
        start = problem.state(self.device.xp.zeros(problem.shape))
        state, _, gap = newton(problem, start, self.tol, self.max_iter, A=self.A)
        p = len(self.T)
        coef = self.device.linalg.solve_upper(self.T, state.g[:p])
        coef = coef.astype(operator.dtype)
        return state.scores, coef, state.g[p], gap <= self.tol

    def test(self, reference, batch, weight):
        """Statistic of a batch, its log ratio, and whether the fit has converged.

        Returns
        -------
        t : float
        coef : array of shape (p,)
        constant : float
        converged : bool
        """
        xp, n = self.device.xp, len(reference)
        X = xp.concatenate([reference, batch])
        codes = (xp.arange(len(X)) >= n).astype(np.int64)
        weights = xp.where(codes == 1, 1.0, weight).astype(X.dtype)
        F, coef, constants, converged = self.learn(X, LogLoss(codes, 1, weights, xp))
        t = statistics(F, codes[:, None] == 1, weights[:, None], xp)
        return float(t[0]), coef[:, 0], float(constants[0]), converged

    def toys_at_once(self, n):
        """How many toys of n rows are worked on together."""
        return max(1, int(self.device.working_bytes() // (8 * ARRAYS * n)))

    def toys(self, X, is_one, weights):
        """Statistics of toys.

        Parameters
        ----------
        X : array of shape (n, d)
            The rows of all of them.
        is_one, weights : array of shape (n, k)
            Which rows are each toy's batch, and their weights: 0 of rows that are in
            neither sample.

        Returns
        -------
        t : ndarray of shape (k,)
        converged : bool
        """
        xp = self.device.xp
        weights = weights.astype(X.dtype)
        F, _, _, converged = self.learn(X, LogLosses(is_one, weights, xp))
        return self.device.get(statistics(F, is_one, weights, xp)), converged


def statistics(F, is_one, weights, xp):
    """t of each column, float64.

    Parameters
    ----------
    F, is_one, weights : arrays of shape (n, k)
    """
    F = F.astype(np.float64)
    return 2.0 * (weights * xp.where(is_one, F, -xp.expm1(F))).sum(axis=0)


class Toys:
    """Batches that hold nothing but the reference, and what they are tested against.

    Rows for them come from the reference itself, without its centres, so that what is
    tested and what is tested against are as independent as of a real batch; or from
    another sample of the same density, or a simulator.

    Parameters
    ----------
    X : array of shape (n, d)
        The reference, on the device.
    null : array of shape (m, d), callable or None
        The other sample, or ``null(n_rows, rng)``, both like X.
    n_centers : int
    expected : float
        Rows of a batch, on average.
    is_random : bool
        Whether their number is a Poisson variable.
    xp : module
    rng : RandomState

    Attributes
    ----------
    centers, kept : ndarray of int
        Rows of X that are centres, and those that batches are tested against.
    """

    def __init__(self, X, null, n_centers, expected, is_random, xp, rng):
        self.X, self.null, self.xp, self.rng = X, null, xp, rng
        self.expected, self.is_random = expected, is_random
        n, self.spare = len(X), 0
        order = rng.permutation(n)
        self.centers, self.others = np.sort(order[:n_centers]), order[n_centers:]
        if null is None:
            wide = SPARE * np.sqrt(expected) if is_random else 0.0
            self.spare = int(np.ceil(expected + wide))
        self.kept = np.sort(order[: max(n - self.spare, 0)])
        if not (null is None or callable(null)):
            self.X = xp.concatenate([X, null])

    @property
    def n_reference(self):
        """Rows that a batch is tested against."""
        return len(self.kept)

    @property
    def n_others(self):
        """Different rows that toys are made of."""
        if self.null is None:
            return len(self.others)
        return self.available

    @property
    def available(self):
        """Rows that a batch can be drawn from."""
        if self.null is None:
            return self.spare
        return np.inf if callable(self.null) else len(self.X) - len(self.kept)

    def draw(self, count):
        """Some toys, as `Machine.toys` wants them.

        Returns
        -------
        X : array of shape (n, d)
        is_one : array of bool of shape (n, count)
        weights : array of shape (n, count)
        """
        sizes = self._sizes(count)
        X, first = self.X, len(self.kept)
        if callable(self.null):
            batches = [self.null(size, self.rng) for size in sizes]
            X = self.xp.concatenate([X, *batches])
        is_one = np.zeros((len(X), count), bool)
        against = np.zeros((len(X), count), bool)
        start = first
        for j, size in enumerate(sizes):
            if self.null is None:
                order = self.rng.permutation(self.others)
                is_one[order[:size], j] = True
                against[order[self.spare :], j] = True
                against[self.centers, j] = True
                continue
            against[:first, j] = True
            if callable(self.null):
                is_one[start : start + size, j] = True
                start += size
            else:
                chosen = self.rng.choice(len(X) - first, size, replace=False)
                is_one[first + chosen, j] = True
        weights = is_one + (self.expected / first) * against
        return X, self.xp.asarray(is_one), self.xp.asarray(weights)

    def _sizes(self, count):
        if not self.is_random:
            return np.full(count, round(self.expected))
        # Poisson counts above 0, as there is no batch without rows.
        none = np.exp(-self.expected)
        uniform = none + (1.0 - none) * self.rng.uniform(size=count)
        drawn = stats.poisson.ppf(uniform, self.expected)
        return np.clip(drawn, 1, self.available).astype(int)


def calibrate(machine, toys, count):
    """Statistics of toys, and how many groups of them had fits that did not converge.

    Returns
    -------
    t : ndarray of shape (count,)
    n_failed : int
    """
    found, failed = [], 0
    at_once = machine.toys_at_once(len(toys.X))
    at_once = min(at_once, SIMULATED) if callable(toys.null) else at_once
    for a in range(0, count, at_once):
        t, converged = machine.toys(*toys.draw(min(at_once, count - a)))
        found.append(t)
        failed += not converged
    return np.concatenate(found), failed


def chi2_significance(t, df):
    """p-value of t by a chi-square distribution, and its z-score.

    The z-score comes from the logarithm of the p-value, so that it is right where the
    p-value itself underflows to 0; and from the other tail where that is near 1.

    Parameters
    ----------
    t, df : float

    Returns
    -------
    p, z : float
    """
    log_p = float(stats.chi2.logsf(t, df))
    if log_p < TINY:
        log_p = _log_upper_gamma(0.5 * df, 0.5 * t)
    if log_p > np.log(0.5):
        return float(np.exp(log_p)), float(special.ndtri(stats.chi2.cdf(t, df)))
    return float(np.exp(log_p)), float(-special.ndtri_exp(log_p))


def _log_upper_gamma(a, x):
    """Logarithm of the regularised incomplete gamma function Q(a, x), for x > a + 1.

    Legendre's continued fraction (DLMF 8.9.2) by Lentz's method.
    """
    b = x + 1.0 - a
    c, d = np.inf, 1.0 / b
    fraction = d
    for i in range(1, TERMS):
        term, b = i * (a - i), b + 2.0
        d = 1.0 / (b + term * d)
        c = b + term / c
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return float(a * np.log(x) - x - special.gammaln(a) + np.log(fraction))
