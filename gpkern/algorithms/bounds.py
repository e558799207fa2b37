"""Bounds above all values of a density: certificates for modes that were found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .._device import is_dask
from ..kernels.density_base import Nearest
from ..operator import make_operator
from .linear import largest_axes

# Boxes that may be open at a time, and how often they are halved.
MOST_BOXES, MOST_HALVINGS = 20_000, 40
# What rounding may add to a log density.
SLACK = 1e-9


def upper_bound(field, found, tolerance, n_components=2):
    """A number that the logarithm of the sum of kernels exceeds nowhere.

    The smaller of two: the root of the mean density at the points (Cauchy-Schwarz, of
    positive definite kernels, as those with tails are but for powers above 2), and the
    largest density of the points' projection on their principal axes, by branch and
    bound: an orthonormal projection brings no two rows further apart. Of points in the
    blocks of a Dask array the second alone, as the first takes all pairs of them.

    Parameters
    ----------
    field : KernelSum
        In float64.
    found : float
        Log of the sum at a mode: there is no use in a bound below.
    tolerance : float
        Up to which the search goes on, in nats.
    n_components : int

    Returns
    -------
    float
    """
    xp = field.device.xp
    bound = 0.0  # a kernel is at most 1, and weights have sum 1
    all_pairs = not is_dask(field.points)
    if all_pairs and not field.kernel.is_compact and field.kernel.is_tame:
        at_points = xp.where(field.weights > 0, field.log(field.points), -np.inf)
        top = float(at_points.max())
        mean = float((field.weights * xp.exp(at_points - top)).sum())
        bound = min(bound, 0.5 * (top + np.log(mean)))
    return min(bound, _projected(field, found, tolerance, n_components)) + SLACK


def _projected(field, found, tolerance, n_components):
    """Upper bound of the projected density, by halving boxes."""
    xp, d = field.device.xp, field.points.shape[1]
    points, m, whole = (
        field.points.astype(np.float64),
        min(n_components, d),
        field.device.whole,
    )
    if m < d:
        centred = points - whole(field.weights @ points)
        C = field.device.get((centred.T * field.weights) @ centred)
        points = centred @ xp.asarray(largest_axes(C, m)[1])
    small = replace(field, points=points, kernel=field.kernel.of_columns(d))
    # Modes of kernels that fall with the distance lie among the rows.
    low, high = whole(points.min(axis=0)), whole(points.max(axis=0))
    return highest(
        xp, small.log, lambda *b: _of_boxes(small, *b), low, high, found, tolerance
    )


def highest(xp, log, bounds_of, low, high, found, tolerance):
    """A bound above a function within a box, by halving it and looking at the parts.

    Parameters
    ----------
    xp : module
    log : callable
        The function at rows (k, m); shape (k,).
    bounds_of : callable
        Of the middles of boxes (k, m) and their sides (m,): bounds within, shape (k,).
    low, high : array of shape (m,)
    found : float
        A value of the function, below which nothing is of interest.
    tolerance : float
        How far above the largest value a bound may be.

    Returns
    -------
    float
        At least `found`; further above than `tolerance` where there are too many boxes.
    """
    m = len(low)
    counts = xp.maximum(1, xp.ceil(high - low)).astype(int)
    while float(counts.astype(float).prod()) > MOST_BOXES:
        counts = xp.maximum(1, counts // 2)
    sides = (high - low) / counts
    grids = [low[k] + sides[k] * (xp.arange(int(counts[k])) + 0.5) for k in range(m)]
    boxes = xp.stack([g.ravel() for g in xp.meshgrid(*grids, indexing="ij")], axis=1)
    halves = xp.meshgrid(*[xp.array([-0.5, 0.5])] * m, indexing="ij")
    corners = xp.stack([c.ravel() for c in halves], axis=1)
    best, lost = found, -np.inf
    for _ in range(MOST_HALVINGS):
        bounds = bounds_of(boxes, sides)
        best = max(best, float(log(boxes[xp.argsort(-bounds)[:256]]).max()))
        keep = bounds > best + tolerance
        lost = max(lost, float(xp.where(keep, -np.inf, bounds).max()))
        boxes, bounds = boxes[keep], bounds[keep]
        if not len(boxes) or len(boxes) * 2**m > MOST_BOXES:
            break
        sides = 0.5 * sides
        boxes = (boxes[:, None, :] + corners * sides).reshape(-1, m)
    rest = float(bounds.max()) if len(boxes) else -np.inf
    return max(best, lost, rest)


def _of_boxes(small, boxes, sides):
    """Upper bounds of the density within boxes, by the balls around them."""
    xp = small.device.xp
    reach = 0.5 * float(xp.sqrt((sides**2).sum()))
    kernel = Nearest(small.kernel, reach)
    operator = make_operator(kernel, boxes, small.points, small.device)
    with np.errstate(divide="ignore"):
        return xp.log(operator.row_sum(small.weights).astype(np.float64))
