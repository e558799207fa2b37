"""Mixtures and restricted Boltzmann machines: scores, constants, draws."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import special, stats

from gpkern.targets import GaussianBernoulliRBM, Mixture, check_score

MEANS = np.array([[-2.0, 0.0], [2.0, 0.5], [0.0, 2.5]])
WEIGHTS = np.array([3.0, 5.0, 2.0])
FULL = np.array([[[1.0, 0.3], [0.3, 0.5]], [[2.0, -1.0], [-1.0, 1.0]], np.eye(2)])
COVARIANCES = {
    "number": 0.7,
    "terms": np.array([0.5, 1.0, 2.0]),
    "columns": np.array([[0.5, 1.0], [2.0, 1.0], [0.1, 3.0]]),
    "matrices": FULL,
}


@pytest.fixture(params=COVARIANCES)
def case(request):
    """A mixture, and its covariance matrices."""
    C = np.asarray(COVARIANCES[request.param])
    if C.ndim < 3:
        columns = C if C.ndim == 2 else C[..., None]
        full = np.broadcast_to(columns, MEANS.shape)[:, :, None] * np.eye(2)
    else:
        full = C
    return Mixture(WEIGHTS, MEANS, C), full


def rows(n=100, d=2):
    return 2.0 * np.random.default_rng(0).normal(size=(n, d))


def test_density(case, asarray, host):
    mixture, full = case
    terms = [
        np.log(w) + stats.multivariate_normal(m, C).logpdf(rows())
        for w, m, C in zip(WEIGHTS / 10.0, MEANS, full, strict=True)
    ]
    logs = special.logsumexp(terms, axis=0)
    assert_allclose(host(mixture.log_density(asarray(rows()))), logs, rtol=1e-12)
    shares = np.exp(terms - logs)
    pulls = [
        np.linalg.solve(C, (m - rows()).T).T for m, C in zip(MEANS, full, strict=True)
    ]
    expected = np.einsum("kn,knd->nd", shares, pulls)
    score = host(mixture.score(asarray(rows())))
    assert_allclose(score, expected, rtol=1e-10, atol=1e-12)
    assert check_score(mixture, rows()) < 1e-8


def test_far_outside(case):
    """Where all terms underflow the nearest one pulls."""
    mixture, full = case
    X = np.array([[1e4, 0.0], [0.0, 1e4], [-1e4, -1e4]])
    squares = [
        np.einsum("nd,de,ne->n", X - m, np.linalg.inv(C), X - m)
        for m, C in zip(MEANS, full, strict=True)
    ]
    k = np.argmin(squares, axis=0)
    expected = [
        np.linalg.solve(full[i], MEANS[i] - x) for i, x in zip(k, X, strict=True)
    ]
    # Terms of one width share the pull, by less than their distances.
    assert_allclose(mixture.score(X), expected, rtol=1e-3, atol=50.0)
    assert np.isfinite(mixture.log_density(X)).all()


def test_draws(case):
    mixture, full = case
    X = mixture.sample(200_000, random_state=0)
    w = WEIGHTS / 10.0
    mean = w @ MEANS
    spread = np.einsum("k,kd,ke->de", w, MEANS - mean, MEANS - mean)
    covariance = np.einsum("k,kde->de", w, full) + spread
    assert_allclose(X.mean(axis=0), mean, atol=0.03)
    assert_allclose(np.cov(X.T), covariance, atol=0.06)
    assert_array_equal(X[:5], mixture.sample(200_000, random_state=0)[:5])
    # Stein's identity: the mean of score(x) x' is minus the identity.
    assert_allclose(mixture.score(X).T @ X / len(X), -np.eye(2), atol=0.06)


def test_no_weight_and_pickle():
    one, two = Mixture([1.0], MEANS[:1], 1.0), Mixture([1.0, 0.0], MEANS[:2], 1.0)
    assert_allclose(two.score(rows()), one.score(rows()))
    assert_allclose(two.log_density(rows()), one.log_density(rows()))
    same = pickle.loads(pickle.dumps(two))
    assert_array_equal(same.score(rows()), two.score(rows()))
    assert_allclose(Mixture([1e308, 1e308], MEANS[:2], 1.0).weights, 0.5)


@pytest.mark.parametrize(
    "weights, means, covariances, message",
    [
        (WEIGHTS, MEANS[0], 1.0, r"means must have shape \(k, d\)"),
        (WEIGHTS[:2], MEANS, 1.0, r"weights has shape \(2,\): one for each of the 3"),
        (-WEIGHTS, MEANS, 1.0, "weights must not be negative"),
        (0 * WEIGHTS, MEANS, 1.0, "weights are all 0"),
        (WEIGHTS, MEANS * np.nan, 1.0, "means contains NaN or infinity"),
        ([1.0, np.inf, 1.0], MEANS, 1.0, "weights contains NaN or infinity"),
        (WEIGHTS, MEANS, "full", "covariances is not an array of numbers"),
        (WEIGHTS, MEANS, 0.0, r"covariances must be positive: of shape \(\)"),
        (WEIGHTS, MEANS, np.eye(2), r"np.broadcast_to\(C, \(k, d, d\)\)"),
        (
            WEIGHTS,
            MEANS,
            FULL + np.array([[0, 0], [1, 0]]),
            r"covariances\[0\] is not symm",
        ),
        (
            WEIGHTS,
            MEANS,
            [np.eye(2), np.ones((2, 2)) - 0.5 * np.eye(2), np.eye(2)],
            r"covariances\[1\] is not positive definite: its smallest .* -0\.5",
        ),
    ],
)
def test_wrong_parameters(weights, means, covariances, message):
    with pytest.raises(ValueError, match=message):
        Mixture(weights, means, covariances)


# ------------------------------------------------------------- Boltzmann machines


def machine(d=3, k=4, seed=1):
    rng = np.random.default_rng(seed)
    B = rng.choice([-1.0, 1.0], size=(d, k))
    return GaussianBernoulliRBM(B, rng.normal(size=d), rng.normal(size=k))


def states(k):
    return np.array(list(itertools.product((-1.0, 1.0), repeat=k)))


def log_joint(rbm, X, H):
    """Shape (n, states)."""
    visible = X @ rbm.b - 0.5 * (X**2).sum(axis=1)
    return 0.5 * X @ rbm.B @ H.T + visible[:, None] + H @ rbm.c


def test_machine_by_enumeration(asarray, host):
    rbm, X = machine(), rows(50, 3)
    logs = special.logsumexp(log_joint(rbm, X, states(4)), axis=1)
    assert_allclose(host(rbm.log_density(asarray(X))), logs, rtol=1e-12)
    assert check_score(rbm, X) < 1e-8
    assert_allclose(host(rbm.score(asarray(X))), rbm.score(X), rtol=1e-12)


def test_conditional_distributions():
    """Those that Gibbs sampling draws from, against the joint one."""
    rbm, H = machine(), states(4)
    X = np.repeat(rows(1, 3), 100_000, axis=0)
    drawn = rbm._hidden(X, np.random.RandomState(0))
    shares = special.softmax(log_joint(rbm, X[:1], H), axis=1)[0]
    assert_allclose(drawn.mean(axis=0), shares @ H, atol=0.015)
    pairs = np.einsum("s,si,sj->ij", shares, H, H)
    assert_allclose(drawn.T @ drawn / len(drawn), pairs, atol=0.015)
    # Of x given h the log joint is a quadratic with its top at the mean.
    h = H[5:6]
    top = rbm.b + 0.5 * h @ rbm.B.T
    gap = log_joint(rbm, rows(20, 3), h) - log_joint(rbm, top, h)
    assert_allclose(gap[:, 0], -0.5 * ((rows(20, 3) - top) ** 2).sum(axis=1))


@pytest.mark.parametrize("listed", [True, False])
def test_machine_draws(listed, monkeypatch):
    if not listed:
        monkeypatch.setattr("gpkern.targets.rbm.LISTED_UNITS", 0)
    rbm, H = machine(seed=3), states(4)
    means = rbm.b + 0.5 * H @ rbm.B.T
    shares = special.softmax(H @ rbm.c + 0.5 * (means**2).sum(axis=1))
    mixture = Mixture(shares, means, 1.0)
    assert_allclose(mixture.score(rows(9, 3)), rbm.score(rows(9, 3)), rtol=1e-9)
    X = rbm.sample(40_000, random_state=0, burn_in=100)
    exact = mixture.sample(400_000, random_state=1)
    assert_allclose(X.mean(axis=0), shares @ means, atol=0.06)
    assert_allclose(np.cov(X.T), np.cov(exact.T), atol=0.12)
    assert_array_equal(X, rbm.sample(40_000, random_state=0, burn_in=100))


def test_machine_far_outside():
    rbm, X = machine(), 1e4 * np.array([[1.0, -1.0, 1.0]])
    field = 0.5 * X @ rbm.B + rbm.c
    assert_allclose(rbm.score(X), rbm.b - X + 0.5 * np.sign(field) @ rbm.B.T)
    logs = X @ rbm.b - 0.5 * (X**2).sum() + abs(field).sum()
    assert_allclose(rbm.log_density(X), logs)


def test_wrong_machines():
    B = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"b must have \(3,\), not \(2,\), and c \(2"):
        GaussianBernoulliRBM(B, np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match=r"B must have shape \(d, k\)"):
        GaussianBernoulliRBM(B[0], np.ones(2), np.ones(3))
    with pytest.raises(ValueError, match="c contains NaN"):
        GaussianBernoulliRBM(B, np.ones(3), [1.0, np.nan])
    with pytest.raises(ValueError, match="burn_in=0 must be at least 1"):
        machine().sample(3, burn_in=0)
