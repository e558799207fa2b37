"""KernelRidge is scikit-learn's, and its solvers agree."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.model_selection import GridSearchCV, cross_val_score

from gpkern import KernelRidge, KernelRidgeClassifier
from gpkern.kernels import Laplacian


@pytest.fixture(scope="module")
def data():
    """X, y to train on and X to predict at; X not negative, for the chi2 kernels."""
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(90, 4))
    return X[:70], np.sin(4 * X[:70, 0]) + 0.1 * rng.normal(size=70), X[70:]


def assert_same(data, params, sample_weight=None, ours=None):
    """Same predictions and coefficients as scikit-learn's, from the same parameters."""
    X, y, X_test = data
    model = KernelRidge(**params, **(ours or {})).fit(X, y, sample_weight)
    reference = Reference(**params).fit(X, y, sample_weight)
    expected = reference.predict(X_test)
    assert model.dual_coef_.shape == reference.dual_coef_.shape
    assert_allclose(model.predict(X_test), expected, atol=1e-8 * abs(expected).max())
    size = abs(reference.dual_coef_).max()
    assert_allclose(model.dual_coef_, reference.dual_coef_, atol=1e-6 * size)
    return model


def product_plus(x, z, shift=1.0):
    """A kernel of two single rows."""
    return float(x @ z) + shift


class TestKernels:
    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"kernel": "linear", "gamma": 3.0},
            {"kernel": "poly"},
            {"kernel": "poly", "degree": 2, "gamma": 0.5, "coef0": 2},
            {"kernel": "polynomial", "degree": 2.5, "coef0": 0.5},
            {"kernel": "rbf"},
            {"kernel": "rbf", "gamma": 2.0},
            {"kernel": "laplacian"},
            {"kernel": "laplacian", "gamma": 0.5},
            {"kernel": "sigmoid", "gamma": 0.1, "coef0": 0.2},
            {"kernel": "cosine"},
            {"kernel": "chi2", "gamma": 0.5},
            {"kernel": "additive_chi2"},
        ],
        ids=str,
    )
    def test_names(self, data, params):
        assert_same(data, {"alpha": 0.1, **params})

    @pytest.mark.parametrize(
        "kernel",
        [
            RBF(0.7),
            RBF([0.5, 1.0, 2.0, 4.0]),
            Matern(0.7, nu=0.5),
            Matern(nu=1.5),
            RationalQuadratic(alpha=0.5),
            ConstantKernel(2.0) * RBF(0.5) + DotProduct(0.3) ** 2,
            Laplacian(2.0),
        ],
        ids=str,
    )
    def test_objects(self, data, kernel):
        assert_same(data, {"alpha": 0.1, "kernel": kernel})

    def test_chi2_without_gamma(self, data):
        """scikit-learn's KernelRidge fails; its chi2_kernel has the default 1."""
        X, y, X_test = data
        out = KernelRidge(kernel="chi2").fit(X, y).predict(X_test)
        expected = Reference(kernel="chi2", gamma=1.0).fit(X, y).predict(X_test)
        assert_allclose(out, expected, atol=1e-8)

    def test_white_noise_adds_to_the_penalty(self, data):
        """scikit-learn's KernelRidge drops it, its Gaussian processes do not."""
        X, y, X_test = data
        model = KernelRidge(0.1, kernel=RBF() + WhiteKernel(0.3)).fit(X, y)
        expected = Reference(0.4, kernel=RBF()).fit(X, y).predict(X_test)
        assert_allclose(model.predict(X_test), expected, atol=1e-8)

    @pytest.mark.parametrize("params", [None, {}, {"shift": 3.0}])
    def test_callable_of_two_rows(self, data, params):
        assert_same(
            data, {"alpha": 0.1, "kernel": product_plus, "kernel_params": params}
        )

    def test_callable_with_conjugate_gradients(self, data):
        params = {"alpha": 0.1, "kernel": product_plus}
        assert_same(data, params, ours={"solver": "pcg", "tol": 1e-12})

    def test_kernel_holds_the_numbers_of_the_heuristics(self, data):
        X, y, _ = data
        model = KernelRidge(kernel="rbf", gamma="scale").fit(X, y)
        gamma = 1 / (X.shape[1] * X.var())
        assert_allclose(model.kernel_.length_scale, np.sqrt(0.5 / gamma))
        model = KernelRidge(kernel=Matern(), length_scale="median").fit(X, y)
        distances = np.linalg.norm(X[:, None] - X[None], axis=-1)
        expected = np.median(distances[np.triu_indices(len(X), 1)])
        assert_allclose(model.kernel_.length_scale, expected)
        assert model.kernel.length_scale == 1.0, "the parameter is not changed"


