"""Kernel thinning: rows that stand for a sample, by halving and exchanges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._device import is_cupy, is_dask
from ..operator import make_operator
from . import anchors, coresets, exchanges
from .compress import compress, standard_places, standard_start, thin
from .halving import take_rows

# Rows up to which all of them may be exchanged, and distances are exact.
ALL_PAIRS_ROWS = 20_000
# Kernel values that the means of compressed rows with all others may take: on a GPU no
# more than on a CPU, so that both choose the same rows.
MEAN_PAIRS = 5e8
# Of Compress, where it is left open.
OVERSAMPLING = 4


@dataclass(frozen=True)
class Embedding:
    """How rows are compared.

    Attributes
    ----------
    kernel, split_kernel : Kernel
        Of the distance, and of the halving.
    offset : ndarray of shape (d,) or None
        Taken from the rows before.
    """

    kernel: Any
    split_kernel: Any
    offset: np.ndarray | None = None

    def operator(self, rows, device, others=None):
        """K of rows with themselves, or with others; in float64."""
        rows, others = (self._shifted(a, device) for a in (rows, others))
        return make_operator(self.kernel, rows, others, device, dtype=np.float64)

    def _shifted(self, rows, device):
        rows = device.put(rows)
        if rows is None or self.offset is None:
            return rows
        return rows - (device.xp.asarray(self.offset) if is_cupy(rows) else self.offset)


@dataclass(frozen=True)
class Thinning:
    """How rows are chosen.

    Attributes
    ----------
    method : {"target", "power", "kt+", "compress++", "herding", "standard"}
    split_kernel : Kernel
        Of the halving.
    oversampling : int or None
        Of Compress; None for what the number of rows needs.
    delta : float
    passes : int or None
        Of exchanges; None until one changes nothing.
    perturbations : int
        Of what the exchanges end in.
    unique : bool
    """

    method: str
    split_kernel: Any
    oversampling: int | None
    delta: float
    passes: int | None
    perturbations: int
    unique: bool

    def choose(self, operator, size, share, random_state):
        """The rows of a coreset, and the path of its exchanges.

        Parameters
        ----------
        operator : KernelOperator
            K of the sample with itself, float64.
        size : int
        share : ndarray of shape (n,) or None
            Weights of the sample, of sum 1; None for equal ones.
        random_state : RandomState

        Returns
        -------
        rows : ndarray of int, shape (size,)
        path : list of float
        """
        n = operator.shape[0]
        order = np.arange(n)
        if share is not None:  # each row as often as its weight has it, on average
            order = systematic(share, n, random_state)
        if self.method == "standard" and self.passes == 0:
            return standard_start(order, size, n, self.unique), []
        if self.method == "compress++":
            order = self._compressed(operator, order, size, random_state)
            if n > ALL_PAIRS_ROWS:
                return self.choose_among(operator, order, size, share, random_state)
        mu = sample_means(operator, share)
        best = self.choose_from(operator, order, size, mu, random_state)
        return best.rows, best.path

    def choose_among(self, operator, order, size, share, random_state):
        """`choose` among rows that the sample has been compressed to, and some more.

        Parameters
        ----------
        operator, size, share, random_state
            Of `choose`; K may be of a Dask array.
        order : ndarray of int
            What the sample was compressed to.
        """
        n = operator.shape[0]
        # Some more than those that are halved, to exchange for.
        others = max(size, ALL_PAIRS_ROWS - len(np.unique(order)))
        places = np.union1d(order, standard_places(n, min(n, others)))
        order = np.searchsorted(places, order)
        points = take_rows(operator, places)
        pool = operator.with_samples(points)
        if len(places) * n > MEAN_PAIRS:
            mu = _anchored_means(operator, share, pool, order)
        else:
            mu = sample_means(operator.with_rows(points), share)
        best = self.choose_from(pool, order, size, mu, random_state)
        return places[best.rows], best.path

    def choose_from(self, pool, order, size, mu, random_state):
        """A coreset of rows that stand for a sample.

        Parameters
        ----------
        pool : KernelOperator
            K of these rows with each other.
        order : ndarray of int
            Each row as often as its weight has it.
        size : int
        mu : array of shape (n,)
            Mean kernel value of each row with the sample.
        random_state : RandomState

        Returns
        -------
        Coreset
        """
        starts = self._starts(pool, order, size, mu, random_state)
        perturbations = 0 if self.passes == 0 else self.perturbations
        return exchanges.search(
            pool, starts, mu, self.passes, self.unique, perturbations, random_state
        )

    def choose_of_each(self, operator, size, share, classes, random_state):
        """`choose` among the rows of each class, by its share; a path for each."""
        _, codes = np.unique(classes, return_inverse=True)
        mass = np.bincount(codes, weights=share) / (len(codes) if share is None else 1)
        chosen, paths = [], []
        counts = _apportioned(mass, size, np.bincount(codes), random_state)
        for k, count in enumerate(counts):
            if count:
                rows = np.flatnonzero(codes == k)
                own = None if share is None else share[rows] / share[rows].sum()
                part = operator.with_samples(take_rows(operator, rows))
                found, path = self.choose(part, count, own, random_state)
                chosen.append(rows[found])
                paths.append(path)
        return np.concatenate(chosen), paths

    def _compressed(self, operator, order, size, random_state):
        """Fewer rows that stand for those in `order`, at least `size`."""
        splitter = operator.with_kernel(self.split_kernel)
        oversampling = self.oversampling_of(len(order), size)
        kept = compress(splitter, order, oversampling, self.delta, random_state)
        return kept if len(np.unique(kept)) >= size else order

    def oversampling_of(self, n, size):
        """That of Compress, where so many of n rows are to be chosen."""
        if self.oversampling is not None:
            return self.oversampling
        least = int(np.ceil(np.log2(16.0 * size / np.sqrt(n))))
        return max(OVERSAMPLING, least)

    def _starts(self, pool, order, size, mu, random_state):
        """Sets that exchanges start from; the best of what they end in is taken."""
        if self.method == "herding":
            return [coresets.herd(pool, size, mu, self.unique)]
        plain = standard_start(order, size, len(mu), self.unique)
        if self.method == "standard":
            return [plain]
        halved = thin(
            pool,
            pool.with_kernel(self.split_kernel),
            order,
            size,
            pool.device.get(mu),
            self.delta,
            random_state,
            self.unique,
        )
        # Without exchanges the halved set is the better one, by its making.
        if self.passes == 0:
            return [halved]
        # Where herding ends is the best in ten columns, the halved set in two.
        return [halved, plain, coresets.herd(pool, size, mu, self.unique)]


def sample_means(operator, share):
    """Mean of each row of K, its columns weighted by `share`; None for equally."""
    if share is None:
        return operator.row_sum() / operator.shape[1]
    share = share if is_dask(share) else operator.device.xp.asarray(share)
    return operator.row_sum(share)


def _anchored_means(operator, share, pool, order):
    """Means of the pool's rows with a sample that is too large to go through.

    What was compressed stands for it, and its means are right at the anchors.
    """
    weights = np.bincount(order, minlength=pool.shape[0]) / len(order)
    few = anchors.places(len(weights))
    points = take_rows(pool, few)
    exact = sample_means(operator.with_rows(points), share)
    gap = exact - sample_means(pool.with_rows(points), weights)
    interpolation = anchors.Interpolation(coresets.block(pool, few))
    weights[few] += interpolation.weights(pool.device.get(gap))
    return sample_means(pool, weights)


def systematic(share, n, random_state):
    """Row numbers, each about ``n share`` times: systematic resampling."""
    ticks = (np.arange(n) + random_state.random_sample()) / n
    return np.minimum(np.searchsorted(np.cumsum(share), ticks), len(share) - 1)


def _apportioned(mass, size, available, random_state):
    """Whole numbers of sum `size` near shares of mass, no more than are available.

    What a class has no rows for goes to the others by their masses; the largest
    remainders come first, and chance decides between equal ones.
    """
    share, free = np.zeros(len(mass)), mass > 0
    left = float(size)
    while free.any():
        part = left * mass / mass[free].sum()
        full = free & (part >= available)
        if not full.any():
            share[free] = part[free]
            break
        share[full] = available[full]
        left -= available[full].sum()
        free &= ~full
    counts = np.minimum(np.floor(share + 1e-9).astype(int), available)
    order = random_state.permutation(len(mass))
    while counts.sum() < size:
        wanting = np.where(counts < available, share - counts, -np.inf)[order]
        counts[order[int(np.argmax(np.round(wanting, 9)))]] += 1
    return counts
