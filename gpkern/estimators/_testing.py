"""What estimators of hypothesis tests share: results, levels, kernels to aggregate."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils._param_validation import Interval, StrOptions

from .._device import is_dask
from ..algorithms import resampling
from ..kernels import InverseMultiquadric, median_distance, resolve_kernel
from ._parameters import RUN

BASES = {"imq": InverseMultiquadric, "rbf": RBF}
# Of a collection of length scales, and rows that tell the largest of them.
N_SCALES, LARGEST_ROWS = 10, 500
# Rows, and a correlation of successive ones, from which tests of independent ones warn.
LEAST_ROWS, VISIBLE = 50, 0.15
# Autocorrelation times that a chain must have for its test to be worth anything.
FEWEST_TIMES = 20

OVERFLOW = (
    "the statistic or its replicates overflow: X, its scores, or the inverse of "
    "length_scale are too large for float64; rescale X"
)

LEVEL = {
    "alpha": [Interval(Real, 0, 1, closed="neither")],
    "n_resamples": [Interval(Integral, 1, None, closed="left")],
    "device": RUN["device"],
    "random_state": RUN["random_state"],
}
KERNELS = {
    "kernel": [StrOptions(set(BASES)), Kernel, list, tuple],
    "length_scale": [
        Interval(Real, 0, None, closed="neither"),
        StrOptions({"median"}),
        "array-like",
        None,
    ],
    "aggregate": ["boolean"],
}


@dataclass(frozen=True)
class TestResult:
    """Result of a test, like those of `scipy.stats`; it unpacks to the first two.

    Attributes
    ----------
    statistic : float
    pvalue : float
    null_distribution : ndarray of shape (n_resamples,) or distribution
        The statistic's replicates under the null hypothesis, or, of a
        `LinearKSDTest`, its limit.
    """

    __test__ = False  # no test of pytest's

    statistic: float
    pvalue: float
    null_distribution: Any

    def __iter__(self):
        return iter((self.statistic, self.pvalue))

    def __repr__(self):
        null = self.null_distribution
        shown = f"<{len(null)} replicates>" if isinstance(null, np.ndarray) else null
        return (
            f"TestResult(statistic={self.statistic:.6g}, pvalue={self.pvalue:.4g}, "
            f"null_distribution={shown})"
        )


class TestMixin:
    """Attributes and checks of every test."""

    __test__ = False

    def _conclude(self, statistic, pvalue, null_distribution):
        if not (np.isfinite(statistic) and _is_finite(null_distribution)):
            raise ValueError(OVERFLOW)
        self.statistic_, self.pvalue_ = float(statistic), float(pvalue)
        self.rejected_ = bool(self.pvalue_ <= self.alpha)
        self.null_distribution_ = null_distribution
        return self

    def _judge(self, observed, replicates):
        """Attributes of a test from the statistics of all kernels, and replicates."""
        if not (np.isfinite(observed).all() and np.isfinite(replicates).all()):
            raise ValueError(OVERFLOW)
        k = len(observed)
        weights = np.full(k, 1.0 / k)
        if k == 1:
            p = resampling.p_value(observed[0], replicates[0])
            self._conclude(observed[0], p, replicates[0])
            own = np.array([p])
        else:
            statistic, null, own = resampling.combined(observed, replicates, weights)
            self._conclude(statistic, resampling.p_value(statistic, null), null)
        self.best_ = int(np.argmin(own))
        self.per_kernel_ = {"statistic": observed, "pvalue": own, "weight": weights}
        return self

    @property
    def result_(self):
        """`TestResult` of the last fit."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self)
        return TestResult(self.statistic_, self.pvalue_, self.null_distribution_)

    def _check_resamples(self):
        """A warning where no p-value can be as small as the level."""
        needed = int(np.ceil(1.0 / self.alpha)) - 1
        if self.n_resamples < needed:
            warnings.warn(
                f"n_resamples={self.n_resamples} gives no p-value below "
                f"{1.0 / (self.n_resamples + 1):.2g}, so that the test at "
                f"alpha={self.alpha} never rejects: use at least {needed}",
                UserWarning,
                stacklevel=4,
            )


def _is_finite(null):
    """Of a distribution of replicates; others are known ones."""
    return not isinstance(null, np.ndarray) or bool(np.isfinite(null).all())


def check_sample(points, least=3, are_equal=None):
    """An error for samples of which no test can say anything.

    Parameters
    ----------
    points : array of shape (n, d)
    least : int
        Rows.
    are_equal : bool, default=None
        Whether the rows are, where that is known.
    """
    n = len(points)
    if n < least:
        raise ValueError(f"n_samples={n}: the test needs at least {least} rows of X")
    if are_equal is None:
        are_equal = bool((points == points[:1]).all())
    if are_equal:
        raise ValueError(
            "all rows of X are equal: there is nothing to test, and no length scale "
            "(a chain that never moved?)"
        )


def positive_numbers(given, name):
    """A parameter that is a positive number, or a list of these, as an array."""
    try:
        numbers = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name}={given!r} must hold numbers alone") from None
    if numbers.ndim > 1 or not numbers.size:
        raise ValueError(
            f"{name} must be a number or a list of numbers, not of shape "
            f"{numbers.shape}"
        )
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise ValueError(f"{name} must hold finite numbers above 0")
    return numbers