class TestTargets:
    @pytest.fixture
    def targets(self, data):
        X, y, X_test = data
        return X, np.column_stack([y, y**2, np.cos(y)]), X_test

    @pytest.mark.parametrize("alpha", [0.1, [0.1, 1.0, 0.1], [0.01, 0.1, 1.0]])
    def test_several(self, targets, alpha):
        assert_same(targets, {"kernel": "rbf", "alpha": alpha})

    def test_one_column_keeps_its_shape(self, data):
        X, y, X_test = data
        model = assert_same((X, y[:, None], X_test), {"kernel": "rbf"})
        assert model.predict(X_test).shape == (20, 1)

    def test_weights_of_several(self, targets):
        weights = np.linspace(0, 2, 70)
        params = {"kernel": "rbf", "alpha": [0.1, 1.0, 10.0]}
        assert_same(targets, params, sample_weight=weights)


class TestWeights:
    @pytest.mark.parametrize(
        "weights",
        [2.0, 3, np.arange(70), np.arange(70) % 2, np.eye(70)[3]],
        ids=["float", "int", "array", "half zeros", "all but one zero"],
    )
    def test_as_in_scikit_learn(self, data, weights):
        assert_same(data, {"kernel": "rbf", "alpha": 0.1}, sample_weight=weights)

    def test_list(self, data):
        X, y, X_test = data
        weights = np.linspace(0, 1, 70)
        of_list = KernelRidge(kernel="rbf").fit(X, y, weights.tolist())
        of_array = KernelRidge(kernel="rbf").fit(X, y, weights)
        assert_allclose(of_list.predict(X_test), of_array.predict(X_test))


