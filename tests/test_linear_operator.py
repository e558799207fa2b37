"""`KernelOperator` as a linear operator: SciPy's solvers, algebra, rows, threads."""

import copy
import pickle
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import config_context
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel

from gpkern import KernelOperator
from gpkern.kernels import Laplacian

KERNEL = Matern(2.0, nu=1.5)
rng = np.random.default_rng(0)
X, Z = rng.standard_normal((300, 4)), rng.standard_normal((80, 4))
K, KX = KERNEL(X, Z), KERNEL(X)


@pytest.fixture
def op(operator):
    return operator(KERNEL, X, Z)


@pytest.fixture
def symmetric(operator):
    return operator(KERNEL, X)


# ------------------------------------------------------------------------ protocol


def test_shape_and_dtype(op):
    assert (op.shape, op.T.shape, op.ndim) == ((300, 80), (80, 300), 2)
    assert op.dtype == op.T.dtype == np.float64
    assert op.kernel == KERNEL
    assert "300x80" in repr(op)


def test_is_the_linear_operator_of_its_device(op, symmetric, linalg):
    assert isinstance(op, linalg.LinearOperator)
    assert isinstance(op.T, linalg.LinearOperator)
    assert linalg.aslinearoperator(symmetric) is symmetric


def test_products(op, asarray, host):
    v, V = rng.standard_normal(80), rng.standard_normal((80, 3))
    u, U = rng.standard_normal(300), rng.standard_normal((300, 3))
    for got, expected in (
        (op @ asarray(v), K @ v),
        (op @ asarray(V), K @ V),
        (op @ asarray(v[:, None]), K @ v[:, None]),
        (op * asarray(v), K @ v),
        (op.dot(asarray(V)), K @ V),
        (op.matvec(asarray(v)), K @ v),
        (op.matmat(asarray(V)), K @ V),
        (op.rmatvec(asarray(u)), K.T @ u),
        (op.rmatmat(asarray(U)), K.T @ U),
        (op.T @ asarray(u), K.T @ u),
        (op.H @ asarray(U), K.T @ U),
        (op.T.T @ asarray(v), K @ v),
        (op.T.T.T @ asarray(u), K.T @ u),
    ):
        assert got.shape == expected.shape
        assert_allclose(host(got), expected, rtol=1e-11, atol=1e-11)


def test_the_transpose_offers_everything(op, asarray, host):
    t = op.T
    assert_allclose(host(t.to_dense()), K.T, rtol=1e-12)
    assert_allclose(host(t.row_sum()), K.sum(0), rtol=1e-12)
    assert_allclose(host(t.row_logsumexp()), np.log(K.sum(0)), rtol=1e-12)
    assert_allclose(host(t.rows(7)), K[:, 7], rtol=1e-12)
    assert_allclose(host(t.diagonal()), np.diagonal(K), rtol=1e-12)
    V = rng.standard_normal((300, 2))
    gradient, residual = t.normal_matmat(asarray(V))
    assert_allclose(host(residual), K.T @ V, rtol=1e-11, atol=1e-11)
    assert_allclose(host(gradient), K @ (K.T @ V), rtol=1e-10, atol=1e-10)


def test_algebra(op, symmetric, linalg, asarray, host):
    v = rng.standard_normal(300)
    eye = linalg.aslinearoperator(asarray(np.eye(300)))
    for got, expected in (
        (2 * symmetric + symmetric, 3 * KX),
        (symmetric + 0.5 * eye, KX + 0.5 * np.eye(300)),
        (-symmetric - symmetric * 2, -3 * KX),
        (symmetric**2, KX @ KX),
        (op @ op.T, K @ K.T),
        (op.T @ symmetric, K.T @ KX),
    ):
        assert got.shape == expected.shape
        assert_allclose(host(got @ asarray(v)), expected @ v, rtol=1e-9, atol=1e-9)


def test_conjugate_gradients(operator, linalg, asarray, host):
    kernel = KERNEL + WhiteKernel(0.1)
    b = np.sin(X[:, 0])
    x, info = linalg.cg(operator(kernel, X), asarray(b), maxiter=1000)
    assert info == 0
    assert_allclose(kernel(X) @ host(x), b, atol=1e-4 * np.linalg.norm(b))


def test_eigsh(symmetric, linalg, host):
    values = host(linalg.eigsh(symmetric, k=5, return_eigenvectors=False))
    assert_allclose(np.sort(values), np.linalg.eigvalsh(KX)[-5:], rtol=1e-8)


