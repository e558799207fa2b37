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
# Places on the way between two modes at which the density is looked at, ways, and how
# far apart places are at most where a way counts.
STATIONS, WAYS, APART, MOST_STATIONS = 15, 10, 0.2, 2000
# Rows whose density is looked at to choose seeds, at least.
LOOKED_AT = 4096


def seeds_of(field, count, rng):
    """Rows to start from: half the densest, a bandwidth apart, half by chance.

    Parameters
    ----------
    field : KernelSum
    count : int
    rng : RandomState
    """
    device, n = field.device, len(field.points)
    if n <= count:
        return field.part(np.arange(n)).points
    rows = field.part(field.draw(max(LOOKED_AT, 2 * count), rng)).points
    values = device.get(field.log(rows))
    rows = device.get(rows).astype(np.float64)
    chosen = _dense_and_apart(rows, values, -(-count // 2))
    count = min(count, len(rows))
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

    Ways are straight, from mode to mode, so that what is lost is no less than by the
    best way.

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
    k = len(points)
    if k == 1:
        return np.ones(1), np.zeros(1, int)
    distances = cdist(points, points)
    nearest = np.argsort(distances, axis=1)[:, 1 : WAYS + 1]
    # The nearest, and the nearest of the denser ones, so that all hang together.
    pairs = {tuple(sorted((i, int(j)))) for i in range(k) for j in nearest[i]}
    pairs |= {(int(np.argmin(distances[i, :i])), i) for i in range(1, k)}
    i, j = np.array(sorted(pairs)).T
    low = _lowest(field, points[i], points[j], STATIONS)
    low = np.minimum(low, np.minimum(values[i], values[j]))
    length, seen = distances[i, j], np.full(len(i), float(STATIONS))
    # Closely where it matters: on the ways of the tree, until these are all known.
    while True:
        ways = _best_ways(i, j, low, values)
        need = _stations(length[ways])
        rough = ways[need > seen[ways]]
        if not len(rough):
            return _from_ways(i[ways], j[ways], low[ways], values)
        for count in np.unique(need[need > seen[ways]]):
            some = rough[_stations(length[rough]) == count]
            found = _lowest(field, points[i[some]], points[j[some]], int(count))
            low[some], seen[some] = np.minimum(low[some], found), count


def _stations(length):
    """Enough to see what is as wide as the kernel; across a desert, some."""
    return np.minimum(np.ceil(length / APART), MOST_STATIONS)


def _lowest(field, one, other, stations):
    """The least log density at places between points, evenly spaced."""
    t = np.linspace(0.0, 1.0, stations + 2)[1:-1, None, None]
    between = one + t * (other - one)
    logs = field.log(field.device.xp.asarray(between.reshape(-1, one.shape[1])))
    return field.device.get(logs).reshape(stations, -1).min(axis=0)


def _best_ways(i, j, low, values):
    """Which ways are a spanning tree of the highest passes."""
    k = len(values)
    # Weights must be positive.
    depth = values.max() - low + 1.0
    tree = minimum_spanning_tree(coo_matrix((depth, (i, j)), shape=(k, k))).tocoo()
    numbers = coo_matrix((np.arange(len(i)) + 1, (i, j)), shape=(k, k)).tocsr()
    return np.asarray(numbers[tree.row, tree.col]).ravel() - 1


def _from_ways(i, j, low, values):
    """Persistence and parents by the ways of a tree, the highest passes first."""
    k = len(values)
    persistence, parent, top = np.ones(k), np.arange(k), np.arange(k)

    def root(m):
        while top[m] != m:
            m = top[m]
        return m

    for e in np.argsort(-low, kind="stable"):
        a, b = root(i[e]), root(j[e])
        high, lower = min(a, b), max(a, b)  # the densest come first
        top[lower] = high
        parent[lower] = high
        persistence[lower] = -np.expm1(min(0.0, low[e] - values[lower]))
    return persistence, parent
