"""`NTKSurrogateClassifier`: faithful, and its shares add up."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import (
    BatchSelector,
    EmpiricalNTK,
    KernelLogisticRegression,
    NTKSurrogateClassifier,
)

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16
TRAIN, TEST = slice(0, 800), slice(800, 1400)


@pytest.fixture(scope="module")
def mlp():
    return MLPClassifier(32, max_iter=400, random_state=0).fit(
        DIGITS[TRAIN], LABELS[TRAIN]
    )


@pytest.fixture(scope="module")
def pair():
    """A network of two classes, as strings, and its surrogate."""
    some = LABELS < 2
    X, y = DIGITS[some], np.array(["zero", "one"])[LABELS[some]]
    mlp = MLPClassifier(8, max_iter=60, random_state=0).fit(X[:200], y[:200])
    return X, y, NTKSurrogateClassifier(mlp).fit(X[:200], y[:200])


@pytest.mark.parametrize(
    "kind", ["trace_normalized", "pseudo", "trace", "conjugate", "projected"]
)
def test_is_faithful(mlp, kind, asarray, host):
    surrogate = NTKSurrogateClassifier(FrozenEstimator(mlp), kind=kind)
    surrogate.fit(asarray(DIGITS[TRAIN]), LABELS[TRAIN])
    report = surrogate.faithfulness_report(asarray(DIGITS[TEST]), LABELS[TEST])
    assert report.agreement > 0.95
    assert abs(report.accuracy_difference) <= 0.015
    assert report.kendall_tau > 0.6 and report.r2 > 0.7
    P = mlp.predict_proba(DIGITS[TEST])
    assert report.network_accuracy == (P.argmax(axis=1) == LABELS[TEST]).mean()
    Q = host(surrogate.predict_proba(asarray(DIGITS[TEST])))
    assert report.accuracy == (Q.argmax(axis=1) == LABELS[TEST]).mean()
    assert report.agreement == (P.argmax(axis=1) == Q.argmax(axis=1)).mean()


def test_is_logistic_regression_with_the_kernel(mlp):
    surrogate = NTKSurrogateClassifier(mlp, kind="pseudo", alpha=0.1)
    surrogate.fit(DIGITS[TRAIN], LABELS[TRAIN])
    kernel = EmpiricalNTK(mlp, kind="pseudo")
    K, own = kernel.kernel(DIGITS[TRAIN]), kernel.diag(DIGITS[TRAIN]).mean()
    model = KernelLogisticRegression(0.1, kernel="precomputed")
    model.fit(K / own, LABELS[TRAIN])
    across = kernel.kernel(DIGITS[TEST], DIGITS[TRAIN]) / own
    assert_allclose(
        surrogate.decision_function(DIGITS[TEST]), model.decision_function(across)
    )
    assert_array_equal(surrogate.predict(DIGITS[TEST]), model.predict(across))
    assert surrogate.score(DIGITS[TEST], LABELS[TEST]) > 0.85


def test_shares_add_up_to_the_logit(mlp):
    surrogate = NTKSurrogateClassifier(mlp).fit(DIGITS[TRAIN], LABELS[TRAIN])
    X = DIGITS[TEST][:20]
    logits = surrogate.decision_function(X)
    shares = surrogate.attribute(X)
    assert shares.shape == (20, 800)
    assert_allclose(shares.sum(axis=1), logits.max(axis=1))
    for label in (0, 7):
        sums = surrogate.attribute(X, target=label).sum(axis=1)
        assert_allclose(sums, logits[:, label])
    rows, top = surrogate.attribute(X, n_top=5)
    assert_array_equal(top, np.sort(shares, axis=1)[:, :-6:-1])
    assert_array_equal(np.take_along_axis(shares, rows, axis=1), top)
    # Rows of the class that is predicted are what speaks for it.
    assert np.mean(LABELS[rows] == surrogate.predict(X)[:, None]) > 0.9


def test_two_classes(pair):
    X, y, surrogate = pair
    odds = surrogate.decision_function(X[200:])
    assert_allclose(surrogate.attribute(X[200:], target="zero").sum(axis=1), odds)
    assert_allclose(surrogate.attribute(X[200:], target="one").sum(axis=1), -odds)
    assert_allclose(surrogate.attribute(X[200:]).sum(axis=1), abs(odds))
    report = surrogate.faithfulness_report(X[200:], y[200:])
    assert report.agreement > 0.97


class OfItsOwn(NTKSurrogateClassifier):
    """With a network that is fitted to the same rows first."""

    def __init__(self, alpha=1e-2):
        super().__init__(None, alpha=alpha)

    def fit(self, X, y, sample_weight=None):
        self.estimator = MLPClassifier(8, max_iter=50, random_state=0)
        self.estimator.fit(X, y)
        return super().fit(X, y, sample_weight)


@parametrize_with_checks(
    [OfItsOwn()],
    expected_failed_checks=lambda _: {
        "check_dont_overwrite_parameters": "the test's own fit does",
        "check_sample_weight_equivalence_on_dense_data": "MLPClassifier's weights",
    },
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_common_checks(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_frames_with_words():
    """A Pipeline takes what the surrogate could not."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"size": rng.choice(["big", "small"], 80), "x": rng.normal(size=80)}
    )
    y = pd.Series(np.where(frame["size"] == "big", frame["x"] > 0, frame["x"] < 0))
    columns = make_column_transformer(
        (OneHotEncoder(), ["size"]), remainder="passthrough"
    )
    pipe = make_pipeline(columns, MLPClassifier(16, max_iter=400, random_state=0))
    pipe.fit(frame, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surrogate = NTKSurrogateClassifier(pipe).fit(frame, y)
        report = surrogate.faithfulness_report(frame, y)
        assert report.agreement > 0.9
        assert surrogate.attribute(frame[:3]).shape == (3, 80)
        assert surrogate.trak_scores(frame[:3]).shape == (3, 80)
    with pytest.raises(ValueError, match="feature names"):
        surrogate.predict(frame[["x", "size"]])
    features = EmpiricalNTK(pipe, kind="projected", n_projections=20)
    chosen = BatchSelector(4, features=features).fit(frame).samples_
    assert list(chosen.columns) == ["size", "x"] and len(chosen) == 4


def test_searches_keep_the_network(pair):
    X, y, surrogate = pair
    search = GridSearchCV(
        NTKSurrogateClassifier(surrogate.estimator), {"alpha": [1e-3, 1e-1]}, cv=2
    )
    assert search.fit(X, y).best_score_ > 0.95
    assert search.best_estimator_.estimator is surrogate.estimator


def test_weights_are_repetitions(pair):
    X, y, surrogate = pair
    weights = np.arange(100) % 3
    weighted = NTKSurrogateClassifier(surrogate.estimator, kind="trace")
    weighted.fit(X[:100], y[:100], weights)
    repeated = NTKSurrogateClassifier(surrogate.estimator, kind="trace")
    repeated.fit(np.repeat(X[:100], weights, axis=0), np.repeat(y[:100], weights))
    assert weighted.scale_ == pytest.approx(repeated.scale_)
    expected = repeated.decision_function(X[100:])
    assert_allclose(weighted.decision_function(X[100:]), expected, rtol=1e-4, atol=1e-4)


def test_clone_and_pickle(pair):
    X, y, surrogate = pair
    again = pickle.loads(pickle.dumps(surrogate))
    assert_array_equal(again.predict_proba(X), surrogate.predict_proba(X))
    frozen = NTKSurrogateClassifier(FrozenEstimator(surrogate.estimator))
    copy = clone(frozen).fit(X[:200], y[:200])
    assert_allclose(copy.predict_proba(X), surrogate.predict_proba(X))


def test_bad_input(mlp, pair):
    X, y, surrogate = pair
    regressor = MLPRegressor(hidden_layer_sizes=4, max_iter=5).fit(
        DIGITS[:50], LABELS[:50]
    )
    several = MLPClassifier(4, max_iter=5).fit(
        DIGITS[:50], np.column_stack([LABELS[:50] < 5, LABELS[:50] % 2])
    )
    with pytest.raises(NotFittedError):
        NTKSurrogateClassifier(mlp).predict(DIGITS)
    for options, labels, error, message in (
        ({"kind": "full"}, LABELS, ValueError, "'kind' parameter"),
        ({"alpha": 0.0}, LABELS, ValueError, "'alpha' parameter"),
        ({}, LABELS % 5, ValueError, "the network was fitted to"),
        ({}, np.zeros(len(LABELS)), ValueError, "one class"),
        ({"estimator": regressor}, LABELS, TypeError, "Regressor, has no classes"),
        ({"estimator": MLPClassifier()}, LABELS, NotFittedError, "not fitted"),
        ({"estimator": several}, LABELS < 5, TypeError, "of one label a row"),
    ):
        model = NTKSurrogateClassifier(**{"estimator": mlp} | options)
        with pytest.raises(error, match=message):
            model.fit(DIGITS, labels)
        assert not hasattr(model, "model_")
    with pytest.raises(ValueError, match="must be of the classes"):
        surrogate.attribute(X, target="two")
    with pytest.raises(ValueError, match=r"target has shape \(2,\)"):
        surrogate.attribute(X[:3], target=["zero", "one"])
    with pytest.raises(TypeError, match=r"sparse, .* X.toarray\(\)"):
        surrogate.predict(sparse.csr_array(X))
    with pytest.raises(ValueError, match="n_top=0 must be"):
        surrogate.attribute(X, n_top=0)
    with pytest.raises(ValueError, match="does not know"):
        surrogate.faithfulness_report(X, np.where(y == "one", "two", y))