def test_lobpcg(symmetric, linalg, asarray, host):
    start = asarray(np.random.default_rng(1).standard_normal((300, 3)))
    values, vectors = linalg.lobpcg(symmetric, start, tol=1e-6, maxiter=200)
    exact = np.linalg.eigvalsh(KX)[::-1][:3]
    assert_allclose(np.sort(host(values))[::-1], exact, rtol=1e-6)
    V = host(vectors)
    assert_allclose(KX @ V, V * host(values), atol=1e-4)


def test_svds_and_lsqr():
    """Solvers that need the adjoint; SciPy only."""
    op = KernelOperator(KERNEL, X, Z)
    values = sparse.linalg.svds(op, k=3, return_singular_vectors=False)
    exact = np.linalg.svd(K, compute_uv=False)[:3]
    assert_allclose(np.sort(values)[::-1], exact, rtol=1e-8)
    b = np.cos(X[:, 0])
    x = sparse.linalg.lsqr(op, b, damp=0.1, atol=1e-12, btol=1e-12)[0]
    exact = np.linalg.solve(K.T @ K + 0.01 * np.eye(80), K.T @ b)
    assert_allclose(K @ x, K @ exact, atol=1e-4)


def test_is_no_array():
    """NumPy would make an array that holds the operator as one object."""
    op = KernelOperator(KERNEL, X, Z)
    for convert in (np.asarray, np.array, np.linalg.norm):
        with pytest.raises(TypeError, match="call to_dense"):
            convert(op)
    assert_allclose(np.ones(300) @ op, K.sum(0), rtol=1e-11)
    assert_allclose(np.ones((2, 300)) @ op, [K.sum(0)] * 2, rtol=1e-11)


# ------------------------------------------------------------ rows, blocks, diagonal


@pytest.mark.parametrize("index", [0, 7, 299, -1, -300, np.int64(3), np.int32(-2)])
def test_one_row(index, op, symmetric, host):
    assert host(op.rows(index)).shape == (80,)
    assert_allclose(host(op.rows(index)), K[index], rtol=1e-12)
    assert_allclose(host(symmetric.rows(index)), KX[index], rtol=1e-12)


@pytest.mark.parametrize(
    "index",
    [
        slice(None),
        slice(3, 7),
        slice(-5, None),
        slice(290, 400),
        slice(250, 300, 1),
        slice(5, 5),
        slice(9, 2),
    ],
    ids=str,
)
def test_some_rows(index, op, symmetric, host):
    assert_allclose(host(op.rows(index)), K[index], rtol=1e-12)
    assert_allclose(host(symmetric.rows(index)), KX[index], rtol=1e-12)


@pytest.mark.parametrize("index", [300, -301])
def test_rows_out_of_bounds(index, op):
    with pytest.raises(IndexError, match=f"row {index} of an operator with 300 rows"):
        op.rows(index)


@pytest.mark.parametrize("index", [[1, 2], 1.0, "1", None, np.arange(2), (1, 2)])
def test_rows_are_one_or_a_slice(index, op):
    with pytest.raises(TypeError, match=r"rows\(\) takes an int or a slice, not "):
        op.rows(index)


def test_rows_take_no_step(op):
    with pytest.raises(ValueError, match="step 1"):
        op.rows(slice(None, None, 2))


@pytest.mark.parametrize("budget", [None, 1, 80 * 8 * 20])
def test_blocks(budget, operator, host):
    op = operator(KERNEL, X, Z, memory_budget=budget)
    cuts, blocks = zip(*op.blocks(), strict=True)
    assert [c.start for c in cuts] == [0, *(c.stop for c in cuts[:-1])]
    assert cuts[-1].stop == 300
    assert_allclose(np.vstack([host(b) for b in blocks]), K, rtol=1e-12)
    if budget == 1:
        assert all(len(b) == 1 for b in blocks)
    elif budget:
        assert max(b.nbytes for b in blocks) <= budget


def test_budget_without_limit(operator, host):
    op = operator(KERNEL, X, Z, memory_budget=np.inf)
    assert len(list(op.blocks())) == 1
    assert_allclose(host(op.to_dense()), K, rtol=1e-12)
    op = operator(KERNEL, X, Z, memory_budget=1e6)
    assert_allclose(host(op.to_dense()), K, rtol=1e-12)


