"""Kernels of a density: what they integrate to, and draws of them."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import integrate, stats
from sklearn.metrics import pairwise_distances

from gpkern.kernels import OffDiagonal
from gpkern.kernels.density import (
    DENSITY_KERNELS,
    Exponential,
    Gaussian,
    GeneralizedGaussian,
    StudentT,
    log_sphere,
)
from gpkern.kernels.metrics import OtherMetric

KERNELS = {name: kernel() for name, kernel in DENSITY_KERNELS.items()} | {
    "student-t of 1.5": StudentT(nu=1.5),
    "power 3": GeneralizedGaussian(power=3.0),
}
each = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS.keys())


def along(kernel, distances, d):
    """Values of the kernel at some distances, in d columns."""
    rows = np.zeros((len(distances), d))
    rows[:, 0] = distances
    return kernel(rows, np.zeros((1, d)))[:, 0]


def radial(kernel, d):
    """Integrand over ``t = u / (1 + u)``, which is in (0, 1), and its end."""

    def integrand(t):
        u = t / (1.0 - t)
        value = along(kernel, np.array([u]), d)[0]
        return value * u ** (d - 1) / (1.0 - t) ** 2

    return integrand, 0.5 if kernel.is_compact else 1.0


@each
@pytest.mark.parametrize("d", [1, 2, 3, 7])
def test_integral(kernel, d):
    integrand, end = radial(kernel, d)
    whole = integrate.quad(integrand, 0.0, end, limit=400, epsabs=0, epsrel=1e-11)[0]
    got = kernel.log_integral(d)
    assert got == pytest.approx(math.log(whole) + log_sphere(d), abs=1e-9)


@each
@pytest.mark.parametrize("d", [60, 500])
def test_integral_in_many_columns(kernel, d):
    """Of the logarithms: the integrand has one narrow peak."""
    u = np.geomspace(1e-3, 1e4, 50_001)
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(along(kernel, u, d), 1e-320)) + d * np.log(u)
    if kernel.is_compact:
        logs[u >= 1.0] = -np.inf
    top = logs.max()
    whole = top + np.log(np.exp(logs - top).sum() * math.log(u[1] / u[0]))
    if top - max(logs[0], logs[-1]) < 30 or along(kernel, u, d)[logs.argmax()] < 1e-300:
        pytest.skip("the peak is beyond what float64 holds")
    assert kernel.log_integral(d) == pytest.approx(whole + log_sphere(d), abs=0.02)


@each
@pytest.mark.parametrize("d", [1, 4])
def test_draws(kernel, d):
    """Their distances against the integral of the kernel up to there."""
    drawn = kernel.radii(20_000, d, np.random.RandomState(0))
    integrand, _ = radial(kernel, d)
    for share in (0.1, 0.5, 0.9):
        u = np.quantile(drawn, share)
        inside = integrate.quad(integrand, 0.0, u / (1.0 + u), limit=400)[0]
        inside *= math.exp(log_sphere(d) - kernel.log_integral(d))
        assert abs(inside - share) < 4 * math.sqrt(share * (1 - share) / 20_000)


@each
def test_values(kernel, operator, host):
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(60, 3)), rng.normal(size=(50, 3))
    kernel = type(kernel)(**(kernel.get_params() | {"length_scale": 1.7}))
    dense = kernel(X, Z)
    V = rng.normal(size=(50, 2))
    assert_allclose(host(operator(kernel, X, Z) @ V), dense @ V, atol=1e-11)
    assert (dense >= 0).all()
    assert dense.max() <= 1
    assert kernel.diag(X) == pytest.approx(1.0)
    beyond = pairwise_distances(X, Z) >= 1.7
    if kernel.is_compact:
        assert (dense[beyond] == 0).all()
        assert (dense[~beyond] > 0).all()


def test_known_ones():
    u = np.linspace(0, 3, 7)
    assert_allclose(along(Exponential(), u, 2), np.exp(-u))
    assert_allclose(along(DENSITY_KERNELS["logistic"](), u, 1), np.cosh(u / 2) ** -2)
    assert_allclose(along(DENSITY_KERNELS["sigmoid"](), u, 1), 1 / np.cosh(u))
    t = stats.multivariate_t(np.zeros(2), np.eye(2), df=5)
    rows = np.column_stack([u, 0 * u])
    kernel = StudentT(nu=5)
    got = np.log(along(kernel, u, 2)) - kernel.log_integral(2)
    assert_allclose(got, t.logpdf(rows), rtol=1e-12)


def test_off_diagonal(operator, host):
    """Without itself, also where all else underflows."""
    X = 40.0 * np.random.default_rng(0).normal(size=(300, 3))
    distances = pairwise_distances(X, metric="sqeuclidean")
    np.fill_diagonal(distances, np.inf)
    got = host(operator(OffDiagonal(Gaussian()), X).row_logsumexp())
    expected = -0.5 * distances
    top = expected.max(axis=1)
    expected = top + np.log(np.exp(expected - top[:, None]).sum(axis=1))
    assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("metric", ["manhattan", "chebyshev"])
def test_other_metrics(metric):
    X = np.random.default_rng(0).normal(size=(20, 3))
    got = OtherMetric(Exponential(2.0), metric)(X, X[:5])
    assert_allclose(got, np.exp(-pairwise_distances(X, X[:5], metric=metric) / 2.0))
