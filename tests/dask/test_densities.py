"""`KernelDensity` and `KDEModeFinder` of Dask arrays, beside those of NumPy."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture

from gpkern import KDEModeFinder, KernelDensity, KernelOperator
from gpkern.estimators import _density_blocks
from gpkern.kernels.density import (
    Biweight,
    Cauchy,
    Epanechnikov,
    Gaussian,
    StudentT,
    Tophat,
)

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
samples = pytest.importorskip("gpkern.dask.samples")


@pytest.fixture
def in_blocks(monkeypatch):
    """Samples stay in blocks, however few rows they have."""
    monkeypatch.setattr(_density_blocks, "MOST_GATHERED", 0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def data(rng):
    """A sample, queries near and far, and weights, one of them 0."""
    X = rng.normal(size=(330, 2)) * [1.0, 30.0] + [5.0, 100.0]
    Q = np.concatenate([X[:20] + 0.1, X[:3] + 40.0])
    weights = rng.uniform(0.5, 2.0, 330)
    weights[7] = 0.0
    return X, Q, weights


@pytest.fixture
def blobs():
    return make_blobs(600, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)[0]


def blocks(array, height=100):
    return da.from_array(array, chunks=(height, *array.shape[1:]))


def close(found, expected, tolerance=1e-12):
    assert found.shape == expected.shape
    found = np.asarray(found)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- the operator


@pytest.mark.parametrize("kernel", [Gaussian(0.4), StudentT(), Biweight(0.7)])
def test_means_over_blocks_of_columns(kernel, rng):
    X, Z, V = (rng.normal(size=(n, 3)) for n in (30, 250, 250))
    log_weights = rng.normal(size=250)
    log_weights[100:200] = -np.inf  # all of one block
    for rows, given in ((X, X), (blocks(X, 13), X), (blocks(Z, 90), Z)):
        for weights in (None, log_weights):
            K, plain = (
                KernelOperator(kernel, rows, blocks(Z)),
                KernelOperator(kernel, given, Z),
            )
            found = K.row_mean_shift(weights)
            assert isinstance(found, da.Array) == isinstance(rows, da.Array)
            close(found, plain.row_mean_shift(weights))
            close(K.row_mean_shift(weights, V), plain.row_mean_shift(weights, V))
            if isinstance(kernel, Biweight):
                continue  # has rows without any column
            close(K.row_softmax(V, weights), plain.row_softmax(V, weights))
            slopes = plain.row_logsumexp_gradient(weights)
            close(K.row_logsumexp_gradient(weights), slopes)
            bends = plain.row_logsumexp_hessian(weights)
            close(K.row_logsumexp_hessian(weights), bends, 1e-10)


def test_rows_far_from_some_blocks(rng):
    """Of sums that underflow, the blocks that are nearest count."""
    Z = np.concatenate([rng.normal(size=(50, 2)) + s for s in (0.0, 100.0, 1000.0)])
    X = np.array([[0.0, 0.0], [100.0, 99.0], [400.0, 400.0], [3000.0, 0.0]])
    K, plain = (
        KernelOperator(Gaussian(), X, blocks(Z, 50)),
        KernelOperator(Gaussian(), X, Z),
    )
    close(K.row_mean_shift(), plain.row_mean_shift())
    close(K.row_softmax(Z), plain.row_softmax(Z), 1e-9)
    close(K.row_logsumexp_gradient(), plain.row_logsumexp_gradient(), 1e-9)
    # A row between blocks: the covariance of their slopes is most of it.
    X = np.array([[50.0, 50.0]])
    plain = KernelOperator(Gaussian(20.0), X, Z).row_logsumexp_hessian()
    close(
        KernelOperator(Gaussian(20.0), X, blocks(Z, 50)).row_logsumexp_hessian(), plain
    )


def test_rows_that_no_slope_moves(rng):
    X, Z = np.array([[0.1, 0.0], [50.0, 0.0]]), rng.normal(size=(60, 2))
    K = KernelOperator(Epanechnikov(), X, blocks(Z, 20))
    found = K.row_mean_shift()
    assert (found[1] == X[1]).all() and (found[0] != X[0]).all()
    assert np.isnan(K.row_mean_shift(None, Z)[1]).all()
    with pytest.raises(ValueError, match="positive kernel value"):
        K.row_softmax(Z)
    lazy = KernelOperator(Epanechnikov(), blocks(X, 1), blocks(Z, 20)).row_softmax(Z)
    with pytest.raises(ValueError, match="positive kernel value"):
        np.asarray(lazy)
    # One block has nothing for a row, another has.
    Z = np.array([[0.0, 0.0], [50.2, 0.0]])
    found = KernelOperator(Epanechnikov(), X, blocks(Z, 1)).row_softmax(Z)
    close(found, Z)


# --------------------------------------------------------------------- densities


@pytest.mark.parametrize("bandwidth", [3.0, [0.5, 9.0], "scott", "silverman"])
@pytest.mark.parametrize("kernel", [Gaussian(), Cauchy(), Tophat(), Epanechnikov()])
@pytest.mark.parametrize("weighted", [False, True])
def test_sample_in_blocks(bandwidth, kernel, weighted, data, in_blocks):
    X, Q, weights = data
    weights = weights if weighted else None
    given = blocks(weights, 50) if weighted and bandwidth == 3.0 else weights
    plain = KernelDensity(bandwidth=bandwidth, kernel=kernel)
    plain.fit(X, sample_weight=weights)
    kde = KernelDensity(bandwidth=bandwidth, kernel=kernel)
    kde.fit(blocks(X), sample_weight=given)
    close(np.asarray(kde.bandwidth_), np.asarray(plain.bandwidth_))
    assert kde.n_effective_ == pytest.approx(plain.n_effective_, rel=1e-12)
    assert kde.n_samples_ == kde.n_distinct_ == 330
    for method in ("score_samples", "score_gradient"):
        expected = getattr(plain, method)(Q)
        found = getattr(kde, method)(Q)
        assert isinstance(found, np.ndarray) and found.dtype == np.float64
        close(found, expected)
        lazy = getattr(kde, method)(blocks(Q, 9))
        assert isinstance(lazy, da.Array) and lazy.chunks[0] == (9, 9, 5)
        close(lazy, expected)
    near = Q[:3]
    assert kde.score(blocks(near, 2)) == pytest.approx(plain.score(near), rel=1e-12)
    loo = kde.loo_score_samples()
    assert isinstance(loo, da.Array)
    close(loo, plain.loo_score_samples())
    close(kde.sample(50, random_state=1), plain.sample(50, random_state=1))


def test_on_a_scheduler(scheduler, data, in_blocks):
    X, Q, weights = data
    plain = KernelDensity(bandwidth="silverman").fit(X, sample_weight=weights)
    for kde in (
        KernelDensity(bandwidth="silverman").fit(blocks(X), sample_weight=weights),
        pickle.loads(pickle.dumps(plain)),
    ):
        close(kde.score_samples(Q), plain.score_samples(Q))
        close(kde.score_samples(blocks(Q, 9)), plain.score_samples(Q))
        close(kde.score_gradient(blocks(Q, 9)), plain.score_gradient(Q))
        assert kde.score(blocks(Q, 9)) == pytest.approx(plain.score(Q), rel=1e-12)


def test_matrix_bandwidths(data, in_blocks):
    X, Q, weights = data
    plain = KernelDensity(bandwidth="normal_reference").fit(X, sample_weight=weights)
    kde = KernelDensity(bandwidth="normal_reference")
    kde.fit(blocks(X), sample_weight=weights)
    close(kde.bandwidth_, plain.bandwidth_)
    close(kde.score_gradient(Q), plain.score_gradient(Q))


def test_float32(data, in_blocks):
    X, Q, _ = (a.astype(np.float32) for a in data)
    plain, kde = KernelDensity().fit(X), KernelDensity().fit(blocks(X))
    assert kde._points.dtype == np.float32
    close(kde.score_samples(Q), plain.score_samples(Q), 1e-5)
    close(kde.score_samples(blocks(Q, 9)), plain.score_samples(Q), 1e-5)
    assert KernelDensity(rtol=0.1).fit(blocks(X))._points.dtype == np.float64
    with pytest.raises(ValueError, match=r"block [0-2] of X.*float64"):
        np.asarray(kde.score_samples(blocks(1e18 * Q, 9)))


@pytest.mark.parametrize("rule", ["lcv", "lscv", "nn", "isj"])
def test_rules_by_the_data(rule, data, in_blocks):
    """Where few rows are judged at all of them, as in memory."""
    X = data[0][:, :1] if rule == "isj" else data[0]
    plain = KernelDensity(bandwidth=rule).fit(X)
    kde = KernelDensity(bandwidth=rule, random_state=0).fit(blocks(X))
    close(np.asarray(kde.bandwidth_), np.asarray(plain.bandwidth_), 1e-6)


@pytest.mark.parametrize("rule", ["lcv", "lscv", "nn"])
def test_rules_at_sampled_rows(rule, rng, in_blocks, monkeypatch):
    """Given the same rows to judge at."""

    def drawn(weights, count, rng):
        share = np.asarray(weights)
        return np.sort(rng.choice(len(share), count, replace=False, p=share))

    def some_of(n, most, rng):
        return np.sort(rng.choice(n, most, replace=False))

    X = rng.normal(size=(900, 2))
    monkeypatch.setattr(samples.rules, "MOST_ROWS", 400)
    plain = KernelDensity(bandwidth=rule, random_state=0).fit(X)
    other = KernelDensity(bandwidth=rule, random_state=0).fit(blocks(X, 350))
    again = KernelDensity(bandwidth=rule, random_state=0).fit(blocks(X, 350))
    assert other.bandwidth_[0] != plain.bandwidth_[0]
    np.testing.assert_array_equal(other.bandwidth_, again.bandwidth_)
    monkeypatch.setattr(samples, "drawn", drawn)
    monkeypatch.setattr(samples, "some_of", some_of)
    kde = KernelDensity(bandwidth=rule, random_state=0).fit(blocks(X, 350))
    close(kde.bandwidth_, plain.bandwidth_, 1e-6)


def test_rows_are_drawn_by_weight():
    weights = np.repeat([0.0, 1.0, 3.0], 100)
    weights = blocks(weights / weights.sum(), 80)
    counts = np.zeros(300)
    for seed in range(200):
        rows = samples.drawn(weights, 20, np.random.RandomState(seed))
        assert len(np.unique(rows)) == 20 and (np.diff(rows) > 0).all()
        counts[rows] += 1
    low, middle, high = counts.reshape(3, 100).sum(axis=1)
    # Of 4,000 draws without putting back, a little less than 3,000; 5 deviations.
    assert low == 0 and abs(high - 2925) < 140 and middle == 4000 - high
    few = samples.drawn(weights, 250, np.random.RandomState(0))
    assert len(few) == 200 and few[0] == 100
    rows = samples.picked(weights, np.array([0.0, 0.2499, 0.2501, 0.999999]))
    assert rows.tolist() == [100, 199, 200, 299]


def test_few_rows_are_gathered(data):
    X, Q, weights = data
    X = np.concatenate([X, X[:100]])  # merged, as only in memory
    weights = np.append(weights, weights[:100])
    for given in (weights, blocks(weights, 50)):
        plain = KernelDensity(bandwidth="lcv").fit(X, sample_weight=weights)
        kde = KernelDensity(bandwidth="lcv").fit(blocks(X), sample_weight=given)
        assert kde.n_distinct_ == plain.n_distinct_ == 330
        np.testing.assert_array_equal(kde.score_samples(Q), plain.score_samples(Q))
        loo = kde.loo_score_samples()
        assert isinstance(loo, da.Array) and loo.chunks[0] == (100, 100, 100, 100, 30)
        np.testing.assert_array_equal(np.asarray(loo), plain.loo_score_samples())


def test_diagnosis(data, in_blocks):
    X, Q, weights = data
    plain = KernelDensity(bandwidth="scott").fit(X, sample_weight=weights)
    kde = KernelDensity(bandwidth="scott").fit(blocks(X), sample_weight=weights)
    for rows, given in ((None, None), (Q, Q), (blocks(Q, 9), Q)):
        found, expected = kde.diagnose(rows), plain.diagnose(given)
        close(found.effective_number, expected.effective_number, 1e-10)
        assert found.ratio == pytest.approx(expected.ratio, rel=1e-10)
        assert str(found) == str(expected)
    kde = KernelDensity().fit(blocks(np.tile(X, (4, 1)), 300))
    assert kde.diagnose().effective_number.shape == (1000,)


@pytest.mark.parametrize("gather", [False, True])
def test_nan_in_a_block(gather, data, monkeypatch):
    X, _, weights = data
    if not gather:
        monkeypatch.setattr(_density_blocks, "MOST_GATHERED", 0)
    bad = X.copy()
    bad[250, 1] = np.nan
    with pytest.raises(ValueError, match=r"block 2 .*rows 200 to 299.*NaN"):
        KernelDensity().fit(blocks(bad))
    for kde in (KernelDensity().fit(blocks(X)), KernelDensity().fit(X)):
        for method in (kde.score_samples, kde.score_gradient):
            lazy = method(blocks(bad))
            with pytest.raises(
                ValueError, match=r"block 2 of X .*rows 200 to 299.*NaN"
            ):
                lazy.compute()
    weights[110] = np.nan
    given = blocks(weights)
    with pytest.raises(ValueError, match=r"block 1 of sample_weight.*NaN"):
        KernelDensity().fit(blocks(X), sample_weight=given)


def test_what_is_refused(data, in_blocks):
    X = data[0]
    with pytest.raises(ValueError, match=r"metric='manhattan'.*X\.compute\(\)"):
        KernelDensity(metric="manhattan").fit(blocks(X))
    with pytest.raises(ValueError, match="column 1 of X, which is constant"):
        KernelDensity(bandwidth="scott").fit(blocks(X * [1.0, 0.0]))
    with pytest.raises(ValueError, match=r"'nn' is 0.*copies"):
        KernelDensity(bandwidth="nn").fit(blocks(np.tile(X, (2, 1))))
    with pytest.raises(ValueError, match=r"lscv.*Gaussian kernel"):
        KernelDensity(bandwidth="lscv", kernel="cauchy").fit(blocks(X))
    with pytest.raises(ValueError, match=r"3 features.*2 features"):
        KernelDensity().fit(blocks(X)).score_samples(np.ones((2, 3)))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KernelDensity().fit(blocks(X), sample_weight=np.ones(5))


def test_a_sample_in_blocks_is_read_once_a_call(data, in_blocks):
    X, Q, _ = data
    read = []

    def load(part):
        read.append(len(part))
        return part

    with dask.config.set(scheduler="synchronous"):
        kde = KernelDensity(bandwidth="scott")
        kde.fit(blocks(X).map_blocks(load, meta=np.empty((0, 0))))
        assert sum(read) == len(X)
        for method in (kde.score_samples, kde.score_gradient):
            read.clear()
            np.asarray(method(blocks(Q, 9)))
            assert sum(read) == len(X)


# ------------------------------------------------------------------------- modes


def like(found, expected):
    close(found.modes_, expected.modes_, 1e-7)
    close(found.mode_log_density_, expected.mode_log_density_, 1e-10)
    close(found.persistence_, expected.persistence_, 1e-7)
    if expected.kde_.kernel != "epanechnikov":
        bends = expected.mode_hessian_eigvals_
        close(found.mode_hessian_eigvals_, bends, 1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"kde": 0.6, "kernel": "cauchy"},
        {"kde": 1.2, "kernel": "epanechnikov", "strategy": "grid"},
        {"kde": 0.7, "strategy": "project", "n_components": 1, "n_projections": 2},
    ],
)
def test_modes_of_a_sample_in_blocks(params, blobs, in_blocks):
    params = {"n_seeds": 30, "assign": "nearest", "random_state": 0, **params}
    plain = KDEModeFinder(**params).fit(blobs)
    finder = KDEModeFinder(**params).fit(blocks(blobs, 250))
    like(finder, plain)
    for found in (finder.labels_, finder.predict(blocks(blobs, 90))):
        assert isinstance(found, da.Array)
        np.testing.assert_array_equal(np.asarray(found), plain.labels_)
    np.testing.assert_array_equal(finder.predict(blobs[:9]), plain.labels_[:9])
    close(finder.basin_weight_, plain.basin_weight_)
    assert finder.upper_bound_ == pytest.approx(plain.upper_bound_, abs=1e-6)


def test_modes_on_a_scheduler(scheduler, blobs, in_blocks):
    params = {"n_seeds": 16, "assign": "nearest", "random_state": 0, "kde": 1.0}
    plain = KDEModeFinder(**params).fit(blobs)
    finder = KDEModeFinder(**params).fit(blocks(blobs, 250))
    like(finder, plain)
    np.testing.assert_array_equal(np.asarray(finder.labels_), plain.labels_)


def test_labels_of_rows_that_climb(blobs, in_blocks):
    params = {"n_seeds": 30, "random_state": 0}
    plain = KDEModeFinder(**params).fit(blobs)
    finder = KDEModeFinder(**params).fit(blocks(blobs, 250))
    np.testing.assert_array_equal(finder.predict(blobs), plain.labels_)
    for attribute in ("labels_", "basin_weight_"):
        with pytest.raises(ValueError, match=r"assign='nearest'.*KernelThinning"):
            getattr(finder, attribute)
    with pytest.raises(ValueError, match=r"predict: .*assign='nearest'"):
        finder.predict(blocks(blobs))
    with pytest.raises(ValueError, match=r"min_weight=0\.1: .*assign='nearest'"):
        KDEModeFinder(min_weight=0.1, **params).fit(blocks(blobs))


@pytest.mark.parametrize("assign", ["ascend", "nearest"])
@pytest.mark.parametrize("min_weight", [0.0, 0.3])
@pytest.mark.parametrize("gather", [False, True])
def test_rows_in_blocks_of_a_density_in_memory(
    assign, min_weight, gather, blobs, scheduler, monkeypatch
):
    if not gather:
        monkeypatch.setattr(_density_blocks, "MOST_GATHERED", 0)
    blobs, weights = blobs[:300], np.linspace(0.1, 1.0, 300)
    kde = FrozenEstimator(KernelDensity(bandwidth=0.8).fit(blobs[:150]))
    params = {"kde": kde, "assign": assign, "min_weight": min_weight}
    plain = KDEModeFinder(**params).fit(blobs, sample_weight=weights)
    finder = KDEModeFinder(**params).fit(blocks(blobs), sample_weight=weights)
    assert isinstance(finder.labels_, da.Array)
    np.testing.assert_array_equal(np.asarray(finder.labels_), plain.labels_)
    close(finder.basin_weight_, plain.basin_weight_)
    close(finder.modes_, plain.modes_)
    found = finder.predict(blocks(blobs, 70))
    np.testing.assert_array_equal(np.asarray(found), plain.predict(blobs))


def test_mixtures(blobs, in_blocks):
    mixture = GaussianMixture(3, random_state=0).fit(blobs)
    plain = KDEModeFinder(mixture).fit(blobs)
    finder = KDEModeFinder(mixture).fit(blocks(blobs))
    close(finder.modes_, plain.modes_)
    np.testing.assert_array_equal(np.asarray(finder.labels_), plain.labels_)


def test_projections_of_kernels_that_end(blobs, in_blocks):
    finder = KDEModeFinder(
        1.0, kernel="tophat", strategy="project", n_components=1, n_seeds=10
    )
    with pytest.raises(ValueError, match=r"strategy='project'.*KernelThinning"):
        finder.fit(blocks(blobs))
