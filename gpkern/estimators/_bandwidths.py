"""The `bandwidth` parameter: numbers as they are, names by what the data says."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import pairwise_distances

from ..algorithms import bandwidth as rules
from ..kernels.density import Gaussian

# Metrics that are the Euclidean one.
EUCLIDEAN = ("euclidean", "l2")
RULES = ("scott", "silverman", "normal_reference", "lcv", "lscv", "isj", "nn")


def check_metric(estimator, d):
    """An error for a metric that there is not, or that lacks a parameter."""
    metric, params = estimator.metric, estimator.metric_params
    if metric in EUCLIDEAN:
        return
    try:
        pairwise_distances(np.zeros((2, d)), metric=metric, **(params or {}))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"metric={metric!r} with metric_params={params} is "
            f"refused by sklearn.metrics.pairwise_distances: {error}"
        ) from error


def resolve_bandwidth(estimator, kernel, sample, n, rng):
    """A float, an array of shape (d,), or a matrix of shape (d, d); on the host.

    Parameters
    ----------
    estimator : KernelDensity
        Its ``bandwidth`` and ``metric`` count.
    kernel : DensityKernel
    sample : Sample or BlockedSample
        Distinct rows, where they are in memory; those of weight 0 have no part.
    n : float
        Effective number of the rows before equal ones were merged.
    rng : RandomState

    Raises
    ------
    ValueError
    """
    given, d = estimator.bandwidth, sample.rows.shape[1]
    if not isinstance(given, str):
        return _checked(given, d, estimator.metric)
    if estimator.metric not in EUCLIDEAN:
        raise ValueError(
            f"bandwidth={given!r} needs metric='euclidean', not "
            f"{estimator.metric!r}: set a number"
        )
    sample = sample.positive()
    if len(sample) < 2:
        raise ValueError(
            f"bandwidth={given!r} needs at least two distinct rows, and X has "
            f"n_samples={len(sample)} of them: set a number"
        )
    low, high = sample.extremes()
    flat = np.flatnonzero(low == high)
    if len(flat):
        raise ValueError(
            f"bandwidth={given!r} is 0 for column {flat[0]} of X, which is constant: "
            "leave it out, or set one number for each column"
        )
    if given == "normal_reference":
        return rules.silverman(n, d) ** 2 * sample.covariance(n)
    if given == "isj":
        if d != 1:
            raise ValueError(
                f"bandwidth='isj' is for one column, X has {d}: use 'lcv' or 'scott'"
            )
        _check_gaussian(kernel, given)
        return sample.plug_in()
    spread = np.sqrt(sample.covariance(n, diagonal=True))
    if not (np.isfinite(spread) & (spread > 0)).all():
        raise ValueError(f"bandwidth={given!r} overflows, or underflows, on X: scale X")
    return _factor(given, kernel, sample, n, spread, rng) * spread


def _factor(given, kernel, sample, n, spread, rng):
    """What the standard deviations are multiplied by."""
    if given in ("scott", "silverman"):
        return getattr(rules, given)(n, len(spread))
    points = sample.standardized(spread)
    if given == "nn":
        return sample.nearest(points, rng)
    if given == "lscv":
        _check_gaussian(kernel, given)
    return rules.cross_validated(
        given, kernel, points, sample.weights, sample.device, rng
    )


def _check_gaussian(kernel, given):
    if not isinstance(kernel, Gaussian):
        raise ValueError(
            f"bandwidth={given!r} is for the Gaussian kernel: use 'lcv', which takes "
            f"{type(kernel).__name__} kernels too"
        )


def _checked(given, d, metric):
    """Numbers that a user passed."""
    try:
        value = np.asarray(given, dtype=np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"bandwidth={given!r} does not hold numbers") from None
    if value.ndim == 0:
        if not 0.0 < value < np.inf:
            raise ValueError(f"bandwidth={given!r} must be a positive number")
        return float(value)
    if metric not in EUCLIDEAN:
        raise ValueError(f"bandwidth must be one number for metric={metric!r}")
    if not np.isfinite(value).all():
        raise ValueError("bandwidth holds NaN or infinity")
    if value.shape == (d,):
        flat = np.flatnonzero(~(value > 0))
        if len(flat):
            raise ValueError(
                f"bandwidth must be positive for each column, and is "
                f"{value[flat[0]]:g} for column {flat[0]}"
            )
        return value
    if value.shape != (d, d):
        raise ValueError(
            f"bandwidth has shape {value.shape}: X has {d} columns, so that it must be "
            f"a number, or of shape ({d},) or ({d}, {d})"
        )
    return value
