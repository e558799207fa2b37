"""Anchors: what they show of a function, and means that they make exact."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpkern import KernelOperator
from gpkern._device import select
from gpkern.algorithms import anchors, thinning
from gpkern.algorithms.anchors import Interpolation
from gpkern.algorithms.compress import compress
from gpkern.algorithms.thinning import Embedding, Thinning, sample_means
from gpkern.kernels import RBF, Polynomial


@pytest.mark.parametrize("kernel", [RBF(1.0), Polynomial(1, 1.0, 0.0)], ids=str)
def test_functions_of_their_span(kernel):
    """Also where the matrix is singular: a linear kernel, and equal anchors."""
    A = np.random.default_rng(0).normal(size=(12, 3))
    A[1] = A[0]
    K = kernel(A)
    weights = np.linspace(-1, 1, 12)
    values, seen = K @ weights, Interpolation(K)
    assert_allclose(K @ seen.weights(values), values, atol=1e-8)
    norm = weights @ values
    assert (seen.features(values) ** 2).sum() == pytest.approx(norm, rel=1e-8)
    assert_allclose(seen.features(K) @ seen.features(K).T, K, atol=1e-8)


@pytest.fixture
def large(monkeypatch):
    """5,000 rows, as if they were too many to go through."""
    monkeypatch.setattr(thinning, "ALL_PAIRS_ROWS", 1000)
    X = np.random.default_rng(0).normal(size=(5000, 2))
    return X, Embedding(RBF(1.5), RBF(1.5)).operator(X, select("cpu"))


def test_means_of_a_compressed_sample(large):
    X, operator = large
    order = compress(operator, np.arange(5000), 2, 0.5, np.random.RandomState(0))
    places, order = np.unique(order, return_inverse=True)
    pool = operator.with_samples(X[places])
    exact = sample_means(operator.with_rows(X[places]), None)
    plain = sample_means(pool, np.bincount(order) / len(order))
    anchored = thinning._anchored_means(operator, None, pool, order)
    assert abs(anchored - exact).max() < 1e-3 * abs(plain - exact).max()


def test_coreset_of_a_large_sample(large, monkeypatch):
    """Nearer to it than without anchors, which only see what was compressed."""
    X, operator = large
    monkeypatch.setattr(thinning, "MEAN_PAIRS", 0)
    way = Thinning("compress++", RBF(1.5), 2, 0.5, None, 0, True)

    def distance():
        rows, _ = way.choose(operator, 70, None, np.random.RandomState(0))
        p = np.full(5000, -1 / 5000)
        p[rows] += 1 / 70
        return np.sqrt(p @ (KernelOperator(RBF(1.5), X) @ p))

    with_anchors = distance()
    monkeypatch.setattr(anchors, "COUNT", 1)
    assert with_anchors < 0.7 * distance()
