"""Climbing to the modes of a density: many rows at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

# Squared relative changes of the log density below this are rounding.
ROUNDING = 1e-13
# Steps between looks for rows that have met, and how near these are.
# How far beside a row of the sample to start, in bandwidths.
ASIDE = 0.01
LOOK_EVERY, TOGETHER = 3, 0.02


@dataclass
class Ascent:
    """Where rows end.

    Attributes
    ----------
    ends : array of shape (k, d)
        Distinct ends, in units of the bandwidth.
    place : array of int, shape (m,)
        Which of them each row has come to.
    n_evaluations : int
        Rows at which sums over all points were taken.
    """

    ends: Any
    place: Any
    n_evaluations: int


def ascend(field, X, tolerance=1e-3, most_steps=500):
    """Mean shift of rows until they stay where they are.

    Steps are extrapolated (SQUAREM, Varadhan & Roland 2008, scheme S3), and taken back
    where the density would fall. Rows that have met go on as one.

    Parameters
    ----------
    field : KernelSum or MixtureField
    X : array of shape (m, d)
        In units of the bandwidth.
    tolerance : float
        Length of a step of mean shift, in these units, that is none.
    most_steps : int

    Returns
    -------
    Ascent
    """
    xp = field.device.xp
    paths = xp.array(X, dtype=np.float64)
    if field.has_cusp:
        # On a row of the sample it would stay, mode or not: from beside it, it goes
        # back where the pull of the others is the weaker one (as Weiszfeld's method).
        off = np.random.RandomState(0).normal(size=paths.shape[1])
        paths += xp.asarray(ASIDE / np.linalg.norm(off) * off)
    place, active = xp.arange(len(paths)), xp.arange(len(paths))
    count = 0
    for step in range(most_steps):
        if not len(active):
            break
        start = paths[active]
        first = field.shift(start)
        move = first - start
        count += len(active)
        length = xp.sqrt((move**2).sum(axis=1))
        if step < 2:  # far from the mode plain steps are the better ones
            paths[active] = first
        else:
            going = length > tolerance
            paths[active[~going]] = first[~going]
            active, start, move = active[going], start[going], move[going]
            if not len(active):
                break
            paths[active], more = _extrapolated(field, start, move)
            count += more
        if step % LOOK_EVERY == 0:
            active = _join(paths, place, active, xp)
    return Ascent(*_distinct(paths, place, xp), count)


def _extrapolated(field, start, move):
    """Two steps and what they promise; two steps where that is worse."""
    xp = field.device.xp
    second = field.shift(start + move)
    turn = second - start - 2.0 * move
    norms = [xp.sqrt((a**2).sum(axis=1, keepdims=True)) for a in (move, turn)]
    length = xp.maximum(norms[0] / xp.maximum(norms[1], 1e-300), 1.0)
    length = xp.minimum(length, 64.0)
    ahead = start + 2.0 * length * move + length**2 * turn
    longer = length[:, 0] > 1.0
    better = longer & (field.log(ahead) >= field.log(second))
    out = xp.where(better[:, None], ahead, second)
    return out, 3 * len(start)


def _join(paths, place, active, xp):
    """Rows that are in one small cell go on as one; those that remain active."""
    cells = xp.floor(paths[active] / TOGETHER + 0.5)
    cells = np.asarray(cells.get() if hasattr(cells, "get") else cells)
    _, first, which = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(active):
        return active
    target = xp.arange(len(paths))
    target[active] = active[xp.asarray(first[which.reshape(-1)])]
    place[:] = target[place]
    return active[xp.asarray(np.sort(first))]


def _distinct(paths, place, xp):
    used, place = xp.unique(place, return_inverse=True)
    return paths[used], place.reshape(-1)


def newton(field, X, most_steps=50):
    """Newton's method from near a mode: points, log densities, and evaluations.

    Curvatures are made negative, steps are no longer than 2, and halved until the
    density rises.
    """
    xp = field.device.xp
    X, count = xp.array(X, dtype=np.float64), 0
    values = field.log(X)
    active = xp.arange(len(X))
    for _ in range(most_steps):
        if not len(active):
            break
        here = X[active]
        slopes, bends = field.gradient(here), field.hessian(here)
        count += 2 * len(active)
        steps = _uphill(slopes, bends, xp)
        size = xp.ones(len(active))
        best, reached = here.copy(), values[active].copy()
        waiting = xp.arange(len(active))
        for _ in range(8):
            trial = here[waiting] + size[waiting, None] * steps[waiting]
            found = field.log(trial)
            count += len(waiting)
            better = found > reached[waiting]
            up = waiting[better]
            best[up], reached[up] = trial[better], found[better]
            waiting = waiting[~better]
            if not len(waiting):
                break
            size[waiting] *= 0.5
        gain = reached - values[active]
        X[active], values[active] = best, reached
        active = active[gain > ROUNDING * (1.0 + abs(reached))]
    return X, values, count


def _uphill(slopes, bends, xp):
    """Newton's steps by curvatures that are made negative."""
    size = xp.linalg.eigvalsh(bends)  # far cheaper than with the axes
    floor = 1e-6 * xp.maximum(abs(size).max(axis=1), 1e-6)
    steps, concave = xp.empty_like(slopes), size[:, -1] < -floor
    down = slopes[concave][:, :, None]
    steps[concave] = -xp.linalg.solve(bends[concave], down)[:, :, 0]
    if not bool(concave.all()):
        other = ~concave
        size, axes = xp.linalg.eigh(bends[other])
        along = (axes * slopes[other][:, :, None]).sum(axis=1)
        along /= xp.maximum(abs(size), floor[other][:, None])
        steps[other] = (axes * along[:, None, :]).sum(axis=2)
    length = xp.sqrt((steps**2).sum(axis=1, keepdims=True))
    return steps * xp.minimum(1.0, 2.0 / xp.maximum(length, 1e-300))
