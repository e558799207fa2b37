"""The Stein test at chosen locations: parts of the sample, level and power."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.gaussian_process.kernels import RBF, Matern

from gpkern import FSSDTest


def minus(X):
    """Score of the standard normal distribution."""
    return -X


def normal(n, d, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def test_given_locations(device):
    X, V = normal(80, 2), np.array([[0.5, 0.0], [-1.0, 1.0]])
    test = FSSDTest(
        minus, locations=V, length_scale=1.2, device=device, random_state=0
    ).fit(X)
    delta = X[:, None] - V
    k = np.exp(-(delta**2).sum(-1) / (2 * 1.44))[:, :, None]
    tau = (-k * X[:, None] - k * delta / 1.44).reshape(80, -1) / 2.0
    gram = tau @ tau.T
    np.fill_diagonal(gram, 0.0)
    assert_allclose(test.statistic_, gram.sum() / 79, rtol=1e-10)
    assert_array_equal(test.locations_, V)
    assert test.n_test_ == 80
    assert test.length_scale_ == 1.2


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_power(device, kernel):
    X = normal(600, 3, shift=[0.5, 0.0, 0.0])
    test = FSSDTest(minus, kernel=kernel, device=device, random_state=0).fit(X)
    assert test.pvalue_ < 0.01
    assert test.locations_.shape == (5, 3)
    assert test.n_test_ == 480


def test_choosing_locations_gains_power():
    """A bump that most places do not show: variance 1 but for one column of many."""

    def share(**options):
        p = [
            FSSDTest(minus, n_locations=1, n_resamples=500, random_state=s, **options)
            .fit(normal(500, 8, s) * np.r_[1.35, np.ones(7)])
            .pvalue_
            for s in range(12)
        ]
        return np.mean(np.array(p) <= 0.05)

    assert share() >= share(optimize=False) + 0.2


def test_what_is_chosen():
    X = normal(400, 2)
    free = FSSDTest(minus, random_state=0).fit(X)
    median = FSSDTest(minus, random_state=0, length_scale="median").fit(X)
    object_ = FSSDTest(minus, random_state=0, kernel=RBF(0.7)).fit(X)
    drawn = FSSDTest(minus, random_state=0, optimize=False).fit(X)
    assert free.length_scale_ != median.length_scale_ == drawn.length_scale_
    assert object_.length_scale_ == 0.7
    assert not np.allclose(median.locations_, drawn.locations_)


def test_chosen_locations_stay_in_reach():
    """Training rows that show no difference must not send all locations away."""
    for s in (6, 27):
        X = normal(1000, 1, s)
        test = FSSDTest(minus, random_state=s, n_resamples=200).fit(X)
        assert test.pvalue_ > 0.05
        assert np.abs(test.locations_ - X.T).min(axis=1).max() < test.length_scale_


def test_train_size():
    X = normal(100, 2)
    assert FSSDTest(minus, train_size=30).fit(X).n_test_ == 70
    assert FSSDTest(minus, train_size=0.5).fit(X).n_test_ == 50
    with pytest.raises(ValueError, match="leaves 99 rows"):
        FSSDTest(minus, train_size=99).fit(X)
    with pytest.raises(ValueError, match="leaves 1 rows"):
        FSSDTest(minus).fit(X[:5])


def test_training_rows_of_many_columns(monkeypatch):
    monkeypatch.setattr("gpkern.estimators._fssd_test.TRAINING_FEATURES", 1000)
    monkeypatch.setattr("gpkern.estimators._fssd_test.FEWEST_ROWS", 10)
    X, many = normal(400, 20), FSSDTest(minus, n_locations=5, train_size=200)
    assert many.fit(X).n_test_ == 390
    assert many.set_params(n_locations=1).fit(X).n_test_ == 350


def test_results_and_random_state():
    X = normal(200, 2)
    tests = [FSSDTest(minus, random_state=s, n_resamples=99) for s in (0, 0, 1)]
    a, b, c = (t.fit(X) for t in tests)
    assert tuple(a.result_) == (a.statistic_, a.pvalue_) == tuple(b.result_)
    assert_array_equal(a.null_distribution_, b.null_distribution_)
    assert a.statistic_ != c.statistic_
    assert a.null_distribution_.shape == (99,)
    assert a.rejected_ == (a.pvalue_ <= 0.05)
    assert a.n_features_in_ == 2


def test_distributions_and_scores():
    X = normal(200, 1)
    one = FSSDTest(stats.norm(), random_state=0).fit(X)
    other = FSSDTest(random_state=0).fit(X, scores=-X)
    assert_allclose(one.statistic_, other.statistic_)


@pytest.mark.parametrize("d", [1, 50])
def test_level(d):
    p = [
        FSSDTest(minus, n_resamples=199, random_state=s).fit(normal(150, d, s)).pvalue_
        for s in range(12)
    ]
    assert np.mean(np.array(p) <= 0.05) <= 0.17


@pytest.mark.slow
@pytest.mark.parametrize(("optimize", "count"), [(True, 150), (False, 1000)])
@pytest.mark.parametrize("d", [1, 5, 50])
@pytest.mark.parametrize("n", [300, 1000])
def test_exact_level(n, d, optimize, count):
    options = {"n_resamples": 500, "optimize": optimize}
    p = [
        FSSDTest(minus, random_state=s, **options).fit(normal(n, d, s)).pvalue_
        for s in range(count)
    ]
    # Three standard errors of the share above the level.
    most = 0.05 + 3.0 * np.sqrt(0.05 * 0.95 / count)
    assert np.mean(np.array(p) <= 0.05) <= most


def test_errors():
    X = normal(60, 2)
    with pytest.raises(ValueError, match=r"KSDTest\(null='markov'\)"):
        FSSDTest(minus).fit(X.reshape(2, 30, 2))
    with pytest.raises(ValueError, match=r"locations must have shape \(J, 2\)"):
        FSSDTest(minus, locations=np.ones((3, 3))).fit(X)
    with pytest.raises(ValueError, match="locations contains NaN"):
        FSSDTest(minus, locations=[[np.nan, 0.0]]).fit(X)
    with pytest.raises(ValueError, match="the scores"):
        FSSDTest().fit(X)
    with pytest.raises(ValueError, match="not smooth"):
        FSSDTest(minus, kernel=Matern(nu=0.5)).fit(X)
    with pytest.raises(ValueError, match="leave no digits; rescale X"):
        FSSDTest().fit(X, scores=-1e120 * X)
    with pytest.raises(ValueError, match="features of all rows are 0"):
        FSSDTest(minus, length_scale=1e-3, locations=[[50.0, 0.0]]).fit(X)
    with pytest.warns(UserWarning, match="never rejects"):
        FSSDTest(minus, n_resamples=5).fit(X)
    with pytest.warns(UserWarning, match=r"use KSDTest\(null='markov'\)"):
        FSSDTest(minus).fit(np.cumsum(X, axis=0))
