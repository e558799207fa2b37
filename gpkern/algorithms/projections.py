"""Modes of many columns by few: project, search there, and lift what is found.

Lee, Li & Luo (2021) and Luo et al. (2023), "Dimensionality reduction for general KDE
mode finding": a random projection keeps distances, so that the densest place of the
projected rows is nearly as dense as that of the rows. It is lifted by the mean of the
rows that make it dense, which is a step of mean shift with the projected weights, where
minus the logarithm of the kernel is concave in the squared distance; for other kernels
by the point whose distances to these rows grow the least (Kirszbraun).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._device import is_dask
from .mean_shift import ascend
from .modes import seeds_of

# Places of each projection that are lifted, and steps of the smallest ball.
LIFTED, BALL_STEPS = 4, 500


def project_and_lift(field, n_components, n_projections, n_seeds, rng):
    """Rows in many columns from which to climb, shape (k, d), and evaluations.

    Parameters
    ----------
    field : KernelSum
    n_components : int
        Columns of the projections.
    n_projections : int
    n_seeds : int
        Rows to start from in each.
    rng : RandomState
    """
    xp, d = field.device.xp, field.points.shape[1]
    starts, count = [], 0
    for _ in range(n_projections):
        G = xp.asarray(rng.normal(size=(d, n_components)) / np.sqrt(n_components))
        low = field.points.astype(np.float64) @ G
        small = replace(
            field,
            points=low.astype(field.points.dtype),
            kernel=field.kernel.of_columns(d),
        )
        run = ascend(small, seeds_of(small, n_seeds, rng))
        values = small.log(run.ends)
        best = xp.argsort(-values)[:LIFTED]
        starts.append(_lifted(small, run.ends[best], field.points))
        count += run.n_evaluations + len(values)
    return xp.concatenate(starts), count


def _lifted(small, places, points):
    """Points of many columns for places in the projection."""
    if small.kernel.is_tame:
        return small.shift(places, V=points)
    if is_dask(points):
        raise ValueError(
            f"strategy='project' of a {type(small.kernel).__name__} kernel needs all "
            "rows in memory: thin X first with KernelThinning, or use kernel='gaussian'"
        )
    xp = small.device.xp
    return xp.stack([_least_stretched(small, z, points) for z in places])


def _least_stretched(small, z, points):
    """argmin over x of ``max_i |x - p_i| / |z - Z_i|``, of the rows within reach.

    By steps towards the row that is worst, each shorter than the last (Badoiu &
    Clarkson 2003, for the smallest enclosing ball).
    """
    xp = small.device.xp
    distance = xp.sqrt(((small.points - z) ** 2).sum(axis=1))
    near = xp.argsort(distance)[: max(1, int((distance < 1.0).sum()))]
    rows = points[near].astype(np.float64)
    # A row at z itself would have to be met: as if it were a little off.
    reach = xp.maximum(distance[near], 0.05)[:, None]
    x = rows.mean(axis=0)
    for k in range(BALL_STEPS):
        stretch = xp.sqrt(((rows - x) ** 2).sum(axis=1)) / reach[:, 0]
        x = x + (rows[stretch.argmax()] - x) / (k + 2.0)
    return x
