"""Softmax over a row of a kernel matrix, and gradients by the rows of X."""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Spread of log weights that products of the dtype hold.
WIDEST = {"float32": 80.0, "float64": 700.0}
# Entries of K that are held for second derivatives, and shares that do not count.
DENSE_ENTRIES, NEGLIGIBLE = 4 << 20, 1e-18
# Sums of slopes above this have lost no digits to underflow.
UNDERFLOW = {"float32": 1e-25, "float64": 1e-250}


class Softmax:
    """``exp(log k + log_weights)`` over its row sums, ready for products.

    Parameters
    ----------
    operator : KernelOperator
    log_weights : array of shape (m,) or None
    sums : array of shape (n,), default=None
        Its `row_logsumexp`, where that is known.

    Attributes
    ----------
    given : array of shape (n,), float64
        Logarithm that is taken from the kernel's, in numbers of the dtype.
    weights : array of shape (m,)
        What columns are multiplied by.
    rest : array of shape (n,), float64
        What rows are multiplied by: the rounding of `given`.
    """

    def __init__(self, operator, log_weights, sums=None):
        xp, dtype = operator.device.xp, operator.dtype
        sums = operator.row_logsumexp(log_weights) if sums is None else sums
        if not bool((sums > -np.inf).all()):
            raise ValueError(
                "a softmax needs a column with a positive kernel value and a weight in "
                "each row; some rows have none"
            )
        top, self.weights = 0.0, xp.ones(operator.shape[1], dtype)
        if log_weights is not None:
            log_weights = xp.asarray(log_weights, dtype=np.float64)
            top = float(log_weights.max())
            kept = xp.where(log_weights == -np.inf, top, log_weights)
            if top - float(kept.min()) > WIDEST[dtype.name]:
                raise ValueError(
                    f"log_weights must lie within {WIDEST[dtype.name]:.0f} of the "
                    f"largest, or be -inf, for {dtype.name} data"
                )
            self.weights = xp.exp(log_weights - top).astype(dtype)
        self.given = (sums - top).astype(dtype).astype(np.float64)
        self.rest = xp.exp(self.given - (sums - top))


def softmax_product(operator, V, log_weights, sums=None):
    """Means of the rows of V (m, c) by softmax weights, shape (n, c)."""
    xp, soft = operator.device.xp, Softmax(operator, log_weights, sums)
    program = formula(operator, "row_softmax").softmax
    matrix = operator.matrix_.with_formula(program, given=soft.given)
    columns = xp.concatenate([V, xp.ones_like(V[:, :1])], axis=1)
    product = matrix.matmat(soft.weights[:, None] * columns)
    return product[:, :-1] / product[:, -1:]


def gradient(operator, weights):
    """Gradient of the weighted row sums by the rows of X, shape (n, d)."""
    slopes = formula(operator, "row_gradient").slopes
    return _by_rows(operator, slopes, weights, None).astype(operator.dtype)


def logsumexp_gradient(operator, log_weights, sums=None):
    """Gradient of `row_logsumexp`, shape (n, d)."""
    slopes = formula(operator, "row_logsumexp_gradient").softmax_slopes
    soft = Softmax(operator, log_weights, sums)
    out = _by_rows(operator, slopes, soft.weights, soft.given)
    return (out * soft.rest[:, None]).astype(operator.dtype)


def mean_shift(operator, log_weights, V=None):
    """Means of the rows of V by the slopes of the kernel, shape (n, c), float64."""
    return slope_means(operator, log_weights, V)[0]


