"""Sums of features over random groups of rows, which are spread over all blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _device
from ..algorithms import fssd
from ..algorithms.feature_sums import group_size
from .arrays import aligned
from .compute import literal
from .graphs import total_over_blocks
from .work import OF_WORKER, Held, on_block, on_host, task_bytes


def group_sums(features, rows, order):
    """Sums of the features of the groups of `gpkern.algorithms.feature_sums`.

    Parameters
    ----------
    features : KernelFeatures or LocationFeatures
        Of rows; it is sent to the workers.
    rows : dask.array.Array of shape (n, p)
    order : ndarray of whole numbers
        The rows that count, shuffled: one group after another.

    Returns
    -------
    ndarray of shape (n_groups, n_features), float64
    """
    size = group_size(len(order))
    groups = np.full(len(rows), -1, np.int32)
    groups[order] = np.arange(len(order)) // size
    groups = aligned(groups, rows, "groups")
    return total_over_blocks(_grouped, rows, groups, features=literal(features)).sums


@dataclass(frozen=True)
class KernelFeatures:
    """Kernel values of rows with landmarks, shape (n, m).

    Attributes
    ----------
    held : Held
        The landmarks.
    """

    held: Held

    @property
    def width(self):
        """Features of a row."""
        return len(self.held.array)

    def __call__(self, rows):
        return on_host(self.held.operator(rows).to_dense())


@dataclass(frozen=True)
class LocationFeatures:
    """Stein features of rows with their scores beside them, shape (n, J d).

    Attributes
    ----------
    base : Kernel
    locations : ndarray of shape (J, d)
    where : None or str
        Device of the workers.
    """

    base: Any
    locations: Any
    where: Any

    @property
    def width(self):
        """Features of a row."""
        return self.locations.size

    def __call__(self, rows):
        device, d = _device.select(self.where, rows), self.locations.shape[1]
        with device.here():
            rows, V = device.put(rows), device.put(self.locations)
            X, S = rows[:, :d], rows[:, d:]
            jet = fssd.slopes(self.base, X, V, device, 1)
            return on_host(fssd.features(*jet, X, S, V).reshape(len(X), -1))


@dataclass(frozen=True)
class GroupSums:
    """Sums of some groups.

    Attributes
    ----------
    groups : ndarray of int of shape (g,)
        Sorted.
    sums : ndarray of shape (g, n_features)
    """

    groups: Any
    sums: Any

    @property
    def value(self):
        """Itself, as the value of a sum over blocks."""
        return self

    def __add__(self, other):
        groups = np.union1d(self.groups, other.groups)
        sums = np.zeros((len(groups), self.sums.shape[1]))
        for part in (self, other):
            sums[np.searchsorted(groups, part.groups)] += part.sums
        return GroupSums(groups, sums)


def _grouped(rows, place, groups, features):
    with on_block(place):
        total, groups = None, on_host(groups)
        # A part's features and, where every row is a group, as many sums.
        height = max(256, int(OF_WORKER * task_bytes() / (64 * features.width)))
        height = min(height, 1 << 14)
        for a in range(0, len(rows), height):
            own = groups[a : a + height]
            order = np.argsort(own, kind="stable")
            order = order[np.searchsorted(own[order], 0) :]  # -1 does not count
            found, first = np.unique(own[order], return_index=True)
            sums = np.zeros((0, features.width))
            if len(found):
                F = features(rows[a : a + height])[order]
                sums = np.add.reduceat(F, first, axis=0)
            part = GroupSums(found, sums)
            total = part if total is None else total + part
        return total
