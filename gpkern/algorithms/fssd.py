"""The finite set Stein discrepancy: features at a few locations, and where to put them.

With the base kernel ``phi(|x - v|^2)``, the feature of a row x with score s at the
location v is the vector

    tau = (phi s + 2 phi' (x - v)) / sqrt(d J),

of mean 0 if the rows come from the density (Jitkrittum et al. 2017). All
derivatives of an objective follow from phi, phi' and phi'', which the engine gives.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from .._device import is_dask
from ..kernels.stein import BaseSlope
from ..operator import make_operator
from .feature_sums import group_size, group_sums, scored_blocks, signed_test

# Features that are worked on at a time.
CHUNK = {"cpu": 1 << 21, "cuda": 1 << 25}
# Of the squared mean of |tau|^2: keeps a variance of nearly 0 from making an objective.
FLOOR = 1e-2
# Widths that the search starts from, over the median distance (their squares go from
# 1/8 to 8), and how far from it the optimiser may go.
WIDTHS, WIDEST = 2.0 ** np.linspace(-1.5, 1.5, 5), 16.0
MOST_STEPS = 100


def slopes(base, X, V, device, order):
    """The base kernel at (X, V) and its derivatives by r up to an order, float64."""
    operator = make_operator(base, X, V, device, dtype=np.float64)
    more = (operator.with_kernel(BaseSlope(base, k + 1)) for k in range(order))
    return [op.to_dense() for op in (operator, *more)]


def features(phi, slope, X, S, V):
    """tau of shape (n, J, d)."""
    tau = phi[:, :, None] * S[:, None]
    tau += 2.0 * slope[:, :, None] * (X[:, None] - V)
    tau /= np.sqrt(V.size)
    return tau


def finite_set_test(base, points, scores, order, V, count, device, rng):
    """The squared discrepancy at locations times the rows, and its replicates.

    Parameters
    ----------
    base : Kernel
        One that a `SteinKernel` takes.
    points, scores : array of shape (n, d)
        On the device, or on the host where they are too large for it; or Dask arrays.
    order : ndarray of shape (n_test,)
        Numbers of the rows to test, shuffled, on the host.
    V : array of shape (J, d), float64
        Locations.
    count : int
    device : Device
    rng : RandomState

    Returns
    -------
    statistic : float
        ``n_test FSSD^2``, unbiased, see `signed_test`.
    replicates : ndarray of shape (count,)
        With random signs. Those that Jitkrittum et al. (2017) draw, of the limit with
        the sample's covariance, are spread too far where features are not far fewer
        than rows.
    """
    n, kind = len(order), device.name.partition(":")[0]
    height, size = CHUNK[kind] // V.size, group_size(n)

    def sums():
        if is_dask(points):
            from ..dask import feature_sums as blocked
            from ..dask import sample_rows

            own = blocked.LocationFeatures(base, V, device.workers)
            yield blocked.group_sums(own, sample_rows.stein_rows(points, scores), order)
            return
        for X, S in scored_blocks(points, scores, order, height, device):
            tau = features(*slopes(base, X, V, device, 1), X, S, V)
            yield group_sums(tau.reshape(len(X), -1), size)

    statistic, replicates = signed_test(sums(), n, V.size, count, device, rng)
    if statistic == 0 and not replicates.any():
        raise ValueError(
            "the Stein features of all rows are 0 at all locations: they are out of "
            "the kernel's reach; use a larger length_scale, or other locations"
        )
    return n * statistic, n * replicates


def gaussian_locations(points, count, xp, rng):
    """Draws of the normal distribution that is fitted to rows, shape (count, d)."""
    n = len(points)
    # Sums of centred rows with normal weights have their covariance, singular or not.
    weights = xp.asarray(rng.standard_normal((count, n)))
    X = xp.asarray(points, dtype=np.float64)
    middle = X.mean(axis=0)
    return middle + weights @ (X - middle) / np.sqrt(n - 1.0)


# ------------------------------------------------------------------ the objective


def power(base, X, S, V, device, floor, gradient=True):
    """Objective of the locations and the width: what the power grows with.

    ``FSSD^2 / sqrt(sigma^2 + floor)``, sigma^2 the variance of sqrt(n) FSSD^2 under
    the alternative (Jitkrittum et al. 2017, on optimised test parameters).

    Parameters
    ----------
    base : Kernel
        With a `length_scale`, where its derivative is to mean something.
    X, S : array of shape (n, d), float64
    V : array of shape (J, d), float64
    device : Device
    floor : float
    gradient : bool, default=True

    Returns
    -------
    value : float
    by_locations : array of shape (J, d)
    by_log_width : float
        The derivatives; only with `gradient`.
    """
    jet = slopes(base, X, V, device, 2 if gradient else 1)
    tau = features(jet[0], jet[1], X, S, V)
    value, G = _ratio(tau.reshape(len(X), -1), floor)
    if not gradient:
        return value
    return value, *_pulled_back(G.reshape(tau.shape), jet, X, S, V)


def squared_size(base, X, S, V, device):
    """Squared mean of |tau|^2, the unit of `power`'s floor."""
    tau = features(*slopes(base, X, V, device, 1), X, S, V)
    return float((tau * tau).sum() / len(X)) ** 2


