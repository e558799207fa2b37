"""Integrals by kernel control variates: ridge regression with a Stein kernel.

Functions g of the space of a Stein kernel have mean 0 under its density. Of
``f = c + g`` fitted to values f(x_i) of an integrand the constant c is an estimate of
its mean (Oates, Girolami & Chopin 2017; of several integrands at their own points, Sun,
Barp & Briol 2023): by generalised least squares,

    A = B o K + alpha,    c = (E' A^-1 E)^-1 E' A^-1 f,

and g has the coefficients A^-1 (f - E c); with E the indicators of the integrands and B
their covariance, which multiplies the kernel K of rows of two integrands.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg
from scipy.optimize import minimize

from ..kernels.stein import SteinKernel
from ..operator import make_operator
from .least_squares import solve_pcg

# One row in so many is in the tails.
TAIL = 4
# Penalties to choose from, over the mean of the diagonal, and rows to choose by.
PENALTIES, CHOOSING_ROWS = 10.0 ** np.arange(-10.0, 1.0), 500
# Residual of "pcg" that is enough for errors of predictions.
ROUGH = 1e-3
# Length scales to choose from, over the median distance.
SCALES = 2.0 ** np.arange(-2.0, 3.5)
# Correlation of integrands that the search starts from, and its penalty.
START, START_PENALTY = 0.9, 1e-6


@dataclass(frozen=True)
class Estimate:
    """A fit to values at rows.

    Attributes
    ----------
    constants : array of shape (t,)
        Means of the integrands.
    coef : array of shape (n, c)
        Of g: one column where each row has its own integrand.
    weights : array of shape (n, t) or (n, 1), or None
        With which the constants are ``weights.T @ f``, for any values f at the rows;
        None of integrands that share their rows and are correlated.
    """

    constants: Any
    coef: Any
    weights: Any


@dataclass(frozen=True)
class Model:
    """How integrands are fitted.

    Attributes
    ----------
    base : Kernel
        Of the Stein kernel.
    B : ndarray of shape (t, t)
        Covariance of the integrands.
    alpha : float
        Penalty.
    is_shared : bool
        Whether all integrands have the same rows: values have a column for each.
    solver : {"direct", "pcg"}
    tol, max_iter
        Of "pcg".
    device : Device
    rng : RandomState
    """

    base: Any
    B: Any
    alpha: float
    is_shared: bool
    solver: str
    tol: float
    max_iter: int
    device: Any
    rng: Any

    @classmethod
    def to_predict(cls, base, B, is_shared, device):
        """One that fits nothing more."""
        return cls(base, B, 0.0, is_shared, "direct", 0.0, 0, device, None)

    def fit(self, rows, task, F):
        """`Estimate` of values.

        Parameters
        ----------
        rows : array of shape (n, 2 d)
            ``[x, s]``.
        task : ndarray of shape (n,)
            The integrand of each row; zeros where they are shared.
        F : array of shape (n, c)
        """
        xp = self.device.xp
        if self.solver == "pcg":
            return self._fit_iteratively(rows, F)
        K = gram(self.base, rows, self.device)
        if self.is_shared and not np.array_equal(self.B, np.eye(len(self.B))):
            return self._fit_kronecker(K, F)
        E = xp.ones((len(rows), 1))
        if not self.is_shared:
            K *= xp.asarray(self.B[np.ix_(task, task)])
            E = xp.asarray(np.eye(len(self.B))[task])
        at, solve = xp.arange(len(K)), self.device.linalg.solve_upper
        K[at, at] += self.alpha
        R = self.device.linalg.cholesky(K)
        solved = solve(R, solve(R, xp.concatenate([E, F], axis=1), transposed=True))
        AE, AF = solved[:, : E.shape[1]], solved[:, E.shape[1] :]
        weights = xp.linalg.solve(E.T @ AE, AE.T).T
        constants = weights.T @ F
        return Estimate(constants.ravel(), AF - AE @ constants, weights)

    def _fit_kronecker(self, K, F):
        """The matrix is a product of two: both are diagonalised, n^3 + t^3."""
        xp = self.device.xp
        values, U = self.device.linalg.eigh(K)
        d, V = np.linalg.eigh(self.B)
        V = xp.asarray(V)
        own, one = U.T @ (F @ V), U.sum(axis=0)[:, None]  # of rotated integrands
        shrink = 1.0 / (values[:, None] * xp.asarray(d) + self.alpha)
        constants = (one * own * shrink).sum(axis=0) / (one**2 * shrink).sum(axis=0)
        coef = U @ (shrink * (own - one * constants))
        return Estimate(constants @ V.T, coef @ V.T, None)

    def _fit_iteratively(self, rows, F):
        """Conjugate gradients; the matrix is never formed."""
        xp, n = self.device.xp, len(rows)
        right = xp.concatenate([xp.ones((n, 1)), F], axis=1)
        solved, _, _ = solve_pcg(
            self._operator(rows),
            rows,
            right,
            np.array([self.alpha]),
            None,
            self.tol,
            self.max_iter,
            self.rng,
        )
        weights = solved[:, :1] / solved[:, :1].sum()
        constants = (weights.T @ F)[0]
        return Estimate(constants, solved[:, 1:] - solved[:, :1] * constants, weights)

    def predict(self, estimate, rows, task, at, task_at):
        """Values ``c + g`` at other rows, shape (m, c)."""
        xp, coef = self.device.xp, estimate.coef
        operator = self._operator(at, rows)
        if self.is_shared:
            return operator @ (coef @ xp.asarray(self.B)) + estimate.constants
        # Columns are those of the integrands that coefficients belong to.
        products = operator @ (coef * xp.asarray(np.eye(len(self.B))[task]))
        own = (products * xp.asarray(self.B[task_at])).sum(axis=1)
        return (own + estimate.constants[xp.asarray(task_at)])[:, None]

    def _operator(self, X, Z=None):
        kernel = SteinKernel(self.base, X.shape[1] // 2)
        return make_operator(kernel, X, Z, self.device, dtype=np.float64)


def gram(base, rows, device):
    """Matrix of the Stein kernel of rows ``[x, s]``, float64."""
    kernel = SteinKernel(base, rows.shape[1] // 2)
    return make_operator(kernel, rows, None, device, dtype=np.float64).to_dense()


def mean_diagonal(base, rows, task, B, device):
    """Mean over the rows of their Stein kernel with themselves, times B's."""
    kernel = SteinKernel(base, rows.shape[1] // 2)
    own = make_operator(kernel, rows, None, device, dtype=np.float64).diagonal()
    return float((own * device.xp.asarray(np.diag(B)[task])).mean())


def held_out_errors(model, rows, task, F):
    """Errors of predictions, of which the estimate's own error is made.

    Parameters
    ----------
    model : Model
    rows, task, F
        As in `Model.fit`.

    Returns
    -------
    halves : array of shape (n, c)
        Of each value, predicted from the other half of the rows.
    tails : array of shape (n, c)
        Of the quarter with the longest scores, predicted from all others; else zeros.
        What happens where there are few rows, further out than most, is seen here.
    """
    model = replace(model, tol=max(model.tol, ROUGH))
    xp, halves, tails = model.device.xp, [], []
    d = rows.shape[1] // 2
    lengths = model.device.get((rows[:, d:] ** 2).sum(axis=1))
    for j in range(int(task[-1]) + 1):
        own = np.flatnonzero(task == j)
        halves.append(model.rng.permutation(own)[: len(own) // 2])
        tails.append(own[np.argsort(lengths[own])[len(own) - len(own) // TAIL :]])
    half, tail = (np.sort(np.concatenate(a)) for a in (halves, tails))
    rest = np.setdiff1d(np.arange(len(rows)), half)

    def missed(out, test, train):
        at, own = xp.asarray(test), xp.asarray(train)
        fitted = model.fit(rows[own], task[train], F[own])
        known = model.predict(fitted, rows[own], task[train], rows[at], task[test])
        out[at] = F[at] - known

    by_halves, by_tails = xp.zeros_like(F), xp.zeros_like(F)
    missed(by_halves, half, rest)
    missed(by_halves, rest, half)
    missed(by_tails, tail, np.setdiff1d(np.arange(len(rows)), tail))
    return by_halves, by_tails


# ------------------------------------------------------------------------- choices


def some_of_each(task, count, rng):
    """Rows to choose by: as many of each set as there are, or its share."""
    sizes = np.bincount(task)
    share = max(count // len(sizes), 3)
    picked = []
    for j, size in enumerate(sizes):
        own = np.flatnonzero(task == j)
        picked.append(own if size <= share else rng.choice(own, share, replace=False))
    return np.sort(np.concatenate(picked))


def alike(f, task):
    """Covariance of integrands that are nearly proportional."""
    spread = np.array([f[task == j].std() for j in range(int(task[-1]) + 1)])
    spread = np.where(spread > 0, spread, 1.0) / max(spread.max(), 1e-300)
    B = START * np.outer(spread, spread)
    np.fill_diagonal(B, spread**2)
    return B


def choose(bases, rows, task, B, F, penalties, device):
    """Base and penalty of the smallest errors in rows predicted from the others.

    Parameters
    ----------
    bases : list of Kernel
    rows : array of shape (n, 2 d)
        Few: all matrices are decomposed.
    task : ndarray of shape (n,)
    B : ndarray of shape (t, t)
    F : ndarray of shape (n, c)
    penalties : list of float
        Over the mean of the matrix's diagonal.
    device : Device

    Returns
    -------
    base : Kernel
    penalty : float
        Over that mean.
    """
    E = np.eye(len(B))[task]
    size = F.var(axis=0)
    size = np.where(size > 0, size, 1.0)
    best, chosen = np.inf, None
    for base in bases:
        K = device.get(gram(base, rows, device)) * B[np.ix_(task, task)]
        values, U = linalg.eigh(K)
        UE, UF, mean = U.T @ E, U.T @ F, float(np.trace(K)) / len(K)
        for penalty in penalties:
            shifted = values + penalty * mean
            if shifted[0] <= 0:
                continue
            P = U @ (UE / shifted[:, None])
            weights = np.linalg.solve(E.T @ P, P.T).T
            solved = U @ ((UF - UE @ (weights.T @ F)) / shifted[:, None])
            left = (U * U) @ (1.0 / shifted) - (weights * P).sum(axis=1)
            error = float((((solved / left[:, None]) ** 2).mean(axis=0) / size).mean())
            if error < best:
                best, chosen = error, (base, penalty)
    return chosen


def covariance_of_tasks(K, task, f):
    """Covariance B of integrands by restricted maximum likelihood.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Of few rows.
    task : ndarray of shape (n,)
    f : ndarray of shape (n,)
        Values of each row's integrand.

    Returns
    -------
    ndarray of shape (t, t)
        Its largest entry is 1.
    """
    t, n = int(task.max()) + 1, len(f)
    E, lower = np.eye(t)[task], np.tril_indices(t)
    spread = np.array([f[task == j].std() for j in range(t)])
    spread = np.where(spread > 0, spread, 1.0)
    start = np.full((t, t), START)
    np.fill_diagonal(start, 1.0)
    start = np.linalg.cholesky(start * np.outer(spread, spread) / spread.max() ** 2)
    jitter = START_PENALTY * float(np.trace(K)) / n

    def loss(theta):
        L = np.zeros((t, t))
        L[lower] = theta
        B = L @ L.T
        A = K * B[np.ix_(task, task)]
        A[np.diag_indices(n)] += jitter
        try:
            factor = linalg.cho_factor(A, lower=True)
        except np.linalg.LinAlgError:
            return np.inf, np.zeros_like(theta)
        inverse = linalg.cho_solve(factor, np.eye(n))
        AE = inverse @ E
        G = E.T @ AE
        P = inverse - AE @ np.linalg.solve(G, AE.T)
        solved = P @ f
        quadratic = float(f @ solved)
        value = (n - t) * np.log(quadratic)
        value += 2.0 * np.log(np.diag(factor[0])).sum() + np.linalg.slogdet(G)[1]
        D = K * (P - (n - t) / quadratic * np.outer(solved, solved))
        by_B = E.T @ D @ E
        return 0.5 * value, (by_B @ L)[lower]

    found = minimize(loss, start[lower], jac=True, method="L-BFGS-B")
    L = np.zeros((t, t))
    L[lower] = found.x if np.isfinite(found.fun) else start[lower]
    B = L @ L.T
    return B / abs(B).max()
