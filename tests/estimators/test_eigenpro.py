"""EigenPro converges to the interpolant, whatever its centres, batches and data."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, DotProduct, Matern
from sklearn.metrics import r2_score

from gpkern import EigenProClassifier, EigenProRegressor, KernelRidge
from gpkern.algorithms import eigenpro as algorithm

# The Laplacian of the EigenPro papers: eigenvalues that fall slowly.
LAPLACIAN = Matern(1.0, nu=0.5)


@pytest.fixture(scope="module")
def plane():
    """X, y without noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2))
    return X, np.sin(X[:, 0]) + 0.5 * X[:, 1]


class TestInterpolation:
    """All rows as centres and many epochs: K alpha = y, centred."""

    @pytest.mark.parametrize("batch_size", ["auto", 20, 200])
    def test_converges(self, plane, batch_size, device):
        X, y = plane
        model = EigenProRegressor(
            LAPLACIAN,
            n_epochs=200,
            batch_size=batch_size,
            random_state=0,
            device=device,
        ).fit(X, y)
        assert_allclose(model.predict(X), y, atol=1e-3)
        expected = np.linalg.solve(LAPLACIAN(X), y - y.mean())
        assert_allclose(model.dual_coef_, expected, atol=0.02 * abs(expected).max())
        assert_allclose(model.intercept_, y.mean())
        assert model.loss_curve_[-1] < 1e-7 * model.loss_curve_[0]
        assert model.n_iter_ == len(model.loss_curve_) == model.best_iter_ == 200

    @pytest.mark.parametrize("period", ["delayed", "each batch"])
    def test_centers_converge_too(self, plane, period, monkeypatch, device):
        """Centres equal to the rows: EigenPro 4 and 3 have the limit of EigenPro 2."""
        X, y = plane
        # "auto" batches of about 100 rows: one projection an epoch, or two.
        batch_size = 20 if period == "delayed" else 100
        model = EigenProRegressor(
            LAPLACIAN,
            n_centers=X,
            n_epochs=200,
            batch_size=batch_size,
            random_state=0,
            device=device,
        ).fit(X, y)
        assert_allclose(model.predict(X), y, atol=1e-2)
        assert model.loss_curve_[-1] < 1e-5 * model.loss_curve_[0]

    def test_few_centers_give_the_least_squares_fit(self, plane):
        X, y = plane
        Z = X[::5]
        model = EigenProRegressor(LAPLACIAN, n_centers=Z, n_epochs=300, random_state=0)
        out = model.fit(X, y).predict(X)
        w = np.linalg.lstsq(LAPLACIAN(X, Z), y - y.mean(), rcond=None)[0]
        best = LAPLACIAN(X, Z) @ w + y.mean()
        assert ((out - y) ** 2).mean() < 1.3 * ((best - y) ** 2).mean()

    @pytest.mark.parametrize("period", [1, 4, 16])
    def test_delay_of_projections_changes_little(self, plane, period, monkeypatch):
        X, y = plane
        machines = []
        assemble = algorithm.assemble

        def with_period(*args):
            machine = assemble(*args)
            machine.model.period = period
            machines.append(machine)
            return machine

        import gpkern.estimators._eigenpro_base as base

        monkeypatch.setattr(base, "assemble", with_period)
        model = EigenProRegressor(
            LAPLACIAN, n_centers=X[:50], n_epochs=10, batch_size=10, random_state=0
        ).fit(X, y)
        assert isinstance(machines[0].model, algorithm.DelayedProjection)
        w = np.linalg.lstsq(LAPLACIAN(X, X[:50]), y - y.mean(), rcond=None)[0]
        best = ((LAPLACIAN(X, X[:50]) @ w + y.mean() - y) ** 2).mean()
        assert ((model.predict(X) - y) ** 2).mean() < 3 * best

    def test_projection_without_a_factor(self, plane, monkeypatch):
        """Too many centres for a dense factor: projections by conjugate gradients."""
        X, y = plane
        Z = X[:100]
        monkeypatch.setattr(
            "gpkern._device.Device.dense_bytes", lambda device: 16 * 100**2 - 1
        )
        called = []
        monkeypatch.setattr(algorithm, "cholesky_projection", called.append)
        model = EigenProRegressor(LAPLACIAN, n_centers=Z, n_epochs=60, random_state=0)
        model.fit(X, y)
        assert not called
        w = np.linalg.lstsq(LAPLACIAN(X, Z), y - y.mean(), rcond=None)[0]
        best = ((LAPLACIAN(X, Z) @ w + y.mean() - y) ** 2).mean()
        assert ((model.predict(X) - y) ** 2).mean() < 1.5 * best


