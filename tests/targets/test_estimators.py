"""Densities of fitted estimators as targets."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity as TreeKernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, StandardScaler

from gpkern import KernelDensity
from gpkern.kernels.density import StudentT
from gpkern.targets import as_target, check_score


@pytest.fixture(scope="module")
def X():
    X = np.random.default_rng(0).normal(size=(300, 2)) * [1.0, 3.0]
    X[::3] += [4.0, 1.0]
    return X


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_mixtures(kind, covariance, X, asarray, host):
    model = kind(n_components=3, covariance_type=covariance, random_state=0)
    model = model.set_params(tol=0.1).fit(X)
    target = as_target(model)
    assert target.n_features == 2
    if kind is GaussianMixture:
        logs = host(target.log_density(asarray(X)))
        assert_allclose(logs, model.score_samples(X), rtol=1e-9)
    assert check_score(target, X) < 1e-8
    drawn = target.sample(50_000, random_state=0)
    reference = model.sample(50_000)[0]
    assert_allclose(drawn.mean(axis=0), reference.mean(axis=0), atol=0.15)
    assert_allclose(np.cov(drawn.T), np.cov(reference.T), rtol=0.05, atol=0.15)
    assert_allclose(target.score(drawn).T @ drawn / 50_000, -np.eye(2), atol=0.15)


def test_refit(X):
    model = GaussianMixture(2, random_state=0).fit(X)
    target = as_target(model)
    assert target.can_refit
    again = target.refit(X + 10.0)
    assert_allclose(again.score(X + 10.0), target.score(X), rtol=1e-5, atol=1e-5)
    assert again.can_refit
    assert again.refit(X).can_sample
    assert_array_equal(target.estimator.means_, model.means_)
    frozen = as_target(FrozenEstimator(model))
    assert not frozen.can_refit
    assert_array_equal(frozen.score(X), target.score(X))
    assert_array_equal(
        as_target(clone(FrozenEstimator(model))).score(X), target.score(X)
    )
    with pytest.raises(TypeError, match="that is not frozen"):
        frozen.refit(X)
    same = pickle.loads(pickle.dumps(target))
    assert_array_equal(same.score(X), target.score(X))


@pytest.mark.parametrize("frozen", [False, True])
def test_not_fitted(frozen):
    model = GaussianMixture()
    model = FrozenEstimator(model) if frozen else model
    with pytest.raises(NotFittedError, match=r"density=GaussianMixture .*FrozenEst"):
        as_target(model, "density")


# ------------------------------------------------------- kernel density estimates


@pytest.mark.parametrize("kernel", ["gaussian", "logistic", StudentT(nu=5)])
def test_own_kernel_density(kernel, X, asarray, host):
    model = KernelDensity(bandwidth=0.7, kernel=kernel).fit(asarray(X))
    target = as_target(model)
    score = host(target.score(asarray(X[:20])))
    assert_allclose(score, host(model.score_gradient(asarray(X[:20]))))
    assert check_score(target, asarray(X[:20])) < 1e-6
    assert target.sample(7, random_state=0).shape == (7, 2)
    assert target.can_refit
    assert not as_target(FrozenEstimator(model)).can_refit


def test_rows_on_another_device(X, asarray, host):
    """A model fitted on the CPU, and one that stays there."""
    for device in (None, "cpu"):
        target = as_target(KernelDensity(bandwidth=0.7, device=device).fit(X))
        score = host(asarray(target.score(asarray(X[:5]))))
        assert_allclose(score, target.score(X[:5]), rtol=1e-9)


@pytest.mark.parametrize("kernel", ["tophat", "cosine", "exponential"])
def test_kernels_that_are_not_smooth(kernel, X):
    with pytest.raises(
        ValueError, match=r"not smooth, or ends: its density has no score"
    ):
        as_target(KernelDensity(kernel=kernel).fit(X))
    with pytest.raises(ValueError, match=r"'gaussian' and the metric 'euclidean' al"):
        as_target(TreeKernelDensity(kernel=kernel).fit(X))
    with pytest.raises(ValueError, match="its score needs 'euclidean'"):
        as_target(KernelDensity(metric="manhattan").fit(X))


@pytest.mark.parametrize("weighted", [False, True])
def test_tree_kernel_density(weighted, X):
    weights = np.linspace(0.5, 2.0, len(X)) if weighted else None
    model = TreeKernelDensity(bandwidth=0.5).fit(X, sample_weight=weights)
    target = as_target(model)
    assert_allclose(target.log_density(X), model.score_samples(X), rtol=1e-6)
    assert check_score(target, X[:20]) < 1e-8
    far = target.score([[1e3, 0.0]])  # where its own density is 0
    assert_allclose(far, (X[X[:, 0].argmax()] - [1e3, 0.0])[None] / 0.25, rtol=1e-2)
    assert target.refit(X[:50]).best.tree_.data.shape == (50, 2)
    drawn = target.sample(20_000, random_state=0)
    mean = np.average(X, axis=0, weights=weights)
    assert_allclose(drawn.mean(axis=0), mean, atol=0.1)


# ------------------------------------------------------------------ other estimators


class Flow(BaseEstimator):
    """A normal distribution, with what a user may write."""

    def fit(self, X, y=None):
        self.mean_ = np.mean(X, axis=0)
        return self

    def score_samples(self, X):
        return -0.25 * ((X - self.mean_) ** 4).sum(axis=1)


class WithGradient(Flow):
    def score_gradient(self, X):
        return -((X - self.mean_) ** 3)

    def sample(self, n):
        rng = np.random.default_rng(0)
        return self.mean_ + rng.normal(size=(n, 2)), np.zeros(n)


def test_own_estimator(X):
    flow, better = as_target(Flow().fit(X)), as_target(WithGradient().fit(X))
    exact = -((X - X.mean(axis=0)) ** 3)
    assert_array_equal(better.score(X), exact)
    assert_allclose(flow.score(X), exact, rtol=1e-8, atol=1e-8)
    assert not flow.can_sample
    assert not flow.can_refit
    assert better.can_refit
    assert better.sample(9).shape == (9, 2)
    assert_allclose(better.refit(X + 1).score(X + 1), exact)


def test_estimator_with_random_state(X):
    class Drawing(WithGradient):
        def __init__(self, random_state=0):
            self.random_state = random_state

        def sample(self, n):
            return self.mean_ + np.random.RandomState(0).normal(size=(n, 2))

    class Seeded(Drawing):
        def sample(self, n, random_state=None):
            return random_state.normal(size=(n, 2))

    model = Drawing().fit(X)
    assert as_target(model).sample(3, random_state=1).shape == (3, 2)
    assert model.random_state == 0
    target = as_target(Seeded().fit(X))
    assert_array_equal(
        target.sample(3, random_state=1), np.random.RandomState(1).normal(size=(3, 2))
    )


def test_normal_models(X):
    for model in (PCA(1), PCA(2, whiten=True), FactorAnalysis(1)):
        target = as_target(model.fit(X))
        assert_allclose(target.log_density(X), model.score_samples(X), rtol=1e-8)
        assert check_score(target, X) < 1e-8
        assert target.refit(X).can_sample


def test_search_and_pipeline(X):
    search = GridSearchCV(TreeKernelDensity(), {"bandwidth": [0.5, 1.0]}, cv=2).fit(X)
    target = as_target(search)
    assert_array_equal(
        target.score(X[:5]), as_target(search.best_estimator_).score(X[:5])
    )
    assert target.can_refit
    assert target.refit(X).can_refit
    pipeline = make_pipeline(StandardScaler(), "passthrough", PCA(2), GaussianMixture())
    target = as_target(pipeline.fit(X))
    C = np.cov(X.T, bias=True)
    expected = np.linalg.solve(C, (X.mean(axis=0) - X).T).T
    assert_allclose(target.score(X), expected, rtol=1e-4, atol=1e-4)
    assert not target.can_sample
    for step in (PowerTransformer(), PCA(1)):
        pipeline = make_pipeline(step, GaussianMixture()).fit(X)
        with pytest.raises(TypeError, match=f"how much {type(step).__name__} changes"):
            as_target(pipeline)


def test_data_frame(X):
    frame = pd.DataFrame(X, columns=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for model in (KernelDensity(), GaussianMixture(), TreeKernelDensity()):
            target = as_target(model.fit(frame))
            assert_array_equal(target.score(frame), target.score(X))
            target.log_density(X)


def test_no_density(X):
    with pytest.raises(TypeError, match="IsolationForest: its score_samples is no log"):
        as_target(IsolationForest(n_estimators=3).fit(X))
    with pytest.raises(TypeError, match="LinearRegression has no score_samples"):
        as_target(LinearRegression().fit(X, X[:, 0]))
    with pytest.raises(TypeError, match="LinearRegression has no score_samples"):
        as_target(FrozenEstimator(LinearRegression().fit(X, X[:, 0])))
    with pytest.raises(ValueError, match="X has 3 columns, and the target 2"):
        as_target(KernelDensity().fit(X)).score(np.ones((4, 3)))
