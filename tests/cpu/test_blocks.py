"""Choices that the CPU engine makes: each gives the same numbers."""

from collections import Counter

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern

from gpkern import KernelOperator
from gpkern.cpu import matrix, parallel
from gpkern.cpu.points import Points, View, centre_of
from gpkern.cpu.recipes import MOST_CLOSE, SparseRecipe

D = 48  # enough columns for inner products


def clusters(n, spread, dtype):
    """Rows in twenty places, so that one pair in twenty is near."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((20, D))
    rows = places[rng.integers(20, size=n)] + spread * rng.standard_normal((n, D))
    return rows.astype(dtype)


def exact(kernel, X, Z, V):
    return kernel(X.astype(float), Z.astype(float)) @ V.astype(float)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6])
def test_near_pairs(spread, dtype):
    """Few near pairs are computed again, many make differences the way for all."""
    X = clusters(500, spread, dtype)
    V = np.random.default_rng(1).standard_normal((500, 3)).astype(dtype)
    kernel = Matern(0.5 * spread, nu=0.5)  # tells near from equal
    got = KernelOperator(kernel, X, X.copy()) @ V
    tol = 2e-3 if dtype == np.float32 else 1e-5
    assert_allclose(got, exact(kernel, X, X, V), atol=tol * abs(V).max())


@pytest.mark.parametrize(
    ("spread", "share"), [(1.0, 0.0), (1e-3, 0.05)], ids=["far", "near"]
)
def test_share_of_near_pairs(spread, share):
    X = clusters(3000, spread, np.float32)
    points = Points(X, np.dtype(np.float32), centre_of(X), keep=True)
    got = points.close_share(View(None, True), 1e-3)
    assert got == pytest.approx(share, abs=0.02)
    assert (got > MOST_CLOSE) == (share > 0)


@pytest.mark.parametrize("c", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("d", [5, D])
def test_many_outputs(c, d):
    """In registers, and beyond in tiles."""
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((900, d)), rng.standard_normal((800, d))
    V, U = rng.standard_normal((800, c)), rng.standard_normal((900, c))
    kernel = RBF(np.sqrt(d))
    K, S = kernel(X, Z), kernel(X)
    op = KernelOperator(kernel, X, Z)
    assert_allclose(op @ V, K @ V, atol=1e-10)
    assert_allclose(op.T @ U, K.T @ U, atol=1e-10)
    assert_allclose(KernelOperator(kernel, X) @ U, S @ U, atol=1e-10)
    gradient, residual = op.normal_matmat(V, U)
    assert_allclose(residual, K @ V - U, atol=1e-10)
    assert_allclose(gradient, K.T @ (K @ V - U), atol=1e-8)


@pytest.mark.parametrize("c", [3, 40])
@pytest.mark.parametrize("n_threads", [1, 2, 7, 64])
def test_more_threads_than_memory_for_their_sums(n_threads, c, monkeypatch):
    monkeypatch.setattr(parallel, "n_threads", lambda: n_threads)
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((3000, D)), rng.standard_normal((700, D))
    V, W = rng.standard_normal((3000, c)), rng.standard_normal((700, c))
    kernel = RBF(5.0)
    for budget in (100, 200_000, 2**30):
        S = KernelOperator(kernel, X, memory_budget=budget)
        assert_allclose(S @ V, kernel(X) @ V, atol=1e-9)
        op = KernelOperator(kernel, X, Z, memory_budget=budget)
        gradient, _ = op.normal_matmat(W)
        assert_allclose(gradient, kernel(X, Z).T @ (kernel(X, Z) @ W), atol=1e-7)


def test_threads_with_sums_of_their_own_are_as_many_as_fit():
    X = np.zeros((100_000, 2))
    full = KernelOperator(RBF(), X).matrix_
    assert full._workers(192, 1) == parallel.n_threads()
    tight = KernelOperator(RBF(), X, memory_budget=100_000).matrix_
    assert tight._workers(192, 1) == 1
    assert not tight._use_symmetry(192, 1) or parallel.n_threads() == 1
    assert matrix.STRIP % full.X.block.ROWS == 0 == matrix.STRIP % full.Z.block.WIDTH


@pytest.mark.parametrize("data", ["dense", "csr", "csr and dense"])
@pytest.mark.parametrize("kernel", [RBF(5.0), DotProduct(2.0) ** 2, Matern() + RBF()])
def test_kept_rows_are_prepared_once(data, kernel, monkeypatch):
    """By all threads together, not by each of them on its own."""
    monkeypatch.setattr(parallel, "n_threads", lambda: 4)
    calls = Counter()
    for name in ("_prepare", "_prepare_sparse"):
        own = getattr(Points, name)

        def counted(self, view, start, stop, *rest, own=own):
            if start == 0 and stop == self.shape[0]:
                calls[id(self), view] += 1
                assert not getattr(parallel._inside, "active", False)
            return own(self, view, start, stop, *rest)

        monkeypatch.setattr(Points, name, counted)
    X, Z = np.ones((1500, D)), np.ones((600, D))
    X, Z = (sparse.csr_array(X) if "csr" in data else X), Z
    Z = sparse.csr_array(Z) if data == "csr" else Z
    for use in (
        lambda op: op @ np.ones(op.shape[1]),
        lambda op: op @ np.ones((op.shape[1], 40)),
        lambda op: op.normal_matmat(np.ones((op.shape[1], 2))),
        lambda op: op.row_logsumexp(),
        lambda op: op.to_dense(),
    ):
        for op in (KernelOperator(kernel, X), KernelOperator(kernel, X, Z)):
            use(op)
            if not isinstance(op.matrix_.recipe(), SparseRecipe):
                assert calls
            assert set(calls.values()) <= {1}
            calls.clear()
