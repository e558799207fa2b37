"""The rows of a data set on a GPU: cast, centred, scaled, with norms."""

from __future__ import annotations

import cupy as cp
import numpy as np
from scipy import sparse

from .._device import is_cupy

# (x - centre) * factor, the difference in float64: the offset may be large.
_shift_scale = cp.ElementwiseKernel(
    "S x, float64 centre, float64 factor",
    "T y",
    "y = (T)(((double)x - centre) * factor)",
    "gpkern_shift_scale",
)
_sum_squares = cp.ReductionKernel(
    "T x", "T y", "x * x", "a + b", "y = a", "0", "gpkern_sum_squares"
)


class Points:
    """Rows of one side of a kernel matrix; see `gpkern.cpu.points.Points`.

    The source may be a CuPy array, or a host array (CSR, memory-mapped, sliceable)
    that is copied part by part.
    """

    def __init__(self, source, dtype, centre, keep):
        self.source, self.dtype, self.centre, self.keep = source, dtype, centre, keep
        self.shape = source.shape
        self.is_sparse = sparse.issparse(source)
        self._kept = {}

    def take(self, view, start, stop):
        """Rows ``start:stop`` in a view, and their squared norms."""
        if not self.keep:
            return self._prepare(view, start, stop)
        if view not in self._kept:
            self._kept[view] = self._prepare(view, 0, self.shape[0])
        rows, norms = self._kept[view]
        cut = rows[:, start:stop] if view.columns else rows[start:stop]
        return cut, norms[start:stop]

    def raw(self, start, stop):
        """Rows as they came, on the GPU."""
        rows = self.source[start:stop]
        if self.is_sparse:
            rows = rows.toarray()
        return cp.asarray(rows, dtype=self.dtype)

    def _prepare(self, view, start, stop):
        rows = self.source[start:stop]
        if self.is_sparse:
            rows = rows.toarray()
        rows = cp.asarray(rows if is_cupy(rows) else np.asarray(rows))
        d = self.shape[1]
        centre = (
            self.centre if view.centred and self.centre is not None else np.zeros(d)
        )
        factor = np.ones(d) if view.scale is None else 1.0 / np.array(view.scale)
        out = cp.empty(rows.shape, self.dtype)
        _shift_scale(rows, cp.asarray(centre), cp.asarray(factor), out)
        norms = _sum_squares(out, axis=1)
        return (cp.ascontiguousarray(out.T) if view.columns else out), norms


def centre_of(source, at_most=4096):
    """Mean of a spread of rows, on the host."""
    if sparse.issparse(source):
        return None
    step = max(1, -(-source.shape[0] // at_most))
    rows = source[::step]
    if is_cupy(rows):
        return rows.mean(axis=0, dtype=np.float64).get()
    return np.asarray(rows, dtype=np.float64).mean(axis=0)
