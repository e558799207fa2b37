"""EigenPro: preconditioned stochastic gradient descent in a kernel space.

EigenPro 2 (Ma & Belkin 2019) keeps a coefficient for every training row. EigenPro 4
(Abedsoltan et al. 2025) keeps any set of centres: batches are added as temporary
centres and projected onto the permanent ones from time to time; projecting after
every batch is EigenPro 3 (Abedsoltan et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from ..operator import make_operator
from .least_squares import conjugate_gradients
from .nystrom import nystrom_preconditioner, preconditioner_rank
from .preconditioner import MAX_BATCH, Preconditioner, Rank, fit_preconditioner


class AllCentres:
    """EigenPro 2: every training row is a centre.

    Parameters
    ----------
    operator : KernelOperator
        Any rows against all rows of the training data.
    subsample : array of int
        Which rows the preconditioner was learnt from.
    preconditioner : Preconditioner
    coef : array of shape (n, c)
        Start; updated in place.
    """

    def __init__(self, operator, subsample, preconditioner, coef):
        self.operator, self.subsample = operator, subsample
        self.preconditioner, self.coef = preconditioner, coef

    def update(self, X, y, rows, step):
        """One batch; returns its residual before the update."""
        residual = self.operator.with_rows(X) @ self.coef - y
        weights = self.preconditioner.row_weights
        moves = residual if weights is None else residual * weights[rows][:, None]
        u = self.preconditioner.directions(X, moves)
        self.coef[rows] -= step * moves
        self.coef[self.subsample] += step * self.preconditioner.spread(u)
        return residual

    def predict(self, X, coef):
        """Values at rows X."""
        return self.operator.with_rows(X) @ coef

    @property
    def settled(self):
        """Whether `coef` holds all of the batches: always."""
        return True

    def settle(self, step):
        """Nothing is pending."""

    def state(self):
        """Copy of what `restore` needs."""
        return self.coef.copy()

    def restore(self, state):
        """Back to a `state`."""
        self.coef[...] = state


class DelayedProjection:
    """EigenPro 4: fixed centres, projected onto every `period` batches.

    Parameters
    ----------
    operator : KernelOperator
        Any rows against the centres Z.
    preconditioner : Preconditioner
    subsample_rows : array of shape (s, d)
    coef : array of shape (p, c)
        Start; updated in place.
    project : callable
        ``project(h)`` solves ``K(Z, Z) theta = h``.
    period : int
        Batches between projections; 1 is EigenPro 3.
    """

    def __init__(self, operator, preconditioner, subsample_rows, coef, project, period):
        self.operator, self.preconditioner = operator, preconditioner
        self.coef, self.project, self.period = coef, project, period
        self.xp = operator.device.xp
        spread = preconditioner.vectors * preconditioner.weights
        # K(Z, X_S) E D, so that a batch's correction is one small product.
        self.F = operator.with_rows(subsample_rows).T @ spread
        self._clear()

    def _clear(self):
        rough = self.operator.with_precision(self.preconditioner.precision)
        self.pending = TemporaryCentres(rough)
        self.n_pending = 0
        self.subsample_coef, self.h = None, None

    def update(self, X, y, rows, step):
        """One batch; returns its residual before the update."""
        p = self.preconditioner
        target = y - self._pending_values(X)
        weights = None if p.row_weights is None else p.row_weights[rows]
        # Only the residual needs all digits: the rest vanishes with it.
        gradient, moves = self.operator.with_rows(X).normal_matmat(
            self.coef, target, weights, gradient_precision=p.precision
        )
        u = p.directions(X, moves)
        h = gradient - self.F @ u
        self.h = h if self.h is None else self.h + h
        self.n_pending += 1
        if self.n_pending >= self.period:
            self.settle(step)
        else:
            self.pending.add(X, -step * moves)
            spread = step * p.spread(u)
            old = self.subsample_coef
            self.subsample_coef = spread if old is None else old + spread
        return moves if weights is None else moves / weights[:, None]

    def _pending_values(self, X):
        """What the temporary centres add to the prediction at X."""
        if self.subsample_coef is None:
            return 0.0
        p = self.preconditioner
        own = p.operator.with_precision(p.precision).with_rows(X) @ self.subsample_coef
        return own + self.pending.values(X)

    def predict(self, X, coef):
        """Values at rows X."""
        return self.operator.with_rows(X) @ coef

    @property
    def settled(self):
        """Whether `coef` holds all of the batches."""
        return self.h is None

    def settle(self, step):
        """Project what is pending."""
        if self.h is not None:
            self.coef -= step * self.project(self.h)
        self._clear()

    def state(self):
        """Copy of what `restore` needs; nothing may be pending."""
        return self.coef.copy()

    def restore(self, state):
        """Back to a `state`, dropping what is pending."""
        self.coef[...] = state
        self._clear()


class TemporaryCentres:
    """Batches that are centres until the next projection.

    Groups of batches merge when they are of one size, so that few operators serve
    many batches and each row is prepared only a few times.

    Parameters
    ----------
    operator : KernelOperator
        Its kernel, dtype, precision and device are taken.
    """

    def __init__(self, operator):
        self.like, self.groups = operator, []

    def add(self, X, coef):
        """More centres of shape (b, d), and their coefficients (b, c)."""
        like, xp = self.like, self.like.device.xp
        while self.groups and len(self.groups[-1][1]) <= len(coef):
            rows, old, _ = self.groups.pop()
            X, coef = _stack(rows, X, xp), xp.concatenate([old, coef])
        operator = like.with_samples(X, X, alike=True)
        self.groups.append((X, coef, operator))

    def values(self, X):
        """What they add to the prediction at rows X."""
        return sum(op.with_rows(X) @ coef for _, coef, op in self.groups)


def _stack(a, b, xp):
    """Rows of two arrays or CSR matrices, one below the other."""
    if sparse.issparse(a):
        return sparse.vstack([a, b], format="csr")
    return xp.concatenate([a, b])


def cholesky_projection(kernel, Z, device):
    """Exact projection onto centres; float64, p^2 numbers of memory.

    Exact up to a jitter. It moves no fixed point, as what is projected vanishes there;
    without it, rounding errors of float32 rows would be divided by eigenvalues that
    are smaller than them.
    """
    xp = device.xp
    K = make_operator(kernel, Z.astype(np.float64), None, device).to_dense()
    at = xp.arange(len(K))
    scale = float(K[at, at].max())
    jitter = max(1e-10, float(np.finfo(Z.dtype).eps)) * scale
    while True:
        A = K.copy()
        A[at, at] += jitter
        try:
            R = device.linalg.cholesky(A)
            break
        except np.linalg.LinAlgError:
            jitter *= 100
            if jitter > 1e-3 * scale:
                raise
    solve = device.linalg.solve_upper

    def project(h):
        theta = solve(R, solve(R, h.astype(np.float64), transposed=True))
        return theta.astype(h.dtype)

    return project


def iterative_projection(operator, Z, n_iter, random_state):
    """Projection onto centres by preconditioned conjugate gradients.

    Memory linear in the centres. Each iteration is one product with K(Z, Z), as is
    the single epoch of EigenPro 2 in the paper's code, and gains far more.

    Parameters
    ----------
    operator : KernelOperator
        K(Z, Z).
    Z : array of shape (p, d)
    n_iter : int
    random_state : RandomState

    Returns
    -------
    callable
    """
    ridge = 1e-6 * float(operator.diagonal().max())
    xp, rank = operator.device.xp, preconditioner_rank(Z.shape[0])
    precondition = nystrom_preconditioner(
        operator, Z, rank, [ridge], None, random_state
    )

    def apply(P):
        return (operator @ P.astype(operator.dtype)).astype(np.float64) + ridge * P

    def project(h):
        theta, _, _ = conjugate_gradients(
            apply, h.astype(np.float64), precondition, PROJECTION_TOL, n_iter, xp
        )
        return theta.astype(h.dtype)

    return project


@dataclass
class Machine:
    """A model ready to train, with what was chosen for it.

    Attributes
    ----------
    model : AllCentres or DelayedProjection
    centers : array of shape (p, d)
    preconditioner : Preconditioner
    batch_size : int
    step : float
    """

    model: Any
    centers: Any
    preconditioner: Preconditioner
    batch_size: int
    step: float


@dataclass
class Options:
    """Choices of a user; "auto" leaves them to the data.

    Attributes
    ----------
    batch_size, n_eigencomponents, n_subsamples : int or "auto"
    dense_bytes : int
        Memory that a dense factor of the centres may take.
    """

    batch_size: Any = "auto"
    n_eigencomponents: Any = "auto"
    n_subsamples: Any = "auto"
    dense_bytes: int = 2**30

    def subsample_size(self, n, p, device):
        """Rows for a preconditioner of n rows and p centres.

        A batch costs as many kernel values for each subsampled row as for each
        centre, so the subsample stays small beside the centres. Its eigenvectors
        cost less on a GPU, where larger batches gain more.
        """
        if self.n_subsamples != "auto":
            return min(n, self.n_subsamples)
        small, large = (2000, 4000) if device.name == "cpu" else (4000, 12_000)
        return min(n, small if p < 100_000 else large)

    def batch(self, n, preconditioner):
        """Batch size: no larger than what still pays.

        Where few directions are all that there is, the critical batch has about as
        many rows; larger ones converge in as many steps.
        """
        if self.batch_size != "auto":
            return min(n, self.batch_size)
        at_least = min(n // STEPS_PER_EPOCH, SMALL_BATCH)
        return min(n, max(1, preconditioner.critical_batch, at_least), MAX_BATCH)

    def rank(self, n):
        """Rank of the preconditioner."""
        batch = max(1, n // STEPS_PER_EPOCH)
        if self.batch_size != "auto":
            batch = max(batch, min(n, self.batch_size))
        return Rank(self.n_eigencomponents, batch)


# Conjugate gradient steps of a projection onto centres too many to factor: at most,
# and as many as are expected when the time between projections is chosen.
PROJECTION_ITERATIONS, EXPECTED_ITERATIONS = 10, 5
# Residual that ends them: the next projections correct what is left.
PROJECTION_TOL = 0.1
# Rows of a batch that cost little more than one.
SMALL_BATCH = 256
# Each step takes the leading directions most of the way, so some for every epoch.
STEPS_PER_EPOCH = 10


def assemble(kernel, data, centers, coef, options, device, random_state):
    """Model, preconditioner, batch size and step for training data.

    Parameters
    ----------
    kernel : Kernel or callable
    data : RowSource
    centers : array of shape (p, d) or None
        None: every row of the data.
    coef : array of shape (p, c)
        Start.
    options : Options
    device : Device
    random_state : RandomState

    Returns
    -------
    Machine
    """
    xp, n = device.xp, len(data)
    p = n if centers is None else centers.shape[0]
    rows = data.choose(options.subsample_size(n, p, device), random_state)
    exponent = 0.95 if centers is None else 1.0
    preconditioner = fit_preconditioner(
        kernel, data, rows, device, options.rank(n), exponent, random_state
    )
    batch = options.batch(n, preconditioner)
    step = preconditioner.step(batch)
    projects = centers is not None
    preconditioner.precision = preconditioner.precision_for(batch, projects)
    if centers is None:
        centers = data.all_rows()
        operator = make_operator(kernel, centers, centers, device)
        model = AllCentres(operator, xp.asarray(rows), preconditioner, coef)
        return Machine(model, centers, preconditioner, batch, step)
    operator = make_operator(kernel, centers, centers, device)
    if 16 * p * p <= options.dense_bytes:
        project = cholesky_projection(kernel, centers, device)
        period = p // batch
    else:
        its = PROJECTION_ITERATIONS
        own = operator.with_samples(centers, alike=True)
        own = own.with_precision(preconditioner.precision)
        project = iterative_projection(own, centers, its, random_state)
        # Per row: its p^2 / (T m) pairs for projections, T m / 2 for what is pending.
        period = round(p * np.sqrt(2 * EXPECTED_ITERATIONS) / batch)
    model = DelayedProjection(
        operator, preconditioner, data.rows(rows), coef, project, max(1, period)
    )
    return Machine(model, centers, preconditioner, batch, step)
