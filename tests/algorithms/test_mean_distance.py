"""Distances to a sample: exact, and estimated from some of its rows."""

from functools import cache

import numpy as np
import pytest

from gpkern._device import select
from gpkern.algorithms.mean_distance import (
    DistanceEstimate,
    mean_distance,
    random_distance,
)
from gpkern.algorithms.thinning import Embedding
from gpkern.kernels import RBF, Matern

N, SIZE = 3000, 40
KERNELS = [RBF(1.5), Matern(1.5, nu=0.5)]


X = np.random.default_rng(0).normal(size=(N, 3))


@cache
def gram(name):
    """Matrix of one of the kernels, once."""
    return {str(k): k for k in KERNELS}[name](X)


@pytest.fixture(params=["equal", "weighted"])
def share(request):
    w = np.random.default_rng(1).exponential(size=N)
    return None if request.param == "equal" else w / w.sum()


def exact(kernel, rows, weights, share):
    p = np.full(N, 1 / N) if share is None else share.copy()
    np.subtract.at(p, rows, weights)
    return np.sqrt(p @ gram(str(kernel)) @ p)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_exact(kernel, share, device):
    operator = Embedding(kernel, kernel).operator(X, select(device))
    rows = np.random.RandomState(0).choice(N, SIZE)  # some of them twice
    w = np.random.default_rng(2).dirichlet(np.ones(SIZE))
    found = mean_distance(operator, rows, w, share, None, None)
    assert found == (pytest.approx(exact(kernel, rows, w, share), rel=1e-9), 0.0)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_estimates_are_as_good_as_they_say(kernel, share, device):
    operator = Embedding(kernel, kernel).operator(X, select(device))
    rows = np.random.RandomState(0).choice(N, SIZE, replace=False)
    w = np.full(SIZE, 1 / SIZE)
    truth, errors = exact(kernel, rows, w, share), []
    for seed in range(6):
        state = np.random.RandomState(seed)
        mmd, stderr = mean_distance(operator, rows, w, share, 800, state)
        assert 0 < stderr < 0.02 * truth
        errors.append((mmd - truth) / stderr)
    assert abs(np.mean(errors)) < 2.0
    assert max(map(abs, errors)) < 5.0


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_estimate_from_all_rows_is_exact(kernel, device):
    operator = Embedding(kernel, kernel).operator(X, select(device))
    rows, w = np.arange(0, N, 100), np.random.default_rng(2).dirichlet(np.ones(30))
    state = np.random.RandomState(0)
    points = operator.device.xp.asarray(X[rows])
    found, _ = DistanceEstimate(operator, None, N, state).to(points, w)
    assert found == pytest.approx(exact(kernel, rows, w, None), rel=1e-9)


def test_random_subsets(device):
    kernel = KERNELS[0]
    operator = Embedding(kernel, kernel).operator(X, select(device))
    w, state = np.full(SIZE, 1 / SIZE), np.random.RandomState(0)
    squares = [
        exact(kernel, state.choice(N, SIZE, replace=False), w, None) ** 2
        for _ in range(100)
    ]
    found = random_distance(operator, SIZE, None, state)
    assert found == pytest.approx(np.sqrt(np.mean(squares)), rel=0.1)
