"""Rows as the fused kernels read them: half-precision parts, or columns in tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cupy as cp
import numpy as np

from . import compiler, sources
from .plans import PADDING


@dataclass(eq=False)
class Packed:
    """Rows as parts; see ``cuda/common.cuh``.

    Attributes
    ----------
    data : array of uint8
    norms : array of float32
        Squared norms of the rounded rows.
    scale : array of shape (1,)
        What entries were multiplied by.
    rows : array of shape (n, d), float32
        The rows as they came.
    factor : array of shape (d,) or None
        Inverse length scales.
    """

    data: Any
    norms: Any
    scale: Any
    rows: Any
    factor: Any

    @property
    def nbytes(self):
        """What it takes of the GPU's memory."""
        return self.data.nbytes + self.norms.nbytes + self.rows.nbytes

    @cached_property
    def largest_norm(self):
        """Largest squared norm, on the host: waits for the GPU."""
        return float(self.norms.max())

    def part(self, start, stop):
        """Some of the rows; `start` is a multiple of 64."""
        per_group = self.data.size * 64 // self.norms.size
        return Packed(
            self.data[start // 64 * per_group :],
            self.norms[start:],
            self.scale,
            self.rows[start:stop],
            self.factor,
        )


def pack(rows, centre, scale, depth, parts):
    """`Packed` of rows on the GPU.

    Parameters
    ----------
    rows : array of shape (n, d), float32, contiguous
    centre : array of shape (d,), float64, or None
    scale : tuple of float or None
        Length scales.
    depth : int
        Columns of a slab.
    parts : {1, 2}
    """
    n, d = rows.shape
    padded, slabs = -(-n // PADDING) * PADDING, -(-d // depth)
    factor = None if scale is None else cp.asarray(1.0 / np.array(scale))
    source = sources.complete("pack.cu")
    options = {"KS": depth, "PARTS": parts, "S": "float"}
    largest = cp.zeros(1, np.uint32)
    nothing = np.uintp(0)
    front = (rows, *(nothing if a is None else a for a in (centre, factor)))
    front += (np.int32(n), np.int32(d))
    blocks = min(1024, -(-n * d // 1024))
    compiler.function(source, "find_largest", **options)(
        (blocks,), (256,), (*front, largest)
    )
    data = cp.empty(padded * slabs * depth * parts * 2, np.uint8)
    norms, by = cp.empty(padded, np.float32), cp.empty(1, np.float32)
    compiler.function(source, "pack_rows", **options)(
        (padded // 4,),
        (128,),
        (*front, np.int32(padded), np.int32(slabs), largest, data, norms, by),
    )
    small = None if factor is None else factor.astype(np.float32)
    return Packed(data, norms, by, rows, small)


def tiles_of(columns, width):
    """Rows given as columns (k, n), in tiles (count, k, width); the last repeated."""
    k, n = columns.shape
    count = -(-n // width)
    out = cp.empty((k, count * width), columns.dtype)
    out[:, :n] = columns
    out[:, n:] = columns[:, n - 1 :]
    return cp.ascontiguousarray(out.reshape(k, count, width).transpose(1, 0, 2))
