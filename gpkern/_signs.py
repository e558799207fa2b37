"""Random signs that are computed where they are wanted, the same on every device."""

from __future__ import annotations

import numpy as np

# SplitMix64 (Steele, Lea & Flood 2014), a counter put through two multiplications.
_STEP = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_MASK = (1 << 64) - 1


class RandomSigns:
    """An n x count matrix of independent signs that is never held in memory.

    Parameters
    ----------
    n : int
        Rows, one for each sample.
    count : int
        Columns, one for each resample.
    random_state : int or RandomState, default=None
        Seed of the signs.

    Examples
    --------
    >>> from gpkern import RandomSigns
    >>> signs = RandomSigns(4, 3, random_state=0)
    >>> signs.shape
    (4, 3)
    >>> abs(signs.rows(1, 3)).tolist()
    [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, n, count, random_state=None):
        self.shape = (int(n), int(count))
        if not isinstance(random_state, np.random.RandomState):
            random_state = np.random.RandomState(random_state)
        words = random_state.randint(0, 1 << 32, size=2, dtype=np.uint64)
        self.seed = (int(words[0]) << 32) | int(words[1])

    def rows(self, start, stop, xp=np, dtype=np.float32):
        """Rows ``start:stop`` as an array of the module `xp` (NumPy or CuPy)."""
        per_row = -(-self.shape[1] // 64)
        first = (self.seed + (start * per_row + 1) * _STEP) & _MASK
        count = (stop - start) * per_row
        x = xp.arange(count, dtype=np.uint64) * np.uint64(_STEP) + np.uint64(first)
        for shift, factor in _MIX:
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
        bits = xp.unpackbits(x.view(np.uint8)).reshape(stop - start, 64 * per_row)
        signs = bits[:, : self.shape[1]].astype(dtype)
        signs += signs
        signs -= 1
        return signs
