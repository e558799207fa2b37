"""Greedy and debiased Stein thinning against their definitions in NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern._device import select
from gpkern.algorithms import stein_thinning
from gpkern.algorithms.stein_thinning import (
    SteinChoice,
    debiased,
    greedy,
    inflated_size,
    looks_reversed,
    standardise,
    stein_kernel,
    within_reach,
)
from gpkern.kernels import InverseMultiquadric
from gpkern.operator import make_operator

SCALE = 1.4


def sample(n, d=3, seed=0):
    """Points that are too far to one side, and scores of the normal distribution."""
    x = np.random.default_rng(seed).normal(0.5, 1.3, size=(n, d))
    return x, -x


def matrix(x, s, scale=SCALE):
    """Langevin Stein kernel of (1 + |x - y|^2 / l^2)^(-1/2), written out."""
    r = x[:, None] - x[None]
    q = 1.0 + (r**2).sum(-1) / scale**2
    d, m, b = x.shape[1], scale**-2.0, -0.5
    out = (s @ s.T) * q**b
    apart = ((s[:, None] - s[None]) * r).sum(-1)
    out -= 2.0 * b * (d * m + m * apart) * q ** (b - 1.0)
    return out - 4.0 * b * (b - 1.0) * m**2 * (r**2).sum(-1) * q ** (b - 2.0)


@pytest.fixture(scope="module")
def operator(asarray, device):
    """Operator of points and scores on the device."""

    def make(x, s):
        kernel = stein_kernel(InverseMultiquadric(SCALE), x)
        rows = asarray(np.hstack([x, s]))
        return make_operator(kernel, rows, None, device, dtype=np.float64)

    return make


def test_kernel(operator, host):
    x, s = sample(30)
    s = s + np.random.default_rng(1).normal(size=s.shape)
    assert_allclose(host(operator(x, s).to_dense()), matrix(x, s), rtol=1e-12)


def discrepancy(K, rows, w=None):
    w = np.full(len(rows), 1.0 / len(rows)) if w is None else w
    return w @ K[np.ix_(rows, rows)] @ w


def by_definition(K, size, unique, penalty=0.0, reward=0.0):
    """Each row is that of the least sum over all pairs, and over all rows."""
    n, rows = len(K), []
    penalty, reward = np.broadcast_to(penalty, n), np.broadcast_to(reward, n)
    for t in range(1, size + 1):
        values = np.array(
            [
                t**2 * discrepancy(K, [*rows, j])
                + penalty[[*rows, j]].sum()
                - t * reward[j]
                for j in range(n)
            ]
        )
        if unique:
            values[rows] = np.inf
        rows.append(int(values.argmin()))
    return rows


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("n, size", [(1, 1), (2, 2), (30, 30), (70, 12)])
def test_greedy(n, size, unique, operator):
    x, s = sample(n)
    K = matrix(x, s)
    found = greedy(operator(x, s), size, unique)
    assert_array_equal(found.rows, by_definition(K, size, unique))
    assert len(set(found.rows)) == size or not unique
    path = [discrepancy(K, found.rows[:t]) for t in range(1, size + 1)]
    assert_allclose(found.path, path, atol=1e-12)


def test_greedy_takes_rows_again(operator):
    x, s = sample(20)
    rows = greedy(operator(x, s), 15).rows
    assert len(set(rows)) < 15


@pytest.mark.parametrize("given", ["both", "penalty", "reward"])
def test_regularised(given, operator, asarray):
    x, s = sample(50)
    rng = np.random.default_rng(2)
    terms = {"penalty": 3.0 * rng.uniform(size=50), "reward": 0.5 * rng.normal(size=50)}
    terms = {k: v for k, v in terms.items() if given in (k, "both")}
    on_device = {k: asarray(v) for k, v in terms.items()}
    found = greedy(operator(x, s), 9, **on_device)
    assert_array_equal(found.rows, by_definition(matrix(x, s), 9, False, **terms))
    plain = greedy(operator(x, s), 9).rows
    assert not np.array_equal(plain, found.rows)
    path = [discrepancy(matrix(x, s), found.rows[:t]) for t in range(1, 10)]
    assert_allclose(found.path, path, atol=1e-12)


@pytest.mark.parametrize("unique", [False, True])
def test_rows_out_of_reach_are_never_chosen(unique):
    """Also not where they are best for it: against all the rows chosen before."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        n, size = 30, int(rng.integers(1, 12))
        F = rng.normal(size=(n, 2)) * rng.uniform(size=(n, 1)) ** -2.0
        K = F @ F.T + 1e-6 * np.eye(n)
        kept = within_reach(np.diagonal(K), size, size if unique else 1)
        assert set(by_definition(K, size, unique)) <= set(np.flatnonzero(kept))
        assert kept.sum() >= (size if unique else 1)
    assert not kept.all()


