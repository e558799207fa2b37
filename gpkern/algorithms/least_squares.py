"""Kernel least squares: direct, conjugate gradients on all rows, and Falkon."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..operator import make_operator


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
    at = xp.arange(K.shape[0])
    diagonal = K[at, at].copy()
    for value, columns in _groups(alpha, Y.shape[1]):
        A = K if len(alpha) == 1 else K.copy()
        A[at, at] = diagonal + value
        out[:, columns] = _solve_positive(A, diagonal + value, work[:, columns], device)
    if sample_weight is not None:
        out *= root[:, None]
    return out.astype(Y.dtype)


def _solve_positive(A, diagonal, B, device):
    """Solution of a symmetric system whose `diagonal` is known; A is overwritten."""
    solve, xp = device.linalg.solve_upper, device.xp
    try:
        R = device.linalg.cholesky(A, keep_lower=True)
        return solve(R, solve(R, B, transposed=True))
    except np.linalg.LinAlgError:
        # Singular: the answer of smallest norm, as scikit-learn gives.
        A = xp.tril(A, -1)
        A += A.T
        at = xp.arange(len(A))
        A[at, at] = diagonal
        return device.linalg.least_squares(A, B)


def _groups(alpha, c):
    """Distinct penalties, each with the columns that have it."""
    alpha = np.broadcast_to(np.asarray(alpha, dtype=np.float64).ravel(), (c,))
    return [(v, np.flatnonzero(alpha == v)) for v in np.unique(alpha)]


def conjugate_gradients(apply, B, precondition, tol, max_iter, xp):
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
        if relative <= tol or stalled >= 20 or not np.isfinite(relative):
            break
        S = precondition(R)
        new = (R * S).sum(axis=0)
        P = S + xp.where(rs > 0, new / xp.where(rs > 0, rs, 1.0), 0.0) * P
        rs = new
    return best_X, n_iter, best


def warn_above(tol, residual):
    """Say that conjugate gradients ended early."""
    if residual > tol:
        warnings.warn(
            f"conjugate gradients stopped at a relative residual of {residual:.1e}, "
            f"above tol={tol:.1e}: raise max_iter or tol, or use a larger alpha",
            ConvergenceWarning,
            stacklevel=2,
        )


def preconditioner_rank(n):
    """Rank that balances its cost, n r^2 once, with the iterations that it saves."""
    return int(min(n, max(100, 8 * np.sqrt(n))))


def nystrom_preconditioner(operator, X, rank, alpha, weight_root, random_state):
    """Approximate inverse of ``S K S + alpha`` from a Nystrom approximation.

    Frangella, Tropp & Udell (2023), eq. 5.3, with uniformly drawn columns.

    Parameters
    ----------
    operator : KernelOperator
        K of all rows.
    X : array of shape (n, d)
    rank : int
    alpha : array of shape (1,) or (c,)
    weight_root : array of shape (n, 1) or None
        Diagonal of S.
    random_state : RandomState

    Returns
    -------
    callable
    """
    device, n = operator.device, operator.shape[0]
    xp, linalg = device.xp, device.linalg
    rank = min(rank, n)
    chosen = xp.asarray(np.sort(random_state.choice(n, rank, replace=False)))
    Z = device.put(X[chosen] if not hasattr(X, "tocsr") else X[device.get(chosen)])
    C = make_operator(operator.kernel, X, Z, device).to_dense().astype(np.float64)
    W = C[chosen]
    if weight_root is not None:
        C *= weight_root
    # C W^-1 C' = B B' with B = C R^-1, and B's Gram matrix is small.
    R = _regularised_cholesky(W, linalg, xp, 1e-8)
    B = linalg.solve_upper(R, C.T, transposed=True).T
    values, V = linalg.eigh(B.T @ B)
    keep = int((values > 1e-12 * values[0]).sum())
    values, V = values[:keep], V[:, :keep]
    U = (B @ V) / xp.sqrt(values)
    alpha = xp.asarray(np.asarray(alpha, dtype=np.float64).ravel())
    floor = values[-1]
    # Per column: the tail behaves like its largest possible value.
    shrink = (floor + alpha)[None, :] / (values[:, None] + alpha[None, :]) - 1.0

    def precondition(R):
        return R + U @ (shrink * (U.T @ R))

    return precondition


def _regularised_cholesky(W, linalg, xp, jitter):
    """Cholesky factor of W with as little added to its diagonal as it takes."""
    at = xp.arange(W.shape[0])
    scale = float(W[at, at].max())
    if not scale > 0:
        raise ValueError(
            "the kernel matrix of the centers has no positive diagonal entry; "
            "solver='pcg' needs a positive definite kernel"
        )
    while True:
        A = W.copy()
        A[at, at] += jitter * scale
        try:
            return linalg.cholesky(A)
        except np.linalg.LinAlgError:
            jitter *= 100
            if jitter > 1e-2:
                raise ValueError(
                    "the kernel matrix of the centers is not positive definite; "
                    "solver='pcg' needs a positive definite kernel"
                ) from None


def solve_pcg(operator, X, Y, alpha, sample_weight, tol, max_iter, random_state):
    """Kernel ridge regression on all rows, K never formed.

    Solves ``(S K S + alpha) c = S y`` and returns ``S c``, where S holds the roots
    of the weights.

    Returns
    -------
    coef : array of shape (n, c)
    n_iter : int
    residual : float
    """
    xp = operator.device.xp
    B = xp.asarray(Y, dtype=np.float64)
    root = None
    if sample_weight is not None:
        root = xp.sqrt(xp.asarray(sample_weight, dtype=np.float64))[:, None]
        B = B * root
    penalty = xp.asarray(np.asarray(alpha, dtype=np.float64).ravel())

    def apply(P):
        product = operator @ (P if root is None else root * P).astype(operator.dtype)
        product = product.astype(np.float64)
        return (product if root is None else root * product) + penalty * P

    rank = preconditioner_rank(operator.shape[0])
    precondition = nystrom_preconditioner(operator, X, rank, alpha, root, random_state)
    coef, n_iter, residual = conjugate_gradients(
        apply, B, precondition, tol, max_iter, xp
    )
    warn_above(tol, residual)
    if root is not None:
        coef = coef * root
    return coef.astype(operator.dtype), n_iter, residual


def solve_features(operator, Z, Y, alpha, sample_weight):
    """The problem of `solve_falkon` by a factor, p^2 numbers of memory.

    With ``M = R' R`` the rows of ``K R^-1`` are features in which the penalty is
    ``alpha |w|^2``. Their Gram matrix loses far fewer digits than K' K does.

    Returns
    -------
    coef : array of shape (p, c)
    """
    device = operator.device
    xp, linalg, p = device.xp, device.linalg, operator.shape[1]
    M = make_operator(operator.kernel, Z.astype(np.float64), None, device).to_dense()
    R = _regularised_cholesky(M, linalg, xp, 1e-12)
    A, B = xp.zeros((p, p)), xp.zeros((p, Y.shape[1]))
    for cut, block in operator.blocks():
        features = linalg.solve_upper(R, block.astype(np.float64).T, transposed=True)
        left = features if sample_weight is None else features * sample_weight[cut]
        A += left @ features.T
        B += left @ Y[cut]
    w = solve_direct(A, B, alpha, None, device)
    return linalg.solve_upper(R, w).astype(operator.dtype)


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
    Z = Z.astype(np.float64)
    M = make_operator(operator.kernel, Z, None, device).to_dense()
    T = _regularised_cholesky(M, linalg, xp, 1e-12)
    weights = sample_weight
    total = float(n if weights is None else weights.sum())
    TT = T @ T.T
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
