"""scikit-learn's common checks, and what stands in for one that cannot hold."""

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, Matern
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import (
    EigenProClassifier,
    EigenProRegressor,
    KernelRidge,
    KernelRidgeClassifier,
)

ESTIMATORS = [
    KernelRidge(),
    KernelRidge(kernel="rbf", solver="pcg"),
    KernelRidge(kernel=1.5 * RBF(2.0)),
    KernelRidge(kernel="precomputed"),
    KernelRidge(kernel="rbf", n_centers=0.5),
    KernelRidge(kernel="laplacian", n_centers=0.5, solver="cholesky"),
    KernelRidgeClassifier(kernel="rbf"),
    KernelRidgeClassifier(kernel="poly", n_centers=0.5),
    EigenProRegressor(),
    EigenProRegressor(Matern(nu=1.5), n_centers=0.5),
    EigenProClassifier(),
    EigenProClassifier(n_centers=0.5, length_scale="median"),
]

# The centres are drawn at random from the rows, so that rows repeated or left out are
# other draws. `test_weights_are_repetitions_for_the_same_centers` checks the property
# where it holds, `test_weights_are_repetitions_on_average` the draws.
_WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": (
        "random centers: other rows are other draws"
    )
    for kind in ("dense", "sparse")
}


def expected_failed_checks(estimator):
    weighted = isinstance(estimator, (KernelRidge, KernelRidgeClassifier))
    return _WEIGHTS if weighted and estimator.n_centers is not None else {}


@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_common_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def weighted():
    """Rows with integer weights, the same rows repeated, rows to predict at."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(80, 1))
    y = np.sin(2 * X[:, 0]) + rng.normal(size=80)
    # Rows with large targets are the heavy ones, so that weights matter.
    weights = np.where(y > 0, 3, rng.integers(0, 2, 80))
    again = np.repeat(np.arange(80), weights)
    return X, y, weights, X[again], y[again], np.linspace(-2, 2, 25).reshape(-1, 1)


@pytest.mark.parametrize("solver", ["pcg", "cholesky"])
def test_weights_are_repetitions_for_the_same_centers(weighted, solver):
    X, y, weights, X_again, y_again, X_test = weighted
    model = KernelRidge(
        kernel="rbf", n_centers=X[::4], solver=solver, alpha=0.1, tol=1e-13
    )
    of_weights = model.fit(X, y, weights).predict(X_test)
    of_repetitions = model.fit(X_again, y_again).predict(X_test)
    np.testing.assert_allclose(of_weights, of_repetitions, atol=1e-8)


@pytest.mark.parametrize("solver", ["pcg", "cholesky"])
def test_weights_are_repetitions_on_average(weighted, solver):
    X, y, weights, X_again, y_again, X_test = weighted

    def mean_of_draws(X, y, sample_weight=None):
        draws = [
            KernelRidge(
                kernel="rbf", n_centers=10, solver=solver, alpha=1.0, random_state=seed
            )
            .fit(X, y, sample_weight)
            .predict(X_test)
            for seed in range(40)
        ]
        return np.mean(draws, axis=0), np.std(draws, axis=0) / np.sqrt(len(draws))

    of_weights, error = mean_of_draws(X, y, weights)
    of_repetitions, error_again = mean_of_draws(X_again, y_again)
    without, _ = mean_of_draws(X, y)
    error = np.sqrt((error**2 + error_again**2).mean())
    gap = np.sqrt(((of_weights - of_repetitions) ** 2).mean())
    effect = np.sqrt(((of_weights - without) ** 2).mean())
    assert gap < 4 * error
    assert effect > 20 * error, "the test has no power"
