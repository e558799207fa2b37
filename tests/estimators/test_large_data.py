"""Data that is not in memory: memory-mapped, and arrays that are read in slices."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import Matern

from gpkern import EigenProClassifier, EigenProRegressor, KernelRidge

KERNEL = Matern(2.0, nu=1.5)


class Sliced:
    """The least that a data set on disk offers: shape, dtype and slices of rows."""

    def __init__(self, X):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, key):
        if not isinstance(key, slice):
            raise TypeError(f"only slices of rows, not {key!r}")
        return self._X[key].copy()


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1500, 4))
    return X, np.sin(X[:, 0]) + X[:, 1] + 0.1 * rng.normal(size=1500)


@pytest.fixture(params=["sliced", "h5py", "zarr"])
def on_disk(request, tmp_path):
    """Makes a data set that is read in slices from an array."""
    if request.param == "sliced":
        return Sliced
    module = pytest.importorskip(request.param)
    if request.param == "h5py":
        return lambda X: module.File(tmp_path / "X.h5", "w").create_dataset("X", data=X)
    return lambda X: module.array(X, chunks=(100, X.shape[1]))


class TestMemmap:
    @pytest.mark.parametrize("mode", ["r", "c", "r+"])
    def test_equals_memory(self, rows, estimator, mode, tmp_path):
        X, y = rows[0][:300], (rows[1][:300] > 0) * 1.0
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "y.npy", y)
        X_map = np.load(tmp_path / "X.npy", mmap_mode=mode)
        y_map = np.load(tmp_path / "y.npy", mmap_mode=mode)
        expected = estimator.fit(X, y).predict(X)
        coef = estimator.dual_coef_.copy()
        assert_array_equal(estimator.fit(X_map, y_map).dual_coef_, coef)
        assert_array_equal(estimator.predict(X_map), expected)
        assert_array_equal(X_map, X)

    def test_is_not_copied_as_a_whole(self, rows, tmp_path):
        X, y = rows
        np.save(tmp_path / "X.npy", X)
        X_map = np.load(tmp_path / "X.npy", mmap_mode="r")
        model = KernelRidge(kernel="rbf", n_centers=10, random_state=0).fit(X_map, y)
        assert not isinstance(model.X_fit_, np.memmap)
        model = EigenProRegressor(KERNEL, n_centers=10, random_state=0).fit(X_map, y)
        assert type(model.centers_) is np.ndarray


class TestSliced:
    def test_equals_memory(self, rows, on_disk):
        """Batches are made of runs of rows, so the draws differ."""
        X, y = rows
        options = {"n_centers": X[:100], "n_epochs": 8, "random_state": 0}
        expected = EigenProRegressor(KERNEL, **options).fit(X, y)
        model = EigenProRegressor(KERNEL, **options).fit(on_disk(X), y)
        assert model.n_features_in_ == 4
        assert abs(model.score(X, y) - expected.score(X, y)) < 0.02
        assert_allclose(model.predict(X), expected.predict(X), atol=0.3)

    @pytest.mark.parametrize("n_centers", [50, 0.1])
    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_random_centers(self, rows, on_disk, n_centers, early_stopping):
        X, y = rows
        model = EigenProRegressor(
            length_scale="median",
            n_centers=n_centers,
            n_subsamples=100,
            early_stopping=early_stopping,
            random_state=0,
        ).fit(on_disk(X), y)
        assert type(model.centers_) is np.ndarray
        assert model.centers_.shape[0] in (50, 150, 135)
        assert (model.centers_[:, None] == X[None]).all(axis=2).any(axis=1).all()
        assert model.score(X, y) > 0.9
        assert_allclose(model.predict(on_disk(X)), model.predict(X))

    def test_float32_and_integers(self, rows):
        X, y = rows
        options = {"n_centers": X[:50].astype(np.float32), "random_state": 0}
        model = EigenProRegressor(KERNEL, **options).fit(
            Sliced(X.astype(np.float32)), y
        )
        assert model.dual_coef_.dtype == np.float32
        whole = (10 * X).astype(np.int16)
        model = EigenProRegressor("rbf", n_centers=50, random_state=0)
        assert model.fit(Sliced(whole), y).dual_coef_.dtype == np.float64
        assert model.score(whole, y) > 0.9

    def test_classifier(self, rows):
        X, y = rows
        model = EigenProClassifier(
            KERNEL, n_centers=50, early_stopping=True, random_state=0
        ).fit(Sliced(X), y > 0)
        assert model.score(X, y > 0) > 0.85
        assert_allclose(
            model.predict_proba(Sliced(X)), model.predict_proba(X), atol=1e-12
        )

    def test_partial_fit(self, rows):
        X, y = rows
        model = EigenProRegressor(KERNEL, n_centers=X[:50], random_state=0)
        for i in range(0, 1500, 500):
            model.partial_fit(Sliced(X[i : i + 500]), y[i : i + 500])
        assert model.score(X, y) > 0.9

    def test_kernel_ridge(self, rows):
        X, y = rows
        options = {"kernel": "rbf", "n_centers": X[:50], "tol": 1e-12}
        model = KernelRidge(**options).fit(Sliced(X), y)
        expected = KernelRidge(**options).fit(X, y)
        assert_allclose(model.predict(Sliced(X)), expected.predict(X), atol=1e-6)

    def test_all_rows_as_centers(self, rows):
        X, y = rows
        with pytest.raises(ValueError, match="set n_centers"):
            EigenProRegressor(KERNEL).fit(Sliced(X), y)

    def test_nan_is_named_with_its_rows(self, rows):
        X, y = rows
        X = X.copy()
        X[1234, 2] = np.nan
        model = EigenProRegressor(KERNEL, n_centers=rows[0][:50], random_state=0)
        with pytest.raises(ValueError, match=r"X contains NaN.* rows (\d+) to (\d+)"):
            model.fit(Sliced(X), y)
        assert not [name for name in vars(model) if name.endswith("_")]

    @pytest.mark.parametrize(
        "X, message",
        [
            (np.zeros(5), "2-D"),
            (np.zeros((5, 0)), "non-empty"),
            (np.zeros((5, 2), complex), "real numbers"),
            (np.full((5, 2), "a"), "real numbers"),
        ],
    )
    def test_bad_arrays(self, X, message):
        with pytest.raises(ValueError, match=message):
            EigenProRegressor(n_centers=2).fit(Sliced(X), np.zeros(5))

    def test_other_columns_in_predict(self, rows):
        X, y = rows
        model = EigenProRegressor(KERNEL, n_centers=20, random_state=0).fit(X, y)
        with pytest.raises(ValueError, match="3 features"):
            model.predict(Sliced(X[:, :3]))
