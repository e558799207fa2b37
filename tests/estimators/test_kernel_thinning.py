"""Coresets by `KernelThinning`: any size, every method, weights, their distance."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import ConstantKernel, PairwiseKernel
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelThinning
from gpkern.algorithms import thinning
from gpkern.kernels import (
    RBF,
    BSpline,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Polynomial,
    Sinc,
)


def sample(n, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@cache
def gram(length_scale, data):
    """Gaussian matrix of rows of two columns, once for each sample."""
    return RBF(length_scale)(np.frombuffer(data).reshape(-1, 2))


def distance(kernel, X, rows, w=None, p=None):
    """MMD by its definition: an RBF, and a sample of two columns."""
    K = gram(kernel.length_scale, np.ascontiguousarray(X, dtype=float).tobytes())
    weights = -np.full(len(X), 1 / len(X)) if p is None else -np.array(p)
    w = np.full(len(rows), 1 / len(rows)) if w is None else w
    np.add.at(weights, rows, w)
    return np.sqrt(max(0.0, weights @ K @ weights))


class Sliced:
    """A data set that is read in slices."""

    def __init__(self, X):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, key):
        if not isinstance(key, slice):
            raise TypeError(f"only slices of rows, not {key!r}")
        return self._X[key].copy()


@parametrize_with_checks(
    [
        KernelThinning(3, random_state=0),
        KernelThinning(0.5, kernel=Matern(nu=1.5), weights="simplex", random_state=0),
        KernelThinning(method="compress++", oversampling=1, random_state=0),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


METHODS = ["target", "power", "kt+", "compress++", "herding", "standard"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n, size", [(1, 1), (2, 1), (3, 2), (5, 5), (300, 17)])
def test_any_size(method, n, size, asarray, host):
    X = asarray(sample(n))
    model = KernelThinning(size, kernel=RBF(1.0), method=method, random_state=0).fit(X)
    rows = host(model.sample_indices_)
    assert len(rows) == len(np.unique(rows)) == size
    assert_array_equal(rows, np.sort(rows))
    assert_allclose(host(model.weights_), 1 / size)
    assert_array_equal(host(model.samples_), host(X)[rows])
    expected = distance(RBF(1.0), host(X), rows)
    assert model.mmd_ == pytest.approx(expected, abs=1e-7)
    assert model.mmd_stderr_ == 0.0
    assert model.method_ == method


@pytest.mark.parametrize("method", METHODS)
def test_rows_more_than_once(method, asarray, host):
    """Of few rows, where some must stand twice to come near."""
    X = sample(40)
    X[:30] = X[0]
    model = KernelThinning(
        12, kernel=RBF(1.0), method=method, unique=False, random_state=0
    ).fit(asarray(X))
    rows = host(model.sample_indices_)
    assert len(rows) == 12
    assert model.mmd_ == pytest.approx(distance(RBF(1.0), X, rows), abs=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_nearer_than_random_rows(method):
    X = sample(1024)
    model = KernelThinning(kernel=RBF(2.0), method=method, random_state=0).fit(X)
    assert len(model.sample_indices_) == 32
    assert model.mmd_ < model.mmd_iid_ / 10
    chance = [
        distance(RBF(2.0), X, np.random.RandomState(s).choice(1024, 32, False)) ** 2
        for s in range(200)
    ]
    assert model.mmd_iid_ == pytest.approx(np.sqrt(np.mean(chance)), rel=0.1)
    assert all(np.diff(model.objective_path_) <= 1e-12)


def test_weights():
    X = sample(500)
    equal, simplex, affine = (
        KernelThinning(20, kernel=RBF(1.5), weights=w, random_state=0).fit(X)
        for w in (None, "simplex", "sum-to-one")
    )
    assert_array_equal(equal.sample_indices_, simplex.sample_indices_)
    for model in (simplex, affine):
        assert model.weights_.sum() == pytest.approx(1.0)
        expected = distance(RBF(1.5), X, model.sample_indices_, model.weights_)
        assert model.mmd_ == pytest.approx(expected, abs=1e-7)
    assert (simplex.weights_ >= 0).all()
    assert affine.mmd_ <= simplex.mmd_ * (1 + 1e-6) < equal.mmd_
    # No other weights are better: random moves that keep the sum.
    rng = np.random.default_rng(0)
    for _ in range(50):
        step = rng.normal(size=20) * 1e-3
        other = affine.weights_ + step - step.mean()
        assert distance(RBF(1.5), X, affine.sample_indices_, other) > affine.mmd_


def test_sample_weights():
    """A weighted sample stands for its weights; rows of weight 0 are not chosen."""
    X = sample(600)
    w = np.where(X[:, 0] > 0, 4.0, 1.0)
    w[::3] = 0.0
    model = KernelThinning(25, kernel=RBF(1.0), random_state=0).fit(X, sample_weight=w)
    assert not (model.sample_indices_ % 3 == 0).any()
    got = distance(RBF(1.0), X, model.sample_indices_, p=w / w.sum())
    assert model.mmd_ == pytest.approx(got, abs=1e-7)
    assert model.mmd_ < model.mmd_iid_ / 4
    again = KernelThinning(25, kernel=RBF(1.0), random_state=0).fit(X).sample_indices_
    assert model.mmd_ < distance(RBF(1.0), X, again, p=w / w.sum())


def test_large_samples_are_estimated(monkeypatch):
    X = sample(3000)
    exact = KernelThinning(
        20, kernel=RBF(1.0), compute_mmd=True, method="compress++", random_state=0
    ).fit(X)
    assert exact.mmd_stderr_ == 0.0
    expected = distance(RBF(1.0), X, exact.sample_indices_)
    assert exact.mmd_ == pytest.approx(expected, abs=1e-7)
    monkeypatch.setattr(thinning, "ALL_PAIRS_ROWS", 1000)
    model = KernelThinning(20, kernel=RBF(1.0), random_state=0).fit(X)
    assert model.method_ == "compress++"
    assert model.mmd_stderr_ > 0
    expected = distance(RBF(1.0), X, model.sample_indices_)
    assert expected < model.mmd_iid_ / 6
    assert abs(model.mmd_ - expected) < 0.02 * expected
    silent = clone(model).set_params(compute_mmd=False).fit(X)
    assert silent.mmd_ is None and silent.mmd_iid_ is None


@pytest.mark.parametrize(
    "kernel, method",
    [
        (RBF(1.0), "target"),
        (InverseMultiquadric(1.0), "target"),
        (Sinc(1.0), "target"),
        (Matern(1.0, nu=1.5), "kt+"),
        (Matern(1.0, nu=0.5), "target"),  # whose power kernels are slow
        (Matern(1.0, nu=1.3), "target"),
        (BSpline(1.0), "kt+"),
        (Laplacian(1.0), "target"),  # of the L1 distance: no power kernel
    ],
    ids=str,
)
def test_auto(kernel, method):
    model = KernelThinning(5, kernel=kernel, random_state=0).fit(sample(100))
    assert model.method_ == method
    assert model.kernel_ == kernel
    assert (model.split_kernel_ == kernel) == (method == "target")
    large = KernelThinning(5, kernel=kernel, refine=1).fit(sample(2001))
    assert large.method_ == "compress++"
    assert large.split_kernel_ == model.split_kernel_


def test_length_scales():
    X = 7.0 * sample(300)
    named = KernelThinning(5, random_state=0).fit(X)
    from gpkern.kernels import median_distance

    assert named.kernel_.length_scale == pytest.approx(median_distance(X, 0))
    own = KernelThinning(5, kernel=RBF(3.0)).fit(X)
    assert own.kernel_ == RBF(3.0)
    scaled = KernelThinning(5, kernel=RBF(3.0), length_scale="median").fit(X)
    assert scaled.kernel_.length_scale == pytest.approx(median_distance(X), rel=0.2)
    gamma = KernelThinning(5, gamma=0.5).fit(X)
    assert gamma.kernel_ == RBF(1.0)


def test_resample():
    X, y = sample(200), np.arange(200)
    model = KernelThinning(9, random_state=0)
    got, labels = model.fit_resample(X, y)
    assert_array_equal(got, X[model.sample_indices_])
    assert_array_equal(labels, model.sample_indices_)
    assert_array_equal(model.fit_resample(X), got)
    frame = pd.DataFrame(X, columns=["a", "b"])
    got, labels = model.fit_resample(frame, pd.Series(y, name="c"))
    assert list(got.columns) == ["a", "b"] and labels.name == "c"


@pytest.mark.parametrize("weighted", [False, True])
def test_strata(weighted):
    """Each class has its share, and its own coreset."""
    X, rng = sample(300), np.random.default_rng(1)
    y = np.where(rng.uniform(size=300) < 0.2, "rare", "common")
    w = np.where(y == "rare", 3.0, 1.0) if weighted else None
    model = KernelThinning(30, kernel=RBF(1.0), stratify="y", random_state=0)
    model.fit(X, y, sample_weight=w)
    chosen = y[model.sample_indices_]
    mass = np.ones(300) / 300 if w is None else w / w.sum()
    share = mass[y == "rare"].sum()
    assert abs((chosen == "rare").sum() - 30 * share) < 1
    assert len(model.objective_path_) == 2
    for name in ("rare", "common"):
        own = np.flatnonzero(y == name)
        rows = np.searchsorted(own, model.sample_indices_[chosen == name])
        near = distance(RBF(1.0), X[own], rows)
        far = [
            distance(RBF(1.0), X[own], rng.choice(len(own), len(rows), False))
            for _ in range(20)
        ]
        assert near < np.mean(far) / 3
    with pytest.raises(ValueError, match="requires y"):
        KernelThinning(5, stratify="y").fit(X)


def test_more_classes_than_rows():
    y = np.arange(20)
    model = KernelThinning(7, stratify="y", random_state=0).fit(sample(20), y)
    assert len(model.sample_indices_) == 7


def test_the_same_seed():
    X = sample(400)
    a, b = (KernelThinning(10, random_state=3).fit(X).sample_indices_ for _ in "ab")
    assert_array_equal(a, b)


@pytest.mark.gpu
@pytest.mark.parametrize("n", [3000, 40_000])
def test_devices_choose_the_same_rows(n):
    """By all steps: halving, means of many rows, exchanges."""
    X = np.random.default_rng(0).normal(size=(n, 3))
    chosen = [
        KernelThinning(120, device=device, random_state=3).fit(X).sample_indices_
        for device in ("cpu", "cuda")
    ]
    assert_array_equal(*chosen)


@pytest.mark.parametrize("unique", [True, False])
def test_weights_on_few_of_many_rows(unique, monkeypatch):
    """Fewer heavy rows than are to be chosen, of a sample that is compressed."""
    monkeypatch.setattr(thinning, "ALL_PAIRS_ROWS", 2000)
    X = np.random.default_rng(0).normal(size=(3000, 2))
    weights = np.full(3000, 1e-9)
    weights[:50] = 1.0
    model = KernelThinning(200, unique=unique, random_state=0)
    rows = model.fit(X, sample_weight=weights).sample_indices_
    assert len(rows) == 200
    assert (len(np.unique(rows)) == 200) == unique
    assert model.mmd_ < 0.5 * model.mmd_iid_


@pytest.mark.parametrize("method", ["standard", "target"])
@pytest.mark.parametrize("unique", [True, False])
def test_weights_without_exchanges(method, unique):
    """Rows that weigh three times as much are chosen three times as often."""
    X = np.random.default_rng(0).normal(size=(2000, 2))
    weights = np.where(np.arange(2000) < 1000, 3.0, 1.0)
    model = KernelThinning(
        100, method=method, refine=0, unique=unique, random_state=0
    ).fit(X, sample_weight=weights)
    assert (model.sample_indices_ < 1000).mean() == pytest.approx(0.75, abs=0.08)


def test_more_than_half_of_the_rows():
    """Without a dense matrix of them: taken out one by one."""
    X = np.random.default_rng(0).normal(size=(400, 2))
    small = KernelThinning(250, refine=0, random_state=0).fit(X)
    random = np.random.default_rng(1)
    others = [
        KernelThinning(250, method="standard", refine=0).fit(X[random.permutation(400)])
        for _ in range(5)
    ]
    assert small.mmd_ < 0.2 * min(o.mmd_ for o in others)


def test_a_row_far_from_all_others():
    """A value that stands for a missing one: the others keep their digits."""
    X = np.random.default_rng(0).normal(size=(1000, 3))
    filled = np.vstack([X, np.full((1, 3), 1e20)])
    model = KernelThinning(30, length_scale=1.0, random_state=0).fit(filled)
    p = np.full(1001, -1 / 1001)
    p[model.sample_indices_] += 1 / 30
    K = RBF(1.0)(filled)
    assert model.mmd_ == pytest.approx(np.sqrt(p @ K @ p), rel=1e-6)
    assert model.mmd_ < 0.3 * model.mmd_iid_


@pytest.mark.parametrize("method", ["target", "power", "kt+", "compress++"])
def test_halving_by_itself(method):
    """Without exchanges: far better than rows that are spread evenly."""

    def mean_distance(method):
        found = []
        for seed in range(6):
            X = np.random.default_rng(seed).normal(size=(1024, 1))
            model = KernelThinning(
                32, kernel=RBF(1.0), method=method, refine=0, random_state=seed
            )
            found.append(model.fit(X).mmd_)
        return np.mean(found)

    assert mean_distance(method) < 0.5 * mean_distance("standard")


def test_two_of_four():
    """The best pair, by trying all."""
    for seed in range(20):
        X = np.random.default_rng(seed).normal(size=(4, 2))
        K = RBF(1.0)(X)
        pairs = [(i, j) for i in range(4) for j in range(i)]
        values = [K[np.ix_(p, p)].mean() - 2 * K[list(p)].mean() for p in pairs]
        model = KernelThinning(2, kernel=RBF(1.0), random_state=seed).fit(X)
        chosen = tuple(model.sample_indices_)
        assert K[np.ix_(chosen, chosen)].mean() - 2 * K[list(chosen)].mean() == (
            pytest.approx(min(values))
        )


def test_moved_rows():
    """A stationary kernel sees differences alone."""
    X = np.random.default_rng(0).normal(size=(500, 2))
    here, there = (
        KernelThinning(20, random_state=0).fit(rows) for rows in (X, X + 1e5)
    )
    assert_array_equal(here.sample_indices_, there.sample_indices_)
    order = np.random.default_rng(1).permutation(500)
    mixed = KernelThinning(20, random_state=0).fit(X[order])
    assert max(here.mmd_, mixed.mmd_) < 0.2 * here.mmd_iid_


class Lopsided:
    """Functions of two rows that are no kernels."""

    def nan(a, b, **_):
        return np.nan

    def one_way(a, b, **_):
        return float(np.exp(-((a - b) ** 2).sum()) + 0.5 * (a[0] > b[0]))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (PairwiseKernel(metric=Lopsided.nan), "NaN"),
        (PairwiseKernel(metric=Lopsided.one_way), "not symmetric"),
        ("sigmoid", "positive definite"),
    ],
)
def test_no_kernels(kernel, message):
    X = 3.0 * np.random.default_rng(0).normal(size=(60, 2))
    with pytest.raises(ValueError, match=message):
        KernelThinning(5, kernel=kernel).fit(X)


def test_kernels_that_overflow():
    X = 1e130 * np.random.default_rng(0).normal(size=(60, 2))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="scale X"):
        KernelThinning(5, kernel="poly").fit(X)


def test_split_kernels_of_scaled_and_listed_ones():
    X = np.random.default_rng(0).normal(size=(80, 2))
    scaled = ConstantKernel(1e4) * RBF(1.0)
    model = KernelThinning(9, kernel=scaled, method="kt+").fit(X)
    assert model.split_kernel_.diag(X) == pytest.approx(2.0)
    assert KernelThinning(9, kernel=scaled).fit(X).method_ == "target"
    listed = KernelThinning(9, kernel=Matern([1.0, 2.0], nu=0.5), method="kt+").fit(X)
    assert listed.split_kernel_.k2.length_scale.shape == (2,)


def test_strata_that_run_out():
    """What a class has no rows for goes to the others by their sizes."""
    y = np.repeat([0, 1, 2], [600, 300, 5])
    weights = np.where(y == 2, 60.0, 1.0)  # a fourth of the mass
    X = np.random.default_rng(0).normal(size=(905, 2))
    model = KernelThinning(95, stratify="y", random_state=0)
    found = np.bincount(y[model.fit(X, y, sample_weight=weights).sample_indices_])
    assert_array_equal(found, [60, 30, 5])
    # Equal classes, not all of which get one: not always the first.
    y = np.arange(905) % 20
    chosen = [
        set(y[model.set_params(n_samples=10, random_state=s).fit(X, y).sample_indices_])
        for s in range(3)
    ]
    assert all(len(c) == 10 for c in chosen)
    assert chosen[0] != chosen[1] or chosen[1] != chosen[2]
    with pytest.raises(ValueError, match="label type"):
        model.fit(X, X[:, 0])


def test_targets_of_another_length():
    X = np.zeros((20, 1)) + np.arange(20)[:, None]
    with pytest.raises(ValueError, match="inconsistent"):
        KernelThinning(5).fit_resample(X, np.arange(25))


def test_float32_and_integers():
    X = (100 * sample(300)).astype(int)
    expected = KernelThinning(8, random_state=0).fit(X).sample_indices_
    for dtype in (np.float64, np.float32, np.float16):
        got = KernelThinning(8, random_state=0).fit(X.astype(dtype)).sample_indices_
        assert_array_equal(got, expected)


def test_read_in_slices():
    """As a whole: rows are chosen from all of them."""
    X = sample(300)
    w = np.arange(300) % 3
    for weights in (None, w):
        expected = KernelThinning(8, random_state=0).fit(X, sample_weight=weights)
        model = KernelThinning(8, random_state=0).fit(Sliced(X), sample_weight=weights)
        assert_array_equal(model.sample_indices_, expected.sample_indices_)
    X[7, 1] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        KernelThinning(8).fit(Sliced(X))


def test_duplicates():
    X = np.ones((50, 2))
    model = KernelThinning(7, kernel=RBF(1.0), random_state=0).fit(X)
    assert len(np.unique(model.sample_indices_)) == 7
    assert model.mmd_ == pytest.approx(0.0, abs=1e-7)


class TestErrors:
    @pytest.mark.parametrize(
        "params, message",
        [
            ({"n_samples": 51}, "n_samples=51 is more than X has: 50 samples"),
            ({"n_samples": 0}, "n_samples"),
            ({"n_samples": -1}, "n_samples"),
            ({"kernel": Polynomial(), "method": "power"}, "no power kernel"),
            ({"method": "best"}, "method"),
            ({"delta": 0.0}, "delta"),
            ({"refine": -1}, "refine"),
            ({"weights": "any"}, "weights"),
        ],
        ids=str,
    )
    def test_parameters(self, params, message):
        with pytest.raises(ValueError, match=message):
            KernelThinning(**params).fit(sample(50))

    def test_weights(self):
        with pytest.raises(ValueError, match="all zeros"):
            KernelThinning(2).fit(sample(9), sample_weight=np.zeros(9))
        with pytest.raises(ValueError, match="more than X has: 3 samples"):
            w = [1, 1, 1, 0, 0, 0, 0, 0, 0]
            KernelThinning(4).fit(sample(9), sample_weight=w)


@pytest.mark.parametrize("weights", ["simplex", "sum-to-one"])
def test_weights_of_strata(weights):
    """Each class keeps its share, and its own weights are the best for it."""
    rng = np.random.default_rng(0)
    y = rng.choice(3, 900, p=[0.1, 0.3, 0.6])
    X = rng.normal(size=(900, 2)) + y[:, None]
    model = KernelThinning(
        30, kernel=RBF(1.0), stratify="y", weights=weights, random_state=0
    ).fit(X, y)
    found = np.bincount(y[model.sample_indices_], model.weights_)
    assert_allclose(found, np.bincount(y) / 900)
    for k in range(3):
        rows, here = np.flatnonzero(y == k), y[model.sample_indices_] == k
        K = RBF(1.0)(X[rows])
        p = np.zeros((2, len(rows))) - 1 / len(rows)
        places = np.searchsorted(rows, model.sample_indices_[here])
        p[0, places] += model.weights_[here] / model.weights_[here].sum()
        p[1, places] += 1 / len(places)
        fitted, equal = (q @ K @ q for q in p)
        assert fitted < equal


def test_weights_when_resampling():
    X = np.arange(40.0)[:, None]
    weights = (X[:, 0] < 20).astype(float)
    rows = KernelThinning(5).fit_resample(X, sample_weight=weights)
    assert rows.max() < 20
