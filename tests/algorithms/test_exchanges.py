"""Exchanges and perturbations of coresets against brute force."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms import coresets
from gpkern.algorithms.exchanges import exchange, search
from gpkern.kernels import RBF


def problem(n, d=2, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, d))
    K = RBF(1.0)(X)
    return X, K, K.mean(axis=1)


def value(K, mu, rows):
    return K[np.ix_(rows, rows)].mean() - 2 * mu[rows].mean()


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("unique", [True, False])
def test_exchange_ends_where_no_single_exchange_is_better(
    unique, keep, asarray, monkeypatch
):
    if not keep:
        monkeypatch.setattr(coresets, "KEPT_BYTES", 0)
    X, K, mu = problem(60)
    op = KernelOperator(RBF(1.0), asarray(X))
    start = np.arange(6)
    result = exchange(op, start, asarray(mu), unique=unique)
    rows, best = result.rows, value(K, mu, result.rows)
    assert len(rows) == 6
    assert not unique or len(np.unique(rows)) == 6
    assert result.path[-1] == pytest.approx(best, abs=1e-12)
    assert all(np.diff(result.path) <= 1e-12)
    assert best < value(K, mu, start)
    for t, new in itertools.product(range(6), range(60)):
        if unique and new in rows:
            continue
        other = rows.copy()
        other[t] = new
        assert value(K, mu, other) >= best - 1e-12
    assert_array_equal(start, np.arange(6))  # left as it was


def test_passes(asarray):
    X, _, mu = problem(60)
    op = KernelOperator(RBF(1.0), asarray(X))
    assert len(exchange(op, np.arange(6), mu, passes=1).path) == 1
    untouched = exchange(op, np.arange(6), mu, passes=0)
    assert_array_equal(untouched.rows, np.arange(6))


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("unique", [True, False])
def test_perturbations(unique, keep, asarray, monkeypatch):
    """No worse than without, most often better, and what is told of it is so."""
    if not keep:
        monkeypatch.setattr(coresets, "KEPT_BYTES", 0)
    better = 0
    for seed in range(6):
        X, K, mu = problem(120, seed=seed)
        op = KernelOperator(RBF(1.0), asarray(X))
        starts = [np.arange(0, 120, 10), np.arange(12)]
        alone = [exchange(op, s, asarray(mu), unique=unique) for s in starts]
        least = min(value(K, mu, c.rows) for c in alone)
        state = np.random.RandomState(seed)
        found = search(op, starts, asarray(mu), None, unique, 20, state)
        reached = value(K, mu, found.rows)
        assert found.path[-1] == pytest.approx(reached, abs=1e-12)
        assert all(np.diff(found.path) <= 1e-12)
        assert len(found.rows) == 12
        assert not unique or len(np.unique(found.rows)) == 12
        assert reached <= least + 1e-12
        better += reached < least - 1e-9
    assert better >= 3


def test_perturbations_of_all_rows(asarray):
    """There is nothing to draw."""
    X, _, mu = problem(10)
    op = KernelOperator(RBF(1.0), asarray(X))
    found = search(op, [np.arange(10)], mu, None, True, 3, np.random.RandomState(0))
    assert_array_equal(np.sort(found.rows), np.arange(10))


def test_the_best_start_is_gone_on_with(asarray):
    X, K, mu = problem(60)
    op = KernelOperator(RBF(1.0), asarray(X))
    starts = [np.arange(a, a + 6) for a in (0, 20, 40)]
    ends = [exchange(op, rows, mu, passes=1) for rows in starts]
    best = min(ends, key=lambda c: value(K, mu, c.rows))
    assert_array_equal(search(op, starts, mu, passes=1).rows, best.rows)
