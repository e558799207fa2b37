"""Coresets: distances, and greedy removal against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms import coresets
from gpkern.algorithms.coresets import block, objective, without_worst
from gpkern.kernels import RBF


def problem(n, d=2):
    X = np.random.default_rng(0).normal(size=(n, d))
    K = RBF(1.0)(X)
    return X, K, K.mean(axis=1)


def value(K, mu, rows):
    return K[np.ix_(rows, rows)].mean() - 2 * mu[rows].mean()


def test_objective_is_the_squared_distance_of_means(asarray):
    X, K, mu = problem(50)
    rows = np.arange(7)
    w = np.full(50, -1 / 50)
    w[rows] += 1 / 7
    op = KernelOperator(RBF(1.0), asarray(X))
    assert objective(op, rows, mu) + mu.mean() == pytest.approx(w @ K @ w)


def test_block(asarray, host):
    X, K, _ = problem(40)
    rows = np.array([3, 17, 4])
    op = KernelOperator(RBF(1.0), asarray(X))
    assert_allclose(block(op, rows), K[np.ix_(rows, rows)], rtol=1e-12)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("size", [1, 4, 9, 10])
def test_removal(size, dense, asarray, monkeypatch):
    """Each removal is the best of its turn."""
    if not dense:
        monkeypatch.setattr(coresets, "KEPT_BYTES", 0)
    X, K, mu = problem(10)
    op = KernelOperator(RBF(1.0), asarray(X))
    rows = np.arange(10)
    while len(rows) > size:
        rows = min(
            (np.delete(rows, i) for i in range(len(rows))),
            key=lambda r: value(K, mu, r),
        )
    assert_array_equal(without_worst(op, np.arange(10), mu, size), rows)