def slope_means(operator, log_weights, V=None):
    """`mean_shift`, and the logarithms of the sums of slopes, shape (n,).

    In one pass where sums of slopes lose nothing to underflow, and else by softmax.
    """
    _only_distance(operator, "row_mean_shift")
    xp, matrix = operator.device.xp, operator.matrix_
    V, centre, rows = _shifted(operator, V)
    weights, top = xp.ones(operator.shape[1], operator.dtype), 0.0
    if log_weights is not None:
        top = float(log_weights.max())
        weights = xp.exp(xp.asarray(log_weights) - top).astype(operator.dtype)
    out, total = _slope_means(operator, V, matrix.program.slopes, weights, None)
    unit = xp.full(len(total), top)
    safe = abs(total) > UNDERFLOW[operator.dtype.name]
    if not getattr(operator.kernel, "is_compact", False) and not bool(safe.all()):
        rest = xp.flatnonzero(~safe)
        few = operator.with_rows(matrix.X.some(rest))
        soft = Softmax(few, log_weights)
        out[rest], total[rest] = _slope_means(
            few, V, matrix.program.softmax_slopes, soft.weights, soft.given
        )
        unit[rest] += soft.given
    moves = (total != 0) & xp.isfinite(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = xp.where(moves[:, None], out / total[:, None] + centre, rows)
        return means, xp.where(moves, xp.log(abs(total)) + unit, -np.inf)


def _shifted(operator, V):
    """V less its centre, the centre, and what stands for rows without slopes."""
    xp, matrix = operator.device.xp, operator.matrix_
    if V is not None:
        V = V.astype(np.float64)
        centre = V.mean(axis=0)
        return V - centre, centre, xp.nan
    Z, rows = _dense(operator, matrix.Z), _dense(operator, matrix.X)
    centre = 0.0 if matrix.Z.centre is None else matrix.Z.centre
    return Z - centre, centre, rows


def _slope_means(operator, V, slopes, weights, given):
    """Sums of the rows of V by the slopes, and of the slopes; float64."""
    xp, matrix = operator.device.xp, operator.matrix_
    columns = xp.concatenate([V, xp.ones_like(V[:, :1])], axis=1)
    S = matrix.with_formula(slopes[0][1], given=given)
    product = S.matmat((weights[:, None] * columns).astype(operator.dtype))
    product = product.astype(np.float64)
    return product[:, :-1], product[:, -1]


def logsumexp_hessian(operator, log_weights, sums=None):
    """Second derivatives of `row_logsumexp`, shape (n, d, d), float64.

    Row by row, from differences, of the points that count there.
    """
    leaf = _only_distance(operator, "row_logsumexp_hessian")
    xp, matrix = operator.device.xp, operator.matrix_
    soft, program = Softmax(operator, log_weights, sums), matrix.program
    X, Z = (_dense(operator, side) for side in (matrix.X, matrix.Z))
    (n, m), d = operator.shape, X.shape[1]
    leaf = xp.broadcast_to(xp.asarray(leaf, dtype=np.float64), (d,))
    out, height = xp.empty((n, d, d)), max(1, DENSE_ENTRIES // m)
    matrices = [
        matrix.with_formula(of[0][1], given=soft.given)
        for of in (program.softmax_slopes, program.softmax_bends)
    ]
    for a in range(0, n, height):
        b = min(a + height, n)
        slopes, bends = (
            part.tile(a, b, 0, m).astype(np.float64)
            * soft.weights
            * soft.rest[a:b, None]
            for part in matrices
        )
        for i in range(a, b):
            s, t = slopes[i - a], bends[i - a]
            size = xp.maximum(abs(s), abs(t))
            near = xp.flatnonzero(size > NEGLIGIBLE * size.max())
            away = (X[i] - Z[near]) * leaf
            slope = 2.0 * (s[near] @ away)
            out[i] = 4.0 * (away.T * t[near]) @ away - slope[:, None] * slope
            out[i] += 2.0 * xp.diag(leaf) * s.sum()
    return out


def _only_distance(operator, name):
    """One over the squared length scales of the kernel's only leaf, a distance."""
    leaves = [leaf for leaf, _ in formula(operator, name).slopes]
    if len(leaves) != 1 or leaves[0].metric != "sqeuclidean" or leaves[0].mix:
        raise TypeError(
            f"{name} needs a kernel of one Euclidean distance, not {operator.kernel}"
        )
    if leaves[0].scale is None:
        return 1.0
    return operator.device.xp.asarray(1.0 / np.square(leaves[0].scale))


def _by_rows(operator, slopes, weights, given):
    """Sum over leaves: the slope's products with what moves the leaf."""
    xp, matrix = operator.device.xp, operator.matrix_
    X, Z = (_dense(operator, side) for side in (matrix.X, matrix.Z))
    centre = 0.0 if matrix.Z.centre is None else matrix.Z.centre
    if matrix.program.is_mixed:
        raise TypeError("gradients are not defined for rows of points and scores")
    out = xp.zeros((operator.shape[0], X.shape[1]))
    for leaf, program in slopes:
        S = matrix.with_formula(program, given=given)
        scale = xp.ones(1) if leaf.scale is None else xp.asarray(leaf.scale)
        if leaf.metric == "sqeuclidean":
            # Of x - z, both from the centre: less is lost where they cancel.
            columns = xp.concatenate([Z - centre, xp.ones_like(Z[:, :1])], axis=1)
            columns = (weights[:, None] * columns).astype(operator.dtype)
            product = S.matmat(columns).astype(np.float64)
            out += (2 / scale**2) * ((X - centre) * product[:, -1:] - product[:, :-1])
        elif leaf.metric == "dot":
            columns = (weights[:, None] * Z).astype(operator.dtype)
            out += S.matmat(columns) / scale**2
        elif leaf.metric == "norm_x":
            product = S.matmat(weights[:, None]).astype(np.float64)
            out += (2 / scale**2) * X * product
        else:
            raise TypeError(
                f"gradients need a kernel of distances or inner products; "
                f"{operator.kernel} is one of {leaf.metric!r}"
            )
    return out


def _dense(operator, side):
    rows = side.raw(0, side.shape[0])
    if sparse.issparse(rows):
        raise TypeError("gradients need dense rows: pass X.toarray()")
    return operator.device.xp.asarray(rows, dtype=np.float64)


def formula(operator, name):
    """The program of an operator's kernel; an error where there is none."""
    if operator.matrix_.program is None:
        raise TypeError(
            f"{name} needs a kernel with a formula, not a function: write it as a "
            "gpkern.kernels.FormulaKernel"
        )
    return operator.matrix_.program
