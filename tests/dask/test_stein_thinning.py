"""`SteinThinning` of Dask arrays, beside arrays in memory."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpkern import SteinThinning

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N, BLOCKS = 12_000, (3000, 700, 2300, 1000, 2000, 1500, 1500)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def X(rng):
    return rng.normal(size=(N, 2))


def blocks(X, lengths=BLOCKS):
    return da.from_array(X, chunks=(lengths, *X.shape[1:]))


def score(X):
    return -X


@pytest.mark.parametrize("options", [{}, {"method": "debiased", "oversampling": 2}])
def test_stein_is_as_in_memory(options, X, scheduler):
    plain = SteinThinning(20, random_state=0, **options).fit(X, scores=-X)
    for how in (
        {"scores": blocks(-X, (N,))},
        {"scores": -X},
        {"target": score},
    ):
        target = how.pop("target", None)
        model = SteinThinning(20, random_state=0, target=target, **options)
        model.fit(blocks(X), **how)
        assert_array_equal(model.sample_indices_, plain.sample_indices_)
        assert model.ksd_ == plain.ksd_
        for name in ("sample_indices_", "weights_", "scale_"):
            assert type(getattr(model, name)) is np.ndarray


def test_stein_of_chains(rng):
    X, y = rng.normal(size=(4, 300, 2)), np.arange(1200)
    log_density = -0.5 * (X**2).sum(axis=2)
    D = da.from_array(X, chunks=(2, 100, 1))
    for options in ({}, {"log_density": log_density, "second_derivatives": X - 1.0}):
        plain = SteinThinning(15, random_state=0).fit(X, scores=-X, **options)
        options = {k: da.from_array(a, chunks=-1) for k, a in options.items()}
        model = SteinThinning(15, random_state=0)
        found, y_found = model.fit_resample(D, y, scores=-D, **options)
        assert_array_equal(model.sample_indices_, plain.sample_indices_)
        assert isinstance(found, da.Array) and type(y_found) is np.ndarray
        assert_array_equal(found.compute(), X.reshape(-1, 2)[model.sample_indices_])
        assert_array_equal(y_found, model.sample_indices_)


def test_stein_of_data_frames(X):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    frame = pd.DataFrame(X, columns=["a", "b"])
    scores = pd.DataFrame(-X[:, ::-1], columns=["b", "a"])
    D, scores = (dd.from_pandas(a, npartitions=3) for a in (frame, scores))
    model = SteinThinning(10, random_state=0)
    found = model.fit_resample(D, scores=scores)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert_array_equal(found.compute(), X[model.sample_indices_])
    plain = SteinThinning(10, random_state=0).fit(X, scores=-X)
    assert_array_equal(model.sample_indices_, plain.sample_indices_)


def bad_score(X):
    return np.where(X > 3.0, np.nan, -X)


def test_stein_errors(X, scheduler, monkeypatch):
    bad = X.copy()
    bad[6500, 1] = np.nan
    with pytest.raises(ValueError, match=r"block 3 of X \(rows 6000 to 6999\).*NaN"):
        SteinThinning(10, target=score).fit(blocks(bad))
    with pytest.raises(ValueError, match=r"block 3.*scores contains NaN.* 1 of 1000"):
        SteinThinning(10).fit(blocks(X), scores=blocks(-bad))
    with pytest.raises(ValueError, match=r"block \d of X.*NaN"):
        SteinThinning(10, target=bad_score).fit(blocks(X))
    with pytest.raises(ValueError, match=r"scores has shape .*1.* and X has"):
        SteinThinning(10).fit(blocks(X), scores=-X[:, :1])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        SteinThinning(10).fit(blocks(X), scores=-X[:-1])
    with pytest.raises(ValueError, match="pass scores="):
        SteinThinning(10).fit(blocks(X))
    if scheduler == "threads":
        monkeypatch.setattr("os.sysconf", lambda name: 100)
        with pytest.raises(MemoryError, match="leave some out first"):
            SteinThinning(10, target=score).fit(blocks(X))
