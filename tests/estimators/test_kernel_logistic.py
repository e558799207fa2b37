"""`KernelLogisticRegression` against dense Newton steps, and its edges."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.datasets import load_digits, load_iris, make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelLogisticRegression, KernelThinning
from gpkern.algorithms import newton_preconditioner


def problem(n=120, classes=2, seed=0):
    """Rows of three columns with noisy labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    scores = np.column_stack(
        [np.sin(2 * X[:, k % 3]) * (k + 1) for k in range(classes)]
    )
    return X, (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)


def dense(K, M, codes, classes, alpha, weights, intercept=True):
    """Scores (n, c) of the minimum by a general optimiser, in the whitened space."""
    values, vectors = np.linalg.eigh(M)
    keep = values > 1e-11 * values[-1]
    features = K @ vectors[:, keep] / np.sqrt(values[keep])
    c = 1 if classes == 2 else classes
    free = np.ones((features.shape[1], 1))
    if intercept:
        features = np.column_stack([features, np.ones(len(K))])
        free = np.vstack([free, [[0.0]]])
    Y = np.eye(classes)[codes]

    def loss(theta):
        G = theta.reshape(-1, c)
        F = features @ G
        whole = np.hstack([np.zeros_like(F), F]) if c == 1 else F
        log_P = log_softmax(whole, axis=1)
        value = (
            -(weights[:, None] * Y * log_P).sum() + 0.5 * alpha * (free * G**2).sum()
        )
        U = weights[:, None] * (np.exp(log_P) - Y)
        slope = features.T @ (U[:, 1:] if c == 1 else U) + alpha * free * G
        return value, slope.ravel()

    start = np.zeros(features.shape[1] * c)
    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
    return features @ found.x.reshape(-1, c), found.fun


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("centers", [None, 40])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [False, True])
def test_minimum_by_its_definition(
    classes, centers, weighted, intercept, asarray, host
):
    X, y = problem(classes=classes)
    weights = np.linspace(0.0, 2.0, len(X)) if weighted else np.ones(len(X))
    Z = X if centers is None else X[:centers]
    K, M = rbf_kernel(X, Z, 0.5), rbf_kernel(Z, Z, 0.5)
    F, value = dense(K, M, y, classes, 0.3, weights, intercept)
    model = KernelLogisticRegression(
        0.3,
        length_scale=1.0,
        n_centers=None if centers is None else Z,
        tol=1e-12,
        fit_intercept=intercept,
    )
    model.fit(asarray(X), y, sample_weight=weights if weighted else None)
    found = host(model.decision_function(asarray(X))).reshape(len(X), -1)
    if classes > 2:
        found, F = (a - a.mean(axis=1, keepdims=True) for a in (found, F))
    assert_allclose(found, F, atol=2e-5)
    assert model.objective_ == pytest.approx(value, rel=1e-9)
    P = host(model.predict_proba(asarray(X)))
    assert_allclose(P.sum(axis=1), 1.0)
    assert_allclose(host(model.predict_log_proba(asarray(X))), np.log(P), atol=1e-12)
    assert_array_equal(host(model.predict(asarray(X))), P.argmax(axis=1))


@pytest.mark.parametrize("classes", [2, 4])
def test_linear_kernel_is_logistic_regression(classes):
    X, y = problem(300, classes)
    peer = LogisticRegression(C=2.0, tol=1e-10, max_iter=10_000)
    ours = KernelLogisticRegression(0.5, kernel="linear", tol=1e-12)
    given = KernelLogisticRegression(0.5, kernel="precomputed", tol=1e-12)
    expected = peer.fit(X, y).predict_proba(X)
    assert_allclose(ours.fit(X, y).predict_proba(X), expected, atol=1e-6)
    assert_allclose(given.fit(X @ X.T, y).predict_proba(X @ X.T), expected, atol=1e-6)


def test_float32_and_sparse_rows(asarray, host):
    X, y = problem(400)
    wide = KernelLogisticRegression(0.1, length_scale=1.0).fit(X, y)
    low = KernelLogisticRegression(0.1, length_scale=1.0, n_centers=200, random_state=0)
    low.fit(asarray(X.astype(np.float32)), y)
    P = low.predict_proba(asarray(X.astype(np.float32)))
    assert P.dtype == np.float32
    assert abs(log_loss(y, host(P)) / log_loss(y, wide.predict_proba(X)) - 1) < 0.01
    thin = KernelLogisticRegression(0.1, length_scale=1.0).fit(sparse.csr_matrix(X), y)
    assert_allclose(thin.predict_proba(X), wide.predict_proba(X), atol=1e-6)


def test_many_rows_start_from_few():
    """The first rough solution changes nothing but the way there."""
    X, y = problem(6000)
    model = KernelLogisticRegression(
        1.0, length_scale=1.0, n_centers=100, random_state=0, tol=1e-12
    ).fit(X, y)
    Z = model.X_fit_
    F, value = dense(
        rbf_kernel(X, Z, 0.5), rbf_kernel(Z, Z, 0.5), y, 2, 1.0, np.ones(len(X))
    )
    assert model.objective_ == pytest.approx(value, rel=1e-8)
    assert_allclose(model.decision_function(X), F[:, 0], atol=1e-3)


