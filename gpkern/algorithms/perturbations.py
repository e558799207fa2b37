"""Jumps between the modes of a density, which leave samples of it as they are.

A Stein discrepancy hardly sees how much of a sample each of several separated modes
has. Moves that the density is invariant under change a sample with the wrong shares
into one that it does see, and one with the right shares not at all.

References
----------
Liu, Duncan & Gandy (2023), Using perturbation to improve goodness-of-fit tests based on
kernelized Stein discrepancy, ICML, sections 4 and 5; Pompe, Holmes & Latuszynski
(2020), A framework for adaptive MCMC targeting multimodal distributions (the jumps).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .quasi_newton import climb, slopes_at, values_at

# Of the largest density: modes that are lower are left out.
LOWEST = np.log(1e-8)
# Doublings of the sample's box in which starts are.
DOUBLINGS = 5
# Eigenvalues of precisions, in units of the sample: the least that they are made, and
# how far below 0, of the largest, one is taken to be rounding.
FLATTEST, ROUNDING = 1e-4, 1e-3
# Sizes of jumps, the most that they differ from 1, and how far, in widths of modes,
# they may lead beside a mode.
SIZES, APART, BESIDE = 21, 0.5, 3.0
# Numbers of the rows that are moved at a time.
CHUNK = 1 << 22


@dataclass(frozen=True)
class Modes:
    """Maxima of a density, the highest first.

    Attributes
    ----------
    points : ndarray of shape (k, d)
    log_densities : ndarray of shape (k,)
    precisions : ndarray of shape (k, d, d)
        Second derivatives of minus the log density, positive definite.
    """

    points: Any
    log_densities: Any
    precisions: Any

    def __len__(self):
        return len(self.points)


# ------------------------------------------------------------------------ the search


def starts_around(X, count, rng, draw=None):
    """Where to look for modes from.

    Rows, uniform points of boxes around them, 1 to 32 times as wide as the rows are,
    and the density's own draws where there are any.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    count : int
    rng : RandomState
    draw : callable, default=None
        ``draw(m, rng) -> (m, d)``.

    Returns
    -------
    ndarray of shape (count, d), float64
    """
    n, d = X.shape
    share = count // (2 if draw is None else 3)
    parts = [X[rng.permutation(n)[:share]]]
    if draw is not None and share:
        parts.append(draw(share, rng))
    left = count - sum(map(len, parts))
    low, high = X.min(axis=0), X.max(axis=0)
    half = positive(0.5 * (high - low))
    # In many columns a box of one width has nearly all of its volume at the edges.
    widths = 2.0 ** rng.uniform(0.0, DOUBLINGS, size=(left, 1))
    parts.append(0.5 * (low + high) + half * widths * rng.uniform(-1, 1, (left, d)))
    return np.concatenate(parts).astype(np.float64, copy=False)


def find_modes(log_density, score, starts, scale, most_steps=200):
    """Modes that are reached from starting points.

    Ends of the climbs are one mode where ``delta' (A_i + A_j) delta / 2 < 1``, of
    precisions A. Saddles, ends of climbs that have not arrived, and modes of less than
    1e-8 of the largest density are left out.

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
    Modes
        None at all where the density has none, as one that rises without end.
    """
    d = starts.shape[1]
    ends, values = climb(log_density, score, starts, scale, most_steps)
    order = np.argsort(-values, kind="stable")
    found = []
    for x, value in zip(ends[order], values[order], strict=True):
        if found and value < found[0][1] + LOWEST:
            break
        # Most ends are a mode already known: that costs no second derivatives.
        if any(_distance(x - y, A) < 1e-2 for y, _, A in found):
            continue
        A = precision_at(score, x, scale)
        if A is None:
            continue
        x, value, is_near = _newton(log_density, score, x, value, A)
        if is_near and all(_distance(x - y, 0.5 * (A + B)) >= 1.0 for y, _, B in found):
            found.append((x, value, A))
    found.sort(key=lambda mode: -mode[1])  # Newton's steps raise them a little
    points, values, precisions = zip(*found, strict=True) if found else ([], [], [])
    return Modes(
        np.reshape(points, (-1, d)),
        np.array(values),
        np.reshape(precisions, (-1, d, d)),
    )


def precision_at(score, point, scale):
    """Second derivatives of minus the log density, by differences of the score.

    Parameters
    ----------
    score : callable
    point : ndarray of shape (d,)
    scale : ndarray of shape (d,)

    Returns
    -------
    ndarray of shape (d, d) or None
        Positive definite: flat directions are made as long as 100 `scale`. None at
        saddles, and where a score nearby is not finite.
    """
    d = len(point)
    h = 1e-3 * scale
    for _ in range(5):
        off = np.diag(h)
        slopes = slopes_at(score, np.concatenate([point + off, point - off]))
        A = (slopes[d:] - slopes[:d]) / (2.0 * h[:, None])
        if not np.isfinite(A).all():
            return None
        # A thousandth of the width: rounding and fourth derivatives are both small.
        width = 1.0 / np.sqrt(np.maximum(np.diag(A), FLATTEST / scale**2))
        if (h <= 4e-3 * width).all():
            break
        h = np.minimum(h, 1e-3 * width)
    values, axes = np.linalg.eigh(0.5 * (A + A.T) * np.outer(scale, scale))
    if values[0] < -ROUNDING * abs(values).max():
        return None
    A = (axes * np.maximum(values, FLATTEST)) @ axes.T
    return A / np.outer(scale, scale)


def _newton(log_density, score, x, value, A):
    """A last step of Newton's, and whether it was shorter than the mode is wide."""
    s = slopes_at(score, x[None])[0]
    step = np.linalg.solve(A, s)
    if not float(s @ step) < 1.0:
        return x, value, False
    reached = float(values_at(log_density, (x + step)[None])[0])
    return (x + step, reached, True) if reached >= value else (x, value, True)