def bases_of(
    kernel,
    length_scale,
    aggregate,
    points,
    random_state,
    names=None,
    scales_of=None,
):
    """Kernels with their length scales; one of them unless they are to be aggregated.

    Parameters
    ----------
    kernel : {"imq", "rbf"}, Kernel or list of these
    length_scale : float, "median", list of float or None
        None is the median distance for one named kernel, a collection by the size of
        the data for several tests, and a kernel object's own.
    aggregate : bool
    points : array of shape (n, d)
    random_state : int, RandomState or None
        Rows of the median.
    names : dict, default=None
        Kernel classes by their names; None for those of Stein tests.
    scales_of : callable, default=None
        ``scales_of(points, name)`` is the collection for a name; None for that of
        Stein tests.

    Returns
    -------
    list of Kernel
    """
    names = BASES if names is None else names
    scales_of = default_scales if scales_of is None else scales_of
    kernels = list(kernel) if isinstance(kernel, (list, tuple)) else [kernel]
    if not kernels:
        raise ValueError("kernel is an empty list: name at least one")
    scales, out = length_scale, []
    if scales is not None and not isinstance(scales, str):
        scales = positive_numbers(scales, "length_scale").tolist()
    for base in kernels:
        own = scales
        if isinstance(base, str):
            if base not in names:
                raise ValueError(f"kernel={base!r}: the names are {', '.join(names)}")
            if own is None:
                own = scales_of(points, base) if aggregate else "median"
            base = names[base]()
        own = own if isinstance(own, list) else [own]
        out += [
            resolve_kernel(base, points, length_scale=s, random_state=random_state)
            for s in own
        ]
    if len(out) > 1 and not aggregate:
        raise ValueError(
            f"{len(out)} kernels and length scales were given for one test: use "
            "aggregate=True, which combines them at the exact level, or name one"
        )
    return out


def default_scales(points, name=None):
    """Length scales from small to that of the data, in its own units.

    As those of Schrab, Guedj & Gretton (2022), section 4.1, whose smallest is 1 over
    the number of columns, here in units of the columns' spread.
    """
    d = points.shape[1]
    some = some_rows(points)
    from scipy.spatial.distance import pdist

    unit = float(np.sqrt(some.var(axis=0).mean()))
    unit = unit if unit > 0 else median_distance(points)
    ratio = max(float(pdist(some).max(initial=0.0)) / unit, 2.0)
    return (unit / d * ratio ** (np.arange(N_SCALES) / (N_SCALES - 1))).tolist()


def some_rows(points):
    """About 500 evenly spaced rows, on the host, float64."""
    step = max(1, len(points) // LARGEST_ROWS)
    if is_dask(points):
        from ..dask.arrays import take

        return take(points, np.arange(0, len(points), step)).astype(np.float64)
    some = points[::step]
    return np.asarray(some.get() if hasattr(some, "get") else some, dtype=np.float64)


def length_scales_of(kernels):
    """Of one kernel a number, of several a list; None where one has none."""
    out = [getattr(k, "length_scale", None) for k in kernels]
    return out[0] if len(out) == 1 else out


def correlation_of_rows(points):
    """The largest correlation of a column's successive values; None if not visible."""
    n = len(points)
    if n < LEAST_ROWS:
        return None
    X = points - points.mean(axis=0)
    scale = (X * X).sum(axis=0)
    lag = (X[1:] * X[:-1]).sum(axis=0)
    moves = scale > 0
    rho = float((lag[moves] / scale[moves]).max()) if bool(moves.any()) else 0.0
    return if_visible(rho, n)


def if_visible(rho, n):
    """A correlation of n successive rows; None where chance may have made it."""
    if n < LEAST_ROWS:
        return None
    return rho if rho > max(VISIBLE, 5.0 / np.sqrt(n)) else None


def check_chains(points, n_chains):
    """Warn of axes that look swapped, and of chains that never moved.

    Parameters
    ----------
    points : ndarray of shape (n_chains * n_draws, d)
    n_chains : int
    """
    chains = points.reshape(n_chains, -1, points.shape[1])
    if n_chains > chains.shape[1]:
        warnings.warn(
            f"X has {n_chains} chains of {chains.shape[1]} draws: its axes must be "
            "(chain, draw, n_features)",
            UserWarning,
            stacklevel=5,
        )
    still = (chains == chains[:, :1]).all(axis=(1, 2))
    if chains.shape[1] > 1 and still.any():
        warnings.warn(
            f"{int(still.sum())} of {n_chains} chains never moved, the first of them "
            f"chain {int(still.argmax())}",
            UserWarning,
            stacklevel=5,
        )


def warn_if_slow(time, n_draws):
    """Warn of chains that are too short for their autocorrelation, or do not mix."""
    if time > n_draws / FEWEST_TIMES:
        warnings.warn(
            f"the autocorrelation time is {time:.0f} of {n_draws} draws: the chains "
            "are too short, or have not mixed, and the test has little or no power "
            "(look at R-hat); a large p-value says nothing",
            UserWarning,
            stacklevel=5,
        )


def warn_if_dependent(rho, remedy):
    """Warn where successive rows are visibly alike, as those of a chain.

    Parameters
    ----------
    rho : float or None
        Of `correlation_of_rows`.
    remedy : str
    """
    if rho is not None:
        warnings.warn(
            f"successive rows of X correlate ({rho:.2f}), as draws of a chain do: the "
            f"null distribution of independent rows rejects too often; {remedy}",
            UserWarning,
            stacklevel=5,
        )
