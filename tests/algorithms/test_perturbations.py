"""Modes of a density, and jumps between them that leave it as it is."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from gpkern._device import select
from gpkern.algorithms.perturbations import (
    Modes,
    find_modes,
    jump,
    jump_sizes,
    power_ratio,
    precision_at,
    starts_around,
)
from gpkern.algorithms.quasi_newton import climb, slopes_at, values_at
from gpkern.algorithms.stein import stein_sums
from gpkern.kernels import InverseMultiquadric
from gpkern.targets import GaussianBernoulliRBM, LogDensity, Mixture, Score

MEANS = np.array([[-5.0, 0.0], [5.0, 0.0], [0.0, 6.0], [0.0, -6.0]])
COVARIANCES = np.array(
    [np.eye(2), 0.3 * np.eye(2), [[1.0, 0.8], [0.8, 1.0]], np.diag([2.0, 0.1])]
)
FOUR = Mixture([0.1, 0.2, 0.3, 0.4], MEANS, COVARIANCES)


def modes_of(target, X, seed=0, count=100):
    starts = starts_around(X, count, np.random.RandomState(seed))
    return find_modes(target.log_density, target.score, starts, X.std(axis=0))


def in_order(modes):
    return np.lexsort(modes.points.round(2).T)


def ripples(width):
    """A normal density of this width, with maxima 0.3 of it apart."""

    def log_density(X):
        z = X[:, 0] / width
        return -0.5 * z**2 + 0.02 * np.cos(20.0 * z)

    def score(X):
        z = X / width
        return -(z + 0.4 * np.sin(20.0 * z)) / width

    return Score(score, log_density)


# ------------------------------------------------------------------------- modes


@pytest.mark.parametrize("target", [FOUR, LogDensity(FOUR.log_density)])
def test_modes_of_a_mixture(target):
    X = FOUR.sample(50, 0)
    modes = modes_of(target, X)
    assert modes.points.shape == (4, 2)
    order, expected = in_order(modes), np.lexsort(MEANS.T)
    assert_allclose(modes.points[order], MEANS[expected], atol=1e-5)
    covariances = np.linalg.inv(modes.precisions[order])
    assert_allclose(covariances, COVARIANCES[expected], atol=1e-4)
    assert (np.diff(modes.log_densities) <= 0).all()
    assert_allclose(modes.log_densities, FOUR.log_density(modes.points))


def test_modes_of_a_boltzmann_machine():
    """Four states of two hidden units, each a mode of its own."""
    B = np.array([[8.0, 0.0], [0.0, 8.0], [1.0, -1.0], [2.0, 1.0], [0.0, 1.0]])
    rbm = GaussianBernoulliRBM(B, np.full(5, 0.1), np.zeros(2))
    modes = modes_of(rbm, rbm.sample(100, 0))
    states = np.array(list(itertools.product((-1.0, 1.0), repeat=2)))
    assert len(modes) == 4
    expected = 0.1 + 0.5 * states @ B.T
    order = in_order(modes)
    assert_allclose(
        modes.points[order], expected[np.lexsort(expected.round(2).T)], atol=1e-4
    )


@pytest.mark.parametrize("apart", [20.0, 60.0])
def test_modes_far_from_the_rows(apart):
    target = Mixture([0.5, 0.5], [[0.0], [apart]], 1.0)
    X = np.random.default_rng(0).normal(size=(100, 1))
    for seed in range(5):
        points = modes_of(target, X, seed).points
        assert_allclose(np.sort(points.ravel()), [0.0, apart], atol=1e-6)


def test_modes_of_different_units():
    units = np.array([1e-6, 1e4])
    target = Mixture([0.5, 0.5], MEANS[:2] * units, np.broadcast_to(units**2, (2, 2)))
    modes = modes_of(target, target.sample(50, 0))
    assert len(modes) == 2
    assert_allclose(np.sort(modes.points[:, 0] / units[0]), [-5.0, 5.0], atol=1e-4)


def test_a_mode_much_narrower_than_the_sample():
    target = Mixture([0.5, 0.5], [[-50.0], [50.0]], [[1e-6], [1.0]])
    modes = modes_of(target, target.sample(60, 0))
    assert_allclose(modes.points.ravel(), [-50.0, 50.0], atol=1e-6)
    assert_allclose(modes.precisions.ravel(), [1e6, 1.0], rtol=1e-4)


def test_merging_is_by_precisions():
    """Distances count in widths, where inverse ones would do the opposite."""
    narrow = Mixture([0.5, 0.5], [[0.0], [1.0]], 0.01)
    assert len(modes_of(narrow, narrow.sample(50, 0))) == 2
    for width in (0.1, 1.0, 10.0):
        starts = width * np.linspace(-0.5, 0.5, 101)[:, None]
        target = ripples(width)
        ends, _ = climb(target.log_density, target.score, starts, np.full(1, width))
        assert len(np.unique((ends / width).round(2))) == 3
        modes = find_modes(target.log_density, target.score, starts, np.full(1, width))
        # Precision 9, so that 0.3 widths apart are one mode; the highest is kept.
        assert_allclose(modes.points, [[0.0]], atol=1e-6 * width)
        assert_allclose(modes.precisions * width**2, [[[9.0]]], rtol=1e-3)


def test_low_modes_are_left_out():
    X = FOUR.sample(50, 0)
    low = Mixture([1.0, 1e-9], [[0.0, 0.0], [9.0, 9.0]], 1.0)
    assert len(modes_of(low, 5.0 * X)) == 1
    less_low = Mixture([1.0, 1e-7], [[0.0, 0.0], [9.0, 9.0]], 1.0)
    assert len(modes_of(less_low, 5.0 * X)) == 2


def test_saddles_slopes_and_edges_are_no_modes():
    saddle = Mixture([0.5, 0.5], [[-3.0], [3.0]], 1.0)
    assert precision_at(saddle.score, np.zeros(1), np.ones(1)) is None
    at = np.zeros((1, 1))
    assert len(find_modes(saddle.log_density, saddle.score, at, np.ones(1))) == 0
    rows = np.random.default_rng(0).normal(size=(20, 1))
    endless = Score(np.ones_like, lambda X: X[:, 0])
    assert len(modes_of(endless, rows)) == 0
    edge = Score(
        lambda X: np.where(X > 0, -1.0, np.nan),
        lambda X: np.where(X[:, 0] > 0, -X[:, 0], -np.inf),
    )
    none = modes_of(edge, abs(rows))
    assert none.points.shape == (0, 1) and none.precisions.shape == (0, 1, 1)


def test_flat_modes_have_a_width():
    quartic = Score(lambda X: -(X**3), lambda X: -0.25 * (X**4).sum(axis=1))
    A = precision_at(quartic.score, np.zeros(2), np.ones(2))
    assert (np.linalg.eigvalsh(A) >= 0.99e-4).all()


def test_climbs_in_many_columns():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(40, 40)) + 5.0 * np.eye(40)
    A = root @ root.T
    target = Score(lambda X: -X @ A, lambda X: -0.5 * ((X @ A) * X).sum(axis=1))
    starts = rng.normal(size=(7, 40))
    ends, values = climb(target.log_density, target.score, starts, np.ones(40))
    assert ends.shape == (7, 40) and (values > -1e-6).all()


def test_starts():
    X = np.random.default_rng(0).normal(size=(30, 2))
    rng = np.random.RandomState(0)
    starts = starts_around(X, 100, rng)
    assert starts.shape == (100, 2) and (abs(starts) > 30).any()
    rows = {tuple(row) for row in X}
    assert sum(tuple(row) in rows for row in starts) == 30
    drawn = starts_around(X, 90, rng, lambda m, _: np.full((m, 2), 7.0))
    assert (drawn == 7.0).all(axis=1).sum() == 30 and len(drawn) == 90
    constant = starts_around(np.ones((5, 2)), 20, rng)
    assert np.isfinite(constant).all() and constant.std() > 0


def test_rows_without_a_value_or_a_score():
    def score(X):
        if (X > 3).any():
            raise ValueError("outside")
        return -X

    X = np.array([[1.0], [4.0], [2.0], [np.inf]])
    assert_array_equal(slopes_at(score, X[:3]), [[-1.0], [np.nan], [-2.0]])
    values = values_at(lambda X: np.where(X[:, 0] > 3, np.nan, X[:, 0]), X)
    assert_array_equal(values, [1.0, -np.inf, 2.0, -np.inf])


# ------------------------------------------------------------------------- jumps

UNEQUAL = Mixture(
    [0.2, 0.5, 0.3],
    [[0.0, 0.0], [7.0, 1.0], [1.0, 8.0]],
    [np.eye(2), [[2.0, 1.2], [1.2, 1.0]], [[0.3, -0.2], [-0.2, 0.5]]],
)
THETAS = np.array([0.8, 1.0, 1.15])


def test_jumps_leave_the_density():
    X = UNEQUAL.sample(20_000, 0)
    modes = modes_of(UNEQUAL, X[:50])
    assert len(modes) == 3
    moved = jump(UNEQUAL.log_density, X, modes, THETAS, 10, np.random.RandomState(0))
    assert moved.shape == (3, 20_000, 2)
    fresh = UNEQUAL.sample(20_000, 1)
    for rows in moved:
        assert (rows != X).any(axis=1).mean() > 0.3
        for way in ([1, 0], [0, 1], [1, 1], [1, -1]):
            assert stats.ks_2samp(rows @ way, fresh @ way).pvalue > 1e-3


def test_jumps_leave_the_density_whatever_the_modes():
    """Places and precisions need not be right: a density of one mode, and wrong ones"""
    normal = Mixture([1.0], [[0.0]], 1.0)
    modes = Modes(np.array([[-0.5], [1.0]]), np.zeros(2), np.array([[[0.5]], [[3.0]]]))
    X = normal.sample(20_000, 0)
    rows = jump(normal.log_density, X, modes, THETAS, 10, np.random.RandomState(0))
    for moved in rows[:, :, 0]:
        assert (moved != X[:, 0]).mean() > 0.5
        assert stats.kstest(moved, "norm").pvalue > 1e-3


class Fixed:
    """In the place of a random state: one pair of modes, and uniform numbers."""

    def __init__(self, i, j, k, u):
        self.draws, self.u = iter([i, (j - i) % k]), u

    def randint(self, *_, size):
        return np.full(size, next(self.draws))

    def uniform(self, size):
        return np.resize(self.u, size)


def test_detailed_balance():
    modes = modes_of(UNEQUAL, UNEQUAL.sample(50, 0))
    X, u = UNEQUAL.sample(40, 2), (np.arange(4000) + 0.5) / 4000

    def accepted(x, i, j, theta):
        """Where a row jumps to, and with what probability."""
        rows = np.repeat(x[None], len(u), axis=0)
        (moved,) = jump(
            UNEQUAL.log_density, rows, modes, np.array([theta]), 1, Fixed(i, j, 3, u)
        )
        went = (moved != x).any(axis=1)
        return (moved[went][0], went.mean()) if went.any() else (None, 0.0)

    n_seen = 0
    roots = np.sqrt(np.linalg.det(modes.precisions))
    for x, (i, j), theta in itertools.product(
        X, itertools.permutations(range(3), 2), (0.9, 1.0)
    ):
        there, forth = accepted(x, i, j, theta)
        if forth < 0.05:
            continue
        again, back = accepted(there, j, i, theta)
        if back < 0.05:
            continue
        n_seen += 1
        assert_allclose(again, x, atol=1e-9)
        before, after = np.exp(UNEQUAL.log_density(np.stack([x, there])))
        assert_allclose(before * forth, after * back * roots[i] / roots[j], rtol=0.01)
    assert n_seen > 20


def test_pairs_are_uniform():
    """All ordered pairs of different modes, as often: equal modes are swapped."""
    means = np.array([[0.0], [50.0], [150.0], [350.0]])
    target = Mixture(np.ones(4), means, 1.0)
    modes = Modes(means, np.zeros(4), np.ones((4, 1, 1)))
    X = np.repeat(means, 12_000, axis=0)
    (moved,) = jump(
        target.log_density, X, modes, np.ones(1), 1, np.random.RandomState(0)
    )
    counts = np.zeros((4, 4))
    np.add.at(
        counts,
        (
            np.repeat(range(4), 12_000),
            np.searchsorted(means[:, 0] - 25, moved[:, 0]) - 1,
        ),
        1,
    )
    # One of 12 pairs each; another pair's jump leads nowhere, as distances differ.
    expected = np.full((4, 4), 1000.0) + 8000.0 * np.eye(4)
    assert stats.chisquare(counts.ravel(), expected.ravel()).pvalue > 1e-3


def test_jumps_give_modes_their_shares():
    left = UNEQUAL.means[0] + np.random.default_rng(0).normal(size=(5000, 2))
    modes = modes_of(UNEQUAL, UNEQUAL.sample(50, 0))
    (moved,) = jump(
        UNEQUAL.log_density, left, modes, np.ones(1), 100, np.random.RandomState(0)
    )
    nearest = ((moved[:, None] - UNEQUAL.means) ** 2).sum(axis=2).argmin(axis=1)
    assert_allclose(np.bincount(nearest) / 5000, UNEQUAL.weights, atol=0.03)


@pytest.mark.parametrize("outside", [-np.inf, np.nan, np.inf])
def test_no_jump_leads_out_of_the_support(outside):
    def log_density(X):
        inside = (X > -1.0).all(axis=1)
        return np.where(inside, UNEQUAL.log_density(X), outside)

    X = UNEQUAL.sample(2000, 0)
    X = X[(X > -1.0).all(axis=1)]
    modes = modes_of(UNEQUAL, X[:50])
    moved = jump(log_density, X, modes, THETAS, 10, np.random.RandomState(0))
    assert (moved > -1.0).all() and (moved != X).any()


def test_chunks_do_not_change_the_law(monkeypatch):
    monkeypatch.setattr("gpkern.algorithms.perturbations.CHUNK", 10_000)
    test_jumps_leave_the_density()


def test_jumps_need_two_modes():
    one = Modes(np.zeros((1, 1)), np.zeros(1), np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="two modes, not 1"):
        jump(len, np.zeros((3, 1)), one, THETAS, 1, np.random.RandomState(0))


def test_sizes():
    """The paper's where modes are near, and near 1 where they are not."""

    def sizes(apart):
        points = np.array([[0.0], [apart], [-apart]])
        return jump_sizes(Modes(points, np.zeros(3), np.ones((3, 1, 1))))

    assert_allclose(sizes(4.0), np.linspace(0.5, 1.5, 21))
    assert_allclose((sizes(600.0) - 1.0) * 600.0, np.linspace(-3, 3, 21))


def test_power_ratio(device):
    X = np.random.default_rng(0).normal(size=(60, 2))
    engine = select(device)
    points, scores = engine.put(X), engine.put(0.5 - X)
    sums = stein_sums(points, scores, [InverseMultiquadric(1.5)], engine)
    r = ((X[:, None] - X) ** 2).sum(axis=2)
    first = -0.5 / 1.5**2 * (1 + r / 1.5**2) ** -1.5
    second = 0.75 / 1.5**4 * (1 + r / 1.5**2) ** -2.5
    S = 0.5 - X
    gap = -r  # of scores and rows: s - t = -(x - y)
    u = (1 + r / 1.5**2) ** -0.5 * (S @ S.T) - 2 * first * gap
    u += -4 * first - 4 * r * second
    n = 60
    statistic = (u.sum() - np.trace(u)) / (n * (n - 1))
    variance = 4 / n**3 * (u.sum(axis=1) ** 2).sum() - 4 / n**4 * u.sum() ** 2
    assert_allclose(power_ratio(sums), statistic / np.sqrt(variance), rtol=1e-8)
