"""Sums over pairs against dense matrices; factors of low rank."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpkern import KernelOperator, RandomSigns, _device
from gpkern.algorithms.low_rank import pivoted_cholesky
from gpkern.algorithms.pair_sums import GramSums, PairSums
from gpkern.kernels import RBF, InverseMultiquadric, Laplacian, Matern


@pytest.fixture
def where(device):
    return _device.select(device)


def rows(n, d):
    return np.random.default_rng(0).normal(2.0, 1.0, size=(n, d))


KERNELS = [RBF(1.0), RBF(0.3), Matern(2.0, nu=0.5), Laplacian(1.0)]


def test_sums(where):
    X = rows(130, 3)
    sums = PairSums(where.xp.asarray(X), KERNELS, where)
    signs = RandomSigns(130, 20, 0)
    counts = np.random.default_rng(1).integers(-1, 4, size=(130, 9)).astype(np.int16)
    for k, kernel in enumerate(KERNELS):
        K = kernel(X)
        own = np.diag(K).copy()
        assert_allclose(where.get(sums.row_sums)[k], K.sum(axis=1), rtol=1e-10)
        np.fill_diagonal(K, 0.0)
        assert_allclose(sums.totals()[k], K.sum(), rtol=1e-10)
        assert_allclose(sums.traces()[k], own.sum())
        for R in (signs, counts):
            dense = R.rows(0, 130, np, float) if R is signs else R.astype(float)
            expected = np.einsum("ib,ij,jb->b", dense, K, dense)
            found = sums.forms(R)[k]
            assert_allclose(found, expected, atol=2e-3 * abs(K).sum() / 130)
            assert_allclose(sums.squares(R)[k], own @ dense**2)
    V = rows(7, 3) + 0.5
    expected = np.stack([k(V, X).mean(axis=1) for k in KERNELS])
    assert_allclose(where.get(sums.means_at(where.xp.asarray(V))), expected)


def test_a_given_matrix(where):
    K = RBF(1.0)(rows(60, 2))
    sums = GramSums(where.xp.asarray(K), where)
    off = K - np.diag(np.diag(K))
    assert_allclose(sums.totals(), [off.sum()])
    signs = np.random.default_rng(0).choice([-1, 1], size=(60, 30)).astype(np.int8)
    expected = np.einsum("ib,ij,jb->b", signs, off, signs)
    assert_allclose(sums.forms(signs)[0], expected, atol=1e-9)


def test_low_rank_forms_are_near_the_exact_ones():
    X, signs = rows(1200, 1), RandomSigns(1200, 300, 0)
    kernels = [InverseMultiquadric(1.0), RBF(0.5), Laplacian(0.5)]
    sums = PairSums(X, kernels, _device.select("cpu"))
    R = signs.rows(0, 1200, np, float)
    for found, kernel in zip(sums.forms(signs), kernels, strict=True):
        K = kernel(X)
        np.fill_diagonal(K, 0.0)
        expected = np.einsum("ib,ij,jb->b", R, K, R, optimize=True)
        assert_allclose(found, expected, atol=1e-4 * expected.std())


@pytest.mark.parametrize("tolerance", [1e-3, 1e-8])
def test_pivoted_cholesky(tolerance):
    X = rows(400, 1)
    K = RBF(0.7)(X)
    L = pivoted_cholesky(KernelOperator(RBF(0.7), X), 200, tolerance)
    rest = K - L.T @ L
    assert np.trace(rest) <= 2 * tolerance * np.linalg.norm(K)
    assert np.linalg.eigvalsh(rest).min() > -1e-10
    assert len(L) < 40


def test_pivoted_cholesky_gives_up():
    X = rows(300, 3)
    assert pivoted_cholesky(KernelOperator(Laplacian(0.1), X), 100, 1e-6) is None
    assert pivoted_cholesky(KernelOperator(RBF(1.0), X), 5, 1e-6) is None
    # A kernel that is not positive semi-definite.
    cosine = KernelOperator(lambda a, b: np.cos(3 * (a @ b.T)) - 0.9, X)
    assert pivoted_cholesky(cosine, 100, 1e-6) is None


def test_rank_of_repeated_rows():
    X = np.repeat(rows(10, 2), 30, axis=0)
    L = pivoted_cholesky(KernelOperator(RBF(1.0), X), 100, 1e-12)
    assert len(L) <= 10
    assert_allclose(L.T @ L, RBF(1.0)(X), atol=1e-10)


def test_low_rank_of_kernels_that_are_nearly_constant():
    """What two groups see is the centred kernel, a millionth of it here."""
    X = rows(600, 2)
    kernel = RBF(1e3)
    e = np.ones((600, 300))
    rng = np.random.default_rng(0)
    for b in range(300):
        e[rng.permutation(600)[:300], b] = -1.0
    K = kernel(X)
    np.fill_diagonal(K, 0.0)
    expected = np.einsum("ib,ij,jb->b", e, K, e, optimize=True)
    sums = PairSums(X, [kernel], _device.select("cpu"), 1e-7, "high")
    found = sums.forms(e.astype(np.int8))[0]
    assert_allclose(found, expected, atol=1e-3 * expected.std())


def test_low_rank_beside_a_huge_row():
    from gpkern.algorithms.stein import stein_sums

    X = np.append(rows(600, 1) - 2.0, [[1e5]], axis=0)
    sums = stein_sums(X, -X, [RBF(1.0)], _device.select("cpu"))
    signs = RandomSigns(601, 250, 0)
    R = signs.rows(0, 601, np, float)
    K = sums.kernels[0](np.hstack([X, -X]))
    np.fill_diagonal(K, 0.0)
    expected = np.einsum("ib,ij,jb->b", R, K, R, optimize=True)
    assert_allclose(sums.forms(signs)[0], expected, atol=1e-3 * expected.std())


def test_no_factor_of_a_distance():
    X = rows(600, 2)
    distance = KernelOperator(
        lambda a, b: -np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)), X
    )
    assert pivoted_cholesky(distance, 100, 1e-5) is None
