"""Row log-sum-exp: by plain sums where these lose nothing, which is faster."""

from __future__ import annotations

import numpy as np

from ._validation import is_sliceable
from .kernels.expr import never_negative

# Sums of so much have lost no digits to underflow, and weights of so little neither.
SAFE = {"float32": (1e-25, 1e30), "float64": (1e-250, 1e250)}
LIGHTEST = {"float32": -40.0, "float64": -500.0}
# Rows that are tried first, and the share of them that must be safe.
TRIED, ENOUGH = 64, 0.75


def logsumexp(operator, log_weights):
    """``log sum_j exp(log_weights_j) k(x_i, z_j)``, float64, on a CPU.

    Parameters
    ----------
    operator : KernelOperator
    log_weights : array of shape (m,) or None

    Returns
    -------
    array of shape (n,)
        NaN where the kernel is negative.
    """
    matrix = operator.matrix_
    weights, top = _weights(operator, log_weights)
    if weights is None or not _may_sum(matrix):
        return matrix.logsumexp(log_weights)
    n = matrix.shape[0]
    few = matrix.with_rows(matrix.X.some(np.linspace(0, n - 1, TRIED).astype(int)))
    if _is_safe(few.matmat(weights)[:, 0], matrix.dtype).mean() < ENOUGH:
        return matrix.logsumexp(log_weights)
    sums = matrix.matmat(weights)[:, 0]
    safe = _is_safe(sums, matrix.dtype)
    if not safe.all() and matrix.symmetric:  # its diagonal is special
        return matrix.logsumexp(log_weights)
    out = np.log(np.where(safe, sums, 1.0), dtype=np.float64) + top
    if not safe.all():
        rest = np.flatnonzero(~safe)
        out[rest] = matrix.with_rows(matrix.X.some(rest)).logsumexp(log_weights)
    return out


def _may_sum(matrix):
    """Whether a plain sum would show what goes wrong, and be faster."""
    program, rows = matrix.program, matrix.X
    if program is None or not matrix.is_dense or rows.shape[0] < 4 * TRIED:
        return False
    if is_sliceable(rows.source):
        return False
    return never_negative(program.expr) and never_negative(program.diagonal_expr)


def _weights(operator, log_weights):
    """Weights as a column, none above 1, and the logarithm that was taken out.

    None where some would underflow.
    """
    m, dtype = operator.shape[1], operator.dtype
    if log_weights is None:
        return np.ones((m, 1), dtype), 0.0
    log_weights = np.asarray(log_weights, dtype=np.float64)
    finite = log_weights[log_weights > -np.inf]
    if not finite.size or finite.min() - finite.max() < LIGHTEST[dtype.name]:
        return None, 0.0
    return np.exp(log_weights - finite.max()).astype(dtype)[:, None], finite.max()


def _is_safe(sums, dtype):
    low, high = SAFE[np.dtype(dtype).name]
    return (sums > low) & (sums < high)
