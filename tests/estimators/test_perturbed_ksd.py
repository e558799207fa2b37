"""`PerturbedKSDTest`: missing modes are seen, and samples of the density pass."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF
from sklearn.mixture import GaussianMixture

from gpkern import KSDTest, PerturbedKSDTest
from gpkern.targets import LogDensity, Mixture, Score

METHODS = ["split", "sum"]


def two(apart):
    return Mixture([0.5, 0.5], [[0.0], [apart]], 1.0)


def left(seed, n=200):
    return np.random.default_rng(seed).normal(size=(n, 1))


def p_values(target, samples, **parameters):
    return np.array(
        [
            PerturbedKSDTest(target, random_state=i, **parameters).fit(X).pvalue_
            for i, X in enumerate(samples)
        ]
    )


@pytest.mark.parametrize("apart", [6.0, 20.0, 100.0])
def test_power(apart):
    """All rows in one of two modes: seen, where scores at the rows show nothing."""
    target, samples = two(apart), [left(i) for i in range(10)]
    plain = [KSDTest(target, random_state=0).fit(X).rejected_ for X in samples]
    assert np.mean(plain) <= 0.2
    assert (p_values(target, samples, method="sum") <= 0.01).all()
    assert np.mean(p_values(target, samples, method="split") <= 0.05) >= 0.9


@pytest.mark.parametrize("method", METHODS)
def test_level(method):
    """Of 40 samples of the density; six rejections have a probability below 0.014."""
    target = two(6.0)
    samples = [target.sample(200, i) for i in range(40)]
    assert (p_values(target, samples, method=method, n_resamples=200) <= 0.05).sum() < 6


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_level_of_many(method):
    target = two(6.0)
    samples = [target.sample(200, i) for i in range(300)]
    p = p_values(target, samples, method=method, n_resamples=200)
    assert np.mean(p <= 0.05) <= 0.08
    assert 0.1 < np.mean(p <= 0.3) < 0.4


@pytest.mark.parametrize("method", METHODS)
def test_shares_in_two_columns(method):
    """Four modes of other shapes, of which the sample has the wrong shares."""
    means = np.array([[-8.0, 0.0], [8.0, 0.0], [0.0, 9.0], [0.0, -9.0]])
    shapes = [np.eye(2), 0.3 * np.eye(2), [[1.0, 0.8], [0.8, 1.0]], np.diag([2.0, 0.1])]
    target = Mixture([0.25] * 4, means, shapes)
    right = target.sample(300, 0)
    wrong = Mixture([0.88, 0.04, 0.04, 0.04], means, shapes).sample(300, 0)
    good = PerturbedKSDTest(target, method=method, random_state=0).fit(right)
    assert good.n_modes_ == 4 and good.modes_.shape == (4, 2)
    assert good.pvalue_ > 0.05
    assert PerturbedKSDTest(target, method=method, random_state=0).fit(wrong).rejected_


def test_attributes():
    target, X = two(6.0), two(6.0).sample(100, 0)
    test = PerturbedKSDTest(target, method="split", n_resamples=99, random_state=0)
    test.fit(X)
    assert test.null_distribution_.shape == (99,)
    assert test.result_.pvalue == test.pvalue_ and isinstance(test.rejected_, bool)
    counted = 1 + (test.null_distribution_ >= test.statistic_).sum()
    assert_allclose(test.pvalue_, counted / 100)
    assert_allclose(np.sort(test.modes_.ravel()), [0.0, 6.0], atol=1e-4)
    assert_allclose(test.mode_log_density_, target.log_density(test.modes_))
    assert test.theta_ in test.thetas_ and test.thetas_.shape == (21,)
    assert test.n_modes_ == 2 and test.n_features_in_ == 1
    # Each set of rows has a median of its own.
    assert len(test.kernels_) == 2 and len(set(test.length_scale_)) == 2
    test.set_params(method="sum", kernel="rbf").fit(X)
    assert len(test.kernels_) == 22 and test.theta_ is None
    assert isinstance(test.kernels_[3], RBF)
    fixed = clone(test).set_params(length_scale=2.5, thetas=[1.1]).fit(X)
    assert fixed.length_scale_ == [2.5, 2.5]


def test_sum_of_ksd_tests():
    """The statistic is that of KSDTest, of the rows before jumps and after."""
    target, X = two(6.0), left(0)
    for kind in ("u", "v"):
        test = PerturbedKSDTest(
            target, method="sum", thetas=[400.0], statistic=kind, random_state=0
        ).fit(X)
        # Jumps so far lead nowhere: both sets are the rows.
        plain = KSDTest(target, statistic=kind, random_state=0).fit(X)
        assert_allclose(test.statistic_, 2.0 * plain.statistic_, rtol=1e-10)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("null", ["wild", "multinomial"])
def test_random_state(method, null):
    target, X = two(6.0), left(0)
    test = PerturbedKSDTest(target, method=method, null=null, random_state=3).fit(X)
    again = clone(test).fit(X)
    assert test.statistic_ == again.statistic_ and test.pvalue_ == again.pvalue_
    assert_array_equal(test.null_distribution_, again.null_distribution_)
    other = clone(test).set_params(random_state=4).fit(X)
    assert other.statistic_ != test.statistic_
    assert pickle.loads(pickle.dumps(test)).pvalue_ == test.pvalue_


@pytest.mark.parametrize("method", METHODS)
def test_the_origin_does_not_matter(method):
    """Modes of different shapes, at 0 and far from it."""
    means, shapes = np.array([[0.0], [8.0]]), [[1.0], [0.25]]
    X = left(0)
    here = PerturbedKSDTest(
        Mixture([0.5, 0.5], means, shapes), method=method, random_state=0
    ).fit(X)
    there = PerturbedKSDTest(
        Mixture([0.5, 0.5], means + 1024.0, shapes), method=method, random_state=0
    ).fit(X + 1024.0)
    assert here.rejected_ and there.rejected_
    assert_allclose(there.statistic_, here.statistic_, rtol=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_one_mode(method):
    X = left(1)
    with pytest.warns(UserWarning, match="one mode of the density found") as caught:
        test = PerturbedKSDTest(stats.norm(), method=method, random_state=0).fit(X)
    assert caught[0].filename == __file__
    plain = KSDTest(stats.norm(), random_state=0).fit(X)
    assert_allclose(test.statistic_, plain.statistic_, rtol=1e-12)
    assert abs(test.pvalue_ - plain.pvalue_) < 0.1
    assert test.n_modes_ == 1 and test.theta_ is None and test.thetas_ is None
    assert_allclose(test.modes_, [[0.0]], atol=1e-6)
    assert isinstance(test.length_scale_, float)


def test_no_mode():
    flat = Score(np.zeros_like, lambda X: np.zeros(len(X)))
    with pytest.warns(UserWarning, match="mode of the density found"):
        PerturbedKSDTest(flat, random_state=0).fit(left(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogDensity(two(6.0).log_density),
        lambda: FrozenEstimator(
            GaussianMixture(2, random_state=0).fit(two(6.0).sample(2000, 0))
        ),
    ],
    ids=["log density", "estimator"],
)
def test_targets(make):
    test = clone(PerturbedKSDTest(make(), method="sum", random_state=0))
    assert test.fit(left(0)).rejected_
    assert not test.fit(two(6.0).sample(200, 5)).rejected_


def test_density_on_a_half_line():
    """Jumps out of the support are never made."""
    target = stats.gamma(3.0)
    log = LogDensity(
        lambda X: np.logaddexp(target.logpdf(X[:, 0]), stats.norm(20.0).logpdf(X[:, 0]))
    )

    def score(X):
        one, other = target.pdf(X), stats.norm(20.0).pdf(X)
        return (one * (2.0 / X - 1.0) - other * (X - 20.0)) / (one + other)

    X = stats.gamma(3.0).rvs((200, 1), random_state=0)
    test = PerturbedKSDTest(Score(score, log.f), method="sum", random_state=0).fit(X)
    assert test.n_modes_ == 2 and test.rejected_


def test_float32_and_lists():
    target, X = two(6.0), left(0, 60)
    double = PerturbedKSDTest(target, method="sum", random_state=0).fit(X)
    of_list = clone(double).fit(X.tolist())
    assert of_list.statistic_ == double.statistic_
    single = clone(double).fit(X.astype(np.float32))
    assert_allclose(single.statistic_, double.statistic_, rtol=0.1)


def test_device(asarray, device):
    target, X = two(6.0), left(0)
    on_host = PerturbedKSDTest(target, random_state=0).fit(X)
    test = PerturbedKSDTest(target, random_state=0).fit(asarray(X))
    assert_allclose(test.statistic_, on_host.statistic_, rtol=1e-6)
    assert abs(test.pvalue_ - on_host.pvalue_) <= 0.002
    assert isinstance(test.modes_, np.ndarray)


def test_errors():
    X, target = left(0, 20), two(6.0)
    with pytest.raises(TypeError, match=r"no log density.*Score\(score, log_density\)"):
        PerturbedKSDTest(lambda X: -X).fit(X)
    with pytest.raises(ValueError, match=r"KSDTest\(null='markov'\)"):
        PerturbedKSDTest(target).fit(X.reshape(2, 10, 1))
    with pytest.raises(ValueError, match=r"parts of 2 and 3 rows.*method='sum'"):
        PerturbedKSDTest(target, method="split", test_size=0.6).fit(X[:5])
    for thetas in ([], [[1.0]], 1.0, [0.0], [np.nan], ["a"]):
        with pytest.raises(ValueError, match="thetas"):
            PerturbedKSDTest(target, thetas=thetas).fit(X)
    wrong = {
        "method": "osp",
        "null": "markov",
        "n_steps": 0,
        "test_size": 1.0,
        "n_starts": 1,
        "kernel": ["imq", "rbf"],
        "length_scale": [1.0, 2.0],
        "alpha": 0.0,
    }
    for name, value in wrong.items():
        with pytest.raises(ValueError, match=name):
            PerturbedKSDTest(target, **{name: value}).fit(X)


def test_a_failed_fit_changes_nothing():
    test = PerturbedKSDTest(two(6.0), random_state=0).fit(left(0))
    before = dict(vars(test))
    with pytest.raises(ValueError, match="all rows of X are equal"):
        test.fit(np.ones((20, 1)))
    assert vars(test) == before


def test_warnings():
    target = two(6.0)
    with pytest.warns(UserWarning, match="n_resamples=10 gives no p-value below"):
        PerturbedKSDTest(target, n_resamples=10, random_state=0).fit(left(0))
    walk = np.cumsum(left(0), axis=0)
    with pytest.warns(UserWarning, match=r"correlate.*KSDTest\(null='markov'\)"):
        PerturbedKSDTest(target, random_state=0).fit(walk)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PerturbedKSDTest(target, random_state=0).fit(left(0))
