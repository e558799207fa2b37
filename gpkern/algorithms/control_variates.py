"""Integrals by kernel control variates: ridge regression with a Stein kernel.

Functions g of the space of a Stein kernel have mean 0 under its density. Of
``f = c + g`` fitted to values f(x_i) of an integrand the constant c is an estimate of
its mean (Oates, Girolami & Chopin 2017; of several integrands at their own points, Sun,
Barp & Briol 2023): by generalised least squares,

    A = C o K + alpha,    c = (E' A^-1 E)^-1 E' A^-1 f,

and g has the coefficients A^-1 (f - E c); with E the indicators of the integrands and C
their correlation, which multiplies the kernel K of rows of two integrands. All of it is
in units in which the integrands vary alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..operator import make_operator
from .least_squares import solve_pcg
from .nystrom import preconditioner_rank

# One row in so many is in the tails.
TAIL = 4
# Residual of "pcg" that is enough for errors of predictions.
ROUGH = 1e-3
# Rows over the rank of the preconditioner, and the largest: spectra of Stein kernels
# fall slowly.
RANK, LARGEST_RANK = 5, 4000
# Spread over size from which values are equal but for rounding.
EQUAL = 1e-13
TOO_SMALL = (
    "alpha is so small that the matrix of the draws is not positive definite: raise "
    "it, or use 'auto'"
)
# Eigenvalues of a correlation matrix that are 0.
NOTHING = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A fit to values at rows.

    Attributes
    ----------
    constants : array of shape (t,)
        Means of the integrands, in their units.
    coef : array of shape (n, c)
        Of g: one column where each row has its own integrand.
    weights : array of shape (n, t) or None
        With which the constants are sums of weights and values; None of integrands
        that share their rows and are correlated.
    """

    constants: Any
    coef: Any
    weights: Any


