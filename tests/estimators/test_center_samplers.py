"""Centers of a model that a sampler chooses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import (
    EigenProClassifier,
    EigenProRegressor,
    KernelRidge,
    KernelRidgeClassifier,
    KernelThinning,
)
from gpkern.algorithms import stream
from gpkern.kernels import RBF, Matern

THINNING = KernelThinning(20)
REGRESSORS = [
    KernelRidge(0.1, kernel=RBF(1.5), n_centers=THINNING, random_state=0),
    EigenProRegressor(RBF(1.5), n_centers=THINNING, random_state=0),
]
CLASSIFIERS = [
    KernelRidgeClassifier(0.1, kernel=RBF(1.5), n_centers=THINNING, random_state=0),
    EigenProClassifier(RBF(1.5), n_centers=THINNING, random_state=0),
]


def expected_failed_checks(estimator):
    reason = "rows repeated or left out are another sample to choose centers from"
    kinds = ("dense", "sparse")
    return {f"check_sample_weight_equivalence_on_{kind}_data": reason for kind in kinds}


@pytest.mark.slow
@parametrize_with_checks(
    [
        KernelRidge(kernel="rbf", n_centers=KernelThinning(), random_state=0),
        EigenProClassifier(n_centers=KernelThinning(), random_state=0),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_common_checks(estimator, check):
    check(estimator)


def centers_of(model):
    return model.X_fit_ if hasattr(model, "X_fit_") else model.centers_


@pytest.mark.parametrize("model", REGRESSORS, ids=lambda m: type(m).__name__)
def test_centers_are_the_coreset(model, friedman):
    X, y, X_test, y_test = friedman
    model = clone(model).set_params(n_centers__random_state=3).fit(X, y)
    thinning = KernelThinning(20, kernel=RBF(1.5), random_state=3).fit(X)
    assert_array_equal(centers_of(model), X[thinning.sample_indices_])
    given = clone(model).set_params(n_centers=X[thinning.sample_indices_]).fit(X, y)
    assert_allclose(model.predict(X_test), given.predict(X_test), atol=1e-6)
    assert model.score(X_test, y_test) > 0.6
    assert not hasattr(model.n_centers, "sample_indices_")  # a clone was fitted


@pytest.mark.parametrize("model", CLASSIFIERS, ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classes(model, n_classes, blobs):
    """Labels, of which there may be two, go to the sampler as class numbers."""
    X, y, X_test, y_test = blobs
    some, rest = y < n_classes, y_test < n_classes
    X, y = X[some], np.array(["a", "b", "c"])[y[some]]
    sampler = KernelThinning(30, stratify="y", random_state=0)
    model = clone(model).set_params(n_centers=sampler).fit(X, y)
    chosen = (centers_of(model)[:, None] == X).all(axis=2).argmax(axis=1)
    counts = np.unique(y[chosen], return_counts=True)[1]
    share = np.unique(y, return_counts=True)[1] / len(y)
    assert (abs(counts - 30 * share) < 1).all()
    labels = np.array(["a", "b", "c"])[y_test[rest]]
    assert model.score(X_test[rest], labels) > 0.6


@pytest.mark.parametrize("targets", [1, 2])
def test_targets(targets, friedman):
    """The regression's own targets, whatever it makes of them."""
    X, y, *_ = friedman
    Y = np.stack([y, y**2], axis=1) if targets == 2 else y
    sampler = KernelThinning(20, y_kernel="ridge", random_state=0)
    expected = clone(sampler).set_params(kernel=RBF(1.5)).fit(X, Y).sample_indices_
    for model in REGRESSORS:
        model = clone(model).set_params(n_centers=sampler).fit(X, Y)
        assert_array_equal(centers_of(model), X[expected])


def test_kernel_of_the_model_or_its_own(friedman):
    """A sampler that says nothing of a kernel takes the model's."""
    X, y, *_ = friedman

    def chosen(kernel, sampler):
        model = KernelRidge(0.1, kernel=kernel, n_centers=sampler, random_state=0)
        return model.fit(X, y).X_fit_

    plain = KernelThinning(15, random_state=0)
    own = clone(plain).set_params(length_scale="median")
    short, long = chosen(RBF(0.2), plain), chosen(RBF(5.0), plain)
    assert not np.array_equal(short, long)
    assert_array_equal(chosen(RBF(0.2), own), chosen(RBF(5.0), own))
    assert_array_equal(chosen(RBF(0.2), own), X[plain.fit(X).sample_indices_])
    assert_array_equal(chosen(lambda a, b: float(a @ b), plain), chosen(RBF(5.0), own))


def test_reproducible(friedman):
    X, y, *_ = friedman
    model = EigenProRegressor(Matern(2.0), n_centers=THINNING, random_state=0)
    first, second = (clone(model).fit(X, y).dual_coef_ for _ in "ab")
    assert_array_equal(first, second)


