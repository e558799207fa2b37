"""Loops over tiles, where K comes in tiles: sparse rows and the user's own kernels."""

from __future__ import annotations

import numpy as np
from numba import njit

from .vecmath import exp_f64, log_f64

loop = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")


@loop
def distances_from_sparse(G, nx, nz, close):
    """Inner products -> squared distances, in place, never negative.

    Returns how many are below `close` times the norms.
    """
    count = 0
    for i in range(G.shape[0]):
        for j in range(G.shape[1]):
            norms = nx[i] + nz[j]
            G[i, j] = max(norms - (G[i, j] + G[i, j]), 0.0)
            count += np.int64(G[i, j] < close * norms)
    return count


@loop
def close_distances(G, nx, nz, close, x, z):
    """Distances far below the norms again, from the rows.

    Parameters
    ----------
    G, nx, nz, close
        Of `distances_from_sparse`, after it.
    x, z : tuple of (data, indices, indptr)
        CSR rows whose indices are sorted.
    """
    xd, xi, xp = x
    zd, zi, zp = z
    for i in range(G.shape[0]):
        for j in range(G.shape[1]):
            if G[i, j] >= close * (nx[i] + nz[j]):
                continue
            a, b, total = xp[i], zp[j], 0.0
            while a < xp[i + 1] or b < zp[j + 1]:
                left = xi[a] if a < xp[i + 1] else np.int64(1) << 62
                right = zi[b] if b < zp[j + 1] else np.int64(1) << 62
                t = 0.0
                if left <= right:
                    t += xd[a]
                    a += 1
                if right <= left:
                    t -= zd[b]
                    b += 1
                total += t * t
            G[i, j] = total


# Not all of fast-math: it would drop the comparisons with infinity, and NaN.
@njit(nogil=True, fastmath={"contract", "nsz"}, cache=True, error_model="numpy")
def logsumexp_update(L, logw, peak, total):
    """Fold a tile of logarithms into running ``peak`` and ``total`` per row."""
    for i in range(L.shape[0]):
        top, undefined = -np.inf, False
        for j in range(L.shape[1]):
            v = np.float64(L[i, j]) + logw[j]
            top = max(top, v)
            undefined |= v != v
        if undefined:
            peak[i] = np.nan  # for good: no comparison below is true again
        elif top > peak[i]:
            total[i] *= exp_f64(peak[i] - top)
            peak[i] = top
        if peak[i] > -np.inf:
            for j in range(L.shape[1]):
                total[i] += exp_f64(np.float64(L[i, j]) + logw[j] - peak[i])


@njit(nogil=True, cache=True, error_model="numpy")
def logsumexp_finish(peak, total):
    """Row log-sum-exp from the running values, in `peak`."""
    for i in range(peak.size):
        if peak[i] > -np.inf:
            peak[i] += log_f64(total[i])