def test_weights_of_classes():
    X, y = problem(200)
    y = np.where(y == 1, "yes", "no")
    options = {"alpha": 0.2, "tol": 1e-12}
    by_name = KernelLogisticRegression(**options, class_weight={"yes": 3.0}).fit(X, y)
    by_row = KernelLogisticRegression(**options).fit(X, y, np.where(y == "yes", 3, 1))
    assert list(by_name.classes_) == ["no", "yes"]
    assert_allclose(by_name.predict_proba(X), by_row.predict_proba(X), atol=1e-10)
    balanced = KernelLogisticRegression(**options, class_weight="balanced")
    rare = y.copy()
    rare[np.flatnonzero(y == "yes")[10:]] = "no"
    P = balanced.fit(X, rare).predict_proba(X)[:, 1]
    # The slope by the constant is 0: weighted probabilities are as frequent as labels.
    assert_allclose([P[rare == v].mean() for v in ("no", "yes")] @ np.ones(2), 1.0)


def whitened(X, Z, gamma):
    values, vectors = np.linalg.eigh(rbf_kernel(Z, Z, gamma))
    keep = values > 1e-12 * values[-1]
    return rbf_kernel(X, Z, gamma) @ vectors[:, keep] / np.sqrt(values[keep])


def least(features, y, alpha, weights=None, intercept=True):
    """The minimum, by scikit-learn."""
    model = LogisticRegression(
        C=1 / alpha,
        solver="newton-cholesky",
        tol=1e-10,
        max_iter=500,
        fit_intercept=intercept,
    ).fit(features, y, weights)
    odds = model.decision_function(features) * np.where(y, 1.0, -1.0)
    weights = np.ones(len(y)) if weights is None else weights
    return weights @ np.logaddexp(0.0, -odds) + 0.5 * alpha * (model.coef_**2).sum()


@pytest.mark.parametrize("alpha", [1e-8, 1e-6, 1e-4])
@pytest.mark.parametrize("intercept", [False, True])
def test_small_penalties_end_at_the_minimum(alpha, intercept, asarray):
    """Few centres and saturated weights: the equations of steps are hard there."""
    X, y = make_moons(2000, noise=0.3, random_state=0)
    model = KernelLogisticRegression(
        alpha, length_scale=0.5, n_centers=X[:50], fit_intercept=intercept
    ).fit(asarray(X), y)
    best = least(whitened(X, X[:50], 2.0), y, alpha, None, intercept)
    assert model.objective_ == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("centers", [None, 40])
@pytest.mark.parametrize("wide", [2, 4])
def test_uneven_weights_end_at_the_minimum(centers, wide):
    X, y = problem(200)
    weights = 10 ** np.random.default_rng(0).uniform(-wide, wide, 200)
    Z = X if centers is None else X[:centers]
    model = KernelLogisticRegression(
        1e-3, length_scale=1.0, n_centers=None if centers is None else Z
    ).fit(X, y, weights)
    best = least(whitened(X, Z, 0.5), y, 1e-3, weights)
    assert model.objective_ == pytest.approx(best, rel=1e-4)


def test_three_classes_and_a_small_penalty():
    X, y = problem(300, 3)
    _, best = dense(
        rbf_kernel(X, X[:60], 0.5),
        rbf_kernel(X[:60], gamma=0.5),
        y,
        3,
        1e-4,
        np.ones(300),
    )
    model = KernelLogisticRegression(1e-4, length_scale=1.0, n_centers=X[:60])
    assert model.fit(X, y).objective_ == pytest.approx(best, rel=1e-4)


def test_many_centers_of_more_rows_take_weights_at_centers(monkeypatch):
    """What large problems do must end at the same minimum."""
    X, y = problem(600)
    options = {"length_scale": 1.0, "n_centers": X[:300], "tol": 1e-8}
    model = KernelLogisticRegression(0.1, **options).fit(X, y)
    monkeypatch.setitem(newton_preconditioner.ALL_ROWS, "cpu", 0)
    again = KernelLogisticRegression(0.1, **options).fit(X, y)
    assert again.objective_ == pytest.approx(model.objective_, rel=1e-8)


def test_weights_of_classes_and_rows_multiply():
    X, y = problem(120, 3)
    weights = np.linspace(0.5, 2.0, 120)
    of_classes = {0: 1.0, 1: 3.0, 2: 0.5}
    model = KernelLogisticRegression(class_weight=of_classes, tol=1e-10)
    both = model.fit(X, y, weights).objective_
    product = weights * np.array([of_classes[c] for c in y])
    alone = KernelLogisticRegression(tol=1e-10).fit(X, y, product).objective_
    assert both == pytest.approx(alone, rel=1e-9)


