"""`KernelThinning.partial_fit`: coresets of streams."""

import pickle
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from gpkern import KernelThinning
from gpkern.algorithms import stream, thinning
from gpkern.kernels import RBF, Matern


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Of 1,024 rows."""
    monkeypatch.setattr(stream, "BLOCK_LEVELS", 5)


def sample(n, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def fed(X, cuts, asarray=np.asarray, **params):
    model = KernelThinning(random_state=0, **params)
    for part in np.split(X, cuts):
        model.partial_fit(asarray(part))
    return model


def distance(kernel, X, rows, weights=None, p=None):
    """MMD by its definition."""
    p = -np.full(len(X), 1 / len(X)) if p is None else -p
    np.add.at(p, rows, 1 / len(rows) if weights is None else weights)
    return np.sqrt(max(0.0, p @ kernel(X) @ p))


def test_quality_is_that_of_a_fit(asarray, host, monkeypatch):
    """Of one that does not choose among all rows either."""
    monkeypatch.setattr(thinning, "ALL_PAIRS_ROWS", 1000)
    X, kernel = sample(6000), RBF(1.5)
    model = fed(X, range(700, 6000, 700), asarray, kernel=kernel)
    assert model.n_samples_seen_ == 6000 and model.n_features_in_ == 2
    rows = host(model.sample_indices_)
    assert len(rows) == len(np.unique(rows)) == 77
    assert_array_equal(rows, np.sort(rows))
    assert_array_equal(host(model.samples_), X[rows])
    assert_allclose(host(model.weights_), 1 / 77)
    batch = KernelThinning(kernel=kernel, method="compress++", random_state=0).fit(X)
    seen = distance(kernel, X, rows)
    assert seen < 1.3 * distance(kernel, X, batch.sample_indices_)
    assert 0 < model.mmd_stderr_ < 0.2 * seen
    assert abs(model.mmd_ - seen) < 3 * model.mmd_stderr_ + 0.01 * seen
    assert model.mmd_iid_ == pytest.approx(batch.mmd_iid_, rel=0.05)
    assert model.mmd_ < model.mmd_iid_ / 15
    assert model.method_ == "target" and model.kernel_ == model.split_kernel_ == kernel


def test_cuts_do_not_matter():
    """Nor do reading in between, a copy, and a pickle; median and scale included."""
    X = np.sin(np.arange(1, 3001) ** 2)[:, None] * [1.0, 3.0]
    whole = fed(X, [])
    model = KernelThinning(random_state=0)
    for i, part in enumerate(np.split(X, [1, 2, 900, 1023, 1024, 1025, 2999])):
        model.partial_fit(part)
        assert len(model.sample_indices_) == int(np.sqrt(model.n_samples_seen_))
        model = [deepcopy, lambda m: pickle.loads(pickle.dumps(m))][i % 2](model)
    assert_array_equal(model.sample_indices_, whole.sample_indices_)
    assert model.kernel_ == whole.kernel_ and model.mmd_ == whole.mmd_
    assert_array_equal(model.samples_, X[model.sample_indices_])


def test_rows_one_by_one():
    X = sample(1100)
    assert_array_equal(
        fed(X, range(1, 1100)).sample_indices_, fed(X, []).sample_indices_
    )


@pytest.mark.parametrize("n", [1, 2, 5, 300, 1023])
def test_short_streams(n):
    """Nothing is compressed yet: exact, and all rows where they are too few."""
    X = sample(n)
    model = fed(X, [n // 2] if n > 1 else [], n_samples=40, kernel=RBF(1.0))
    rows = model.sample_indices_
    assert len(rows) == min(n, 40)
    assert model.mmd_stderr_ == 0.0
    assert model.mmd_ == pytest.approx(distance(RBF(1.0), X, rows), abs=1e-7)
    batch = KernelThinning(min(n, 40), kernel=RBF(1.0), random_state=0).fit(X)
    assert model.mmd_iid_ == pytest.approx(batch.mmd_iid_)
    assert model.mmd_ == pytest.approx(batch.mmd_, rel=0.2, abs=1e-7)


def test_a_share_of_a_short_stream():
    assert len(fed(sample(500), [200], n_samples=0.1).sample_indices_) == 50
    with pytest.raises(ValueError, match=r"n_samples=0\.1, a share .* 1024 rows"):
        fed(sample(1024), [200], n_samples=0.1)


def test_weights():
    X, kernel = sample(4000), RBF(1.0)
    w = np.where(X[:, 0] > 0, 4.0, 1.0)
    w[::3] = 0.0
    model = KernelThinning(50, kernel=kernel, weights="simplex", random_state=0)
    for part, weight in zip(np.split(X, 4), np.split(w, 4), strict=True):
        model.partial_fit(part, sample_weight=weight)
    rows = model.sample_indices_
    assert not (rows % 3 == 0).any() and model.n_samples_seen_ == 4000
    assert model.weights_.sum() == pytest.approx(1.0)
    seen = distance(kernel, X, rows, model.weights_, w / w.sum())
    assert seen < model.mmd_iid_ / 10
    assert model.mmd_ == pytest.approx(seen, rel=0.2)


def test_rough_kernels_are_halved_by_a_sum():
    model = fed(sample(2000), [500], kernel=Matern(1.0, nu=1.5))
    assert model.method_ == "kt+" and model.split_kernel_ != model.kernel_
    herded = fed(sample(2000), [500], kernel=RBF(1.0), method="herding")
    assert herded.mmd_ < herded.mmd_iid_ / 3


def test_targets(asarray, host):
    X = sample(2500)
    y = np.stack([X[:, 0] + 10.0, X[:, 1] ** 2], axis=1)
    model = KernelThinning(30, y_kernel="ridge", random_state=0)
    for a in range(0, 2500, 500):
        model.partial_fit(asarray(X[a : a + 500]), asarray(y[a : a + 500]))
    rows = host(model.sample_indices_)
    assert_allclose(host(model.samples_), X[rows])
    assert_allclose(host(model.sample_targets_), y[rows])
    assert model.mmd_ < model.mmd_iid_ / 3
    with pytest.raises(ValueError, match="y has 1 columns that count"):
        model.partial_fit(asarray(X), asarray(y[:, 0]))


def test_fit_ends_a_stream():
    X = sample(2000)
    model = fed(X, [500])
    expected = KernelThinning(random_state=0).fit(X[:300]).sample_indices_
    assert_array_equal(model.fit(X[:300]).sample_indices_, expected)
    assert not hasattr(model, "n_samples_seen_")
    model.partial_fit(sample(9, d=5))
    assert model.n_samples_seen_ == 9 and model.n_features_in_ == 5
    assert len(model.sample_indices_) == 3
    fresh = clone(model)
    with pytest.raises(NotFittedError):
        check_is_fitted(fresh)
    with pytest.raises(AttributeError, match="no attribute 'sample_indices_'"):
        _ = fresh.sample_indices_


def test_a_failed_call_changes_nothing():
    X = sample(2000)
    model, other = fed(X[:1500], []), fed(X, [1500])
    bad = X[1500:].copy()
    bad[-1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(bad)
    with pytest.raises(ValueError, match="3 features"):
        model.partial_fit(sample(10, d=3))
    model.set_params(n_samples=0.1)  # which is noticed last
    with pytest.raises(ValueError, match="a share of the rows"):
        model.partial_fit(X[1500:])
    model.set_params(n_samples=None).partial_fit(X[1500:])
    assert_array_equal(model.sample_indices_, other.sample_indices_)


def test_buffers_may_be_used_again():
    X, buffer = sample(3000), np.empty((100, 2))
    model = KernelThinning(random_state=0)
    for a in range(0, 3000, 100):
        buffer[:] = X[a : a + 100]
        model.partial_fit(buffer)
    assert_array_equal(model.sample_indices_, fed(X, []).sample_indices_)


def test_data_frames_and_float32():
    X = sample(1500).astype(np.float32)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = KernelThinning(random_state=0).partial_fit(frame[:700])
    model.partial_fit(frame[700:])
    assert list(model.feature_names_in_) == ["a", "b"]
    assert model.samples_.dtype == np.float32
    assert_array_equal(model.samples_, X[model.sample_indices_])


class TestErrors:
    def test_strata(self):
        with pytest.raises(ValueError, match="stratify='y' needs all rows at once"):
            KernelThinning(stratify="y").partial_fit(sample(5), np.arange(5))

    def test_oversampling(self):
        with pytest.raises(ValueError, match="oversampling=0 keeps 32 rows"):
            KernelThinning(100, oversampling=0).partial_fit(sample(5))
        assert len(fed(sample(1500), [], n_samples=600).sample_indices_) == 600


def test_short_streams_with_repetition():
    rows = np.random.default_rng(0).normal(size=(5, 2))
    model = KernelThinning(100, unique=False).partial_fit(rows)
    assert len(model.sample_indices_) == 5


def test_chunks_without_weight():
    """Count, and are left out, as they are within a larger chunk."""
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(300, 2)), np.repeat([1.0, 0.0, 1.0], 100)
    one = KernelThinning(20, random_state=0).partial_fit(X, sample_weight=weights)
    many = KernelThinning(20, random_state=0)
    for cut in np.split(np.arange(300), 3):
        many.partial_fit(X[cut], sample_weight=weights[cut])
    assert_array_equal(one.sample_indices_, many.sample_indices_)


def test_single_rows():
    """Cheap, one after another: few parts wait."""
    X = np.random.default_rng(0).normal(size=(700, 2))
    model = KernelThinning(20, random_state=0)
    for row in X:
        model.partial_fit(row[None])
    assert len(model._stream._waiting) < 12
    whole = KernelThinning(20, random_state=0).partial_fit(X)
    assert_array_equal(model.sample_indices_, whole.sample_indices_)


def test_changed_parameters():
    X = np.random.default_rng(0).normal(size=(20_000, 1))
    model = KernelThinning(50, random_state=0).partial_fit(X)
    with pytest.raises(ValueError, match="before the first partial_fit"):
        model.set_params(n_samples=10_000).partial_fit(X[:10])
    with pytest.raises(ValueError, match="fit starts another"):
        model.set_params(n_samples=50, y_kernel="ridge").partial_fit(X[:9], X[:9, 0])
    with pytest.raises(ValueError, match="fit starts another"):
        model.set_params(y_kernel=None, kernel="laplacian").partial_fit(X[:9])
    model.set_params(kernel="rbf", n_samples=30).partial_fit(X[:9])
    assert len(model.sample_indices_) == 30
