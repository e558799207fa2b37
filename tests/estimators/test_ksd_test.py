"""`KSDTest` against its definition in dense NumPy, its levels, and its edges."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process.kernels import RBF, Matern, RationalQuadratic
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelDensity, KernelOperator, KSDTest, RandomSigns, ksd_scorer
from gpkern.kernels import Laplacian, median_distance
from gpkern.targets import LogDensity, Mixture, Target


def standard_normal(X):
    return -X


def rows(n, d, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def dense(X, S, kernel, scale):
    """Stein kernel by its formula: differences of all pairs."""
    away = X[:, None] - X[None]
    r, d = (away**2).sum(axis=2), X.shape[1]
    if kernel == "rbf":
        phi = np.exp(-0.5 * r / scale**2)
        one, two = -phi / (2 * scale**2), phi / (4 * scale**4)
    else:
        base = 1 + r / scale**2
        phi = base**-0.5
        one, two = -0.5 * base**-1.5 / scale**2, 0.75 * base**-2.5 / scale**4
    cross = ((S[:, None] - S[None]) * away).sum(axis=2)
    return phi * (S @ S.T) - 2 * one * cross - 2 * d * one - 4 * r * two


def u_statistic(H):
    n = len(H)
    return (H.sum() - np.trace(H)) / (n * (n - 1))


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
@pytest.mark.parametrize("d", [1, 4])
def test_statistics_by_their_definitions(kernel, d, asarray, host):
    X = rows(120, d, shift=0.2)
    H = dense(X, -X, kernel, 1.3)
    options = {"kernel": kernel, "length_scale": 1.3, "random_state": 0}
    found = KSDTest(standard_normal, **options).fit(asarray(X))
    assert_allclose(found.statistic_, u_statistic(H), rtol=1e-10)
    assert_allclose(host(found.score_samples()), H.mean(axis=1), rtol=1e-9)
    biased = KSDTest(standard_normal, statistic="v", **options).fit(asarray(X))
    assert_allclose(biased.statistic_, H.mean(), rtol=1e-10)
    # With signs the two differ by a constant.
    assert biased.pvalue_ == found.pvalue_
    scored = KSDTest(**options).fit(asarray(X), scores=asarray(-X))
    assert scored.statistic_ == found.statistic_ and scored.pvalue_ == found.pvalue_


@pytest.mark.parametrize("n, d", [(60, 3), (700, 1)])  # the second by a low rank
def test_replicates_by_their_definition(n, d, asarray):
    X = rows(n, d)
    found = KSDTest(standard_normal, length_scale=1.0, n_resamples=300, random_state=5)
    found.fit(asarray(X))
    signs = RandomSigns(n, 300, np.random.RandomState(5)).rows(0, n, np, np.float64)
    H = dense(X, -X, "imq", 1.0)
    np.fill_diagonal(H, 0.0)
    expected = np.einsum("ib,ij,jb->b", signs, H, signs, optimize=True)
    expected /= n * (n - 1)
    # Bits of the kernel's values that are kept on a GPU: eleven.
    assert_allclose(found.null_distribution_, expected, atol=2e-3 * expected.std())
    count = (expected >= found.statistic_).sum()
    assert abs(found.pvalue_ * 301 - 1 - count) <= 1


def test_multinomial_replicates():
    X, n = rows(80, 2), 80
    found = KSDTest(
        standard_normal, length_scale=1.0, null="multinomial", random_state=3
    ).fit(X)
    H = dense(X, -X, "imq", 1.0)
    np.fill_diagonal(H, 0.0)
    rng = np.random.RandomState(3)
    for b in range(4):
        w = np.bincount(rng.randint(n, size=n), minlength=n) / n - 1 / n
        assert_allclose(found.null_distribution_[b], w @ H @ w, atol=1e-7)


def test_markov_signs_start_anew_in_each_chain():
    X = rows(6 * 40, 2).reshape(6, 40, 2)
    found = KSDTest(standard_normal, null="auto", random_state=0).fit(X)
    assert found.null_ == "markov"
    assert 1.0 <= found.autocorrelation_time_ < 3.0
    flat = KSDTest(standard_normal, null="auto", random_state=0).fit(X.reshape(-1, 2))
    assert flat.null_ == "wild"
    H = dense(X.reshape(-1, 2), -X.reshape(-1, 2), "imq", found.length_scale_)
    assert_allclose(found.statistic_, H.mean(), rtol=1e-9)


def brute_combined(statistics, replicates, weights):
    """The aggregated p-value, of all ranks one after another."""
    both = np.column_stack([statistics, replicates])
    k, b = both.shape
    smallest = np.full(b, np.inf)
    for i in range(k):
        for j in range(b):
            rank = (both[i] >= both[i, j]).sum() / b
            smallest[j] = min(smallest[j], rank / weights[i])
    return (smallest <= smallest[0]).mean()


def test_aggregated_by_its_definition():
    X, scales = rows(90, 2, shift=0.1), [0.5, 1.0, 4.0]
    found = KSDTest(
        standard_normal,
        kernel=["imq", "rbf"],
        length_scale=scales,
        aggregate=True,
        n_resamples=200,
        random_state=1,
    ).fit(X)
    signs = RandomSigns(90, 200, np.random.RandomState(1)).rows(0, 90, np, float)
    statistics, replicates = [], []
    for kernel in ("imq", "rbf"):
        for scale in scales:
            H = dense(X, -X, kernel, scale)
            np.fill_diagonal(H, 0.0)
            statistics.append(H.sum())
            replicates.append(np.einsum("ib,ij,jb->b", signs, H, signs, optimize=True))
    expected = brute_combined(statistics, np.array(replicates), np.full(6, 1 / 6))
    assert found.pvalue_ == pytest.approx(expected, abs=1.01 / 201)
    assert_allclose(found.per_kernel_["statistic"], np.array(statistics) / (90 * 89))
    assert found.length_scale_ == scales * 2
    p = (1 + (found.null_distribution_ >= found.statistic_).sum()) / 201
    assert found.pvalue_ == pytest.approx(p)


def test_the_largest_collection_is_in_the_units_of_the_data():
    X = rows(100, 3)
    small, large = (
        KSDTest(lambda x, c=c: -x / c**2, aggregate=True, random_state=0).fit(c * X)
        for c in (1e-3, 1e3)
    )
    assert_allclose(np.array(large.length_scale_) / small.length_scale_, 1e6)
    assert large.pvalue_ == small.pvalue_
    assert len(large.length_scale_) == 10


def test_median_is_that_of_the_rows():
    X = rows(50, 3)
    assert KSDTest(standard_normal).fit(X).length_scale_ == median_distance(X)
    own = KSDTest(standard_normal, kernel=RBF(0.7)).fit(X)
    assert own.length_scale_ == 0.7
    with_median = KSDTest(standard_normal, kernel=RBF(0.7), length_scale="median")
    assert with_median.fit(X).length_scale_ == median_distance(X)


@pytest.mark.parametrize(
    "kernel", [Matern(2.0, nu=1.5), Matern(2.0, nu=2.5), RationalQuadratic(1.0, 0.5)]
)
def test_contributions_of_columns_add_up(kernel):
    X = rows(150, 3)
    X[:, 1] += 0.5
    found = KSDTest(standard_normal, kernel=kernel, statistic="v").fit(X)
    parts = found.coordinate_contributions()
    assert parts.shape == (3,) and parts.argmax() == 1 and (parts > 0).all()
    assert_allclose(parts.sum(), found.statistic_, rtol=1e-9)


def test_witness_points_where_the_sample_should_move(asarray, host):
    X = rows(400, 2, shift=0.4)
    found = KSDTest(standard_normal, kernel="rbf", length_scale=1.0).fit(asarray(X))
    V = np.array([[0.3, -0.2], [1.0, 1.0]])
    away = V[:, None] - X[None]
    k = np.exp(-0.5 * (away**2).sum(axis=2))
    expected = np.einsum("mi,mid->md", k, -X[None] + away) / 400
    assert_allclose(host(found.witness_function(asarray(V))), expected, rtol=1e-9)
    assert (expected < 0).all()
    new = host(found.score_samples(asarray(V)))
    both, S = np.vstack([V, X]), -np.vstack([V, X])
    H = dense(both, S, "rbf", 1.0)
    assert_allclose(new, H[:2, 2:].mean(axis=1), rtol=1e-9)


def test_parametric_bootstrap_refits():
    X = rows(120, 1, shift=3.0)
    fitted = GaussianMixture(1).fit(X)
    test = KSDTest(fitted, null="parametric", n_resamples=99, random_state=0)
    assert test.fit(X).pvalue_ > 0.05
    heavy = np.random.default_rng(0).standard_t(2, size=(120, 1))
    fitted = GaussianMixture(1).fit(heavy)
    test.set_params(target=fitted)
    assert test.fit(heavy).pvalue_ <= 0.05
    known = Mixture([1.0], [[0.0]], 1.0)  # nothing to fit: draws of it
    assert KSDTest(known, null="parametric", n_resamples=50).fit(X).pvalue_ < 0.05
    with pytest.raises(ValueError, match="not a FrozenEstimator"):
        KSDTest(FrozenEstimator(fitted), null="parametric").fit(X)
    with pytest.raises(ValueError, match="null='parametric'"):
        KSDTest(standard_normal, null="parametric").fit(X)


def test_frozen_targets_outlive_clone():
    X = rows(200, 2)
    frozen = FrozenEstimator(GaussianMixture(2, random_state=0).fit(X))
    test = clone(KSDTest(frozen, random_state=0, n_resamples=100))
    p = cross_val_score(test, X, scoring=lambda e, X, y=None: e.pvalue_, cv=3)
    assert p.shape == (3,) and (p > 0).all()
    sampler = GaussianMixture(2, random_state=0)
    values = cross_val_score(sampler, X, scoring=ksd_scorer(frozen), cv=3)
    assert (values < 0).all() and (values > -1).all()


class RandomWalk(BaseEstimator):
    """Metropolis draws of the standard normal distribution."""

    def __init__(self, step=1.0):
        self.step = step

    def fit(self, X, y=None):
        rng, x = np.random.default_rng(0), np.zeros(2)
        self.draws_ = np.empty((1000, 2))
        for i in range(1000):
            y = x + self.step * rng.normal(size=2)
            if np.log(rng.uniform()) < 0.5 * (x @ x - y @ y):
                x = y
            self.draws_[i] = x
        return self


def test_scorer_chooses_the_step_of_a_sampler():
    search = GridSearchCV(
        RandomWalk(), {"step": [0.01, 2.0, 100.0]}, scoring=ksd_scorer(standard_normal)
    )
    assert search.fit(np.zeros((10, 2))).best_params_ == {"step": 2.0}
    # The last never moves: it has a discrepancy too.
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    scorer = pickle.loads(pickle.dumps(ksd_scorer(standard_normal)))
    walk = RandomWalk(2.0).fit(None)
    expected = KSDTest(standard_normal, length_scale=1.0, null="markov")
    assert scorer(walk) == pytest.approx(-expected.fit(walk.draws_).statistic_)
    for bad in ("median", 0.0, [1.0]):
        with pytest.raises(ValueError, match="length_scale"):
            ksd_scorer(standard_normal, length_scale=bad)
    with pytest.raises(TypeError, match="draws="):
        ksd_scorer(standard_normal)(RBF())
    assert not hasattr(KSDTest(), "score")


@pytest.mark.parametrize(
    "target",
    [
        stats.multivariate_normal([0.0, 0.0], np.eye(2)),
        LogDensity(lambda X: -0.5 * (X**2).sum(axis=1)),
        Mixture([1.0], [[0.0, 0.0]], 1.0),
        GaussianMixture(1).fit(rows(20_000, 2, seed=9)),
    ],
    ids=["scipy", "log density", "mixture", "GaussianMixture"],
)
def test_targets(target):
    good = KSDTest(target, random_state=0).fit(rows(300, 2))
    assert good.pvalue_ > 0.05
    assert KSDTest(target, random_state=0).fit(rows(300, 2, shift=0.3)).rejected_


def test_a_density_estimate_as_target():
    X = rows(500, 1)
    kde = KernelDensity(bandwidth="silverman").fit(X)
    draws = kde.sample(300, random_state=1)
    assert KSDTest(kde, random_state=0).fit(draws).pvalue_ > 0.05
    assert KSDTest(kde, random_state=0).fit(draws + 0.5).rejected_


def test_results_and_reproducibility():
    X = rows(100, 2)
    one, two = (KSDTest(standard_normal, random_state=7).fit(X) for _ in range(2))
    assert_array_equal(one.null_distribution_, two.null_distribution_)
    statistic, p = one.result_
    assert (statistic, p) == (one.statistic_, one.pvalue_)
    assert one.result_.null_distribution.shape == (1000,)
    assert one.rejected_ == (p <= 0.05)
    again = pickle.loads(pickle.dumps(one))
    assert_allclose(again.score_samples(), one.score_samples())


def test_memory_changes_nothing():
    from sklearn import config_context

    X = rows(900, 5)
    few = []
    for megabytes in (1, 1024):
        with config_context(working_memory=megabytes):
            test = KSDTest(standard_normal, n_resamples=150, random_state=0).fit(X)
        few.append(test)
    assert_allclose(few[0].statistic_, few[1].statistic_, rtol=1e-12)
    spread = few[0].null_distribution_.std()
    assert_allclose(
        few[0].null_distribution_, few[1].null_distribution_, atol=1e-5 * spread
    )


def test_offsets_lose_no_digits(asarray):
    X = rows(200, 3)
    near = KSDTest(standard_normal, random_state=0).fit(asarray(X))
    far = KSDTest(lambda x: -(x - 1e6), random_state=0).fit(asarray(X + 1e6))
    assert_allclose(far.statistic_, near.statistic_, rtol=1e-6)
    assert abs(far.pvalue_ - near.pvalue_) < 0.005


# ----------------------------------------------------------------------- levels


def chain(rho, n, rng):
    noise = rng.normal(size=n) * np.sqrt(1 - rho**2)
    x = np.empty(n)
    x[0] = rng.normal()
    for t in range(1, n):
        x[t] = rho * x[t - 1] + noise[t]
    return x[:, None]


def rejections(make, repetitions, **options):
    options = {"n_resamples": 300, **options}
    p = [
        KSDTest(standard_normal, random_state=i, **options).fit(make(i)).pvalue_
        for i in range(repetitions)
    ]
    return np.array(p)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"null": "multinomial"}, {"aggregate": True}])
def test_p_values_are_uniform_under_the_null(options):
    p = rejections(lambda i: rows(100, 2, seed=i), 400, **options)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert 0.02 <= (p <= 0.05).mean() <= 0.085


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_levels_and_power_of_chains(rho):
    def make(i, shift=0.0):
        return chain(rho, 1000, np.random.default_rng(i)) + shift

    assert (rejections(make, 300, null="markov") <= 0.05).mean() <= 0.08
    power = (rejections(lambda i: make(i, 0.5), 50, null="markov") <= 0.05).mean()
    assert power >= (0.6 if rho == 0.9 else 0.95)


def test_independent_nulls_warn_of_chains():
    X = chain(0.9, 500, np.random.default_rng(0))
    with pytest.warns(UserWarning, match="null='markov'"):
        KSDTest(standard_normal, null="wild").fit(X)
    with pytest.warns(UserWarning, match="shuffle"):
        assert KSDTest(standard_normal).fit(X).null_ == "markov"


# ------------------------------------------------------------------------ edges


def test_bad_inputs():
    X = rows(30, 2)

    def fit(X, target=standard_normal, scores=None, **options):
        return KSDTest(target, **options).fit(X, scores=scores)

    for kernel in (Laplacian(1.0), Matern(1.0, nu=0.5)):
        with pytest.raises(ValueError, match=r"smooth|Euclidean"):
            fit(X, kernel=kernel)
    with pytest.raises(ValueError, match="n_samples=2"):
        fit(X[:2])
    with pytest.raises(ValueError, match="equal"):
        fit(np.ones((10, 2)))
    with pytest.raises(ValueError, match="scores"):
        fit(X, None)
    with pytest.raises(ValueError, match="pass one"):
        fit(X, scores=-X)
    with pytest.raises(ValueError, match="shape"):
        fit(X, None, scores=-X[:, :1])
    bad = -X
    bad[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        fit(X, None, scores=bad)
    with pytest.raises(ValueError, match="log density"):
        fit(X, lambda x: (x**2).sum(axis=1))
    for name, value in (
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("n_resamples", 0),
        ("null", "bootstrap"),
        ("kernel", "gauss"),
        ("statistic", "w"),
        ("length_scale", -1.0),
    ):
        with pytest.raises(ValueError, match=name):
            fit(X, **{name: value})
    for scales in ([], [1.0, -2.0], [np.nan], [[1.0]]):
        with pytest.raises(ValueError, match="length_scale"):
            fit(X, length_scale=scales, aggregate=True)
    with pytest.raises(ValueError, match="aggregate=True"):
        fit(X, length_scale=[1.0, 2.0])
    with pytest.warns(UserWarning, match="use at least 19"):
        fit(X, n_resamples=10)
    with pytest.raises(TypeError, match="FrozenEstimator"):
        fit(X, 3.0)
    with pytest.raises(ValueError, match="negative exponent"):
        fit(X, kernel=RBF() ** -1)
    with pytest.raises(ValueError, match="must hold numbers alone"):
        fit(X, length_scale=["median", 1.0], aggregate=True)
    with pytest.raises(ValueError, match="pass the rows too"):
        KSDTest(standard_normal).fit(X).score_samples(scores=-X)


def test_scorers_are_checked_when_they_are_made():
    for options, message in (
        ({"kernel": "gauss"}, "the names are imq, rbf"),
        ({"kernel": Matern(nu=0.5)}, "not smooth enough"),
        ({"n_samples": 1}, "n_samples=1 must be"),
        ({"statistic": "w"}, "statistic='w'"),
    ):
        with pytest.raises(ValueError, match=message):
            ksd_scorer(standard_normal, **options)
    with pytest.raises(TypeError, match="draws=3"):
        ksd_scorer(standard_normal, draws=3)


def test_times_of_an_earlier_fit_go():
    X = rows(200, 1)
    test = KSDTest(standard_normal, null="markov", n_resamples=50).fit(X)
    assert test.autocorrelation_time_ >= 1
    assert not hasattr(test.set_params(null="wild").fit(X), "autocorrelation_time_")


def test_a_list_of_scores_is_taken():
    X = rows(30, 2)
    one = KSDTest(lambda x: (-x).tolist(), random_state=0).fit(X)
    assert one.statistic_ == KSDTest(standard_normal, random_state=0).fit(X).statistic_


def test_a_failed_fit_leaves_the_last_one():
    X = rows(30, 2)
    test = KSDTest(standard_normal).fit(X)
    before = test.pvalue_
    with pytest.raises(ValueError):
        test.fit(X[:1])
    assert test.pvalue_ == before


def test_edges_of_supports_warn():
    X = stats.expon().rvs(size=(100, 1), random_state=0)
    with pytest.warns(UserWarning, match="edge"):
        KSDTest(stats.expon()).fit(X)


def test_float32_rows_on_any_device(asarray):
    X = rows(400, 6).astype(np.float32)
    low = KSDTest(standard_normal, random_state=0).fit(asarray(X))
    high = KSDTest(standard_normal, random_state=0).fit(X.astype(np.float64))
    assert_allclose(low.statistic_, high.statistic_, rtol=1e-5, atol=1e-7)
    assert abs(low.pvalue_ - high.pvalue_) < 0.01


class StandardNormal(Target):
    """The same with a name that is no address."""

    def _score(self, X):
        return -X


@parametrize_with_checks([KSDTest(StandardNormal(), n_resamples=20)])
def test_common_checks(estimator, check):
    check(estimator)


def test_operator_of_the_same_kernel():
    """The statistic is a reduction of the public Stein kernel."""
    from gpkern.kernels import InverseMultiquadric, SteinKernel

    X = rows(100, 2)
    found = KSDTest(standard_normal, length_scale=1.0, statistic="v").fit(X)
    kernel = SteinKernel(InverseMultiquadric(1.0), 2)
    total = KernelOperator(kernel, np.hstack([X, -X])).total()
    assert_allclose(found.statistic_, total / 100**2, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_units_change_nothing(scale, asarray):
    X = rows(150, 2)
    unit = KSDTest(standard_normal, random_state=0).fit(X)
    other = KSDTest(lambda x: -x / scale**2, random_state=0).fit(asarray(scale * X))
    assert other.pvalue_ == pytest.approx(unit.pvalue_, abs=0.003)
    assert_allclose(other.statistic_ * scale**2, unit.statistic_, rtol=1e-9)


def test_scores_beyond_float64():
    X = rows(50, 2)
    big = KSDTest(lambda x: -1e90 * x, random_state=0).fit(X)
    assert np.isfinite(big.null_distribution_).all()
    with pytest.raises(ValueError, match="rescale"), np.errstate(all="ignore"):
        KSDTest(lambda x: -1e200 * x).fit(X)


def test_arviz_data_with_gradients():
    xarray = pytest.importorskip("xarray")
    X = rows(400, 3).reshape(4, 100, 3)
    dims = ["chain", "draw", "unconstrained_parameter"]
    stats_group = {"unconstrained_draw": (dims, X), "gradient": (dims, -X)}
    data = xarray.DataTree.from_dict(
        {
            "posterior": xarray.Dataset({"theta": (dims, X)}),
            "sample_stats": xarray.Dataset(stats_group),
        }
    )
    found = KSDTest(null="auto", random_state=0).fit(data)
    assert found.null_ == "markov" and found.pvalue_ > 0.05
    plain = KSDTest(null="auto", random_state=0).fit(X, scores=-X)
    assert found.statistic_ == plain.statistic_ and found.pvalue_ == plain.pvalue_
    by_target = KSDTest(standard_normal, null="auto", random_state=0).fit(data)
    assert by_target.statistic_ == plain.statistic_


def test_chains_that_tell_nothing_warn():
    X = rows(4 * 300, 2).reshape(4, 300, 2)
    stuck = X.copy()
    stuck[3] = 5.0 + 0.3 * X[3]
    with pytest.warns(UserWarning, match="R-hat"):
        KSDTest(standard_normal).fit(stuck)
    stuck[3] = X[3, 0]
    with pytest.warns(UserWarning, match="never moved"):
        KSDTest(standard_normal).fit(stuck)
    with pytest.warns(UserWarning, match="axes"):
        KSDTest(standard_normal).fit(X.swapaxes(0, 1))
    with pytest.warns(UserWarning, match="null='markov'"):
        KSDTest(standard_normal, null="wild").fit(np.sort(X, axis=1))


def test_expected_contributions():
    X = rows(2000, 2)
    X[:, 1] += 0.4
    found = KSDTest(standard_normal, n_resamples=200, random_state=0).fit(X)
    parts, expected = found.coordinate_contributions(), found.expected_contributions()
    assert parts[0] == pytest.approx(expected[0], rel=1.0)
    assert parts[1] > 20 * expected[1]
    slow = chain(0.9, 2000, np.random.default_rng(2))
    found = KSDTest(standard_normal, random_state=0).fit(slow)
    assert found.null_ == "markov"
    assert found.coordinate_contributions()[0] < 10 * found.expected_contributions()[0]
    alone = KSDTest(standard_normal, random_state=0).fit(rows(2000, 1))
    assert found.expected_contributions()[0] > 4 * alone.expected_contributions()[0]


def test_the_best_kernel_explains():
    X = rows(200, 2, shift=0.2)
    many = KSDTest(standard_normal, aggregate=True, random_state=0).fit(X)
    assert many.best_ == many.per_kernel_["pvalue"].argmin()
    one = KSDTest(standard_normal, kernel=many.kernels_[many.best_]).fit(X)
    assert_allclose(many.score_samples(), one.score_samples())
    assert_allclose(many.witness_function(X[:3]), one.witness_function(X[:3]))
    assert repr(many.result_).endswith("null_distribution=<1000 replicates>)")
