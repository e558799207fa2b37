"""EigenPro's preconditioner, and the step and the batch size that it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..operator import make_operator
from .spectrum import FULL_SIZE, rounding_floor, top_eigenpairs

# Eigenvectors of a preconditioner, at most.
MAX_RANK = 500
# Rows on which the preconditioner is tested.
TEST_ROWS = 2000
# Batches beyond this save nothing and make the loss curve coarse.
MAX_BATCH = 8192
# Steps times the largest eigenvalue; convergence ends at 2, and it is an estimate.
SAFETY = 1.8


@dataclass
class Preconditioner:
    """Flattens the top of the spectrum, learnt from a subsample.

    Attributes
    ----------
    operator : KernelOperator
        Any rows against the subsample (use ``with_rows``).
    vectors : array of shape (s, q)
        Leading eigenvectors of the subsample's kernel matrix.
    weights : array of shape (q,)
        ``(1 - (tail / value)^exponent) / (s value)``.
    eigenvalues : ndarray of shape (q + 1,)
        Of the subsample's matrix over s; the last one is the tail.
    top : float
        Largest eigenvalue that is left after preconditioning.
    beta : float
        Largest k(x, x).
    """

    operator: Any
    vectors: Any
    weights: Any
    eigenvalues: np.ndarray
    top: float
    beta: float

    def directions(self, X, residual):
        """``E.T @ K(X_S, X) @ residual``, shape (q, c)."""
        product = self.operator.with_rows(X).T @ residual
        return self.vectors.T @ product

    def spread(self, u):
        """``E diag(weights) u``: coefficients on the subsample."""
        return self.vectors @ (self.weights[:, None] * u)

    @property
    def critical_batch(self):
        """Largest batch whose rows may step as far as a single row."""
        return 1 + int((SAFETY - 1.0) * self.beta / self.top)

    def step(self, batch_size):
        """Safe step for each row's residual, at a batch size.

        Below 2 over the largest eigenvalue of a batch's matrix after preconditioning,
        and no longer than what brings a single row to its own target.
        """
        largest = self.beta + (batch_size - 1) * self.top
        return min(1.0 / self.beta, SAFETY / largest)


def fit_preconditioner(kernel, data, rows, device, rank, exponent, random_state):
    """Preconditioner of a kernel from subsampled rows.

    Parameters
    ----------
    kernel : Kernel or callable
    data : RowSource
    rows : ndarray of int
        The subsample.
    device : Device
    rank : Rank
        How many eigenvectors.
    exponent : float
        0.95 in EigenPro 2, 1 in EigenPro 3 and 4.
    random_state : RandomState

    Returns
    -------
    Preconditioner
    """
    xp, s = device.xp, len(rows)
    X_S = data.rows(rows)
    operator = make_operator(kernel, X_S, X_S, device)
    exact = make_operator(kernel, X_S.astype(np.float64), None, device)
    K = exact.to_dense()
    beta = float(exact.diagonal().max())
    if not np.isfinite(beta) or beta <= 0:
        raise ValueError(
            f"the kernel's largest diagonal value is {beta}; EigenPro needs a "
            "positive definite kernel"
        )
    K /= s
    q = rank.at_most(s)
    values, vectors = top_eigenpairs(K, q + 1, device.linalg, xp, random_state)
    values = np.maximum(device.get(values), 0.0)
    q = rank.of(values, beta, operator.dtype)
    tail = max(values[q], rounding_floor(values, operator.dtype))
    ratio = tail / values[:q]
    weights = (1.0 - ratio**exponent) / (s * values[:q])
    preconditioner = Preconditioner(
        operator,
        xp.asarray(vectors[:, :q], dtype=operator.dtype),
        xp.asarray(weights, dtype=operator.dtype),
        values[: q + 1],
        float(values[0] * (tail / values[0]) ** exponent),
        beta,
    )
    if s < len(data) or s > FULL_SIZE:
        # As many rows as a batch will have: what fewer show is their own k(x, x).
        size = max(TEST_ROWS, min(preconditioner.critical_batch, MAX_BATCH))
        measured = measured_top(
            preconditioner, data.sample(size, random_state), random_state
        )
        preconditioner.top = max(preconditioner.top, measured)
    return preconditioner


def measured_top(preconditioner, X_T, random_state, n_iter=20):
    """Largest eigenvalue left after preconditioning, on rows other than those learnt.

    Eigenvectors of a subsample flatten its own spectrum exactly, that of other rows
    only as far as they generalise. A step that trusts the subsample can diverge.

    Parameters
    ----------
    preconditioner : Preconditioner
    X_T : array of shape (t, d)
    random_state : RandomState
    n_iter : int
        Power iterations.

    Returns
    -------
    float
        0 when the rows' own k(x, x) hides it.
    """
    t = X_T.shape[0]
    operator = preconditioner.operator
    device = operator.device
    X_T = X_T.astype(np.float32)
    K = make_operator(operator.kernel, X_T, None, device).to_dense()
    G = (operator.with_rows(X_T) @ preconditioner.vectors).astype(np.float32)
    weights = preconditioner.weights[:, None].astype(np.float32)
    v = device.xp.asarray(random_state.standard_normal((t, 1)), dtype=K.dtype)
    value = 0.0
    for _ in range(n_iter):
        v /= device.xp.sqrt((v**2).sum())
        v, old = K @ v - G @ (weights * (G.T @ v)), v
        value = float((old * v).sum())
    return max(0.0, (value - preconditioner.beta) / max(1, t - 1))


@dataclass
class Rank:
    """How many eigenvectors a preconditioner takes.

    Attributes
    ----------
    wanted : int or "auto"
    batch_size : int
        "auto" flattens the spectrum to where batches of this size are critical:
        more vectors would slow the leading directions down and gain nothing.
    """

    wanted: Any
    batch_size: int

    def at_most(self, s):
        """Eigenvectors to compute for a subsample of s rows."""
        wanted = min(MAX_RANK, s // 5) if self.wanted == "auto" else self.wanted
        return min(wanted, s - 1)

    def of(self, values, beta, dtype):
        """Eigenvectors to use, of these eigenvalues; the last is the tail."""
        q = len(values) - 1
        if self.wanted == "auto":
            q = min(q, int((values > beta / self.batch_size).sum()))
        return min(q, int((values > rounding_floor(values, dtype)).sum()))
