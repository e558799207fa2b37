"""Nystrom approximations: a preconditioner, and factors of the centres' matrix."""

from __future__ import annotations

import numpy as np

from .._device import is_cupy
from ..operator import make_operator

# Numbers of a part of a tall array that is worked on in float64.
STRIP_SIZE = {"cpu": 1 << 20, "cuda": 1 << 26}
# Rank of a preconditioner that memory may not lower any further.
LEAST_RANK = 50
# Share of the largest eigenvalue below which those of a matrix are noise.
NOISE = {"float32": 1e-6, "float64": 1e-12}


def preconditioner_rank(n):
    """Rank that balances its cost, n r^2 once, with the iterations that it saves."""
    return int(min(n, max(100, 8 * np.sqrt(n))))


def nystrom_preconditioner(operator, X, rank, alpha, weight_root, random_state):
    """Approximate inverse of ``S K S + alpha`` from a Nystrom approximation.

    Frangella, Tropp & Udell (2023), eq. 5.3, with uniformly drawn columns. Holds one
    float32 array of n rows; its products are made in float64, so that its rounding
    only makes it the preconditioner of a matrix nearby.

    Parameters
    ----------
    operator : KernelOperator
        K of all rows.
    X : array of shape (n, d)
    rank : int
        At most; as many columns as half of a dense matrix's memory holds.
    alpha : array of shape (1,) or (c,)
    weight_root : array of shape (n, 1) or None
        Diagonal of S.
    random_state : RandomState

    Returns
    -------
    callable
    """
    device, n = operator.device, operator.shape[0]
    xp = device.xp
    rank = min(rank, n, max(LEAST_RANK, int(device.dense_bytes() // (8 * n))))
    B, scale, noise = _nystrom_factor(operator, X, rank, weight_root, random_state)
    cuts = _cuts(n, rank, device)
    gram = xp.zeros((rank, rank))
    for cut in cuts:
        part = B[cut].astype(np.float64)
        gram += part.T @ part
    values, V = device.linalg.eigh(gram)
    floor = NOISE[operator.dtype.name] * float(values[0])
    keep = int((values > floor).sum())
    values, V = values[:keep], V[:, :keep]
    alpha = xp.asarray(np.asarray(alpha, dtype=np.float64).ravel()) / scale + noise
    # Per column: the tail behaves like its largest possible value.
    tail = alpha + (floor if keep < rank else float(values[-1]))
    # Nothing beyond these directions: a singular matrix, and its pseudo-inverse.
    eps = float(np.finfo(operator.dtype).eps)
    beyond = (alpha > eps * values[0]) | (keep == rank)
    beyond = beyond.astype(np.float64)[None, :]
    inside = tail[None, :] / (values[:, None] + alpha[None, :])
    weights = (inside - beyond) / values[:, None]

    def precondition(R):
        inner = xp.zeros((rank, R.shape[1]))
        for cut in cuts:
            inner += B[cut].astype(np.float64).T @ R[cut]
        inner = V @ (weights * (V.T @ inner))
        out = beyond * R
        for cut in cuts:
            out[cut] += B[cut].astype(np.float64) @ inner
        return out

    return precondition


def _nystrom_factor(operator, X, rank, weight_root, random_state):
    """B of shape (n, rank), float32, with ``S K S`` near ``scale * B @ B.T``.

    Also `scale`, and over it the noise that K has on its diagonal alone.
    """
    device, n = operator.device, operator.shape[0]
    xp, linalg = device.xp, device.linalg
    chosen = np.sort(random_state.choice(n, rank, replace=False))
    Z = device.put(X[xp.asarray(chosen) if is_cupy(X) else chosen])
    # In float64 for any data: what follows divides by small eigenvalues.
    columns = make_operator(operator.kernel, X, Z, device, dtype=np.float64)
    W = columns.with_rows(Z).to_dense()
    own = xp.diagonal(W)
    scale = float(own.max())
    noise = float((operator.diagonal()[xp.asarray(chosen)] - own).mean()) / scale
    R = regularised_cholesky(W, linalg, xp, 1e-8)
    R *= np.sqrt(scale)
    B = xp.empty((n, rank), np.float32)
    for cut in _cuts(n, rank, device):
        block = columns.rows(cut)
        if weight_root is not None:
            block *= weight_root[cut]
        B[cut] = linalg.solve_upper(R, block.T, transposed=True).T
    if weight_root is not None:
        noise *= float((weight_root**2).mean())
    return B, scale, noise if noise > 1e-5 else 0.0


def _cuts(n, width, device):
    """Slices of a tall array's rows to work on at a time."""
    height = max(1, STRIP_SIZE[device.name.partition(":")[0]] // width)
    return [slice(i, min(i + height, n)) for i in range(0, n, height)]


def regularised_cholesky(W, linalg, xp, jitter):
    """Cholesky factor of W with as little added to its diagonal as it takes."""
    at = xp.arange(W.shape[0])
    scale = float(W[at, at].max())
    if not scale > 0:
        raise ValueError(
            "the kernel matrix of the chosen rows has no positive diagonal entry; "
            "the kernel must be positive definite"
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
                    "the kernel matrix of the chosen rows is not positive definite; "
                    "the kernel must be positive definite"
                ) from None
