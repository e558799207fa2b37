"""Distributions of scipy.stats as targets."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from gpkern.targets import as_target, check_score
from gpkern.targets.distributions import SCORES

CLOSED = {
    "beta": (2.5, 4.0),
    "cauchy": (),
    "chi2": (5.0,),
    "expon": (),
    "gamma": (3.0,),
    "gumbel_l": (),
    "gumbel_r": (),
    "invgamma": (3.0,),
    "laplace": (),
    "logistic": (),
    "lognorm": (0.7,),
    "norm": (),
    "t": (4.0,),
    "uniform": (),
}
# With scores that differences have to find, and these in closed form.
OTHERS = {
    "weibull_min(1.5)": (
        stats.weibull_min(1.5),
        lambda x: 0.5 / x - 1.5 * x**0.5,
    ),
    "skewnorm(3)": (
        stats.skewnorm(3.0),
        lambda x: (
            -x + 3.0 * np.exp(stats.norm.logpdf(3 * x) - stats.norm.logcdf(3 * x))
        ),
    ),
    "hypsecant": (stats.hypsecant(), lambda x: -np.tanh(x)),
    "rayleigh": (stats.rayleigh(1.0, 2.0), lambda x: 1 / (x - 1) - (x - 1) / 4),
    "pareto(2)": (stats.pareto(2.0), lambda x: -3.0 / x),
}


@pytest.mark.parametrize("name", SCORES)
def test_closed_forms(name):
    """By differences of SciPy's own density, shifted and scaled."""
    frozen = getattr(stats, name)(*CLOSED[name], loc=-0.7, scale=2.5)
    target = as_target(frozen)
    X = target.sample(40, random_state=0)
    assert X.shape == (40, 1)
    assert check_score(target, X) < 1e-7
    assert_array_equal(target.log_density(X), frozen.logpdf(X[:, 0]))
    assert_allclose(target._differences(X), target.score(X), rtol=1e-7, atol=1e-7)
    by_name = getattr(stats, name)(*CLOSED[name], scale=2.5, loc=-0.7)
    assert_array_equal(as_target(by_name).score(X), target.score(X))
    same = pickle.loads(pickle.dumps(target))
    assert_array_equal(same.score(X), target.score(X))


@pytest.mark.parametrize("name", OTHERS)
def test_differences(name):
    frozen, score = OTHERS[name]
    target = as_target(frozen)
    X = target.sample(200, random_state=0)
    assert_allclose(target.score(X), score(X), rtol=1e-7, atol=1e-8)


def test_far_outside():
    X = np.array([[1e4], [-1e4]])
    assert_allclose(as_target(stats.norm(1, 2)).score(X), -(X - 1) / 4)
    assert_allclose(as_target(stats.t(3)).score(X), -4 * X / (3 + X**2))


def test_infinite_parameters():
    X = np.array([[0.5], [-2.0]])
    assert_allclose(as_target(stats.t(np.inf)).score(X), -X)
    for frozen in (stats.norm(np.inf), stats.norm(0.0, np.inf), stats.gamma(-1.0)):
        with pytest.raises(ValueError, match="outside of their domain"):
            as_target(frozen)


def test_moments_and_seeds():
    target = as_target(stats.gamma(3.0, scale=2.0))
    X = target.sample(20_000, random_state=0)
    assert_allclose([X.mean(), X.var()], [6.0, 12.0], rtol=0.04)
    assert_array_equal(X, target.sample(20_000, random_state=0))
    assert not target.can_refit


def test_independent_columns():
    frozen = stats.gamma([2.0, 3.0, 5.0], scale=2.0)
    target = as_target(frozen)
    X = target.sample(20, random_state=0)
    assert X.shape == (20, 3)
    assert_allclose(target.score(X), (np.array([1.0, 2.0, 4.0]) / X - 0.5))
    assert_allclose(target.log_density(X), frozen.logpdf(X).sum(axis=1))
    assert check_score(target, X) < 1e-7
    with pytest.raises(ValueError, match="X has 1 columns, and the target 3"):
        target.score(X[:, :1])
    with pytest.raises(ValueError, match=r"parameters of shape \(2, 3\)"):
        as_target(stats.norm(np.zeros((2, 3))))
    with pytest.raises(ValueError, match="outside of their domain"):
        as_target(stats.norm(0, -1))


def test_outside_of_the_support():
    message = r"2 of 4 rows, the first of them row 1, are outside of the support"
    for frozen in (stats.gamma(3.0), stats.weibull_min(1.5)):
        target = as_target(frozen)
        with pytest.raises(ValueError, match=message):
            target.score([[1.0], [-1.0], [2.0], [-3.0]])
        assert target.log_density([[-1.0]]) == -np.inf
    with pytest.raises(ValueError, match="score is NaN or infinite in 1 of 1 rows"):
        as_target(stats.gamma(3.0)).score([[0.0]])


