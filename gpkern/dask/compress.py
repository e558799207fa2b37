"""Compress on blocks: each to a few rows where it is, which are merged in a tree.

`algorithms.compress` puts four parts together and halves them, again and again; here
the parts are the blocks. What is halved has rows of equal weight: all rows that come of
k halvings have 2^k times the weight of a row of the sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from sklearn import config_context, get_config

from .. import _device
from .._device import is_cupy
from .._validation import check_rows
from ..algorithms.compress import compress, levels_of
from ..algorithms.halving import halve
from ..cpu import parallel
from .compute import everywhere, gather
from .graphs import delayed_blocks
from .weighted import masses
from .work import OF_WORKER, on_block, on_host, task_bytes

# Bins that are merged at a time.
WIDTH = 4
# Places for each row of a block, at most: many stand for it where its weights are
# large, and beyond this their number shows no more of how these differ.
MOST_PLACES = 4


@dataclass(frozen=True)
class Bin:
    """What some blocks were compressed to.

    Attributes
    ----------
    values : ndarray of shape (m, d)
    numbers : ndarray of int, shape (m,)
        Of these rows in the sample.
    level : int
        Each stands for 2^level places of the sample.
    count : float
        Places that all of them stand for, about ``2^level m``.
    """

    values: np.ndarray
    numbers: np.ndarray
    level: int
    count: float

    def __len__(self):
        return len(self.numbers)


@dataclass(frozen=True)
class BlockCompression:
    """How blocks are compressed, and what comes of them is merged.

    Attributes
    ----------
    embedding : Embedding
    oversampling : int
    delta : float
        Probability that the error exceeds its bound.
    n : int
        Places of the sample, which its rows share: each has one, or as many as its
        weight has it.
    step, start : float
        Of weighted rows: the weight of a place, and where the first one lies in it.
    seed : int
    where : None, str or list of str
        Device of the workers.
    megabytes : float
        For the tiles of a task.
    """

    embedding: Any
    oversampling: int
    delta: float
    n: int
    step: float
    start: float
    seed: int
    where: Any
    megabytes: float

    def of_block(self, rows, place, weights, mass):
        """A block's `Bin`.

        Parameters
        ----------
        rows : array of shape (b, d)
        place : ndarray of shape (1, 3)
            Of `places`.
        weights : ndarray of shape (b,) or None
        mass : tuple of float
            Sums of the weights of the blocks before it, without and with it.
        """
        number, first, last = (int(v) for v in place[0])
        with on_block(place), self._memory():
            rows, count, level = check_rows(rows), float(last - first), 0
            order = np.arange(last - first)
            if weights is not None:
                order, count, level = self._places(on_host(weights), mass)
            if not len(order):
                return Bin(on_host(rows[:0]), order, 0, 0.0)
            levels = self._levels(count) - level
            levels = max(0, min(levels, int(np.emath.logn(4, len(order)))))
            if levels:
                # Its part in delta, among those of all halvings.
                part = levels * count / (self._levels(self.n) * self.n)
                order = compress(
                    self._splitter(rows, _device.select(self.where, rows)),
                    order,
                    self.oversampling,
                    self.delta * part,
                    np.random.RandomState([self.seed, 0, number]),
                    levels,
                )
            kept = _device.select(None, rows).xp.asarray(order)
            return Bin(on_host(rows[kept]), first + order, level + levels, count)

    def _places(self, weights, mass):
        """Rows, each as often as its weight has it, and what they stand for.

        It is systematic resampling of the whole sample, of which a block has a part;
        where it has many places for its rows, one stands for 2^level of them.
        """
        count = (mass[1] - mass[0]) / self.step
        many = count / (MOST_PLACES * len(weights))
        level = min(int(np.ceil(np.log2(max(1.0, many)))), self._levels(count))
        step = self.step * 2**level
        first, last = (int(np.ceil(m / step - self.start)) for m in mass)
        ticks = (np.arange(first, last) + self.start) * step
        ends = mass[0] + np.cumsum(weights, dtype=np.float64)
        order = np.searchsorted(ends, ticks, side="right")
        return np.minimum(order, len(weights) - 1), count, level

    def of_bins(self, bins, node, device):
        """Some bins as one, halved to what it stands for.

        Parameters
        ----------
        bins : list of Bin
        node : tuple of int
            Where it is in the tree: how high, and the how many-th there.
        device : Device
        """
        random_state = np.random.RandomState([self.seed, *node])
        count = sum(b.count for b in bins)
        bins = [b for b in bins if len(b)] or bins[:1]
        top = max(b.level for b in bins)
        top = max(top, self._levels(count))
        values, numbers = bins[0].values[:0], bins[0].numbers[:0]
        for level in range(min(b.level for b in bins), top + 1):
            here = [b for b in bins if b.level == level]
            values = np.concatenate([values, *(b.values for b in here)])
            numbers = np.concatenate([numbers, *(b.numbers for b in here)])
            if level < top and len(numbers):
                half = self._half(values, random_state, device)
                values, numbers = values[half], numbers[half]
        return Bin(values, numbers, top, count)

    def _half(self, values, random_state, device):
        """Which of some rows are one half of them."""
        size, levels = len(values), max(1, self._levels(self.n))
        # That of `compress`.
        share = size**2 * self.delta / (4.0 ** (self.oversampling + 1) * self.n)
        halves = halve(
            self._splitter(values, device),
            np.arange(size),
            min(share / levels, 0.5),
            random_state,
        )
        return halves[random_state.randint(2)]

    def _levels(self, count):
        return levels_of(max(1.0, count), self.oversampling)

    def _splitter(self, values, device):
        operator = self.embedding.operator(values, device)
        return operator.with_kernel(self.embedding.split_kernel)

    def _memory(self):
        room = min(self.megabytes, OF_WORKER * task_bytes() / 2**20)
        return config_context(working_memory=room)


def compressed(embedding, X, share, oversampling, delta, device, random_state):
    """Rows that stand for those of a Dask array: `algorithms.compress` on its blocks.

    They depend on the blocks and on `random_state`, not on who computes what, and when.

    Parameters
    ----------
    embedding : Embedding
        Its kernel of the halving is that of the result.
    X : dask.array.Array of shape (n, d)
    share : dask.array.Array of shape (n,), or None
        Weights of the rows, of sum 1, in the blocks of X; None for equal ones.
    oversampling, delta
        Of `compress`.
    device : Device
    random_state : RandomState

    Returns
    -------
    ndarray of int
        Each as often as its weight has it.
    """
    lengths = X.chunks[0]
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    n, blocks = int(ends[-1]), delayed_blocks(X)
    weights, mass = [None] * len(blocks), ends / n
    if share is not None:
        weights = delayed_blocks(share)
        mass = np.concatenate([[0.0], np.cumsum(masses(share))])
    on_gpu = device.workers is None and is_cupy(X._meta)
    way = BlockCompression(
        embedding,
        oversampling,
        delta,
        n,
        mass[-1] / n,
        random_state.random_sample(),
        random_state.randint(np.iinfo(np.int32).max),
        "cuda" if on_gpu else device.workers,
        get_config()["working_memory"],
    )
    held = everywhere(way)
    task = dask.delayed(_of_block, pure=False, traverse=False)
    bins = []
    for i, (block, w) in enumerate(zip(blocks, weights, strict=True)):
        place = np.array([[i, ends[i], ends[i + 1]]])
        bins.append(task(held, block, place, w, (mass[i], mass[i + 1])))
    bins, height = _merged(held, bins)
    # The last step is the longest, and has all threads here to itself.
    bins = gather(bins, *(a for a in (X, share) if a is not None))
    return way.of_bins(bins, (height, 0), device).numbers


def _merged(held, bins):
    """At most `WIDTH` bins, as tasks, and how high in the tree the next one is."""
    task, height = dask.delayed(_of_bins, pure=False, traverse=False), 1
    while len(bins) > WIDTH:
        parts = [bins[a : a + WIDTH] for a in range(0, len(bins), WIDTH)]
        bins = [task(held, part, (height, k)) for k, part in enumerate(parts)]
        height += 1
    return bins, height


def _of_block(way, rows, place, weights, mass):
    return way.of_block(rows, place, weights, mass)


def _of_bins(way, bins, node):
    with parallel.alone(), way._memory():
        return way.of_bins(bins, node, _device.select(way.where))
