"""Rows for active learning chosen by `BatchSelector`: every kind of input."""

import pickle

import array_api_strict
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import Nystroem
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import BatchSelector, KernelRidge
from gpkern.estimators._batch_selector import METHODS
from gpkern.kernels import (
    NTK,
    RBF,
    Laplacian,
    Matern,
    WhiteKernel,
    median_distance,
)

BY_DISTANCE = ("lcmd", "maxdist", "kmeans++")


@parametrize_with_checks(
    [
        BatchSelector(0.5),
        BatchSelector(2, kernel=Matern(nu=1.5), method="bait", mode="pool"),
        BatchSelector(0.2, features=np.tanh, method="kmeans++", random_state=0),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def pool_and_train(n=300, m=20, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d))


def features_of(X):
    """A layer of fixed weights; of arrays of any library."""
    weights = np.random.default_rng(7).normal(size=(X.shape[1], 40))
    if hasattr(X, "get"):
        import cupy

        weights = cupy.asarray(weights)
    return abs(X @ weights)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_on_a_device(method, train, device, asarray, host, xp):
    """NumPy or the device's own arrays, with a kernel or features."""
    X, T = pool_and_train()
    T = T if train else None
    for params in ({"kernel": RBF(1.5)}, {"features": features_of}):
        model = BatchSelector(25, method=method, random_state=0, **params)
        there = clone(model).fit(asarray(X), X_train=None if T is None else asarray(T))
        assert isinstance(there.sample_indices_, xp.ndarray)
        rows = host(there.sample_indices_)
        assert rows.dtype == np.int64 and len(set(rows.tolist())) == 25
        assert there.mode_ == ("train-pool" if train else "pool")
        assert_array_equal(host(there.samples_), X[rows])
        moved = clone(model).set_params(device=device).fit(X, X_train=T)
        assert isinstance(moved.sample_indices_, np.ndarray)
        here = model.fit(X, X_train=T)
        assert_array_equal(rows, here.sample_indices_)
        assert_array_equal(rows, moved.sample_indices_)
        assert_allclose(moved.scores_, here.scores_, rtol=1e-6)


@pytest.mark.parametrize(
    "kernel",
    [
        Matern(1.5, nu=0.5),
        RBF([1.0, 2.0, 0.5]),
        2.0 * Laplacian(3.0) + RBF(0.5),
        NTK(2),
        RBF(1.0) + WhiteKernel(0.5),
    ],
    ids=str,
)
def test_any_kernel(kernel):
    """Against the farthest rows by its values; white noise is left out."""
    X, T = pool_and_train(80, 5)
    model = BatchSelector(20, kernel=kernel, method="maxdist").fit(X, X_train=T)
    Z = np.vstack([X, T])
    K = kernel(Z, Z)
    D = np.diagonal(K)[:, None] + np.diagonal(K) - 2.0 * K
    centres = list(range(80, 85))
    for row, score in zip(model.sample_indices_, model.scores_, strict=True):
        near = D[:80, centres].min(axis=1)
        assert near[row] > (1.0 - 1e-9) * near.max()
        assert score == pytest.approx(near[row])
        centres.append(int(row))


@pytest.mark.parametrize("params", [{"kernel": RBF(1.0)}, {"features": features_of}])
def test_maxdet_given_training_rows_is_maxdet_with_them(params):
    X, T = pool_and_train()
    model = BatchSelector(60, method="maxdet", **params)
    seeded = model.select(X, X_train=T)
    given = model.set_params(mode="pool", posterior=True).select(X, X_train=T)
    assert_array_equal(seeded, given)
    without = model.set_params(posterior=False).select(X, X_train=T)
    assert not np.array_equal(seeded, without)


@pytest.mark.parametrize("method", METHODS)
def test_training_rows_count(method):
    """Rows near them are not chosen; but for the mean of the pool, in "pool"."""
    X, T = pool_and_train(400, 200, 2)
    T = T[T[:, 0] > 0]
    share = {}
    for mode in ("train-pool", "pool"):
        model = BatchSelector(20, kernel=RBF(1.0), method=method, mode=mode)
        rows = model.set_params(random_state=0).select(X, X_train=T)
        share[mode] = (X[rows, 0] > 0.2).mean()
    assert share["train-pool"] < 0.75 * share["pool"]


@pytest.mark.parametrize("method", [*BY_DISTANCE, "frank-wolfe"])
@pytest.mark.parametrize("mode", ["pool", "train-pool"])
def test_posterior(method, mode):
    """By covariances given the training rows, written out."""
    X, T = pool_and_train(60, 8)
    model = BatchSelector(
        12, kernel=RBF(1.5), method=method, mode=mode, posterior=True, random_state=0
    ).fit(X, X_train=T)
    Z, noise = np.vstack([X, T]), 1e-3
    assert model.noise_variance_ == pytest.approx(noise)
    K, C = RBF(1.5)(Z), RBF(1.5)(Z, T)
    K -= C @ np.linalg.solve(RBF(1.5)(T) + noise * np.eye(8), C.T)
    values, Q = np.linalg.eigh(K)
    Phi = Q * np.sqrt(np.maximum(values, 0.0))
    other = BatchSelector(
        12, features="precomputed", method=method, mode=mode, random_state=0
    )
    assert_array_equal(model.sample_indices_, other.select(Phi[:60], X_train=Phi[60:]))


class TestFeatures:
    def test_ways_to_give_them(self):
        X, T = pool_and_train()
        expected = BatchSelector(15, features=features_of).select(X, X_train=T)
        for params in ({"features": "precomputed"}, {"kernel": "linear"}):
            got = BatchSelector(15, **params).select(
                features_of(X), X_train=features_of(T)
            )
            assert_array_equal(expected, got)

    def test_of_a_kernel(self):
        """All landmarks: the kernel itself."""
        X, T = pool_and_train(60, 10)
        map_ = Nystroem(gamma=0.1, n_components=70).fit(np.vstack([X, T]))
        for method in METHODS:
            rows = [
                BatchSelector(10, method=method, random_state=0, **params)
                .fit(X, X_train=T)
                .sample_indices_
                for params in ({"kernel": "rbf", "gamma": 0.1}, {"features": map_})
            ]
            assert_array_equal(*rows)

    def test_frozen(self):
        X, _ = pool_and_train()
        scaler = StandardScaler().fit(X * [1.0, 9.0, 1.0])
        model = BatchSelector(5, features=FrozenEstimator(scaler))
        expected = BatchSelector(5, features=scaler).select(X)
        assert_array_equal(clone(model).select(X), expected)
        with pytest.raises(NotFittedError, match="FrozenEstimator"):
            BatchSelector(5, features=StandardScaler()).fit(X)

    def test_of_a_data_frame(self):
        """A transformer that was fitted with names is given them."""
        X, T = (pd.DataFrame(a, columns=list("abc")) for a in pool_and_train())
        scaler = StandardScaler().fit(X)
        model = BatchSelector(5, features=scaler)
        rows = model.select(X, X_train=T)
        other = BatchSelector(5, features=lambda X: scaler.transform(pd.DataFrame(X)))
        with pytest.warns(UserWarning, match="feature names"):
            assert_array_equal(rows, other.select(X.to_numpy(), X_train=T.to_numpy()))
        with pytest.raises(ValueError, match="feature names"):
            model.fit(X, X_train=T[["b", "a", "c"]])

    @pytest.mark.parametrize(
        "features, message",
        [
            (lambda X: X[:-1], "one row for each"),
            (lambda X: X[:, 0], "one row for each"),
            (lambda X: X[:, : 1 + len(X) % 2], "3 columns|1 columns"),
            (lambda X: X * np.nan, r"features\(X\) contains NaN"),
            (lambda X: X * 1e200, "overflows"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
    def test_bad_ones(self, features, message):
        X, T = pool_and_train(300, 21)
        with pytest.raises(ValueError, match=message):
            BatchSelector(5, features=features).fit(X, X_train=T)


@pytest.mark.parametrize("method", [m for m in METHODS if m != "kmeans++"])
@pytest.mark.parametrize("params", [{"kernel": RBF(1.5)}, {"features": features_of}])
def test_order_of_rows_does_not_matter(method, params):
    X, T = pool_and_train(200, 15)
    rng = np.random.default_rng(1)
    order = rng.permutation(200)
    model = BatchSelector(20, method=method, **params)
    for train in (T, None):
        if train is None and "kernel" in params and method != "frank-wolfe":
            continue  # the first row is any: k(x, x) is 1 for all
        expected = model.select(X, X_train=train)
        mixed = None if train is None else train[rng.permutation(15)]
        assert_array_equal(order[model.select(X[order], X_train=mixed)], expected)


@pytest.mark.parametrize("method", METHODS)
def test_units_of_the_kernel_do_not_matter(method):
    """Noise is a share of k(x, x)."""
    X, T = pool_and_train()
    first, second = (
        BatchSelector(20, kernel=c * RBF(1.5), method=method, random_state=0).fit(
            X, X_train=T
        )
        for c in (1.0, 64.0)
    )
    assert_array_equal(first.sample_indices_, second.sample_indices_)
    assert second.noise_variance_ == pytest.approx(0.064)


def test_noise_is_that_of_training_rows():
    X, T = pool_and_train()
    model = BatchSelector(5, kernel="linear", noise=0.1)
    for train, rows in ((None, X), (3.0 * T, 3.0 * T)):
        expected = 0.1 * (rows**2).sum(axis=1).mean()
        assert model.fit(X, X_train=train).noise_variance_ == pytest.approx(expected)


@pytest.mark.parametrize("method", BY_DISTANCE)
def test_copies_are_chosen_last(method):
    X, T = pool_and_train(30, 4)
    X = np.vstack([X, T, X[:10]])
    model = BatchSelector(44, method=method, random_state=0).fit(X, X_train=T)
    assert_array_equal(np.sort(model.sample_indices_), np.arange(44))
    assert (model.scores_[:30] > 0).all() and (model.scores_[30:] == 0).all()
    first = model.sample_indices_[:30]
    assert (
        len(np.unique(X[first], axis=0)) == 30
        and not np.isin(first, range(30, 34)).any()
    )


@pytest.mark.parametrize("method", METHODS)
def test_one_row(method):
    for train in (None, [[0.5]]):
        model = BatchSelector(1, method=method).fit([[1.0]], X_train=train)
        assert_array_equal(model.sample_indices_, [0])
        assert np.isfinite(model.scores_).all()


@pytest.mark.parametrize(
    "params, fit, message",
    [
        ({"batch_size": 31}, {}, r"batch_size=31 is more than the pool has"),
        ({"batch_size": 0}, {}, "batch_size"),
        ({"mode": "train-pool"}, {}, "pass X_train to fit, or set mode='pool'"),
        ({"posterior": True}, {}, "pass X_train to fit, or set posterior=False"),
        ({"kernel": "rbf", "features": np.tanh}, {}, "leave kernel at None"),
        ({"features": np.tanh, "gamma": 1.0}, {}, "leave gamma at None"),
        ({"kernel": "linear", "length_scale": 1.0}, {}, "no length_scale"),
        ({"kernel": "sigmoid", "gamma": 5.0}, {}, "not positive definite"),
        ({"method": "random"}, {}, "method"),
        ({"noise": 0.0}, {}, "noise"),
        ({"device": "tpu"}, {}, "device"),
        ({}, {"X_train": [[1.0]]}, "X_train has 1 columns and X has 2"),
        ({}, {"X_train": np.empty((0, 2))}, "X_train has no rows"),
        ({}, {"X_train": [[np.nan, 0.0]]}, "X_train contains NaN"),
        ({}, {"X": np.full((30, 2), np.nan)}, "X contains NaN"),
        ({}, {"X": np.empty((0, 2))}, "0 sample"),
    ],
)
def test_errors(params, fit, message):
    model, before = BatchSelector(**params), vars(BatchSelector(**params)).copy()
    X = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match=message):
        model.fit(**{"X": X, **fit})
    assert vars(model).keys() == before.keys()


def test_a_class_is_no_transformer():
    with pytest.raises(TypeError, match="fitted instance"):
        BatchSelector(features=StandardScaler).fit(np.eye(12))


def test_sizes():
    X, _ = pool_and_train(50)
    assert len(BatchSelector().select(X)) == 10
    assert len(BatchSelector(0.5).select(X)) == 25
    assert len(BatchSelector(0.001).select(X)) == 1
    few, many = (BatchSelector(b).select(X) for b in (7, 20))
    assert_array_equal(few, many[:7])


def test_length_scales():
    X, _ = pool_and_train()
    named = BatchSelector(5, random_state=0).fit(7.0 * X)
    assert named.kernel_.length_scale == pytest.approx(median_distance(7.0 * X, 0))
    assert BatchSelector(5, gamma=0.5).fit(X).kernel_ == RBF(1.0)
    assert BatchSelector(5, kernel=RBF(3.0)).fit(X).kernel_ == RBF(3.0)
    assert BatchSelector(5, features=np.tanh).fit(X).kernel_ is None


def test_random_state():
    X, T = pool_and_train()
    a, b, c = (
        BatchSelector(20, method="kmeans++", random_state=s).select(X, X_train=T)
        for s in (0, 0, 1)
    )
    assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_input_types(tmp_path):
    X, T = pool_and_train()
    model = BatchSelector(8, kernel=RBF(1.0))
    expected = model.select(X, X_train=T)
    np.save(tmp_path / "pool.npy", X)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    for pool, train in (
        (X.tolist(), T.tolist()),
        (pd.DataFrame(X), pd.DataFrame(T)),
        (mapped, T),
    ):
        assert_array_equal(model.select(pool, X_train=train), expected)
    rows = model.select(
        array_api_strict.asarray(X), X_train=array_api_strict.asarray(T)
    )
    assert isinstance(rows, type(array_api_strict.asarray(X)))
    assert_array_equal(np.from_dlpack(rows), expected)
    model.fit(X.astype(np.float32), X_train=T)
    assert model.samples_.dtype == np.float32


def test_resample():
    X, T = pool_and_train()
    model = BatchSelector(9)
    got, labels = model.fit_resample(X, np.arange(300), X_train=T)
    assert_array_equal(got, X[model.sample_indices_])
    assert_array_equal(labels, model.sample_indices_)
    assert_array_equal(model.fit_resample(X, X_train=T), got)
    frame, series = pd.DataFrame(X), pd.Series(np.arange(300), name="c")
    got, labels = model.fit_resample(frame, series)
    assert isinstance(got, pd.DataFrame) and labels.name == "c"


def test_pickle_and_clone():
    X, T = pool_and_train()
    model = BatchSelector(9, kernel=1.5 * RBF(2.0), method="maxdet").fit(X, X_train=T)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.sample_indices_, model.sample_indices_)
    assert_array_equal(clone(model).select(X, X_train=T), model.sample_indices_)


def test_verbose(capsys):
    X, T = pool_and_train()
    BatchSelector(9, verbose=1).fit(X, X_train=T)
    expected = "[BatchSelector] 9 of 300 rows by lcmd, 20 training rows\n"
    assert capsys.readouterr().out == expected


def test_as_landmarks(friedman):
    """Rows with pivots serve as centers of kernel ridge regression."""
    X, y, X_test, y_test = friedman
    model = KernelRidge(
        kernel=RBF(1.0), alpha=0.1, n_centers=BatchSelector(60, method="maxdet")
    )
    assert model.fit(X, y).score(X_test, y_test) > 0.9


def error_after(choose, seed, rounds=4, batch=25):
    """RMSE of a regression whose training rows were chosen in batches."""

    def truth(X):
        a, b = X.T
        return np.sin(2 * a) + 0.5 * np.cos(3 * b) + 0.3 * a * b / (1 + 0.1 * a * a)

    rng, kernel = np.random.default_rng(seed), Matern(2.0, nu=2.5)
    X, X_test = rng.standard_t(4, size=(1500, 2)), rng.standard_t(4, size=(1000, 2))
    y = truth(X) + 0.05 * rng.normal(size=len(X))
    known = np.arange(batch)
    for _ in range(rounds):
        rest = np.setdiff1d(np.arange(len(X)), known)
        known = np.append(known, rest[choose(kernel, X[rest], X[known], rng)])
    model = KernelRidge(kernel=kernel, alpha=1e-2).fit(X[known], y[known])
    return np.sqrt(((model.predict(X_test) - truth(X_test)) ** 2).mean())


@pytest.mark.parametrize("method", ["lcmd", "maxdet", "kmeans++", "bait"])
def test_better_than_random(method):
    """On a pool with long tails, after four batches."""

    def by_method(kernel, pool, train, rng):
        model = BatchSelector(25, kernel=kernel, method=method, random_state=0)
        return model.select(pool, X_train=train)

    def at_random(kernel, pool, train, rng):
        return rng.choice(len(pool), 25, replace=False)

    chosen, random = (
        np.mean([error_after(choose, seed) for seed in range(3)])
        for choose in (by_method, at_random)
    )
    assert chosen < 0.75 * random


@pytest.mark.slow
@pytest.mark.parametrize("params", [{"kernel": RBF(3.0)}, {"features": features_of}])
@pytest.mark.parametrize("method", METHODS)
def test_large_pool(method, params):
    """20,000 rows: all different, and farther apart than random ones."""
    X, T = pool_and_train(20_000, 500, 10)
    size = 64 if method == "bait-fb" else 256
    model = BatchSelector(size, method=method, random_state=0, **params)
    rows = model.select(X, X_train=T)
    assert len(np.unique(rows)) == size
    if method in ("maxdet", "bait", *BY_DISTANCE):
        random = np.random.default_rng(0).choice(20_000, size, replace=False)
        volume = [
            np.linalg.slogdet(RBF(3.0)(X[some]) + 1e-3 * np.eye(size))[1]
            for some in (rows, random)
        ]
        assert volume[0] > volume[1]
