"""A stream of rows, compressed as it comes, in memory that grows as its square root.

Shetty, Dwivedi & Mackey (2022), "Distribution compression in near-linear time", section
4: rows wait until there are enough for a block, which is compressed to a bin; four bins
of a level are put together and halved, to one of the level above. So no level ever has
more than three bins, and what comes out does not depend on how the stream was cut.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import anchors
from .compress import compress
from .coresets import distance_of
from .halving import halve
from .thinning import systematic

# Rows of a block are 4 to this power, or more where oversampling asks for it.
BLOCK_LEVELS = 7


@dataclass(frozen=True)
class Rows:
    """Rows of a stream.

    Attributes
    ----------
    values : ndarray of shape (n, d)
    numbers : ndarray of int, shape (n,)
        Where they stood in the stream.
    weights : ndarray of shape (n,)
        Of which sample they are, or what they stand for.
    """

    values: np.ndarray
    numbers: np.ndarray
    weights: np.ndarray

    def __len__(self):
        return len(self.numbers)

    def take(self, order):
        """Some of them, by place."""
        return Rows(self.values[order], self.numbers[order], self.weights[order])

    def weighing(self, total):
        """The same with equal weights of that sum."""
        return replace(self, weights=np.full(len(self), total / max(1, len(self))))

    def distinct(self):
        """Each row once, sorted, with the sum of its weights."""
        numbers, first, place = np.unique(
            self.numbers, return_index=True, return_inverse=True
        )
        weights = np.bincount(place, self.weights)
        return Rows(self.values[first], numbers, weights)

    def order(self, random_state):
        """Places, each as often as its weight has it."""
        n, w = len(self), self.weights
        if not n or np.ptp(w) <= 1e-9 * w.max():
            return np.arange(n)
        return systematic(w / w.sum(), n, random_state)


def put_together(parts):
    """`Rows` one after another."""
    fields = ("values", "numbers", "weights")
    return Rows(*(np.concatenate([getattr(p, f) for p in parts]) for f in fields))


class Stream:
    """Rows that have come so far, compressed.

    Parameters
    ----------
    oversampling : int
        Of `compress.compress`.
    delta : float
        Probability that the error exceeds its bound.
    seed : int

    Attributes
    ----------
    n_seen, n_kept : int
        Rows that have come, and those of a weight above 0.
    width : int or None
        Their columns.
    embedding : Embedding or None
        How they are compared; None until the first block is full.
    """

    def __init__(self, oversampling, delta, seed):
        self.oversampling, self.delta, self.seed = oversampling, delta, seed
        self.random_state = np.random.RandomState(seed)
        self.n_seen = self.n_kept = 0
        self.embedding = self.width = None
        self.block_levels = max(BLOCK_LEVELS, oversampling + 1)
        self._waiting, self._n_waiting, self._levels = [], 0, []
        self._anchors, self._sums, self._mass = None, 0.0, 0.0
        self._last = None  # block, with the places of its rows that were kept

    @property
    def block(self):
        """Rows of a block."""
        return 4**self.block_levels

    @property
    def bin(self):
        """Rows that a block is compressed to, the least that are kept from then on."""
        return 2 ** (self.oversampling + self.block_levels)

    @property
    def is_whole(self):
        """Whether nothing has been compressed yet."""
        return self.embedding is None

    def copy(self):
        """A stream that goes on by itself."""
        out = copy.copy(self)
        out.random_state = copy.deepcopy(self.random_state)
        out._waiting = list(self._waiting)
        out._levels = [list(bins) for bins in self._levels]
        return out

    def add(self, values, weights, embed, device):
        """Take in the next rows.

        Parameters
        ----------
        values : ndarray of shape (m, d)
            On the host, where all that is kept stays.
        weights : ndarray of shape (m,)
            Rows of weight 0 count, and are left out.
        embed : callable
            ``embed(rows)``: the `Embedding` of a stream that begins with these.
        device : Device
        """
        numbers = np.arange(self.n_seen, self.n_seen + len(values))
        self.n_seen += len(values)
        new = Rows(values, numbers, weights).take(np.flatnonzero(weights > 0))
        self.n_kept, self.width = self.n_kept + len(new), values.shape[1]
        start = 0
        while start < len(new):
            room = self.block - self._n_waiting
            stop = min(start + room, len(new))
            self._wait(new.take(np.arange(start, stop)))
            if stop - start == room:
                block = self.waiting()
                self._waiting, self._n_waiting = [], 0
                self._compress(block, embed, device)
            start = stop

    def waiting(self):
        """`Rows` that no block has taken up."""
        return put_together(self._waiting) if self._waiting else None

    def _wait(self, part):
        """One more part waits; each is longer than the next, so that they are few."""
        self._n_waiting += len(part)
        while self._waiting and len(self._waiting[-1]) <= len(part):
            part = put_together([self._waiting.pop(), part])
        self._waiting.append(part)

    def _compress(self, block, embed, device):
        """A block to a bin."""
        if self.is_whole:
            self.embedding = embed(block.values)
            self._anchors = block.values[anchors.places(len(block))]
        self._sums = self._sums + self._anchor_sums(block, device)
        self._mass += block.weights.sum()
        operator = self._splitter(block.values, device)
        order, n = block.order(self.random_state), block.numbers[-1] + 1
        share = self.delta * self.block / n
        kept = compress(operator, order, self.oversampling, share, self.random_state)
        self._last = block, kept
        self._push(block.take(kept).weighing(block.weights.sum()), 0, n, device)

    def _push(self, new, level, n, device):
        """One more bin of a level, when n rows of the stream are compressed."""
        if level == len(self._levels):
            self._levels.append([])
        bins = self._levels[level]
        bins.append(new)
        if len(bins) == 4:
            joined, self._levels[level] = put_together(bins), []
            half = self._half(joined, n, self.random_state, device)
            self._push(half, level + 1, n, device)

    def _half(self, rows, n, random_state, device):
        """One half of some rows; their weights are made equal, and doubled."""
        size = len(rows)
        if not size:
            return rows
        rows = rows.take(rows.order(random_state)).weighing(rows.weights.sum())
        # That of `compress`, as if the stream ended here.
        share = size**2 * self.delta / (4.0 ** (self.oversampling + 1) * n)
        share = min(share / self._levels_of(n), 0.5)
        operator = self._splitter(rows.values, device)
        halves = halve(operator, np.arange(size), share, random_state)
        half = rows.take(halves[random_state.randint(2)])
        return replace(half, weights=2.0 * half.weights)

    def _levels_of(self, n):
        """Levels of halving of a stream of n rows."""
        return max(np.emath.logn(4, n), self.block_levels) - self.oversampling

    def _splitter(self, values, device):
        operator = self.embedding.operator(values, device)
        return operator.with_kernel(self.embedding.split_kernel)

    def _anchor_sums(self, rows, device):
        operator = self.embedding.operator(self._anchors, device, rows.values)
        return device.get(operator.row_sum(device.put(rows.weights)))

    def summary(self, embed, device, random_state):
        """What stands for all rows so far; the stream is left as it is.

        Parameters
        ----------
        embed, device
            Of `add`.
        random_state : RandomState

        Returns
        -------
        Summary
        """
        if self.is_whole:
            rows = self.waiting()
            return Summary(embed(rows.values), rows)
        rows = self._gathered(random_state, device).distinct()
        operator = self.embedding.operator(self._anchors, device)
        interpolation = anchors.Interpolation(device.get(operator.to_dense()))
        sums, mass, waiting = self._sums, self._mass, self.waiting()
        if waiting is not None:
            sums = sums + self._anchor_sums(waiting, device)
            mass += waiting.weights.sum()
        own = self._anchor_sums(rows, device) / rows.weights.sum()
        weights = interpolation.weights(sums / mass - own)
        gap = self._gap(interpolation, device)
        return Summary(self.embedding, rows, self._anchors, weights, gap)

    def _gathered(self, random_state, device):
        """All that is kept, halved to the weight of the highest level."""
        carried = self.waiting() or self._last[0].take([])
        for _ in range(self.block_levels - self.oversampling):  # to that of a bin
            carried = self._half(carried, self.n_seen, random_state, device)
        *below, top = self._levels
        for bins in below:
            joined = put_together([*bins, carried])
            carried = self._half(joined, self.n_seen, random_state, device)
        return put_together([*top, carried])

    def _gap(self, interpolation, device):
        """Distance to expect between the stream and what stands for it.

        Errors of the halvings are of mean zero and independent, and all levels have the
        same share in them; that of one block has been kept to be measured.
        """
        block, kept = self._last
        p = block.weights / block.weights.sum()
        np.subtract.at(p, kept, 1.0 / len(kept))
        operator = self.embedding.operator(block.values, device)
        p = device.xp.asarray(p)
        to_anchors = self.embedding.operator(self._anchors, device, block.values)
        seen = interpolation.features(device.get(to_anchors @ p))
        squared = distance_of(float(p @ (operator @ p)) - float(seen @ seen)) ** 2
        levels = self._levels_of(self.n_seen) / self._levels_of(self.block)
        return float(np.sqrt(squared * levels * self.block / self.n_seen))


@dataclass(frozen=True)
class Summary:
    """Weighted rows that stand for a sample, and what is known of their error.

    Attributes
    ----------
    embedding : Embedding
    rows : Rows
    anchors : ndarray of shape (a, d) or None
        More rows, with weights of any sign that make the means at them exact.
    anchor_weights : ndarray of shape (a,) or None
    gap : float
        Distance to the sample, estimated; 0 where the rows are the sample.
    """

    embedding: Any
    rows: Rows
    anchors: np.ndarray | None = None
    anchor_weights: np.ndarray | None = None
    gap: float = 0.0

    @property
    def is_plain(self):
        """Whether the rows are the sample, of equal weights."""
        return self.anchors is None and np.ptp(self.rows.weights) == 0

    @property
    def share(self):
        """Weights of the rows, of sum 1."""
        return self.rows.weights / self.rows.weights.sum()

    def means(self, operator):
        """Mean kernel value of each row with the sample; `operator` is theirs."""
        device = operator.device
        mu = operator @ device.put(self.share)
        if self.anchors is not None:
            across = self.embedding.operator(self.rows.values, device, self.anchors)
            mu = mu + across @ device.put(self.anchor_weights)
        return mu

    def distance(self, chosen, weights, device):
        """MMD of some of the rows, weighted, to the sample."""
        p, values = self.share, self.rows.values
        np.subtract.at(p, chosen, weights)
        if self.anchors is not None:
            p = np.concatenate([p, self.anchor_weights])
            values = np.concatenate([values, self.anchors])
        operator, p = self.embedding.operator(values, device), device.put(p)
        return float(np.hypot(distance_of(float(p @ (operator @ p))), self.gap))
