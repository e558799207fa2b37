"""Reductions over pairs of blocks, where both sides of a matrix are Dask arrays."""

from __future__ import annotations

import dask.array as da
import numpy as np

from . import work
from .graphs import places


def over_pairs(operator, out, into, V):
    """``K @ V`` with a row for each of `out`, summed over blocks of `into`.

    Parameters
    ----------
    operator : DaskKernelOperator
    out, into : dask.array.Array
        Its rows and its columns; the other way round where it is flipped.
    V : dask.array.Array of shape (m, c)
        In the blocks of `into`.
    """
    parts = da.blockwise(
        work.pair,
        "ijc",
        *(out, "ix", places(out), "ip"),
        *(into, "jx", places(into), "jp"),
        *(V, "jc"),
        adjust_chunks={"j": 1},
        concatenate=True,
        align_arrays=False,
        dtype=np.float64,
        meta=np.empty((0, 0, 0)),
        held=operator._held,
        flip=operator.flipped,
        is_sample=operator.Z is None,
    )
    return parts.sum(axis=1).astype(operator.dtype)
