"""Toys, statistics and p-values of the learned likelihood ratio."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics.pairwise import rbf_kernel

from gpkern._device import select
from gpkern.algorithms.likelihood_ratio import (
    Machine,
    Toys,
    calibrate,
    chi2_significance,
    statistics,
)

ALPHA, EXPECTED = 0.02, 60


def sample(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def dense(X, Z, is_one, weights, alpha):
    """Log ratios of the rows by a general optimiser in the whitened space, float64."""
    values, vectors = np.linalg.eigh(rbf_kernel(Z, Z, 0.5))
    keep = values > 1e-12 * values[-1]
    features = rbf_kernel(X, Z, 0.5) @ vectors[:, keep] / np.sqrt(values[keep])
    features = np.column_stack([features, np.ones(len(X))])
    free = np.ones(features.shape[1])
    free[-1] = 0.0  # the intercept

    def loss(theta):
        F = features @ theta
        value = weights @ (np.logaddexp(0.0, F) - is_one * F)
        U = weights * (1 / (1 + np.exp(-F)) - is_one)
        slope = features.T @ U + alpha * free * theta
        return value + 0.5 * alpha * (free * theta**2).sum(), slope

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-10}
    found = minimize(loss, 0.0 * free, jac=True, method="L-BFGS-B", options=options)
    return features @ found.x


def dense_statistic(F, is_one, weights):
    """Twice the extended log likelihood ratio, by its definition."""
    batch, against = is_one > 0, (is_one == 0) & (weights > 0)
    return 2 * (F[batch].sum() + (weights * (1 - np.exp(F)))[against].sum())


def machine(asarray, name, Z, dtype=np.float64, tol=1e-12):
    device = select(None if name == "cuda" else "cpu", asarray(Z))
    Z = asarray(Z.astype(dtype))
    return Machine.of(RBF(1.0), Z, ALPHA, EXPECTED, device, tol, 100)


def toys_of(X, null=None, p=25, counts="poisson", seed=3, xp=np):
    rng = np.random.RandomState(seed)
    return Toys(X, null, p, EXPECTED, counts == "poisson", xp, rng)


def test_statistic_of_a_batch_by_its_definition(asarray, host, device):
    X, batch, Z = sample(300), sample(70, 1) * 1.2, sample(20, 2)
    weight = EXPECTED / 300
    t, coef, constant, converged = machine(asarray, device, Z).test(
        asarray(X), asarray(batch), weight
    )
    rows = np.vstack([X, batch])
    is_one = np.r_[np.zeros(300), np.ones(70)]
    weights = np.where(is_one == 1, 1.0, weight)
    F = dense(rows, Z, is_one, weights, ALPHA)
    assert converged
    assert t == pytest.approx(dense_statistic(F, is_one, weights), rel=1e-4)
    assert_allclose(rbf_kernel(rows, Z, 0.5) @ host(coef) + constant, F, atol=1e-3)


@pytest.mark.parametrize("null", ["reference", "rows", "simulator"])
def test_toys_in_columns_are_the_same_toys_one_by_one(null, asarray, host, device, xp):
    X = sample(400)
    given = {
        "reference": None,
        "rows": asarray(sample(500, 5)),
        "simulator": lambda n, rng: asarray(rng.normal(size=(n, 2))),
    }[null]
    toys = toys_of(asarray(X), given, xp=xp)
    made = machine(asarray, device, X[toys.centers])
    rows, is_one, weights = toys.draw(6)
    together, converged = made.toys(rows, is_one, weights)
    assert converged
    for j in range(6):
        some = xp.asarray(host(weights[:, j]) > 0)
        alone, _ = made.toys(rows[some], is_one[some][:, [j]], weights[some][:, [j]])
        assert together[j] == pytest.approx(alone[0], rel=1e-4)
        # And as a batch of its own.
        batch = xp.asarray(host(is_one[:, j]))
        against = xp.asarray(host(some & ~batch))
        t, *_ = made.test(rows[against], rows[batch], EXPECTED / toys.n_reference)
        assert together[j] == pytest.approx(t, rel=1e-4)
    flags, w = (host(a)[:, 0].astype(float) for a in (is_one, weights))
    F = dense(host(rows), X[toys.centers], flags, w, ALPHA)
    assert together[0] == pytest.approx(dense_statistic(F, flags, w), rel=1e-4)


@pytest.mark.parametrize("null", [None, "rows", "simulator"])
def test_who_is_in_a_toy(null):
    X = sample(400)
    given = {"rows": sample(300, 5), "simulator": lambda n, rng: sample(n, n)}
    toys = toys_of(X, given.get(null))
    rows, is_one, weights = toys.draw(50)
    n = toys.n_reference
    against = (weights > 0) & ~is_one
    # The same number to be tested against in each toy, of the weight of a batch.
    assert_array_equal(against.sum(axis=0), n)
    assert_allclose((weights * against).sum(axis=0), EXPECTED)
    assert_array_equal(weights[is_one], 1.0)
    assert not is_one[toys.centers].any() and against[toys.centers].all()
    assert n == (400 if null else 400 - int(np.ceil(60 + 5 * np.sqrt(60))))
    sizes = is_one.sum(axis=0)
    assert len(set(sizes)) > 10 and abs(sizes.mean() - EXPECTED) < 5
    if null:
        assert_array_equal(rows[:400], X)
        assert not is_one[:400].any()
    if null == "simulator":
        assert (is_one.sum(axis=1)[400:] == 1).all()


def test_fixed_counts():
    _, is_one, _ = toys_of(sample(400), counts="fixed").draw(20)
    assert_array_equal(is_one.sum(axis=0), EXPECTED)


def test_small_counts_are_poisson_above_0():
    toys = Toys(sample(100), None, 5, 0.5, True, np, np.random.RandomState(0))
    _, is_one, _ = toys.draw(4000)
    sizes = is_one.sum(axis=0)
    assert sizes.min() == 1
    chances = stats.poisson(0.5).pmf([1, 2, 3]) / -np.expm1(-0.5)
    assert_allclose([(sizes == k).mean() for k in (1, 2, 3)], chances, atol=0.02)


def test_a_reference_of_too_few_rows_keeps_none():
    """Not the rows that a negative number of them would slice."""
    toys = Toys(sample(100), None, 5, 120.0, True, np, np.random.RandomState(0))
    assert toys.n_reference == 0


def test_groups_of_toys_change_nothing(monkeypatch):
    X = sample(400)
    made = machine(np.asarray, "cpu", X[toys_of(X).centers])
    found = []
    for at_once in (100, 7):  # the last one alone
        monkeypatch.setattr(Machine, "toys_at_once", lambda self, n, k=at_once: k)
        # Sizes are drawn first, so that groups draw other toys: with fixed counts not.
        t, failed = calibrate(made, toys_of(X, counts="fixed"), 8)
        assert t.shape == (8,) and not failed
        found.append(t)
    assert_allclose(*found, rtol=1e-4)


def test_memory_sets_how_many_toys_are_worked_on_together():
    from sklearn import config_context

    made = machine(np.asarray, "cpu", sample(20))
    with config_context(working_memory=64):
        assert made.toys_at_once(100_000) == 6
        assert made.toys_at_once(10**9) == 1


def test_float32(asarray, device):
    X, batch, Z = sample(2000), sample(70, 1), sample(20, 2)
    wide, *_ = machine(asarray, device, Z).test(asarray(X), asarray(batch), 0.03)
    low = machine(asarray, device, Z, np.float32, 1e-9)
    t, coef, _, converged = low.test(
        asarray(X.astype(np.float32)), asarray(batch.astype(np.float32)), 0.03
    )
    assert converged and coef.dtype == np.float32
    assert t == pytest.approx(wide, abs=0.1)


def test_statistics_in_columns():
    F = np.array([[1.0, -2.0], [0.5, 0.0], [3.0, 1.0]])
    is_one = np.array([[True, False], [False, True], [False, False]])
    weights = np.array([[1.0, 0.5], [0.25, 1.0], [0.0, 0.5]])
    expected = [
        2 * (1.0 + 0.25 * (1 - np.exp(0.5))),
        2 * (0.0 + 0.5 * (1 - np.exp(-2.0)) + 0.5 * (1 - np.e)),
    ]
    assert_allclose(statistics(F, is_one, weights, np), expected)


@pytest.mark.parametrize("df", [0.3, 1.0, 18.7, 4000.0])
@pytest.mark.parametrize("tail", [0.5, 1.0, 1.5, 3.0, 30.0, 1000.0])
def test_significance_against_many_digits(df, tail):
    t = df * tail
    p, z = chi2_significance(t, df)
    with mpmath.workdps(40):
        upper = mpmath.gammainc(df / 2, mpmath.mpf(t) / 2, regularized=True)
        lower = mpmath.gammainc(df / 2, 0, mpmath.mpf(t) / 2, regularized=True)
        upper = upper if tail > 1 else 1 - lower
        assert p == pytest.approx(float(upper), rel=1e-6, abs=1e-300)
        # The normal distribution has the same tail beyond z.
        if z > 0:
            tail_of_z = mpmath.log(mpmath.erfc(mpmath.mpf(z) / mpmath.sqrt(2)) / 2)
            assert float(tail_of_z) == pytest.approx(float(mpmath.log(upper)), rel=1e-9)
        else:
            below = float(mpmath.erfc(-mpmath.mpf(z) / mpmath.sqrt(2)) / 2)
            assert below == pytest.approx(float(lower), rel=1e-9)


def test_significance_has_no_gap_where_scipy_underflows():
    t = np.linspace(1150, 1400, 200)  # through p = 1e-260
    z = [chi2_significance(v, 20.0)[1] for v in t]
    assert_allclose(np.diff(z, 3), 0.0, atol=1e-6)
    assert chi2_significance(0.0, 20.0) == (1.0, -np.inf)
    assert chi2_significance(-0.1, 20.0)[0] == 1.0
