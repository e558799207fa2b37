"""Numba CUDA kernels: in Numba's simulator on any machine, and on a GPU."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms.exchanges import DenseExchange, RowExchange, search
from gpkern.cpu import walks as on_cpu
from gpkern.kernels import RBF

SIMULATED = """
import numpy as np
from gpkern.cpu import walks
from gpkern.gpu import walk_kernels as kernels

kernels.PAIRS, kernels.THREADS = 32, 8
rng = np.random.default_rng(0)
X = rng.normal(size=(3, 40, 2))
K = np.exp(-((X[:, :, None] - X[:, None]) ** 2).sum(-1))
K[1, :, 7] = K[1, :, 6]
K[1, 7] = K[1, 6]  # a pair of one point
balance, coins = rng.normal(size=(3, 20)), rng.uniform(size=(3, 20))
factors, variance = rng.uniform(5, 9, size=3), rng.uniform(size=3)
variance[0] = 0.0
mine = [balance.copy(), coins, factors, variance.copy()]
signs = np.empty((3, 20))
kernels.decide[3, 32](K, *mine, signs)
other = variance.copy()
np.testing.assert_array_equal(signs, walks.decide(K, balance, coins, factors, other))
np.testing.assert_allclose(mine[3], other, rtol=1e-14)

K, mu = K[0], K[0].mean(axis=0)
for unique in (True, False):
    rows = np.array([[0, 3, 5, 11], [39, 2, 1, 0]])
    total, plain = K[rows].sum(axis=1), np.diagonal(K) / 4 - 2 * mu
    base = np.tile(plain, (2, 1))
    if unique:
        base[[[0], [1]], rows] = np.inf
    start, changed = rows.copy(), np.zeros(2, int)
    kernels.exchange[2, 8](K, plain, base, rows, total, unique, changed)
    for c in range(2):
        chosen, count = list(start[c]), 0
        for s in range(4):
            def value(j):
                trial = chosen[:s] + [j] + chosen[s + 1 :]
                return K[np.ix_(trial, trial)].mean() - 2 * mu[trial].mean()
            others = set(chosen[:s] + chosen[s + 1 :]) if unique else set()
            best = min((j for j in range(40) if j not in others), key=value)
            if value(best) < value(chosen[s]) - 1e-14:
                chosen[s], count = best, count + 1
        assert chosen == list(rows[c]), (chosen, rows[c])
        assert changed[c] == count > 0
        np.testing.assert_allclose(total[c], K[rows[c]].sum(axis=0), rtol=1e-12)
        if unique:
            assert set(np.flatnonzero(np.isinf(base[c]))) == set(rows[c])
print("done")
"""


def test_in_the_simulator():
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("h", [1, 7, 64, 256])
def test_decide(h):
    import cupy as cp

    from gpkern.gpu import walks

    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 2 * h, 3))
    K = np.exp(-((X[:, :, None] - X[:, None]) ** 2).sum(-1))
    balance, coins = 0.1 * rng.normal(size=(9, h)), rng.uniform(size=(9, h))
    factors, variance = rng.uniform(5, 9, size=9), np.zeros(9)
    there = [cp.asarray(a) for a in (K, balance, coins, factors, variance)]
    signs = walks.decide(*there)
    assert_array_equal(signs.get(), on_cpu.decide(K, balance, coins, factors, variance))
    assert_allclose(there[4].get(), variance, rtol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("unique", [True, False])
def test_exchange(unique):
    import cupy as cp

    X = np.random.default_rng(0).normal(size=(3000, 4))
    on_gpu = KernelOperator(RBF(2.0), X, device="cuda")
    here = KernelOperator(RBF(2.0), X)
    mu, starts = here.row_sum() / 3000, [np.arange(a, 3000, 60) for a in (0, 1)]
    assert DenseExchange.serves(on_gpu) and not DenseExchange.serves(here)
    dense = DenseExchange(on_gpu, np.stack(starts), cp.asarray(mu), unique)
    plain = [RowExchange(here, rows, mu, unique) for rows in starts]
    for _ in range(3):
        changed = dense.run()
        for c, one in enumerate(plain):
            assert changed[c] == one.run()[0]
            assert_array_equal(dense.rows[c].get(), one.rows[0])
            assert_allclose(dense.total[c].get(), one.total[0], rtol=1e-10)
            assert float(dense.objectives()[c]) == pytest.approx(one.objectives()[0])


@pytest.mark.gpu
@pytest.mark.parametrize("unique", [True, False])
def test_search_finds_the_same_on_both(unique):
    X = np.random.default_rng(0).normal(size=(3000, 4))
    starts, found = [np.arange(a, 3000, 60) for a in (0, 1)], []
    for device in ("cpu", "cuda"):
        operator = KernelOperator(RBF(2.0), X, device=device)
        mu = operator.row_sum() / 3000
        state = np.random.RandomState(0)
        found.append(search(operator, starts, mu, None, unique, 8, state))
    assert_array_equal(found[0].rows, found[1].rows)
    assert found[0].path == pytest.approx(found[1].path, abs=1e-12)
    assert found[0].path[-1] < search(operator, starts, mu, None, unique).path[-1]
