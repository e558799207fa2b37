"""`trak_scores` against its formula, with margins' gradients by differences."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from gpkern import NTKSurrogateClassifier, trak_scores

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))


def network(n_classes, seed=0):
    y = RNG.integers(0, n_classes, size=40)
    y[:n_classes] = range(n_classes)
    mlp = MLPClassifier((5, 4), activation="tanh", max_iter=30, random_state=seed)
    return mlp.fit(X, y), y


def margins(mlp, rows, y):
    p = mlp.predict_proba(rows)[np.arange(len(y)), y]
    return np.log(p / (1 - p)), 1 - p


def slopes(mlp, rows, y, h=1e-5):
    """Of the margins by all weights, shape (n, P)."""
    out = []
    for array in [*mlp.coefs_, *mlp.intercepts_]:
        for i in range(array.size):
            old, ends = array.flat[i], []
            for move in (h, -h):
                array.flat[i] = old + move
                ends.append(margins(mlp, rows, y)[0])
            array.flat[i] = old
            out.append((ends[0] - ends[1]) / (2 * h))
    return np.array(out).T


def by_hand(mlp, y, alpha):
    P, Q = slopes(mlp, X, y), slopes(mlp, X[:6], y[:6])
    penalty = alpha * (P**2).sum(axis=1).mean()
    inverse = np.linalg.inv(P.T @ P + penalty * np.eye(P.shape[1]))
    return Q @ inverse @ P.T, margins(mlp, X, y)[1]


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_formula(n_classes, asarray, host):
    mlp, y = network(n_classes)
    influence, doubt = by_hand(mlp, y, 0.1)
    scores = trak_scores(mlp, asarray(X), y, asarray(X[:6]), y[:6])
    assert scores.dtype == np.float64
    assert_allclose(scores, influence * doubt, rtol=1e-5, atol=1e-8)


def test_several_networks_are_averaged():
    networks = [network(3, seed)[0] for seed in (1, 2)]
    y = RNG.integers(0, 3, size=40)
    parts = [by_hand(mlp, y, 1.0) for mlp in networks]
    expected = np.mean([p[0] for p in parts], axis=0)
    expected = expected * np.mean([p[1] for p in parts], axis=0)
    scores = trak_scores(networks, X, y, X[:6], y[:6], alpha=1.0)
    assert_allclose(scores, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("count", [30, 6000])
def test_projections(count):
    """With many they are the exact scores; with few the matrix is the smaller one."""
    mlp, y = network(3)
    exact = trak_scores(mlp, X, y, X[:6], y[:6])
    scores = trak_scores(mlp, X, y, X[:6], y[:6], n_projections=count)
    again = trak_scores(mlp, X, y, X[:6], y[:6], n_projections=count)
    assert_allclose(scores, again)
    bar = 0.99 if count == 6000 else 0.6
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > bar


def test_without_penalty():
    """More weights than rows: each row explains itself."""
    mlp, y = network(3)
    scores = trak_scores(mlp, X[:20], y[:20], X[:20], y[:20], alpha=0.0)
    doubt = margins(mlp, X[:20], y[:20])[1]
    assert_allclose(scores, np.diag(doubt), atol=1e-6)


@pytest.mark.slow
def test_they_foretell_what_other_training_rows_do():
    """Margins of networks trained on halves of the rows follow the sums of scores."""
    X, y = load_digits(return_X_y=True)
    X, order = X / 16, RNG.permutation(len(X))
    train, test = order[:300], order[300:340]
    X_test, y_test = X[test], y[test]

    def fitted(rows, seed):
        mlp = MLPClassifier(32, max_iter=60, learning_rate_init=5e-3, batch_size=50)
        return mlp.set_params(random_state=seed).fit(X[rows], y[rows])

    halves = [RNG.permutation(300)[:150] for _ in range(25)]
    true = [
        np.mean([margins(fitted(train[h], s), X_test, y_test)[0] for s in (0, 1)], 0)
        for h in halves
    ]
    chosen = np.array([np.isin(np.arange(300), h) for h in halves])
    networks = [fitted(train, s) for s in range(3)]
    scores = trak_scores(networks, X[train], y[train], X_test, y_test)
    guess = chosen @ scores.T
    pairs = zip(guess.T, np.transpose(true), strict=True)
    ranks = [stats.spearmanr(*pair).statistic for pair in pairs]
    assert np.mean(ranks) > 0.35


def test_of_a_surrogate():
    mlp, y = network(3)
    y[:] = mlp.predict(X)
    y[:3] = range(3)
    surrogate = NTKSurrogateClassifier(mlp).fit(X, y)
    labels = mlp.predict(X[:6])
    expected = trak_scores(mlp, X, y, X[:6], labels, alpha=0.3)
    assert_allclose(surrogate.trak_scores(X[:6], alpha=0.3), expected)
    expected = trak_scores(mlp, X, y, X[:6], np.full(6, 2))
    assert_allclose(surrogate.trak_scores(X[:6], target=2), expected)


def test_labels_of_all_kinds():
    mlp, y = network(3)
    predicted = trak_scores(mlp, X, y, X[:6], mlp.predict(X[:6]))
    assert_allclose(trak_scores(mlp, X, y, X[:6]), predicted)
    assert_allclose(trak_scores(mlp, X, pd.Series(y), pd.DataFrame(X[:6])), predicted)
    ones = trak_scores(mlp, X, y, X[:6], np.ones(6, int))
    assert_allclose(trak_scores(mlp, X, y, X[:6], 1), ones)


def test_bad_input():
    mlp, y = network(3)
    regressor = MLPRegressor(hidden_layer_sizes=4, max_iter=5).fit(X, y)
    for options, error, message in (
        ({"n_projections": 0}, ValueError, "n_projections=0"),
        ({"alpha": -1.0}, ValueError, "alpha=-1.0"),
        ({"random_state": None}, ValueError, "random_state=None"),
        ({"y_test": np.full(6, 7)}, ValueError, "the label 7"),
        ({"y": y[:5]}, ValueError, "inconsistent numbers"),
        ({"estimator": []}, ValueError, "an empty list"),
        ({"estimator": regressor}, TypeError, "has no classes"),
        ({"estimator": LogisticRegression()}, TypeError, "no network"),
        ({"X_test": X[:6, :2]}, ValueError, "X has 2 columns"),
    ):
        given = {"estimator": mlp, "X": X, "y": y, "X_test": X[:6], "y_test": y[:6]}
        with pytest.raises(error, match=message):
            trak_scores(**given | options)
