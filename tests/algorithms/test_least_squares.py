"""Solvers of kernel least squares, against dense linear algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.datasets import make_friedman1
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import DotProduct, WhiteKernel

from gpkern._device import select
from gpkern.algorithms import least_squares as ls
from gpkern.algorithms import nystrom
from gpkern.kernels import RBF, Matern
from gpkern.operator import make_operator

CPU = select("cpu")
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 3))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1)
WEIGHTS = rng.uniform(0.2, 3.0, 120)
ALPHA = np.array([0.1, 2.0])


def expected_on_rows(kernel, alpha, weights):
    """argmin sum_i w_i (f(x_i) - y_i)^2 + alpha |f|^2, one target at a time."""
    K, W = kernel(X), np.diag(np.ones(120) if weights is None else weights)
    alphas = np.broadcast_to(alpha, 2)
    return np.stack(
        [
            np.linalg.solve(W @ K + a * np.eye(120), W @ y)
            for a, y in zip(alphas, Y.T, strict=True)
        ],
        axis=1,
    )


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("alpha", [ALPHA[:1], ALPHA], ids=["one", "each"])
def test_all_rows(alpha, weights):
    kernel = Matern(1.5, nu=1.5)
    expected = expected_on_rows(kernel, alpha, weights)
    direct = ls.solve_direct(kernel(X), Y, alpha, weights, CPU)
    assert_allclose(direct, expected, atol=1e-9)
    operator = make_operator(kernel, X, None, CPU)
    coef, n_iter, residual = ls.solve_pcg(
        operator, X, Y, alpha, weights, 1e-10, 200, np.random.RandomState(0)
    )
    assert_allclose(coef, expected, atol=1e-7)
    assert residual <= 1e-10
    assert 0 < n_iter < 100


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weights"])
@pytest.mark.parametrize("alpha", [ALPHA[:1], ALPHA], ids=["one", "each"])
def test_centers(alpha, weights):
    kernel, Z = Matern(1.5, nu=1.5), X[:30] + 0.01
    K, M = kernel(X, Z), kernel(Z)
    W = np.diag(np.ones(120) if weights is None else weights)
    expected = np.stack(
        [
            np.linalg.solve(K.T @ W @ K + a * M, K.T @ W @ y)
            for a, y in zip(np.broadcast_to(alpha, 2), Y.T, strict=True)
        ],
        axis=1,
    )
    operator = make_operator(kernel, X, Z, CPU)
    features = ls.solve_features(operator, Z, Y, alpha, weights)
    assert_allclose(features, expected, atol=1e-7)
    coef, _, _ = ls.solve_falkon(operator, Z, Y, alpha, weights, 1e-10, 100)
    assert_allclose(coef, expected, atol=1e-6)


def test_singular_matrix_gives_the_smallest_solution():
    rows = np.repeat(X[:20], 2, axis=0)
    K, y = RBF(1.0)(rows), np.repeat(Y[:20], 2, axis=0)
    with pytest.warns(UserWarning, match="Singular matrix in solving dual problem"):
        coef = ls.solve_direct(K.copy(), y, np.array([0.0]), None, CPU)
    assert_allclose(K @ coef, y, atol=1e-6)
    expected = np.linalg.lstsq(K, y, rcond=None)[0]
    assert_allclose(coef, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 3, 60])
def test_pivots_of_rounding_size_are_a_singular_matrix(rank):
    """LAPACK's factor may succeed on them, with a solution of noise."""
    for seed in range(10):
        A = np.random.default_rng(seed).standard_normal((120, rank))
        K = A @ A.T
        with pytest.warns(UserWarning, match="Singular matrix"):
            coef = ls.solve_direct(K.copy(), Y, np.array([0.0]), None, CPU)
        expected = np.linalg.pinv(K, rcond=1e-10, hermitian=True) @ Y
        assert_allclose(coef, expected, atol=1e-8 * abs(expected).max())


@pytest.mark.filterwarnings("error")
def test_a_poor_preconditioner_takes_longer_and_no_less():
    """Residuals of hard problems rise for many iterations, and come down again."""
    own = np.random.default_rng(0)
    X, y = own.normal(size=(300, 2)), own.normal(size=(300, 1))
    operator = make_operator(RBF(1.0), X, None, CPU, dtype=np.float64)
    coef, _, residual = ls.solve_pcg(
        operator,
        X,
        y,
        np.array([1e-6]),
        None,
        1e-10,
        3000,
        np.random.RandomState(0),
        25,
    )
    assert residual <= 1e-10
    K = operator.to_dense() + 1e-6 * np.eye(300)
    assert np.linalg.norm(K @ coef - y) <= 1e-7 * np.linalg.norm(y)


def test_scaled_rows_are_not_a_singular_matrix():
    """Diagonal entries far apart say nothing: each is compared with its own pivot."""
    scale = np.logspace(-8, 8, 120)
    K = scale[:, None] * Matern(1.5, nu=0.5)(X) * scale
    coef = ls.solve_direct(K.copy(), Y, np.array([0.0]), None, CPU)
    expected = np.linalg.solve(Matern(1.5, nu=0.5)(X), Y / scale[:, None])
    size = abs(expected).max()
    assert_allclose(coef * scale[:, None], expected, atol=1e-9 * size)