@pytest.mark.parametrize("size", [2, 3, 6])
def test_reach_is_as_far_as_it_must(size):
    """A long row opposite to a short one that is taken again and again."""
    for share, chosen in ((0.99, True), (1.01, False)):
        f = np.array([1.0, -share * (2.0 * size - 1.0)])
        K = np.outer(f, f)
        assert (1 in by_definition(K, size, False)) == chosen
        assert_array_equal(within_reach(np.diagonal(K), size), [True, chosen])


def test_reach_without_numbers():
    diagonal = np.array([np.inf, 4.0, np.nan, 1.0, 10.0])
    assert_array_equal(within_reach(diagonal, 2), [0, 1, 0, 1, 0])
    assert_array_equal(within_reach(diagonal, 2, least=2), [0, 1, 0, 1, 1])


def test_far_rows_take_no_digits(operator):
    """A start with scores of 1e18 is left out, and so is one beyond float64."""
    x, s = sample(200)
    expected = SteinChoice("greedy", None, 0, False).choose(
        operator(x, s), 20, None, None, None
    )
    x, s = np.vstack([x[:1], x, x[:1]]), np.vstack([s[:1] * 1e18, s, s[:1] * 1e200])
    got = SteinChoice("greedy", None, 0, False).choose(
        operator(x, s), 20, None, None, None
    )
    assert_array_equal(got[0], expected[0] + 1)
    assert_allclose(got[1], expected[1], rtol=1e-12)


class TestStandardise:
    @pytest.mark.parametrize("how", [True, False, "whiten"])
    def test_scores_are_by_the_new_coordinates(self, how, asarray, host, device):
        """Steps times scores, the changes of the log density, remain."""
        rng = np.random.default_rng(0)
        x = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 3)) + 100.0
        s = rng.normal(size=(40, 3))
        to = select(device)
        y, t, scale = map(host, standardise(asarray(x), asarray(s), how, to))
        assert_allclose((y - y[0]) @ t.T, (x - x[0]) @ s.T, rtol=1e-9, atol=1e-9)
        if how == "whiten":
            assert_allclose(np.cov(y.T), np.eye(3), atol=1e-12)
            assert_allclose(scale @ scale.T, np.cov(x.T), rtol=1e-12)
        elif how:
            assert_allclose(abs(y - y.mean(axis=0)).mean(axis=0), 1.0)
            assert_allclose(y * scale, x)

    def test_constant_columns(self):
        x = np.column_stack([np.full(30, 0.1), np.arange(30.0)])
        y, t, scale = standardise(x, np.ones((30, 2)), True, select("cpu"))
        assert_array_equal(y[:, 0], x[:, 0])
        assert scale[0] == t[0, 0] == 1.0

    @pytest.mark.parametrize(
        "columns",
        [lambda u: np.full_like(u, 0.1), lambda u: 3.0 * u + 1e-9, lambda u: 1e30 * u],
        ids=["constant", "dependent", "scaled"],
    )
    def test_singular(self, columns):
        u = np.random.default_rng(0).normal(size=(30, 1))
        x = np.hstack([u, columns(u)])
        with pytest.raises(ValueError, match="covariance of X is singular"):
            standardise(x, x, "whiten", select("cpu"))

    def test_overflow(self):
        x = np.linspace(-1.0, 1.0, 30)[:, None] * 1e308 + 7e307
        with pytest.raises(ValueError, match="too large to be standardised"):
            standardise(x, x, True, select("cpu"))


