"""The rows of a data set on a GPU: cast, centred, scaled, with norms."""

from __future__ import annotations

import cupy as cp
import numpy as np
from scipy import sparse

from .._device import is_cupy
from .._kept import Kept
from .._validation import is_sliceable
from ..cpu.points import LONELY, read
from .packed import pack
from .upload import Uploader

# Rows of less than this share of the largest entry are small, and how many are many.
UNEVEN, MANY = 2.0**-18, 1e-3

# (x - centre) * factor, the difference in float64: the offset may be large.
_shift_scale = cp.ElementwiseKernel(
    "S x, float64 centre, float64 factor, float64 length",
    "T y",
    "y = (T)(((double)x - centre) * factor * length)",
    "gpkern_shift_scale",
)
# One over the length of a row; 1 for a row of zeros.
_inverse_length = cp.ReductionKernel(
    "S x, float64 centre, float64 factor",
    "float64 y",
    "((double)x - centre) * factor * (((double)x - centre) * factor)",
    "a + b",
    "y = a > 0 ? 1 / sqrt(a) : 1",
    "0",
    "gpkern_inverse_length",
)
_largest = cp.ReductionKernel(
    "T x, T centre",
    "T y",
    "abs(x - centre)",
    "max(a, b)",
    "y = a",
    "0",
    "gpkern_largest",
)
_sum_squares = cp.ReductionKernel(
    "T x", "T y", "x * x", "a + b", "y = a", "0", "gpkern_sum_squares"
)