class TestAccuracy:
    @pytest.mark.parametrize(
        "kernel", [Matern(1.0, nu=0.5), Matern(2.0, nu=1.5), RBF(1.0)], ids=str
    )
    def test_as_good_as_kernel_ridge(self, friedman, kernel):
        """With early stopping in the place of the penalty."""
        X, y, X_test, y_test = friedman
        ridge = max(
            KernelRidge(alpha, kernel=kernel).fit(X, y).score(X_test, y_test)
            for alpha in (1e-3, 1e-2, 1e-1, 1.0)
        )
        model = EigenProRegressor(
            kernel, n_epochs=50, early_stopping=True, random_state=0
        )
        # A tenth of the rows is held out.
        assert model.fit(X, y).score(X_test, y_test) > ridge - 0.03

    @pytest.mark.parametrize("n_centers", [100, 0.25])
    def test_as_good_as_falkon(self, friedman, n_centers):
        X, y, X_test, y_test = friedman
        options = {"kernel": Matern(2.0, nu=1.5), "n_centers": n_centers}
        ridge = KernelRidge(0.01, **options, random_state=0).fit(X, y)
        model = EigenProRegressor(**options, n_epochs=30, random_state=0).fit(X, y)
        assert model.centers_.shape == (100, 5)
        assert model.score(X_test, y_test) > ridge.score(X_test, y_test) - 0.03

    @pytest.mark.slow
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_centers", [None, 200])
    @pytest.mark.parametrize("length_scale", [3.0, 30.0, 300.0, 3000.0])
    def test_wide_kernels(self, dtype, n_centers, length_scale):
        """Most eigenvalues drown in rounding; what is left learns a plane at once."""
        rng = np.random.default_rng(0)
        X = rng.normal(size=(1000, 10)).astype(dtype)
        y = X[:, 0] + 0.1 * X[:, 1]
        model = EigenProRegressor(
            RBF(length_scale), n_centers=n_centers, n_epochs=20, random_state=0
        ).fit(X, y)
        at_least = {3.0: 0.95, 30.0: 0.95, 300.0: 0.1, 3000.0: 0.0}
        assert model.score(X, y) > at_least[length_scale]
        floor = {np.float32: 1e-6, np.float64: 1e-12}[dtype]
        used = model.eigenvalues_[:-1]
        assert (used > floor * model.eigenvalues_[0]).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_centers", [None, 0.5])
    def test_defaults_on_easy_classes(self, dtype, n_centers):
        rng = np.random.default_rng(0)
        codes = rng.integers(0, 3, 300)
        X = (rng.normal(size=(300, 2)) + 5 * np.eye(3)[codes, :2]).astype(dtype)
        model = EigenProClassifier(n_centers=n_centers, random_state=0).fit(X, codes)
        assert model.score(X, codes) > 0.97

    def test_shifted_data(self, friedman):
        """Far from the origin float32 has few digits left for the distances."""
        X, y, X_test, y_test = friedman
        here = EigenProRegressor(LAPLACIAN, random_state=0).fit(X, y)
        X, X_test = ((a + 100).astype(np.float32) for a in (X, X_test))
        there = EigenProRegressor(LAPLACIAN, random_state=0).fit(X, y)
        score = here.score(friedman[2], y_test)
        assert abs(there.score(X_test, y_test) - score) < 0.01

    @pytest.mark.parametrize("n_centers", [None, 0.5])
    def test_float32_is_float64_to_its_digits(self, friedman, n_centers):
        X, y, X_test, _ = friedman
        out = {}
        for dtype in (np.float32, np.float64):
            model = EigenProRegressor(LAPLACIAN, n_centers=n_centers, random_state=0)
            out[dtype] = model.fit(X.astype(dtype), y).predict(X_test.astype(dtype))
            assert model.dual_coef_.dtype == out[dtype].dtype == dtype
            assert model.centers_.dtype == dtype
        assert_allclose(out[np.float32], out[np.float64], atol=1e-3 * np.std(y))


