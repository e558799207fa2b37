"""Bandwidths against their definitions, and rows that are repeated."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from gpkern._device import select
from gpkern.algorithms import bandwidth, distinct
from gpkern.kernels.density import Biweight, Gaussian, StudentT

CPU = select("cpu")


def two_modes(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.where(rng.uniform(size=n) < 0.5, -4.0, 4.0) + rng.normal(size=n)


def test_covariance():
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(50, 3)), rng.uniform(size=50)
    w /= w.sum()
    expected = np.cov(X.T, aweights=w)
    assert_allclose(bandwidth.covariance(X, w), expected)
    assert_allclose(bandwidth.covariance(X, w, diagonal=True), np.diagonal(expected))


def leave_one_out(kernel, X, w):
    K = kernel(X)
    np.fill_diagonal(K, 0.0)
    integral = np.exp(kernel.log_integral(X.shape[1]))
    return (K @ w) / (1 - w) / integral / kernel.length_scale ** X.shape[1]


@pytest.mark.parametrize("kernel", [Gaussian(), StudentT(nu=2.0), Biweight()])
def test_likelihood(kernel):
    """No other bandwidth of a fine grid leaves a larger one."""
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(80, 2)), rng.uniform(0.5, 1.5, 80)
    w /= w.sum()
    best = bandwidth.cross_validated("lcv", kernel, X, w, CPU, rng)

    def likelihood(h):
        scaled = type(kernel)(**(kernel.get_params() | {"length_scale": h}))
        with np.errstate(divide="ignore"):
            return w @ np.log(leave_one_out(scaled, X, w))

    grid = best * np.geomspace(0.3, 3.0, 61)
    assert likelihood(best) > max(map(likelihood, grid)) - 1e-3


def test_squared_distance():
    """Of two normal distributions, against its definition."""
    X, w = two_modes(120)[:, None], np.full(120, 1 / 120)
    rng = np.random.RandomState(0)
    best = bandwidth.cross_validated("lscv", Gaussian(), X, w, CPU, rng)

    def criterion(h):
        square = stats.norm.pdf(X - X.T, scale=np.sqrt(2) * h).mean()
        return square - 2 * leave_one_out(Gaussian(h), X, w).mean()

    grid = best * np.geomspace(0.3, 3.0, 61)
    assert criterion(best) < min(map(criterion, grid)) + 1e-5


def test_large_samples_are_judged_at_some_rows(monkeypatch):
    X, w = two_modes(3000)[:, None], np.full(3000, 1 / 3000)
    whole = bandwidth.cross_validated("lcv", Gaussian(), X, w, CPU, None)
    monkeypatch.setattr(bandwidth, "MOST_ROWS", 600)
    rng = np.random.RandomState(0)
    some = bandwidth.cross_validated("lcv", Gaussian(), X, w, CPU, rng)
    assert some != whole
    reached = [np.log(leave_one_out(Gaussian(h), X, w)).mean() for h in (some, whole)]
    assert reached[0] == pytest.approx(reached[1], abs=0.004)  # of a flat optimum


def test_plug_in():
    """Near the best of a normal sample, and of modes far apart that of one of them."""
    w = np.full(2000, 1 / 2000)
    x = np.random.default_rng(0).normal(size=2000)
    best = 1.06 * 2000**-0.2
    assert bandwidth.plug_in(x, w) == pytest.approx(best, rel=0.15)
    apart = bandwidth.plug_in(two_modes(2000), w)
    assert apart == pytest.approx(1.06 * 1000**-0.2, rel=0.2)
    assert apart < 0.3 * 4.1 * 2000**-0.2 * 1.06
    # In the units of the data.
    assert bandwidth.plug_in(1000 * x, w) == pytest.approx(
        1000 * bandwidth.plug_in(x, w), rel=1e-6
    )


def test_plug_in_reference_value():
    """The fixed point itself, computed from the definition with exact functionals."""
    rng = np.random.default_rng(3)
    x, n = rng.normal(size=300), 300
    h = bandwidth.plug_in(x, np.full(n, 1 / n))
    # |f''|^2 of the pilot by pairs: one step of the recursion, at the fixed point.
    D = x[:, None] - x[None, :]

    def roughness(s, t):
        u = D / np.sqrt(2 * t)
        hermite = np.polynomial.hermite_e.hermeval(u, [0] * (2 * s) + [1])
        pdf = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi * 2 * t)
        return (-1) ** s * (hermite * pdf).mean() / (2 * t) ** s

    value = roughness(7, h**2)
    for s in range(6, 1, -1):
        odd = np.prod(np.arange(1, 2 * s, 2.0)) / np.sqrt(2 * np.pi)
        t = (2 * (1 + 0.5 ** (s + 0.5)) / 3 * odd / (n * value)) ** (2 / (3 + 2 * s))
        value = roughness(s, t)
    assert h**2 == pytest.approx((2 * n * np.sqrt(np.pi) * value) ** -0.4, rel=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distinct_rows(dtype, xp, asarray, host):
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(500, 3)).astype(dtype)
    X[0, 0] = -0.0
    first, place = map(host, distinct.distinct_rows(asarray(X), xp))
    assert_array_equal(X[first[place]], X)
    assert len(first) == len(np.unique(X, axis=0))
    assert (np.diff(first) > 0).all()
    assert_array_equal(place[first], np.arange(len(first)))


def test_rows_that_share_a_hash(monkeypatch):
    """Told apart all the same."""
    X = np.random.default_rng(0).integers(0, 3, size=(100, 2)).astype(float)
    monkeypatch.setattr(distinct, "_hashes", lambda bits, xp: np.zeros(100, np.uint64))
    first, place = distinct.distinct_rows(X)
    assert_array_equal(X[first[place]], X)
    assert len(first) == 9


@pytest.mark.parametrize("copies", [1.0, 0.5, 0.05, 0.0])
def test_merging_is_for_many_copies(copies, xp, asarray, host):
    """Most of few distinct rows; none where they are one in a hundred."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 2))
    many = int(20_000 * (1.0 - copies))
    X[many:] = X[rng.integers(max(many, 7), size=20_000 - many)]
    weights = rng.random(20_000)
    rows, merged, place = distinct.merged_rows(asarray(X), asarray(weights), xp)
    rows, merged = host(rows), host(merged)
    assert merged.sum() == pytest.approx(weights.sum())
    if copies < 0.5:
        assert place is None
        assert_array_equal(rows, X)
    else:
        place = host(place)
        assert len(rows) == len(np.unique(X, axis=0))
        assert_array_equal(rows[place], X)
        assert_allclose(merged, np.bincount(place, weights))
