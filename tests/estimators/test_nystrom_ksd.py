"""The Stein test by landmarks: against its definition, KSDTest, level and power."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import RBF

from gpkern import KSDTest, NystromKSDTest
from gpkern.algorithms import feature_sums, nystrom_ksd
from gpkern.algorithms.nystrom_ksd import landmark_count


def minus(X):
    """Score of the standard normal distribution."""
    return -X


def normal(n, d, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def stein(X, S, scale):
    """Stein kernel of (1 + |x - y|^2 / l^2)^(-1/2), written out."""
    delta = X[:, None] - X
    r = (delta**2).sum(-1)
    q = 1 + r / scale**2
    first, second = -0.5 * q**-1.5 / scale**2, 0.75 * q**-2.5 / scale**4
    out = q**-0.5 * (S @ S.T) - 2 * X.shape[1] * first - 4 * r * second
    return out - 2 * first * ((S[:, None] - S) * delta).sum(-1)


@pytest.mark.parametrize("height", [None, 7])
def test_statistic(device, monkeypatch, height):
    if height:  # blocks of so many rows
        monkeypatch.setattr(nystrom_ksd, "CHUNK", dict.fromkeys(["cpu", "cuda"], 70))
    X, n = normal(120, 2, shift=0.2), 120
    test = NystromKSDTest(
        minus,
        length_scale=1.5,
        n_landmarks=10,
        n_resamples=5000,
        device=device,
        random_state=0,
    ).fit(X)
    K, at = stein(X, -X, 1.5), test.landmark_indices_
    gram = K[:, at] @ np.linalg.solve(K[np.ix_(at, at)], K[at])
    np.fill_diagonal(gram, 0.0)
    assert_allclose(test.statistic_, gram.sum() / (n * (n - 1)), rtol=1e-5)
    spread = np.sqrt(2 * (gram**2).sum()) / (n * (n - 1))
    assert_allclose(test.null_distribution_.std(), spread, rtol=0.1)


def test_all_rows_as_landmarks_are_the_full_test():
    X = normal(150, 2, shift=0.1)
    full = KSDTest(minus, random_state=0).fit(X)
    test = NystromKSDTest(
        minus, n_landmarks=1000, length_scale=full.length_scale_, random_state=0
    ).fit(X)
    assert len(test.landmark_indices_) == 150
    assert_allclose(test.statistic_, full.statistic_, rtol=1e-4)
    assert_allclose(test.pvalue_, full.pvalue_, atol=0.05)


def test_huge_scores_beside_others():
    """Landmarks whose Stein kernels differ by many powers of ten."""
    X = normal(200, 2)
    S = -X * np.where(np.arange(200) < 5, 1e6, 1.0)[:, None]
    test = NystromKSDTest(n_landmarks=200, length_scale=1.5, random_state=0)
    K = stein(X, S, 1.5)
    want = (K.sum() - np.trace(K)) / (200 * 199)
    assert_allclose(test.fit(X, scores=S).statistic_, want, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["imq", "rbf", RBF(1.0)])
def test_power(device, kernel):
    X = normal(2000, 3, shift=[0.2, 0.0, 0.0])
    options = {"n_landmarks": 60, "device": device, "random_state": 0}
    assert NystromKSDTest(minus, kernel=kernel, **options).fit(X).pvalue_ < 0.01


def test_more_rows_see_more():
    """A difference that is lost on the full test of as many rows as it can take."""
    X = normal(40_000, 4, shift=[0.04, 0.0, 0.0, 0.0])
    full = [
        KSDTest(minus, n_resamples=200, random_state=0).fit(part).rejected_
        for part in np.split(X, 40)[:5]
    ]
    test = NystromKSDTest(minus, n_landmarks=100, random_state=0).fit(X)
    assert test.pvalue_ < 0.01
    assert sum(full) <= 2


def test_groups_keep_the_level(monkeypatch):
    monkeypatch.setattr(feature_sums, "MOST_GROUPS", 50)
    p = [
        NystromKSDTest(minus, n_landmarks=20, n_resamples=199, random_state=s)
        .fit(normal(301, 2, s))
        .pvalue_
        for s in range(40)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.15
    assert 0.3 < np.mean(p) < 0.7


def test_results_and_random_state():
    X = normal(200, 2)
    tests = [NystromKSDTest(minus, random_state=s, n_resamples=99) for s in (0, 0, 1)]
    a, b, c = (t.fit(X) for t in tests)
    assert tuple(a.result_) == (a.statistic_, a.pvalue_) == tuple(b.result_)
    assert_array_equal(a.null_distribution_, b.null_distribution_)
    assert_array_equal(a.landmark_indices_, b.landmark_indices_)
    assert a.statistic_ != c.statistic_
    assert len(a.landmark_indices_) == landmark_count(200) == 75
    assert a.null_distribution_.shape == (99,)
    assert a.rejected_ == (a.pvalue_ <= 0.05)
    assert a.n_features_in_ == 2


def test_float32_and_scores():
    X = normal(300, 2).astype(np.float32)
    one = NystromKSDTest(minus, random_state=0, length_scale=1.0).fit(X)
    other = NystromKSDTest(random_state=0, length_scale=1.0)
    other.fit(X.astype(np.float64), scores=-X)
    assert_allclose(one.statistic_, other.statistic_, rtol=1e-6)


def test_repeated_rows():
    X = np.repeat(normal(100, 2), 3, axis=0)
    X = X[np.random.default_rng(0).permutation(300)]
    test = NystromKSDTest(minus, n_landmarks=300, random_state=0).fit(X)
    assert np.isfinite(test.null_distribution_).all()


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 5, 50])
@pytest.mark.parametrize("n", [300, 1000])
def test_exact_level(n, d):
    p = [
        NystromKSDTest(minus, n_resamples=500, random_state=s)
        .fit(normal(n, d, s))
        .pvalue_
        for s in range(300)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.083


def test_errors():
    X = normal(60, 2)
    with pytest.raises(ValueError, match=r"KSDTest\(null='markov'\)"):
        NystromKSDTest(minus).fit(X.reshape(2, 30, 2))
    with pytest.raises(ValueError, match="at least 3 rows"):
        NystromKSDTest(minus).fit(X[:2])
    with pytest.raises(ValueError, match="n_landmarks"):
        NystromKSDTest(minus, n_landmarks=0).fit(X)
    with pytest.raises(ValueError, match="the scores"):
        NystromKSDTest().fit(X)
    with pytest.warns(UserWarning, match="never rejects"):
        NystromKSDTest(minus, n_resamples=5).fit(X)
    with pytest.warns(UserWarning, match=r"use KSDTest\(null='markov'\)"):
        NystromKSDTest(minus).fit(np.cumsum(X, axis=0))
