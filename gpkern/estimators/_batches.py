"""What `LearnedLikelihoodRatioTest` works with: columns' units, toys, results."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from ..algorithms.likelihood_ratio import SPARE, Toys
from ._door import check_predict_X
from ._gathered import gathered

# Centres for each square root of the rows, and at most.
PER_ROOT, MOST_CENTERS = 4, 5000
# Rows to draw toys from, over those of one: with fewer, toys are too much alike.
FEW_BATCHES = 3


@dataclass(frozen=True)
class LikelihoodRatioResult:
    """Result of a batch; it unpacks to the first three.

    Attributes
    ----------
    statistic : float
        t, twice the logarithm of the extended likelihood ratio.
    pvalue : float
        0 where it is below 1e-308.
    zscore : float
        The same in standard deviations of a normal distribution, one-sided; finite for
        the smallest p-values, and far below 0, or minus infinity, for one of 1.
    n_rows : int
        Of the batch.
    """

    statistic: float
    pvalue: float
    zscore: float
    n_rows: int

    def __iter__(self):
        return iter((self.statistic, self.pvalue, self.zscore))


@dataclass(frozen=True)
class Units:
    """Of the columns: where they are, and how wide.

    Attributes
    ----------
    middle, spread : ndarray of shape (d,), float64
        On the host.
    """

    middle: Any
    spread: Any

    @classmethod
    def of(cls, X, device, standardize):
        """Means and standard deviations of the rows, or 0 and 1."""
        d = X.shape[1]
        if not standardize:
            return cls(np.zeros(d), np.ones(d))
        xp, wide = device.xp, X.astype(np.float64)
        # Halves, and shares of the largest: neither sums nor squares overflow.
        middle = 2.0 * (0.5 * wide / len(wide)).sum(axis=0)
        wide = wide - middle
        size = abs(wide).max(axis=0)
        spread = size * (wide / xp.where(size > 0, size, 1.0)).std(axis=0)
        # Rounding leaves constant columns a standard deviation above 0.
        varies = xp.asarray(X.max(axis=0) > X.min(axis=0)) & (spread > 0)
        spread = xp.where(varies, spread, 1.0)
        if not bool(xp.isfinite(spread).all()):
            raise ValueError("X holds numbers whose differences overflow: rescale it")
        return cls(device.get(middle), device.get(spread))

    def scaled(self, X, device):
        """Rows in these units, on the device.

        In float64: in float32 the slope of a fit is too rough for penalties as small
        as here.
        """
        X = device.xp.asarray(device.put(X))
        middle, spread = map(device.xp.asarray, (self.middle, self.spread))
        return (X.astype(np.float64) - middle) / spread

    def unscaled(self, X, device):
        """The rows that these were."""
        middle, spread = map(device.xp.asarray, (self.middle, self.spread))
        return X * spread + middle


def check_expected(expected, counts):
    """Rows that a batch has on average, as a float."""
    if expected is None:
        raise ValueError(
            "fit(reference, expected=...): expected is the number of rows that a "
            "batch has on average"
        )
    number = isinstance(expected, Real) and not isinstance(expected, bool)
    if not (number and 0 < expected < np.inf):
        raise ValueError(f"expected={expected!r} must be a number above 0")
    if counts == "fixed" and expected != round(expected):
        raise ValueError(
            f"expected={expected!r} is not the number of rows of a batch, which "
            "counts='fixed' takes it for"
        )
    return float(expected)


def make_toys(test, X, null, device, rng):
    """`Toys` of a test that is being fitted, of which there are enough rows.

    Parameters
    ----------
    test : LearnedLikelihoodRatioTest
        With ``expected_`` and its units.
    X : array of shape (n, d)
        The reference in these units, on the device.
    null : array-like, callable or None
        Of `fit`.
    device : Device
    rng : RandomState

    Returns
    -------
    Toys
    """
    n, expected, xp = len(X), test.expected_, device.xp
    is_random = test.counts == "poisson"
    null = _null_rows(test, null, device)
    p = test.n_centers
    if p is None:
        p = int(np.ceil(PER_ROOT * np.sqrt(n + expected)))
        p = min(p, MOST_CENTERS, max(1, n // 4))
    if p > n:
        raise ValueError(
            f"n_centers={p} is more than the {n} rows of the reference: lower it, or "
            "leave it None"
        )
    toys = Toys(X, null, p, expected, is_random, xp, rng)
    # With room for larger counts, which would be cut off.
    wanted = int(np.ceil(expected + (SPARE * np.sqrt(expected) if is_random else 0.0)))
    if toys.n_reference < max(p, 2) or toys.available < wanted:
        given = f"{n} rows of the reference"
        if hasattr(null, "shape"):
            given += f" and {len(null)} of null"
        raise ValueError(
            f"expected={expected:g} rows of a batch, {wanted} with room for a larger "
            f"count, and {p} centers are too many for {given}: pass more rows"
            + ("" if hasattr(null, "shape") else ", or a null sample")
        )
    rows = toys.n_others
    if rows < FEW_BATCHES * expected:
        source = "null" if null is not None else "the reference"
        warnings.warn(
            f"toys of {expected:g} rows are drawn from {rows} of {source}: they are "
            "much alike, so that p-values may be too small; pass at least "
            f"{FEW_BATCHES} times as many, or a simulator as null",
            UserWarning,
            stacklevel=4,
        )
    elif toys.n_reference < expected:
        warnings.warn(
            f"the {toys.n_reference} rows of the reference that are left for the "
            f"test are fewer than the {expected:g} of a batch: its noise "
            "hides what batches could show; pass more",
            UserWarning,
            stacklevel=4,
        )
    return toys


def _null_rows(test, null, device):
    """The null sample, or simulator, in the units of the test and on its device."""
    if null is None:
        return None
    if not callable(null):
        return _checked(test, null, "null", device)

    def simulated(count, rng):
        rows = _checked(test, null(count, rng), "null(n_rows, rng)", device)
        if len(rows) != count:
            raise ValueError(
                f"null(n_rows, rng) returned {len(rows)} rows, not {count}"
            )
        return rows

    return simulated


def _checked(test, rows, name, device):
    try:
        with warnings.catch_warnings():
            # A simulator's arrays need no names.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            rows = check_predict_X(test, rows, sparse_ok=False)
            rows = gathered(rows, "toys are drawn here: pass a random part of the rows")
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return test._units.scaled(rows, device)