@dataclass(frozen=True)
class Model:
    """How integrands are fitted, in their units.

    Attributes
    ----------
    kernel : SteinKernel
    C : ndarray of shape (t, t)
        Correlation of the integrands.
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

    kernel: Any
    C: Any
    alpha: float
    is_shared: bool
    solver: str
    tol: float
    max_iter: int
    device: Any
    rng: Any

    @property
    def is_correlated(self):
        return not np.array_equal(self.C, np.eye(len(self.C)))

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
        if self.solver == "pcg":
            return self._fit_iteratively(rows, F)
        xp, K = self.device.xp, gram(self.kernel, rows, self.device)
        if self.is_shared and self.is_correlated:
            return self._fit_kronecker(K, F)
        E = xp.ones((len(rows), 1))
        if not self.is_shared:
            K *= xp.asarray(self.C[np.ix_(task, task)])
            E = xp.asarray(np.eye(len(self.C))[task])
        at, solve = xp.arange(len(K)), self.device.linalg.solve_upper
        K[at, at] += self.alpha
        try:
            R = self.device.linalg.cholesky(K)
        except np.linalg.LinAlgError:
            raise ValueError(TOO_SMALL) from None
        solved = solve(R, solve(R, xp.concatenate([E, F], axis=1), transposed=True))
        AE, AF = solved[:, : E.shape[1]], solved[:, E.shape[1] :]
        weights = xp.linalg.solve(E.T @ AE, AE.T).T
        constants = weights.T @ F
        coef = AF - AE @ constants
        if self.is_shared:
            weights = xp.broadcast_to(weights, F.shape)
        return Estimate(constants.ravel(), coef, weights)

    def _fit_kronecker(self, K, F):
        """The matrix is a product of two: both are diagonalised, n^3 + t^3."""
        xp = self.device.xp
        values, U = self.device.linalg.eigh(K)
        d, V = np.linalg.eigh(self.C)
        V = xp.asarray(V)
        own, one = U.T @ (F @ V), U.sum(axis=0)[:, None]  # of rotated integrands
        shrink = 1.0 / (values[:, None] * xp.asarray(d) + self.alpha)
        constants = (one * own * shrink).sum(axis=0) / (one**2 * shrink).sum(axis=0)
        coef = U @ (shrink * (own - one * constants))
        return Estimate(constants @ V.T, coef @ V.T, None)

    def _fit_iteratively(self, rows, F):
        """Conjugate gradients; the matrix is never formed.

        Rotated integrands are independent, each with a penalty of its own.
        """
        xp, n = self.device.xp, len(rows)
        d, V = np.ones(len(self.C)), np.eye(len(self.C))
        if self.is_correlated:
            d, V = np.linalg.eigh(self.C)
        V = xp.asarray(V)
        turned = F @ V
        levels, which = np.unique(np.maximum(d, NOTHING), return_inverse=True)
        each = np.concatenate([levels, levels[which]])
        right = xp.concatenate([xp.ones((n, len(levels))), turned], axis=1)
        right /= xp.asarray(each)
        solved, _, _ = solve_pcg(
            self._operator(rows),
            rows,
            right,
            self.alpha / each,
            None,
            self.tol,
            self.max_iter,
            self.rng,
            max(preconditioner_rank(n), min(n // RANK, LARGEST_RANK)),
        )
        one = solved[:, xp.asarray(which)]
        weights = one / one.sum(axis=0)
        constants = (weights * turned).sum(axis=0)
        coef = solved[:, len(levels) :] - one * constants
        weights = None if self.is_correlated else weights
        return Estimate(V @ constants, coef @ V.T, weights)

    def predict(self, estimate, rows, task, at, task_at):
        """Values ``c + g`` at other rows, shape (m, c)."""
        xp, coef = self.device.xp, estimate.coef
        operator = self._operator(at, rows)
        if self.is_shared:
            return operator @ (coef @ xp.asarray(self.C)) + estimate.constants
        # Columns are those of the integrands that coefficients belong to.
        products = operator @ (coef * xp.asarray(np.eye(len(self.C))[task]))
        own = (products * xp.asarray(self.C[task_at])).sum(axis=1)
        return (own + estimate.constants[xp.asarray(task_at)])[:, None]

    def _operator(self, X, Z=None):
        return make_operator(self.kernel, X, Z, self.device, dtype=np.float64)


@dataclass(frozen=True)
class Units:
    """Where values of integrands are, and how widely they spread.

    Attributes
    ----------
    middle, spread : ndarray of shape (t,)
    is_constant : ndarray of bool of shape (t,)
    """

    middle: Any
    spread: Any
    is_constant: Any

    @classmethod
    def of(cls, F, task):
        """Means and standard deviations of each column, or of each set.

        Parameters
        ----------
        F : ndarray of shape (n, c)
        task : ndarray of shape (n,)
        """
        sets = [F[task == j] for j in range(int(task[-1]) + 1)]
        middle = np.concatenate([f.mean(axis=0) for f in sets])
        size = np.concatenate([abs(f).max(axis=0) for f in sets])
        # Of values that are scaled first: squares do not overflow.
        unit = np.where(size > 0, size, 1.0)
        spread = np.concatenate(
            [
                (f / u).std(axis=0)
                for f, u in zip(sets, np.split(unit, len(sets)), strict=True)
            ]
        )
        constant = spread <= EQUAL
        return cls(middle, np.where(constant, 1.0, spread * unit), constant)

    def scaled(self, F, task, xp):
        """Values in these units, 0 of constants."""
        middle, spread, flat = self._of(F, task, xp)
        return xp.where(flat, 0.0, (F - middle) / spread)

    def unscaled(self, F, task, xp):
        """What values in these units are."""
        middle, spread, _ = self._of(F, task, xp)
        return middle + spread * F

    def in_spreads(self, errors, task):
        """Differences of values, on the host, over the spreads."""
        return errors / self._of(errors, task, np)[1]

    def _of(self, F, task, xp):
        parts = self.middle, self.spread, self.is_constant
        if F.shape[1] == len(self.middle):
            return [xp.asarray(a) for a in parts]
        return [xp.asarray(a[task])[:, None] for a in parts]


@dataclass(frozen=True)
class Family:
    """Models of groups of integrands that share their draws; or one of all.

    Attributes
    ----------
    models : list of Model
    columns : list of ndarray of int
        The integrands of each.
    units : Units
    """

    models: list
    columns: list
    units: Units

    @property
    def xp(self):
        return self.models[0].device.xp

    def fit(self, rows, task, F):
        """`Estimate` of all, in the units of the values but for `coef`."""
        xp, scaled = self.xp, self.units.scaled(F, task, self.xp)
        if len(self.models) == 1:
            found = self.models[0].fit(rows, task, scaled)
        else:
            parts = [
                m.fit(rows, task, scaled[:, xp.asarray(c)])
                for m, c in zip(self.models, self.columns, strict=True)
            ]
            back = xp.asarray(np.argsort(np.concatenate(self.columns)))
            found = Estimate(
                xp.concatenate([p.constants for p in parts])[back],
                xp.concatenate([p.coef for p in parts], axis=1)[:, back],
                xp.concatenate([p.weights for p in parts], axis=1)[:, back],
            )
        weights, spread = found.weights, xp.asarray(self.units.spread)
        if weights is not None and not self.models[0].is_shared:
            weights = weights * spread / xp.asarray(self.units.spread[task])[:, None]
        return replace(found, weights=weights)

    def integrals(self, found):
        """Constants in the units of the values."""
        spread, middle = map(self.xp.asarray, (self.units.spread, self.units.middle))
        return middle + spread * found.constants

    def predict(self, found, rows, task, at, task_at):
        """Values ``c + g`` at other rows, in their units, shape (m, c)."""
        xp = self.xp
        values = xp.zeros((len(at), found.coef.shape[1]))
        for model, columns in zip(self.models, self.columns, strict=True):
            own = xp.asarray(columns) if model.is_shared else slice(None)
            part = replace(found, coef=found.coef[:, own])
            if model.is_shared:
                part = replace(part, constants=found.constants[own])
            values[:, own] = model.predict(part, rows, task, at, task_at)
        return self.units.unscaled(values, task_at, xp)


def gram(kernel, rows, device):
    """Matrix of the Stein kernel of rows ``[x, s]``, float64."""
    return make_operator(kernel, rows, None, device, dtype=np.float64).to_dense()


def mean_diagonal(kernel, rows, device):
    """Mean over the rows of their Stein kernel with themselves."""
    operator = make_operator(kernel, rows, None, device, dtype=np.float64)
    return float(operator.diagonal().mean())


def held_out_errors(family, rows, task, F):
    """Errors of predictions, of which the estimate's own error is made.

    Parameters
    ----------
    family : Family
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
    models = [replace(m, tol=max(m.tol, ROUGH)) for m in family.models]
    family, xp, rng = replace(family, models=models), family.xp, models[0].rng
    halves, tails, d = [], [], rows.shape[1] // 2
    lengths = models[0].device.get((rows[:, d:] ** 2).sum(axis=1))
    for j in range(int(task[-1]) + 1):
        own = np.flatnonzero(task == j)
        halves.append(rng.permutation(own)[: len(own) // 2])
        tails.append(own[np.argsort(lengths[own])[len(own) - len(own) // TAIL :]])
    half, tail = (np.sort(np.concatenate(a)) for a in (halves, tails))
    rest = np.setdiff1d(np.arange(len(rows)), half)

    def missed(out, test, train):
        at, own = xp.asarray(test), xp.asarray(train)
        fitted = family.fit(rows[own], task[train], F[own])
        known = family.predict(fitted, rows[own], task[train], rows[at], task[test])
        out[at] = F[at] - known

    by_halves, by_tails = xp.zeros_like(F), xp.zeros_like(F)
    missed(by_halves, half, rest)
    missed(by_halves, rest, half)
    missed(by_tails, tail, np.setdiff1d(np.arange(len(rows)), tail))
    return by_halves, by_tails
