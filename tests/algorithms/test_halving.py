"""The halving walk against its definition, and what it is for."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms import halving
from gpkern.algorithms.halving import halve, halve_all, split, walk
from gpkern.cpu.walks import thresholds
from gpkern.kernels import RBF, InverseMultiquadric, Laplacian


def reference_walk(K, delta, coins):
    """Kernel halving as the paper has it, on a dense matrix."""
    h, n = len(K) // 2, len(K)
    p, q = np.arange(0, n, 2), np.arange(1, n, 2)
    G = K[np.ix_(p, p)] - K[np.ix_(p, q)] - K[np.ix_(q, p)] + K[np.ix_(q, q)]
    log_factor, variance = 2 * np.log(2 * n / delta), 0.0
    signs, limits = np.zeros(h), np.zeros(h)
    for i in range(h):
        square = G[i, i]
        a = max(np.sqrt(variance * square * log_factor), square)
        limits[i] = a if a > 0 else 1.0
        if variance == 0:
            variance = square
        elif a > 0:
            growth = 1 + (square / a - 2) * variance / a
            variance += square * max(0, growth)
        c = signs[:i] @ G[:i, i]
        signs[i] = -1 if coins[i] <= (1 + c / limits[i]) / 2 else 1
    return signs, limits, variance, G


def points(n, d=2):
    return np.random.default_rng(0).normal(size=(n, d))


@pytest.mark.parametrize("kernel", [RBF(1.0), InverseMultiquadric(), Laplacian(1.0)])
@pytest.mark.parametrize("n", [2, 6, 128, 130, 300])
def test_walk(n, kernel, asarray):
    X = points(n)
    coins = np.random.RandomState(3).random_sample(n // 2)
    signs, limits, variance, G = reference_walk(kernel(X), 0.5, coins)
    order, op = np.arange(n), KernelOperator(kernel, asarray(X))
    got = walk(op, [order], [0.5], [coins])[0]
    assert_array_equal(got, signs)
    factor = 2 * np.log(2 * n / 0.5)
    got = thresholds(np.diagonal(G).copy(), factor)
    assert_allclose(got[0], limits, rtol=1e-12)
    assert got[1] == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 64, 101])
def test_halves(n, asarray):
    X, order = points(n), np.random.default_rng(1).permutation(n)
    op = KernelOperator(RBF(1.0), asarray(X))
    left, right = halve(op, order, 0.5, np.random.RandomState(0))
    assert abs(len(left) - len(right)) == n % 2
    assert_array_equal(np.sort(np.concatenate([left, right])), np.arange(n))
    for i in range(n // 2):  # one of each pair
        assert len(np.intersect1d(order[2 * i : 2 * i + 2], left)) == 1


def test_rounds(asarray):
    op = KernelOperator(RBF(1.0), asarray(points(103)))
    sets = split(op, np.arange(103), 3, 0.5, np.random.RandomState(0))
    assert len(sets) == 8
    assert {len(s) for s in sets} <= {12, 13, 14}
    assert_array_equal(np.sort(np.concatenate(sets)), np.arange(103))


def test_equal_points(asarray):
    """No pair differs: every threshold would be zero."""
    op = KernelOperator(RBF(1.0), asarray(np.ones((10, 2))))
    left, right = halve(op, np.arange(10), 0.5, np.random.RandomState(0))
    assert len(left) == len(right) == 5


def test_blocks_change_nothing(monkeypatch):
    op, results = KernelOperator(RBF(1.0), points(400)), []
    for size in (1, 7, 64, 1000):
        monkeypatch.setattr(halving, "BLOCK_PAIRS", size)
        monkeypatch.setattr(halving, "SMALL_PAIRS", 0)
        coins = np.random.RandomState(0).random_sample(200)
        results.append(walk(op, [np.arange(400)], [0.5], [coins])[0])
    for other in results[1:]:
        assert_array_equal(other, results[0])


def test_halves_agree_better_than_random_ones():
    """Discrepancy of the halves over 20 seeds, against fair coins."""
    X = points(1024)
    op, K = KernelOperator(RBF(1.0), X), RBF(1.0)(X)

    def discrepancy(signs):
        e = np.empty(1024)
        e[0::2], e[1::2] = signs, -signs
        return np.sqrt(e @ K @ e) / 1024

    coins = [np.random.RandomState(s).random_sample(512) for s in range(20)]
    walks = walk(op, [np.arange(1024)] * 20, [0.5] * 20, coins)
    fair = [discrepancy(np.where(c < 0.5, 1.0, -1.0)) for c in coins]
    assert np.mean([discrepancy(w) for w in walks]) < 0.6 * np.mean(fair)


@pytest.mark.parametrize("budget", [2**20, 2**30])
def test_several_problems_at_once(budget, asarray):
    """Of several sizes, each as if it were alone; whatever fits in memory together."""
    X, rng = points(900), np.random.default_rng(4)
    sizes = [0, 1, 2, 5, 64, 64, 65, 300, 300, 99]
    orders = [rng.permutation(900)[:n] for n in sizes]
    deltas = list(rng.uniform(0.01, 0.5, len(sizes)))
    coins = [rng.uniform(size=n // 2) for n in sizes]
    op = KernelOperator(RBF(1.0), asarray(X), memory_budget=budget)
    together = walk(op, orders, deltas, coins)
    for order, delta, c, got in zip(orders, deltas, coins, together, strict=True):
        K = RBF(1.0)(X[order[: 2 * len(c)]])
        expected = reference_walk(K, delta, c)[0] if len(c) else []
        assert_array_equal(got, expected)
    halves = halve_all(op, orders, deltas, np.random.RandomState(0))
    for order, pair in zip(orders, halves, strict=True):
        assert_array_equal(np.sort(np.concatenate(pair)), np.sort(order))


def test_imbalance_is_sub_gaussian():
    """Its moment generating function at several points, over 400 seeds."""
    X = points(128)
    op, K = KernelOperator(RBF(1.0), X), RBF(1.0)(X)
    difference = K[0::2] - K[1::2]
    squares = np.diagonal(difference[:, 0::2] - difference[:, 1::2]).copy()
    _, variance = thresholds(squares, 2 * np.log(2 * 128 / 0.5))
    coins = [np.random.RandomState(s).random_sample(64) for s in range(400)]
    signs = np.array(walk(op, [np.arange(128)] * 400, [0.5] * 400, coins))
    ratio = (signs @ difference)[:, ::16] / np.sqrt(variance)
    for size in (-1.0, -0.5, 0.5, 1.0):
        assert (np.exp(size * ratio - size**2 / 2).mean(axis=0) < 1.1).all()
