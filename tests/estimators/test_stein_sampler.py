"""`SteinSampler`: particles stand for the density, on every domain; bad input."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.spatial.distance import cdist, pdist
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KSDTest, SteinSampler, SteinThinning, ksd_scorer
from gpkern.estimators._domains import target_of
from gpkern.kernels import RBF, InverseMultiquadric, Laplacian, Matern
from gpkern.targets import LogDensity, Score

NORMAL = stats.multivariate_normal([3.0, -2.0], [[1.0, 0.8], [0.8, 2.0]])


# Scores of the standard normal distribution; its name is the same in each process.
@parametrize_with_checks(
    [
        SteinSampler(np.negative, max_iter=3, random_state=0),
        SteinSampler(np.negative, method="svng", kernel="rbf", max_iter=3),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def normal_score(X):
    return (NORMAL.mean - X) @ np.linalg.inv(NORMAL.cov)


def energy_distance(X, Y):
    return 2 * cdist(X, Y).mean() - cdist(X, X).mean() - cdist(Y, Y).mean()


def start(n=100, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.mark.parametrize("method", ["svgd", "msvgd", "svmd", "svng"])
@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_normal(method, kernel, asarray, host):
    sampler = SteinSampler(NORMAL, method=method, kernel=kernel, max_iter=500)
    X = host(sampler.fit(asarray(start(60))).samples_)
    assert_allclose(X.mean(axis=0), NORMAL.mean, atol=0.05)
    assert_allclose(np.cov(X.T), NORMAL.cov, rtol=0.12)
    assert sampler.n_iter_ == len(sampler.step_norms_) <= 500
    test = KSDTest(NORMAL, random_state=0).fit(X)
    fresh = KSDTest(NORMAL, random_state=0).fit(NORMAL.rvs(60, random_state=1))
    assert not test.rejected_
    assert test.statistic_ < fresh.statistic_
    before = KSDTest(NORMAL, random_state=0).fit(start(60))
    assert before.rejected_, "the test has no power"


def test_particles_of_the_target_stay_near():
    draws = NORMAL.rvs(200, random_state=0)
    moved = SteinSampler(NORMAL, step_size=0.02, max_iter=100).fit(draws).samples_
    assert not KSDTest(NORMAL, random_state=0).fit(moved).rejected_
    assert np.sqrt(((moved - draws) ** 2).mean()) < 0.3


DOMAINS = {
    "orthant": stats.gamma([3.0, 5.0], scale=[1.0, 0.5]),
    "cube": stats.beta([2.0, 4.0], [3.0, 2.0], loc=-1.0, scale=2.0),
    "simplex": stats.dirichlet([0.5, 4.0, 2.0]),
}


# Coordinates without edges, and the scores of their densities.
UNBOUNDED = {
    "orthant": lambda X: (np.log(X), [3.0, 5.0] - X / [1.0, 0.5]),
    "cube": lambda X: (
        2.0 * np.arctanh(X),
        [2.0, 4.0] - np.array([5.0, 6.0]) * (0.5 + 0.5 * X),
    ),
    "simplex": lambda X: (
        np.log(X[:, :2] / X[:, 2:]),
        [0.5, 4.0] - 6.5 * X[:, :2],
    ),
}


def ksd_test(domain, X):
    points, scores = UNBOUNDED[domain](X)
    return KSDTest(random_state=0).fit(points, scores=scores)


def draws_of(domain, n):
    target = DOMAINS[domain]
    return target.rvs(n if domain == "simplex" else (n, 2), random_state=0)


@pytest.mark.parametrize("method", ["msvgd", "svmd", "svng"])
@pytest.mark.parametrize("domain", DOMAINS)
def test_domains(method, domain, device):
    sampler = SteinSampler(
        DOMAINS[domain],
        method=method,
        domain=domain,
        n_particles=50,
        max_iter=500,
        device=device,
        random_state=0,
    )
    X = sampler.fit().samples_
    assert isinstance(X, np.ndarray)
    many = draws_of(domain, 3000)
    assert X.shape == (50, many.shape[1])
    fresh = [energy_distance(many[i : i + 50], many) for i in range(0, 1000, 50)]
    assert energy_distance(X, many) < np.mean(fresh)
    assert not ksd_test(domain, X).rejected_
    before = clone(sampler).set_params(max_iter=1, step_size=1e-9).fit().samples_
    assert ksd_test(domain, before).rejected_, "the test has no power"
    if domain == "simplex":
        assert_allclose(X.sum(axis=1), 1.0)
        assert (X > 0).all()


def test_sparse_dirichlet():
    """The setting of Shi, Liu & Mackey (2022), section 6.1: 20 columns, 50 particles.

    Projected particles stick to the edges, where the scores are infinite.
    """
    alpha = np.full(20, 0.1)
    many = np.random.default_rng(1).dirichlet(alpha, 2000)
    far = {}
    for method in ("svgd", "msvgd", "svmd"):
        sampler = SteinSampler(
            stats.dirichlet(alpha),
            method=method,
            domain="simplex",
            n_particles=50,
            step_size=0.01 if method == "svgd" else 0.1,
            max_iter=400,
            random_state=0,
        )
        far[method] = energy_distance(sampler.fit().samples_, many)
    fresh = np.random.default_rng(0).dirichlet(alpha, 50)
    assert far["msvgd"] < 0.1 * far["svgd"]
    assert far["svmd"] < 0.2 * far["svgd"]
    assert far["msvgd"] < energy_distance(fresh, many)


def test_projected_particles_are_inside():
    alpha = np.array([3.0, 2.0, 4.0])
    target = stats.dirichlet(alpha)
    sampler = SteinSampler(
        target,
        method="svgd",
        domain="simplex",
        step_size=0.01,
        n_particles=50,
        random_state=0,
    )
    X = sampler.fit().samples_
    assert_allclose(X.sum(axis=1), 1.0)
    assert (X >= 1e-6 - 1e-15).all()
    assert_allclose(X.mean(axis=0), alpha / alpha.sum(), atol=0.02)


def test_scores_of_free_coordinates():
    alpha = np.array([3.0, 2.0, 4.0])

    def free(X):
        last = 1.0 - X.sum(axis=1, keepdims=True)
        return (alpha[:-1] - 1.0) / X - (alpha[-1] - 1.0) / last

    def log_density(X):
        return np.log(X) @ (alpha - 1.0)

    X = np.random.default_rng(0).dirichlet(alpha, 20)
    options = {"method": "svmd", "domain": "simplex", "max_iter": 30}
    targets = [
        stats.dirichlet(alpha),
        Score(free, n_features=2),
        lambda X: (alpha - 1.0) / X,
        LogDensity(log_density),
    ]
    found = [SteinSampler(t, **options).fit(X).samples_ for t in targets]
    assert_allclose(found[1], found[0], rtol=1e-6)
    assert_array_equal(found[2], found[0])
    assert_allclose(found[3], found[0], rtol=1e-4)


def test_scales_do_not_matter_to_natural_gradients():
    scale = np.array([1.0, 10.0])
    target = Score(lambda X: -X / scale**2, n_features=2)

    def fisher(X):
        return np.tile(np.diag(scale**-2.0), (len(X), 1, 1))

    def last_column(method, **more):
        """Its spread, which only steps of the right length reach."""
        options = {"schedule": "constant", "step_size": 1.0, "max_iter": 300}
        options["tol"] = 0.0
        model = SteinSampler(target, method=method, **options, **more)
        return model.fit(start(40) * scale * 2.0).samples_[:, 1].std() / scale[1]

    assert_allclose(last_column("svng"), 1.0, atol=0.03)
    assert_allclose(last_column("svng", metric=fisher), 1.0, atol=0.03)
    assert last_column("svgd") > 1.4


@pytest.mark.parametrize(
    "schedule", ["adagrad", "constant", lambda i: 2 / (1 + i / 50)]
)
def test_schedules(schedule):
    sampler = SteinSampler(NORMAL, schedule=schedule, step_size=0.5, max_iter=800)
    X = sampler.fit(start()).samples_
    assert_allclose(X.mean(axis=0), NORMAL.mean, atol=0.1)
    assert sampler.step_norms_[-1] < 0.02 * sampler.step_norms_[0]


def test_particles_that_do_not_rest_are_warned_about():
    model = SteinSampler(NORMAL, schedule="constant", step_size=0.01, max_iter=20)
    with pytest.warns(ConvergenceWarning, match="max_iter=20 steps"):
        model.fit(start())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clone(model).set_params(tol=0.0).fit(start())
        clone(model).set_params(schedule="rmsprop").fit(start())


def test_a_schedule_may_start_at_0():
    warm = SteinSampler(NORMAL, schedule=lambda i: min(1.0, i / 20), step_size=0.5)
    assert warm.fit(start()).n_iter_ > 20
    assert_allclose(warm.samples_.mean(axis=0), NORMAL.mean, atol=0.1)


def test_tight_starts_move():
    X = SteinSampler(NORMAL).fit(1e-6 * start()).samples_
    assert_allclose(X.mean(axis=0), NORMAL.mean, atol=0.1)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_are_nothing(scale):
    """Neither where particles come to nor when they rest."""
    options = {"schedule": "constant", "max_iter": 600, "tol": 1e-3}
    one = SteinSampler(NORMAL, step_size=0.5, **options).fit(start())
    target = Score(lambda X: normal_score(X / scale) / scale, n_features=2)
    other = SteinSampler(target, step_size=0.5 * scale**2, **options)
    other.fit(scale * start())
    assert other.n_iter_ == one.n_iter_ < 600
    assert_allclose(other.samples_, scale * one.samples_, rtol=1e-6, atol=1e-8 * scale)
    assert other.kernel_.length_scale == pytest.approx(
        np.median(pdist(other.samples_)), rel=0.05
    )


def test_dirichlet_target_is_the_distribution():
    own = stats.dirichlet([0.5, 3.0, 2.0])
    target, X = target_of(own, "simplex"), own.rvs(500, random_state=0)
    away = target.log_density(X) - [own.logpdf(x) for x in X]
    assert_allclose(away, away[0])
    drawn = target.sample(4000, np.random.RandomState(0))
    assert_allclose(drawn.mean(axis=0), own.mean(), atol=0.02)
    assert_allclose(drawn.var(axis=0), own.var(), rtol=0.1)


def test_default_method_follows_the_domain():
    assert SteinSampler(NORMAL, max_iter=2).fit(start()).method_ == "svgd"
    target, X = DOMAINS["cube"], start() / 10
    options = {"domain": "cube", "max_iter": 30}
    auto = SteinSampler(target, **options).fit(X)
    named = SteinSampler(target, method="msvgd", **options).fit(X)
    assert auto.method_ == "msvgd"
    assert_array_equal(auto.samples_, named.samples_)


def test_tolerance():
    options = {"schedule": "constant", "step_size": 0.5}
    few = SteinSampler(NORMAL, tol=1e-2, **options).fit(start())
    many = SteinSampler(NORMAL, tol=0.0, max_iter=150, **options).fit(start())
    assert few.n_iter_ < 100
    assert many.n_iter_ == 150


def test_scores_of_random_subsets_of_data():
    rng = np.random.default_rng(0)
    data = rng.normal(1.0, 1.0, size=(400, 2))

    def score(X):  # of the mean's posterior, prior N(0, 10^2)
        batch = data[rng.choice(400, 40, False)]
        return 10.0 * (batch.sum(axis=0) - 40 * X) - X / 100.0

    X = SteinSampler(score, step_size=0.05).fit(start(50)).samples_
    assert_allclose(X.mean(axis=0), data.mean(axis=0), atol=0.02)
    assert_allclose(X.std(axis=0), 0.05, rtol=0.5)


def test_kernels():
    model = SteinSampler(NORMAL, max_iter=50)
    X = start(30)

    def fitted(**params):
        return clone(model).set_params(**params).fit(X)

    median = fitted()
    assert isinstance(median.kernel_, InverseMultiquadric)
    assert 1.0 < median.kernel_.length_scale < 3.0
    fixed = fitted(length_scale=0.5)
    assert fixed.kernel_.length_scale == 0.5
    same = fitted(kernel=InverseMultiquadric(0.5))
    assert_array_equal(fixed.samples_, same.samples_)
    assert_array_equal(fitted(kernel=RBF(0.7)).kernel_.length_scale, 0.7)
    again = fitted(kernel=InverseMultiquadric(0.5), length_scale="median")
    assert_array_equal(again.samples_, median.samples_)
    with pytest.raises(ValueError, match="Euclidean"):
        fitted(kernel=Laplacian(1.0))
    with pytest.raises(ValueError, match="not smooth"):
        fitted(kernel=RBF(1.0) + Matern(1.0, nu=0.5))


def test_warm_start():
    options = {"schedule": "constant", "tol": 0.0, "random_state": 0}
    once = SteinSampler(NORMAL, max_iter=40, **options)
    twice = clone(once).set_params(max_iter=20, warm_start=True)
    X = once.fit().samples_
    assert_allclose(twice.fit().fit().samples_, X, rtol=1e-10)
    cold = twice.set_params(warm_start=False)
    assert not np.allclose(cold.fit().fit().samples_, X)
    twice.set_params(warm_start=True, domain="cube")
    with pytest.raises(ValueError, match="samples_, from which warm_start goes on"):
        twice.fit()


def test_clone_pickle_and_what_takes_samples():
    sampler = SteinSampler(NORMAL, max_iter=200, random_state=0)
    fitted = clone(sampler).fit()
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.samples_, sampler.fit().samples_)
    scorer = ksd_scorer(NORMAL)
    assert scorer(fitted, None) > scorer(clone(sampler).set_params(max_iter=1).fit())
    thinned = SteinThinning(10, target=NORMAL).fit(fitted.samples_)
    assert len(thinned.sample_indices_) == 10


def test_callbacks(capsys):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

    class Stop:
        def __init__(self):
            self.begun, self.ended = [], []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            self.begun.append((context.task_name, context.max_subtasks))

        def on_fit_task_end(self, estimator, context):
            self.ended.append(context.task_name)
            return self.ended.count("step") == 3

    stop = Stop()
    sampler = SteinSampler(NORMAL, random_state=0).set_callbacks(stop)
    assert sampler.fit().n_iter_ == 3
    # Steps are leaves: a progress bar is one bar, of `max_iter` steps.
    assert stop.begun == [("fit", 1000), *3 * [("step", 0)]]
    assert stop.ended == [*3 * ["step"], "fit"]
    SteinSampler(NORMAL, random_state=0, max_iter=100, verbose=1).fit()
    assert "[SteinSampler] step 100:" in capsys.readouterr().out


BETA = stats.beta(2.0, 3.0)
EDGE = np.array([[0.2, 0.8, 0.0], [0.2, 0.3, 0.5]])


@pytest.mark.parametrize(
    ("params", "X", "message"),
    [
        ({"target": None}, start(), "target=None"),
        ({"target": DOMAINS["simplex"]}, start(), "domain='real'.*use domain='sim"),
        ({"target": BETA, "domain": "simplex"}, None, "D or of D - 1"),
        ({"schedule": lambda i: None}, start(), "schedule\\(0\\) returned None"),
        ({"schedule": lambda i: -1.0}, start(), "number from 0 on"),
        ({"target": 3}, start(), "cannot be a target"),
        ({"method": "hmc"}, start(), "'method' parameter"),
        ({"domain": "disc"}, start(), "'domain' parameter"),
        ({"n_particles": 1}, None, "'n_particles' parameter"),
        ({"step_size": 0.0}, start(), "'step_size' parameter"),
        ({"schedule": "adam"}, start(), "'schedule' parameter"),
        (
            {"method": "svng", "domain": "cube", "metric": np.cov},
            start() / 10,
            "metric is for domain='real'",
        ),
        ({"metric": np.cov}, start(), "metric belongs to method='svng'"),
        ({"domain": "simplex"}, EDGE, "1 of 2 rows outside of domain='simplex'"),
        ({"domain": "simplex"}, 2 * EDGE, "with a sum of 1"),
        ({"domain": "orthant"}, EDGE, "first of them row 0: rows must be positive"),
        ({"domain": "cube"}, [[1.0, 0.1], [0.1, 0.1]], "between -1 and 1"),
        ({}, np.ones((5, 2)), "all rows of X are equal"),
        ({}, [[1.0, 2.0]], "minimum of 2 is required"),
        ({}, None, "pass particles to start from as X"),
        ({"target": NORMAL}, start(5, 3), "has 2 columns, and the particles have 3"),
        ({"target": lambda X: X * np.nan}, start(), "NaN or infinite in 100 of 100"),
        (
            {"target": lambda X: X**3},
            start(),
            "(?s)(long|apart).*smaller step_s",
        ),
        ({"schedule": "constant", "step_size": 9e9}, start(), "smaller step_size"),
        ({"method": "svng", "metric": np.sin}, start(), "must be \\(100, 2, 2\\)"),
        (
            {"method": "svng", "metric": lambda X: -np.tile(np.eye(2), (len(X), 1, 1))},
            start(),
            "positive definite",
        ),
    ],
)
def test_bad_input(params, X, message):
    params = {"schedule": "constant"} | params
    model = SteinSampler(lambda X: -X).set_params(**params)
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_failed_fit_leaves_the_last_one():
    sampler = SteinSampler(NORMAL, max_iter=5).fit(start())
    before = sampler.samples_
    with pytest.raises(ValueError, match="smaller step_size"):
        sampler.set_params(schedule="constant", step_size=1e9).fit(start())
    assert sampler.samples_ is before


def test_float32_and_starts_far_off():
    X32 = start(30).astype(np.float32)
    P = np.exp(X32) / np.exp(X32).sum(axis=1, keepdims=True)
    target = stats.dirichlet([2.0, 3.0])
    out = SteinSampler(target, method="msvgd", domain="simplex", max_iter=5).fit(P)
    assert out.samples_.dtype == np.float64
    assert_allclose(out.samples_.sum(axis=1), 1.0)
    far = SteinSampler(NORMAL, step_size=3.0, max_iter=1500).fit(start(30) + 1e3)
    assert_allclose(far.samples_.mean(axis=0), NORMAL.mean, atol=0.1)
