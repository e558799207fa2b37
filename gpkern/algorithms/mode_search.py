"""The whole way to the modes of a density: start, climb, polish, merge."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.metrics import pairwise_distances_argmin

from .mean_shift import ascend
from .modes import merged, passes, polish, seeds_of
from .projections import project_and_lift

# Columns above which the search is by projections, and rows that all are seeds.
MANY_COLUMNS, ALL_ROWS, SEEDS = 64, 1000, 200
# Of each way in which places between the terms of a mixture are chosen.
MIXTURE_SEEDS = 100
# Nodes of a grid, and how far apart they are at best, in bandwidths.
MOST_NODES, SPACING = 50_000, 0.5


@dataclass
class FoundModes:
    """Modes, the densest first, those that were merged among them.

    Attributes
    ----------
    points : ndarray of shape (k, d)
        In units of the bandwidth.
    values : ndarray of shape (k,)
        Log of the field.
    persistence : ndarray of shape (k,)
    parent : ndarray of int, shape (k,)
        The denser mode that each would be merged into; its own number for the first.
    label : ndarray of int, shape (k,)
        Number among the kept ones of what each was merged into.
    kept : ndarray of int
    n_evaluations : int
    n_starts : int
        Places that were climbed from.
    is_exhaustive : bool
        False where these were some of the points.
    """

    points: Any
    values: Any
    persistence: Any
    parent: Any
    label: Any
    kept: Any
    n_evaluations: int
    n_starts: int
    is_exhaustive: bool

    @property
    def parents(self):
        """Of those that are kept: which of these each would go into."""
        out = np.zeros(len(self.kept), int)
        for i, k in enumerate(self.kept):
            while self.parent[k] != k:
                k = self.parent[k]
                if k in self.kept:
                    out[i] = np.searchsorted(self.kept, k)
                    break
        return out

    def without(self, small):
        """Without some of those that are kept; what belongs to them has label -1."""
        number = np.cumsum(~small) - 1
        number[small] = -1
        return replace(self, label=number[self.label], kept=self.kept[~small])


@dataclass(frozen=True)
class ModeSearch:
    """How modes are found.

    Attributes
    ----------
    strategy : {"auto", "full", "project", "grid"}
    n_seeds : int or None
    n_projections, n_components : int
    persistence : float
        Modes that lose no more on the way to a denser one are merged.
    """

    strategy: str
    n_seeds: int | None
    n_projections: int
    n_components: int
    persistence: float

    def run(self, field, rng):
        """`FoundModes` of a field."""
        starts, count = self._starts(field, rng)
        run = ascend(field, starts)
        exact = field.exact()
        values = field.device.get(exact.log(run.ends))
        ends = field.device.get(run.ends)
        first, _ = merged(ends, values)
        points, values, more = polish(exact, field.device.xp.asarray(ends[first]))
        points, values = field.device.get(points), field.device.get(values)
        kept, _ = merged(points, values)
        points, values = points[kept], values[kept]
        persistence, parent = passes(field, points, values)
        count += run.n_evaluations + more + len(ends)
        stands = persistence > self.persistence
        stands[0] = True
        label = np.cumsum(stands) - 1
        for k in range(len(points)):  # a parent is denser, so that it comes first
            if not stands[k]:
                label[k] = label[parent[k]]
        return FoundModes(
            points,
            values,
            persistence,
            parent,
            label,
            np.flatnonzero(stands),
            count,
            len(starts),
            self._way(field) != "full" or len(starts) >= len(field.points),
        )

    def _way(self, field):
        """The strategy that "auto" is."""
        if self.strategy != "auto":
            return self.strategy
        return "project" if field.points.shape[1] > MANY_COLUMNS else "full"

    def _starts(self, field, rng):
        n, d = field.points.shape
        count = self.n_seeds or (n if n <= ALL_ROWS else SEEDS)
        strategy = self._way(field)
        if strategy == "grid":
            if d > 3:
                raise ValueError(
                    f"strategy='grid' is for up to 3 columns, X has {d}: use 'full'"
                )
            few = seeds_of(field, SEEDS, rng) if hasattr(field, "kernel") else None
            few = field.starts(MIXTURE_SEEDS, rng) if few is None else few
            return field.device.xp.concatenate([_grid_maxima(field), few]), 0
        if strategy == "project" and hasattr(field, "kernel") and d > self.n_components:
            return project_and_lift(
                field, self.n_components, self.n_projections, count, rng
            )
        if hasattr(field, "starts"):
            return field.starts(self.n_seeds or MIXTURE_SEEDS, rng), 0
        return seeds_of(field, count, rng), 0


def _grid_maxima(field):
    """Nodes of a grid that are denser than those around them."""
    xp, device = field.device.xp, field.device
    low = device.get(field.points.min(axis=0)).astype(np.float64)
    high = device.get(field.points.max(axis=0)).astype(np.float64)
    d, spacing = len(low), SPACING
    while np.prod(np.ceil((high - low) / spacing).astype(float) + 1.0) > MOST_NODES:
        spacing *= 1.1
    axes = [np.arange(a, b + spacing, spacing) for a, b in zip(low, high, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = device.get(field.log(xp.asarray(nodes.reshape(-1, d))))
    values = values.reshape(nodes.shape[:-1])
    top = (values == ndimage.maximum_filter(values, 3)) & (values > -np.inf)
    return xp.asarray(nodes[top])


def nearest_mode(ends, points, label):
    """Label of the nearest mode of each end."""
    return label[pairwise_distances_argmin(ends, points)]