class TestData:
    @pytest.mark.parametrize("n", [1, 2, 3])
    @pytest.mark.parametrize("n_centers", [None, 1, 1.0])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_few_rows(self, n, n_centers, dtype):
        X = np.arange(n, dtype=dtype)[:, None]
        y = X[:, 0] ** 2
        model = EigenProRegressor(
            LAPLACIAN, n_centers=n_centers, n_epochs=100, random_state=0
        ).fit(X, y)
        if n_centers != 1 or n == 1:
            assert_allclose(model.predict(X), y, atol=1e-4)
        assert np.isfinite(model.predict(X)).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_centers", [None, 20])
    @pytest.mark.parametrize("value", [0.0, 0.1, -7.0, 1e8])
    def test_constant_target(self, plane, dtype, n_centers, value):
        X, _ = plane
        model = EigenProRegressor(n_centers=n_centers, random_state=0)
        model.fit(X.astype(dtype), np.full(200, value))
        out = model.predict(X.astype(dtype))
        assert_allclose(out, value, rtol=1e-6 if dtype == np.float32 else 1e-14)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("n_centers", [None, 0.1, 0.9])
    def test_repeated_rows_and_constant_columns(self, plane, dtype, n_centers):
        X, y = plane
        X = np.column_stack([X, np.full(200, 7.0), np.zeros(200)])[np.r_[:200, :200]]
        model = EigenProRegressor(
            LAPLACIAN, n_centers=n_centers, n_epochs=30, random_state=0
        ).fit(X.astype(dtype), np.r_[y, y])
        assert model.score(X.astype(dtype), np.r_[y, y]) > 0.9

    @pytest.mark.parametrize("n_centers", [None, 20])
    def test_all_rows_equal(self, n_centers):
        y = np.random.default_rng(0).normal(size=100)
        model = EigenProRegressor(n_centers=n_centers, n_epochs=50, random_state=0)
        out = model.fit(np.ones((100, 3)), y).predict(np.ones((2, 3)))
        # Two rows a batch: stochastic gradients wander about the mean.
        assert_allclose(out, y.mean(), atol=10 * y.std())

    @pytest.mark.parametrize("batch_size", ["auto", 10])
    def test_outliers_are_not_divergence(self, plane, batch_size):
        X, _ = plane
        y = np.random.default_rng(0).standard_cauchy(200) ** 3
        model = EigenProRegressor(
            LAPLACIAN, n_epochs=100, batch_size=batch_size, random_state=0
        )
        assert model.fit(X, y).score(X, y) > 0.99

    @pytest.mark.parametrize("batch_size", [1, 10, 200])
    def test_noise_is_not_divergence(self, plane, batch_size):
        X, _ = plane
        y = np.random.default_rng(0).normal(size=200)
        model = EigenProRegressor(LAPLACIAN, batch_size=batch_size, random_state=0)
        assert np.isfinite(model.fit(X, y).predict(X)).all()

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("scale", [1e-30, 1e-10, 1e10, 1e30])
    def test_scale_of_the_target(self, plane, dtype, scale):
        X, y = plane
        X = X.astype(dtype)
        model = EigenProRegressor(LAPLACIAN, random_state=0)
        expected = model.fit(X, y).predict(X)
        scaled = model.fit(X, y * scale).predict(X).astype(np.float64)
        assert_allclose(scaled / scale, expected, atol=1e-4)

    def test_shapes_of_targets(self, plane):
        X, y = plane

        def fit(y):
            return EigenProRegressor(LAPLACIAN, random_state=0).fit(X, y)

        flat, column = fit(y), fit(y[:, None])
        assert flat.predict(X).shape == flat.dual_coef_.shape == (200,)
        assert isinstance(flat.intercept_, float)
        assert column.predict(X).shape == column.dual_coef_.shape == (200, 1)
        assert column.intercept_.shape == (1,)
        assert_allclose(column.predict(X)[:, 0], flat.predict(X))
        several = fit(np.column_stack([y, 2 * y + 3, -y]))
        assert several.predict(X).shape == several.dual_coef_.shape == (200, 3)
        expected = np.outer(flat.predict(X), [1, 2, -1]) + np.array([0, 3, 0])
        assert_allclose(several.predict(X), expected, atol=1e-10)

    @pytest.mark.parametrize("n_centers", [None, 50])
    def test_csr(self, plane, n_centers):
        X, y = plane
        X = np.where(abs(X) < 0.5, 0.0, X)
        model = EigenProRegressor(LAPLACIAN, n_centers=n_centers, random_state=0)
        expected = model.fit(X, y).predict(X)
        model.fit(sparse.csr_array(X), y)
        assert_allclose(model.predict(X), expected, atol=1e-6)
        assert_allclose(model.predict(sparse.csr_array(X)), expected, atol=1e-6)
        assert sparse.issparse(model.centers_)

    def test_more_columns_than_rows(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(50, 300))
        model = EigenProRegressor(length_scale="median", n_epochs=100, random_state=0)
        assert model.fit(X, X[:, 0]).score(X, X[:, 0]) > 0.99


