"""Numba CUDA kernels of what goes one step after another.

A block of threads is one problem: its steps follow each other, and what a step changes
is shared out among the threads. They take dense parts of K, so no kernel formula is in
here, and run in Numba's simulator too (``NUMBA_ENABLE_CUDASIM=1``).
"""

from __future__ import annotations

import math

from numba import cuda, float64, int64

# Pairs of points of a block of the halving walk, and threads of one of exchanges: few
# enough that each has the registers that it needs.
PAIRS = 256
THREADS = 512
# Columns for which a thread of exchanges reads before it writes: so many reads are
# under way at once.
AT_ONCE = 8


@cuda.jit(cache=True)
def decide(K, balance, coins, factors, variance, signs):
    """`gpkern.cpu.walks.decide`, a problem for each block of `PAIRS` threads."""
    squares = cuda.shared.array(PAIRS, float64)
    limits = cuda.shared.array(PAIRS, float64)
    total = cuda.shared.array(PAIRS, float64)
    problem, j, h = cuda.blockIdx.x, cuda.threadIdx.x, signs.shape[1]
    a, b = 2 * j, 2 * j + 1
    mine = 0.0
    if j < h:
        square = K[problem, a, a] + K[problem, b, b] - 2.0 * K[problem, a, b]
        squares[j] = max(square, 0.0)
        total[j] = balance[problem, j]
        mine = _inner(K, problem, 0, a, b)
    cuda.syncthreads()
    if j == 0:
        spread, factor = variance[problem], factors[problem]
        for i in range(h):
            square = squares[i]
            limit = max(math.sqrt(spread * square * factor), square)
            if spread == 0.0:
                spread = square
            elif limit > 0.0:
                growth = 1.0 + (square / limit - 2.0) * spread / limit
                spread += square * max(0.0, growth)
            limits[i] = limit if limit > 0.0 else 1.0
        variance[problem] = spread
    cuda.syncthreads()
    for i in range(h):
        heads = coins[problem, i] <= 0.5 * (1.0 + total[i] / limits[i])
        sign = -1.0 if heads else 1.0
        if j == i:
            signs[problem, i] = sign
        elif i < j < h:
            total[j] += sign * mine
        # Asked for before the others are waited for, as it depends on no sign.
        if i + 1 < j < h:
            mine = _inner(K, problem, i + 1, a, b)
        cuda.syncthreads()


@cuda.jit(device=True, cache=True)
def _inner(K, problem, i, a, b):
    """Inner product of the differences of pair i and of the pair (a, b)."""
    p, q = 2 * i, 2 * i + 1
    same = K[problem, p, a] + K[problem, q, b]
    other = K[problem, p, b] + K[problem, q, a]
    return same - other


@cuda.jit(cache=True)
def exchange(K, plain, base, rows, total, unique, changed):
    """A pass over coresets in which each row is exchanged for the best one.

    A coreset for each block of `THREADS` threads; see `algorithms.exchanges.exchange`.

    Parameters
    ----------
    K : array of shape (n, n)
    plain : array of shape (n,)
        What a row adds to the objective, but for its values with the others.
    base : array of shape (coresets, n)
        The same, and infinity for what may not be chosen.
    rows : array of int, shape (coresets, s)
    total : array of shape (coresets, n)
        Sum of the rows of K in the coreset.
    unique : bool
        Whether a row may be in the coreset only once.
    changed : array of int, shape (coresets,)
        How many exchanges there were.
    """
    gains = cuda.shared.array(THREADS, float64)
    places = cuda.shared.array(THREADS, int64)
    present = cuda.shared.array(1, float64)
    rest = cuda.local.array(AT_ONCE, float64)
    held = cuda.local.array(AT_ONCE, float64)
    c, t, n, size = cuda.blockIdx.x, cuda.threadIdx.x, K.shape[0], rows.shape[1]
    step, count, new = 2.0 / size, 0, -1
    for s in range(size):
        old = rows[c, s]
        if t == 0:
            base[c, old] = plain[old]
        cuda.syncthreads()
        least, best = math.inf, n
        for first in range(t, n, AT_ONCE * THREADS):
            for u in range(AT_ONCE):
                j = min(first + u * THREADS, n - 1)
                before = K[new, j] if new >= 0 else 0.0  # of the step before
                rest[u] = total[c, j] + before - K[old, j]
                held[u] = base[c, j]
            for u in range(AT_ONCE):
                j = first + u * THREADS
                if j < n:
                    total[c, j] = rest[u]
                    gain = held[u] + step * rest[u]
                    if j == old:
                        present[0] = gain
                    if gain < least:
                        least, best = gain, j
        gains[t], places[t] = least, best
        cuda.syncthreads()
        half = THREADS // 2
        while half > 0:
            if t < half:
                other, place = gains[t + half], places[t + half]
                # Of equals the first, as on a CPU.
                if other < gains[t] or (other == gains[t] and place < places[t]):
                    gains[t], places[t] = other, place
            cuda.syncthreads()
            half //= 2
        new = old
        if gains[0] < present[0]:
            new = places[0]
        cuda.syncthreads()
        if t == 0:
            rows[c, s] = new
            if unique:
                base[c, new] = math.inf
            if new != old:
                count += 1
    for j in range(t, n, THREADS):
        total[c, j] += K[new, j]
    if t == 0:
        changed[c] = count
