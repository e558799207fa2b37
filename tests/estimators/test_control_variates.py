"""`SteinControlVariates` against dense solves, known integrals, and its edges."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg, stats
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, Matern
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import SteinControlVariates
from gpkern._device import select
from gpkern.algorithms import integrand_choices as choices
from gpkern.kernels import SteinKernel
from gpkern.targets import Target


def standard_normal(X):
    return -X


def rows(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def dense(X, S, scale):
    """Stein kernel of an RBF by its formula."""
    away = X[:, None] - X[None]
    r, d = (away**2).sum(axis=2), X.shape[1]
    phi = np.exp(-0.5 * r / scale**2)
    cross = ((S[:, None] - S[None]) * away).sum(axis=2)
    return phi * (S @ S.T + cross / scale**2 + d / scale**2 - r / scale**4)


def system(K, E, F, alpha):
    """Constants, coefficients and weights of the equations of c and g together."""
    n, t = E.shape
    A = K + alpha * np.trace(K) / n * np.eye(n)
    whole = np.block([[A, E], [E.T, np.zeros((t, t))]])
    solved = linalg.solve(whole, np.vstack([F, np.zeros((t, F.shape[1]))]))
    weights = linalg.solve(whole, np.vstack([np.zeros((n, t)), np.eye(t)]))[:n]
    return solved[n:], solved[:n], weights


@pytest.mark.parametrize("solver", ["direct", "pcg"])
@pytest.mark.parametrize("d", [1, 3])
def test_weights_by_a_dense_solve(solver, d, asarray, host):
    X = rows(120, d)
    Y = np.column_stack([np.sin(X[:, 0]), np.exp(0.3 * X.sum(axis=1))])
    model = SteinControlVariates(
        standard_normal, length_scale=1.5, alpha=1e-5, solver=solver, tol=1e-12
    )
    model.fit(asarray(X), Y)
    one = np.ones((120, 1))
    c, coef, weights = system(dense(X, -X, 1.5), one, Y, 1e-5)
    assert_allclose(model.integral_, c[0], rtol=1e-7)
    assert_allclose(model.weights_, np.tile(weights, 2), atol=1e-8)
    assert_allclose((model.weights_ * Y).sum(axis=0), model.integral_, rtol=1e-9)
    assert_allclose(model.weights_.sum(axis=0), 1.0)
    assert model.solver_ == solver
    Z = rows(20, d, 1)
    both = np.vstack([X, Z])
    K = dense(both, -both, 1.5)[120:, :120]
    assert_allclose(host(model.predict(asarray(Z))), K @ coef + c, atol=1e-6)


def test_integrands_with_draws_of_their_own(asarray, host):
    X, Z = rows(60, 2), rows(90, 2, 1)
    f, g = np.cos(X[:, 0]), np.cos(Z[:, 0]) + Z[:, 1]
    B = np.array([[1.0, 0.6], [0.6, 0.8]])
    C, s = np.array([[1.0, 0.6 / 0.8**0.5], [0.6 / 0.8**0.5, 1.0]]), [f.std(), g.std()]
    model = SteinControlVariates(
        standard_normal, length_scale=1.2, alpha=1e-4, task_covariance=B
    ).fit([asarray(X), asarray(Z)], [f, g])
    both, task = np.vstack([X, Z]), np.repeat([0, 1], [60, 90])
    K = dense(both, -both, 1.2) * C[np.ix_(task, task)]
    values = np.append(f / s[0], g / s[1])[:, None]
    c, _, weights = system(K, np.eye(2)[task], values, 1e-4)
    assert_allclose(model.integral_, c[:, 0] * s, rtol=1e-7)
    in_units = weights * s / np.array(s)[task][:, None]
    assert_allclose(model.weights_, in_units, atol=1e-8)
    assert_allclose(model.weights_.T @ np.append(f, g), model.integral_, rtol=1e-9)
    assert_allclose(model.task_covariance_, C * np.outer(s, s))
    assert_allclose(host(model.predict(asarray(X), task=0)), f, atol=0.01)
    assert_allclose(host(model.predict(asarray(Z), task=1)), g, atol=0.01)
    for task in (2, 0.5, "a"):
        with pytest.raises(ValueError, match="task="):
            model.predict(X, task=task)
    pair = clone(model).set_params(target=(standard_normal, standard_normal))
    assert_allclose(pair.fit([X, Z], [f, g]).predict(X, task=0), f, atol=0.01)


@pytest.mark.parametrize("solver", ["direct", "pcg"])
def test_correlated_integrands_that_share_draws(solver):
    X = rows(40, 2)
    Y = np.column_stack([np.sin(X[:, 0]), np.cos(X[:, 1])])
    B = np.array([[1.0, 0.5], [0.5, 2.0]])
    model = SteinControlVariates(
        standard_normal,
        length_scale=1.0,
        alpha=0.01,
        task_covariance=B,
        solver=solver,
        tol=1e-12,
    ).fit(X, Y)
    K, s, r = dense(X, -X, 1.0), Y.std(axis=0), 0.5 / 2**0.5
    C = np.array([[1.0, r], [r, 1.0]])
    A = np.kron(C, K) + 0.01 * np.trace(K) / 40 * np.eye(80)
    E, f = np.kron(np.eye(2), np.ones((40, 1))), (Y / s).T.ravel()
    AE = linalg.solve(A, E)
    c = linalg.solve(E.T @ AE, AE.T @ f)
    assert_allclose(model.integral_, c * s, rtol=1e-8)
    fitted = np.kron(C, K) @ linalg.solve(A, f - E @ c) + E @ c
    assert_allclose(model.predict(X), fitted.reshape(2, 40).T * s, rtol=1e-6)
    assert not hasattr(model, "weights_")
    # The order of the integrands is nothing.
    other = clone(model).set_params(task_covariance=B[::-1, ::-1]).fit(X, Y[:, ::-1])
    assert_allclose(other.integral_[::-1], model.integral_, rtol=1e-9)
    assert_allclose(other.standard_error_[::-1], model.standard_error_, rtol=0.5)


INTEGRANDS = {
    "exp": (1, lambda X: np.exp(X[:, 0]), np.exp(0.5)),
    "waves": (2, lambda X: np.sin(X[:, 0]) + X[:, 0] * X[:, 1] + X[:, 1] ** 2, 1.0),
    "cosine": (5, lambda X: np.cos(X.sum(axis=1) / np.sqrt(5)), np.exp(-0.5)),
}


@pytest.mark.parametrize("name", INTEGRANDS)
def test_errors_are_far_below_plain_ones_and_are_told(name):
    d, f, truth = INTEGRANDS[name]
    ours, plain, covered = [], [], []
    for seed in range(10):
        X = rows(500, d, seed)
        found = SteinControlVariates(standard_normal, random_state=0).fit(X, f(X))
        ours.append(found.integral_ - truth)
        plain.append(f(X).mean() - truth)
        covered.append(abs(ours[-1]) <= 2 * found.standard_error_)
        assert found.variance_reduction_ > 4
    assert np.std(plain) > 10 * np.sqrt(np.mean(np.square(ours)))
    assert np.mean(covered) >= 0.8


def test_two_fidelities():
    """A cheap model at many draws helps a costly one at few."""

    def cheap(X):
        return np.exp(0.4 * X[:, 0]) * np.sin(2 * X[:, 1]) + np.cos(2 * X[:, 0])

    def costly(X):
        return 1.2 * cheap(X) + 0.2 * np.sin(X[:, 0] + X[:, 1]) ** 2

    x, w = np.polynomial.hermite_e.hermegauss(60)
    grid = np.array([(a, b) for a in x for b in x])
    truth = np.outer(w, w).ravel() @ costly(grid) / w.sum() ** 2
    scalar, vector = [], []
    for seed in range(10):
        X, Z = rows(40, 2, seed), rows(400, 2, 100 + seed)
        model = SteinControlVariates(standard_normal, random_state=0)
        scalar.append(model.fit(X, costly(X)).integral_ - truth)
        both = model.fit([X, Z], [costly(X), cheap(Z)])
        vector.append(both.integral_[0] - truth)
        B = both.task_covariance_
        assert B[0, 1] > 0.7 * np.sqrt(B[0, 0] * B[1, 1])
    assert np.median(np.abs(vector)) < 0.6 * np.median(np.abs(scalar))


def test_the_covariance_is_the_most_likely():
    X, task = rows(60, 1), np.arange(60) % 2
    f = np.sin(2 * X[:, 0]) * np.where(task, 2.0, 1.0) + task
    K = dense(X, -X, 1.0)
    B = choices.covariance_of_tasks(K, task, f)
    E = np.eye(2)[task]

    def loss(B):
        A = K * B[np.ix_(task, task)]
        A[np.diag_indices(60)] += choices.START_PENALTY * np.trace(K) / 60
        AE = linalg.solve(A, E)
        P = linalg.inv(A) - AE @ linalg.solve(E.T @ AE, AE.T)
        logs = np.linalg.slogdet(A)[1] + np.linalg.slogdet(E.T @ AE)[1]
        return 58 * np.log(f @ P @ f) + logs

    rng = np.random.default_rng(0)
    for _ in range(10):
        L = np.linalg.cholesky(B) + 0.05 * np.tril(rng.normal(size=(2, 2)))
        assert loss(L @ L.T) > loss(B) - 0.5
    assert abs(B).max() == 1.0


@pytest.mark.parametrize(
    "f", [lambda x: (x > 0) * 1.0, lambda x: np.sin(200 * x)], ids=["step", "wild"]
)
def test_integrands_that_are_not_smooth_warn(f):
    X = rows(500, 1)
    with pytest.warns(UserWarning, match="not smooth"):
        SteinControlVariates(standard_normal, random_state=0).fit(X, f(X[:, 0]))


def test_chains_copies_and_scores():
    X = rows(90, 2)
    y = np.cos(X[:, 0])
    model = SteinControlVariates(standard_normal, random_state=0)
    expected = model.fit(X, y).integral_
    chains = model.fit(X.reshape(3, 30, 2), y.reshape(3, 30))
    assert chains.integral_ == pytest.approx(expected)
    repeated = np.repeat(X, 2, axis=0)
    assert model.fit(repeated, np.repeat(y, 2)).integral_ == pytest.approx(expected)
    assert model.weights_ @ np.repeat(y, 2) == pytest.approx(expected)
    assert (model.weights_[1::2] == 0).all()
    pair = clone(model).fit([repeated, X], [np.repeat(y, 2), y])
    values = np.concatenate([np.repeat(y, 2), y])
    assert_allclose(pair.weights_.T @ values, pair.integral_)
    by_scores = SteinControlVariates(random_state=0).fit(X, y, scores=-X)
    assert by_scores.integral_ == pytest.approx(expected)
    with pytest.raises(ValueError, match="no target: pass scores"):
        by_scores.predict(X)
    assert_allclose(by_scores.predict(X, scores=-X), model.predict(X), atol=1e-6)
    frozen = SteinControlVariates(
        stats.multivariate_normal(np.zeros(2)), random_state=0
    )
    assert frozen.fit(X, y).integral_ == pytest.approx(expected)


def test_constants_are_exact():
    X = rows(30, 2)
    model = SteinControlVariates(standard_normal, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for c in (3.5, 0.7, 0.0):  # also one that is rounded
            flat = clone(model).fit(X, np.full(30, c))
            assert flat.integral_ == pytest.approx(c, abs=1e-9)
        model.fit([X, X + 0.1], [np.full(30, 0.1), np.cos(X[:, 0])])
        assert model.integral_[0] == pytest.approx(0.1)
        both = clone(model).fit([X, X + 0.1], [np.ones(30), np.full(30, 2.0)])
    assert_allclose(both.integral_, [1.0, 2.0])
    # A linear function has the mean 0, which a wide kernel knows.
    line = SteinControlVariates(standard_normal, random_state=0).fit(X, X[:, 0] + 1)
    assert line.integral_ == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("other", [np.full(100, 0.7), (rows(100, 2)[:, 0] > 0) * 1.0])
def test_integrands_that_share_draws_do_not_spoil_each_other(other):
    X = rows(100, 2)
    f = np.exp(0.3 * X[:, 0])
    model = SteinControlVariates(standard_normal, random_state=0)
    alone = clone(model).fit(X, f)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = model.fit(X, np.column_stack([f, other, 1e6 * f + 1e8]))
    assert both.integral_[0] == pytest.approx(alone.integral_, abs=1e-4)
    assert both.standard_error_[0] < 3 * alone.standard_error_ + 1e-6
    assert_allclose(both.integral_[2], 1e6 * both.integral_[0] + 1e8, rtol=1e-9)
    assert both.alpha_.shape == both.length_scale_.shape == (3,)
    assert both.kernel_[0].length_scale == both.length_scale_[0]
    assert_allclose(both.predict(X)[:, 0], f, atol=0.01)


@pytest.mark.parametrize("scale", [1e-6, 1e4, 1e6])
def test_units_of_draws_are_nothing(scale):
    X = rows(60, 2)
    y = np.cos(X[:, 0]) + X[:, 1]
    model = SteinControlVariates(standard_normal, random_state=0).fit(X, y)
    other = SteinControlVariates(lambda x: -x / scale**2, random_state=0)
    other.fit(scale * X, y)
    assert other.integral_ == pytest.approx(model.integral_, abs=1e-8)
    assert other.standard_error_ == pytest.approx(model.standard_error_, rel=1e-3)
    assert other.alpha_ == model.alpha_
    assert other.length_scale_ == pytest.approx(scale * model.length_scale_)
    assert_allclose(other.predict(scale * X), model.predict(X), atol=1e-6)


@pytest.mark.parametrize("scale", [2.0**-660, 2.0**27, 2.0**660])
def test_units_of_integrands_are_nothing(scale):
    X, Z = rows(50, 2), rows(120, 2, 1)
    y, z = np.sin(X[:, 0]) + X[:, 1] ** 2, np.sin(Z[:, 0]) + Z[:, 1] ** 2
    model = SteinControlVariates(standard_normal, random_state=0)
    one = clone(model).fit([X, Z], [y, z])
    two = clone(model).fit([X, Z], [y, scale * z])
    assert_allclose(two.integral_, one.integral_ * [1.0, scale], rtol=1e-6)
    assert_allclose(two.standard_error_, one.standard_error_ * [1, scale], rtol=1e-5)
    assert_allclose(two.predict(X, task=0), one.predict(X, task=0), rtol=1e-5)
    single = clone(model).fit(X, scale * y)
    assert single.integral_ == pytest.approx(scale * clone(model).fit(X, y).integral_)


def test_choices_are_those_of_refits():
    """Errors of each row by leaving it out, one after the other."""
    X = rows(25, 1)
    Y = np.column_stack([np.cos(X[:, 0]), np.sin(2 * X[:, 0])])
    both = np.hstack([X, -X])
    kernels = [SteinKernel(RBF(s), 1) for s in (0.7, 1.5)]
    got = choices.left_out_errors(
        kernels,
        both,
        np.zeros(25, int),
        np.eye(1),
        Y,
        [1e-4, 1e-2],
        select("cpu"),
    )
    for i, scale in enumerate((0.7, 1.5)):
        K = dense(X, -X, scale)
        for j, penalty in enumerate((1e-4, 1e-2)):
            missed = []
            for k in range(25):
                own = np.delete(np.arange(25), k)
                part = K[np.ix_(own, own)]
                # The penalty is that of all rows.
                alpha = penalty * np.trace(K) / 25 / (np.trace(part) / 24)
                c, coef, _ = system(part, np.ones((24, 1)), Y[own], alpha)
                missed.append(Y[k] - K[k, own] @ coef - c[0])
            assert_allclose(got[i, j], np.mean(np.square(missed), axis=0), rtol=1e-6)


def test_settings_are_few():
    errors = np.array([[[1.0, 9.0, 1.1, 0.0]], [[9.0, 1.0, 1.0, 0.0]]])
    found = choices.settings(errors, is_joint=False)
    assert {k: v.tolist() for k, v in found.items()} == {(1, 0): [1, 2, 3], (0, 0): [0]}
    assert list(choices.settings(errors, is_joint=True)) == [(1, 0)]
    with pytest.raises(ValueError, match="alpha is so small"):
        choices.settings(np.full((1, 2, 3), np.inf), is_joint=False)


def test_float32_and_kernels(asarray):
    X = rows(200, 2)
    y = np.cos(X[:, 0])
    for kernel in ("imq", RBF(1.0), Matern(1.5, nu=2.5)):
        model = SteinControlVariates(standard_normal, kernel=kernel, random_state=0)
        low = model.fit(asarray(X.astype(np.float32)), y).integral_
        assert low == pytest.approx(np.exp(-0.5), abs=0.01)
    own = SteinControlVariates(standard_normal, kernel=RBF(0.7), length_scale=None)
    assert own.fit(X, y).length_scale_ == 0.7


def test_bad_inputs():
    X = rows(20, 2)
    y = X[:, 0]

    def fit(X=X, y=y, target=standard_normal, scores=None, **options):
        return SteinControlVariates(target, **options).fit(X, y, scores)

    for options, message in (
        ({"y": y[:5]}, "inconsistent numbers"),
        ({"y": None}, "requires y"),
        ({"y": np.full(20, np.nan)}, "NaN"),
        ({"X": X[:2], "y": y[:2]}, "at least 3"),
        ({"X": np.ones((20, 2))}, "n_samples=1 distinct"),
        ({"target": None}, "scores"),
        ({"scores": X}, "pass one of them"),
        ({"alpha": 0.0}, "alpha"),
        ({"kernel": Matern(nu=0.5)}, "not smooth enough"),
        ({"task_covariance": [[1.0, 2.0]]}, "has shape"),
        ({"task_covariance": [[-1.0]]}, "positive semi-definite"),
        ({"X": [X, X], "y": [y]}, "y must be a list"),
        ({"X": [X, X], "y": [y, y], "solver": "pcg"}, "solver='direct'"),
        ({"X": [X, X[:, :1]], "y": [y, y]}, "features"),
        ({"X": [], "y": []}, "array"),
        ({"y": y.reshape(4, 5)}, "inconsistent numbers"),
        ({"alpha": 1e-300, "length_scale": 50.0}, "alpha is so small"),
        ({"task_covariance": [[0.0]]}, "variances above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(**options)


def test_functions_are_not_values():
    with pytest.raises(TypeError, match=r"pass its values at the rows of X, y=f\(X\)"):
        SteinControlVariates(standard_normal).fit(rows(20, 2), np.cos)


def test_clone_pickle_and_a_failed_fit():
    X = rows(40, 1)
    model = clone(SteinControlVariates(stats.norm(), random_state=0))
    model.fit(X, X[:, 0] ** 2)
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.predict(X), model.predict(X))
    with pytest.raises(ValueError):
        model.fit(X[:1], X[:1, 0])
    assert model.integral_ == again.integral_


class StandardNormal(Target):
    """The same with a name that is no address."""

    def _score(self, X):
        return -X


@parametrize_with_checks([SteinControlVariates(StandardNormal())])
def test_common_checks(estimator, check):
    check(estimator)