class Points:
    """Rows of one side of a kernel matrix; see `gpkern.cpu.points.Points`.

    The source may be a CuPy array, or a host array (CSR, memory-mapped, sliceable)
    that is copied part by part.
    """

    def __init__(self, source, dtype, centre, budget, name="X"):
        self.source, self.dtype, self.centre = source, dtype, centre
        self.name = name
        self.shape = source.shape
        self.budget = budget
        self.keep = source.shape[0] * self._row_bytes() <= budget // 2
        self.is_sparse = sparse.issparse(source)
        self._kept = Kept(budget)

    def __getstate__(self):
        # Prepared again where it is needed.
        return self.__dict__ | {"_kept": Kept(self.budget)}

    def _row_bytes(self):
        return self.shape[1] * np.dtype(self.dtype).itemsize

    def chunk(self, limit):
        """Rows to work on at a time, a multiple of 256: what the budget allows."""
        if not self.keep:
            limit = min(limit, self.budget // (8 * self._row_bytes()))
        return max(256, -(-limit // 256) * 256)

    def kept_once(self, key, make):
        """``make()``, called once while there is room for what it made."""
        return self._kept.once(key, make)

    def kept(self, key, make, start, stop):
        """``make(start, stop)``, called once where all rows are asked for and kept."""
        if not (self.keep and start == 0 and stop == self.shape[0]):
            return make(start, stop)
        return self.kept_once(key, lambda: make(start, stop))

    def packed(self, view, depth, parts, start, stop):
        """`Packed` rows ``start:stop``; `start` is a multiple of 256."""

        def make(start, stop):
            centre = self.centre if view.centred else None
            rows = self._streamed(start, stop)
            if rows.dtype == np.float64 and centre is not None:
                # The offset goes while there are digits for it.
                rows, centre = rows - centre, None
            # What is packed keeps its rows, longer than the uploader's buffer does.
            rows = rows.astype(self.dtype, copy=not self.keep)
            if view.unit:
                return _packed_unit(rows, depth, parts)
            return pack(rows, centre, view.scale, depth, parts)

        if not self.keep:
            return make(start, stop)
        n = self.shape[0]
        whole = self.kept(("packed", view, depth, parts), make, 0, n)
        return whole if stop - start == n else whole.part(start, stop)

    def take(self, view, start, stop):
        """Rows ``start:stop`` in a view, and their squared norms."""
        if not self.keep:
            return self._prepare(view, start, stop)
        rows, norms = self.kept_once(
            view, lambda: self._prepare(view, 0, self.shape[0])
        )
        cut = rows[:, start:stop] if view.columns else rows[start:stop]
        return cut, norms[start:stop]

    def is_uneven(self):
        """Whether many rows are so small beside the largest that they lose digits.

        Packed entries are multiples of one number: half precision holds two parts of
        those within 2^13 of the largest.
        """
        if not self.keep or self.is_sparse or not self.shape[0]:
            return False
        rows = self.raw(0, self.shape[0])
        centre = cp.zeros(self.shape[1]) if self.centre is None else self.centre
        sizes = _largest(rows, centre.astype(self.dtype), axis=1)
        small = (sizes < UNEVEN * sizes.max()) & (sizes > 0)
        return bool(small.mean() > MANY)

    def raw(self, start, stop):
        """Rows as they came, on the GPU."""
        rows = read(self.source, start, stop, self.name)
        if self.is_sparse:
            rows = rows.toarray()
        return cp.ascontiguousarray(cp.asarray(rows, dtype=self.dtype))

    def some(self, rows):
        """Some of the rows, in the order given, on the GPU."""
        if is_sliceable(self.source):
            part = self.raw(0, self.shape[0])[rows]
        else:
            part = self.source[rows if is_cupy(self.source) else rows.get()]
        if self.is_sparse:
            part = part.toarray()
        return cp.ascontiguousarray(cp.asarray(part, dtype=self.dtype))

    def _streamed(self, start, stop):
        """Rows on the GPU; those that stay in main memory by way of an `Uploader`.

        In the dtype of the source, or the engine's where the source's is no float.
        """
        rows = read(self.source, start, stop, self.name)
        if self.is_sparse:
            rows = rows.toarray()
        if is_cupy(rows):
            return cp.ascontiguousarray(rows)
        rows = np.asarray(rows)
        dtype = rows.dtype if rows.dtype in (np.float32, np.float64) else self.dtype
        if self.keep:
            return cp.asarray(np.ascontiguousarray(rows, dtype=dtype))
        return self.kept_once("uploader", Uploader)(rows, dtype)

    def _prepare(self, view, start, stop):
        rows = cp.ascontiguousarray(view.mixed(self._streamed(start, stop)))
        d = rows.shape[1]
        centre = self.centre if view.centred else None
        centre = cp.zeros(d) if centre is None else view.mixed(centre)
        factor = cp.ones(d)
        if view.scale is not None:
            factor = cp.asarray(1.0 / np.array(view.scale))
        length = 1.0
        if view.unit:
            length = _inverse_length(rows, centre, factor, axis=1, keepdims=True)
        out = cp.empty(rows.shape, self.dtype)
        _shift_scale(rows, centre, factor, length, out)
        norms = _sum_squares(out, axis=1)
        return (cp.ascontiguousarray(out.T) if view.columns else out), norms


def _packed_unit(rows, depth, parts):
    """`Packed` rows divided by their norms, with the norms that they had."""
    length = _inverse_length(rows, 0.0, 1.0, axis=1, keepdims=True)
    out, n = (
        pack((rows * length).astype(np.float32), None, None, depth, parts),
        len(rows),
    )
    out.norms[:n] = _sum_squares(rows, axis=1)
    out.norms[n:] = out.norms[n - 1]
    return out


def centre_of(source, name="X", at_most=4096):
    """The middle of a spread of rows, float64, on the GPU; None for sparse rows.

    See `gpkern.cpu.points.centre_of`.
    """
    if sparse.issparse(source):
        return None
    step = max(1, -(-source.shape[0] // at_most))
    rows = read(source, 0, source.shape[0], name, step)
    rows = cp.asarray(rows).astype(np.float64)
    mean = rows.mean(axis=0)
    off = abs(rows - mean)
    lonely = ~(off.max(axis=0) <= LONELY * off.mean(axis=0))
    if bool(lonely.any()):
        mean[lonely] = cp.median(rows[:, lonely], axis=0)
    return mean