@pytest.mark.parametrize(
    "frozen, has_edge",
    [
        (stats.norm(), False),
        (stats.gamma(3.0, loc=1e6), False),
        (stats.gamma(3.0, loc=1e8, scale=1e-3), False),
        (stats.gamma(1.5, loc=1e8, scale=1e-3), True),
        (stats.gamma(1.5), True),
        (stats.lognorm(1.0), False),
        (stats.beta(2.0, 1.0), True),
        (stats.beta(2.0, 2.0), True),
        (stats.expon(), True),
        (stats.uniform(5.0, 1.0), True),
        (stats.pareto(2.0), True),
        (stats.halfnorm(loc=-3.0), True),
        (stats.chi2([3.0, 2.0]), True),
    ],
)
def test_edges(frozen, has_edge):
    assert as_target(frozen).has_edge == has_edge


def test_multivariate_normal(asarray, host):
    C = np.array([[1.0, 0.5], [0.5, 2.0]])
    frozen = stats.multivariate_normal([1.0, -1.0], C)
    target = as_target(frozen)
    X = target.sample(50_000, random_state=0)
    assert_allclose(np.cov(X.T), C, atol=0.05)
    score = host(target.score(asarray(X)))
    assert_allclose(score, -np.linalg.solve(C, (X - frozen.mean).T).T, rtol=1e-9)
    assert_allclose(target.log_density(X), frozen.logpdf(X))
    singular = stats.multivariate_normal(cov=np.ones((2, 2)), allow_singular=True)
    with pytest.raises(ValueError, match="singular covariance: it has no density"):
        as_target(singular)


@pytest.mark.parametrize("df", [4.0, np.inf])
def test_multivariate_t(df):
    C = np.array([[1.0, 0.5], [0.5, 2.0]])
    frozen = stats.multivariate_t([1.0, -1.0], C, df=df)
    target = as_target(frozen)
    X = target.sample(50_000, random_state=0)
    assert check_score(target, X[:100]) < 1e-8
    gaps = target.log_density(X) - frozen.logpdf(X)
    assert_allclose(gaps, gaps[0], atol=1e-10)
    assert_allclose(np.median(X, axis=0), [1.0, -1.0], atol=0.03)
    reference = frozen.rvs(50_000, random_state=1)
    for quantile in (0.1, 0.9):
        own, other = (np.quantile(a, quantile, axis=0) for a in (X, reference))
        assert_allclose(own, other, atol=0.07)


def test_gaussian_kde():
    X = np.random.default_rng(0).normal(size=(100, 2)) * [1.0, 3.0]
    kde = stats.gaussian_kde(X.T, weights=np.arange(1.0, 101.0))
    target = as_target(kde)
    assert_allclose(target.log_density(X), kde.logpdf(X.T), rtol=1e-8)
    assert check_score(target, X) < 1e-8
    assert target.sample(4, random_state=0).shape == (4, 2)
    assert not target.can_refit


@pytest.mark.skipif(not hasattr(stats, "Normal"), reason="SciPy is before 1.15")
def test_new_distributions():
    target = as_target(stats.Normal(mu=[1.0, 2.0], sigma=2.0))
    X = target.sample(20, random_state=0)
    assert X.shape == (20, 2)
    assert_array_equal(X, target.sample(20, random_state=0))
    assert_allclose(target.score(X), -(X - [1.0, 2.0]) / 4.0, rtol=1e-8, atol=1e-9)
    two = stats.Mixture([stats.Normal(), stats.Normal(mu=3.0)], weights=[0.5, 0.5])
    target = as_target(two)
    assert check_score(target, target.sample(10, random_state=0)) < 1e-8
    assert not target.has_edge
    assert as_target(stats.Uniform(a=0.0, b=1.0)).has_edge
    with pytest.raises(TypeError, match="is discrete: it has no density"):
        as_target(stats.make_distribution(stats.binom)(n=3, p=0.5))


def test_users_own_distribution():
    """One that has the name of SciPy's, and another density."""

    class norm_gen(stats.rv_continuous):
        def _pdf(self, x):
            return np.exp(-0.5 * (x - 1.0) ** 2) / np.sqrt(2 * np.pi)

    X = np.array([[0.5], [2.0], [-1.0]])
    target = as_target(norm_gen(name="norm")())
    assert_allclose(target.score(X), 1.0 - X, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "distribution, message",
    [
        (stats.norm, r"not frozen: call it with its parameters"),
        (stats.multivariate_normal, "not frozen"),
        (stats.poisson(3.0), "is discrete: it has no density"),
        (stats.dirichlet([1.0, 2.0]), "multivariate_normal and multivariate_t of sc"),
        (stats.wishart(3, np.eye(2)), "multivariate_normal and multivariate_t of sc"),
    ],
)
def test_no_target(distribution, message):
    with pytest.raises(TypeError, match=message):
        as_target(distribution)
