"""Rows chosen one by one on a GPU, without a word to the host between them.

A step evaluates one row of K, adds it to the objective, and finds the smallest entry;
which row that is stays on the GPU, where the next step reads it.
"""

from __future__ import annotations

import cupy as cp
import numpy as np

from . import codegen, compiler

THREADS, MOST_BLOCKS = 256, 1024


def choose(matrix, objective, size, scale, penalty=None, reward=None, unique=False):
    """See `gpkern.algorithms.greedy.choose`; rows and values stay on the GPU.

    Parameters
    ----------
    matrix : gpkern.gpu.matrix.Matrix
        Symmetric, of a formula.
    """
    program, n = matrix.program, matrix.shape[0]
    text = codegen.greedy_source(program, matrix.dtype.name)
    step, pick = (
        compiler.function(text, name, THREADS=THREADS)
        for name in ("greedy_step", "greedy_pick")
    )
    number = matrix.dtype.type
    kinds = ("direct",) * len(program.pair_leaves)
    _, arguments = matrix.pair_quantities(program, 0, n, 0, n, kinds=kinds)
    params = cp.asarray(program.params.astype(matrix.dtype))
    diagonal = cp.asarray(matrix._diagonal(0, n)).astype(matrix.dtype)
    nothing = np.uintp(0)
    extra = [
        nothing if a is None else cp.ascontiguousarray(a, dtype=matrix.dtype)
        for a in (penalty, reward)
    ]
    blocks = min(MOST_BLOCKS, -(-n // THREADS))
    least, place = cp.empty(blocks, matrix.dtype), cp.empty(blocks, np.int64)
    rows, values = cp.empty(size, np.int64), cp.empty(size, matrix.dtype)
    fixed = np.int32(blocks), np.int32(n), np.int32(unique)
    for t in range(size):
        before = rows[t - 1 : t] if t else nothing
        weights = number(scale), number(t + 1)
        state = (*extra, objective, least, place, np.int32(n))
        step(
            (blocks,),
            (THREADS,),
            (*arguments, params, diagonal, before, *weights, *state),
        )
        chosen = objective, rows[t : t + 1], values[t : t + 1]
        pick((1,), (THREADS,), (least, place, *fixed, *chosen))
    return rows, values
