"""`KernelDensity`, against scikit-learn, SciPy and its own definition."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity as Reference
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelDensity
from gpkern.kernels.density import DENSITY_KERNELS, StudentT

RULES = ["scott", "silverman", "normal_reference", "lcv", "lscv", "nn"]
SHARED = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]


@parametrize_with_checks(
    [
        KernelDensity(),
        KernelDensity(kernel="epanechnikov", bandwidth=3.0),
        KernelDensity(kernel="student-t"),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.fixture
def data():
    """A sample and rows to look at, of three columns of different spread."""
    rng = np.random.default_rng(0)
    spread = [1.0, 2.0, 0.5]
    return rng.normal(size=(400, 3)) * spread, 1.5 * rng.normal(size=(70, 3)) * spread


def defined(X, Q, h, kernel="gaussian", weights=None, **params):
    """Log density in float64 by its definition; h a number or one for each column."""
    kernel = DENSITY_KERNELS[kernel](**params)
    d = X.shape[1]
    K = kernel(Q / h, X / h)
    w = np.full(len(X), 1.0) if weights is None else weights
    scale = kernel.log_integral(d) + np.log(np.broadcast_to(h, d)).sum()
    with np.errstate(divide="ignore"):
        return np.log(K @ (w / w.sum())) - scale


@pytest.mark.parametrize("kernel", SHARED)
def test_like_scikit_learn(kernel, data, asarray, host):
    X, Q = data
    h = 2.5 if kernel in ("tophat", "epanechnikov", "linear", "cosine") else 0.7
    got = KernelDensity(kernel=kernel, bandwidth=h).fit(asarray(X))
    expected = Reference(kernel=kernel, bandwidth=h, rtol=1e-14).fit(X)
    mine, theirs = host(got.score_samples(asarray(Q))), expected.score_samples(Q)
    inside = np.isfinite(mine)
    assert_allclose(mine[inside], theirs[inside], atol=1e-9)
    assert inside.mean() > 0.7
    assert_array_equal(inside, np.isfinite(defined(X, Q, h, kernel)))
    assert got.score(asarray(Q[inside])) == pytest.approx(theirs[inside].sum())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kernel", DENSITY_KERNELS)
def test_definition(kernel, dtype, data, asarray, host):
    """With a bandwidth for each column, weights, some of them 0, and an offset."""
    X, Q = data
    weights = np.random.default_rng(1).uniform(size=len(X))
    weights[:30] = 0.0
    h = np.array([1.5, 3.0, 0.8])
    offset = 1e6 if dtype == np.float64 else 100.0
    moved, at = ((a + offset).astype(dtype) for a in (X, Q))
    model = KernelDensity(kernel=kernel, bandwidth=h)
    got = model.fit(asarray(moved), sample_weight=weights).score_samples(asarray(at))
    expected = defined(
        moved.astype(float) - offset, at.astype(float) - offset, h, kernel, weights
    )
    inside = np.isfinite(expected)
    tol = 1e-9 if dtype == np.float64 else 1e-4
    if dtype == np.float32:  # beside its edge, half a digit is all of the value
        inside &= expected > -12
    assert_allclose(host(got)[inside], expected[inside], atol=tol)


@pytest.mark.parametrize("d", [30, 64, 300])
def test_many_columns(d, asarray, host):
    """Where scikit-learn is wrong: against a log-sum-exp of differences."""
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(600, d)), rng.normal(size=(40, d))
    squares = ((Q[:, None] - X) ** 2).sum(axis=2) / 0.4**2
    expected = special.logsumexp(-0.5 * squares, axis=1) - np.log(600)
    expected -= d * np.log(0.4 * np.sqrt(2 * np.pi))
    model = KernelDensity(bandwidth=0.4).fit(asarray(X))
    assert_allclose(host(model.score_samples(asarray(Q))), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel", DENSITY_KERNELS)
def test_far_outside(kernel, data):
    """A finite number, but for kernels that end."""
    got = KernelDensity(kernel=kernel).fit(data[0]).score_samples([[1e5, 0.0, 0.0]])
    assert np.isfinite(got).all() == (not DENSITY_KERNELS[kernel].is_compact)
    assert got[0] < -20


def test_like_scipy(data):
    """The matrix that SciPy has as covariance of its kernel."""
    X, Q = data
    weights = np.random.default_rng(1).uniform(size=len(X))
    theirs = stats.gaussian_kde(X.T, weights=weights)
    mine = KernelDensity(bandwidth=theirs.covariance).fit(X, sample_weight=weights)
    assert_allclose(mine.score_samples(Q), theirs.logpdf(Q.T), rtol=1e-10)
    assert mine.n_effective_ == pytest.approx(theirs.neff)
    rule = KernelDensity(bandwidth="normal_reference").fit(X, sample_weight=weights)
    theirs = stats.gaussian_kde(X.T, bw_method="silverman", weights=weights)
    assert_allclose(rule.bandwidth_, theirs.covariance, rtol=1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_rules_follow_the_units(rule, data):
    """Of the columns, each by itself."""
    X, Q = data
    units = np.array([1.0, 1000.0, 1e-3])
    plain = KernelDensity(bandwidth=rule).fit(X)
    scaled = KernelDensity(bandwidth=rule).fit(X * units)
    moved = scaled.score_samples(Q * units) + np.log(units).sum()
    assert_allclose(moved, plain.score_samples(Q), atol=1e-5)


def test_rules(data):
    X, _ = data
    spread = X.std(axis=0, ddof=1)
    got = KernelDensity(bandwidth="scott").fit(X).bandwidth_
    assert_allclose(got, spread * 400 ** (-1 / 7))
    got = KernelDensity(bandwidth="silverman").fit(X).bandwidth_
    assert_allclose(got, spread * (400 * 5 / 4) ** (-1 / 7))
    one = KernelDensity(bandwidth="isj").fit(X[:, :1]).bandwidth_
    assert 0.15 < one < 0.6
    # Of heavy-tailed kernels too.
    best = KernelDensity(kernel="student-t", bandwidth="lcv").fit(X)
    loo = [
        KernelDensity(kernel="student-t", bandwidth=best.bandwidth_ * f)
        .fit(X)
        .loo_score_samples()
        .mean()
        for f in (0.8, 1.0, 1.25)
    ]
    assert np.argmax(loo) == 1


@pytest.mark.parametrize("kernel", ["gaussian", "cauchy", "biweight"])
@pytest.mark.parametrize("copies", [1, 3])
def test_leave_one_out(kernel, copies, data, asarray, host):
    """Fitted without the row, of which other copies may stay."""
    X = np.repeat(data[0][:60], copies, axis=0)
    weights = np.random.default_rng(0).uniform(0.1, 1.0, len(X))
    weights[5] = 0.0
    model = KernelDensity(kernel=kernel, bandwidth=0.9)
    got = model.fit(asarray(X), sample_weight=weights).loo_score_samples()
    assert model.n_distinct_ == 60
    for i in (0, 4, 5, 59, len(X) - 1):
        rest = np.arange(len(X)) != i
        expected = defined(X[rest], X[i : i + 1], 0.9, kernel, weights[rest])
        assert_allclose(host(got)[i], expected[0], rtol=1e-9)


@pytest.mark.parametrize("kernel", DENSITY_KERNELS)
def test_gradient(kernel, data, asarray, host):
    X, Q = data
    Q = Q[:20]
    model = KernelDensity(kernel=kernel, bandwidth=[2.0, 3.0, 1.5]).fit(asarray(X))
    got = host(model.score_gradient(asarray(Q)))
    if kernel == "tophat":
        assert (got == 0).all()
        return
    for j in range(3):
        step = np.zeros(3)
        step[j] = 1e-5
        up, down = (host(model.score_samples(asarray(Q + s))) for s in (step, -step))
        inside = np.isfinite(up + down)
        slope = (up[inside] - down[inside]) / 2e-5
        assert_allclose(got[inside, j], slope, rtol=1e-4, atol=2e-5)


def test_gradient_with_a_matrix(data):
    X, Q = data
    H = np.array([[1.0, 0.3, 0.1], [0.3, 2.0, 0.0], [0.1, 0.0, 0.5]])
    model = KernelDensity(bandwidth=H).fit(X)
    step = 1e-5 * np.array([1.0, -2.0, 0.5])
    change = model.score_samples(Q + step) - model.score_samples(Q - step)
    assert_allclose(model.score_gradient(Q) @ (2 * step), change, atol=1e-8)


@pytest.mark.parametrize("kernel", DENSITY_KERNELS)
def test_draws(kernel):
    """One column of them, against the density there."""
    X = np.array([[0.0, 0.0], [3.0, 1.0]])
    model = KernelDensity(kernel=kernel, bandwidth=[0.5, 2.0])
    model.fit(X, sample_weight=[1.0, 3.0])
    drawn = model.sample(20_000, random_state=0)
    assert drawn.shape == (20_000, 2)
    # By the probability integral: of rows within small boxes.
    rng = np.random.default_rng(0)
    for centre in ([3.0, 1.0], [0.2, 0.5], [3.2, 0.0]):
        size = np.array([0.4, 0.8])
        share = (abs(drawn - centre) < size / 2).all(axis=1).mean()
        inside = centre + size * (rng.uniform(size=(20_000, 2)) - 0.5)
        expected = np.exp(model.score_samples(inside)).mean() * size.prod()
        assert abs(share - expected) < 4 * np.sqrt(expected / 20_000) + 2e-4
    assert_array_equal(drawn, model.sample(20_000, random_state=0))


def test_repeated_rows(data):
    """Merged with their weights: the same answers."""
    X, Q = data
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    repeated = KernelDensity(bandwidth=0.5).fit(np.repeat(X, weights, axis=0))
    weighted = KernelDensity(bandwidth=0.5).fit(X, sample_weight=weights)
    assert repeated.n_distinct_ == (weights > 0).sum() < repeated.n_samples_
    assert_allclose(repeated.score_samples(Q), weighted.score_samples(Q), rtol=1e-12)
    assert repeated.bandwidth_ == 0.5


def test_metrics(data):
    X, Q = data
    model = KernelDensity(metric="manhattan", kernel="exponential", bandwidth=0.8)
    theirs = Reference(metric="manhattan", kernel="exponential", bandwidth=0.8)
    expected = theirs.fit(X).score_samples(Q)
    assert_allclose(model.fit(X).score_samples(Q), expected, atol=1e-9)
    with pytest.raises(ValueError, match="one number"):
        model.set_params(bandwidth=[1.0, 1.0, 1.0]).fit(X)


def test_in_searches_and_pipelines(data):
    X, Q = data
    pipe = make_pipeline(StandardScaler(), KernelDensity(kernel=StudentT()))
    grid = {
        "kerneldensity__bandwidth": [0.1, 0.4, 1.6],
        "kerneldensity__kernel__nu": [2, 9],
    }
    search = GridSearchCV(pipe, grid).fit(X)
    assert search.best_params_["kerneldensity__bandwidth"] == 0.4
    again = pickle.loads(pickle.dumps(search))
    assert again.score(Q) == search.score(Q)
    clone(search)


def test_diagnosis():
    """Narrow bandwidths rest on a row or two, wide ones on many."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 20))
    words = {0.3: "nearest rows decide", 0.9: "heavy-tailed", 1.6: "averages"}
    before = 0.0
    for h, word in words.items():
        found = KernelDensity(bandwidth=h).fit(X).diagnose()
        assert word in str(found)
        assert np.median(found.effective_number) > before
        before = np.median(found.effective_number)
        # Of the sample's own covariance: in units of the data whatever the bandwidth.
        assert found.h_g == pytest.approx(0.73, abs=0.01)
        assert found.h_clt == pytest.approx(np.sqrt(2) * found.h_g)
        assert found.h_kl < found.h_g
        assert found.ratio == pytest.approx(h / found.h_g)