class TestInputs:
    def test_csr(self, data):
        X, y, X_test = (sparse.csr_array(a) if a.ndim == 2 else a for a in data)
        X.data[X.data < 0.5] = 0.0
        X.eliminate_zeros()
        for kernel in ("linear", "rbf", "poly", "cosine"):
            assert_same((X, y, X_test), {"kernel": kernel, "alpha": 0.1})

    @pytest.mark.parametrize("kind", ["csc_matrix", "coo_array", "csr_matrix"])
    def test_other_sparse_formats(self, data, kind):
        X, y, X_test = data
        make = getattr(sparse, kind)
        model = KernelRidge(kernel="rbf").fit(make(X), y)
        expected = Reference(kernel="rbf").fit(X, y).predict(X_test)
        assert_allclose(model.predict(make(X_test)), expected, atol=1e-8)
        assert_allclose(model.predict(X_test), expected, atol=1e-8)

    def test_sparse_with_centers(self, data):
        X, y, X_test = data
        dense = KernelRidge(kernel="rbf", n_centers=20, random_state=0).fit(X, y)
        model = KernelRidge(kernel="rbf", n_centers=20, random_state=0)
        model.fit(sparse.csr_array(X), y)
        assert_allclose(model.predict(X_test), dense.predict(X_test), atol=1e-7)

    @pytest.mark.parametrize("solver", ["pcg", "cholesky"])
    def test_sparse_centers(self, data, solver):
        X, y, X_test = data
        options = {"kernel": "rbf", "solver": solver, "tol": 1e-12}
        dense = KernelRidge(n_centers=X[:20], **options).fit(X, y).predict(X_test)
        for rows in (X, sparse.csr_array(X)):
            for convert in (sparse.csr_array, sparse.coo_matrix):
                model = KernelRidge(n_centers=convert(X[:20]), **options).fit(rows, y)
                assert_allclose(model.predict(X_test), dense, atol=1e-6)
        with pytest.raises(ValueError, match="needs shape"):
            KernelRidge(n_centers=sparse.csr_array(X[:20, :3])).fit(X, y)

    def test_fortran_order_and_steps(self, data):
        X, y, X_test = data
        wide = np.zeros((140, 8))
        wide[::2, ::2] = X
        for rows in (np.asfortranarray(X), wide[::2, ::2], X[::-1][::-1]):
            assert_same((rows, y, np.asfortranarray(X_test)), {"kernel": "rbf"})

    def test_read_only_memmap(self, data, tmp_path):
        X, y, X_test = data
        np.save(tmp_path / "X.npy", X)
        np.save(tmp_path / "y.npy", y)
        rows = np.load(tmp_path / "X.npy", mmap_mode="r")
        targets = np.load(tmp_path / "y.npy", mmap_mode="r")
        for solver in ("cholesky", "pcg"):
            ours = {"solver": solver, "tol": 1e-12}
            assert_same((rows, targets, X_test), {"kernel": "rbf"}, ours=ours)
        assert_allclose(rows, X, atol=0)

    def test_read_only_arrays(self, data):
        X, y, X_test = (a.copy() for a in data)
        weights = np.ones(70)
        for a in (X, y, X_test, weights):
            a.flags.writeable = False
        for kernel in ("rbf", "poly", "laplacian"):
            assert_same((X, y, X_test), {"kernel": kernel}, sample_weight=weights)

    def test_fit_changes_no_input(self, data):
        X, y, _ = data
        weights = np.linspace(0, 1, 70)
        K = pairwise_kernels(X, metric="rbf")
        before = [a.copy() for a in (X, y, weights, K)]
        KernelRidge(kernel="rbf").fit(X, y, weights)
        KernelRidge(kernel="rbf", n_centers=X[:9]).fit(X, y, weights)
        KernelRidge(kernel="precomputed").fit(K, y, weights)
        for a, b in zip((X, y, weights, K), before, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_data_frame(self, data):
        X, y, X_test = data
        frame = pd.DataFrame(X, columns=list("abcd"))
        model = assert_same((frame, pd.Series(y), X_test), {"kernel": "rbf"})
        assert model.feature_names_in_.tolist() == list("abcd")
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame.rename(columns={"a": "z"}))

    @pytest.mark.parametrize("kind", ["list", "int", "bool"])
    def test_other_numbers(self, data, kind):
        X, y, X_test = data
        convert = {
            "list": lambda a: a.tolist(),
            "int": lambda a: (10 * a).astype(int),
            "bool": lambda a: a > 0.5,
        }[kind]
        assert_same((convert(X), y, convert(X_test)), {"kernel": "rbf", "gamma": 0.1})

    def test_float32(self, data):
        X, y, X_test = data
        expected = Reference(kernel="rbf", alpha=0.1).fit(X, y).predict(X_test)
        for solver in ("cholesky", "pcg"):
            model = KernelRidge(kernel="rbf", alpha=0.1, solver=solver)
            out = model.fit(X.astype(np.float32), y).predict(X_test.astype(np.float32))
            assert out.dtype == model.dual_coef_.dtype == model.X_fit_.dtype
            assert out.dtype == np.float32
            # tol = 1e-5 of the solver, times a condition that alpha bounds by 700.
            assert_allclose(out, expected, atol=3e-4)


class TestShapes:
    def test_one_row(self):
        data = np.array([[1.0, 2.0]]), np.array([3.0]), np.array([[0.0, 1.0]])
        for solver in ("cholesky", "pcg"):
            assert_same(data, {"kernel": "rbf"}, ours={"solver": solver})

    def test_one_column(self, data):
        X, y, X_test = data
        assert_same((X[:, :1], y, X_test[:, :1]), {"kernel": "rbf"})

    def test_more_columns_than_rows(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(30, 200))
        for kernel in ("linear", "rbf", "laplacian"):
            data = X[:20], rng.normal(size=20), X[20:]
            assert_same(data, {"kernel": kernel, "alpha": 0.1})

    def test_constant_columns_and_repeated_rows(self, data):
        X, y, X_test = data
        X = np.column_stack([X, np.full(70, 1e3), np.zeros(70)])[np.r_[:70, :70]]
        X_test = np.column_stack([X_test, np.full(20, 1e3), np.zeros(20)])
        assert_same((X, np.r_[y, y + 1], X_test), {"kernel": "rbf", "alpha": 0.1})

    def test_attributes(self, data):
        X, y, _ = data
        Y = np.column_stack([y, y])
        model = KernelRidge(kernel="rbf").fit(X, Y)
        assert model.X_fit_.shape == X.shape
        assert model.dual_coef_.shape == (70, 2)
        assert model.n_features_in_ == 4
        model = KernelRidge(kernel="rbf", n_centers=10).fit(X, Y)
        assert model.X_fit_.shape == (10, 4)
        assert model.dual_coef_.shape == (10, 2)
        assert (model.X_fit_[:, None] == X[None]).all(axis=2).any(axis=1).all()


