"""Densities and modes at the edges: what once came out wrong, or not at all."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture

from gpkern import KDEModeFinder, KernelDensity
from gpkern.kernels.density import GeneralizedGaussian, StudentT


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "kernel",
    [
        "sigmoid",
        "logistic",
        "exponential",
        "generalized-gaussian",
        "gaussian",
        "cauchy",
    ],
)
def test_lone_rows_are_modes(kernel, dtype):
    """Also of kernels of the distance itself, whose slope by its square is a limit."""
    X = np.array([[0.0], [3.2], [3.3], [3.4]], dtype=dtype)
    finder = KDEModeFinder(0.3, kernel=kernel, random_state=0).fit(X)
    assert_allclose(np.sort(finder.modes_[:, 0])[[0, -1]], [0.0, 3.3], atol=0.02)
    assert len(set(finder.labels_[1:])) == 1 and finder.labels_[0] != finder.labels_[1]
    assert_array_equal(finder.predict(X), finder.labels_)


def lost(density, values, at, k):
    """Persistence of mode k by the density on a fine grid of one column."""
    denser = np.flatnonzero(values > values[k])
    if not len(denser):
        return 1.0
    low = []
    for j in denser:
        grid = np.linspace(at[k], at[j], 4001)
        low.append(density.score_samples(grid[:, None]).min())
    return -np.expm1(max(low) - values[k])


def test_persistence_is_that_of_the_density():
    """However far apart modes are: valleys between them are narrow."""
    rng = np.random.default_rng(1)
    parts = [rng.normal(c, s, 400) for c, s in ((0, 1), (4, 0.3), (9, 2))]
    X = np.concatenate(parts)[:, None]
    w = rng.random(1200) * (rng.random(1200) > 0.3)
    finder = KDEModeFinder(0.15, n_seeds=1200, persistence=0.0, random_state=0)
    finder.fit(X, sample_weight=w)
    values, at = finder.mode_log_density_, finder.modes_[:, 0]
    expected = [lost(finder.kde_, values, at, k) for k in range(len(at))]
    assert_allclose(finder.persistence_, expected, rtol=0.03, atol=0.002)


def known_mixture(weights, means, covariances):
    mixture = GaussianMixture(len(weights), covariance_type="full")
    mixture.weights_, mixture.means_ = np.array(weights), np.array(means)
    mixture.covariances_ = np.array(covariances)
    mixture.precisions_ = np.linalg.inv(mixture.covariances_)
    mixture.precisions_cholesky_ = np.linalg.cholesky(mixture.precisions_)
    mixture.n_features_in_, mixture.converged_ = mixture.means_.shape[1], True
    return mixture


def test_densest_mode_where_terms_cross():
    mixture = known_mixture(
        [0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], [np.diag([1.0, 0.05]), np.diag([0.05, 1])]
    )
    X, _ = mixture.sample(300)
    finder = KDEModeFinder(FrozenEstimator(mixture), random_state=0).fit(X)
    assert_allclose(finder.modes_[0], [0.952, 0.048], atol=1e-3)
    assert finder.mode_log_density_[0] == pytest.approx(-0.8162, abs=1e-4)
    assert finder.certified_gap_ <= 0.011


def test_narrow_terms_are_told_apart():
    mixture = known_mixture(
        [0.4, 0.3, 0.3], [[0.0], [0.0], [0.05]], [[[1.0]], [[1e-6]], [[1e-6]]]
    )
    finder = KDEModeFinder(mixture, random_state=0).fit([[0.0], [0.05], [1.0]])
    assert_allclose(np.sort(finder.modes_[:, 0]), [0.0, 0.05], atol=1e-6)


@pytest.mark.parametrize("power", [0.7, 1.0, 2.0, 4.0, 8.0])
def test_bound_of_kernels_that_are_not_positive_definite(power):
    kernel = GeneralizedGaussian(power=power)
    finder = KDEModeFinder(1.0, kernel=kernel).fit([[-0.5], [0.5]])
    grid = np.linspace(-2, 2, 1001)[:, None]
    assert finder.kde_.score_samples(grid).max() <= finder.upper_bound_
    assert finder.certified_gap_ >= 0.0


def test_student_of_other_columns():
    """Its exponent is that of more columns: it integrates to 1 all the same."""
    rng = np.random.default_rng(0)
    kde = KernelDensity(kernel=StudentT(nu=3.0, n_columns=9)).fit(np.zeros((1, 3)))
    wide = rng.standard_t(3, size=(200_000, 3))
    density = (2 / (np.pi * np.sqrt(3) * (1 + wide**2 / 3) ** 2)).prod(axis=1)
    integral = np.mean(np.exp(kde.score_samples(wide)) / density)
    assert integral == pytest.approx(1.0, rel=0.02)
    radii = np.linalg.norm(kde.sample(50_000, random_state=0), axis=1)
    inside = (
        np.exp(kde.score_samples(wide)) / density * (np.linalg.norm(wide, axis=1) < 1)
    )
    assert (radii < 1).mean() == pytest.approx(inside.mean(), abs=0.01)
    with pytest.raises(ValueError, match="n_columns=None"):
        KernelDensity(kernel=StudentT(nu=1.0, n_columns=1)).fit(np.zeros((2, 3))).score(
            np.zeros((1, 3))
        )


def test_float32_within_what_is_allowed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50_000, 1)).astype(np.float32)
    X[:25_000] += 4096
    Q = X[24_000:26_000] + np.float32(0.125)
    exact = KernelDensity(bandwidth=0.1).fit(X.astype(float)).score_samples(Q)
    found = KernelDensity(bandwidth=0.1, atol=1e-7).fit(X).score_samples(Q)
    assert abs(np.exp(found) - np.exp(exact)).max() <= 1e-7


def test_far_outliers_cost_no_plan():
    """More cells than anyone can have: summed exactly, at once."""
    X = np.random.default_rng(0).normal(size=(5000, 1))
    X[0] = 3e8
    found = KernelDensity(bandwidth=0.1, rtol=1e-3).fit(X).score_samples(X[1:500])
    exact = KernelDensity(bandwidth=0.1).fit(X).score_samples(X[1:500])
    assert_allclose(found, exact, rtol=1e-9)


def test_singular_covariances():
    rng = np.random.default_rng(0)
    two = rng.normal(size=(50, 2))
    for X in (
        np.repeat([[0.0, 1.0], [1.0, 0.0]], 20, axis=0),
        np.c_[two, two.sum(axis=1)],
    ):
        with pytest.raises(ValueError, match="not positive definite"):
            KernelDensity(bandwidth="normal_reference").fit(X)


def test_covariance_of_a_grid_is_symmetric():
    axes = np.linspace(0, 1, 7), np.linspace(0, 1, 9)
    X = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
    assert KernelDensity(bandwidth="normal_reference").fit(X).bandwidth_.shape == (2, 2)


@pytest.mark.parametrize("rule", ["scott", "nn", "lcv", "normal_reference"])
def test_rows_of_weight_0_have_no_part_in_rules(rule):
    Y = np.random.default_rng(0).normal(size=(200, 2))
    X, w = np.r_[Y, Y + 1e-9], np.r_[np.ones(200), np.zeros(200)]
    alone = KernelDensity(bandwidth=rule, random_state=0).fit(Y)
    both = KernelDensity(bandwidth=rule, random_state=0).fit(X, sample_weight=w)
    assert_allclose(both.bandwidth_, alone.bandwidth_, rtol=1e-10)


def test_few_positive_weights():
    X = np.random.default_rng(0).normal(size=(10_000, 2))
    w = np.zeros(10_000)
    w[:100] = 1.0
    few = KDEModeFinder(0.5, random_state=0).fit(X, sample_weight=w)
    alone = KDEModeFinder(0.5, random_state=0).fit(X[:100])
    assert_allclose(few.modes_[0], alone.modes_[0], atol=1e-6)
    KernelDensity(bandwidth="lcv", random_state=0).fit(X, sample_weight=w)


def test_many_seeds():
    X = np.random.default_rng(0).normal(size=(9000, 2))
    assert len(KDEModeFinder(0.8, n_seeds=5000, random_state=0).fit(X).modes_) >= 1


@pytest.mark.parametrize("kernel", ["gaussian", "epanechnikov", "tophat"])
def test_grid_with_outliers(kernel):
    rng = np.random.default_rng(0)
    centres = [(0, 0), (4, 0)]
    X = np.concatenate([rng.normal(c, 0.3, size=(80, 2)) for c in centres])
    X = np.r_[X, [[3e4, 3e4]]]
    finder = KDEModeFinder(
        0.5, kernel=kernel, strategy="grid", min_weight=0.1, random_state=0
    ).fit(X)
    assert_allclose(np.sort(finder.modes_[:, 0]), [0, 4], atol=0.5)


def test_bound_with_a_far_outlier():
    X = np.r_[np.random.default_rng(0).normal(size=(100, 2)), [[1e7, 1e7]]]
    finder = KDEModeFinder(1e-4, random_state=0).fit(X)
    assert finder.certified_gap_ >= 0.0


@pytest.mark.parametrize("kernel", ["gaussian", "student-t", "cauchy", "exponential"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_queries_far_out(kernel, dtype):
    X = np.random.default_rng(0).normal(size=(50, 2)).astype(dtype)
    kde = KernelDensity(kernel=kernel).fit(X)
    far = np.full((1, 2), 1e30, dtype=dtype)
    assert np.isfinite(kde.score_samples(far)).all()
    assert np.isfinite(kde.score_gradient(far)).all()
    with pytest.raises(ValueError, match="bandwidths from the mean"):
        kde.score_samples([[1e200, 0.0]])


@pytest.mark.parametrize(
    "bandwidth", [np.array(-1.0), np.array(0.0), np.array(np.nan), ["a", "b"], [1, 0]]
)
def test_bandwidths_that_are_none(bandwidth):
    with pytest.raises(ValueError, match="bandwidth"):
        KernelDensity(bandwidth=bandwidth).fit(np.eye(2))


@pytest.mark.parametrize(
    "weights", [np.full(60, np.nan), np.zeros(60), np.full(60, -1.0), np.ones(7)]
)
def test_weights_beside_a_frozen_density(weights):
    X = np.random.default_rng(0).normal(size=(60, 2))
    kde = FrozenEstimator(KernelDensity(bandwidth=0.5).fit(X))
    with pytest.raises(ValueError, match="weight"):
        KDEModeFinder(kde).fit(X, sample_weight=weights)


def test_weights_of_any_size():
    X = np.random.default_rng(0).normal(size=(60, 2))
    plain = KernelDensity().fit(X).score_samples(X)
    heavy = KernelDensity().fit(X, sample_weight=np.full(60, 1e308))
    assert_allclose(heavy.score_samples(X), plain, rtol=1e-12)
    finder = KDEModeFinder(0.5).fit(X, sample_weight=2.0)
    assert finder.basin_weight_.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("rule", ["scott", "silverman", "nn"])
def test_data_that_overflow(rule):
    X = 1e160 * np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(ValueError, match="scale X"):
        KernelDensity(bandwidth=rule).fit(X)


@pytest.mark.parametrize(
    "rule", ["scott", "silverman", "lcv", "nn", "normal_reference"]
)
def test_constant_columns(rule):
    X = np.c_[np.random.default_rng(0).normal(size=60), np.full(60, 1e6 + 0.1)]
    with pytest.raises(ValueError, match="column 1 of X, which is constant"):
        KernelDensity(bandwidth=rule).fit(X)


def test_columns_in_another_order():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=[*"ab"])
    kde = FrozenEstimator(KernelDensity(bandwidth=0.5).fit(X))
    with pytest.raises(ValueError, match="was fitted on"):
        KDEModeFinder(kde).fit(X[["b", "a"]])