class TestDivergence:
    """A clear error or an answer, nothing far worse than the mean."""

    @pytest.mark.parametrize("n_epochs", [1, 10])
    @pytest.mark.parametrize("batch_size", ["auto", 1, 7, 200])
    @pytest.mark.parametrize("n_centers", [None, 50])
    @pytest.mark.parametrize(
        "kernel, params",
        [
            ("sigmoid", {"gamma": 5.0, "coef0": -1.0}),
            ("sigmoid", {"gamma": 0.1, "coef0": 1.0}),
            ("poly", {"gamma": 10.0, "degree": 4}),
            (DotProduct(0.1) ** 3, {}),
        ],
        ids=["indefinite", "slightly indefinite", "steep", "cubic"],
    )
    def test_kernels(self, plane, n_epochs, batch_size, n_centers, kernel, params):
        X, y = plane
        model = EigenProRegressor(
            kernel,
            **params,
            n_centers=n_centers,
            n_epochs=n_epochs,
            batch_size=batch_size,
            random_state=0,
        )
        try:
            out = model.fit(X, y).predict(X)
        except ValueError as error:
            assert "positive definite" in str(error)
            assert kernel == "sigmoid"
        else:
            assert r2_score(y, out) > -2

    @pytest.mark.parametrize("n_centers", [None, 50])
    def test_wrong_preconditioners(self, plane, n_centers):
        """Few rows for many vectors: the directions do not fit the other rows."""
        X, y = plane
        for n_subsamples in (2, 10, 50):
            model = EigenProRegressor(
                RBF(0.3),
                n_centers=n_centers,
                n_subsamples=n_subsamples,
                n_eigencomponents=n_subsamples - 1,
                batch_size=200,
                n_epochs=20,
                random_state=0,
            )
            assert model.fit(X, y).score(X, y) > 0

    def test_step_is_halved_until_it_converges(self, plane, monkeypatch):
        X, y = plane
        step = algorithm.Preconditioner.step
        monkeypatch.setattr(
            algorithm.Preconditioner, "step", lambda *args: 16 * step(*args)
        )
        model = EigenProRegressor(LAPLACIAN, n_epochs=20, random_state=0).fit(X, y)
        assert model.score(X, y) > 0.9
        monkeypatch.undo()
        expected = EigenProRegressor(LAPLACIAN, random_state=0).fit(X, y)
        assert model.learning_rate_ <= 2 * expected.learning_rate_

    def test_no_step_converges(self, plane, monkeypatch):
        X, y = plane
        monkeypatch.setattr(algorithm.Preconditioner, "step", lambda *args: -1e6)
        model = EigenProRegressor(LAPLACIAN)
        with pytest.raises(ValueError, match="EigenProRegressor did not converge"):
            model.fit(X, y)
        assert not [name for name in vars(model) if name.endswith("_")]


