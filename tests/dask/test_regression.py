"""Regression and classification on Dask arrays, beside the same arrays in memory."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from gpkern import (
    EigenProClassifier,
    EigenProRegressor,
    KernelLogisticRegression,
    KernelRidge,
    KernelRidgeClassifier,
)

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

RIDGE = {"kernel": "rbf", "alpha": 0.1, "random_state": 0}


def make_data(n=1500, d=4):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d))
    y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.normal(size=n)
    return X, y, rng.random(n)


def blocks(array, height=400):
    return da.from_array(array, chunks=(height, *array.shape[1:]))


def labels_of(y, names):
    return np.array(names)[np.searchsorted(np.quantile(y, [0.5, 0.8]), y)]


# ------------------------------------------------------------------- kernel ridge


@pytest.mark.parametrize(
    "options, tolerance",
    [
        ({"n_centers": 100, "solver": "cholesky"}, 1e-9),
        ({"n_centers": 100, "solver": "pcg"}, 1e-7),
        ({"n_centers": 0.1, "length_scale": "median"}, 1e-7),
        ({"n_centers": 100, "gamma": "scale", "center_sampling": "leverage"}, 1e-7),
        ({"solver": "pcg"}, 1e-7),
        ({"kernel": 2.0 * RBF(0.9) + WhiteKernel(0.2), "solver": "pcg"}, 1e-7),
        ({}, 1e-9),
    ],
)
def test_kernel_ridge_is_that_of_arrays_in_memory(options, tolerance):
    X, y, weights = make_data()
    plain = KernelRidge(**RIDGE | options).fit(X, y, weights)
    model = KernelRidge(**RIDGE | options)
    model.fit(blocks(X), blocks(y, 350), blocks(weights, 700))
    assert isinstance(model.dual_coef_, np.ndarray)
    assert isinstance(model.X_fit_, np.ndarray)
    np.testing.assert_array_equal(model.X_fit_, plain.X_fit_)
    predicted = model.predict(blocks(X, 600))
    assert isinstance(predicted, da.Array) and predicted.chunks == ((600, 600, 300),)
    assert predicted.dtype == plain.predict(X).dtype
    np.testing.assert_allclose(
        predicted.compute(), plain.predict(X), rtol=tolerance, atol=tolerance
    )
    # The model is one of plain arrays, and predicts these too.
    np.testing.assert_allclose(model.predict(X), predicted.compute(), rtol=1e-12)


def test_on_a_cluster(client):
    X, y, weights = make_data()
    Y = np.column_stack([y, -2 * y])
    for options in ({"n_centers": 100, "solver": "pcg"}, {"n_centers": 100}):
        model = KernelRidge(**RIDGE | options)
        plain = clone(model).fit(X, Y, weights)
        model.fit(blocks(X), Y, weights)
        np.testing.assert_allclose(
            model.predict(blocks(X)).compute(), plain.predict(X), rtol=1e-6, atol=1e-6
        )
        assert model.score(blocks(X), blocks(Y)) == pytest.approx(plain.score(X, Y))


def test_float32_and_integers():
    X, y, _ = make_data()
    for rows in (X.astype("f4"), (4 * X).astype("i4")):
        plain = KernelRidge(n_centers=80, **RIDGE).fit(rows, y)
        model = KernelRidge(n_centers=80, **RIDGE).fit(blocks(rows), blocks(y))
        assert model.dual_coef_.dtype == plain.dual_coef_.dtype
        assert model.predict(blocks(rows)).dtype == plain.predict(rows).dtype
        np.testing.assert_allclose(
            model.predict(blocks(rows)).compute(), plain.predict(rows), atol=2e-3
        )


def test_targets_in_memory_and_rows_in_blocks_and_the_other_way_round():
    X, y, _ = make_data()
    one = KernelRidge(n_centers=50, **RIDGE).fit(blocks(X), y)
    other = KernelRidge(n_centers=50, **RIDGE).fit(X, blocks(y))
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-6, atol=1e-7)
    assert isinstance(other.predict(X), np.ndarray)


def test_data_frames():
    pd = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    X, y, _ = make_data()
    frame = pd.DataFrame(X, columns=list("abcd")).assign(y=y)
    lazy = dd.from_pandas(frame, npartitions=4)
    model = KernelRidge(n_centers=50, **RIDGE).fit(lazy[list("abcd")], lazy["y"])
    plain = KernelRidge(n_centers=50, **RIDGE).fit(frame[list("abcd")], frame["y"])
    assert model.feature_names_in_.tolist() == list("abcd")
    np.testing.assert_allclose(
        model.predict(lazy[list("abcd")]).compute(),
        plain.predict(frame[list("abcd")]),
        rtol=1e-6,
        atol=1e-7,
    )
    with pytest.raises(ValueError, match="feature names"):
        model.predict(lazy[list("bacd")])


# ---------------------------------------------------------------- classification


@pytest.mark.parametrize("names", [[0, 1, 1], ["low", "mid", "top"], [1.0, 2.0, 4.0]])
def test_kernel_ridge_classifier(names):
    X, y, weights = make_data()
    y = labels_of(y, names)
    model = KernelRidgeClassifier(kernel="rbf", n_centers=80, random_state=0)
    plain = clone(model).fit(X, y, weights)
    model.fit(blocks(X), blocks(y, 350), blocks(weights))
    assert model.classes_.tolist() == plain.classes_.tolist()
    np.testing.assert_array_equal(model.predict(blocks(X)).compute(), plain.predict(X))
    np.testing.assert_allclose(
        model.decision_function(blocks(X)), plain.decision_function(X), atol=1e-6
    )
    assert model.score(blocks(X), blocks(y)) == plain.score(X, y)


@pytest.mark.parametrize("names", [[0, 1, 1], ["low", "mid", "top"]])
@pytest.mark.parametrize("options", [{}, {"class_weight": "balanced"}])
def test_kernel_logistic_regression(names, options):
    X, y, weights = make_data(3000)
    y = labels_of(y, names)
    model = KernelLogisticRegression(n_centers=60, random_state=0, **options)
    plain = clone(model).fit(X, y, weights)
    model.fit(blocks(X), blocks(y), blocks(weights))
    assert model.n_iter_ == plain.n_iter_
    assert isinstance(model.intercept_, np.ndarray)
    np.testing.assert_allclose(
        model.predict_proba(blocks(X)), plain.predict_proba(X), rtol=1e-8, atol=1e-10
    )


def test_kernel_logistic_regression_with_all_rows_as_centers(client):
    X, y, _ = make_data(300)
    y = labels_of(y, ["a", "b", "c"])
    model = KernelLogisticRegression(class_weight={"a": 2.0}, random_state=0)
    plain = clone(model).fit(X, y)
    model.fit(blocks(X, 100), y)
    np.testing.assert_allclose(
        model.predict_log_proba(blocks(X)), plain.predict_log_proba(X), rtol=1e-10
    )


def test_eigenpro_learns_from_shuffled_blocks(scheduler):
    X, y, _ = make_data(12_000)
    order = np.argsort(X[:, 0])  # each block looks different from the others
    X, y = X[order], y[order]
    model = EigenProRegressor(n_centers=300, n_epochs=4, random_state=0)
    plain = clone(model).fit(X, y)
    model.fit(blocks(X, 2500), blocks(y, 3000))
    assert model.validation_scores_ is not None
    found, best = model.score(blocks(X), blocks(y)), plain.score(X, y)
    assert 1 - found < 1.3 * (1 - best)
    coef = model.dual_coef_.copy()
    model.set_params(warm_start=True, n_epochs=2).fit(blocks(X, 2500), blocks(y))
    assert (model.dual_coef_ != coef).any()
    assert 1 - model.score(X, y) < 1.1 * (1 - found)


def test_eigenpro_with_all_rows_as_centers_is_that_of_arrays_in_memory():
    X, y, _ = make_data()
    model = EigenProRegressor(n_epochs=2, random_state=0)
    plain = clone(model).fit(X, y)
    model.fit(blocks(X), blocks(y))
    np.testing.assert_allclose(model.predict(X), plain.predict(X), rtol=1e-12)


@pytest.mark.slow
def test_eigenpro_classifier():
    X, y, _ = make_data(12_000)
    y = labels_of(y, ["low", "mid", "top"])
    model = EigenProClassifier(n_centers=300, n_epochs=4, random_state=0)
    plain = clone(model).fit(X, y)
    model.fit(blocks(X, 2500), blocks(y, 3000))
    assert model.score(blocks(X), blocks(y)) > plain.score(X, y) - 0.01
    p = model.predict_proba(blocks(X)).compute()
    np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-6)
    # Calibrated on the rows held out.
    assert model.calibration_ is not None


def test_partial_fit_takes_blocks_in_turn():
    X, y, _ = make_data()
    lazy = EigenProRegressor(n_centers=100, random_state=0)
    plain = clone(lazy)
    lazy.partial_fit(blocks(X), blocks(y, 300))
    for a in range(0, len(X), 400):
        plain.partial_fit(X[a : a + 400], y[a : a + 400])
    np.testing.assert_allclose(lazy.predict(X), plain.predict(X), rtol=1e-12)
    labels = labels_of(y, ["a", "b", "c"])
    classifier = EigenProClassifier(n_centers=100, random_state=0)
    classifier.partial_fit(blocks(X), blocks(labels), classes=["a", "b", "c"])
    assert classifier.n_iter_ == 4


# --------------------------------------------------------------------- bad input

MODELS = [
    KernelRidge(kernel="rbf", n_centers=50, random_state=0),
    KernelRidge(kernel="rbf", n_centers=50, solver="cholesky", random_state=0),
    KernelRidge(kernel="rbf", solver="pcg", length_scale="median", random_state=0),
    EigenProRegressor(n_centers=50, random_state=0),
]


@pytest.mark.parametrize(
    "model", MODELS, ids=lambda m: type(m).__name__ + m.__repr__()[-20:]
)
def test_nan_in_one_block_is_named(model, scheduler):
    X, y, _ = make_data()
    X[900, 2] = np.nan
    model = clone(model)
    with pytest.raises(ValueError, match=r"block 2 .*rows 800 to 1199.* NaN"):
        model.fit(blocks(X), blocks(y))
    assert not hasattr(model, "dual_coef_")


def test_bad_targets_and_weights_are_named():
    X, y, weights = make_data()
    model = KernelRidge(n_centers=50, **RIDGE)
    bad = y.copy()
    bad[1300] = np.inf
    with pytest.raises(ValueError, match=r"block 3 of y .*NaN or infinity"):
        model.fit(blocks(X), blocks(bad))
    with pytest.raises(ValueError, match=r"block \d of sample_weight.*Negative"):
        model.fit(blocks(X), y, -weights)
    with pytest.raises(ValueError, match="all zeros"):
        model.fit(blocks(X), y, 0 * weights)
    with pytest.raises(
        ValueError, match=r"numbers of samples: \[1500, 1400\]: X and y"
    ):
        model.fit(blocks(X), blocks(y[:1400]))
    with pytest.raises(
        ValueError, match=r"numbers of samples: \[1500, 1400\]: X and y"
    ):
        model.fit(blocks(X), y[:1400])
    with pytest.raises(ValueError, match="numbers of samples"):
        model.fit(X, blocks(y[:1400]))
    with pytest.raises(ValueError, match=r"X has 3 features.*expecting 4"):
        model.fit(blocks(X), y).predict(blocks(X[:, :3]))


def test_unknown_sizes_and_split_columns():
    X, y, _ = make_data()
    X = blocks(X)
    model = KernelRidge(n_centers=50, **RIDGE)
    with pytest.raises(ValueError, match=r"unknown sizes.*X.compute_chunk_sizes\(\)"):
        model.fit(X[X[:, 0] > 0], y)
    with pytest.raises(ValueError, match=r"chunks across its columns.*rechunk"):
        model.fit(X.rechunk((400, 2)), y)
    with pytest.raises(ValueError, match="block 0 of y has no rows"):
        model.fit(X, da.from_array(y, chunks=((0, 1500),)))


def test_a_block_that_cannot_be_read_is_named(scheduler):
    X, y, _ = make_data()

    def read(block, block_id):
        if block_id[0] == 3:
            raise OSError("the disk is gone")
        return block

    X = da.map_blocks(read, blocks(X), dtype=X.dtype, meta=np.empty((0, 0)))
    for model in (KernelRidge(n_centers=50, **RIDGE), EigenProRegressor(n_centers=50)):
        with pytest.raises(Exception, match=r"block 3 \(rows 1200 to 1499\).*disk"):
            model.fit(X, blocks(y))


def test_rows_that_do_not_fit_are_not_gathered():
    X = da.zeros((10**7, 10**5), chunks=(10**6, 10**5))
    y = da.zeros(10**7, chunks=10**6)
    for model in (EigenProRegressor(), KernelRidge(kernel="rbf", solver="pcg")):
        with pytest.raises(MemoryError, match="set n_centers"):
            model.fit(X, y)
