"""What control variates choose by few draws: kernel, penalty, covariance."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from scipy.optimize import minimize

from .control_variates import EQUAL, TOO_SMALL, gram

# Penalties to choose from, over the mean of the diagonal, and rows to choose by.
PENALTIES, CHOOSING_ROWS = 10.0 ** np.arange(-10.0, 1.0), 500
# Length scales to choose from, over the median distance.
SCALES = 2.0 ** np.arange(-2.0, 3.5)
# How far above its smallest a squared error may be for integrands to share a fit.
SLACK = 1.2
# Correlation of integrands that the search starts from, and its penalty.
START, START_PENALTY = 0.9, 1e-6


def some_of_each(task, count, rng):
    """Rows to choose by: as many of each set as there are, or its share."""
    sizes = np.bincount(task)
    share = max(count // len(sizes), 3)
    picked = []
    for j, size in enumerate(sizes):
        own = np.flatnonzero(task == j)
        picked.append(own if size <= share else rng.choice(own, share, replace=False))
    return np.sort(np.concatenate(picked))


def alike(is_constant):
    """Correlation of integrands that are nearly proportional."""
    C = np.where(np.logical_or.outer(is_constant, is_constant), 0.0, START)
    np.fill_diagonal(C, 1.0)
    return C


def left_out_errors(kernels, rows, task, C, F, penalties, device):
    """Squared errors of each row's value predicted from the others, on average.

    Parameters
    ----------
    kernels : list of SteinKernel
    rows : array of shape (n, 2 d)
        Few: all matrices are decomposed.
    task : ndarray of shape (n,)
    C : ndarray of shape (t, t)
    F : ndarray of shape (n, c)
        In units of the integrands.
    penalties : list of float
        Over the mean of the matrix's diagonal.
    device : Device

    Returns
    -------
    ndarray of shape (len(kernels), len(penalties), c)
        Infinity where a matrix is not positive definite.
    """
    E = np.eye(len(C))[task]
    errors = np.full((len(kernels), len(penalties), F.shape[1]), np.inf)
    for i, kernel in enumerate(kernels):
        K = device.get(gram(kernel, rows, device)) * C[np.ix_(task, task)]
        values, U = linalg.eigh(K)
        UE, UF, mean = U.T @ E, U.T @ F, float(np.trace(K)) / len(K)
        for j, penalty in enumerate(penalties):
            shifted = values + penalty * mean
            if shifted[0] <= 0:
                continue
            P = U @ (UE / shifted[:, None])
            weights = np.linalg.solve(E.T @ P, P.T).T
            solved = U @ ((UF - UE @ (weights.T @ F)) / shifted[:, None])
            left = (U * U) @ (1.0 / shifted) - (weights * P).sum(axis=1)
            errors[i, j] = ((solved / left[:, None]) ** 2).mean(axis=0)
    return errors


def settings(errors, is_joint):
    """Which kernel and penalty each integrand takes: as few as do for all.

    Parameters
    ----------
    errors : ndarray of shape (k, l, c)
        Of `left_out_errors`.
    is_joint : bool
        Whether all take the same: those of the least sum.

    Returns
    -------
    dict of (int, int) to ndarray of int
        Numbers of a kernel and a penalty, and the integrands that take them.

    Raises
    ------
    ValueError
        Where no penalty is large enough.
    """
    n_penalties, c = errors.shape[1:]
    flat = errors.reshape(-1, c)
    if not np.isfinite(flat).all(axis=1).any():
        raise ValueError(TOO_SMALL)
    if is_joint:
        best = int(flat.sum(axis=1).argmin())
        return {divmod(best, n_penalties): np.arange(c)}
    least, found, left = flat.min(axis=0), {}, np.arange(c)
    fits = flat <= SLACK * least + EQUAL**2
    while len(left):
        # The one that suits most of those left, and of these the best.
        excess = (flat[:, left] / np.maximum(least[left], EQUAL**2)).sum(axis=1)
        count = fits[:, left].sum(axis=1)
        best = int(np.lexsort((excess, -count))[0])
        found[divmod(best, n_penalties)] = left[fits[best, left]]
        left = left[~fits[best, left]]
    return found


def covariance_of_tasks(K, task, f):
    """Covariance B of integrands by restricted maximum likelihood.

    Parameters
    ----------
    K : ndarray of shape (n, n)
        Of few rows.
    task : ndarray of shape (n,)
    f : ndarray of shape (n,)
        Values of each row's integrand, in units in which they spread by about 1.

    Returns
    -------
    ndarray of shape (t, t)
        Its largest entry is 1.
    """
    t, n = int(task.max()) + 1, len(f)
    E, lower = np.eye(t)[task], np.tril_indices(t)
    start = np.linalg.cholesky(alike(np.zeros(t, bool)))
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
        if quadratic <= 0:
            return np.inf, np.zeros_like(theta)
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
