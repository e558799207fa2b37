"""Parts of EigenPro: preconditioner, rank, step, batches, averages, projections."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import KernelOperator
from gpkern._device import select
from gpkern.algorithms import eigenpro as ep
from gpkern.algorithms.preconditioner import Rank, fit_preconditioner
from gpkern.algorithms.spectrum import top_eigenpairs
from gpkern.algorithms.training import RowSource, Rule, batches, train
from gpkern.kernels import RBF, Matern

CPU = select("cpu")
rng = np.random.default_rng(0)
X = rng.normal(size=(400, 2))
Y = (np.sin(X[:, :1]) + 0.5 * X[:, 1:]) * np.ones((1, 2))


def learnt(kernel, rows, rank=10, exponent=1.0, batch=40):
    data = RowSource(X, Y, CPU)
    return fit_preconditioner(
        kernel,
        data,
        rows,
        CPU,
        Rank(rank, batch),
        exponent,
        np.random.RandomState(0),
    )


class TestPreconditioner:
    kernel = Matern(1.5, nu=0.5)

    def preconditioned(self, p, rows):
        return self.preconditioned_by(self.kernel, p, rows)

    def preconditioned_by(self, kernel, p, rows):
        """The operator ``I - E D E' K`` applied to K, on these rows."""
        G = kernel(rows, np.asarray(p.operator.matrix_.Z.source)) @ p.vectors
        return kernel(rows) - (G * p.weights) @ G.T

    @pytest.mark.parametrize("exponent", [0.95, 1.0])
    def test_spectrum_of_its_own_rows(self, exponent):
        """Leading eigenvalues are damped to the tail's; the others stay."""
        p = learnt(self.kernel, np.arange(400), exponent=exponent, batch=10_000)
        before = np.linalg.eigvalsh(self.kernel(X))[::-1] / 400
        assert_allclose(p.eigenvalues, before[:11], rtol=1e-6)
        after = np.linalg.eigvalsh(self.preconditioned(p, X))[::-1] / 400
        damped = before[:10] * (before[10] / before[:10]) ** exponent
        expected = np.sort(np.concatenate([damped, before[10:]]))[::-1]
        assert_allclose(after, expected, rtol=1e-5, atol=1e-8)
        assert_allclose(p.top, expected[0], rtol=1e-5)
        left = self.preconditioned(p, X).diagonal().max()
        assert p.beta == pytest.approx(min(1.0, 2.0 * left))

    def test_level_of_a_small_batch(self):
        """No lower than where a batch can follow: what it leaves of k(x, x), over m."""
        p = learnt(self.kernel, np.arange(400), rank=100)
        assert len(p.eigenvalues) < 50
        level = p.eigenvalues[-1]
        left = self.preconditioned(p, X).diagonal().max()
        assert level == pytest.approx(min(1.0, 2.0 * left) / 40, rel=0.2)
        assert (p.eigenvalues[:-1] > level).all()

    def test_low_rank(self):
        """Nothing is left but rounding, and the step is as long as that allows."""
        p = learnt(lambda A, B: A @ B.T, np.arange(400))
        assert len(p.eigenvalues) == 3  # two, and the level
        assert p.beta < 1e-10
        assert p.step(40) * 40 * p.eigenvalues[-1] > 0.5

    def test_rows_unlike_the_others_take_short_steps(self):
        """Every row is looked at before a step becomes longer than k(x, x) allows."""
        rows = np.concatenate([np.tile(X, (4, 1)), [[300.0, 300.0]]])
        data = RowSource(rows, np.zeros((1601, 1)), CPU)
        sample, state = np.arange(0, 1600, 16), np.random.RandomState(0)
        p = fit_preconditioner(RBF(30.0), data, sample, CPU, Rank(10, 40), 1.0, state)
        left = self.preconditioned_by(RBF(30.0), p, rows).diagonal()
        assert p.beta < 0.1 and left[-1] == pytest.approx(1.0)
        assert (p.row_weights * left <= p.beta * (1 + 1e-6)).all()
        assert (p.row_weights[:-1] == 1.0).mean() > 0.99

    def test_a_stream_may_bring_other_rows(self):
        data = RowSource(X, Y, CPU, is_open=True)
        rows, rank = np.arange(0, 400, 4), Rank(10, 40)
        state = np.random.RandomState(0)
        p = fit_preconditioner(RBF(30.0), data, rows, CPU, rank, 1.0, state)
        assert p.beta >= 0.5

    def test_top_on_other_rows_is_measured(self):
        """Few rows for many vectors: the sample's own tail promises too much."""
        p = learnt(self.kernel, np.arange(0, 400, 10), rank=30, batch=10_000)
        after = np.linalg.eigvalsh(self.preconditioned(p, X))[-1]
        assert p.top > 2 * p.eigenvalues[-1]
        # A batch of m rows: at most beta + (m - 1) top.
        assert p.beta + 399 * p.top >= 0.95 * after

    @pytest.mark.parametrize("batch", [1, 10, 100, 400])
    def test_steps_converge(self, batch):
        p = learnt(self.kernel, np.arange(0, 400, 2))
        part = X[rng.choice(400, batch, replace=False)]
        largest = np.linalg.eigvalsh(self.preconditioned(p, part))[-1]
        assert p.step(batch) * largest < 2
        assert p.step(batch) <= 1 / p.beta

    def test_critical_batch_is_the_largest_of_full_steps(self):
        p = learnt(self.kernel, np.arange(0, 400, 2))
        m = p.critical_batch
        assert p.step(m) == pytest.approx(1 / p.beta)
        assert p.step(2 * m) < 0.9 / p.beta

    def test_directions_and_spread(self):
        p = learnt(self.kernel, np.arange(0, 400, 2))
        part, r = X[:30], rng.normal(size=(30, 2))
        K = self.kernel(part, X[::2])
        u = p.directions(part, r)
        assert_allclose(u, p.vectors.T @ (K.T @ r), atol=1e-10)
        assert_allclose(p.spread(u), p.vectors @ (p.weights[:, None] * u), atol=1e-12)


