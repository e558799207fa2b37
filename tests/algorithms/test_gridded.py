"""Gaussians summed on a grid: the bound holds, and what is allowed is kept to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gpkern import KernelDensity, _device
from gpkern.algorithms import gridded
from gpkern.algorithms.kernel_sum import KernelSum
from gpkern.kernels.density import Cauchy, Gaussian


def dense(points, weights, rows):
    squares = ((rows[:, None] - points[None]) ** 2).sum(-1)
    return np.exp(-0.5 * squares) @ weights


def drawn(n, m, d, seed, scale=3.0):
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=n)
    return (
        scale * rng.normal(size=(n, d)),
        weights / weights.sum(),
        scale * 1.5 * rng.normal(size=(m, d)),
    )


@pytest.fixture
def always(monkeypatch):
    """A grid whatever it costs."""
    monkeypatch.setattr(gridded, "PAIR", 1e12)


@pytest.mark.parametrize("target", [0.05, 1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_bound(d, target):
    points, weights, rows = drawn(40, 200, d, 0)
    made = gridded.plan(points.min(axis=0), points.max(axis=0), 40, 200, target)
    assert made.error <= target
    found = gridded.GriddedSum(points, weights, made).at(rows)
    assert abs(found - dense(points, weights, rows)).max() <= made.error


@pytest.mark.parametrize("order", [2, 4, 6])
@pytest.mark.parametrize("per_scale", [4, 8])
def test_bound_on_one_point_is_nearly_met(order, per_scale, monkeypatch):
    """At the worst place between the nodes: so it is no idle one."""
    monkeypatch.setattr(gridded, "ORDERS", (order,))
    monkeypatch.setattr(gridded, "PER_SCALE", (per_scale,))
    rows, worst = np.linspace(-3.0, 3.0, 400)[:, None], 0.0
    target = 1.5 * gridded.axis_error(20.0, 20 * per_scale, order, 10.0)
    for shift in np.linspace(0.0, 0.5, 21):
        point = np.array([[shift]])
        made = gridded.plan(np.array([-1.0]), np.array([1.0]), 1, 400, target)
        found = gridded.GriddedSum(point, np.ones(1), made).at(rows)
        worst = max(worst, abs(found - dense(point, np.ones(1), rows)).max())
    assert 0.02 * made.error < worst <= made.error


@settings(max_examples=40, deadline=None)
@given(
    d=st.integers(1, 3),
    n=st.integers(1, 300),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.0, 0.01, 1.0, 6.0]),
    atol=st.sampled_from([0.0, 1e-9, 1e-4]),
    rtol=st.sampled_from([0.0, 1e-10, 1e-4, 0.1]),
)
def test_what_is_allowed(d, n, seed, scale, atol, rtol):
    points, weights, rows = drawn(n, 60, d, seed, scale)
    rows[:3] += 50.0
    weights[: n // 3] = 0.0
    weights /= weights.sum()
    sums = KernelSum(Gaussian(), points, weights, _device.select("cpu"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gridded, "PAIR", 1e12)
        found = gridded.log_sum(sums, rows, atol, rtol)
    assert np.isfinite(found).all()
    exact = dense(points, weights, rows)
    assert (abs(np.exp(found) - exact) <= atol + rtol * exact + 1e-15).all()
    if atol == 0.0:
        assert_allclose(found, sums.log(rows), rtol=0, atol=1.01 * rtol + 1e-12)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_estimator(d, always):
    """In the units of the data, a bandwidth for each column, far from the origin."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, d)) * np.array([1.0, 30.0, 0.01])[:d] + 1e6
    Q = X[:50] + rng.normal(size=(50, d)) * np.array([1.0, 30.0, 0.01])[:d]
    exact = KernelDensity(bandwidth="scott").fit(X).score_samples(Q)
    relative = KernelDensity(bandwidth="scott", rtol=1e-3).fit(X).score_samples(Q)
    assert 0.0 < abs(np.expm1(relative - exact)).max() <= 1e-3
    allowed = 1e-3 * np.exp(exact.max())
    kde = KernelDensity(bandwidth="scott", atol=allowed).fit(X)
    assert 0.0 < abs(np.exp(kde.score_samples(Q)) - np.exp(exact)).max() <= allowed
    same = kde.set_params(algorithm="exact").score_samples(Q)
    assert_allclose(same, exact, rtol=1e-13)


def test_others_are_exact(always):
    """Four columns; another kernel; a grid that would not fit."""
    rng = np.random.default_rng(0)
    for d, kernel in ((4, "gaussian"), (2, "cauchy")):
        X = rng.normal(size=(50, d))
        plain = KernelDensity(kernel=kernel).fit(X).score_samples(X)
        kde = KernelDensity(kernel=kernel, rtol=0.1).fit(X)
        assert_allclose(kde.score_samples(X), plain, rtol=1e-14)
    assert not gridded.serves(KernelSum(Cauchy(), X, None, _device.select("cpu")))
    X = np.append(rng.normal(size=(50, 3)), [[1e9, -1e9, 1e9]], axis=0)
    plain = KernelDensity().fit(X).score_samples(X)
    assert_allclose(KernelDensity(rtol=0.1).fit(X).score_samples(X), plain, rtol=1e-14)


def test_many_threads_and_few_agree(monkeypatch):
    points, weights, _ = drawn(200_000, 1, 2, 0)
    made = gridded.plan(points.min(axis=0), points.max(axis=0), 200_000, 10, 1e-6)
    rows = points[:100]
    several = gridded.GriddedSum(points, weights, made).at(rows)
    monkeypatch.setattr(gridded.gridding.parallel, "n_threads", lambda: 1)
    one = gridded.GriddedSum(points, weights, made).at(rows)
    assert_allclose(several, one, rtol=1e-12)
