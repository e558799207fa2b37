"""Softmax over rows, and gradients by rows, against differences and plain NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from sklearn.gaussian_process.kernels import WhiteKernel

from gpkern import KernelOperator
from gpkern.kernels import (
    RBF,
    Chi2,
    Cosine,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Polynomial,
    RationalQuadratic,
)

SMOOTH = {
    "RBF": RBF(1.5),
    "ARD": RBF([1.0, 2.0, 3.0]),
    "Matern_1/2": Matern(1.5, nu=0.5),
    "Matern_3/2": Matern(1.5, nu=1.5),
    "Matern_5/2": 2.0 * Matern(1.5, nu=2.5),
    "IMQ": InverseMultiquadric(1.5),
    "rational": RationalQuadratic(1.5, alpha=0.7),
    "sum": RBF(1.5) + Matern([1.0, 2.0, 3.0], nu=1.5),
}
OTHERS = {"polynomial": Polynomial(3, 1.0, 20.0), "cosine": Cosine()}


def data(n=20, m=33, d=3):
    rng = np.random.default_rng(0)
    return rng.normal(2.0, 1.0, size=(n, d)), rng.normal(2.0, 1.0, size=(m, d))


def numerical(f, X, h=1e-5):
    out = np.empty_like(X)
    for k in range(X.shape[1]):
        step = np.zeros(X.shape[1])
        step[k] = h
        out[:, k] = (f(X + step) - f(X - step)) / (2 * h)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMOOTH | OTHERS)
def test_gradients(name, dtype, asarray, host):
    X, Z = data()
    kernel = (SMOOTH | OTHERS)[name]
    w = np.random.default_rng(1).uniform(0.5, 2.0, len(Z))
    op = KernelOperator(kernel, asarray(X.astype(dtype)), asarray(Z.astype(dtype)))
    tol = {"float32": 2e-4, "float64": 1e-6}[dtype]
    expected = numerical(lambda X: kernel(X, Z) @ w, X)
    got = host(op.row_gradient(asarray(w.astype(dtype))))
    assert got.dtype == np.dtype(dtype)
    assert_allclose(got, expected, rtol=tol, atol=tol * abs(expected).max())
    if (kernel(X, Z) > 0).all():
        expected = numerical(lambda X: np.log(kernel(X, Z) @ w), X)
        got = host(op.row_logsumexp_gradient(asarray(np.log(w).astype(dtype))))
        assert_allclose(got, expected, rtol=tol, atol=tol * abs(expected).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("c", [1, 4, 70])
def test_softmax(name, dtype, c, asarray, host):
    X, Z = data(40, 300)
    V = np.random.default_rng(1).normal(size=(300, c))
    kernel = SMOOTH[name]
    op = KernelOperator(kernel, asarray(X.astype(dtype)), asarray(Z.astype(dtype)))
    K = kernel(X, Z)
    tol = {"float32": 3e-6, "float64": 1e-12}[dtype]
    got = host(op.row_softmax(asarray(V.astype(dtype))))
    assert_allclose(got, K @ V / K.sum(1, keepdims=True), atol=tol * abs(V).max())
    logw = np.random.default_rng(2).normal(size=300)
    logw[::7] = -np.inf
    P = K * np.exp(logw)
    got = host(op.row_softmax(asarray(V.astype(dtype)), asarray(logw.astype(dtype))))
    assert_allclose(got, P @ V / P.sum(1, keepdims=True), atol=tol * abs(V).max())


@pytest.mark.parametrize("d", [2, 12, 90])
def test_where_every_value_underflows(d, asarray, host):
    """Sixty and more length scales from all of the samples."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(200, d))
    X = Z[:30] + 80.0 / np.sqrt(d)
    log_k = -0.5 * ((X[:, None] - Z) ** 2).sum(-1)
    assert log_k.max() < -1000
    P = np.exp(log_k - logsumexp(log_k, axis=1, keepdims=True))
    op = KernelOperator(
        RBF(1.0), asarray(X.astype("float32")), asarray(Z.astype("float32"))
    )
    # A distance of 6,400 in float32 has an error of some 1e-3, and so has its exp.
    got = host(op.row_softmax(asarray(Z.astype("float32"))))
    assert_allclose(got, P @ Z, atol=0.02)
    got = host(op.row_logsumexp_gradient())
    assert_allclose(got, P @ Z - X, atol=0.02)
    exact = KernelOperator(RBF(1.0), asarray(X), asarray(Z))
    assert_allclose(host(exact.row_softmax(asarray(Z))), P @ Z, atol=1e-8)


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.parametrize("noise", [0.0, 0.5])
def test_one_sample(n, noise, asarray, host):
    """K(X, X): the noise on the diagonal counts, and a row is no neighbour's slope."""
    X, _ = data(n)
    kernel = RBF(1.5) + WhiteKernel(noise) if noise else RBF(1.5)
    K = RBF(1.5)(X) + noise * np.eye(n)
    op = KernelOperator(kernel, asarray(X))
    V = np.random.default_rng(1).normal(size=(n, 2))
    P = K / K.sum(1, keepdims=True)
    assert_allclose(host(op.row_softmax(asarray(V))), P @ V, atol=1e-12)
    expected = ((RBF(1.5)(X) / K.sum(1, keepdims=True)) @ X) / 1.5**2
    expected -= X * (RBF(1.5)(X).sum(1) / K.sum(1))[:, None] / 1.5**2
    assert_allclose(host(op.row_logsumexp_gradient()), expected, atol=1e-10)


def test_duplicates_of_a_rough_kernel(asarray, host):
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    Z = np.vstack([X, [[1.0, 3.0]]])
    got = host(
        KernelOperator(Matern(1.0, nu=0.5), asarray(X), asarray(Z)).row_gradient()
    )
    expected = np.zeros((2, 2))
    for i, x in enumerate(X):
        for z in Z:
            if (r := np.linalg.norm(x - z)) > 0:
                expected[i] -= np.exp(-r) * (x - z) / r
    assert_allclose(got, expected, atol=1e-12)


class TestErrors:
    def test_no_formula(self, asarray):
        op = KernelOperator(lambda X, Z: 1.0 + X @ Z.T, *map(asarray, data()))
        V = asarray(np.ones((33, 1)))
        calls = {
            "row_softmax": lambda: op.row_softmax(V),
            "row_gradient": op.row_gradient,
            "row_logsumexp_gradient": op.row_logsumexp_gradient,
        }
        for name, call in calls.items():
            with pytest.raises(TypeError, match=f"{name} needs a kernel with"):
                call()

    @pytest.mark.parametrize("kernel", [Laplacian(1.0), Chi2(1.0)], ids=str)
    def test_no_gradient(self, kernel, asarray):
        X, Z = map(abs, data())
        with pytest.raises(TypeError, match="distances or inner products"):
            KernelOperator(kernel, asarray(X), asarray(Z)).row_gradient()

    def test_weights(self, asarray):
        op = KernelOperator(RBF(1.0), *map(asarray, data()))
        V = asarray(np.ones((33, 1)))
        with pytest.raises(ValueError, match="some rows have none"):
            op.row_softmax(V, asarray(np.full(33, -np.inf)))
        with pytest.raises(ValueError, match="within 700 of the largest"):
            op.row_softmax(V, asarray(np.linspace(0.0, -1000.0, 33)))
        with pytest.raises(ValueError, match="V must have shape"):
            op.row_softmax(V[:5])
        with pytest.raises(ValueError, match="weights must have shape"):
            op.row_gradient(asarray(np.ones(5)))