class TestOptions:
    def test_reproducible(self, plane, eigenpro):
        X, y = plane
        y = (y > 0) * 1.0

        def fit(seed):
            eigenpro.set_params(random_state=seed, n_epochs=2)
            return eigenpro.fit(X, y).predict(X), eigenpro.dual_coef_

        for a, b in zip(fit(0), fit(0), strict=True):
            np.testing.assert_array_equal(a, b)
        assert (fit(0)[1] != fit(1)[1]).any()
        a, b = (fit(np.random.RandomState(5))[1] for _ in range(2))
        np.testing.assert_array_equal(a, b)

    @pytest.mark.parametrize("n_centers, expected", [(7, 7), (0.25, 50), (1e-9, 1)])
    def test_number_of_centers(self, plane, n_centers, expected):
        X, y = plane
        model = EigenProRegressor(n_centers=n_centers, random_state=0).fit(X, y)
        assert model.centers_.shape == (expected, 2)
        assert (model.centers_[:, None] == X[None]).all(axis=2).any(axis=1).all()

    def test_given_centers(self, plane):
        X, y = plane
        Z = np.random.default_rng(1).normal(size=(30, 2))
        model = EigenProRegressor(LAPLACIAN, n_centers=Z, random_state=0).fit(X, y)
        assert_allclose(model.centers_, Z)
        assert model.score(X, y) > 0.9
        again = EigenProRegressor(LAPLACIAN, n_centers=Z.tolist(), random_state=0)
        assert_allclose(again.fit(X, y).predict(X), model.predict(X))

    @pytest.mark.parametrize("batch_size", [1, 13, 200, 10_000])
    def test_batch_size(self, plane, batch_size):
        X, y = plane
        model = EigenProRegressor(LAPLACIAN, batch_size=batch_size, random_state=0)
        assert model.fit(X, y).score(X, y) > 0.9
        assert model.batch_size_ == min(batch_size, 200)

    @pytest.mark.parametrize("q", [0, 1, 30, 10_000])
    def test_rank_of_the_preconditioner(self, plane, q):
        X, y = plane
        model = EigenProRegressor(
            LAPLACIAN, n_eigencomponents=q, n_epochs=30, random_state=0
        ).fit(X, y)
        assert model.score(X, y) > 0.9
        # No more than pay.
        assert len(model.eigenvalues_) <= min(q, 50) + 1
        assert (np.diff(model.eigenvalues_) <= 0).all()

    def test_eigenvalues_are_those_of_the_matrix(self, plane):
        X, y = plane
        model = EigenProRegressor(LAPLACIAN, n_eigencomponents=20, batch_size=200)
        model.fit(X, y)
        expected = np.linalg.eigvalsh(LAPLACIAN(X) / 200)[::-1][:21]
        assert_allclose(model.eigenvalues_, expected)

    def test_preconditioning_saves_epochs(self, plane):
        X, y = plane
        losses = [
            EigenProRegressor(
                LAPLACIAN, n_eigencomponents=q, batch_size=200, random_state=0
            )
            .fit(X, y)
            .loss_curve_[-1]
            for q in (0, 20)
        ]
        assert losses[1] < 0.05 * losses[0]

    def test_callable_kernel(self, plane):
        X, y = plane
        X, y = X[:40], y[:40]

        def laplacian(x, z, scale):
            return float(np.exp(-np.linalg.norm(x - z) / scale))

        model = EigenProRegressor(
            laplacian, kernel_params={"scale": 1.0}, n_epochs=3, random_state=0
        ).fit(X, y)
        expected = EigenProRegressor(LAPLACIAN, n_epochs=3, random_state=0).fit(X, y)
        assert_allclose(model.predict(X), expected.predict(X), atol=1e-10)
