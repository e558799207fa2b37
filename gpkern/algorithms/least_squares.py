"""Kernel least squares: direct, conjugate gradients on all rows, and Falkon."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..operator import make_operator
from .nystrom import nystrom_preconditioner, preconditioner_rank, regularised_cholesky

# Share of the largest entry that is added to the diagonal of the centres' matrix. With
# less, the inverse of its factor amplifies the rounding of products in that dtype.
JITTER = {"float32": 3e-6, "float64": 1e-12}
# The same where products are in float64, and only the coefficients are rounded.
COEF_JITTER = {"float32": 1e-8, "float64": 1e-12}
# Iterations without a smaller residual after which conjugate gradients end: where the
# residual stays at the rounding of float32; in float64 it comes down again.
PATIENCE, LONG_PATIENCE = 20, 200
# Residual, relative to its start, to which rough products bring a solution.
ROUGH_TOL = 1e-4


def solve_direct(K, Y, alpha, sample_weight, device):
    """Dual coefficients of kernel ridge regression by a Cholesky factor.

    Parameters
    ----------
    K : array of shape (n, n)
        Overwritten.
    Y : array of shape (n, c)
    alpha : array of shape (1,) or (c,)
    sample_weight : array of shape (n,) or None
    device : Device

    Returns
    -------
    array of shape (n, c)
        In the dtype of Y; the work is done in float64.
    """
    xp = device.xp
    K = K.astype(np.float64, copy=False)
    work = Y.astype(np.float64)
    if sample_weight is not None:
        root = xp.sqrt(xp.asarray(sample_weight, dtype=np.float64))
        K *= root[:, None]
        K *= root[None, :]
        work = work * root[:, None]
    out = xp.empty_like(work)
    diagonal = xp.diagonal(K).copy()
    groups = _groups(alpha, Y.shape[1])
    for i, (value, columns) in enumerate(groups):
        if i > 0:
            _mirror(K, xp)
        last = i + 1 == len(groups)
        shifted = diagonal + value
        out[:, columns] = _solve_positive(K, shifted, work[:, columns], device, last)
    if sample_weight is not None:
        out *= root[:, None]
    return out.astype(Y.dtype)


def _solve_positive(A, diagonal, B, device, last=True):
    """Solution of the symmetric system of A with another diagonal.

    A's upper triangle is overwritten, and everything if it is the `last`.
    """
    solve, xp, n = device.linalg.solve_upper, device.xp, A.shape[0]
    at = xp.arange(n)
    A[at, at] = diagonal
    try:
        R = device.linalg.cholesky(A, keep_lower=True)
        # What elimination has left of each diagonal entry: rounding, or something.
        left = xp.diagonal(R) ** 2 / diagonal
        if float(left.min()) > n * np.finfo(np.float64).eps:
            return solve(R, solve(R, B, transposed=True))
        R = None
    except np.linalg.LinAlgError:
        pass
    _mirror(A, xp)
    A[at, at] = diagonal
    if not bool(xp.isfinite(A.sum())):
        return xp.full_like(B, np.nan)
    warnings.warn(
        "Singular matrix in solving dual problem. Using least-squares solution of "
        "smallest norm instead.",
        stacklevel=2,
    )
    return device.linalg.least_squares(A if last else A.copy(), B)


def _mirror(A, xp, height=1024):
    """Make the upper triangle of a matrix equal to the lower, in place."""
    for a in range(0, A.shape[0], height):
        b = a + height
        corner = xp.tril(A[a:b, a:b], -1)
        A[a:b, a:b] = corner + corner.T
        A[a:b, b:] = A[b:, a:b].T


def gram_of_upper(T, xp, width=2048):
    """``T @ T.T`` of an upper triangle: a sixth of the work of a product."""
    out = xp.empty_like(T)
    for a in range(0, len(T), width):
        for b in range(a, len(T), width):
            block = T[a : a + width, b:] @ T[b : b + width, b:].T
            out[a : a + width, b : b + width] = block
            out[b : b + width, a : a + width] = block.T
    return out


def _groups(alpha, c):
    """Distinct penalties, each with the columns that have it."""
    alpha = np.broadcast_to(np.asarray(alpha, dtype=np.float64).ravel(), (c,))
    return [(v, np.flatnonzero(alpha == v)) for v in np.unique(alpha)]


def conjugate_gradients(apply, B, precondition, tol, max_iter, xp, patience=PATIENCE):
    """Solve several positive definite systems that share their products.

    Parameters
    ----------
    apply : callable
        Matrix times block of vectors; the matrix may differ between columns.
    B : array of shape (n, c), float64
    precondition : callable
        Approximate inverse of the same.
    tol : float
        Stop when every column's residual is below ``tol`` times its right side.
    max_iter : int
    xp : module
    patience : int, default=20
        Iterations without a smaller residual after which to stop.

    Returns
    -------
    X : array of shape (n, c)
    n_iter : int
    residual : float
        Largest relative residual.
    """
    X, R = xp.zeros_like(B), B.copy()
    size = xp.maximum(xp.sqrt((B * B).sum(axis=0)), np.finfo(np.float64).tiny)
    S = precondition(R)
    P, rs = S.copy(), (R * S).sum(axis=0)
    best, best_X, stalled, n_iter = np.inf, X.copy(), 0, 0
    while n_iter < max_iter:
        n_iter += 1
        Q = apply(P)
        curvature = (P * Q).sum(axis=0)
        # A finished column has P = 0: leave it where it is.
        moving = curvature > 0
        a = xp.where(moving, rs / xp.where(moving, curvature, 1.0), 0.0)
        X += a * P
        R -= a * Q
        relative = float((xp.sqrt((R * R).sum(axis=0)) / size).max())
        if relative < best:
            best, best_X, stalled = relative, X.copy(), 0
        else:
            stalled += 1
        # In float32 the residual stops falling at rounding: more steps add noise.
        if relative <= tol or stalled >= patience or not np.isfinite(relative):
            break
        S = precondition(R)
        new = (R * S).sum(axis=0)
        P = S + xp.where(rs > 0, new / xp.where(rs > 0, rs, 1.0), 0.0) * P
        rs = new
    if best >= 1.0:
        best_X, best = _no_worse_than_zero(apply, best_X, B, size, xp)
    return best_X, n_iter, best


def mixed_gradients(
    apply, rough, B, precondition, tol, max_iter, xp, patience=PATIENCE
):
    """`conjugate_gradients` by rough products, corrected by few exact ones.

    Iterative refinement: each round solves for what the exact residual still lacks.
    Where rough products gain nothing more, exact ones go on.

    Parameters
    ----------
    apply, rough : callable
        Exact and rough products with the same matrix.
    B, precondition, tol, max_iter, xp
        Of `conjugate_gradients`.
    patience : int, default=20
        Of its exact products.

    Returns
    -------
    X : array of shape (n, c)
    n_iter : int
    residual : float
        Largest relative residual, of exact products.
    """
    size = xp.maximum(xp.sqrt((B * B).sum(axis=0)), np.finfo(np.float64).tiny)
    X, R, residual, n_iter = xp.zeros_like(B), B, 1.0, 0
    while n_iter < max_iter and residual > tol:
        wanted, left = max(ROUGH_TOL, 0.9 * tol / residual), max_iter - n_iter
        D, n, _ = conjugate_gradients(rough, R, precondition, wanted, left, xp)
        n_iter += n
        rest = B - apply(X + D)
        reached = float((xp.sqrt((rest * rest).sum(axis=0)) / size).max())
        if not reached < 0.5 * residual:
            wanted, left = tol / residual, max(1, max_iter - n_iter)
            D, n, gain = conjugate_gradients(
                apply, R, precondition, wanted, left, xp, patience
            )
            return X + D, n_iter + n, gain * residual
        X, R, residual = X + D, rest, reached
    return X, n_iter, residual


def _no_worse_than_zero(apply, X, B, size, xp):
    """X with zeros where they are nearer to the solution in the norm of the matrix.

    A few steps bring X nearer even where the residual grows; rounding may not.
    """
    R = B - apply(X)
    nearer = (X * (B + R)).sum(axis=0) > 0
    X, R = xp.where(nearer, X, 0.0), xp.where(nearer, R, B)
    return X, float((xp.sqrt((R * R).sum(axis=0)) / size).max())


def warn_above(tol, residual):
    """Say that conjugate gradients ended early."""
    if residual > tol:
        warnings.warn(
            f"conjugate gradients stopped at a relative residual of {residual:.1e}, "
            f"above tol={tol:.1e}: raise max_iter or tol, or use a larger alpha",
            ConvergenceWarning,
            stacklevel=2,
        )


def solve_pcg(
    operator, X, Y, alpha, sample_weight, tol, max_iter, random_state, rank=None
):
    """Kernel ridge regression on all rows, K never formed.

    Solves ``(S K S + alpha) c = S y`` and returns ``S c``, where S holds the roots
    of the weights. `rank` is that of the preconditioner.

    Returns
    -------
    coef : array of shape (n, c)
    n_iter : int
    residual : float
    """
    device = operator.device
    xp = device.xp
    B = xp.asarray(Y, dtype=np.float64)
    root = None
    if sample_weight is not None:
        root = xp.sqrt(xp.asarray(sample_weight, dtype=np.float64))[:, None]
        B = B * root
    penalty = xp.asarray(np.asarray(alpha, dtype=np.float64).ravel())

    def products(K):
        def apply(P):
            scaled = P if root is None else root * P
            product = device.whole(K @ scaled.astype(K.dtype)).astype(np.float64)
            return (product if root is None else root * product) + penalty * P

        return apply

    rank = preconditioner_rank(operator.shape[0]) if rank is None else rank
    precondition = nystrom_preconditioner(operator, X, rank, alpha, root, random_state)
    solve = conjugate_gradients
    if operator.dtype == np.float64:
        # Products in float32 take less than half of the time.
        half = operator.in_float32(X)
        # Of a singular matrix later iterations wander off.
        patience = LONG_PATIENCE if float(penalty.min()) > 0 else PATIENCE
        solve = partial(mixed_gradients, rough=products(half), patience=patience)
    coef, n_iter, residual = solve(
        products(operator),
        B=B,
        precondition=precondition,
        tol=tol,
        max_iter=max_iter,
        xp=xp,
    )
    warn_above(tol, residual)
    if root is not None:
        coef = coef * root
    return coef.astype(operator.dtype), n_iter, residual


def solve_features(operator, Z, Y, alpha, sample_weight):
    """The problem of `solve_falkon` by a factor, p^2 numbers of memory.

    With ``M = R' R`` the rows of ``K R^-1`` are features in which the penalty is
    ``alpha |w|^2``. Their Gram matrix loses far fewer digits than K' K does.

    Parameters
    ----------
    operator : KernelOperator
        Rows against centres, in float64; a Dask array's too.
    Z, Y, alpha, sample_weight
        As in `solve_falkon`.

    Returns
    -------
    coef : array of shape (p, c)
        In the dtype of Y.
    """
    device = operator.device
    xp, linalg = device.xp, device.linalg
    M = make_operator(operator.kernel, Z, None, device, dtype=np.float64).to_dense()
    R = regularised_cholesky(M, linalg, xp, COEF_JITTER[Y.dtype.name])
    A, B = operator.sum_over_rows(partial(_normal_equations, R), Y, sample_weight)
    w = solve_direct(A, B, alpha, None, device)
    return linalg.solve_upper(R, w).astype(Y.dtype)


def _normal_equations(R, device, K, Y, weights):
    """What some rows add to the two sides of the equations of their features."""
    R = device.xp.asarray(device.put(R))
    features = device.linalg.solve_upper(R, K.T, transposed=True)
    left = features if weights is None else features * weights
    return left @ features.T, left @ Y


def solve_falkon(operator, Z, Y, alpha, sample_weight, tol, max_iter):
    """Kernel ridge regression on centres (Rudi, Carratino & Rosasco 2017).

    Minimises ``sum_i w_i (f(x_i) - y_i)^2 + alpha |f|^2`` over functions spanned by
    the centres: ``(K' W K + alpha M) a = K' W y`` with K rows against centres and M
    centres against centres.

    Parameters
    ----------
    operator : KernelOperator
        Rows against centres.
    Z : array of shape (p, d)
        The centres.
    Y : array of shape (n, c)
    alpha : array of shape (1,) or (c,)
    sample_weight : array of shape (n,) or None
    tol, max_iter
        Of the conjugate gradients.

    Returns
    -------
    coef : array of shape (p, c)
    n_iter : int
    residual : float
    """
    device = operator.device
    xp, linalg = device.xp, device.linalg
    n, p = operator.shape
    M = make_operator(operator.kernel, Z, None, device, dtype=np.float64).to_dense()
    T = regularised_cholesky(M, linalg, xp, JITTER[operator.dtype.name])
    weights = sample_weight
    total = float(n if weights is None else weights.sum())
    TT = gram_of_upper(T, xp)
    at = xp.arange(p)
    diagonal = TT[at, at] * (total / p)
    TT *= total / p
    out = xp.empty((p, Y.shape[1]), np.float64)
    worst, iterations = 0.0, 0
    Y = Y.astype(operator.dtype)
    for value, columns in _groups(alpha, Y.shape[1]):
        TT[at, at] = diagonal + value
        A = linalg.cholesky(TT.copy())

        def inner(beta, T=T, A=A):
            return linalg.solve_upper(T, linalg.solve_upper(A, beta))

        def outer(g, T=T, A=A):
            g = linalg.solve_upper(T, g, transposed=True)
            return linalg.solve_upper(A, g, transposed=True)

        def apply(beta, A=A, inner=inner, outer=outer, value=value):
            gamma = linalg.solve_upper(A, beta)
            a = linalg.solve_upper(T, gamma).astype(operator.dtype)
            g, _ = operator.normal_matmat(a, weights=weights)
            g = linalg.solve_upper(T, g.astype(np.float64), transposed=True)
            return linalg.solve_upper(A, g + value * gamma, transposed=True)

        target = Y[:, columns]
        if weights is not None:
            target = target * weights[:, None]
        right = outer((operator.T @ target).astype(np.float64))
        beta, n_iter, residual = conjugate_gradients(
            apply, right, lambda r: r, tol, max_iter, xp
        )
        out[:, columns] = inner(beta)
        worst, iterations = max(worst, residual), max(iterations, n_iter)
    warn_above(tol, worst)
    return out.astype(operator.dtype), iterations, worst