def _ratio(tau, floor):
    """The objective of features (n, p), and its derivative by them."""
    n = len(tau)
    mu = tau.mean(axis=0)
    size = float(mu @ mu)
    along = tau @ mu
    fssd = (n * size - float((tau * tau).sum()) / n) / (n - 1.0)
    variance = max(4.0 * float(along @ along) / n - 4.0 * size**2, 0.0) + floor
    value = fssd / np.sqrt(variance)
    d_fssd = (2.0 * mu - 2.0 / n * tau) / (n - 1.0)
    common = (tau.T @ along) / n - 2.0 * size * mu
    d_variance = (8.0 / n) * (along[:, None] * mu + common)
    return value, d_fssd / np.sqrt(variance) - 0.5 * value / variance * d_variance


def _pulled_back(G, jet, X, S, V):
    """Derivatives by the locations and log l, from those by tau, shape (n, J, d)."""
    _, first, second = jet
    G = G / np.sqrt(V.size)
    apart = X[:, None] - V
    by_score = (G * S[:, None]).sum(axis=2)
    by_apart = (G * apart).sum(axis=2)
    # By v, r has the slope -2 (x - v).
    pull = -2.0 * first * by_score - 4.0 * second * by_apart
    by_V = (pull[:, :, None] * apart - 2.0 * first[:, :, None] * G).sum(axis=0)
    # phi is a function of r / l^2: d phi / d log l = -2 r phi', and so on.
    r = (apart * apart).sum(axis=2)
    by_width = -2.0 * r * first * by_score
    by_width -= 4.0 * (first + r * second) * by_apart
    return by_V, float(by_width.sum())


def optimal_locations(base, points, scores, V, device, fixed_width=False):
    """Locations, and a width, by which rows like these differ most from the density.

    Parameters
    ----------
    base : Kernel
        With the median distance, or another width to start from, as `length_scale`.
    points, scores : array of shape (n, d)
        A training sample.
    V : array of shape (J, d)
        Locations to start from.
    device : Device
    fixed_width : bool, default=False
        Keep the width of `base`.

    Returns
    -------
    V : array of shape (J, d), float64
        Those to start from where these rows show no difference anywhere.
    base : Kernel
        A copy with the best width.
    """
    xp = device.xp
    X, S, V = (xp.asarray(a, dtype=np.float64) for a in (points, scores, V))
    floor = FLOOR * squared_size(base, X, S, V, device)
    floor = max(floor, np.finfo(np.float64).tiny)
    width = 1.0 if fixed_width else float(base.length_scale)
    if not fixed_width:
        tried = [_of_width(base, width * factor) for factor in WIDTHS]
        values = [power(b, X, S, V, device, floor, gradient=False) for b in tried]
        base = tried[int(np.argmax(np.nan_to_num(values, nan=-np.inf)))]
    middle, spread = X.mean(axis=0), X.std(axis=0)
    spread = xp.where(spread > 0, spread, 1.0)
    low, high = (device.get(a) for a in _box(X, middle, spread))

    def unpacked(theta):
        at = xp.asarray(theta[:-1].reshape(V.shape)) * spread + middle
        own = base if fixed_width else _of_width(base, width * np.exp(theta[-1]))
        return at, own

    def loss(theta):
        at, own = unpacked(theta)
        value, by_V, by_width = power(own, X, S, at, device, floor)
        slope = np.append(device.get(by_V * spread).ravel(), by_width)
        if fixed_width:
            slope[-1] = 0.0
        return -value, -slope

    start = device.get((V - middle) / spread)
    start = np.clip(start, low, high).ravel()
    start = np.append(start, 0.0 if fixed_width else np.log(base.length_scale / width))
    bound = 0.0 if fixed_width else np.log(WIDEST)
    bounds = [*zip(np.tile(low, len(V)), np.tile(high, len(V)), strict=True)]
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[*bounds, (-bound, bound)],
        options={"maxiter": MOST_STEPS},
    )
    # Where no place shows a difference the objective is largest, 0, out of all reach.
    useful = np.isfinite(found.x).all() and found.fun < 0.0
    return unpacked(found.x if useful else start)


def _box(X, middle, spread):
    """Where locations may be, in units of the columns' spread: 1 beyond the data."""
    low, high = ((X.min(axis=0) - middle), (X.max(axis=0) - middle))
    return low / spread - 1.0, high / spread + 1.0


def _of_width(base, width):
    return type(base)(**base.get_params() | {"length_scale": float(width)})