def test_theory_of_a_normal_sample():
    """The figures for 20,000 rows (Biroli & Mezard's equations, solved elsewhere)."""
    from gpkern.algorithms.regimes import thresholds

    for d, h_g, h_kl in ((20, 0.656, 0.626), (40, 0.951, 0.837), (80, 1.267, 0.998)):
        assert thresholds(20_000, np.ones(d)) == pytest.approx((h_g, h_kl), abs=1e-3)


def test_effective_number(data):
    X, Q = data
    found = KernelDensity(bandwidth=0.5).fit(X).diagnose(Q)
    K = np.exp(-0.5 * ((Q[:, None] - X) ** 2).sum(axis=2) / 0.25)
    expected = K.sum(axis=1) ** 2 / (K**2).sum(axis=1)
    assert_allclose(found.effective_number, expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"bandwidth": 0.0}, "bandwidth"),
        ({"bandwidth": -1.0}, "bandwidth"),
        ({"bandwidth": np.nan}, "bandwidth"),
        ({"bandwidth": [1.0, 2.0]}, "3 columns"),
        ({"bandwidth": [1.0, 2.0, 0.0]}, "positive"),
        ({"bandwidth": [1.0, np.inf, 1.0]}, "infinity"),
        ({"bandwidth": np.ones((3, 3))}, "positive definite"),
        ({"bandwidth": np.eye(3) + np.eye(3, k=1)}, "symmetric"),
        ({"bandwidth": "isj"}, "one column"),
        ({"bandwidth": "lscv", "kernel": "tophat"}, "Gaussian"),
        ({"bandwidth": "scott", "metric": "manhattan"}, "euclidean"),
        ({"kernel": "box"}, "kernel"),
        ({"bandwidth": "sheather"}, "bandwidth"),
    ],
)
def test_bad_parameters(params, message, data):
    model = KernelDensity(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(data[0])
    assert not hasattr(model, "bandwidth_")


@pytest.mark.parametrize("rule", [r for r in RULES if r != "normal_reference"])
def test_bad_samples(rule):
    X = np.random.default_rng(0).normal(size=(30, 2))
    X[:, 1] = 4.0
    with pytest.raises(ValueError, match="column 1 of X, which is constant"):
        KernelDensity(bandwidth=rule).fit(X)
    with pytest.raises(ValueError, match="two distinct rows"):
        KernelDensity(bandwidth=rule).fit(np.ones((5, 2)))


def test_more_samples():
    X = np.random.default_rng(0).normal(size=(5, 8))
    with pytest.raises(ValueError, match="fewer rows than columns"):
        KernelDensity(bandwidth="normal_reference").fit(X)
    assert np.isfinite(KernelDensity(bandwidth="scott").fit(X).score_samples(X)).all()
    one = KernelDensity().fit([[1.0, 2.0]])
    assert one.score_samples([[1.0, 2.0]])[0] == pytest.approx(-np.log(2 * np.pi))
    assert one.loo_score_samples()[0] == -np.inf
    with pytest.raises(ValueError, match="all zeros"):
        KernelDensity().fit(X, sample_weight=np.zeros(5))
    with pytest.raises(ValueError, match="Negative"):
        KernelDensity().fit(X, sample_weight=[-1, 1, 1, 1, 1])


@pytest.mark.gpu
def test_fitted_on_a_gpu(data):
    """NumPy in, NumPy out, and the numbers of a CPU."""
    X, Q = data
    gpu = KernelDensity(bandwidth="lcv", device="cuda").fit(X)
    cpu = KernelDensity(bandwidth="lcv").fit(X)
    assert isinstance(gpu.score_samples(Q), np.ndarray)
    assert_allclose(gpu.bandwidth_, cpu.bandwidth_, rtol=1e-6)
    again = pickle.loads(pickle.dumps(gpu)).set_params(device="cpu")
    assert_allclose(again.score_samples(Q), gpu.score_samples(Q), atol=1e-9)
    assert_allclose(gpu.loo_score_samples(), cpu.loo_score_samples(), atol=1e-5)
    assert gpu.sample(5, random_state=0).shape == (5, 3)


@pytest.mark.parametrize("rule", ["scott", "silverman", "normal_reference"])
def test_rules_count_equal_rows(rule):
    """Many that are equal are as many that nearly are."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(20, 2)), 50, axis=0)
    near = X + 1e-7 * rng.normal(size=X.shape)
    tied = KernelDensity(bandwidth=rule).fit(X)
    assert tied.n_distinct_ == 20
    expected = KernelDensity(bandwidth=rule).fit(near)
    assert_allclose(tied.bandwidth_, expected.bandwidth_, rtol=1e-5)
    found, other = tied.diagnose(X[:5]), expected.diagnose(X[:5])
    assert found.h_g == pytest.approx(other.h_g, rel=1e-5)


def test_diagnosis_of_equal_rows():
    found = KernelDensity(bandwidth=1.0).fit(np.full((20, 2), 0.1)).diagnose([[0, 0]])
    assert found.h_g == 0.0
    assert "all rows are one" in str(found)


def test_diagnosis_of_another_kernel_goes_by_what_is_measured():
    X = np.random.default_rng(0).normal(size=(500, 10))
    found = KernelDensity(bandwidth=1.0, kernel="tophat").fit(X).diagnose(X[:50])
    assert not found.is_gaussian
    assert "the nearest rows decide" in str(found)
    assert "and a Gaussian kernel" in str(found)


def test_diagnosis_of_queries_far_out_is_theirs():
    """A wide bandwidth does not make an average of what is one row."""
    X = np.random.default_rng(0).normal(size=(2000, 2))
    kde = KernelDensity(bandwidth="silverman").fit(X)
    assert kde.diagnose(X[:100]).regime == "many"
    far = kde.diagnose(20.0 * X[:5] / np.linalg.norm(X[:5], axis=1, keepdims=True))
    assert far.regime == "one"
    assert "many rows" not in str(far)


@pytest.mark.parametrize("d, told", [(2, False), (30, True)])
def test_diagnosis_tells_of_the_least_loss_in_many_columns_only(d, told):
    X = np.random.default_rng(0).normal(size=(500, d))
    found = KernelDensity(bandwidth=1.0).fit(X).diagnose()
    assert ("Kullback" in str(found)) == told
    assert repr(found) == str(found)


def test_metric_is_checked_by_fit():
    with pytest.raises(ValueError, match="metric='foo'"):
        KernelDensity(metric="foo").fit(np.zeros((3, 2)))