def test_several_penalties_of_which_one_is_singular():
    A = np.random.default_rng(0).standard_normal((120, 3))
    K, alpha = A @ A.T, np.array([1.0, 0.0])
    with pytest.warns(UserWarning, match="Singular matrix"):
        coef = ls.solve_direct(K.copy(), Y, alpha, None, CPU)
    assert_allclose(coef[:, 0], np.linalg.solve(K + np.eye(120), Y[:, 0]), atol=1e-10)
    assert_allclose(coef[:, 1], np.linalg.pinv(K, 1e-10) @ Y[:, 1], atol=1e-8)


class TestConjugateGradients:
    A = np.diag(np.arange(1.0, 51.0))
    B = np.random.default_rng(3).standard_normal((50, 4))

    def solve(self, B, tol=1e-12, max_iter=500, precondition=lambda r: r):
        return ls.conjugate_gradients(
            lambda P: self.A @ P, B, precondition, tol, max_iter, np
        )

    def test_solution(self):
        X, n_iter, residual = self.solve(self.B)
        assert_allclose(self.A @ X, self.B, atol=1e-10)
        assert residual <= 1e-12 and n_iter <= 60

    def test_exact_preconditioner_takes_one_step(self):
        _, n_iter, _ = self.solve(
            self.B, precondition=lambda r: r / np.diag(self.A)[:, None]
        )
        assert n_iter == 1

    def test_zero_columns_stay_zero(self):
        B = self.B.copy()
        B[:, 1] = 0.0
        X, _, _ = self.solve(B)
        assert not X[:, 1].any()
        assert_allclose(self.A @ X, B, atol=1e-10)

    def test_too_few_iterations_warn(self):
        _, n_iter, residual = self.solve(self.B, max_iter=3)
        assert n_iter == 3 and residual > 1e-3
        with pytest.warns(ConvergenceWarning, match="raise max_iter"):
            ls.warn_above(1e-12, residual)

    def test_no_worse_than_zero(self):
        """Products of noise alone: zeros are nearer than any iterate."""
        noise = np.random.default_rng(0).standard_normal((50, 50))
        X, _, residual = ls.conjugate_gradients(
            lambda P: 1e3 * noise @ P + self.A @ P, self.B, lambda r: r, 1e-9, 9, np
        )
        assert residual <= 1.0 or X.any()
        X, _, residual = ls.conjugate_gradients(
            lambda P: self.A @ P, self.B, lambda r: r, 1e-9, 1, np
        )
        assert X.any()

    def test_the_best_iterate_is_returned(self):
        """In float32 the residual falls to rounding and then wanders."""

        def product(P):
            return (self.A.astype("f") @ P.astype("f")).astype(float)

        X, _, residual = ls.conjugate_gradients(
            product, self.B, lambda r: r, 0.0, 500, np
        )
        assert residual < 1e-5
        assert_allclose(self.A @ X, self.B, atol=1e-4)


def test_nystrom_preconditioner_bounds_the_condition():
    kernel, alpha = RBF(2.0), 1e-3
    operator = make_operator(kernel, X, None, CPU)
    precondition = nystrom.nystrom_preconditioner(
        operator, X, 80, [alpha], None, np.random.RandomState(0)
    )
    A = kernel(X) + alpha * np.eye(120)
    values = np.linalg.eigvals(precondition(A)).real
    before = np.linalg.cond(A)
    assert values.min() > 0
    assert values.max() / values.min() < 0.01 * before


