"""Stein thinning: rows of a sample that stand for a density known by its scores.

All reductions are over a Stein kernel, whose mean under the density is zero: a set of
rows is near the density when the sum of its kernel values is small. Where the sample
comes from, and how far it is from the density, does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels import SteinKernel, median_distance, resolve_kernel
from .compress import thin
from .exchanges import Coreset, exchange
from .greedy import choose
from .halving import take_rows

# Rows up to which the first of two steps chooses as many as there are, and the kernel
# values that it may take beyond.
ALL_PAIRS_ROWS, GREEDY_PAIRS = 20_000, 4e8
# Of the first step, at least: rows for each one that remains.
LEAST_INFLATION = 16
# Probability that a halving misses its error bound.
DELTA = 0.5
# Of the median heuristic in kernel-based variational inference.
MEDIAN_ROWS = 1000
# Steps of a chain from which the sign of scores may be told.
LEAST_STEPS = 8


@dataclass(frozen=True)
class SteinChoice:
    """How rows are chosen.

    Attributes
    ----------
    method : {"greedy", "debiased"}
    oversampling : int or None
        Of `inflated_size`.
    passes : int or None
        Of exchanges; None until one changes nothing.
    unique : bool
        Whether a row may be chosen only once.
    """

    method: str
    oversampling: int | None
    passes: int | None
    unique: bool

    def choose(self, operator, size, penalty, reward, random_state):
        """The rows, and how they were found.

        Parameters
        ----------
        operator, size, penalty, reward
            Of `greedy`.
        random_state : RandomState

        Returns
        -------
        rows : ndarray of int, shape (size,)
            In the order of the greedy choice, otherwise sorted.
        path : list of float
            Squared discrepancy of the first 1, 2, ... rows, or after each pass.
        weights : ndarray of shape (n,) or None
            Of all rows, after the first of two steps.

        Raises
        ------
        ValueError
            When k(x, x) of too many rows is beyond float64.
        """
        n, debias = operator.shape[0], self.method == "debiased"
        steps = inflated_size(n, size, self.oversampling) if debias else size
        diagonal = operator.device.get(operator.diagonal())
        near = np.isfinite(diagonal)
        if near.sum() < (size if self.unique else 1):
            raise ValueError(
                f"scores of {n - int(near.sum())} of {n} rows are so large that the "
                "Stein kernel is beyond float64: rescale X, or leave these rows out"
            )
        if penalty is None and reward is None:
            near = within_reach(diagonal, steps, size if self.unique else 1)
        kept = np.flatnonzero(near)
        if len(kept) < n:
            operator = operator.with_samples(take_rows(operator, kept))
            at = operator.device.xp.asarray(kept)
            penalty, reward = (a if a is None else a[at] for a in (penalty, reward))
        if debias:
            found, many = debiased(
                operator, size, steps, self.passes, self.unique, random_state
            )
            weights = np.bincount(kept[many], minlength=n) / steps
            return kept[np.sort(found.rows)], found.path, weights
        found = greedy(operator, size, self.unique, penalty, reward)
        if self.passes == 0:
            return kept[found.rows], found.path, None
        mean = np.zeros(len(kept))
        found = exchange(operator, found.rows, mean, self.passes, self.unique)
        return kept[np.sort(found.rows)], found.path, None


def stein_kernel(base, points, length_scale=None, random_state=None):
    """Stein kernel of rows that hold points and scores.

    Parameters
    ----------
    base : Kernel
    points : array of shape (n, d)
        Standardised.
    length_scale : float, "median", "scaled_median" or None
        Of the base; None for its own.
    random_state : int, RandomState or None
        Chooses the rows for the median.
    """
    if length_scale == "scaled_median":
        n = max(2, min(len(points), MEDIAN_ROWS))
        length_scale = median_distance(points, random_state) / np.sqrt(np.log(n))
    base = resolve_kernel(
        base, points, length_scale=length_scale, random_state=random_state
    )
    return SteinKernel(base, points.shape[1])


def looks_reversed(points, scores):
    """Whether scores are rather those of 1 / p: they grow along most steps.

    Where a density is log-concave they fall along every one, ``(s - t) . (x - y) < 0``.
    """
    along = ((points[1:] - points[:-1]) * (scores[1:] - scores[:-1])).sum(axis=1)
    up, down = int((along > 0).sum()), int((along < 0).sum())
    return up + down >= LEAST_STEPS and up > 3 * down


def standardise(points, scores, how, device):
    """Points on a common scale, with scores by the new coordinates.

    Parameters
    ----------
    points, scores : array of shape (n, d)
        float64.
    how : {True, False, "whiten"}
        True divides each column by its mean absolute deviation (Riabiz et al. 2022,
        section 2.3), constant ones by 1; "whiten" makes the covariance the identity.
    device : Device

    Returns
    -------
    points, scores : array of shape (n, d)
    scale : ndarray of shape (d,) or (d, d)
        Divisor of each column, or the lower Cholesky factor of the covariance.

    Raises
    ------
    ValueError
        When the covariance is singular, or the scale beyond float64.
    """
    if how is False:
        return points, scores, device.xp.ones(points.shape[1])
    constant = points.max(axis=0) == points.min(axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = points - points.mean(axis=0)
        scale = abs(apart).mean(axis=0)
    if not bool((scale < np.inf).all()):
        raise ValueError("X is too large to be standardised in float64: rescale it")
    if how == "whiten":
        scale[constant] = np.nan
        factor = _covariance_factor(apart / scale, device) * scale[:, None]
        return apart @ device.xp.linalg.inv(factor).T, scores @ factor, factor
    # Rounding leaves deviations from the mean of a constant column.
    scale[constant] = 1.0
    return points / scale, scores * scale, scale


def _covariance_factor(apart, device):
    """Cholesky factor of the covariance, from deviations of about 1."""
    covariance = device.get(apart.T @ apart) / max(1, len(apart) - 1)
    try:
        factor = np.linalg.cholesky(covariance)
        if not np.diagonal(factor).min() > 1e-6:  # rounding alone, or NaN
            raise np.linalg.LinAlgError
    except np.linalg.LinAlgError:
        raise ValueError(
            "standardize='whiten': the covariance of X is singular, as columns are "
            "constant or depend on others, or rows are too few; use standardize=True, "
            "or leave such columns out of X and scores"
        ) from None
    return device.xp.asarray(factor)


def within_reach(diagonal, steps, least=1):
    """Which rows `greedy` could choose at all; the others it need not look at.

    A row is out of reach for t rows chosen before when its k(x, x) exceeds
    ``(2 t + 1)^2`` times that of a row at hand: the sum of t rows that were chosen
    greedily is no longer than t times the shortest. So far-off starts of a chain do not
    take digits from the rest, and values beyond float64 do no harm.

    Parameters
    ----------
    diagonal : ndarray of shape (n,)
        k(x, x), inf or NaN where it overflows.
    steps : int
        Rows to be chosen.
    least : int, default=1
        Different rows among them.

    Returns
    -------
    ndarray of bool, shape (n,)
        At least so many.
    """
    finite = np.isfinite(diagonal)
    shortest = np.partition(np.where(finite, diagonal, np.inf), least - 1)[least - 1]
    return finite & (diagonal <= (2.0 * steps - 1.0) ** 2 * shortest)


def greedy(operator, size, unique=False, penalty=None, reward=None):
    """Rows chosen one by one, each of which leaves the least discrepancy.

    Riabiz et al. (2022), algorithm 1, which `penalty` and `reward` regularise as in
    Benard et al. (2023), section 3.

    Parameters
    ----------
    operator : KernelOperator
        The Stein kernel of the sample with itself, float64.
    size : int
    unique : bool, default=False
        Whether a row may be chosen only once.
    penalty : array of shape (n,), default=None
        Added to the objective of each row.
    reward : array of shape (n,), default=None
        Taken from it, t times for the row of place t.

    Returns
    -------
    Coreset
        Its path is the squared discrepancy of the first 1, 2, ... rows.
    """
    start = operator.diagonal().astype(np.float64)
    rows, added = choose(operator, start, size, 2.0, penalty, reward, unique)
    path = np.maximum(np.cumsum(added), 0.0) / np.arange(1, size + 1) ** 2
    return Coreset(rows, path.tolist())


def inflated_size(n, size, oversampling=None):
    """How many rows the first of two steps chooses.

    Parameters
    ----------
    n, size : int
        Rows of the sample, and those that remain at last.
    oversampling : int, default=None
        For ``2^oversampling`` times as many; None for as many as there are rows, or
        fewer where that would take too long.
    """
    if oversampling is not None:
        return min(n, size * 2**oversampling)
    if n <= ALL_PAIRS_ROWS:
        return n
    return min(n, max(LEAST_INFLATION * size, int(GREEDY_PAIRS / n)))


def debiased(operator, size, inflated, passes, unique, random_state):
    """Rows chosen in two steps: many greedily, then a few of these by halving.

    Stein kernel thinning (Li, Dwivedi & Mackey 2024, algorithm 1). The greedy choice of
    many rows has next to no bias, and its halving does not bring it back: other than
    the greedy choice of a few rows, it keeps the tails and the weights of the modes.

    Parameters
    ----------
    operator, size, unique
        Of `greedy`.
    inflated : int
        Rows of the first step.
    passes : int or None
        Of exchanges for better rows; None until one changes nothing.
    random_state : RandomState
        Coins of the halving.

    Returns
    -------
    Coreset
        Its path is the squared discrepancy after each pass.
    many : ndarray of int, shape (inflated,)
        Rows of the first step, sorted.
    """
    mean = np.zeros(operator.shape[0])
    # In the order of the chain neighbours are alike, and halves of alike pairs nearer.
    # It may choose rows again and again: these are weights, of all rows.
    many = np.sort(greedy(operator, inflated).rows)
    few = thin(operator, operator, many, size, mean, DELTA, random_state, unique)
    # The greedy choice is no other start: where it is misled, by tails or modes, its
    # discrepancy is as small as that of a good one.
    return exchange(operator, few, mean, passes, unique), many
