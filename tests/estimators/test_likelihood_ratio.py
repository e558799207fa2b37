"""`LearnedLikelihoodRatioTest`: what it finds, its level, and its edges."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize
from scipy.spatial.distance import pdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import LearnedLikelihoodRatioTest
from gpkern.kernels import Matern


def normal(n, seed=0, d=2):
    return np.random.default_rng(seed).normal(size=(n, d))


def monitor(**options):
    options = {"n_toys": 30, "random_state": 0, **options}
    return LearnedLikelihoodRatioTest(**options)


def bumped(n=200, extra=30, seed=3):
    rng = np.random.default_rng(seed)
    bump = rng.normal([1.5, -1.5], 0.1, size=(extra, 2))
    return np.vstack([rng.normal(size=(n - extra, 2)), bump])


@pytest.fixture(scope="module")
def fitted():
    return monitor().fit(normal(3000), expected=200)


def test_statistic_by_its_definition(asarray, host):
    """With the units, centres and length scale that were found, in plain NumPy."""
    X, batch = normal(600) * [1.0, 5.0], normal(60, 1) * [1.2, 5.0]
    test = monitor(n_centers=30, penalty=1e-4, tol=1e-12)
    test.fit(asarray(X), expected=50)
    t, p, z = test.test(asarray(batch))
    spread = X.std(axis=0)
    Z = host(test.centers_) / spread
    kept = host(test._reference) * spread + X.mean(axis=0)
    assert len(kept) == test.n_reference_ == 600 - int(np.ceil(50 + 5 * 50**0.5))
    rows = np.vstack([kept, batch]) / spread
    gamma = 0.5 / test.length_scale_**2
    values, vectors = np.linalg.eigh(rbf_kernel(Z, Z, gamma))
    keep = values > 1e-12 * values[-1]
    features = rbf_kernel(rows, Z, gamma) @ vectors[:, keep] / values[keep] ** 0.5
    is_one = np.arange(len(rows)) >= len(kept)
    weights = np.where(is_one, 1.0, 50 / len(kept))
    alpha = 1e-4 * (len(kept) + 50)

    def loss(theta):
        F = features @ theta[:-1] + theta[-1]
        value = weights @ (np.logaddexp(0.0, F) - is_one * F)
        U = weights * (1 / (1 + np.exp(-F)) - is_one)
        slope = np.append(features.T @ U + alpha * theta[:-1], U.sum())
        return value + 0.5 * alpha * (theta[:-1] ** 2).sum(), slope

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-10}
    start = np.zeros(keep.sum() + 1)
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    F = features @ theta[:-1] + theta[-1]
    expected = 2 * (F[is_one].sum() + (weights * (1 - np.exp(F)))[~is_one].sum())
    assert t == pytest.approx(expected, rel=1e-3)
    assert_allclose(host(test.score_samples(asarray(batch))), F[is_one], atol=2e-3)
    assert (p, z) == (test.pvalue_, test.zscore_)
    assert p == pytest.approx(stats.chi2(test.df_).sf(t))
    assert z == pytest.approx(stats.norm.isf(p))
    assert test.result_.n_rows == 60 and test.statistic_ == t


def test_attributes(fitted):
    X = normal(3000)
    assert fitted.null_distribution_.shape == (30,)
    assert fitted.df_ == fitted.null_distribution_.mean()
    assert fitted.goodness_of_fit_ > 0.01
    assert fitted.expected_ == 200.0 and fitted.n_features_in_ == 2
    assert len(fitted.centers_) == np.ceil(4 * np.sqrt(3200))
    distances = np.abs(fitted.centers_[:, None] - X[None]).max(axis=2)
    assert_allclose(distances.min(axis=1), 0.0, atol=1e-12)
    scale = np.quantile(pdist(X / X.std(axis=0)), 0.9)
    assert fitted.length_scale_ == pytest.approx(scale, rel=0.05)
    assert fitted.kernel_ == RBF(fitted.length_scale_)


def test_a_batch_of_the_reference_and_one_with_a_bump(fitted):
    assert fitted.test(normal(200, 5)).pvalue > 0.01
    assert fitted.test(bumped()).zscore > 4
    inside, outside = fitted.score_samples([[1.5, -1.5], [-1.0, 1.0]])
    assert inside > 1 and outside < 0.5


def test_more_rows_than_expected_count(fitted):
    assert fitted.test(normal(200, 5)).zscore < 3
    assert fitted.test(normal(320, 5)).zscore > 5
    assert fitted.test(normal(100, 5)).zscore > 5
    assert fitted.test(normal(1, 5)).zscore > 10


def test_rows_that_are_far_from_all_centers_count(fitted):
    """As of values that stand for an overflow."""
    far = np.vstack([normal(200, 5), np.full((30, 2), 999.0)])
    assert fitted.test(far).zscore > 10
    assert fitted.score_samples([[999.0, 999.0]]) == fitted.intercept_ > 2


def test_extreme_batches_have_finite_z_scores(fitted):
    for shift in (3.0, 4.0, 6.0):
        _, p, z = fitted.test(normal(600, 5) + shift)
        assert p == 0.0 and 40 < z < np.inf


@pytest.mark.parametrize("calibration", ["chi2", "toys"])
def test_calibrations(calibration):
    test = monitor(calibration=calibration).fit(normal(3000), expected=200)
    t, p, z = test.test(normal(200, 5))
    assert z == pytest.approx(stats.norm.isf(p))
    if calibration == "toys":
        assert p == (1 + (test.null_distribution_ >= t).sum()) / 31
        assert test.test(bumped()).pvalue == 1 / 31
    else:
        assert p == pytest.approx(stats.chi2.sf(t, test.df_))


@pytest.mark.parametrize("kind", ["rows", "simulator"])
def test_a_null_sample(kind):
    X = normal(1500)
    null = normal(2000, 7) if kind == "rows" else lambda n, rng: rng.normal(size=(n, 2))
    test = monitor().fit(X, expected=150, null=null)
    assert test.n_reference_ == 1500  # none is set aside
    own = monitor().fit(normal(5000), expected=150)
    assert test.df_ == pytest.approx(own.df_, rel=0.25)
    assert test.test(normal(150, 9)).pvalue > 0.01
    assert test.test(bumped(150)).zscore > 4


def test_a_null_sample_in_the_units_of_the_reference():
    X, scale = normal(1000), np.array([1e3, 1e-3])
    plain = monitor().fit(X, expected=60, null=normal(500, 1))
    scaled = monitor().fit(X * scale, expected=60, null=normal(500, 1) * scale)
    assert_allclose(scaled.null_distribution_, plain.null_distribution_, rtol=1e-3)
    narrow = monitor(standardize=False, length_scale=1.0).fit(X, expected=60)
    assert_array_equal(narrow._units.spread, 1.0)


def test_fixed_counts():
    test = monitor(counts="fixed", calibration="toys").fit(normal(2000), expected=150)
    assert test.test(normal(150, 5)).pvalue > 0.03
    with pytest.raises(ValueError, match=r"X has 149 rows.*expected=150"):
        test.test(normal(149, 5))
    with pytest.raises(ValueError, match=r"expected=150.5 is not the number"):
        monitor(counts="fixed").fit(normal(2000), expected=150.5)


def p_values(n_batches, calibration, seed=0):
    rng = np.random.default_rng(seed)
    test = monitor(n_toys=100, calibration=calibration)
    test.fit(rng.normal(size=(6000, 2)), expected=150)
    sizes = rng.poisson(150, size=n_batches)
    return np.array([test.test(rng.normal(size=(n, 2))).pvalue for n in sizes])


def test_p_values_under_the_null_hypothesis():
    p = p_values(60, "chi2")
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert (p <= 0.05).mean() < 0.15


@pytest.mark.slow
@pytest.mark.parametrize("calibration", ["chi2", "toys"])
def test_p_values_are_uniform_under_the_null_hypothesis(calibration):
    """Of six references, whose noise all of their batches share."""
    p = np.concatenate([p_values(50, calibration, seed) for seed in range(6)])
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert 0.01 <= (p <= 0.05).mean() <= 0.1


@pytest.mark.slow
def test_level_over_small_references():
    """Of five times the rows that are expected, one batch for each."""
    rng, p = np.random.default_rng(0), []
    for seed in range(150):
        test = monitor(n_toys=40, random_state=seed, calibration="toys")
        test.fit(rng.normal(size=(600, 2)), expected=100)
        p.append(test.test(rng.normal(size=(rng.poisson(100), 2))).pvalue)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert (np.array(p) <= 0.05).mean() <= 0.11


def test_float32(asarray, host):
    X, batch = normal(3000), bumped()
    wide = monitor().fit(asarray(X), expected=200)
    with warnings.catch_warnings():
        # Rounding is where float32 ends, not a failure to converge.
        warnings.simplefilter("error", ConvergenceWarning)
        low = monitor().fit(asarray(X.astype(np.float32)), expected=200)
        low.test(asarray(batch.astype(np.float32)))
    assert_allclose(low.null_distribution_, wide.null_distribution_, atol=0.5)
    expected = wide.test(asarray(batch)).statistic
    narrow = asarray(batch.astype(np.float32))
    assert low.test(narrow).statistic == pytest.approx(expected, rel=0.02)
    scores = low.score_samples(narrow)
    # The work is in float64 whatever the data: penalties are too small for float32.
    assert scores.dtype == low.dual_coef_.dtype == low.centers_.dtype == np.float64
    assert_allclose(host(scores), host(wide.score_samples(asarray(batch))), atol=0.1)
    again = low.test(asarray(batch)).statistic
    assert again == pytest.approx(expected, rel=0.02)


def test_devices_agree(asarray, host):
    X, batch = normal(2000), bumped()
    here = monitor().fit(X, expected=200)
    there = monitor().fit(asarray(X), expected=200)
    assert_allclose(host(there.centers_), here.centers_, rtol=1e-12)
    assert_allclose(there.null_distribution_, here.null_distribution_, rtol=1e-3)
    t = here.test(batch).statistic
    assert there.test(asarray(batch)).statistic == pytest.approx(t, rel=1e-3)


def test_data_frames():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(normal(2000), columns=["a", "b"])
    test = monitor().fit(X, expected=200, null=X)
    assert list(test.feature_names_in_) == ["a", "b"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = test.test(X[:200])
        test.score_samples(X[:5])
    assert found.statistic == test.test(X[:200].astype(float)).statistic
    with pytest.raises(ValueError, match="feature names should match"):
        test.test(X.rename(columns={"a": "c"}))
    with pytest.raises(ValueError, match="null: The feature names should match"):
        monitor().fit(X, expected=200, null=X.rename(columns={"a": "c"}))


def test_expected():
    X = normal(500)
    for expected in (0, -1.0, np.nan, np.inf, "many", [50], True):
        with pytest.raises(ValueError, match="must be a number above 0"):
            monitor().fit(X, expected=expected)
    with pytest.raises(ValueError, match="number of rows that a batch has on average"):
        monitor().fit(X)
    assert monitor().fit(X, expected=np.int64(20)).expected_ == 20.0


def test_too_few_rows():
    X = normal(100)
    for options, expected, null, message in (
        ({}, 120, None, "expected=120 rows of a batch, 175 with room"),
        ({}, 1000, None, "pass more rows, or a null sample"),
        ({"n_centers": 101}, 10, None, "n_centers=101 is more than the 100 rows"),
        ({"n_centers": 90}, 20, None, "90 centers are too many for 100 rows"),
        ({}, 20, normal(30), "30 of null: pass more rows$"),
        ({"counts": "fixed"}, 20, normal(19), "19 of null: pass more rows$"),
        ({}, 20, normal(200, d=3), "null: X has 3 features"),
        ({}, 20, np.full((200, 2), np.nan), "null: Input X contains NaN"),
        ({}, 20, lambda n, rng: normal(n + 1), r"null\(n_rows, rng\) returned"),
        ({}, 20, lambda n, rng: normal(n, d=3), r"null\(n_rows, rng\): X has 3"),
    ):
        with pytest.raises(ValueError, match=message):
            monitor(**options).fit(X, expected=expected, null=null)
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        monitor().fit(X[:1], expected=1)
    with pytest.warns(UserWarning, match="toys of 20 rows are drawn from 55 of null"):
        monitor().fit(X, expected=20, null=normal(55, 1))
    with pytest.warns(UserWarning, match="80 rows of the reference .* fewer than"):
        monitor().fit(X[:80], expected=100, null=normal(400, 1))


def test_bad_batches(fitted):
    before = fitted.test(normal(200, 5))
    for batch, message in (
        (np.empty((0, 2)), "0 sample"),
        (normal(50, d=3), "3 features"),
        (np.ones(5), "Expected 2D"),
        (np.full((5, 2), np.nan), "NaN"),
        (np.full((5, 2), np.inf), "infinity"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.test(batch)
        assert fitted.result_ == before
    with pytest.raises(NotFittedError):
        monitor().test(normal(5))


def test_bad_parameters():
    for name, value in (
        ("kernel", "poly"),
        ("length_scale", 0.0),
        ("n_centers", 0),
        ("penalty", 0.0),
        ("n_toys", 1),
        ("calibration", "normal"),
        ("counts", "binomial"),
        ("tol", 0.0),
        ("max_iter", 0),
    ):
        with pytest.raises(ValueError, match=f"'{name}' parameter"):
            monitor(**{name: value}).fit(normal(100), expected=10)
    with pytest.raises(ValueError, match="NaN"):
        monitor().fit(np.full((100, 2), np.nan), expected=10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 + 0.1])
def test_a_constant_column_is_left_alone(value):
    """Rounding gives 0.1 a standard deviation above 0."""
    X = np.column_stack([normal(2000), np.full(2000, value)])
    test, plain = monitor(), monitor()
    test.fit(X, expected=100)
    plain.fit(X[:, :2], expected=100)
    assert_allclose(test.null_distribution_, plain.null_distribution_, rtol=1e-3)
    assert test.test(X[:100]).pvalue > 0.01
    assert test.test(X[:100] + np.array([0, 0, 50.0])).zscore > 10


def test_equal_rows_are_a_test_of_their_number():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        test = monitor(n_toys=200).fit(np.ones((3000, 2)), expected=100)
        assert test.df_ == pytest.approx(1.0, abs=0.4)
        # t is 2 (n log(n / expected) - n + expected)
        t = test.test(np.ones((130, 2))).statistic
    assert t == pytest.approx(2 * (130 * np.log(1.3) - 30), rel=1e-3)


def test_warnings():
    with pytest.warns(ConvergenceWarning, match="toys did not converge in max_iter=1"):
        monitor(max_iter=1).fit(normal(500), expected=20)
    with pytest.warns(UserWarning, match="do not follow a chi-square"):
        monitor(n_toys=200).fit(np.ones((2000, 1)), expected=0.2)


def test_warnings_are_the_callers():
    test = monitor().fit(normal(500), expected=20).set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning, match="fit of the batch") as caught:
        test.test(normal(20, 1))
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="n_toys=5 are too few") as caught:
        monitor(n_toys=5).fit(normal(500), expected=20)
    assert caught[0].filename == __file__


@pytest.mark.slow
def test_too_small_a_penalty_is_told():
    """Machines that follow single rows have statistics far below 0."""
    test = monitor(penalty=1e-12, n_centers=100, n_toys=20)
    with pytest.raises(ValueError, match="raise penalty, now 1e-12"):
        test.fit(normal(3000), expected=200)
    assert not hasattr(test, "df_")
    with pytest.warns(UserWarning, match="raise penalty, now 1e-10"):
        test.set_params(penalty=1e-10).fit(normal(3000), expected=200)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_units_of_columns_are_nothing(scale):
    X, batch = normal(1000), normal(50, 1) + 3.0
    one = monitor().fit(X, expected=50).test(batch)
    other = monitor().fit(scale * X, expected=50).test(scale * batch)
    assert other.statistic == pytest.approx(one.statistic, rel=1e-6)


def test_goodness_of_fit_is_that_of_the_mean(fitted):
    null = fitted.null_distribution_
    assert fitted.df_ == pytest.approx(null.mean())
    expected = stats.kstest(null, stats.chi2(null.mean()).cdf).pvalue
    assert fitted.goodness_of_fit_ == pytest.approx(expected)


def test_a_simulator_needs_no_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(normal(500), columns=["a", "b"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor().fit(frame, expected=20, null=lambda n, rng: rng.normal(size=(n, 2)))


def test_a_fit_forgets_the_last_batch(fitted):
    test = clone(fitted).fit(normal(1000), expected=50)
    test.test(normal(50, 1))
    test.fit(normal(1000, 1), expected=50)
    assert not {"result_", "pvalue_", "dual_coef_", "intercept_"} & set(vars(test))
    with pytest.raises(NotFittedError, match=r"test\(batch\)"):
        test.score_samples(normal(3))


def test_a_fit_that_fails_leaves_the_last_one():
    test = monitor().fit(normal(1000), expected=50)
    t = test.test(normal(50, 1)).statistic
    df = test.df_
    for X, expected in ((normal(1000, d=3), 0), (normal(60, d=3), 50)):
        with pytest.raises(ValueError, match="expected"):
            test.fit(X, expected=expected)
    assert (test.df_, test.statistic_, test.n_features_in_) == (df, t, 2)
    assert test.test(normal(50, 1)).statistic == pytest.approx(t)


def test_other_kernels():
    test = monitor(kernel=Matern(2.0, nu=1.5)).fit(normal(1000), expected=80)
    assert test.kernel_ == Matern(2.0, nu=1.5) and test.length_scale_ == 2.0
    assert test.test(bumped(80)).zscore > 3
    test = monitor(kernel=RBF(1.0), length_scale=2.0).fit(normal(1000), expected=80)
    assert test.kernel_ == RBF(2.0)


def test_pickle_and_random_state(fitted):
    test = clone(fitted).fit(normal(1000), expected=80)
    again = clone(fitted).fit(normal(1000), expected=80)
    assert_array_equal(again.null_distribution_, test.null_distribution_)
    other = monitor(random_state=1).fit(normal(1000), expected=80)
    assert (other.null_distribution_ != test.null_distribution_).any()
    found, V = test.test(bumped(80)), normal(5, 2)
    stored = pickle.dumps(test)
    assert len(stored) < 100_000  # without matrices of the centres
    loaded = pickle.loads(stored)
    assert_array_equal(loaded.score_samples(V), test.score_samples(V))
    assert loaded.test(bumped(80)) == found


class Expecting(LearnedLikelihoodRatioTest):
    """With the number that `fit` must be given, for scikit-learn's checks."""

    def fit(self, X, y=None):
        with warnings.catch_warnings():
            # Data of the checks have a few dozen rows.
            warnings.simplefilter("ignore")
            return super().fit(X, expected=1)


_NO_BATCH = "score_samples is of the last batch, and fit alone has none"


@parametrize_with_checks(
    [Expecting(n_toys=5, counts="fixed", penalty=0.1)],
    expected_failed_checks=lambda _: {
        "check_methods_sample_order_invariance": _NO_BATCH,
        "check_methods_subset_invariance": _NO_BATCH,
    },
)
def test_common_checks(estimator, check):
    check(estimator)
