"""The fused kernels against float64, on a GPU: every path, ragged shapes, hard data."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.gaussian_process.kernels import WhiteKernel

from gpkern import KernelOperator
from gpkern.kernels import (
    RBF,
    Cosine,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Polynomial,
    RationalQuadratic,
)

pytestmark = pytest.mark.gpu

# n, m, d, c: one entry, tails of every tile, each kernel's range of columns.
SHAPES = [
    (1, 1, 1, 1),
    (3, 700, 2, 3),
    (130, 257, 3, 9),
    (257, 300, 9, 1),
    (300, 129, 17, 10),
    (65, 1000, 40, 3),
    (200, 513, 70, 20),
    (300, 300, 130, 40),
    (64, 64, 300, 1),
]


def kernels(d):
    scale = np.sqrt(d)
    return [
        RBF(scale),
        Matern(scale, nu=0.5),
        2.0 * RBF(scale) + InverseMultiquadric(scale),
        RationalQuadratic(scale, alpha=0.7),
        RBF(list(np.linspace(1, 3, d) * scale)),
        Polynomial(3, 1.0 / d, 1.0),
        Cosine(),
        Laplacian(float(d)),
        RBF(list(np.linspace(1, 3, d) * scale)) * Cosine() + Laplacian(float(d)),
    ]


def problem(n, m, d, c):
    """Rows far from the origin, one of them in both samples."""
    rng = np.random.default_rng(0)
    X, Z = (rng.normal(5.0, 1.0, size=(k, d)).astype("f") for k in (n, m))
    if m > 3:
        Z[1] = X[0]
    V, Y = (rng.normal(size=(k, c)).astype("f") for k in (m, n))
    return X, Z, V, Y, rng.uniform(size=n).astype("f")


def gram(kernel, X, Z=None):
    Z = None if Z is None else Z.astype(np.float64)
    return kernel(X.astype(np.float64), Z)


def assert_near(got, expected, scale, tol):
    got = got.get() if hasattr(got, "get") else got
    assert np.isfinite(got).all()
    assert (abs(got - expected) / scale).max() < tol


@pytest.mark.parametrize("which", range(9))
@pytest.mark.parametrize("shape", SHAPES, ids=str)
class TestReductions:
    def test_products(self, shape, which):
        X, Z, V, Y, w = problem(*shape)
        kernel = kernels(shape[2])[which]
        K = gram(kernel, X, Z)
        op = KernelOperator(kernel, X, Z, device="cuda")
        size = abs(K) @ abs(V) + 1e-30
        assert_near(op @ V, K @ V, size, 3e-6)
        gradient, residual = op.normal_matmat(V, Y, w)
        expected = w[:, None] * (K @ V - Y)
        assert_near(residual, expected, size + abs(Y), 3e-6)
        size = abs(K).T @ (size + abs(Y)) + 1e-30
        assert_near(gradient, K.T @ expected, size, 5e-6)

    def test_logsumexp(self, shape, which):
        X, Z, *_ = problem(*shape)
        kernel = kernels(shape[2])[which]
        K = gram(kernel, X, Z)
        logw = np.linspace(-2, 2, shape[1]).astype("f")
        logw[: shape[1] // 4] = -np.inf
        top = np.log(K.max()) + 2
        expected = top + np.log((K * np.exp(logw - top)).sum(axis=1))
        got = KernelOperator(kernel, X, Z, device="cuda").row_logsumexp(logw)
        assert_near(got, expected, 1 + abs(expected), 1e-5)

    def test_one_sample(self, shape, which):
        X, _, _, V, _ = problem(*shape)
        kernel = kernels(shape[2])[which] + WhiteKernel(0.3)
        K = gram(kernel, X)
        op = KernelOperator(kernel, X, device="cuda")
        assert_near(op @ V, K @ V, abs(K) @ abs(V), 3e-6)


@pytest.mark.parametrize("which", range(9))
@pytest.mark.parametrize("shape", SHAPES[::2], ids=str)
def test_float64(shape, which):
    X, Z, V, *_ = (a.astype(np.float64) for a in problem(*shape))
    kernel = kernels(shape[2])[which]
    K = gram(kernel, X, Z)
    op = KernelOperator(kernel, X, Z, device="cuda")
    assert (op @ V).dtype == np.float64
    assert_near(op @ V, K @ V, abs(K) @ abs(V) + 1e-300, 1e-12)
    expected = np.log(np.maximum(K, 0).sum(axis=1))
    if (K > 0).all():
        assert_near(op.row_logsumexp(), expected, 1 + abs(expected), 1e-12)


@pytest.mark.parametrize("which", range(9))
@pytest.mark.parametrize("shape", SHAPES[::2], ids=str)
def test_highest_precision(shape, which):
    X, Z, V, *_ = problem(*shape)
    kernel = kernels(shape[2])[which]
    K = gram(kernel, X, Z)
    op = KernelOperator(kernel, X, Z, device="cuda", precision="highest")
    assert_near(op @ V, K @ V, abs(K) @ abs(V) + 1e-30, 3e-6)


@pytest.mark.parametrize("precision", ["high", "medium"])
@pytest.mark.parametrize("d, c", [(300, 1), (300, 10), (800, 3), (300, 70)])
def test_kept_values(d, c, precision):
    """Wide rows: K is kept for its transposed, and for many columns of V."""
    X, Z, V, Y, w = problem(700, 1000, d, c)
    tol = 5e-6 if precision == "high" else 3e-3
    for kernel in (RBF(np.sqrt(d)), Matern(np.sqrt(d), nu=0.5)):
        K = gram(kernel, X, Z)
        op = KernelOperator(
            kernel, X, Z, device="cuda", precision=precision, memory_budget=4 << 20
        )
        size = K @ abs(V)
        assert_near(op @ V, K @ V, size, tol)
        for gradient_precision in (None, "medium"):
            gradient, residual = op.normal_matmat(
                V, Y, w, gradient_precision=gradient_precision
            )
            expected = w[:, None] * (K @ V - Y)
            assert_near(residual, expected, size + abs(Y), tol)
            bound = K.T @ (size + abs(Y))
            assert_near(gradient, K.T @ expected, bound, 3e-3)


@pytest.mark.parametrize("n", [1024, 1300, 5000])
@pytest.mark.parametrize("c", [1, 3, 70])
def test_half_of_one_sample(n, c):
    """Wide rows: panels above the diagonal serve the rows below them too."""
    X, _, _, V, _ = problem(n, 5, 300, c)
    kernel = RBF(17.0) + WhiteKernel(0.3)
    K = gram(kernel, X)
    for budget in (2 << 20, 1 << 30):
        op = KernelOperator(kernel, X, device="cuda", memory_budget=budget)
        assert_near(op @ V, K @ V, abs(K) @ abs(V), 3e-6)


@pytest.mark.parametrize("d", [3, 20, 100])
def test_medium_precision(d):
    X, Z, V, *_ = problem(300, 500, d, 5)
    kernel = RBF(np.sqrt(d))
    K = gram(kernel, X, Z)
    op = KernelOperator(kernel, X, Z, device="cuda", precision="medium")
    assert_near(op @ V, K @ V, abs(K) @ abs(V), 3e-3)


@pytest.mark.parametrize("kernel", [RBF, Matern], ids=["smooth", "rough"])
@pytest.mark.parametrize("length_scale", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize("d", [20, 100])
def test_repeated_rows_in_far_clusters(d, length_scale, kernel):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(100, d)), 3, axis=0).astype("f")
    X[150:] += 300
    V = abs(rng.normal(size=(300, 2))).astype("f")
    kernel = kernel(length_scale) if kernel is RBF else Matern(length_scale, nu=0.5)
    K = gram(kernel, X, X)
    op = KernelOperator(kernel, X, X, device="cuda")
    assert_near(op @ V, K @ V, K @ V, 3e-6)


class Slices:
    """An array that is read in slices, from main memory."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __getitem__(self, cut):
        return self.array[cut]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("kernel", [RBF, Laplacian], ids=["products", "L1"])
