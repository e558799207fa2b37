"""`selection_curve`: which rows its loop gives to whom, and when."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier

from gpkern import BatchSelector, EmpiricalNTK, selection_curve
from gpkern.estimators import _selection_curve as module

RNG = np.random.default_rng(0)
X = RNG.normal(size=(100, 2))
Y = np.sin(2.0 * X[:, 0])
X_TEST, Y_TEST = RNG.normal(size=(40, 2)), RNG.normal(size=40)
SIZES = {"n_initial": 10, "batch_size": 5, "n_batches": 3, "n_repeats": 2}


def run(estimator=None, X=X, y=Y, **options):
    estimator = KNeighborsRegressor(1) if estimator is None else estimator
    options = {"X_test": X_TEST, "y_test": Y_TEST, "random_state": 0} | SIZES | options
    return selection_curve(estimator, X, y, **options)


def rmse(known):
    """Of the nearest neighbour."""
    squares = ((X_TEST[:, None] - X[known]) ** 2).sum(axis=2)
    errors = Y[known][squares.argmin(axis=1)] - Y_TEST
    return np.sqrt((errors**2).mean())


def test_scores_are_of_the_rows_known():
    curve = run(methods=("random", "lcmd", "kmeans++"))
    assert_array_equal(curve.n_rows, [10, 15, 20, 25])
    assert list(curve.scores) == ["random", "lcmd", "kmeans++"]
    for method, indices in curve.indices.items():
        assert indices.shape == (2, 25)
        for row, scores in zip(indices, curve.scores[method], strict=True):
            assert len(set(row)) == 25
            wanted = [-rmse(row[:k]) for k in curve.n_rows]
            assert_allclose(scores, wanted, rtol=1e-12)


def test_starts():
    curve = run(methods=("random", "lcmd", "maxdist"))
    first = [rows[:, :10] for rows in curve.indices.values()]
    assert_array_equal(first[0], first[1])
    assert_array_equal(first[0], first[2])
    assert set(first[0][0]) != set(first[0][1])
    alone = run(methods=["maxdist"])
    assert_array_equal(alone.indices["maxdist"], curve.indices["maxdist"])
    again = run(methods=("kmeans++", "random"))
    assert_array_equal(again.indices["random"], curve.indices["random"])
    other = run(methods=("random",), random_state=1)
    assert set(other.indices["random"][0]) != set(curve.indices["random"][0])


def test_batches_are_those_of_the_selector():
    """By hand, from the rows of the start."""
    curve = run(methods=["maxdet"], kernel="laplacian", n_repeats=1)
    known = curve.indices["maxdet"][0, :10]
    for _ in range(3):
        others = np.setdiff1d(np.arange(100), known)
        # The median of fewer than 1,000 rows needs no draw.
        selector = BatchSelector(5, method="maxdet", kernel="laplacian")
        seen = selector.select(X[others], X_train=X[known])
        known = np.append(known, others[seen])
    assert_array_equal(known, curve.indices["maxdet"][0])


def test_what_the_selector_is_given(monkeypatch):
    calls, models = [], []

    class Spy(BatchSelector):
        def select(self, X, *, X_train=None):
            calls.append((self.get_params(), X, X_train))
            return super().select(X, X_train=X_train)

    def features(model):
        models.append(model)
        return lambda rows: rows * model.coef_

    monkeypatch.setattr(module, "BatchSelector", Spy)
    curve = run(Ridge(), methods=["random", "lcmd"], features=features)
    assert len(calls) == len(models) == 6
    for number, (params, pool, train) in enumerate(calls):
        repeat, batch = divmod(number, 3)
        known = curve.indices["lcmd"][repeat, : curve.n_rows[batch]]
        assert_array_equal(train, X[known])
        others = sorted(set(range(100)) - set(known))
        assert_array_equal(pool, X[others])
        assert params["batch_size"] == 5 and params["method"] == "lcmd"
        assert params["kernel"] is None
        wanted = Ridge().fit(X[known], Y[known]).coef_
        assert_allclose(models[number].coef_, wanted)
        assert_allclose(params["features"](np.ones((1, 2))), [wanted])
    assert len({params["random_state"] for params, *_ in calls}) == 6


class Counting(RegressorMixin, BaseEstimator):
    fits = 0

    def fit(self, X, y):
        assert not hasattr(self, "mean_")  # a clone
        type(self).fits += 1
        self.mean_ = y.mean()
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_the_first_fit_serves_all_methods():
    Counting.fits = 0
    curve = run(Counting(), methods=("random", "lcmd", "maxdist"), n_batches=2)
    assert Counting.fits == 2 * (1 + 3 * 2)
    assert_array_equal(curve.scores["random"][:, 0], curve.scores["lcmd"][:, 0])


def test_scoring():
    curve = run(Ridge(), scoring="r2", n_repeats=1, methods="random")
    known = curve.indices["random"][0]
    wanted = Ridge().fit(X[known], Y[known]).score(X_TEST, Y_TEST)
    assert_allclose(curve.scores["random"][0, -1], wanted)
    by_hand = run(Ridge(), scoring=lambda m, A, b: m.coef_[0], methods=["random"])
    assert_allclose(
        by_hand.scores["random"][0, -1], Ridge().fit(X[known], Y[known]).coef_[0]
    )


def test_frames_lists_and_several_targets():
    wanted = run(Ridge(), methods=["lcmd"])
    frame = pd.DataFrame(X, columns=["a", "b"], index=np.arange(100) + 1000)
    test = pd.DataFrame(X_TEST, columns=["a", "b"])
    found = run(
        Ridge(), frame, pd.Series(Y, frame.index), methods=["lcmd"], X_test=test
    )
    assert_array_equal(found.indices["lcmd"], wanted.indices["lcmd"])
    assert_allclose(found.scores["lcmd"], wanted.scores["lcmd"])
    found = run(Ridge(), X.tolist(), Y.tolist(), methods=["lcmd"])
    assert_allclose(found.scores["lcmd"], wanted.scores["lcmd"])
    several = np.column_stack([Y, -Y])
    found = run(Ridge(), y=several, y_test=np.column_stack([Y_TEST, -Y_TEST]))
    assert_allclose(found.scores["lcmd"], wanted.scores["lcmd"])


def test_the_whole_pool():
    curve = run(n_initial=80, batch_size=10, n_batches=2, n_repeats=1)
    assert set(curve.indices["lcmd"][0]) == set(range(100))
    assert_allclose(curve.scores["lcmd"][:, -1], curve.scores["random"][:, -1])


def test_errors():
    with pytest.raises(ValueError, match=r"pool has 100 rows, and .* = 110 are"):
        run(n_batches=20)
    with pytest.raises(ValueError, match=r"methods: 'best' is not known\. Use"):
        run(methods=("random", "best"))
    with pytest.raises(ValueError, match="methods is empty"):
        run(methods=())
    for name in ("n_repeats", "n_initial", "batch_size", "n_batches"):
        with pytest.raises(ValueError, match=f"{name}=0 must be a whole number"):
            run(**{name: 0})
    with pytest.raises(ValueError, match=r"batch_size=0.5 must be"):
        run(batch_size=0.5)
    with pytest.raises(ValueError, match="features and kernel are both given"):
        run(features=lambda model: model.predict, kernel="rbf")
    with pytest.raises(TypeError, match="must be a function of a fitted model"):
        run(features="precomputed")
    with pytest.raises(ValueError, match="inconsistent numbers"):
        run(y=Y[:50])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        run(y_test=Y_TEST[:5])
    with pytest.raises(ValueError, match="scoring"):
        run(scoring="none")


def test_classifiers_and_kernels_of_the_model():
    X, y = load_digits(n_class=4, return_X_y=True)
    X, y = X / 16, np.array(["a", "b", "c", "d"])[y]
    network = MLPClassifier(16, max_iter=60, random_state=0)
    options = {"X_test": X[400:], "y_test": y[400:], "n_initial": 10, "batch_size": 10}
    options |= {"n_batches": 2, "n_repeats": 1, "random_state": 0}
    curve = selection_curve(network, X[:400], y[:400], kernel=EmpiricalNTK, **options)
    assert curve.score_name == "accuracy"
    assert all((v > 0).all() and (v <= 1).all() for v in curve.scores.values())
