"""`KernelOperator` of Dask arrays, beside that of the same arrays in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel

from gpkern import KernelOperator, RandomSigns

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

KERNEL = 0.5 * Matern(0.7, nu=0.5) + WhiteKernel(0.3)


@pytest.fixture
def arrays(rng):
    """Rows, few other rows, and vectors for both."""
    X, Z = rng.normal(size=(500, 3)), rng.normal(size=(40, 3))
    return X, Z, rng.normal(size=(40, 2)), rng.normal(size=(500, 2))


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def blocks(X, height=130):
    return da.from_array(X, chunks=(height, *X.shape[1:]))


def assert_same(found, expected):
    assert found.dtype == expected.dtype and found.shape == expected.shape
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12)


def test_rows_in_blocks(arrays, scheduler):
    X, Z, V, U = arrays
    K, plain = KernelOperator(KERNEL, blocks(X), Z), KernelOperator(KERNEL, X, Z)
    product = K @ V
    assert isinstance(product, da.Array) and product.chunks[0] == (130, 130, 130, 110)
    assert_same(product, plain @ V)
    assert_same(K @ V[:, 0], plain @ V[:, 0])
    for left in (U, blocks(U, 200)):
        product = K.T @ left
        assert isinstance(product, np.ndarray)
        assert_same(product, plain.T @ U)
    weights = abs(U[:, 0])
    gradient, residual = K.normal_matmat(V, U, weights)
    expected = plain.normal_matmat(V, U, weights)
    assert_same(gradient, expected[0])
    assert_same(residual, expected[1])
    assert_same(K.row_logsumexp(V[:, 0]), plain.row_logsumexp(V[:, 0]))
    assert_same(K.to_dense(), plain.to_dense())
    assert_same(K.rows(200), plain.rows(200))
    assert K.total() == pytest.approx(plain.total())


def test_columns_in_blocks(arrays, scheduler):
    X, Z, V, U = arrays
    K, plain = KernelOperator(KERNEL, Z, blocks(X)), KernelOperator(KERNEL, Z, X)
    product = K @ U
    assert isinstance(product, np.ndarray)
    assert_same(product, plain @ U)
    assert_same(K.T @ V, plain.T @ V)
    assert_same(K.row_sum(), plain.row_sum())
    for log_weights in (None, U[:, 1]):
        assert_same(K.row_logsumexp(log_weights), plain.row_logsumexp(log_weights))


def test_both_in_blocks(arrays, scheduler):
    X, _, _, U = arrays
    K, plain = KernelOperator(KERNEL, blocks(X)), KernelOperator(KERNEL, X)
    assert_same(K @ U, plain @ U)
    assert_same(K.T @ U, plain @ U)
    assert_same(K.diagonal(), plain.diagonal())
    assert_same(K.row_logsumexp(U[:, 0]), plain.row_logsumexp(U[:, 0]))
    few, plain = X[:150], KernelOperator(KERNEL, X, X[:150])
    K = KernelOperator(KERNEL, blocks(X), blocks(few, 70))
    assert_same(K @ U[:150], plain @ U[:150])
    assert_same(K.T @ U, plain.T @ U)
    assert_same(K.row_logsumexp(), plain.row_logsumexp())


def test_of_a_smooth_kernel(arrays):
    X, Z, V, U = arrays
    K, plain = KernelOperator(RBF(0.4), blocks(X), Z), KernelOperator(RBF(0.4), X, Z)
    assert_same(K.row_gradient(V[:, 0]), plain.row_gradient(V[:, 0]))
    assert_same(K.row_softmax(V, V[:, 0]), plain.row_softmax(V, V[:, 0]))
    assert_same(K.row_mean_shift(), plain.row_mean_shift())
    assert_same(K.row_mean_shift(V[:, 0], V), plain.row_mean_shift(V[:, 0], V))
    assert_same(
        K.row_logsumexp_gradient(V[:, 0]), plain.row_logsumexp_gradient(V[:, 0])
    )
    turned = KernelOperator(RBF(0.4), Z, blocks(X))
    assert_same(
        turned.row_gradient(U[:, 0]),
        KernelOperator(RBF(0.4), Z, X).row_gradient(U[:, 0]),
    )
    plain = KernelOperator(RBF(0.4), Z, X)
    assert_same(turned.row_softmax(U), plain.row_softmax(U))


def test_quadratic_forms(arrays, scheduler):
    X, _, _, U = arrays
    kernels = [RBF(0.4), RBF(1.5)]
    K, plain = KernelOperator(kernels[0], blocks(X)), KernelOperator(kernels[0], X)
    signs = RandomSigns(500, 30, random_state=0)
    for R in (signs, U):
        found = K.quadratic_forms(R, kernels)
        np.testing.assert_allclose(found, plain.quadratic_forms(R, kernels), rtol=1e-10)
    apart, expected = K.without_diagonal(), plain.without_diagonal()
    np.testing.assert_allclose(
        apart.quadratic_forms(U), expected.quadratic_forms(U), rtol=1e-10
    )


def test_a_kernel_that_is_not_symmetric(arrays):
    X, Z, V, U = arrays

    def kernel(A, B):
        return np.exp(-abs(A[:, :1] - 2.0 * B[:, 0]))

    plain = KernelOperator(kernel, X, Z)
    for K in (
        KernelOperator(kernel, blocks(X), Z),
        KernelOperator(kernel, X, blocks(Z)),
    ):
        assert_same(np.asarray(K @ V), plain @ V)
        assert_same(np.asarray(K.T @ U), plain.T @ U)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    m=st.integers(1, 30),
    d=st.integers(1, 6),
    c=st.integers(1, 3),
    dtypes=st.tuples(*[st.sampled_from(["f4", "f8", "i4"])] * 2),
)
def test_shapes_and_dtypes(lengths, m, d, c, dtypes):
    rng = np.random.default_rng(m)
    X = (3 * rng.normal(size=(sum(lengths), d))).astype(dtypes[0])
    Z = (3 * rng.normal(size=(m, d))).astype(dtypes[1])
    V = rng.normal(size=(m, c))
    with dask.config.set(scheduler="synchronous"):
        K = KernelOperator(RBF(2.0), da.from_array(X, chunks=(tuple(lengths), d)), Z)
        plain = KernelOperator(RBF(2.0), X, Z)
        assert K.dtype == plain.dtype
        tolerance = 1e-5 if K.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(
            np.asarray(K @ V), plain @ V, rtol=tolerance, atol=tolerance
        )


def test_float32_stays_so_where_rows_are_extreme_in_memory():
    Z = np.full((3, 2), 1e20, np.float32)
    X = da.ones((10, 2), chunks=(5, 2), dtype=np.float32)
    assert KernelOperator(RBF(1.0), X, Z).dtype == np.float64
    assert KernelOperator(RBF(1.0), X, np.ones((3, 2), "f4")).dtype == np.float32


def test_bad_input():
    X = da.ones((10, 2), chunks=(5, 1))
    with pytest.raises(ValueError, match=r"2 chunks across its columns.*rechunk"):
        KernelOperator(RBF(), X)
    X = da.ones((10, 2), chunks=(5, 2))
    with pytest.raises(ValueError, match=r"unknown sizes.*compute_chunk_sizes"):
        KernelOperator(RBF(), X[X[:, 0] > 0])
    with pytest.raises(ValueError, match="block 1 of X has no rows"):
        KernelOperator(RBF(), da.ones((10, 2), chunks=((5, 0, 5), 2)))
    with pytest.raises(ValueError, match="X has 2 columns and Z has 3"):
        KernelOperator(RBF(), X, np.ones((4, 3)))
    K = KernelOperator(RBF(), X, np.ones((4, 2)))
    with pytest.raises(ValueError, match="dimension mismatch"):
        K @ np.ones(3)
    with pytest.raises(ValueError, match=r"weights must have shape \(10,\)"):
        K.normal_matmat(np.ones((4, 1)), np.ones((10, 1)), np.ones(9))