class TestSingular:
    """With alpha=0 the matrix may be singular: the answer of smallest norm."""

    def test_linear(self, data):
        X, y, X_test = data
        expected = X_test @ np.linalg.lstsq(X, y, rcond=None)[0]
        with pytest.warns(UserWarning, match="Singular matrix in solving dual"):
            model = KernelRidge(alpha=0).fit(X, y)
        assert_allclose(model.predict(X_test), expected, atol=1e-8)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_linear_with_conjugate_gradients(self, data, dtype):
        X, y, X_test = (a.astype(dtype) for a in data)
        expected = X_test @ np.linalg.lstsq(X, y, rcond=None)[0]
        with pytest.warns(ConvergenceWarning, match="use a larger alpha"):
            model = KernelRidge(alpha=0, solver="pcg", random_state=0).fit(X, y)
        assert_allclose(model.predict(X_test), expected, atol=1e-4)

    def test_repeated_rows_average_their_targets(self):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            X = rng.normal(size=(20, 3))
            y = rng.normal(size=20)
            model = KernelRidge(alpha=0, kernel="laplacian", gamma=1.0)
            with pytest.warns(UserWarning, match="Singular matrix"):
                model.fit(np.r_[X, X], np.r_[y, y + 0.5])
            assert_allclose(model.predict(X), y + 0.25, atol=1e-6)

    @pytest.mark.filterwarnings("error")
    def test_regular_matrix_is_interpolated(self, data):
        X, y, _ = data
        model = KernelRidge(alpha=0, kernel="laplacian").fit(X, y)
        assert_allclose(model.predict(X), y, atol=1e-8)


class TestPrecomputed:
    def test_as_in_scikit_learn(self, data):
        X, y, X_test = data
        data = pairwise_kernels(X, metric="rbf"), y, pairwise_kernels(X_test, X)
        assert_same(data, {"kernel": "precomputed", "alpha": 0.1})
        weights = np.arange(70.0)
        assert_same(data, {"kernel": "precomputed"}, sample_weight=weights)

    def test_equals_the_kernel_itself(self, data):
        X, y, X_test = data
        model = KernelRidge(kernel="precomputed").fit(pairwise_kernels(X), y)
        expected = KernelRidge(kernel="linear").fit(X, y).predict(X_test)
        assert_allclose(model.predict(X_test @ X.T), expected, atol=1e-8)

    def test_sparse_matrix(self, data):
        X, y, X_test = data
        K, K_test = (pairwise_kernels(a, X, metric="rbf") for a in (X, X_test))
        model = KernelRidge(kernel="precomputed").fit(sparse.csr_array(K), y)
        expected = Reference(kernel="precomputed").fit(K, y).predict(K_test)
        assert_allclose(model.predict(sparse.csr_array(K_test)), expected, atol=1e-8)

    def test_classifier(self, data):
        X, y, X_test = data
        K, K_test = (pairwise_kernels(a, X, metric="rbf") for a in (X, X_test))
        model = KernelRidgeClassifier(kernel="precomputed").fit(K, y > 0)
        expected = KernelRidgeClassifier(kernel="rbf").fit(X, y > 0)
        assert_allclose(
            model.decision_function(K_test), expected.decision_function(X_test)
        )

    def test_model_selection_splits_rows_and_columns(self, data):
        X, y, _ = data
        K = pairwise_kernels(X, metric="rbf")
        assert KernelRidge(kernel="precomputed").__sklearn_tags__().input_tags.pairwise
        assert not KernelRidge().__sklearn_tags__().input_tags.pairwise
        scores = cross_val_score(KernelRidge(kernel="precomputed"), K, y)
        assert_allclose(scores, cross_val_score(Reference(kernel="rbf"), X, y))
        search = GridSearchCV(
            KernelRidge(kernel="precomputed"), {"alpha": [0.01, 0.1, 1.0]}
        ).fit(K, y)
        reference = GridSearchCV(Reference(kernel="rbf"), {"alpha": [0.01, 0.1, 1.0]})
        assert search.best_params_ == reference.fit(X, y).best_params_

    @pytest.mark.parametrize("params", [{"solver": "pcg"}, {"n_centers": 5}])
    def test_options_that_do_not_apply(self, data, params):
        X, y, _ = data
        with pytest.raises(ValueError, match=r"precomputed.*solver='pcg' and n_cent"):
            KernelRidge(kernel="precomputed", **params).fit(X @ X.T, y)

    def test_not_square(self, data):
        X, y, _ = data
        with pytest.raises(ValueError, match="square"):
            KernelRidge(kernel="precomputed").fit(X, y)
        model = KernelRidge(kernel="precomputed").fit(X @ X.T, y)
        with pytest.raises(ValueError, match="70 features"):
            model.predict(X @ X[:9].T)