@pytest.mark.parametrize("d, budget", [(3, 50_000), (30, 200_000), (100, 500_000)])
def test_data_in_parts(d, budget, kernel, dtype):
    """X on the host and too large for the budget."""
    rng = np.random.default_rng(0)
    X = (10 * rng.normal(size=(5000, d))).astype(dtype)
    V = rng.normal(size=(5000, 2)).astype("f" if dtype == "float32" else "d")
    kernel = kernel(10.0 * np.sqrt(d))
    K = gram(kernel, X)
    for rows in (X, Slices(X)):
        op = KernelOperator(kernel, rows, device="cuda", memory_budget=budget)
        assert_near(op @ V, K @ V, K @ abs(V), 3e-6)
        expected = np.log(K.sum(axis=1))
        assert_near(op.row_logsumexp(), expected, 1 + abs(expected), 1e-5)


@pytest.mark.parametrize("d", [30, 100])
def test_repeated_rows_in_parts(d):
    """Rows are still there for a second look when later parts have come."""
    rng = np.random.default_rng(0)
    X = np.tile(rng.normal(5.0, 1.0, size=(1000, d)), (5, 1)).astype("f")
    V = abs(rng.normal(size=(5000, 2))).astype("f")
    kernel = Matern(np.sqrt(d), nu=0.5)
    K = gram(kernel, X)
    for Z in (None, X):
        op = KernelOperator(
            kernel,
            Slices(X),
            None if Z is None else Slices(Z),
            device="cuda",
            memory_budget=200_000,
        )
        assert_near(op @ V, K @ V, K @ V, 3e-6)