# ------------------------------------------------------------------------- the jumps


def jump_sizes(modes):
    """Sizes of `jump` to choose from.

    From 0.5 to 1.5, as in the paper, but where modes are far apart closer to 1: a jump
    that ends more than some widths beside a mode is never accepted, and those of size
    1 alone only give each mode its share.

    Parameters
    ----------
    modes : Modes
        Two or more.

    Returns
    -------
    ndarray of shape (21,)
    """
    points, A = modes.points, modes.precisions
    delta = points[:, None] - points
    squares = np.einsum("ijd,ide,ije->ij", delta, A, delta)
    squares = 0.5 * (squares + squares.T)
    np.fill_diagonal(squares, np.inf)
    nearest = float(np.sqrt(np.median(squares.min(axis=1))))
    most = min(APART, BESIDE / nearest)
    return 1.0 + np.linspace(-most, most, SIZES)


def jump(log_density, X, modes, thetas, n_steps, rng):
    """Rows after jumps between modes, which leave a sample of the density one.

    A step chooses an ordered pair of different modes i, j, whatever the row, and
    proposes, with covariances S and centres c of the modes,

        x' = S_j^{1/2} S_i^{-1/2} (x - c_i) + c_j,   c_i = m + theta (mu_i - m),

    that is accepted with probability
    ``min(1, p(x') / p(x) |det S_j^{1/2} S_i^{-1/2}|)``. The way back is the pair j, i,
    of the same probability, so that p is invariant, whatever S and c are. As m the mean
    of the modes is taken, in the place of the paper's 0, so that nothing depends on
    where the origin is.

    Parameters
    ----------
    log_density : callable
    X : ndarray of shape (n, d)
    modes : Modes
        Two or more.
    thetas : ndarray of shape (t,)
    n_steps : int
    rng : RandomState

    Returns
    -------
    ndarray of shape (t, n, d), float64
    """
    if len(modes) < 2:
        raise ValueError(f"jumps need two modes, not {len(modes)}")
    n, d = X.shape
    values, axes = np.linalg.eigh(modes.precisions)
    turned = np.swapaxes(axes, 1, 2)
    into = (axes * np.sqrt(values)[:, None, :]) @ turned
    out_of = (axes / np.sqrt(values)[:, None, :]) @ turned
    logs_of_volume = -0.5 * np.log(values).sum(axis=1)
    middle = modes.points.mean(axis=0)
    shapes = (into, out_of, logs_of_volume, middle, modes.points - middle)
    logs = values_at(log_density, X)
    out = np.empty((len(thetas), n, d))
    size = max(1, CHUNK // (n * d))
    for a in range(0, len(thetas), size):
        some = np.repeat(thetas[a : a + size], n)
        rows, own = np.tile(X, (len(some) // n, 1)), np.tile(logs, len(some) // n)
        for _ in range(n_steps):
            _step(log_density, rows, own, some, shapes, rng)
        out[a : a + size] = rows.reshape(-1, n, d)
    return out


def _step(log_density, rows, logs, thetas, shapes, rng):
    """One jump of each row, in place, with the rows' log densities."""
    into, out_of, volumes, middle, offsets = shapes
    k, m = len(offsets), len(rows)
    i = rng.randint(k, size=m)
    j = (i + rng.randint(1, k, size=m)) % k
    threshold = np.log1p(-rng.uniform(size=m))  # of 1 - u, that is never 0
    moved = rows - middle
    for mode in range(k):
        own = i == mode
        moved[own] = (moved[own] - thetas[own, None] * offsets[mode]) @ into[mode]
    for mode in range(k):
        own = j == mode
        moved[own] = moved[own] @ out_of[mode] + thetas[own, None] * offsets[mode]
    moved += middle
    new = values_at(log_density, moved)
    with np.errstate(invalid="ignore"):  # -inf less -inf is NaN, and no step
        accepted = threshold < new - logs + volumes[j] - volumes[i]
    rows[accepted], logs[accepted] = moved[accepted], new[accepted]


def power_ratio(sums):
    """Squared discrepancy over its standard deviation where the density is wrong.

    Parameters
    ----------
    sums : PairSums
        Of one kernel.

    Returns
    -------
    float
        U-statistic over the root of ``4/n^3 sum_i (sum_j u_ij)^2 - 4/n^4 (sum u)^2``.
    """
    xp, n = sums.device.xp, len(sums.rows)
    rows, diagonal = sums.row_sums[0] / n, sums.diagonals[0]
    u = float(n * rows.sum() - diagonal.sum()) / (n * (n - 1.0))
    variance = 4.0 * float(xp.var(rows))
    # The discrepancy of a few equal rows has no variance, and is no good sign.
    return u / np.sqrt(max(variance, (1e-6 * float(diagonal.mean())) ** 2, 1e-300))


def _distance(delta, A):
    return float(delta @ A @ delta)


def positive(lengths):
    """Lengths of columns; of constant ones the longest of the others."""
    longest = float(lengths.max())
    return np.where(lengths > 0, lengths, longest if longest > 0 else 1.0)
