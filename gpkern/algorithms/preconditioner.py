"""EigenPro's preconditioner, and the step and the batch size that it allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..operator import make_operator
from .spectrum import FULL_SIZE, top_eigenpairs

# Eigenvectors of a preconditioner, at most.
MAX_RANK = 500
# Rows on which the preconditioner is tested.
TEST_ROWS = 2000
# Share of rows that may take shorter steps than the others.
RARE = 1e-3
# Rows that are looked at together when all of them are.
CHECKED_ROWS = 8192
# Batches beyond this save nothing and make the loss curve coarse.
MAX_BATCH = 8192
# Rounding errors that do no harm, as a share of the largest eigenvalue that is left;
# a projection onto centres divides by smaller ones than that.
SMALL_ROUNDING, SMALL_IN_PROJECTIONS = 0.1, 0.05
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
        Twice the k(x, x) that preconditioning leaves, at most k(x, x) itself: the
        largest, but for rare rows.
    row_weights : array of shape (n,) or None
        Share of the step that each row takes: less than 1 where more is left.
    rounding : float
        Largest eigenvalue of what precision "medium" adds to the matrix over s.
    precision : {"high", "medium"}
        Of products with what goes to zero.
    """

    operator: Any
    vectors: Any
    weights: Any
    eigenvalues: np.ndarray
    top: float
    beta: float
    row_weights: Any = None
    rounding: float = 0.0
    precision: str = "high"

    def precision_for(self, batch_size, projects):
        """Enough for products with the residual: they go to zero with it.

        Rounding moves no fixed point, but it adds to the spectrum that is left: where
        it is not small beside that, it slows training down or makes it diverge.
        """
        left = self.top + self.beta / batch_size
        tolerated = SMALL_IN_PROJECTIONS if projects else SMALL_ROUNDING
        return "medium" if self.rounding <= tolerated * left else "high"

    def directions(self, X, residual):
        """``E.T @ K(X_S, X) @ residual``, shape (q, c)."""
        rough = self.operator.with_precision(self.precision)
        product = rough.with_rows(X).T @ residual
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
    diagonal = exact.diagonal()
    largest = float(diagonal.max())
    if not np.isfinite(largest) or largest <= 0:
        raise ValueError(
            f"the kernel's largest diagonal value is {largest}; EigenPro needs a "
            "positive definite kernel"
        )
    K /= s
    q = rank.at_most(s)
    values, vectors = top_eigenpairs(K, q + 1, device.linalg, xp, random_state)
    values = np.maximum(device.get(values), 0.0)
    vectors = xp.asarray(vectors, dtype=operator.dtype)
    test = X_S if s == len(data) else data.sample(TEST_ROWS, random_state)
    noise = rank.noise(largest, operator.dtype)
    left = left_over(operator, test, vectors, s * values, noise)
    q = rank.of(values, left)
    vectors, leading = vectors[:, :q], values[:q]
    level = rank.level(values[q], left[q])
    damping = 1.0 - (level / leading) ** exponent
    with np.errstate(divide="ignore"):
        scale = s * leading / damping  # of squares that leave k(x, x)
    beta = float(left_over(operator, test, vectors, scale, noise)[-1])
    row_weights = None
    # A constant k(x, x) bounds what any row can keep: at most twice beta.
    constant = float(diagonal.min()) > 0.999 * largest
    if not (constant and beta >= largest / 2.0):
        beta, row_weights = _of_all_rows(operator, data, vectors, scale, beta, largest)
    preconditioner = Preconditioner(
        operator,
        vectors,
        xp.asarray(damping / (s * leading), dtype=operator.dtype),
        np.append(leading, level),
        float(max(values[q], (leading * (1.0 - damping)).max(initial=0.0))),
        beta,
        row_weights,
        rounding(operator),
    )
    if s < len(data) or s > FULL_SIZE:
        # As many rows as a batch will have: what fewer show is their own k(x, x).
        size = max(TEST_ROWS, min(preconditioner.critical_batch, MAX_BATCH))
        chosen = data.choose(size, random_state)
        measured = measured_top(preconditioner, data, chosen, random_state)
        preconditioner.top = max(preconditioner.top, measured)
    return preconditioner


def left_over(operator, X_T, vectors, scale, noise):
    """Largest k(x, x) left without the first eigenfunctions, but for rare rows: twice.

    Parameters
    ----------
    operator : KernelOperator
        Any rows against the subsample.
    X_T : array of shape (t, d)
    vectors : array of shape (s, q)
    scale : ndarray of shape (q,)
        The square of ``K(X_T, X_S) @ vectors`` over this is an eigenfunction's share.
    noise : float
        What rounding leaves at least.

    Returns
    -------
    ndarray of shape (q + 1,)
        Without none of them, without the first, the first two, ...
    """
    left = operator.device.xp.sort(_left(operator, X_T, vectors, scale), axis=0)
    return np.maximum(operator.device.get(left[-1 - int(RARE * len(left))]), noise)


