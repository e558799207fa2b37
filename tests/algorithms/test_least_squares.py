"""Solvers of kernel least squares, against dense linear algebra."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from gpkern._device import select
from gpkern.algorithms import least_squares as ls
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
    coef = ls.solve_direct(K.copy(), y, np.array([0.0]), None, CPU)
    assert_allclose(K @ coef, y, atol=1e-6)
    expected = np.linalg.lstsq(K, y, rcond=None)[0]
    assert_allclose(coef, expected, atol=1e-5)


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
    precondition = ls.nystrom_preconditioner(
        operator, X, 80, [alpha], None, np.random.RandomState(0)
    )
    A = kernel(X) + alpha * np.eye(120)
    values = np.linalg.eigvals(precondition(A)).real
    before = np.linalg.cond(A)
    assert values.min() > 0
    assert values.max() / values.min() < 0.01 * before
