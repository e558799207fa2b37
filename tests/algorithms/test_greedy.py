"""Rows chosen one by one, against brute force."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms.greedy import choose
from gpkern.kernels import RBF, Laplacian, Polynomial


def brute_force(K, objective, size, scale, penalty, reward, unique):
    rows, values, objective = [], [], objective.copy()
    for t in range(size):
        key = objective + penalty - (t + 1) * reward
        if unique:
            key[rows] = np.inf
        rows.append(int(key.argmin()))
        values.append(objective[rows[-1]])
        objective += scale * K[rows[-1]]
    return rows, values


@pytest.mark.parametrize("unique", [True, False])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("kernel", [RBF(1.0), Laplacian(2.0), Polynomial(2, 0.3)])
@pytest.mark.parametrize("n, d", [(1, 1), (5, 3), (700, 3), (300, 40)])
def test_choices(n, d, kernel, with_bias, unique, asarray):
    rng = np.random.default_rng(0)
    X, start = rng.normal(size=(n, d)), rng.uniform(size=n)
    K, size, zero = kernel(X), min(n, 40), np.zeros(n)
    penalty, reward = rng.uniform(size=(2, n)) if with_bias else (zero, zero)
    expected = brute_force(K, start, size, 2.0, penalty, reward, unique)
    op = KernelOperator(kernel, asarray(X))
    bias = [asarray(penalty), asarray(reward)] if with_bias else [None, None]
    rows, values = choose(op, asarray(start.copy()), size, 2.0, *bias, unique)
    assert_array_equal(rows, expected[0])
    assert_allclose(values, expected[1], rtol=1e-9, atol=1e-9)


def test_of_equals_the_first(asarray):
    op = KernelOperator(RBF(1.0), asarray(np.zeros((600, 2))))
    rows, _ = choose(op, asarray(np.zeros(600)), 4, 1.0, unique=True)
    assert_array_equal(rows, [0, 1, 2, 3])
