"""Estimators that gather the rows of a Dask array, and give results block by block."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.neural_network import MLPClassifier

from gpkern import (
    BatchSelector,
    EmpiricalNTK,
    LearnedLikelihoodRatioTest,
    NNGPFeatures,
    NTKFeatures,
    NTKSurrogateClassifier,
    ParticleMinimizer,
    SteinControlVariates,
    SteinSampler,
)

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

NORMAL = stats.multivariate_normal(np.zeros(2))


@pytest.fixture
def threads():
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(120, 2))


def blocks(A, height=50):
    return da.from_array(A, chunks=(height, *A.shape[1:]))


def assert_lazy(found, expected):
    """A Dask array in the blocks of X, of these values."""
    assert isinstance(found, da.Array) and found.chunks[0] == (50, 50, 20)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    assert_allclose(np.asarray(found), expected, rtol=1e-6, atol=1e-9)


def test_likelihood_ratio(X, scheduler):
    reference = np.random.default_rng(1).normal(size=(1500, 2))
    options = {"n_toys": 20, "n_centers": 30, "random_state": 0}
    expected = LearnedLikelihoodRatioTest(**options).fit(reference, expected=120)
    test = LearnedLikelihoodRatioTest(**options).fit(
        blocks(reference, 400), expected=120
    )
    with pytest.raises(ValueError, match="there is no batch"):
        test.score_samples(blocks(X))
    assert test.test(blocks(X)) == expected.test(X)
    assert isinstance(test.centers_, np.ndarray)
    assert_lazy(test.score_samples(blocks(X)), expected.score_samples(X))
    null = blocks(np.random.default_rng(2).normal(size=(900, 2)), 400)
    found = LearnedLikelihoodRatioTest(**options).fit(
        reference, expected=120, null=null
    )
    other = LearnedLikelihoodRatioTest(**options).fit(
        reference, expected=120, null=null.compute()
    )
    assert_allclose(found.null_distribution_, other.null_distribution_)


def test_control_variates(X, scheduler):
    y = np.cos(X)
    options = {"length_scale": 1.0, "alpha": 1e-6}
    expected = SteinControlVariates(NORMAL, **options).fit(X, y)
    mean = SteinControlVariates(NORMAL, **options).fit(blocks(X), blocks(y, 70))
    assert_allclose(mean.integral_, expected.integral_)
    assert isinstance(mean.weights_, np.ndarray)
    assert_lazy(mean.predict(blocks(X)), expected.predict(X))
    given = SteinControlVariates(**options).fit(blocks(X), y, scores=blocks(-X))
    assert_allclose(given.integral_, expected.integral_)
    for scores in (-X, blocks(-X, 70)):
        assert_lazy(given.predict(blocks(X), scores), expected.predict(X))
    with pytest.raises(ValueError, match="there is no target"):
        given.predict(blocks(X))


def test_particles(X, threads):
    options = {"max_iter": 10}
    expected = SteinSampler(NORMAL, **options).fit(X[:60])
    found = SteinSampler(NORMAL, **options).fit(blocks(X[:60]))
    assert isinstance(found.samples_, np.ndarray)
    assert_allclose(found.samples_, expected.samples_)
    options |= {"random_state": 0, "n_particles": 9}
    expected = ParticleMinimizer(**options).fit(X)
    found = ParticleMinimizer(**options).fit(blocks(X))
    assert isinstance(found.samples_, np.ndarray)
    assert_allclose(found.samples_, expected.samples_)


@pytest.mark.parametrize("features", [None, np.tanh])
def test_batches(X, threads, features):
    expected = BatchSelector(5, features=features).fit(X, X_train=X[:7])
    found = BatchSelector(5, features=features)
    found.fit(blocks(X), X_train=blocks(X[:7], 4))
    assert_allclose(found.sample_indices_, expected.sample_indices_)
    assert isinstance(found.samples_, np.ndarray)
    assert_allclose(found.samples_, expected.samples_)


@pytest.mark.parametrize("Features", [NTKFeatures, NNGPFeatures])
def test_features_of_wide_networks(X, scheduler, Features):
    features = Features(32, random_state=0).fit(blocks(X))
    assert_lazy(features.transform(blocks(X)), features.transform(X))
    for rows in (30, 500):
        estimate = features.error_estimate(X, rows)
        assert features.error_estimate(blocks(X), rows) == pytest.approx(estimate)


@pytest.fixture
def network(X):
    labels = (X[:, 0] > 0).astype(int)
    network = MLPClassifier(8, max_iter=20, random_state=0)
    with pytest.warns(UserWarning):
        return network.fit(X, labels)


def test_tangent_features(X, network, scheduler):
    kernel = EmpiricalNTK(network, kind="projected", n_projections=16)
    assert_lazy(kernel.transform(blocks(X)), kernel.transform(X))


def test_surrogate(X, network, threads):
    labels = (X[:, 0] > 0).astype(int)
    expected = NTKSurrogateClassifier(network).fit(X, labels)
    found = NTKSurrogateClassifier(network).fit(blocks(X), blocks(labels, 70))
    assert isinstance(found.X_fit_, np.ndarray)
    for method in ("predict", "predict_proba", "decision_function"):
        values = getattr(expected, method)(X)
        assert_lazy(getattr(found, method)(blocks(X)), values)
    assert found.score(blocks(X), labels) == expected.score(X, labels)


@pytest.mark.parametrize(
    "fit",
    [
        lambda X: LearnedLikelihoodRatioTest().fit(X, expected=10),
        lambda X: SteinControlVariates(NORMAL).fit(X, np.ones(120)),
        lambda X: SteinSampler(NORMAL).fit(X),
        lambda X: ParticleMinimizer().fit(X),
        lambda X: BatchSelector(3).fit(X),
        lambda X: BatchSelector(3).fit(np.ones((9, 2)), X_train=X),
    ],
)
def test_nan_in_a_block(X, threads, fit):
    X[70, 1] = np.nan
    with pytest.raises(ValueError, match=r"block 1 of X.* \(rows 50 to 99\).*NaN"):
        fit(blocks(X))


def test_rows_that_do_not_fit(threads):
    huge = da.zeros((10**12, 2), chunks=(10**9, 2))
    with pytest.raises(MemoryError, match="pass a random part of the rows"):
        LearnedLikelihoodRatioTest().fit(huge, expected=10)