class TestRank:
    values = np.array([0.5, 0.1, 0.05, 0.01, 0.001])

    @pytest.mark.parametrize(
        ("left", "expected"),
        [([1.0] * 6, [2, 3]), ([1.0, 0.4, 0.2, 0.2, 0.2, 0.2], [3, 4])],
    )
    def test_as_many_as_a_batch_can_use(self, left, expected):
        left = np.array(left)
        assert [Rank("auto", m).of(self.values, left) for m in (15, 30)] == expected

    def test_at_most(self):
        assert Rank(2, 1000).at_most(100) == 2
        assert Rank(200, 1000).at_most(100) == 99
        assert Rank("auto", 1000).at_most(100) == 20

    def test_level(self):
        assert Rank("auto", 10).level(0.01, 1.0) == 0.1
        assert Rank("auto", 10).level(0.5, 1.0) == 0.5


@pytest.mark.parametrize("s", [300, pytest.param(3200, marks=pytest.mark.slow)])
def test_top_eigenpairs(s, factors, asarray, host, xp):
    """By LAPACK, and beyond its size by subspace iteration."""
    Z = np.random.default_rng(0).normal(size=(s, 3))
    K = Matern(2.0, nu=1.5)(Z) / s
    values, vectors = top_eigenpairs(
        asarray(K.copy()), 20, factors, xp, np.random.RandomState(0)
    )
    exact = np.linalg.eigvalsh(K)[::-1][:20]
    rtol = 1e-10 if s == 300 else 1e-4
    assert_allclose(host(values), exact, rtol=rtol)
    vectors = host(vectors)
    assert_allclose(vectors.T @ vectors, np.eye(20), atol=1e-10)
    assert_allclose(K @ vectors, vectors * exact, atol=rtol)


class TestBatches:
    @pytest.mark.parametrize("in_runs", [False, True])
    @pytest.mark.parametrize(("n", "size"), [(10, 3), (100, 100), (1000, 64), (7, 50)])
    def test_every_row_once(self, n, size, in_runs):
        count, parts = batches(n, size, np.random.RandomState(0), in_runs)
        parts = list(parts)
        assert len(parts) == count
        assert_array_equal(np.sort(np.concatenate(parts)), np.arange(n))
        assert all((np.diff(p) > 0).all() for p in parts)
        assert max(map(len, parts)) <= max(size, 1)

    def test_runs_are_contiguous(self):
        _, parts = batches(10_000, 320, np.random.RandomState(0), in_runs=True)
        cuts = np.count_nonzero(np.diff(next(parts)) > 1)
        assert cuts <= 32


class TestAverage:
    def run(self, n_epochs, noise=0.0):
        targets = Y + noise * np.random.default_rng(1).normal(size=Y.shape)
        data = RowSource(X, targets, CPU)
        machine = ep.assemble(
            RBF(0.7),
            data,
            None,
            np.zeros_like(Y),
            ep.Options(batch_size=20),
            CPU,
            np.random.RandomState(0),
        )
        states = []

        def update(*args, update=machine.model.update):
            out = update(*args)
            states.append(machine.model.coef.copy())
            return out

        machine.model.update = update
        history = train(
            machine.model,
            data,
            machine.batch_size,
            machine.step,
            Rule(n_epochs),
            np.random.RandomState(0),
        )
        return history, states, machine

    def test_is_that_of_the_second_half(self):
        history, states, machine = self.run(2)
        assert len(states) == 40
        assert_allclose(history.coef, np.mean(states[30:], axis=0), atol=1e-12)
        # The model itself goes on from the last iterate.
        assert_array_equal(machine.model.coef, states[-1])

    def test_lowers_the_error_on_noise(self):
        history, states, _ = self.run(3, noise=1.0)
        test = np.random.default_rng(5).normal(size=(300, 2))
        K = RBF(0.7)(test, X)
        truth = np.sin(test[:, :1]) + 0.5 * test[:, 1:]
        averaged = ((K @ history.coef - truth) ** 2).mean()
        last = ((K @ states[-1] - truth) ** 2).mean()
        assert averaged < 0.8 * last


class TestProjection:
    Z = X[:80]

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("way", ["cholesky", "iterative"])
    def test_solves_for_the_centers(self, way, dtype):
        kernel, Z = Matern(1.0, nu=0.5), self.Z.astype(dtype)
        h = kernel(Z.astype(float)) @ rng.normal(size=(80, 2))
        if way == "cholesky":
            project = ep.cholesky_projection(kernel, Z, CPU)
        else:
            operator, state = KernelOperator(kernel, Z), np.random.RandomState(0)
            project = ep.iterative_projection(operator, Z, 10, state)
        theta = project(h.astype(dtype))
        assert theta.dtype == dtype
        tol = 1e-4 if dtype == np.float32 or way == "iterative" else 1e-8
        assert_allclose(kernel(Z.astype(float)) @ theta, h, atol=tol * abs(h).max())

    def test_repeated_centers(self):
        """A singular matrix: a jitter, and still small residuals."""
        kernel, Z = Matern(1.0, nu=0.5), np.repeat(self.Z[:20], 3, axis=0)
        h = kernel(Z) @ rng.normal(size=(60, 1))
        theta = ep.cholesky_projection(kernel, Z, CPU)(h)
        assert_allclose(kernel(Z) @ theta, h, atol=1e-6 * abs(h).max())
