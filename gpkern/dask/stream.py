"""Blocks of a Dask array, one after another in random order, while the next is read."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
from sklearn import get_config
from sklearn.utils.random import sample_without_replacement

from .._validation import check_rows, working_dtype
from ..algorithms.training import RowSource
from .arrays import aligned, take
from .compute import name_block, quiet
from .work import on_block, on_host

# Share of scikit-learn's ``working_memory`` for blocks whose rows are mixed.
MIXED = 1 / 32


class BlockSource(RowSource):
    """Training rows and targets in blocks of Dask arrays.

    Batches are of mixed rows of some blocks after others, in random order; the next
    ones are computed in the meantime.

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
        rows = random_state.permutation(rows[~np.isin(rows, self.left_out)])
        return np.sort(rows[:size])

    def batches(self, batch_size, random_state):
        """How many batches there are, and the batches: X, y and the row numbers."""
        return -(-len(self) // batch_size), self._batches(batch_size, random_state)

    def _batches(self, size, random_state):
        rest = None
        for mixed in self._mixed(random_state):
            order = random_state.permutation(len(mixed[2]))
            start = 0 if rest is None else size - len(rest[2])
            if rest is not None:
                first = [part[order[:start]] for part in mixed]
                first = [np.concatenate(p) for p in zip(rest, first, strict=True)]
                if len(first[2]) < size:
                    rest = first
                    continue
                yield self._put(*first)
            whole = start + (len(order) - start) // size * size
            for a in range(start, whole, size):
                yield self._put(*(part[order[a : a + size]] for part in mixed))
            rest = [part[order[whole:]] for part in mixed]
            rest = None if not len(rest[2]) else rest
        if rest is not None:
            yield self._put(*rest)

    def _put(self, X, y, rows):
        return self.device.put(X), self.device.put(y), self.device.xp.asarray(rows)

    def _mixed(self, random_state):
        """X, y and row numbers of some blocks after others, on the host."""
        groups = self._groups(random_state.permutation(len(self.ends)))
        for blocks in read_ahead(groups, lambda g: read_blocks(g, self.X, self.y)):
            X, y = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
            del blocks
            rows = np.concatenate([self._rows_of(n) for n in groups.pop(0)])
            if len(self.left_out):
                kept = ~np.isin(rows, self.left_out)
                X, y, rows = X[kept], y[kept], rows[kept]
            yield X.astype(self.dtype, copy=False), y, rows

    def _rows_of(self, number):
        last = self.ends[number]
        return np.arange(last - self.X.chunks[0][number], last)

    def _groups(self, order):
        """Blocks whose rows are mixed, as many as their share of the memory holds.

        Where rows are sorted, each block says something else.
        """
        row = self.shape[1] * self.X.dtype.itemsize
        room = MIXED * get_config()["working_memory"] * 2**20 // row
        groups, count = [], np.inf
        for number in order:
            length = self.X.chunks[0][number]
            if count + length > room:
                groups.append([])
                count = 0
            groups[-1].append(number)
            count += length
        return groups


def read_ahead(items, read):
    """``read(item)`` of each item, the next while one is in use."""
    items = list(items)
    with ThreadPoolExecutor(1, thread_name_prefix="gpkern-read") as reader:
        coming = reader.submit(read, items[0])
        for following in items[1:]:
            found, coming = coming.result(), reader.submit(read, following)
            yield found
        yield coming.result()


def read_blocks(numbers, X, *arrays):
    """Some blocks, on the host: X, checked, and the same blocks of other arrays.

    Returns
    -------
    list of tuple of ndarray
        In the order of the numbers.
    """
    ends = np.cumsum(X.chunks[0], dtype=np.int64)
    wanted = [[a.blocks[number] for a in (X, *arrays)] for number in numbers]
    try:
        with quiet():
            found = dask.compute(wanted)[0]
    except Exception as error:
        name_block(X, error)
        raise
    out = []
    for number, (rows, *others) in zip(numbers, found, strict=True):
        with on_block([(number, ends[number] - len(rows), ends[number])]):
            out.append((check_rows(on_host(rows)), *map(on_host, others)))
    return out


def in_turn(X, *arrays):
    """Blocks of X, and the same rows of other arrays, one block after another.

    Parameters
    ----------
    X : dask.array.Array of shape (n, d)
    *arrays : array of shape (n, ...), or None

    Yields
    ------
    tuple of ndarray or None
    """
    given = [i for i, a in enumerate(arrays) if a is not None]
    beside = [aligned(arrays[i], X, "y") for i in given]
    numbers = [[k] for k in range(X.numblocks[0])]
    for [(rows, *found)] in read_ahead(numbers, lambda k: read_blocks(k, X, *beside)):
        parts = [None] * len(arrays)
        for i, part in zip(given, found, strict=True):
            parts[i] = part
        yield rows, *parts


def held_out(n, fraction, most, random_state):
    """Rows that are held out: a share of n, or fewer where that is many; sorted."""
    count = min(most, max(1, round(fraction * n)))
    return np.sort(sample_without_replacement(n, count, random_state=random_state))
