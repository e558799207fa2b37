"""Quadratic forms, random signs and other kernels on the same rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.gaussian_process.kernels import WhiteKernel

from gpkern import KernelOperator, RandomSigns
from gpkern.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Polynomial,
)

KERNELS = {
    "RBF": RBF(2.0),
    "noise": RBF(2.0) + WhiteKernel(0.5),
    "Matern": 3.0 * Matern(2.0, nu=0.5),
    "IMQ": InverseMultiquadric(2.0),
    "L1": Laplacian(4.0),
    "far from one": Polynomial(3, 1.0, 5.0),
    "a callable": lambda X, Z: (1.0 + X @ Z.T) ** 2,
}


def rows(n, d, dtype=np.float64):
    return np.random.default_rng(0).normal(3.0, 1.0, size=(n, d)).astype(dtype)


def gram(kernel, X):
    X = X.astype(np.float64)
    try:
        return kernel(X)
    except TypeError:
        return kernel(X, X)


def forms(K, R):
    return np.einsum("ib,ij,jb->b", R, K, R, optimize=True)


def granted(K, R, dtype):
    """Error of forms whose entries have the digits of the dtype."""
    eps = {"float32": 4e-6, "float64": 1e-12}[np.dtype(dtype).name]
    return eps * np.einsum("ib,ij,jb->b", abs(R), abs(K), abs(R), optimize=True)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n, d, b", [(1, 1, 1), (37, 3, 5), (700, 30, 65)])
def test_forms(name, dtype, n, d, b, asarray, host):
    X, kernel = rows(n, d, dtype), KERNELS[name]
    op = KernelOperator(kernel, asarray(X))
    K, signs = gram(kernel, X), RandomSigns(n, b, random_state=1)
    R = signs.rows(0, n)
    got = host(op.quadratic_forms(signs))
    assert got.shape == (b,) and got.dtype == np.float64
    assert (abs(got - forms(K, R)) <= granted(K, R, dtype)).all()
    # Numbers that are not signs, nor held by half precision.
    R = np.random.default_rng(2).normal(size=(n, b)).astype(dtype)
    got = host(op.quadratic_forms(asarray(R)))
    assert (abs(got - forms(K, R)) <= granted(K, R, dtype)).all()


def test_kernels_of_many_scales(asarray, host):
    X = rows(300, 5, "float32")
    kernels = [RBF(s) for s in (0.3, 1.0, 10.0)]
    mixed = [RBF(1.0), Laplacian(2.0), RBF([1.0, 2.0, 3.0, 4.0, 5.0])]
    counts = np.random.default_rng(0).integers(0, 4, size=(300, 7))
    op = KernelOperator(kernels[0], asarray(X))
    for some in (kernels, mixed):
        got = host(op.quadratic_forms(asarray(counts), some))
        assert got.shape == (3, 7)
        for k, kernel in enumerate(some):
            K = gram(kernel, X)
            error = abs(got[k] - forms(K, counts))
            assert (error <= granted(K, counts, "float32")).all()


@pytest.mark.parametrize("d", [3, 60])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_row_sums_of_many_kernels(d, dtype, asarray, host):
    X, Z = rows(230, d, dtype), rows(170, d, dtype) + 0.5
    alike = [RBF(s) + WhiteKernel(0.5) for s in (0.5, 2.0, 9.0)] * 5
    for some in (alike, [RBF(1.0), Laplacian(4.0)]):
        for right in (None, Z):
            op = KernelOperator(
                some[0], asarray(X), None if right is None else asarray(right)
            )
            got = host(op.row_sums(some))
            assert got.shape == (len(some), 230) and got.dtype == np.float64
            for found, kernel in zip(got, some, strict=True):
                sides = (X,) if right is None else (X, Z)
                K = kernel(*(side.astype(float) for side in sides))
                tol = 1e-5 if dtype == "float32" else 1e-11
                assert_allclose(found, K.sum(axis=1), rtol=tol, atol=tol)


def test_a_small_budget_changes_nothing(asarray, host):
    X, signs = rows(900, 4, "float32"), RandomSigns(900, 130, random_state=0)
    small, large = (
        host(
            KernelOperator(RBF(2.0), asarray(X), memory_budget=budget).quadratic_forms(
                signs
            )
        )
        for budget in (1 << 20, 1 << 30)
    )
    assert_allclose(small, large, rtol=1e-4, atol=1e-2)


def test_cross_matrices(asarray, host):
    """Not symmetric: the same rows given twice leave the noise out."""
    X = rows(50, 2)
    op = KernelOperator(RBF(1.0) + WhiteKernel(1.0), asarray(X), asarray(X))
    R = np.ones((50, 1))
    expected = forms(gram(RBF(1.0), X), R)
    assert_allclose(host(op.quadratic_forms(asarray(R))), expected, rtol=1e-10)
    assert op.total() == pytest.approx(expected[0], rel=1e-10)


def test_total(asarray):
    X = rows(400, 3)
    K = gram(KERNELS["noise"], X)
    op = KernelOperator(KERNELS["noise"], asarray(X))
    assert op.total() == pytest.approx(K.sum(), rel=1e-10)
    assert isinstance(op.total(), float)


def test_another_kernel_on_the_same_rows(asarray, host):
    X, Z = rows(20, 3), rows(30, 3)
    op = KernelOperator(RBF(1.0), asarray(X), asarray(Z)).with_kernel(Matern(2.0))
    assert op.kernel == Matern(2.0)
    assert_allclose(host(op.to_dense()), Matern(2.0)(X, Z), rtol=1e-10)
    named = op.with_kernel("laplacian")
    assert_allclose(
        host(named.to_dense()),
        np.exp(-abs(X[:, None] - Z).sum(-1) / 3),
        rtol=1e-10,
    )
    with pytest.raises(ValueError, match="length scales"):
        op.with_kernel(RBF([1.0, 2.0]))


@pytest.mark.parametrize(
    "R, message",
    [
        (np.ones((9, 2)), "R must have shape"),
        (np.ones(10), "R must have shape"),
        (RandomSigns(9, 2), "9 rows of signs"),
    ],
)
def test_vectors_that_do_not_fit(R, message, asarray):
    op = KernelOperator(RBF(1.0), asarray(rows(10, 2)))
    with pytest.raises(ValueError, match=message):
        op.quadratic_forms(R if isinstance(R, RandomSigns) else asarray(R))


def test_what_has_no_forms(asarray):
    X = asarray(rows(10, 2))
    with pytest.raises(ValueError, match="square"):
        KernelOperator(RBF(1.0), X, X[:5]).quadratic_forms(RandomSigns(10, 1))
    with pytest.raises(ValueError, match="kernels"):
        KernelOperator(RBF(1.0), X).quadratic_forms(RandomSigns(10, 1), [])
    with pytest.raises(TypeError, match="complex"):
        KernelOperator(RBF(1.0), X).quadratic_forms(asarray(np.ones((10, 1)) * 1j))


class TestRandomSigns:
    def test_any_part_is_the_same(self, xp, host):
        signs = RandomSigns(1000, 150, random_state=3)
        whole = signs.rows(0, 1000)
        assert whole.shape == signs.shape == (1000, 150)
        assert set(np.unique(whole)) == {-1.0, 1.0}
        part = host(signs.rows(617, 803, xp, np.float16))
        assert part.dtype == np.float16
        assert_array_equal(part, whole[617:803])

    def test_seeds(self):
        a, b = RandomSigns(50, 70, 0).rows(0, 50), RandomSigns(50, 70, 1).rows(0, 50)
        assert (a != b).any()
        assert_array_equal(a, RandomSigns(50, 70, 0).rows(0, 50))
        state = np.random.RandomState(0)
        assert (RandomSigns(50, 70, state).rows(0, 50) == a).all()
        assert (RandomSigns(50, 70, state).rows(0, 50) != a).any()

    def test_independent(self):
        """Means and correlations of rows and columns stay within chance."""
        signs = RandomSigns(4096, 256, random_state=0).rows(0, 4096).astype(float)
        assert abs(signs.mean()) < 5 / np.sqrt(signs.size)
        columns = signs.T @ signs / 4096 - np.eye(256)
        assert abs(columns).max() < 6 / np.sqrt(4096)
        shifted = (signs[1:] * signs[:-1]).mean(axis=0)
        assert abs(shifted).max() < 5.5 / np.sqrt(4096)
