"""The Stein test by pairs of rows: its statistic, level and power."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF

from gpkern import LinearKSDTest
from gpkern.estimators import _linear_ksd


def minus(X):
    """Score of the standard normal distribution."""
    return -X


def normal(n, d, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def stein(x, y, s, t, name, scale):
    """Stein kernel of one pair, written out."""
    delta, d = x - y, len(x)
    r = delta @ delta
    if name == "rbf":
        k = np.exp(-r / (2 * scale**2))
        first, second = -k / (2 * scale**2), k / (4 * scale**4)
    else:
        q = 1 + r / scale**2
        k, first = q**-0.5, -0.5 * q**-1.5 / scale**2
        second = 0.75 * q**-2.5 / scale**4
    return k * (s @ t) - 2 * first * ((s - t) @ delta) - 2 * d * first - 4 * r * second


@pytest.mark.parametrize("name", ["imq", "rbf"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistic(device, monkeypatch, name, dtype):
    monkeypatch.setattr(_linear_ksd, "CHUNK", 100)  # blocks of 8 pairs
    X = normal(61, 3).astype(dtype)
    test = LinearKSDTest(
        minus, kernel=name, length_scale=1.5, device=device, random_state=3
    ).fit(X)
    order = np.random.RandomState(3).permutation(61)
    X = X.astype(np.float64)
    pairs = zip(order[:60:2], order[1:60:2], strict=True)
    h = np.array([stein(X[i], X[j], -X[i], -X[j], name, 1.5) for i, j in pairs])
    statistic = np.sqrt(30) * h.mean() / h.std(ddof=1)
    assert_allclose(test.statistic_, statistic, rtol=1e-9)
    assert_allclose(test.pvalue_, stats.norm.sf(statistic), rtol=1e-8)
    assert_allclose(test.discrepancy_, h.mean(), rtol=1e-9)
    assert_allclose(test.standard_error_, h.std(ddof=1) / np.sqrt(30), rtol=1e-9)


def test_results():
    test = LinearKSDTest(minus, random_state=0).fit(normal(200, 2))
    statistic, p = test.result_
    assert (statistic, p) == (test.statistic_, test.pvalue_)
    assert_allclose(test.null_distribution_.sf(statistic), p)
    assert test.rejected_ == (p <= 0.05)
    assert test.n_features_in_ == 2
    assert test.length_scale_ == test.kernel_.length_scale > 0


def test_scores_in_the_place_of_a_target():
    X = normal(100, 2)
    one = LinearKSDTest(minus, random_state=0).fit(X)
    other = LinearKSDTest(random_state=0).fit(X, scores=-X)
    assert one.statistic_ == other.statistic_


def test_random_state():
    X = normal(300, 2)
    p = [LinearKSDTest(minus, random_state=s).fit(X).pvalue_ for s in (0, 0, 1)]
    assert p[0] == p[1] != p[2]


def test_power():
    X = normal(5000, 2, shift=0.3)
    assert LinearKSDTest(minus, random_state=0).fit(X).pvalue_ < 1e-4
    assert LinearKSDTest(minus, kernel=RBF(1.0), random_state=0).fit(X).rejected_


def test_sorted_rows_make_independent_pairs():
    X = np.sort(normal(2000, 1), axis=0)
    with pytest.warns(UserWarning, match="successive rows"):
        test = LinearKSDTest(minus, random_state=0).fit(X)
    assert not test.rejected_


@pytest.mark.parametrize("d", [1, 50])
def test_level(d):
    p = [
        LinearKSDTest(minus, random_state=s).fit(normal(100, d, s)).pvalue_
        for s in range(40)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("d", [1, 5, 50])
@pytest.mark.parametrize("n", [30, 1000])
def test_exact_level(n, d):
    p = [
        LinearKSDTest(minus, random_state=s).fit(normal(n, d, s)).pvalue_
        for s in range(400)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.08


def test_errors():
    X = normal(60, 2)
    with pytest.raises(ValueError, match=r"KSDTest\(null='markov'\)"):
        LinearKSDTest(minus).fit(X.reshape(2, 30, 2))
    with pytest.raises(ValueError, match="at least 4 rows"):
        LinearKSDTest(minus).fit(X[:3])
    with pytest.raises(ValueError, match="all rows of X are equal"):
        LinearKSDTest(minus).fit(np.ones((10, 2)))
    with pytest.raises(ValueError, match="the scores"):
        LinearKSDTest().fit(X)
    with pytest.raises(ValueError, match="kernel"):
        LinearKSDTest(minus, kernel="linear").fit(X)
    with pytest.raises(ValueError, match="length_scale"):
        LinearKSDTest(minus, length_scale=[1.0, 2.0]).fit(X)


def test_a_failed_fit_changes_nothing():
    X = normal(60, 2)
    test = LinearKSDTest(minus, random_state=0).fit(X)
    before = dict(vars(test))
    with pytest.raises(ValueError, match="NaN"):
        test.fit(X * np.nan)
    assert vars(test) == before
    assert not hasattr(clone(test), "pvalue_")
