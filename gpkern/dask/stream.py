"""Blocks of a Dask array, one after another in random order, while the next is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
from sklearn.utils.random import sample_without_replacement

from .._validation import check_rows, working_dtype
from ..algorithms.training import RowSource
from .arrays import take
from .compute import name_block, quiet
from .work import on_block, on_host


class BlockSource(RowSource):
    """Training rows and targets in blocks of Dask arrays.

    Batches are of rows that are drawn from one block after another, the blocks in
    random order; the next block is computed in the meantime. What is not in a batch is
    never all in memory.

    Parameters
    ----------
    X : dask.array.Array of shape (N, d)
    y : dask.array.Array of shape (N, c)
        In the same blocks.
    device : Device
        Where batches go.
    left_out : ndarray of int, default=None
        Rows that are not meant, sorted.
    """

    in_runs, is_open, subset = True, False, None

    def __init__(self, X, y, device, left_out=None):
        self.X, self.y, self.device = X, y, device
        self.left_out = np.empty(0, np.int64) if left_out is None else left_out
        self.shape = X.shape[0] - len(self.left_out), X.shape[1]
        self.dtype = working_dtype(X)
        self.ends = np.cumsum(X.chunks[0], dtype=np.int64)

    def rows(self, rows):
        """X of some sorted rows, on the device."""
        return self.device.put(take(self.X, rows).astype(self.dtype, copy=False))

    def targets(self, rows):
        """y of some sorted rows, on the device."""
        return self.device.put(take(self.y, rows))

    def choose(self, size, random_state):
        """At most `size` random row numbers, sorted."""
        size = min(size, len(self))
        some = min(self.X.shape[0], size + len(self.left_out))
        rows = sample_without_replacement(
            self.X.shape[0], some, random_state=random_state
        )
        return np.sort(np.setdiff1d(rows, self.left_out, assume_unique=True)[:size])

    def batches(self, batch_size, random_state):
        """How many batches there are, and the batches: X, y and the row numbers."""
        return -(-len(self) // batch_size), self._batches(batch_size, random_state)

    def _batches(self, size, random_state):
        waiting = None
        for X, y, rows in self._shuffled(random_state):
            new = (X, y, rows)
            if waiting is not None:
                new = tuple(map(np.concatenate, zip(waiting, new, strict=True)))
            whole = len(new[2]) // size * size
            for a in range(0, whole, size):
                yield self._put(*(part[a : a + size] for part in new))
            waiting = tuple(part[whole:] for part in new)
        if len(waiting[2]):
            yield self._put(*waiting)

    def _put(self, X, y, rows):
        return self.device.put(X), self.device.put(y), self.device.xp.asarray(rows)

    def _shuffled(self, random_state):
        """X, y and row numbers of every block, on the host, in random order."""
        order = random_state.permutation(len(self.ends))
        with ThreadPoolExecutor(1, thread_name_prefix="gpkern-read") as reader:
            coming = reader.submit(self._read, order[0])
            for following in [*order[1:], None]:
                X, y, rows = coming.result()
                if following is not None:
                    coming = reader.submit(self._read, following)
                kept = random_state.permutation(len(rows))
                yield X[kept], y[kept], rows[kept]

    def _read(self, number):
        """One block without the rows that are left out."""
        last = self.ends[number]
        first = last - self.X.chunks[0][number]
        try:
            with quiet():
                X, y = dask.compute(self.X.blocks[number], self.y.blocks[number])
        except Exception as error:
            name_block(self.X, error)
            raise
        with on_block([(number, first, last)]):
            X = check_rows(on_host(X)).astype(self.dtype, copy=False)
        rows = np.arange(first, last)
        if not len(self.left_out):
            return X, on_host(y), rows
        kept = ~np.isin(rows, self.left_out, assume_unique=True)
        return X[kept], on_host(y)[kept], rows[kept]


def held_out(n, fraction, most, random_state):
    """Rows that are held out: a share of n, or fewer where that is many; sorted."""
    count = min(most, max(1, round(fraction * n)))
    return np.sort(sample_without_replacement(n, count, random_state=random_state))