def test_dense_blocks_of_several_threads(host):
    big = rng.standard_normal((1100, 5))
    dense = KernelOperator(KERNEL + WhiteKernel(0.5), big).to_dense()
    assert_allclose(dense, (KERNEL + WhiteKernel(0.5))(big), rtol=1e-11)
    dense = KernelOperator(lambda A, B: A @ B.T, big).to_dense()
    assert_allclose(dense, big @ big.T, atol=1e-12)


def test_blocks_follow_the_working_memory():
    big = KernelOperator(KERNEL, np.zeros((3000, 2)))
    assert len(list(big.blocks())) == 1
    with config_context(working_memory=16):
        blocks = [b for _, b in KernelOperator(KERNEL, np.zeros((3000, 2))).blocks()]
    assert len(blocks) > 1
    assert max(b.nbytes for b in blocks) <= 16 * 2**20


def test_diagonal_of_a_cross_matrix(op, host):
    assert_allclose(host(op.diagonal()), np.diagonal(K), rtol=1e-12)
    assert_allclose(host(op.T.diagonal()), np.diagonal(K), rtol=1e-12)


# -------------------------------------------------------------------- other rows


def test_with_rows(op, symmetric, asarray, host):
    batch = asarray(X[10:35])
    for base, columns in ((op, Z), (symmetric, X)):
        part = base.with_rows(batch)
        assert part.shape == (25, len(columns))
        expected = KERNEL(X[10:35], columns)
        assert_allclose(host(part.to_dense()), expected, rtol=1e-12)
        v = np.ones(len(columns))
        assert_allclose(host(part @ asarray(v)), expected @ v, rtol=1e-12)


def test_with_rows_makes_a_cross_matrix(operator, asarray, host):
    """Other rows are other samples: no noise, even where they are equal."""
    noisy = operator(KERNEL + WhiteKernel(1.0), X).with_rows(asarray(X))
    assert_allclose(host(noisy.to_dense()), KX, rtol=1e-12)


def test_with_rows_far_from_the_others(operator, asarray, host):
    """They share the centre of Z, which may be far from them."""
    far = X + 1e3
    expected = RBF(2e3)(far, Z)
    got = operator(RBF(2e3), X, Z).with_rows(asarray(far)).to_dense()
    assert_allclose(host(got), expected, rtol=1e-11)


def test_normal_matmat_options(op, asarray, host):
    V, Y = rng.standard_normal((80, 2)), rng.standard_normal((300, 2))
    w = rng.uniform(0, 1, 300)
    for targets in (None, Y):
        for weights in (None, w):
            U = K @ V - (0 if targets is None else Y)
            U = U if weights is None else U * w[:, None]
            gradient, residual = op.normal_matmat(
                asarray(V),
                None if targets is None else asarray(Y),
                None if weights is None else asarray(w),
            )
            assert_allclose(host(residual), U, rtol=1e-11, atol=1e-11)
            assert_allclose(host(gradient), K.T @ U, rtol=1e-11, atol=1e-10)


def test_row_sum_of_weights(op, asarray, host):
    w = rng.uniform(-1, 1, 80)
    assert_allclose(host(op.row_sum(asarray(w))), K @ w, rtol=1e-11, atol=1e-12)
    counts = rng.integers(0, 5, 80)
    assert_allclose(host(op.row_sum(asarray(counts))), K @ counts, rtol=1e-11)


# ------------------------------------------------------------------ copies and threads


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda op: pickle.loads(pickle.dumps(op))]
)
def test_copies(duplicate, op, asarray, host):
    v = asarray(np.ones(80))
    op @ v  # with what it keeps after a product
    for one in (op, op.T.T):
        assert_allclose(host(duplicate(one) @ v), host(op @ v), rtol=1e-15)


def test_threads_of_the_user(operator, asarray, host):
    """Several at once, on one operator and on operators of their own."""
    shared = operator(KERNEL + Laplacian(3.0), X)
    expected = (KERNEL + Laplacian(3.0))(X)
    failures = []

    def work(seed):
        try:
            own = operator(RBF(1.0 + seed), X[seed:], Z)
            own_expected = RBF(1.0 + seed)(X[seed:], Z)
            for i in range(5):
                V = np.random.default_rng(10 * seed + i).standard_normal((300, 2))
                assert_allclose(
                    host(shared @ asarray(V)), expected @ V, rtol=1e-9, atol=1e-9
                )
                assert_allclose(host(own.to_dense()), own_expected, rtol=1e-11)
                assert_allclose(
                    host(shared.row_logsumexp()),
                    np.log(expected.sum(1)),
                    rtol=1e-11,
                    atol=1e-11,
                )
        except BaseException as error:  # a thread's own failure is silent
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]