def test_weights(friedman):
    X, y, *_ = friedman
    w = (X[:, 0] > 0.5) * 2.0
    model = clone(REGRESSORS[0]).fit(X, y, sample_weight=w)
    assert (model.X_fit_[:, 0] > 0.5).all()


class TestParameters:
    def test_nested(self):
        model = KernelRidge(n_centers=KernelThinning(10))
        assert model.get_params()["n_centers__n_samples"] == 10
        model.set_params(n_centers__n_samples=20, n_centers__kernel=Matern())
        again = clone(model)
        assert (
            again.n_centers.n_samples == 20 and again.n_centers is not model.n_centers
        )
        assert "KernelThinning(kernel=Matern" in repr(model)
        assert "KernelThinning" in model._repr_html_()

    def test_grid_search(self, friedman):
        X, y, *_ = friedman
        search = GridSearchCV(
            REGRESSORS[0], {"n_centers__n_samples": [2, 60]}, cv=2
        ).fit(X, y)
        assert search.best_params_ == {"n_centers__n_samples": 60}
        kinds = GridSearchCV(REGRESSORS[0], {"n_centers": [2, THINNING]}, cv=2)
        assert kinds.fit(X, y).best_params_["n_centers"] is not 2  # noqa: F632


class TestLargeData:
    def test_memory_mapped(self, friedman, tmp_path):
        X, y, *_ = friedman
        np.save(tmp_path / "X.npy", X)
        mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
        for model in REGRESSORS:
            expected = centers_of(clone(model).fit(X, y))
            assert_array_equal(centers_of(clone(model).fit(mapped, y)), expected)

    @pytest.mark.slow
    def test_read_in_slices(self, monkeypatch):
        """By `partial_fit`: more rows than a block, in chunks of another size."""
        monkeypatch.setattr(stream, "BLOCK_LEVELS", 5)
        monkeypatch.setattr("gpkern.estimators._linear_prediction.CHUNK_ROWS", 700)
        X = np.random.default_rng(0).normal(size=(3000, 2))
        y = np.sin(X[:, 0]) + X[:, 1]
        for form in (None, "ridge"):
            sampler = KernelThinning(40, y_kernel=form, random_state=0)
            model = EigenProRegressor(RBF(1.0), n_centers=sampler, random_state=0)
            model.fit(Sliced(X), y)
            expected = clone(sampler).set_params(kernel=RBF(1.0)).partial_fit(X, y)
            assert_array_equal(model.centers_, X[expected.sample_indices_])
            assert model.score(X, y) > 0.95

    def test_a_sampler_without_partial_fit(self):
        X = np.random.default_rng(0).normal(size=(30, 2))
        model = EigenProRegressor(RBF(1.0), n_centers=First(5))
        with pytest.raises(ValueError, match="First: it has no partial_fit"):
            model.fit(Sliced(X), X[:, 0])

    def test_sparse(self):
        X = sparse.random_array((30, 5), density=0.5, format="csr", rng=0)
        with pytest.raises(
            TypeError, match="n_centers=KernelThinning takes dense rows"
        ):
            clone(REGRESSORS[0]).fit(X, np.arange(30.0))
        model = KernelRidge(kernel="rbf", n_centers=First(5)).fit(X, np.arange(30.0))
        assert model.X_fit_.shape == (5, 5)


class Sliced:
    """A data set that is read in slices."""

    def __init__(self, X):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, key):
        if not isinstance(key, slice):
            raise TypeError(f"only slices of rows, not {key!r}")
        return self._X[key].copy()


class First(BaseEstimator):
    """A sampler of somebody else: the first rows, one of them twice."""

    def __init__(self, size=3):
        self.size = size

    def fit(self, X, y=None):
        self.sample_indices_ = np.append(np.arange(self.size)[::-1], 0)
        return self


class Silent(BaseEstimator):
    def fit(self, X, y=None):
        return self


class TestOtherSamplers:
    def test_any(self, friedman):
        X, y, *_ = friedman
        for model in REGRESSORS:
            model = clone(model).set_params(n_centers=First(7)).fit(X, y)
            assert_array_equal(centers_of(model), X[:7])

    def test_no_rows(self, friedman):
        model = clone(REGRESSORS[0]).set_params(n_centers=Silent())
        with pytest.raises(ValueError, match="Silent: a sampler of centers must have"):
            model.fit(*friedman[:2])
        assert not [name for name in vars(model) if name.endswith("_")]

    def test_too_many(self, friedman):
        model = clone(REGRESSORS[0]).set_params(n_centers__n_samples=401)
        with pytest.raises(ValueError, match="n_samples=401 is more than X has"):
            model.fit(*friedman[:2])
        with pytest.raises(ValueError, match="n_centers"):
            KernelRidge(n_centers="many").fit(*friedman[:2])