def _left(operator, X_T, vectors, scale):
    """What `left_over` is the largest of: shape (t, q + 1), no more than k(x, x)."""
    xp = operator.device.xp
    G = (operator.with_rows(X_T) @ vectors).astype(np.float64)
    # As one sample: rows against themselves.
    diagonal = make_operator(operator.kernel, X_T, None, operator.device).diagonal()
    diagonal = diagonal.astype(np.float64)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = xp.nan_to_num(G * G / xp.asarray(scale), posinf=0.0)
    shares = xp.concatenate([0.0 * diagonal, shares], axis=1)
    # Twice, as steps that bring a row all the way to its target follow the noise.
    return xp.minimum(2.0 * (diagonal - xp.cumsum(shares, axis=1)), diagonal)


def _of_all_rows(operator, data, vectors, scale, beta, largest):
    """``beta`` and the weights of rows, every row looked at as far as it is known.

    A row far from the test rows can keep its whole k(x, x): a step of more than twice
    its inverse would throw that row's coefficient further off in every epoch. Rare
    rows take shorter steps of their own; where they are many, all do.
    """
    if data.is_open or data.in_runs:
        return max(beta, largest / 2.0), None
    xp, n = operator.device.xp, len(data)
    cuts = range(0, n, CHECKED_ROWS)
    rows = (data.rows(np.arange(a, min(a + CHECKED_ROWS, n))) for a in cuts)
    left = xp.concatenate([_left(operator, X, vectors, scale)[:, -1] for X in rows])
    top, rare = float(left.max()), float(xp.sort(left)[-1 - int(RARE * n)])
    beta = max(beta, rare)
    if top <= 2.0 * beta:
        return beta, None
    return beta, (beta / xp.maximum(left, beta)).astype(operator.dtype)


def rounding(operator, n_iter=4):
    """Largest eigenvalue of what precision "medium" adds to K(X, X) / n: an estimate.

    Parameters
    ----------
    operator : KernelOperator
    n_iter : int
        Power iterations.

    Returns
    -------
    float
        0 where all precisions are one: on a CPU, and in float64.
    """
    xp, n = operator.device.xp, operator.shape[0]
    if operator.device.name == "cpu" or operator.dtype == np.float64:
        return 0.0
    rough = operator.with_precision("medium")
    # A start of its own: the same seed draws the same batches on every device.
    v = xp.asarray(np.random.RandomState(0).standard_normal((n, 1)))
    size = xp.linalg.norm(v)
    for _ in range(n_iter):
        v = (v / xp.where(size > 0, size, 1)).astype(operator.dtype)
        v = (rough @ v).astype(np.float64) - operator @ v
        size = xp.linalg.norm(v)
    return float(size) / n


def measured_top(preconditioner, data, chosen, random_state, n_iter=20):
    """Largest eigenvalue left after preconditioning, on rows other than those learnt.

    Eigenvectors of a subsample flatten its own spectrum exactly, that of other rows
    only as far as they generalise. A step that trusts the subsample can diverge.

    Parameters
    ----------
    preconditioner : Preconditioner
    data : RowSource
    chosen : ndarray of int
        The rows.
    random_state : RandomState
    n_iter : int
        Power iterations.

    Returns
    -------
    float
        0 when the rows' own k(x, x) hides it.
    """
    t, X_T = len(chosen), data.rows(chosen)
    operator = preconditioner.operator
    device = operator.device
    K = make_operator(operator.kernel, X_T, None, device).to_dense()
    G = operator.with_rows(X_T) @ preconditioner.vectors
    weights = preconditioner.weights[:, None]
    if preconditioner.row_weights is not None:
        root = preconditioner.row_weights[device.xp.asarray(chosen)][:, None] ** 0.5
        K *= root
        K *= root.T
        G *= root
    v = device.xp.asarray(random_state.standard_normal((t, 1)), dtype=K.dtype)
    value = 0.0
    for _ in range(n_iter):
        v /= device.xp.sqrt((v**2).sum())
        v, old = K @ v - G @ (weights * (G.T @ v)), v
        value = float((old * v).sum())
    return max(0.0, (value - preconditioner.beta) / max(1, t - 1))


@dataclass
class Rank:
    """How many eigenvectors a preconditioner takes, and what it flattens them to.

    Attributes
    ----------
    wanted : int or "auto"
        At most so many.
    batch_size : int
        The spectrum is flattened to where batches of this size are critical: further
        down, the leading directions would move too slowly to be learnt in an epoch.
    """

    wanted: Any
    batch_size: int

    def at_most(self, s):
        """Eigenvectors to compute for a subsample of s rows."""
        wanted = min(MAX_RANK, s // 5) if self.wanted == "auto" else self.wanted
        return min(wanted, s - 1)

    def noise(self, largest, dtype):
        """The smallest k(x, x) that a batch's products do not drown in rounding."""
        return 20.0 * float(np.finfo(dtype).eps) * largest * self.batch_size

    def of(self, values, left):
        """Eigenvectors to use.

        Parameters
        ----------
        values : ndarray of shape (q + 1,)
            Leading eigenvalues.
        left : ndarray of shape (q + 2,)
            From `left_over`.
        """
        q = len(values) - 1
        pays = values[:q] * self.batch_size > left[:q]
        return q if pays.all() else int(pays.argmin())

    def level(self, value, left):
        """Where to flatten the spectrum: `value` is the first one left out."""
        return max(float(value), float(left) / self.batch_size)
