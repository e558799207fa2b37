"""What goes one step after another, on a GPU; `gpkern.cpu.walks` does the same.

Numba launches on CuPy's current stream and reads CuPy's memory.
"""

from __future__ import annotations

import warnings

import cupy as cp
from numba import cuda

from . import walk_kernels
from .walk_kernels import PAIRS, THREADS


def _launch(kernel, blocks, threads, *arguments):
    pointer = cp.cuda.get_current_stream().ptr
    stream = cuda.external_stream(pointer) if pointer else 0
    # Work on one stream is in order by itself.
    arguments = [
        cuda.as_cuda_array(a, sync=False) if isinstance(a, cp.ndarray) else a
        for a in arguments
    ]
    with cuda.gpus[cp.cuda.runtime.getDevice()], warnings.catch_warnings():
        # A few problems cannot fill a GPU. By its text: numba-cuda has a class of its
        # own for the warning.
        warnings.filterwarnings("ignore", ".*Grid size .* under-utilization")
        kernel[blocks, threads, stream](*arguments)


def decide(K, balance, coins, factors, variance):
    """The halving walk over up to `PAIRS` pairs of several problems."""
    signs = cp.empty(coins.shape)
    _launch(
        walk_kernels.decide, len(K), PAIRS, K, balance, coins, factors, variance, signs
    )
    return signs


def exchange(K, plain, base, rows, total, unique):
    """A pass of exchanges over coresets, rows of the dense K; how many there were."""
    changed = cp.zeros(len(rows), cp.int64)
    arguments = K, plain, base, rows, total, unique, changed
    _launch(walk_kernels.exchange, len(rows), THREADS, *arguments)
    return changed
