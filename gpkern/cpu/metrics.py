"""Tiles of pairwise quantities, and the reductions of tiles that BLAS lacks."""

from __future__ import annotations

import numpy as np
from numba import njit

from .vecmath import exp_f32, exp_f64, log_f64

loop = njit(nogil=True, fastmath=True, cache=True, error_model="numpy")


@loop
def distances_from_sparse(G, nx, nz):
    """Inner products -> squared distances, in place, never negative."""
    for i in range(G.shape[0]):
        for j in range(G.shape[1]):
            G[i, j] = max(nx[i] + nz[j] - (G[i, j] + G[i, j]), 0.0)


def _logsumexp(exp, dtype):
    zero = dtype(0)

    @njit(nogil=True, fastmath={"contract", "nsz", "reassoc"}, error_model="numpy")
    def update(L, logw, peak, total):
        """Fold a tile of logarithms into running ``peak`` and ``total`` per row."""
        for i in range(L.shape[0]):
            row = L[i]
            top = row[0] + logw[0]
            undefined = 0
            for j in range(row.size):
                v = row[j] + logw[j]
                row[j] = v
                top = max(top, v)
                undefined += np.int32(v != v)
            if undefined > 0:
                peak[i] = np.nan  # for good: no comparison below is true again
            elif top > peak[i]:
                total[i] *= exp_f64(peak[i] - top)
                peak[i] = top
            shift = peak[i]
            if shift > -np.inf:
                part = zero
                for j in range(row.size):
                    part += exp(row[j] - shift)
                total[i] += part

    return update


logsumexp_update = {
    "float32": _logsumexp(exp_f32, np.float32),
    "float64": _logsumexp(exp_f64, np.float64),
}


# No fast-math: it would drop the comparison with infinity, and NaN.
@njit(nogil=True, cache=True, error_model="numpy")
def logsumexp_finish(peak, total):
    """Row log-sum-exp from the running values, in `peak`."""
    for i in range(peak.size):
        if peak[i] > -np.inf:
            peak[i] += log_f64(total[i])