@pytest.mark.parametrize("d", [3, 20, 100])
def test_same_bits(d):
    X, Z, V, *_ = problem(2000, 3000, d, 3)
    op = KernelOperator(RBF(np.sqrt(d)), X, Z, device="cuda")
    assert_array_equal((op @ V).get(), (op @ V).get())


@pytest.mark.parametrize("d", [32, 784])
def test_no_bias_on_positive_operands(d):
    """Tensor cores truncate as they add; over many columns that would show."""
    rng = np.random.default_rng(0)
    X, Z = (rng.normal(size=(k, d)).astype("f") for k in (64, 50_000))
    V = abs(rng.normal(size=(50_000, 10))).astype("f")
    kernel = RBF(np.sqrt(d))
    K = gram(kernel, X, Z)
    op = KernelOperator(kernel, X, Z, device="cuda")
    assert_near(op @ V, K @ V, K @ V, 1e-6)


@pytest.mark.parametrize("outlier", [1e6, 1e9, 1e12])
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_one_huge_entry(outlier, precision):
    """It costs the other rows no digits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 16)).astype("f")
    X[17, 3] = outlier
    V = rng.uniform(size=(900, 10)).astype("f")
    kernel = RBF(4.0)
    op = KernelOperator(kernel, X, X, device="cuda", precision=precision)
    K = gram(kernel, X, X)
    assert_near(op @ V, K @ V, K @ V, 1e-3 if precision == "medium" else 3e-6)


def test_length_scales_change(monkeypatch):
    """What holds for wide scales of columns is not kept for narrow ones."""
    X = np.random.default_rng(0).normal(size=(300, 16)).astype("f")
    op = KernelOperator(RBF([100.0] * 16), X, X, device="cuda")
    op @ np.ones(300, "f")
    narrow = op.with_kernel(RBF([0.01] * 16))
    assert_near(narrow @ np.eye(300, dtype="f"), np.eye(300), 1.0, 1e-6)


@pytest.mark.parametrize("columns", [1, 8])
def test_nan_stays(columns):
    X = np.random.default_rng(0).normal(size=(100, 20)).astype("f")
    op = KernelOperator(RBF(4.0), X, device="cuda", precision="medium")
    V = op.device.xp.sqrt(op.device.xp.full((100, columns), -1.0, "f"))
    assert op.device.xp.isnan(op @ V).all()


def test_out_of_memory(monkeypatch):
    """Tiles shrink and all rows are there; where nothing helps the error says so."""
    import cupy as cp

    from gpkern.gpu.matrix import Matrix

    X = np.random.default_rng(0).normal(size=(9000, 30))
    op = KernelOperator(Matern(4.0, nu=1.2), X, X[:50], device="cuda")
    expected, fill, failures = op @ np.ones(50), Matrix._fill, [2]

    def scarce(self, *args, **kwargs):
        if failures[0] > 0:
            failures[0] -= 1
            raise cp.cuda.memory.OutOfMemoryError(1, 2, 3)
        return fill(self, *args, **kwargs)

    monkeypatch.setattr(Matrix, "_fill", scarce)
    monkeypatch.setattr(Matrix, "_in_one_reading", lambda self, c: False)
    assert_near(op @ np.ones(50), expected.get(), 1.0, 1e-9)
    assert failures == [0]
    failures[0] = 1000
    with pytest.raises(MemoryError, match="memory_budget"):
        op @ np.ones(50)


def test_cholesky_that_fails_early():
    import cupy as cp

    from gpkern.gpu.linalg import cholesky

    A = cp.eye(3000) * 2.0
    A[100, 100] = -1.0
    with pytest.raises(np.linalg.LinAlgError):
        cholesky(A)
