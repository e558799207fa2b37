"""`KernelThinning` of Dask arrays, beside arrays in memory."""

import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import (
    EigenProRegressor,
    KernelOperator,
    KernelRidge,
    KernelThinning,
)
from gpkern._device import select
from gpkern.algorithms import thinning
from gpkern.algorithms.compress import compress, levels_of
from gpkern.algorithms.thinning import Embedding
from gpkern.kernels import RBF, Matern

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N, BLOCKS = 12_000, (3000, 700, 2300, 1000, 2000, 1500, 1500)
KERNEL = RBF(1.0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def few_rows_are_many(monkeypatch):
    """Arrays of a test are compressed as those of millions of rows."""
    monkeypatch.setattr(thinning, "ALL_PAIRS_ROWS", 3000)


@pytest.fixture
def X(rng):
    """Three clusters, one after another, so that no block is like the whole."""
    means = np.repeat([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], N // 3, axis=0)
    return means + rng.normal(size=(N, 2))


def blocks(X, lengths=BLOCKS):
    return da.from_array(X, chunks=(lengths, *X.shape[1:]))


def distance(kernel, X, rows, weights=None, share=None):
    """MMD in plain sums over all pairs; the operator has its own tests."""
    share = np.full(len(X), 1 / len(X)) if share is None else share
    p = share - np.bincount(
        rows, np.full(len(rows), 1 / len(rows)) if weights is None else weights, len(X)
    )
    return float(p @ (KernelOperator(kernel, X) @ p)) ** 0.5


def thin(n_samples=80, **options):
    options = {"kernel": KERNEL, "random_state": 0, **options}
    return KernelThinning(n_samples, **options)


def test_as_near_as_in_memory(X, scheduler):
    found, plain = thin().fit(blocks(X)), thin().fit(X)
    assert found.method_ == "compress++"
    near = distance(KERNEL, X, found.sample_indices_)
    assert near < 1.5 * distance(KERNEL, X, plain.sample_indices_)
    some = np.random.default_rng(1).choice(N, 80)
    assert near < 0.1 * distance(KERNEL, X, some)
    for name in ("sample_indices_", "samples_", "weights_"):
        assert type(getattr(found, name)) is np.ndarray
    assert_array_equal(found.samples_, X[found.sample_indices_])
    assert len(np.unique(found.sample_indices_)) == 80
    assert abs(found.mmd_ - near) < 4 * found.mmd_stderr_ + 1e-3 * near
    assert found.mmd_iid_ == pytest.approx(plain.mmd_iid_, rel=0.05)


def test_what_is_merged_is_near(X):
    """Without what exchanges gain on the whole sample; its distance is exact."""
    found, plain = (
        thin(refine=0, compute_mmd=True).fit(blocks(X)),
        thin(refine=0).fit(X),
    )
    near = distance(KERNEL, X, found.sample_indices_)
    assert near < 1.5 * distance(KERNEL, X, plain.sample_indices_)
    assert found.mmd_ == pytest.approx(near, rel=1e-9)
    assert found.mmd_stderr_ == 0


@pytest.mark.parametrize("lengths", [BLOCKS, (1000,) * 12, (100,) * 120, (N,)])
def test_compressed(X, lengths):
    """Rows of a class as often as its share of the sample has it, from all blocks."""
    from gpkern.dask.compress import compressed

    embedding = Embedding(KERNEL, KERNEL)
    D = blocks(X, lengths)
    order = compressed(
        embedding, D, None, 4, 0.5, select(None, D), np.random.RandomState(0)
    )
    size = N / 2 ** levels_of(N, 4)
    assert abs(len(order) - size) < 0.03 * size
    assert len(np.unique(order)) == len(order)
    counts = np.bincount(order * 3 // N)
    assert_allclose(counts, len(order) / 3, rtol=0.03)
    plain = KernelOperator(KERNEL, X)
    plain = compress(plain, np.arange(N), 4, 0.5, np.random.RandomState(0))
    assert len(plain) == size
    assert distance(KERNEL, X, order) < 1.3 * distance(KERNEL, X, plain)


def late(block, block_info=None):
    """The first blocks come last."""
    time.sleep(0.02 * (5 - min(5, block_info[0]["chunk-location"][0])))
    return block


@pytest.mark.slow
def test_result_is_of_the_data_alone(X, client):
    def rows(X, **options):
        return thin(refine=1, compute_mmd=False, **options).fit(X).sample_indices_

    D = blocks(X)
    found = rows(D)
    for kind in ("threads", "synchronous"):
        with dask.config.set(scheduler=kind):
            assert_array_equal(rows(D), found)
    assert_array_equal(rows(D.map_blocks(late, dtype=D.dtype, meta=D._meta)), found)
    assert not np.array_equal(rows(D, random_state=1), found)


def test_weights(X, rng):
    """Also those that leave out all rows of a block, and rows that are far away."""
    w = rng.random(N) ** 2
    w[:200], w[3000:3700] = 0.0, 0.0
    w[10_000:10_200] = 40.0
    X[:200] += 1000.0
    found = thin(kernel="rbf").fit(blocks(X), sample_weight=blocks(w, (N,)))
    plain = thin(kernel="rbf").fit(X, sample_weight=w)
    assert (w[found.sample_indices_] > 0).all()
    assert_array_equal(found.samples_, X[found.sample_indices_])
    ratio = found.kernel_.length_scale / plain.kernel_.length_scale
    assert 0.8 < ratio < 1.25
    share = w / w.sum()
    near, far = (
        distance(plain.kernel_, X, rows, share=share)
        for rows in (found.sample_indices_, rng.choice(N, 80, p=share))
    )
    assert near < 0.1 * far
    assert near < 1.5 * distance(plain.kernel_, X, plain.sample_indices_, share=share)
    own = distance(found.kernel_, X, found.sample_indices_, share=share)
    assert abs(found.mmd_ - own) < 4 * found.mmd_stderr_ + 1e-3 * own
    assert found.mmd_iid_ == pytest.approx(plain.mmd_iid_, rel=0.1)


def test_weights_of_a_few_heavy_rows(X):
    """A block whose rows stand for far more than their number."""
    w = np.ones(N)
    w[3000:3700] = 500.0
    found = thin().fit(blocks(X), sample_weight=w)
    plain, share = thin().fit(X, sample_weight=w), w / w.sum()
    near, far = (
        distance(KERNEL, X, m.sample_indices_, share=share) for m in (found, plain)
    )
    assert near < 1.5 * far


@pytest.mark.parametrize("factor", [9.0, 500.0])
def test_places_of_weights(factor, X, rng):
    """Of what is compressed: each row as often as its weight has it, on average."""
    from gpkern.dask.compress import compressed
    from gpkern.dask.weighted import positive

    w = rng.random(N)
    w[3000:3700] *= factor  # the second block
    D, counts = blocks(X), np.zeros(N)
    share = positive(D, blocks(w))[2]
    for seed in range(5):
        order = compressed(
            Embedding(KERNEL, KERNEL),
            *(D, share, 4, 0.5, select(None, D), np.random.RandomState(seed)),
        )
        assert abs(len(order) - N / 2 ** levels_of(N, 4)) < 0.05 * len(order)
        counts += np.bincount(order, minlength=N) / len(order) / 5
    first = np.cumsum([0, *BLOCKS[:-1]])
    of_blocks = (np.add.reduceat(a, first) for a in (counts, w / w.sum()))
    assert_allclose(*of_blocks, rtol=0.02, atol=0.002)


def test_random_rows_of_weights(rng):
    from gpkern.dask.weighted import drawn

    p = rng.random(500)
    p[100:200] = 0
    p /= p.sum()
    expected = np.random.RandomState(3).choice(500, 50, p=p)
    chances = np.random.RandomState(3).random_sample(50)
    found = drawn(blocks(p, (100, 150, 50, 200)), chances)
    assert_array_equal(found, np.sort(expected))


@pytest.mark.parametrize("weights", ["simplex", "sum-to-one"])
def test_weights_of_the_chosen(X, weights):
    found = thin(40, weights=weights, refine=1).fit(blocks(X))
    plain = distance(KERNEL, X, found.sample_indices_)
    near = distance(KERNEL, X, found.sample_indices_, found.weights_)
    assert near < 0.98 * plain
    assert found.mmd_ == pytest.approx(near, rel=0.01)
    assert found.weights_.sum() == pytest.approx(1.0)


def test_targets(X, rng):
    y = 30 + 5 * np.sin(X[:, 0]) + rng.normal(size=N)
    options = {"y_kernel": "ridge", "refine": 3}
    found = thin(**options).fit(blocks(X), blocks(y, (N,)))
    plain = thin(**options).fit(X, y)
    scale = plain.kernel_.target_scale
    assert found.kernel_.target_scale == pytest.approx(scale, rel=1e-12)
    assert_array_equal(found.samples_, X[found.sample_indices_])
    assert_array_equal(found.sample_targets_, y[found.sample_indices_])
    rows = np.column_stack([X, y - y.mean()])
    near, far = (
        distance(plain.kernel_, rows, m.sample_indices_) for m in (found, plain)
    )
    assert near < 1.5 * far
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        thin(**options).fit(blocks(X), y[:-1])


@pytest.mark.parametrize(
    "options, n",
    [({}, 2500), ({"stratify": "y"}, 2500), ({"method": "herding"}, 4000)],
    ids=["small", "stratified", "a method of all rows"],
)
def test_what_is_gathered_is_the_same(options, n, X, rng):
    X, w = X[::3][:n], rng.integers(0, 3, n)
    y = X[:, 0] > 2
    data = [blocks(a, (1000, n - 1000)) for a in (X, y, w)]
    found = thin(refine=2, **options).fit(*data)
    plain = thin(refine=2, **options).fit(X, y, w)
    assert_array_equal(found.sample_indices_, plain.sample_indices_)
    assert_array_equal(found.weights_, plain.weights_)
    assert found.mmd_ == plain.mmd_


def test_as_many_rows_as_need_all_others(X):
    """Nothing is compressed, and all is as in memory."""
    options = {"refine": 0, "compute_mmd": False, "weights": None}
    found, plain = (thin(3000, **options).fit(a) for a in (blocks(X), X))
    assert_array_equal(found.sample_indices_, plain.sample_indices_)


def test_fit_resample(X):
    D, y, model = blocks(X), np.arange(N), thin(refine=1)
    found, y_found = model.fit_resample(D, blocks(y, (N,)))
    assert isinstance(found, da.Array) and isinstance(y_found, da.Array)
    assert_array_equal(y_found.compute(), model.sample_indices_)
    assert_array_equal(found.compute(), model.samples_)
    found, y_found = thin(refine=1).fit_resample(D, y)
    assert isinstance(found, da.Array) and type(y_found) is np.ndarray
    assert isinstance(thin(refine=1).fit_resample(D), da.Array)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        thin().fit_resample(D, y[:-1])


def test_data_frames(X):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X, columns=["a", "b"])
    D = dd.from_pandas(frame, npartitions=5)
    model = thin(refine=1)
    found, y = model.fit_resample(D, D["a"])
    assert list(model.feature_names_in_) == ["a", "b"]
    assert_array_equal(found.compute(), X[model.sample_indices_])
    assert_array_equal(y.compute(), X[model.sample_indices_, 0])
    stream = thin(refine=1).partial_fit(D).partial_fit(frame[:100])
    assert list(stream.feature_names_in_) == ["a", "b"]
    assert stream.n_samples_seen_ == N + 100


@pytest.mark.parametrize("weighted", [False, True])
def test_nan_in_a_block(X, weighted, scheduler):
    X[6500, 1] = np.nan
    w = np.arange(N) % 2 if weighted else None
    for options in ({}, {"kernel": "rbf"}):
        with pytest.raises(ValueError, match=r"block 3.* \(rows 6000 to 6999\).*NaN"):
            thin(**options).fit(blocks(X), sample_weight=w)
    with pytest.raises(ValueError, match=r"block 3.* \(rows 6000 to 6999\).*NaN"):
        thin().partial_fit(blocks(X))


def test_what_cannot_be(X, monkeypatch):
    D = blocks(X)
    with pytest.raises(ValueError, match=r"stratify='y'.*one KernelThinning for each"):
        thin(stratify="y").fit(D, np.zeros(N))
    with pytest.raises(ValueError, match="oversampling=0 compresses 12000 rows to"):
        thin(500, oversampling=0).fit(D)
    with pytest.raises(ValueError, match="n_samples=20000 is more than X has"):
        thin(20_000).fit(D)
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    with pytest.raises(MemoryError, match=r"method='target'.*use 'compress\+\+'"):
        thin(method="target").fit(D)


def test_partial_fit(X, rng, scheduler):
    y, w = rng.normal(size=N), rng.random(N)
    options = {"y_kernel": "smoother", "refine": 0, "compute_mmd": False}
    model, plain = (thin(**options) for _ in range(2))
    model.partial_fit(blocks(X), blocks(y, (N,)), w)
    first = 0
    for length in BLOCKS:
        part = slice(first, first + length)
        plain.partial_fit(X[part], y[part], w[part])
        first += length
    assert model.n_samples_seen_ == N
    assert_array_equal(model.sample_indices_, plain.sample_indices_)
    assert_array_equal(model.sample_targets_, y[model.sample_indices_])
    before = vars(model).copy()
    X[-1] = np.nan
    with pytest.raises(ValueError, match="block 6"):
        model.partial_fit(blocks(X), blocks(y))
    assert model.n_samples_seen_ == before["n_samples_seen_"]


def test_partial_fit_of_many_rows(rng):
    """Beyond what a stream keeps as it is."""
    X = rng.normal(size=(40_000, 2))
    options = {"refine": 0, "compute_mmd": False}
    model, plain = (thin(50, **options) for _ in range(2))
    model.partial_fit(blocks(X, (15_000, 15_000, 10_000)))
    for part in np.split(X, [15_000, 30_000]):
        plain.partial_fit(part)
    assert_array_equal(model.sample_indices_, plain.sample_indices_)


# ------------------------------------------------------------------------ samplers


@pytest.mark.parametrize(
    "model",
    [
        KernelRidge(1e-3, kernel=Matern(1.5, nu=1.5), random_state=0),
        EigenProRegressor(
            Matern(1.5, nu=1.5),
            n_epochs=2,
            n_subsamples=500,
            early_stopping=False,
            random_state=0,
        ),
    ],
    ids=lambda model: type(model).__name__,
)
def test_centers_of_a_model(model, X, rng):
    y = np.sin(X[:, 0]) + np.cos(X[:, 1]) + 0.1 * rng.normal(size=N)
    sampler = KernelThinning(60, refine=2, random_state=3)
    model.set_params(n_centers=sampler)
    with dask.config.set(scheduler="threads"):
        model.fit(blocks(X), blocks(y))
        centers = getattr(model, "X_fit_", getattr(model, "centers_", None))
        rows = KernelThinning(60, kernel=Matern(1.5, nu=1.5), refine=2, random_state=3)
        rows = rows.fit(blocks(X)).sample_indices_
        assert_array_equal(centers, X[rows])
    assert model.score(X[::10], y[::10]) > 0.9


def test_centers_are_not_held_out(X):
    model = EigenProRegressor(
        KERNEL,
        n_centers=KernelThinning(100, refine=0),
        n_epochs=1,
        n_subsamples=200,
        early_stopping=True,
        validation_fraction=0.5,
        random_state=0,
    )
    with dask.config.set(scheduler="threads"):
        model.fit(blocks(X), blocks(X[:, 0]))
    held = X[model._last_split[1]]
    assert len(held) > N / 10
    assert not (model.centers_[:, None] == held).all(axis=2).any()


def test_centers_of_classes(X, rng):
    from gpkern import KernelRidgeClassifier

    labels = np.array(["a", "b", "c"])[np.arange(N) * 3 // N]
    model = KernelRidgeClassifier(
        1e-3, kernel=KERNEL, n_centers=KernelThinning(30, refine=1), random_state=0
    )
    weights = np.where(labels == "c", 0.0, 1.0)
    with dask.config.set(scheduler="threads"):
        model.fit(blocks(X), blocks(labels), weights)
    assert (distances_to(model.X_fit_, [0.0, 4.0]) < 1.5).sum() <= 2
    assert model.score(X[:8000:10], labels[:8000:10]) > 0.9


def distances_to(X, center):
    return np.linalg.norm(X - center, axis=1)
