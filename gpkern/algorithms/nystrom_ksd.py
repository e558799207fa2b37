"""The kernel Stein discrepancy in the span of the Stein kernels of a few rows."""

from __future__ import annotations

import numpy as np

from .._device import is_dask
from ..kernels.stein import SteinKernel
from ..operator import make_operator
from .feature_sums import group_size, group_sums, scored_at, scored_blocks, signed_test
from .nystrom import regularised_cholesky
from .stein import score_scale, stein_rows

# Entries of the kernel matrix that are worked on at a time.
CHUNK = {"cpu": 1 << 22, "cuda": 1 << 25}
# Added to the diagonal of the landmarks' matrix, which is scaled to 1.
JITTER = 1e-8
# Landmarks beyond which none are taken by default.
MOST_LANDMARKS = 1000


def landmark_count(n):
    """How many landmarks n rows deserve: sqrt(n) log n, at most 1,000.

    Kalinke, Szabo & Sriperumbudur (2024) need sqrt(n) log n of them for an estimate
    that converges as fast as that from all pairs, where eigenvalues fall fast.
    """
    return int(min(n, MOST_LANDMARKS, np.ceil(np.sqrt(n) * np.log(n))))


def nystrom_test(base, points, scores, landmarks, count, device, rng, scale=None):
    """Squared discrepancy in the span of landmarks, and its replicates.

    With landmarks z_1, ..., z_m, ``K_mm = R' R`` and the features
    ``f(x) = R^-T [u(z_1, x), ..., u(z_m, x)]``, it is |mean f|^2.

    Parameters
    ----------
    base : Kernel
        One that a `SteinKernel` takes.
    points, scores : array of shape (n, d)
        On the device, or on the host where they are too large for it; or Dask arrays.
    landmarks : ndarray of shape (m,)
        Row numbers, on the host.
    count : int
    device : Device
    rng : RandomState
    scale : float, default=None
        `score_scale`, where it is known.

    Returns
    -------
    statistic : float
        Unbiased, see `signed_test`.
    replicates : ndarray of shape (count,)
        With random signs.
    """
    xp, (n, d), m = device.xp, points.shape, len(landmarks)
    scale = score_scale(points, scores, xp) if scale is None else scale
    kernel = SteinKernel(base, d, scale)
    Z = stein_rows(*scored_at(points, scores, landmarks, device), xp)
    W = make_operator(kernel, Z, None, device, dtype=np.float64).to_dense()
    # Of rows with huge scores beside others both keep their digits.
    unit = 1.0 / xp.sqrt(xp.maximum(xp.diagonal(W), np.finfo(np.float64).tiny))
    R = regularised_cholesky(W * unit[:, None] * unit, device.linalg, xp, JITTER)
    first = stein_rows(points, scores, xp) if is_dask(points) else Z[:1]
    cross = make_operator(kernel, first, Z, device, dtype=np.float64)
    size, solve = group_size(n), device.linalg.solve_upper
    height = CHUNK[device.name.partition(":")[0]] // m

    def sums():
        order = rng.permutation(n)  # groups by chance, also of sorted rows
        for U in _sums_of_groups(cross, points, scores, order, size, height):
            yield solve(R, (U * unit).T, transposed=True).T

    return signed_test(sums(), n, m, count, device, rng)


def _sums_of_groups(cross, points, scores, order, size, height):
    """Sums of kernel values with the landmarks over groups of rows, in parts."""
    device = cross.device
    if is_dask(points):
        from ..dask import feature_sums as blocked

        features = blocked.KernelFeatures(cross._held_here())
        sums = blocked.group_sums(features, cross.X, order)
        yield from (sums[a : a + height] for a in range(0, len(sums), height))
        return
    for X, S in scored_blocks(points, scores, order, height, device):
        U = cross.with_rows(device.xp.concatenate([X, S], axis=1)).to_dense()
        yield group_sums(U, size)
