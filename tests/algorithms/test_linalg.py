"""Dense factorisations of each device, against NumPy's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.algorithms.linear import largest_axis
from gpkern.cpu import linalg as cpu_linalg


def positive(n, seed=0):
    A = np.random.default_rng(seed).standard_normal((n, n + 5))
    return A @ A.T


@pytest.mark.parametrize("n", [1, 7, 50])
def test_cholesky(n, factors, asarray, host):
    A = positive(n)
    R = host(factors.cholesky(asarray(A.copy())))
    assert_allclose(R, np.linalg.cholesky(A).T, atol=1e-12)


@pytest.mark.parametrize("n", [20, 33, 100])
@pytest.mark.parametrize("keep_lower", [False, True])
def test_cholesky_by_halves(n, keep_lower, monkeypatch):
    monkeypatch.setattr(cpu_linalg, "LARGEST_FACTOR", 10)
    monkeypatch.setattr(cpu_linalg, "STRIP", 7)
    A = positive(n)
    R = cpu_linalg.cholesky(A.copy(), keep_lower)
    assert_allclose(np.triu(R), np.linalg.cholesky(A).T, atol=1e-11)
    lower = np.tril(A, -1) if keep_lower else np.zeros_like(A)
    assert_array_equal(np.tril(R, -1), lower)


@pytest.mark.parametrize("size", [5, 10**6])
def test_not_positive(size, factors, asarray, monkeypatch):
    monkeypatch.setattr(cpu_linalg, "LARGEST_FACTOR", size)
    A = positive(30)
    A[20] = A[:, 20] = 0.0
    A[20, 20] = -1.0
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):
        factors.cholesky(asarray(A))


@pytest.mark.parametrize("transposed", [False, True])
def test_solve_upper(transposed, factors, asarray, host):
    R = np.triu(positive(20))
    B = np.random.default_rng(1).standard_normal((20, 3))
    got = host(factors.solve_upper(asarray(R), asarray(B), transposed=transposed))
    assert_allclose((R.T if transposed else R) @ got, B, atol=1e-10)


@pytest.mark.parametrize("q", [None, 1, 5, 20, 30])
def test_eigh(q, factors, asarray, host):
    A = positive(30)
    values, vectors = (host(a) for a in factors.eigh(asarray(A), q))
    expected = np.linalg.eigvalsh(A)[::-1][:q]
    assert_allclose(values, expected, rtol=1e-10)
    assert_allclose(A @ vectors, vectors * values, atol=1e-9)


def test_least_squares_of_smallest_norm(factors, asarray, host):
    A = positive(10)
    A[:, 9] = A[:, 8]
    A[9] = A[8]
    b = A @ np.ones((10, 1))
    expected = np.linalg.pinv(A) @ b
    got = host(factors.least_squares(asarray(A), asarray(b)))
    assert_allclose(got, expected, atol=1e-8)


@pytest.mark.parametrize("bend", [-0.3, 0.2])
def test_largest_axis(bend):
    """One that stands out of many that are alike, and where all are alike."""
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(200, 200)))[0]
    values = np.r_[bend, np.full(199, -1.0) + 1e-3 * rng.uniform(size=199)]
    value, axis = largest_axis((Q * values) @ Q.T)
    assert value == pytest.approx(bend, rel=1e-10)
    assert abs(axis @ Q[:, 0]) == pytest.approx(1.0, rel=1e-10)
    assert largest_axis(-np.eye(100))[0] == pytest.approx(-1.0)