@pytest.fixture(scope="module")
def problem():
    """X, Y and weights to train on, X to predict at."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(420, 3))
    Y = np.column_stack([np.sin(3 * X[:, 0]), X[:, 1] ** 2])
    Y += 0.1 * rng.normal(size=Y.shape)
    return X[:400], Y[:400], np.linspace(0.2, 2, 400), X[400:]


class TestSolvers:
    @pytest.mark.parametrize("alpha", [1e-3, [1e-3, 1.0]])
    @pytest.mark.parametrize("weighted", [False, True])
    def test_conjugate_gradients_equal_cholesky(
        self, problem, alpha, weighted, device, asarray, host
    ):
        X, Y, weights, X_test = problem
        weights = weights if weighted else None
        exact, iterative = (
            KernelRidge(alpha, kernel="rbf", solver=solver, tol=1e-10, device=device)
            .fit(X, Y, weights)
            .predict(X_test)
            for solver in ("cholesky", "pcg")
        )
        reference = Reference(alpha, kernel="rbf").fit(X, Y, weights)
        assert_allclose(exact, reference.predict(X_test), atol=1e-8)
        # Residual 1e-10 |y|, |y| = 15, over alpha: what the coefficients may be off.
        assert_allclose(iterative, exact, atol=1e-6)

    @pytest.mark.parametrize("alpha", [1e-3, [1e-3, 1.0]])
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("solver", ["pcg", "cholesky"])
    def test_centers_minimise_the_objective(
        self, problem, alpha, weighted, solver, device
    ):
        """Against the minimiser over functions of the centres, in float64.

        The centres are close: their matrix is singular to rounding, the values that
        it gives are not.
        """
        X, Y, weights, X_test = problem
        weights = weights if weighted else np.ones(400)
        Z = X[:60]
        model = KernelRidge(
            alpha, kernel="rbf", n_centers=Z, solver=solver, tol=1e-12, device=device
        ).fit(X, Y, weights)
        K, M, K_test = (pairwise_kernels(a, Z, metric="rbf") for a in (X, Z, X_test))
        values, V = np.linalg.eigh(M)
        features = V[:, values > 1e-13] / np.sqrt(values[values > 1e-13])
        for c, a in enumerate(np.broadcast_to(alpha, 2)):
            # Ridge regression in features with the kernel as inner product.
            rows = np.sqrt(weights)[:, None] * (K @ features)
            rows = np.r_[rows, np.sqrt(a) * np.eye(features.shape[1])]
            right = np.r_[np.sqrt(weights) * Y[:, c], np.zeros(features.shape[1])]
            w = np.linalg.lstsq(rows, right, rcond=None)[0]
            expected = K_test @ (features @ w)
            assert_allclose(model.predict(X_test)[:, c], expected, atol=2e-6)

    def test_all_rows_as_centers_is_the_full_problem(self, problem):
        X, Y, _, X_test = problem
        full = KernelRidge(0.1, kernel="rbf").fit(X, Y)
        of_rows = KernelRidge(0.1, kernel="rbf", n_centers=X, tol=1e-12).fit(X, Y)
        assert_allclose(of_rows.predict(X_test), full.predict(X_test), atol=1e-6)
        of_share = KernelRidge(0.1, kernel="rbf", n_centers=1.0).fit(X, Y)
        assert of_share.X_fit_.shape == X.shape

    def test_wide_kernel_in_float32(self):
        """The centres' matrix has fewer digits than float32 products lose."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((1500, 4))
        y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2 + 0.1 * rng.standard_normal(1500)
        options = {"kernel": "rbf", "gamma": 1e-4, "n_centers": 200, "random_state": 0}
        exact = KernelRidge(1e-3, solver="cholesky", **options).fit(X, y).score(X, y)
        X = X.astype(np.float32)
        for solver, slack in (("pcg", 0.03), ("cholesky", 0.01)):
            model = KernelRidge(1e-3, solver=solver, **options).fit(X, y)
            assert model.dual_coef_.dtype == np.float32
            assert model.score(X, y) > exact - slack

    @pytest.mark.parametrize("n_centers, expected", [(7, 7), (0.25, 100), (1e-9, 1)])
    def test_number_of_centers(self, problem, n_centers, expected):
        X, Y, *_ = problem
        model = KernelRidge(kernel="rbf", n_centers=n_centers).fit(X, Y)
        assert model.X_fit_.shape == (expected, 3)

    def test_centers_of_any_array_like(self, problem):
        X, Y, _, X_test = problem
        Z = X[:5]
        expected = KernelRidge(kernel="rbf", n_centers=Z).fit(X, Y).predict(X_test)
        for given in (Z.tolist(), pd.DataFrame(Z), np.asfortranarray(Z)):
            model = KernelRidge(kernel="rbf", n_centers=given).fit(X, Y)
            assert_allclose(model.predict(X_test), expected)

    def test_random_state(self, problem):
        X, Y, *_ = problem

        def fit(seed):
            model = KernelRidge(kernel="rbf", n_centers=9, random_state=seed)
            return model.fit(X, Y).X_fit_

        np.testing.assert_array_equal(fit(0), fit(0))
        assert (fit(0) != fit(1)).any()
        np.testing.assert_array_equal(
            fit(np.random.RandomState(3)), fit(np.random.RandomState(3))
        )

    def test_which_solver(self, problem):
        X, Y, *_ = problem
        assert KernelRidge(kernel="rbf").fit(X, Y).solver_ == "cholesky"
        assert KernelRidge(kernel="rbf", n_centers=9).fit(X, Y).solver_ == "pcg"
        for solver in ("pcg", "cholesky"):
            assert KernelRidge(solver=solver).fit(X, Y).solver_ == solver
        # The matrix and its factor take 2.4 MiB.
        with config_context(working_memory=2):
            model = KernelRidge(kernel="rbf").fit(X, Y)
        assert model.solver_ == "pcg"
        assert model.n_iter_ > 1

    def test_warns_when_it_has_not_converged(self, problem):
        X, Y, *_ = problem
        model = KernelRidge(1e-9, kernel="laplacian", solver="pcg", max_iter=2)
        with pytest.warns(ConvergenceWarning, match="max_iter"):
            model.fit(X, Y)
        assert model.n_iter_ == 2
        assert np.isfinite(model.predict(X)).all()
        model.set_params(n_centers=200)
        with pytest.warns(ConvergenceWarning, match="max_iter"):
            model.fit(X, Y)

    @pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
    def test_converges_with_its_defaults(self, problem):
        X, Y, *_ = problem
        for dtype in (np.float32, np.float64):
            for kernel in ("rbf", "laplacian", "linear"):
                model = KernelRidge(kernel=kernel, solver="pcg").fit(X.astype(dtype), Y)
                assert model.n_iter_ < 50

    def test_verbose(self, problem, capsys):
        X, Y, *_ = problem
        KernelRidge(kernel="rbf", n_centers=9, verbose=1).fit(X, Y)
        assert "solver=pcg, 9 centers" in capsys.readouterr().out


def test_indefinite_kernel_with_conjugate_gradients(data):
    """Not positive definite: an error or the answer, never NaN."""
    X, y, X_test = data
    for gamma in (0.1, 1.0, 10.0):
        model = KernelRidge(
            1e-3, kernel="sigmoid", gamma=gamma, coef0=-1.0, solver="pcg"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                out = model.fit(X - 0.5, y).predict(X_test - 0.5)
            except ValueError as error:
                assert "positive definite" in str(error)
            else:
                assert np.isfinite(out).all()
