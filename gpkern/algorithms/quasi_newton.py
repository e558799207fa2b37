"""L-BFGS up a log density, from many rows at once."""

from __future__ import annotations

import numpy as np

# Pairs of steps and bends that are kept, and halvings of a step.
PAIRS, HALVINGS = 10, 40


def climb(log_density, score, starts, scale, most_steps=200):
    """Maxima of a log density by L-BFGS, from all starts at once.

    Parameters
    ----------
    log_density : callable
        ``X -> (n,)``, -inf outside of the support.
    score : callable
        ``X -> (n, d)``; a ValueError where it is not finite.
    starts : ndarray of shape (m, d)
    scale : ndarray of shape (d,)
        Lengths over which the density changes, roughly.
    most_steps : int, default=200
        Of each climb.

    Returns
    -------
    ends : ndarray of shape (m, d)
        Of the starts where density and score are finite.
    values : ndarray of shape (m,)

    References
    ----------
    Nocedal & Wright (2006), Numerical optimization, algorithms 7.4 and 3.1.
    """
    X, values, slopes = _inside(log_density, score, starts, scale)
    # Slopes, steps and bends are in units of the scale. All climbs share the list of
    # pairs; where a row has none in a step, its rho there is 0.
    active, pairs = np.arange(len(X)), []
    for _ in range(most_steps):
        if not len(active):
            break
        way = _uphill(slopes[active], [tuple(a[active] for a in p) for p in pairs])
        trial, reached, size = _line_search(
            log_density, X[active], values[active], slopes[active], way, scale
        )
        new = np.full(slopes[active].shape, np.nan)
        if (size > 0).any():
            new[size > 0] = slopes_at(score, trial[size > 0]) * scale
        went = np.isfinite(new).all(axis=1)
        active, trial, reached, new = (a[went] for a in (active, trial, reached, new))
        step, bend = np.zeros_like(X), np.zeros_like(X)
        step[active] = size[went, None] * way[went]
        bend[active] = slopes[active] - new
        pairs = [*pairs[1 - PAIRS :], _pair(step, bend)]
        gain = reached - values[active]
        X[active], values[active], slopes[active] = trial, reached, new
        level = 1.0 + abs(reached)
        moving = (gain > 1e-12 * level) & (abs(new).max(axis=1) > 1e-7 * level)
        active = active[moving]
    return X, values


def _inside(log_density, score, X, scale):
    """Rows where all is finite, with values and scaled slopes."""
    values = values_at(log_density, X)
    fine = np.isfinite(values)
    X, values = X[fine], values[fine]
    slopes = slopes_at(score, X) * scale
    fine = np.isfinite(slopes).all(axis=1)
    return X[fine], values[fine], slopes[fine]


def _uphill(slopes, pairs):
    """Directions of L-BFGS, shape (m, d), in units of the scale; they rise."""
    way, shares = slopes.copy(), []
    for step, bend, rho in reversed(pairs):
        share = rho * (step * way).sum(axis=1)
        way -= share[:, None] * bend
        shares.append(share)
    length = np.ones(len(slopes))
    for step, bend, rho in pairs:  # the last that is a pair sets the length
        with np.errstate(divide="ignore", invalid="ignore"):
            own = (step * bend).sum(axis=1) / (bend**2).sum(axis=1)
        length = np.where(rho > 0, own, length)
    way *= length[:, None]
    for (step, bend, rho), share in zip(pairs, reversed(shares), strict=True):
        way += (share - rho * (bend * way).sum(axis=1))[:, None] * step
    steep = np.sqrt((slopes**2).sum(axis=1))
    rise = (way * slopes).sum(axis=1)
    known = np.zeros(len(slopes), bool)
    for *_, rho in pairs:
        known |= rho > 0
    known &= rise > 1e-10 * steep * np.sqrt((way**2).sum(axis=1))
    # Without a pair, or where these lead down: the slope, at most one unit far.
    return np.where(known[:, None], way, slopes / np.maximum(steep, 1.0)[:, None])


def _pair(step, bend):
    """A pair of L-BFGS; rho is 0 where it has no positive curvature."""
    product = (step * bend).sum(axis=1)
    least = 1e-10 * np.sqrt((step**2).sum(axis=1) * (bend**2).sum(axis=1))
    fine = product > np.maximum(least, 1e-300)
    return step, bend, np.where(fine, 1.0 / np.where(fine, product, 1.0), 0.0)


def _line_search(log_density, X, values, slopes, way, scale):
    """Rows, values and sizes of steps that rise enough; size 0 where none does."""
    rise = (way * slopes).sum(axis=1)
    trial, reached, size = X.copy(), values.copy(), np.zeros(len(X))
    waiting, t = np.arange(len(X)), 1.0
    for _ in range(HALVINGS):
        rows = X[waiting] + t * way[waiting] * scale
        found = values_at(log_density, rows)
        enough = found > values[waiting] + 1e-4 * t * rise[waiting]
        up = waiting[enough]
        trial[up], reached[up], size[up] = rows[enough], found[enough], t
        waiting, t = waiting[~enough], 0.5 * t
        if not len(waiting):
            break
    return trial, reached, size


def values_at(log_density, X):
    """Log densities; -inf where they are not finite, or the rows are not."""
    out, fine = np.full(len(X), -np.inf), np.isfinite(X).all(axis=1)
    if fine.any():
        with np.errstate(all="ignore"):
            values = log_density(X[fine])
        out[fine] = np.where(np.isfinite(values), values, -np.inf)
    return out


def slopes_at(score, X):
    """Scores; NaN at rows where there are none, which fail for the whole call."""
    if not len(X):
        return np.empty(X.shape)
    try:
        with np.errstate(all="ignore"):
            return score(X)
    except ValueError:
        if len(X) == 1:
            return np.full(X.shape, np.nan)
        half = len(X) // 2
        return np.concatenate([slopes_at(score, X[:half]), slopes_at(score, X[half:])])