class TestNystrom:
    """The preconditioner is one float32 array, exact in float64."""

    def preconditioned(self, operator, rows, alpha, rank):
        """The matrix and its product with the preconditioner."""
        P = nystrom.nystrom_preconditioner(
            operator, rows, rank, [alpha], None, np.random.RandomState(0)
        )
        A = operator.to_dense().astype(float) + alpha * np.eye(len(rows))
        return A, P(np.eye(len(rows)))

    @pytest.mark.parametrize("alpha", [1e-2, 1e-5, 1e-8])
    @pytest.mark.parametrize("scale", [1e-90, 1.0, 1e90])
    def test_stays_positive(self, alpha, scale):
        """Values of the matrix from alpha to 1e2: more than float32 tells apart."""
        kernel = scale * RBF(2.0)
        operator = make_operator(kernel, X, None, CPU)
        A, P = self.preconditioned(operator, X, alpha * scale, 100)
        values = np.linalg.eigvalsh((P + P.T) / 2)
        assert values.min() > 0
        L = np.linalg.cholesky(A / scale)
        values = np.linalg.eigvalsh(L.T @ P @ L)
        # Columns are drawn with 1e-8 on their diagonal: below, alpha is not all.
        assert values.max() / values.min() < (3 if alpha > 1e-7 else 100)

    def test_noise_on_the_diagonal_is_a_penalty(self):
        noisy = make_operator(RBF(2.0) + WhiteKernel(1e-3), X, None, CPU)
        coef, _, residual = ls.solve_pcg(
            noisy, X, Y, [0.0], None, 1e-10, 50, np.random.RandomState(0)
        )
        expected = np.linalg.solve(RBF(2.0)(X) + 1e-3 * np.eye(120), Y)
        assert_allclose(coef, expected, atol=1e-6 * abs(expected).max())
        assert residual <= 1e-10

    def test_rank_fits_the_memory(self, monkeypatch):
        n, ranks = 4000, []
        own = nystrom._nystrom_factor

        def factor(operator, X, rank, *rest):
            ranks.append(rank)
            return own(operator, X, rank, *rest)

        monkeypatch.setattr(nystrom, "_nystrom_factor", factor)
        rows = np.random.default_rng(0).standard_normal((n, 2))
        for memory in (1000, 4, 1):
            with config_context(working_memory=memory):
                operator = make_operator(RBF(), rows, None, CPU)
                nystrom.nystrom_preconditioner(
                    operator, rows, 500, [1.0], None, np.random.RandomState(0)
                )
        assert ranks == [500, 2 * 2**20 // (4 * n), nystrom.LEAST_RANK]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_singular_matrix(self, dtype):
        """Without a penalty: the least-squares solution, as near as it gets."""
        rows = X.astype(dtype)
        operator = make_operator(DotProduct(0.0), rows, None, CPU)
        with pytest.warns(ConvergenceWarning):
            coef, _, residual = ls.solve_pcg(
                operator, rows, Y, [0.0], None, 1e-9, 200, np.random.RandomState(0)
            )
        w = np.linalg.lstsq(X, Y, rcond=None)[0]
        assert_allclose(X.T @ coef, w, atol=1e-5)
        left = np.linalg.norm(Y - X @ w, axis=0) / np.linalg.norm(Y, axis=0)
        assert residual == pytest.approx(left.max(), rel=1e-3)


@pytest.mark.parametrize("gamma", [1e-4, 1e-2, 1.0])
def test_falkon_in_float32(gamma):
    """Wide kernels have centres whose matrix float32 products cannot resolve."""
    rows = np.random.default_rng(0).standard_normal((1500, 4))
    y = np.sin(2 * rows[:, :1]) + rows[:, 1:2] ** 2
    kernel, alpha = RBF(np.sqrt(0.5 / gamma)), np.array([1e-3])
    rows = rows.astype(np.float32)

    def error(solve, rows, *options):
        operator = make_operator(kernel, rows, rows[:200], CPU)
        y_ = y.astype(rows.dtype)
        out = solve(operator, rows[:200], y_, alpha, None, *options)
        coef = out[0] if isinstance(out, tuple) else out
        return np.mean((operator @ coef.astype(rows.dtype) - y) ** 2) / y.var()

    exact = error(ls.solve_features, rows.astype(float))
    assert error(ls.solve_falkon, rows, 1e-5, 200) < exact + 0.03


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
def test_many_rows_take_few_iterations():
    """As the rows of friedman1 do with a float64 preconditioner: 42 at 1e-9."""
    rows, y = make_friedman1(4000, 10, random_state=0)
    operator = make_operator(Matern(1.2, nu=0.5), rows, None, CPU)
    _, n_iter, _ = ls.solve_pcg(
        operator, rows, y[:, None], [1e-2], None, 1e-9, 60, np.random.RandomState(0)
    )
    assert n_iter <= 50


class TestMixed:
    """Rough products, exact results."""

    def problem(self):
        rng = np.random.default_rng(0)
        A = rng.normal(size=(200, 200))
        A = A @ A.T / 200 + 0.1 * np.eye(200)
        return A, rng.normal(size=(200, 3)) * [1.0, 1e-6, 1e6]

    @pytest.mark.parametrize("tol", [1e-3, 1e-10])
    @pytest.mark.parametrize("noise", [1e-7, 1e-2, 10.0])
    def test_reaches_the_tolerance(self, tol, noise):
        A, B = self.problem()
        E = noise * np.random.default_rng(1).normal(size=A.shape) / 200
        X, n_iter, residual = ls.mixed_gradients(
            lambda P: A @ P, lambda P: A @ P + E @ P, B, lambda R: R, tol, 500, np
        )
        relative = np.linalg.norm(B - A @ X, axis=0) / np.linalg.norm(B, axis=0)
        assert relative.max() <= tol * (1 + 1e-6)
        assert residual == pytest.approx(relative.max(), rel=0.01)
        assert n_iter < 500

    def test_ends_at_the_limit(self):
        A, B = self.problem()
        _, n_iter, residual = ls.mixed_gradients(
            lambda P: A @ P, lambda P: A @ P, B, lambda R: R, 1e-10, 5, np
        )
        assert n_iter == 5 and residual > 1e-10
