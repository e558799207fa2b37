"""The finite set Stein discrepancy against its definition, and its derivatives."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import RBF, Matern

from gpkern._device import select
from gpkern.algorithms import fssd
from gpkern.kernels import InverseMultiquadric

BASES = {
    "rbf": RBF,
    "imq": InverseMultiquadric,
    "matern": lambda length_scale: Matern(length_scale, nu=3.5),
}


@pytest.fixture
def sample(asarray):
    """Rows, scores that are not quite theirs, and locations."""
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(40, 3)), rng.normal(size=(2, 3))
    return X, -X + 0.3 * rng.normal(size=X.shape), V


def tau_of(name, X, S, V, scale):
    """Features, written out: s k(x, v) + grad_x k(x, v)."""
    delta = X[:, None] - V
    r = (delta**2).sum(-1)
    if name == "rbf":
        k = np.exp(-r / (2 * scale**2))
        slope = -k / scale**2
    else:
        k = (1 + r / scale**2) ** -0.5
        slope = -((1 + r / scale**2) ** -1.5) / scale**2
    tau = k[:, :, None] * S[:, None] + slope[:, :, None] * delta
    return (tau / np.sqrt(V.size)).reshape(len(X), -1)


@pytest.mark.parametrize("name", ["rbf", "imq"])
def test_statistic(sample, device, asarray, name):
    X, S, V = sample
    tau = tau_of(name, X, S, V, 1.3)
    n = len(X)
    total = tau.sum(axis=0)
    want = n * (total @ total - (tau**2).sum()) / (n * (n - 1))
    got, replicates = fssd.finite_set_test(
        BASES[name](1.3),
        asarray(X),
        asarray(S),
        np.random.default_rng(1).permutation(n),
        asarray(V),
        2000,
        select(device),
        np.random.RandomState(0),
    )
    assert_allclose(got, want, rtol=1e-11)
    gram = tau @ tau.T / (n - 1)
    variance = 2 * ((gram**2).sum() - (np.diag(gram) ** 2).sum())
    assert_allclose(replicates.std(), np.sqrt(variance), rtol=0.1)
    assert abs(replicates.mean()) < 4 * np.sqrt(variance / 2000)


def test_float32_rows_are_worked_on_in_float64(sample, device, asarray):
    X, S, V = (a.astype(np.float32) for a in sample)
    test = [
        fssd.finite_set_test(
            RBF(1.3),
            asarray(X.astype(dtype)),
            asarray(S.astype(dtype)),
            np.arange(len(X)),
            asarray(V.astype(np.float64)),
            10,
            select(device),
            np.random.RandomState(0),
        )
        for dtype in (np.float32, np.float64)
    ]
    assert_allclose(test[0][0], test[1][0], rtol=1e-12)


@pytest.mark.parametrize("name", ["rbf", "imq"])
def test_power_is_that_of_the_paper(sample, device, asarray, name):
    X, S, V = sample
    tau, n = tau_of(name, X, S, V, 1.3), len(X)
    mu = tau.mean(axis=0)
    fssd2 = (((tau @ tau.T).sum()) - (tau**2).sum()) / (n * (n - 1))
    variance = 4 * ((tau @ mu) ** 2).mean() - 4 * (mu @ mu) ** 2
    args = *map(asarray, (X, S, V)), select(device)
    got = fssd.power(BASES[name](1.3), *args, 0.01, gradient=False)
    assert_allclose(got, fssd2 / np.sqrt(variance + 0.01), rtol=1e-10)


@pytest.mark.parametrize(
    "name", ["rbf", "imq", pytest.param("matern", marks=pytest.mark.slow)]
)
def test_derivatives(sample, device, asarray, host, name):
    (X, S, V), eps = sample, 1e-5

    def value(V, log_scale):
        base = BASES[name](np.exp(log_scale))
        args = *map(asarray, (X, S, V)), select(device)
        return fssd.power(base, *args, 0.01, gradient=False)

    args = *map(asarray, (X, S, V)), select(device)
    _, by_V, by_width = fssd.power(BASES[name](1.3), *args, 0.01)
    want, at = np.empty_like(V), np.log(1.3)
    for index in np.ndindex(V.shape):
        step = np.zeros_like(V)
        step[index] = eps
        want[index] = (value(V + step, at) - value(V - step, at)) / (2 * eps)
    assert_allclose(host(by_V), want, rtol=1e-6, atol=1e-9)
    slope = (value(V, at + eps) - value(V, at - eps)) / (2 * eps)
    assert_allclose(by_width, slope, rtol=1e-6)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("name", ["rbf", "imq"])
def test_optimum(device, asarray, host, name, fixed):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) * [1.0, 100.0]
    S = -(X - [0.5, 0.0]) / [1.0, 1e4]
    X, S, V = map(asarray, (X, S, X[:2] + 1.0))
    base, d = BASES[name](50.0), select(device)
    floor = fssd.FLOOR * fssd.squared_size(base, X, S, V, d)
    before = fssd.power(base, X, S, V, d, floor, gradient=False)
    V, best = fssd.optimal_locations(base, X, S, V, d, fixed)
    after = fssd.power(best, X, S, V, d, floor, gradient=False)
    assert after > before
    assert (best.length_scale == 50.0) == fixed
    assert base.length_scale == 50.0
    V, X = host(V), host(X)
    room = 1.001 * X.std(axis=0)
    assert (V - X.min(axis=0) >= -room).all()
    assert (V - X.max(axis=0) <= room).all()


def test_first_locations_are_as_the_rows(xp, asarray, host):
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.5], [0.0, 0.2]])
    X = rng.normal(size=(50, 2)) @ mix + [5.0, -3.0]
    V = fssd.gaussian_locations(asarray(X), 20_000, xp, np.random.RandomState(0))
    assert_allclose(host(V).mean(axis=0), X.mean(axis=0), atol=0.03)
    assert_allclose(np.cov(host(V).T), np.cov(X.T), atol=0.03)
