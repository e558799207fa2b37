"""Modes of a density: found, polished, told apart, and their peaks above passes."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from .linear import largest_axis
from .mean_shift import ascend, newton

# Ends that are nearer than this, in units of the bandwidth, are one mode.
SAME = 0.1
# Columns up to which Newton's method finishes.
NEWTON_COLUMNS = 64
# Largest curvature of a place that is no saddle: what rounding leaves of 0.
FLAT = 1e-8
# Places on the way between two modes at which the density is looked at, and ways.
STATIONS, WAYS = 15, 10


def seeds_of(field, count, rng):
    """Rows to start from: half the densest, a bandwidth apart, half by chance.

    Parameters
    ----------
    field : KernelSum
    count : int
    rng : RandomState
    """
    device, points = field.device, field.points
    n = len(points)
    if n <= count:
        return points
    few = np.arange(n)
    if n > 4096:
        share = device.get(field.weights)
        few = np.sort(rng.choice(n, 4096, replace=False, p=share / share.sum()))
    rows = points[device.xp.asarray(few)]
    values = device.get(field.log(rows))
    rows = device.get(rows).astype(np.float64)
    chosen = _dense_and_apart(rows, values, -(-count // 2))
    others = rng.choice(len(rows), count - len(chosen), replace=False)
    return device.xp.asarray(rows[np.unique(np.append(chosen, others))])


def _dense_and_apart(rows, values, count):
    """The densest rows of which no two are within a bandwidth."""
    order, chosen = np.argsort(-values, kind="stable"), []
    for i in order:
        near = len(chosen) and cdist(rows[i : i + 1], rows[chosen]).min() < 1.0
        if not near:
            chosen.append(i)
            if len(chosen) == count:
                break
    return np.array(chosen)


def polish(field, starts):
    """Modes near where mean shift ended, exact; saddles are left for the modes above.

    Parameters
    ----------
    field : KernelSum or MixtureField
        In float64.
    starts : array of shape (k, d)

    Returns
    -------
    points : array of shape (k, d)
    values : array of shape (k,)
    n_evaluations : int
    """
    xp = field.device.xp
    if not field.is_smooth:
        run = ascend(field, starts, tolerance=1e-9, most_steps=2000)
        return run.ends, field.log(run.ends), run.n_evaluations
    points, values, count = _finished(field, starts)
    for _ in range(5):
        saddle, axes = _rising(field.device.get(field.hessian(points)))
        if not len(saddle):
            break
        off, saddle = xp.asarray(0.2 * axes), xp.asarray(saddle)
        ways = [ascend(field, points[saddle] + s * off) for s in (1.0, -1.0)]
        both = [_finished(field, way.ends[way.place]) for way in ways]
        (one, logs, a), (two, other, b) = both
        better = other > logs
        points[saddle] = xp.where(better[:, None], two, one)
        values[saddle] = xp.where(better, other, logs)
        count += a + b + sum(way.n_evaluations for way in ways)
    return points, values, count


def _rising(curvatures):
    """Which matrices have an eigenvalue above 0, and the axis of the largest."""
    if curvatures.shape[1] <= NEWTON_COLUMNS:
        rising = np.linalg.eigvalsh(curvatures)[:, -1] > FLAT
        saddle = np.flatnonzero(rising)
        return saddle, np.linalg.eigh(curvatures[saddle])[1][:, :, -1]
    values, axes = zip(*(largest_axis(H) for H in curvatures), strict=True)
    saddle = np.flatnonzero(np.array(values) > FLAT)
    return saddle, np.array(axes)[saddle]


def _finished(field, starts):
    """Newton's method, or, in many columns, more steps of mean shift."""
    if starts.shape[1] <= NEWTON_COLUMNS:
        return newton(field, starts)
    run = ascend(field, starts, tolerance=1e-9, most_steps=2000)
    points = run.ends[run.place]
    return points, field.log(points), run.n_evaluations


def merged(points, values):
    """The denser of points that are one mode, and which of these each is.

    Returns
    -------
    kept : ndarray of int
        The densest first.
    place : ndarray of int, shape (k,)
    """
    order = np.argsort(-values, kind="stable")
    kept, place = [], np.empty(len(points), int)
    for i in order:
        if kept:
            distance = cdist(points[i : i + 1], points[kept])[0]
            if distance.min() < SAME:
                place[i] = int(distance.argmin())
                continue
        place[i] = len(kept)
        kept.append(i)
    return np.array(kept), place


def passes(field, points, values):
    """Share of the density of each mode that is lost on the way to a denser one.

    Ways are straight, from mode to mode: a lower bound of what could be kept.

    Parameters
    ----------
    points : ndarray of shape (k, d)
        The densest first.
    values : ndarray of shape (k,)

    Returns
    -------
    persistence : ndarray of shape (k,)
        1 for the densest.
    parent : ndarray of int, shape (k,)
        The mode that is merged into when it is not to stand alone; its own number for
        the densest.
    """
    xp, k = field.device.xp, len(points)
    if k == 1:
        return np.ones(1), np.zeros(1, int)
    distances = cdist(points, points)
    nearest = np.argsort(distances, axis=1)[:, 1 : WAYS + 1]
    # The nearest, and the nearest of the denser ones, so that all hang together.
    pairs = {tuple(sorted((i, int(j)))) for i in range(k) for j in nearest[i]}
    pairs |= {(int(np.argmin(distances[i, :i])), i) for i in range(1, k)}
    i, j = np.array(sorted(pairs)).T
    t = np.linspace(0.0, 1.0, STATIONS + 2)[1:-1, None, None]
    between = points[i] + t * (points[j] - points[i])
    logs = field.log(xp.asarray(between.reshape(-1, points.shape[1])))
    low = field.device.get(logs).reshape(STATIONS, -1).min(axis=0)
    low = np.minimum(low, np.minimum(values[i], values[j]))
    return _from_ways(i, j, low, values)


def _from_ways(i, j, low, values):
    """The best ways over several modes, by joining the highest passes first."""
    k = len(values)
    # A spanning tree of the highest passes: weights must be positive.
    depth = values.max() - low + 1.0
    tree = minimum_spanning_tree(coo_matrix((depth, (i, j)), shape=(k, k))).tocoo()
    persistence, parent, top = np.ones(k), np.arange(k), np.arange(k)

    def root(m):
        while top[m] != m:
            m = top[m]
        return m

    for e in np.argsort(tree.data, kind="stable"):
        a, b = root(tree.row[e]), root(tree.col[e])
        high, lower = min(a, b), max(a, b)  # the densest come first
        top[lower] = high
        parent[lower] = high
        height = values.max() + 1.0 - tree.data[e]
        persistence[lower] = -np.expm1(min(0.0, height - values[lower]))
    return persistence, parent
