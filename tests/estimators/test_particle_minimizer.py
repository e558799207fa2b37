"""`ParticleMinimizer`: forces, integrators, where particles come to, bad input."""

import pickle

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KSDTest, ParticleMinimizer, _device
from gpkern.algorithms import langevin
from gpkern.kernels import RBF, InverseMultiquadric, Laplacian, Matern
from gpkern.targets import Score

NORMAL = stats.multivariate_normal([3.0, -2.0], [[1.0, 0.8], [0.8, 2.0]])


# Scores of the standard normal distribution; its name is the same in each process.
@parametrize_with_checks(
    [
        ParticleMinimizer(n_particles=10, max_iter=3, random_state=0),
        ParticleMinimizer(np.negative, max_iter=3, random_state=0),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def quartic(X):
    """Scores of a density whose columns depend on each other."""
    return -X @ [[2.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 3.0]] - 0.3 * X**3


KERNELS = [
    InverseMultiquadric(1.3),
    RBF(0.8),
    Matern(1.5, nu=3.5),
    0.5 * RBF(1.0) * InverseMultiquadric(2.0) + RBF(2.0),
]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("kind", ["mmd", "ksd"])
def test_forces_are_slopes(kernel, kind, device, asarray, host):
    rng, where = np.random.default_rng(0), _device.select(device)
    X, n = rng.normal(size=(7, 3)), 7
    if kind == "ksd":
        objective = langevin.KSDObjective(kernel, quartic_on(asarray), where)
    else:
        Z = asarray(rng.normal(0.5, size=(4, 3)))
        objective = langevin.MMDObjective(kernel, Z, where)
    h, wanted = 1e-5, np.empty_like(X)
    for i in range(n):
        for j in range(3):
            move = np.zeros_like(X)
            move[i, j] = h
            ends = [objective.squared(asarray(X + s * move)) for s in (1, -1)]
            wanted[i, j] = -0.5 * n * (ends[0] - ends[1]) / (2 * h)
    force = host(objective.force(asarray(X)))
    assert_allclose(force, wanted, atol=1e-8)


def quartic_on(asarray):
    return lambda X: asarray(quartic(X.get() if hasattr(X, "get") else X))


def test_squared_discrepancies():
    rng, where = np.random.default_rng(0), _device.select("cpu")
    X, Z, kernel = rng.normal(size=(6, 3)), rng.normal(size=(9, 3)), RBF(1.2)
    mmd = kernel(X).mean() - 2 * kernel(X, Z).mean() + kernel(Z).mean()
    assert langevin.MMDObjective(kernel, Z, where).squared(X) == pytest.approx(mmd)
    test = KSDTest(quartic, kernel=kernel, statistic="v", null="wild").fit(X)
    ksd = langevin.KSDObjective(kernel, quartic, where).squared(X)
    assert ksd == pytest.approx(test.statistic_)


@pytest.mark.parametrize("h", [1e-6, 1e-3, 0.3, 0.499, 0.501, 4.0])
@pytest.mark.parametrize("friction", [0.1, 1.0, 20.0])
def test_exact_moments(friction, h):
    with mpmath.workdps(60):
        g, a = mpmath.mpf(friction), mpmath.mpf(friction * h)
        e = mpmath.exp(-a)
        wide = (2 * a - 3 + 4 * e - e**2) / g**2
        both = (1 - e) ** 2 / g
        wanted = [e, (1 - e) / g, (a - 1 + e) / g**2, 1 - e**2, wide, both]
        wanted = [float(w) for w in wanted]
    decay, drift, push, variances = langevin.exact_moments(friction, h)
    assert_allclose([decay, drift, push, *variances], wanted, rtol=1e-12)


class Spring:
    """Forces of a harmonic potential of this stiffness, particles on their own."""

    def __init__(self, stiffness):
        self.stiffness = stiffness

    def force(self, X):
        return -self.stiffness * X


@pytest.mark.parametrize(
    ("name", "h", "bias"),
    [("baoab", 1.0, 0.01), ("exact-ou", 0.02, 0.03), ("euler", 0.02, 0.03)],
)
def test_stationary_variance(name, h, bias):
    """Of a harmonic potential it is temperature / stiffness."""
    rng = np.random.default_rng(0)
    integrator = langevin.INTEGRATORS[name](1.5, h)
    X = rng.normal(size=(50_000, 1))
    steps = round(8.0 / h)
    X, count = langevin.minimize(
        Spring(2.0),
        X,
        integrator,
        [0.5] * steps,
        lambda: rng.standard_normal(X.shape),
        lambda i, X: False,
        np,
    )
    assert count == steps
    assert_allclose(X.var(), 0.25, rtol=bias + 0.015)


@pytest.mark.parametrize("h", [0.1, 1.0, 3.0])
def test_noise_of_an_exact_step(h):
    """Its covariance of positions and velocities, by an integral over the step."""
    rng, friction, T = np.random.default_rng(0), 1.5, 0.7
    step = langevin.ExactOU(friction, h).step
    X = np.zeros((200_000, 1))
    out = step(X, X, X, lambda P: 0.0 * P, T, lambda: rng.standard_normal(X.shape))
    s = (np.arange(20_000) + 0.5) * h / 20_000
    of_v, of_x = np.exp(-friction * s), -np.expm1(-friction * s) / friction
    expected = 2 * friction * T * h * np.cov([of_v, of_x], bias=True)
    means = np.array([of_v.mean(), of_x.mean()])
    expected += 2 * friction * T * h * np.outer(means, means)
    found = np.cov(np.hstack([out[1], out[0]]).T)
    assert_allclose(found, expected, rtol=0.02)


@pytest.mark.parametrize("name", langevin.INTEGRATORS)
def test_a_small_step_follows_the_equation(name):
    """Without noise: against the solution of x'' = -x - x', or of x' = -x."""
    integrator, X = langevin.INTEGRATORS[name](1.0, 1e-3), np.array([[1.0], [0.5]])
    end, _ = langevin.minimize(
        Spring(1.0), X, integrator, [0.0] * 2000, None, lambda i, X: False, np
    )
    w = np.sqrt(0.75)
    damped = np.exp(-1.0) * (np.cos(2 * w) + np.sin(2 * w) / (2 * w))
    wanted = np.exp(-2.0) if name == "euler" else damped
    assert_allclose(end, wanted * X, rtol=5e-3)


@pytest.mark.parametrize("name", langevin.INTEGRATORS)
def test_automatic_steps_are_half_of_what_is_stable(name):
    def still(factor):
        X = np.ones((2, 1))
        h = factor * langevin.stable_step(name, 0.1, Spring(9.0), X, X + 0.0, np)
        integrator = langevin.INTEGRATORS[name](0.1, h)
        try:
            end, _ = langevin.minimize(
                Spring(9.0), X, integrator, [0.0] * 5000, None, lambda i, X: False, np
            )
        except ArithmeticError:
            return False
        return bool(abs(end).max() < 0.5)

    assert still(1.0)
    assert not still(3.0)


@pytest.mark.parametrize("integrator", langevin.INTEGRATORS)
def test_stands_for_a_sample(integrator, asarray, host):
    rng = np.random.default_rng(0)
    X = rng.normal(3.0, 1.0, size=(300, 2)) + np.where(rng.random((300, 1)) < 0.4, 4, 0)
    model = ParticleMinimizer(
        n_particles=30, integrator=integrator, max_iter=300, random_state=0
    )
    model.fit(asarray(X))
    kernel, Y = model.kernel_, host(model.samples_)

    def squared(Y):
        return kernel(X).mean() - 2 * kernel(X, Y).mean() + kernel(Y).mean()

    assert Y.shape == (30, 2)
    assert model.discrepancy_ == pytest.approx(squared(Y), rel=1e-6)
    rows = [rng.choice(300, 30, False) for _ in range(20)]
    assert model.discrepancy_ < 0.1 * np.mean([squared(X[r]) for r in rows])
    path = model.discrepancy_path_
    assert len(path) == 11
    assert path[-1] == model.discrepancy_ < 0.1 * path[0]


@pytest.mark.parametrize("integrator", ["baoab", "euler"])
def test_stands_for_a_density(integrator, asarray, host):
    start = 2.0 * np.random.default_rng(0).normal(size=(60, 2))
    model = ParticleMinimizer(
        NORMAL, integrator=integrator, max_iter=400, random_state=0
    )
    Y = host(model.fit(asarray(start)).samples_)
    assert_allclose(Y.mean(axis=0), NORMAL.mean, atol=0.05)
    assert_allclose(np.cov(Y.T), NORMAL.cov, rtol=0.1)
    assert not KSDTest(NORMAL, random_state=0).fit(Y).rejected_
    kernel = InverseMultiquadric(model.kernel_.length_scale)
    test = KSDTest(NORMAL, kernel=kernel, statistic="v", random_state=0).fit(Y)
    assert model.discrepancy_ == pytest.approx(test.statistic_, rel=1e-6)


def test_exact_ou_gets_near_a_density():
    start = NORMAL.rvs(40, random_state=0)
    model = ParticleMinimizer(NORMAL, integrator="exact-ou", friction=5.0)
    model.set_params(max_iter=500, random_state=0).fit(start)
    assert model.discrepancy_ < 0.2 * model.discrepancy_path_[0]


def test_temperature_spreads_particles():
    X = np.random.default_rng(0).normal(size=(200, 1))

    def spread(temperature):
        model = ParticleMinimizer(temperature=temperature, anneal=False, max_iter=200)
        return model.set_params(random_state=0).fit(X).samples_.std()

    assert spread(0.0) < 1.1 < 1.5 < spread(0.05)


def test_units_do_not_matter():
    X = np.random.default_rng(0).normal(size=(100, 2))
    model = ParticleMinimizer(n_particles=20, max_iter=50, random_state=0)
    one, large = clone(model).fit(X), clone(model).fit(1e3 * X)
    assert_allclose(large.samples_, 1e3 * one.samples_, rtol=1e-6)
    assert one.kernel_.length_scale == pytest.approx(large.kernel_.length_scale / 1e3)
    target = [Score(lambda X, s=s: -X / s**2) for s in (1.0, 1e3)]
    one, large = (
        ParticleMinimizer(t, max_iter=50, random_state=0).fit(s * X)
        for t, s in zip(target, (1.0, 1e3), strict=True)
    )
    assert_allclose(large.samples_, 1e3 * one.samples_, rtol=1e-4)
    assert large.discrepancy_ == pytest.approx(1e-6 * one.discrepancy_, rel=1e-3)


def test_start_seed_clone_pickle():
    X = np.random.default_rng(0).normal(size=(50, 2))
    model = ParticleMinimizer(max_iter=20, random_state=0, kernel=RBF(0.7))
    first = clone(model).fit(X, start=X[:7])
    assert first.samples_.shape == (7, 2)
    assert first.kernel_.length_scale == 0.7
    assert_array_equal(clone(model).fit(X, start=X[:7]).samples_, first.samples_)
    again = pickle.loads(pickle.dumps(first))
    assert_array_equal(again.samples_, first.samples_)
    other = clone(model).set_params(random_state=1).fit(X, start=X[:7])
    assert not np.allclose(other.samples_, first.samples_)


def test_without_particles_to_start_from():
    target = stats.multivariate_normal([1.0, -1.0])
    model = ParticleMinimizer(target, n_particles=7, max_iter=300, random_state=0)
    X = model.fit().samples_
    assert X.shape == (7, 2)
    assert_allclose(X.mean(axis=0), target.mean, atol=0.1)
    with pytest.raises(ValueError, match="X=None: pass the sample"):
        ParticleMinimizer().fit()
    with pytest.raises(ValueError, match="X=None: the target does not say"):
        ParticleMinimizer(np.negative).fit()


@pytest.mark.parametrize("offset", [1e5, 1e7])
def test_offsets_do_not_matter(offset):
    X = np.random.default_rng(0).normal(size=(100, 2))
    options = {"n_particles": 30, "max_iter": 200, "random_state": 0}
    one = ParticleMinimizer(**options).fit(X)
    other = ParticleMinimizer(**options).fit(X + offset)
    assert other.step_size_ == pytest.approx(one.step_size_, rel=1e-2)
    assert other.discrepancy_ < 2 * one.discrepancy_

    def score(P):
        return -((P - offset) ** 3) - (P - offset)

    at_0 = ParticleMinimizer(lambda P: -(P**3) - P, **options).fit(X[:30])
    away = ParticleMinimizer(score, **options).fit(X[:30] + offset)
    assert away.discrepancy_ < 2 * at_0.discrepancy_


@pytest.mark.parametrize("max_iter", [7, 11, 25, 200])
def test_path_has_eleven_entries(max_iter):
    model = ParticleMinimizer(n_particles=5, max_iter=max_iter, random_state=0)
    path = model.fit(ROWS).discrepancy_path_
    assert len(path) == 1 + min(10, max_iter)
    assert path[-1] == pytest.approx(model.discrepancy_)


def test_temperature_falls_to_0():
    options = {"n_particles": 40, "temperature": 0.01, "random_state": 0}
    fixed = ParticleMinimizer(anneal=False, **options).fit(ROWS)
    falling = ParticleMinimizer(anneal=True, **options).fit(ROWS)
    assert falling.discrepancy_ < 0.5 * fixed.discrepancy_


def test_particles_that_leave_the_support_are_told_to_step_less():
    def score(P):
        return np.where(P > 0.1, 2.0 / P - 1.0, np.nan)

    X = 0.2 + np.random.default_rng(0).gamma(3.0, size=(20, 1))
    with pytest.raises(ValueError, match="too long: use a smaller step_size"):
        ParticleMinimizer(score, step_size=3.0, temperature=1.0).fit(X)


def test_verbose(capsys):
    X = np.random.default_rng(0).normal(size=(50, 2))
    ParticleMinimizer(max_iter=20, random_state=0, verbose=1).fit(X)
    assert len(capsys.readouterr().out.splitlines()) == 10


ROWS = np.random.default_rng(0).normal(size=(20, 2))


@pytest.mark.parametrize(
    ("params", "options", "message"),
    [
        ({"integrator": "leapfrog"}, {}, "'integrator' parameter"),
        ({"friction": 0.0}, {}, "'friction' parameter"),
        ({"temperature": -1.0}, {}, "'temperature' parameter"),
        ({"length_scale": 1e-8}, {}, "length_scale is too small"),
        ({}, {"start": [["a", "b"]]}, "start"),
        ({"kernel": Laplacian(1.0)}, {}, "Euclidean"),
        ({"target": np.negative}, {"start": ROWS}, "start belongs to target=None"),
        ({}, {"start": ROWS[:, :1]}, "start has shape"),
        ({}, {"start": ROWS * np.nan}, "start contains NaN"),
        ({"target": lambda X: X * np.nan}, {}, "NaN or infinite in 20 of 20"),
        ({"target": NORMAL, "step_size": 3.0}, {}, "smaller step_size"),
        ({"target": stats.norm()}, {}, "has 1 columns, and the particles have 2"),
    ],
)
def test_bad_input(params, options, message):
    model = ParticleMinimizer().set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(ROWS, **options)
    assert not [name for name in vars(model) if name.endswith("_")]