def test_classes_without_weight_or_in_few_rows():
    X, y = problem(2000)
    y[:] = 0
    y[::400] = 1  # hardly any in the first rough solution
    rare = KernelLogisticRegression(0.1, n_centers=50, random_state=0).fit(X, y)
    assert_allclose(rare.predict_proba(X).sum(axis=0), [1995, 5], rtol=0.05, atol=1.0)
    X, y = problem(60, 3)
    without = KernelLogisticRegression(0.1).fit(X, y, sample_weight=(y != 2) * 1.0)
    assert set(without.predict(X)) == {0, 1}


def test_separable_and_certain():
    X = np.linspace(-1, 1, 40)[:, None]
    y = X[:, 0] > 0
    model = KernelLogisticRegression(1e-8, length_scale=0.5).fit(X, y)
    assert model.score(X, y) == 1.0
    log_P = model.predict_log_proba(X)
    assert np.isfinite(log_P).all() and log_P.min() < -10
    assert_allclose(np.exp(log_P).sum(axis=1), 1.0)


def test_in_scikit_learn():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), KernelLogisticRegression())
    grid = {"kernellogisticregression__alpha": [0.01, 1.0, 100.0]}
    found = GridSearchCV(model, grid, scoring="neg_log_loss").fit(X, y)
    assert found.best_params_["kernellogisticregression__alpha"] < 100
    assert cross_val_score(found.best_estimator_, X, y).mean() > 0.94
    again = pickle.loads(pickle.dumps(found.best_estimator_))
    assert_array_equal(again.predict_proba(X), found.best_estimator_.predict_proba(X))


def test_digits():
    X, y = load_digits(return_X_y=True)
    model = KernelLogisticRegression(
        1e-3, gamma="scale", n_centers=300, random_state=0
    ).fit(X[:1200], y[:1200])
    assert model.dual_coef_.shape == (300, 10)
    assert model.score(X[1200:], y[1200:]) > 0.93


def test_centers_of_a_sampler():
    X, y = make_moons(500, noise=0.2, random_state=0)
    model = KernelLogisticRegression(
        0.1, kernel=RBF(0.5), n_centers=KernelThinning(64), random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.95
    assert len(model.X_fit_) == 64


def test_bad_inputs(capsys):
    X, y = problem(40)
    for options, message in (
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": np.inf}, "alpha"),
        ({"tol": 0.0}, "tol"),
        ({"class_weight": "equal"}, "class_weight"),
        ({"n_centers": 41}, "n_centers"),
        ({"kernel": "precomputed"}, "square"),
    ):
        with pytest.raises(ValueError, match=message):
            KernelLogisticRegression(**options).fit(X, y)
    with pytest.raises(ValueError, match="n_centers does not"):
        KernelLogisticRegression(kernel="precomputed", n_centers=5).fit(X @ X.T, y)
    with pytest.raises(ValueError, match="length_scale None"):
        KernelLogisticRegression(kernel="precomputed", length_scale=1.0).fit(X @ X.T, y)
    with pytest.raises(ValueError, match="must be symmetric"):
        KernelLogisticRegression(kernel="precomputed").fit(np.triu(X @ X.T), y)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="overflow"):
        KernelLogisticRegression(kernel="linear").fit(X * 1e160, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="y contains NaN"):
            KernelLogisticRegression().fit(X, np.where(y, 1.0, np.nan))
        KernelLogisticRegression(1e-300).fit(X, y)
    with pytest.raises(ValueError, match="one class"):
        KernelLogisticRegression().fit(X, np.zeros(40))
    with pytest.raises(ValueError, match="all zeros"):
        KernelLogisticRegression().fit(X, y, sample_weight=np.zeros(40))
    with pytest.warns(ConvergenceWarning, match="max_iter=1 steps"):
        KernelLogisticRegression(1e-3, max_iter=1).fit(X, y)
    KernelLogisticRegression(verbose=1).fit(X, y)
    assert "step 1: objective" in capsys.readouterr().out


# These are given distances in the place of a kernel matrix: no kernel's.
_DISTANCES = {
    f"check_{name}": "a matrix that is not positive definite"
    for name in (
        "positive_only_tag_during_fit",
        "estimators_dtypes",
        "classifiers_one_label_sample_weights",
        "decision_proba_consistency",
    )
}
# Of rows drawn as centers, other rows are other draws.
_WEIGHTS = {
    f"check_sample_weight_equivalence_on_{kind}_data": "random centers"
    for kind in ("dense", "sparse")
}


def expected_failed_checks(estimator):
    if estimator.kernel == "precomputed":
        return _DISTANCES
    return {} if estimator.n_centers is None else _WEIGHTS


@parametrize_with_checks(
    [
        KernelLogisticRegression(tol=1e-14),
        KernelLogisticRegression(kernel="precomputed"),
        KernelLogisticRegression(n_centers=0.5),
    ],
    expected_failed_checks=expected_failed_checks,
)
def test_common_checks(estimator, check):
    check(estimator)