def test_length_scales():
    x, _ = sample(300)
    median = stein_kernel(InverseMultiquadric(), x, "median").base.length_scale
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    assert median == pytest.approx(np.median(distances[np.triu_indices(300, 1)]))
    scaled = stein_kernel(InverseMultiquadric(), x, "scaled_median")
    assert scaled.base.length_scale == pytest.approx(median / np.sqrt(np.log(300)))
    assert stein_kernel(InverseMultiquadric(2.5), x).base.length_scale == 2.5
    assert stein_kernel(InverseMultiquadric(), x[:1], "scaled_median").n_features == 3


@pytest.mark.parametrize("seed", range(5))
def test_signs(seed):
    """Scores of the wrong sign are seen, also at the start of a chain."""
    x = sample(60, seed=seed)[0]
    x[:20] += 8.0
    x[40:50] = x[40]  # rejections
    for far in (0.0, 1e6):
        assert looks_reversed(x, far + x)
        assert not looks_reversed(x, -far - x)
    modes = np.where(np.arange(60)[:, None] % 2, 5.0, -5.0)
    assert not looks_reversed(x + modes, -x)
    assert not looks_reversed(x, np.zeros_like(x))
    assert not looks_reversed(x[:8], x[:8])  # too few to tell


class TestDebiased:
    def test_is_nearer_than_greedy(self, operator):
        x, s = sample(500)
        op, K = operator(x, s), matrix(x, s)
        coins = np.random.RandomState(0)
        found, many = debiased(op, 20, 500, None, False, coins)
        assert len(found.rows) == 20
        assert len(many) == 500
        assert_array_equal(many, np.sort(greedy(op, 500).rows))
        assert found.path[-1] == pytest.approx(discrepancy(K, found.rows), abs=1e-12)
        assert all(np.diff(found.path) <= 1e-12)
        # The first step leaves next to nothing, both together less than one alone.
        assert discrepancy(K, many) < 0.02 * discrepancy(K, np.arange(500))
        assert found.path[-1] < 0.9 * greedy(op, 20).path[-1]

    def test_halving_alone(self, operator):
        """It chooses among the rows of the first step, better than chance."""
        x, s = sample(400)
        op, K = operator(x, s), matrix(x, s)
        coins = np.random.RandomState(0)
        found, many = debiased(op, 25, 400, 0, False, coins)
        assert found.path == []
        assert set(found.rows) <= set(many)
        rng = np.random.default_rng(0)
        chance = [discrepancy(K, rng.choice(many, 25)) for _ in range(30)]
        assert discrepancy(K, found.rows) < 0.6 * np.mean(chance)

    @pytest.mark.parametrize("n, size", [(1, 1), (2, 1), (3, 3), (5, 4), (90, 17)])
    @pytest.mark.parametrize("unique", [True, False])
    def test_any_size(self, n, size, unique, operator):
        x, s = sample(n)
        way = SteinChoice("debiased", None, None, unique)
        rows, _, weights = way.choose(
            operator(x, s), size, None, None, np.random.RandomState(0)
        )
        assert len(rows) == size
        assert_array_equal(rows, np.sort(rows))
        assert len(set(rows)) == size or not unique
        assert weights.shape == (n,)
        assert weights.sum() == pytest.approx(1.0)

    def test_rows_of_the_first_step(self, monkeypatch):
        assert inflated_size(1000, 10) == 1000
        assert inflated_size(1000, 10, oversampling=3) == 80
        assert inflated_size(1000, 10, oversampling=9) == 1000
        monkeypatch.setattr(stein_thinning, "ALL_PAIRS_ROWS", 500)
        monkeypatch.setattr(stein_thinning, "GREEDY_PAIRS", 4e5)
        assert inflated_size(1000, 10) == 400
        assert inflated_size(1000, 40) == 640
        assert inflated_size(1000, 100) == 1000


def test_overflow_of_all_rows(operator):
    x, s = sample(9)
    way = SteinChoice("greedy", None, 0, True)
    s[3:] *= 1e200
    with pytest.raises(ValueError, match="scores of 6 of 9 rows are so large"):
        way.choose(operator(x, s), 4, None, None, None)
    assert len(way.choose(operator(x, s), 3, None, None, None)[0]) == 3
