"""`EmpiricalNTK` against Jacobians by differences of the networks' own outputs."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logit
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import WhiteKernel
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gpkern import EmpiricalNTK, KernelOperator, KernelRidge
from gpkern.algorithms.dense_network import ACTIVATIONS
from gpkern.estimators import _empirical_ntk, _tangent_blocks

RNG = np.random.default_rng(0)
X = RNG.normal(size=(25, 3))
CLASSES = RNG.integers(0, 3, size=25)
Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] ** 2])


def network(activation="tanh", outputs=3, hidden=(6, 5)):
    """A fitted network of 1, 2, 3 or 10 outputs."""
    options = {"activation": activation, "max_iter": 30, "random_state": 0}
    if outputs == 3:
        return MLPClassifier(hidden, **options).fit(X, CLASSES)
    if outputs in (2, 10):
        targets = np.hstack([Y] * (outputs // 2))
        return MLPRegressor(hidden_layer_sizes=hidden, **options).fit(X, targets)
    return MLPClassifier(hidden, **options).fit(X, CLASSES > 0)


def logits(mlp, rows):
    """By scikit-learn's own prediction; of three classes up to one number a row."""
    if isinstance(mlp, MLPRegressor):
        return mlp.predict(rows).reshape(len(rows), -1)
    if mlp.n_outputs_ == 1:
        return logit(mlp.predict_proba(rows)[:, 1:])
    return np.log(mlp.predict_proba(rows))


def jacobian(mlp, rows, h=1e-5):
    """Slopes of the outputs by all weights and biases, shape (n, O, P)."""
    slopes = []
    for array in [*mlp.coefs_, *mlp.intercepts_]:
        for i in range(array.size):
            old, ends = array.flat[i], []
            for move in (h, -h):
                array.flat[i] = old + move
                ends.append(logits(mlp, rows))
            array.flat[i] = old
            slopes.append((ends[0] - ends[1]) / (2 * h))
    return np.stack(slopes, axis=2)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("outputs", [1, 2, 10])
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_kernels_are_products_of_gradients(activation, outputs, asarray, host):
    mlp = network(activation, outputs)
    J, rows, others = jacobian(mlp, X), asarray(X), asarray(X[:7])

    def kernel(kind):
        return EmpiricalNTK(mlp, kind=kind)

    full = np.einsum("icp,jdp->ijcd", J, J[:7])
    trace = np.einsum("ijcc->ij", full)
    own = (J**2).sum(axis=(1, 2))
    pseudo = J.sum(axis=1) / np.sqrt(outputs)
    close = {"rtol": 1e-6, "atol": 1e-7}
    assert_allclose(host(kernel("full").kernel(rows, others)), full, **close)
    assert_allclose(host(kernel("trace").kernel(rows, others)), trace, **close)
    assert_allclose(
        host(kernel("pseudo").kernel(rows, others)), pseudo @ pseudo[:7].T, **close
    )
    normal = trace / np.sqrt(np.outer(own, own[:7]))
    assert_allclose(
        host(kernel("trace_normalized").kernel(rows, others)), normal, **close
    )
    assert_allclose(host(kernel("trace").diag(rows)), own, **close)
    assert_allclose(host(kernel("pseudo").diag(rows)), (pseudo**2).sum(axis=1), **close)
    blocks = np.einsum("icp,idp->icd", J, J)
    assert_allclose(host(kernel("full").diag(rows)), blocks, **close)
    assert_allclose(host(kernel("trace_normalized").diag(rows)), 1.0)
    assert_allclose(host(kernel("full").outputs(rows)), logits(mlp, X), atol=1e-8)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_classes_are_logits():
    """Differences of log probabilities are those of logits."""
    mlp = network("tanh", 3)
    J = jacobian(mlp, X[:8])
    J = J[:, 1:] - J[:, :1]
    full = EmpiricalNTK(mlp, kind="full").kernel(X[:8])
    D = np.array([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]])
    ours = np.einsum("ac,ijcd,bd->ijab", D, full, D)
    assert_allclose(ours, np.einsum("iap,jbp->ijab", J, J), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", _empirical_ntk.KINDS)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_one_sample_tiles_and_precisions(kind, monkeypatch, asarray, host):
    mlp = network()
    kernel = EmpiricalNTK(mlp, kind=kind, n_projections=50)
    rows = asarray(X)
    K = host(kernel.kernel(rows))
    assert_allclose(K, host(kernel.kernel(rows, rows)), rtol=1e-10)
    axes = (1, 0, 3, 2) if kind == "full" else (1, 0)
    assert_allclose(K, K.transpose(axes), rtol=1e-10)
    own = K[np.arange(25), np.arange(25)]
    assert_allclose(own, host(kernel.diag(rows)), rtol=1e-10)
    monkeypatch.setattr(_tangent_blocks, "ARRAYS", 1e15)  # a row at a time
    assert_allclose(host(kernel.kernel(rows)), K, rtol=1e-10)
    assert_allclose(host(kernel.kernel(rows[:9], rows)), K[:9], rtol=1e-10)
    assert K.dtype == np.float64
    low = MLPClassifier((6, 5), max_iter=30, random_state=0)
    low.fit(X.astype(np.float32), CLASSES)
    single = EmpiricalNTK(low, kind=kind).kernel(asarray(X.astype(np.float32)))
    assert single.dtype == np.float32


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_features():
    mlp = network()
    inputs = [X]
    for W, b in zip(mlp.coefs_[:-1], mlp.intercepts_[:-1], strict=True):
        inputs.append(np.tanh(inputs[-1] @ W + b))
    assert_allclose(EmpiricalNTK(mlp, kind="conjugate").transform(X), inputs[-1])
    every = sum(np.arctanh(A) @ np.arctanh(A).T + A @ A.T for A in inputs[1:])
    F = inputs[-1] @ mlp.coefs_[-1] + mlp.intercepts_[-1]
    embedding = EmpiricalNTK(mlp, kind="embedding")
    assert_allclose(embedding.kernel(X), every + F @ F.T, rtol=1e-8)
    trace = EmpiricalNTK(mlp).kernel(X)
    errors = np.zeros(2)
    for i, p in enumerate((500, 8000)):
        for seed in range(5):
            kernel = EmpiricalNTK(
                mlp, kind="projected", n_projections=p, random_state=seed
            )
            P = kernel.transform(X)
            assert P.shape == (25, p)
            assert_allclose(P @ P.T, kernel.kernel(X))
            errors[i] += np.linalg.norm(P @ P.T - trace) / np.linalg.norm(trace) / 5
    assert errors[0] < 0.2 and errors[1] < 0.4 * errors[0]
    with pytest.raises(ValueError, match="to transform"):
        EmpiricalNTK(mlp, kind="trace").transform(X)
    model = make_pipeline(EmpiricalNTK(mlp, kind="conjugate"), Ridge(1e-6)).fit(X, Y)
    assert model.score(X, Y) > 0.3


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_operator_is_the_full_kernel():
    mlp = network()
    full = EmpiricalNTK(mlp, kind="full").kernel(X, X[:6])
    dense = full.transpose(0, 2, 1, 3).reshape(75, 18)
    operator = EmpiricalNTK(mlp).operator(X, X[:6])
    V, U = RNG.normal(size=(18, 4)), RNG.normal(size=(75, 2))
    assert operator.shape == (75, 18)
    assert_allclose(operator @ V, dense @ V, rtol=1e-9)
    assert_allclose(operator @ V[:, 0], dense @ V[:, 0], rtol=1e-9)
    assert_allclose(operator.T @ U, dense.T @ U, rtol=1e-9)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_pseudo_nears_the_full_kernel_of_wide_networks():
    """Mohamadi, Bae & Sutherland (2023), theorem 4.1: as the root of the width."""
    errors = []
    for width in (32, 512):
        away = []
        for seed in range(4):
            mlp = MLPClassifier((width, width), max_iter=1, random_state=seed)
            full = EmpiricalNTK(mlp.fit(X, CLASSES), kind="full").kernel(X)
            pseudo = EmpiricalNTK(mlp, kind="pseudo").kernel(X)
            left = full - pseudo[:, :, None, None] * np.eye(3)
            away.append(np.linalg.norm(left) / np.linalg.norm(full))
        errors.append(np.mean(away))
    assert errors[1] < 0.45 * errors[0]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_in_scikit_learn_and_here():
    digits, labels = load_digits(n_class=4, return_X_y=True)
    digits = digits / 16
    train, test = slice(0, 400), slice(400, None)
    mlp = MLPClassifier(32, max_iter=60, random_state=0)
    mlp.fit(digits[train], labels[train])
    kernel = EmpiricalNTK(FrozenEstimator(mlp), kind="trace_normalized")
    svc = SVC(kernel=kernel).fit(digits[train], labels[train])
    assert svc.score(digits[test], labels[test]) > 0.9
    search = GridSearchCV(SVC(kernel=EmpiricalNTK(mlp)), {"C": [0.1, 1.0]}, cv=2)
    assert search.fit(digits[train], labels[train]).best_score_ > 0.9
    gp = GaussianProcessRegressor(kernel + WhiteKernel(1e-3))
    gp.fit(digits[:100], labels[:100])
    assert gp.score(digits[100:200], labels[100:200]) > 0.8
    ridge = KernelRidge(kernel=kernel, alpha=1e-3).fit(digits[train], labels[train])
    assert ridge.score(digits[test], labels[test]) > 0.9
    v = RNG.normal(size=len(digits[:50]))
    assert_allclose(KernelOperator(kernel, digits[:50]) @ v, kernel(digits[:50]) @ v)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_pipelines_clones_and_pickles():
    pipe = make_pipeline(
        StandardScaler(), MLPClassifier((6, 5), max_iter=30, random_state=0)
    ).fit(X, CLASSES)
    kernel = EmpiricalNTK(pipe, kind="pseudo")
    alone = EmpiricalNTK(pipe[-1], kind="pseudo")
    assert_array_equal(kernel.kernel(X), alone.kernel(pipe[:-1].transform(X)))
    again = pickle.loads(pickle.dumps(kernel))
    assert_array_equal(again.kernel(X), kernel.kernel(X))
    copy = clone(kernel)
    assert copy is not kernel and copy.estimator is pipe
    assert_array_equal(copy.kernel(X), kernel.kernel(X))
    assert kernel.fit() is kernel and kernel.fit(X) is kernel
    assert not kernel.is_stationary() and kernel.theta.size == 0
    K, slope = kernel(X, eval_gradient=True)
    assert slope.shape == (*K.shape, 0)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_frames_and_searches():
    frame = pd.DataFrame(X, columns=list("abc"))
    mlp = MLPClassifier((6, 5), max_iter=30, random_state=0).fit(frame, CLASSES)
    K = EmpiricalNTK(mlp).kernel(frame)
    assert_array_equal(K, EmpiricalNTK(mlp).kernel(X))
    with pytest.raises(ValueError, match="feature names"):
        EmpiricalNTK(mlp).kernel(frame[list("cab")])
    search = GridSearchCV(mlp, {"alpha": [1e-4, 1e-3]}, cv=2).fit(X, CLASSES)
    found = EmpiricalNTK(search).kernel(X)
    assert_array_equal(found, EmpiricalNTK(search.best_estimator_).kernel(X))
    out = EmpiricalNTK(mlp, kind="conjugate").set_output(transform="pandas")
    assert list(out.fit_transform(frame).columns) == [
        f"empiricalntk{i}" for i in range(5)
    ]
    assert (
        len(EmpiricalNTK(mlp, kind="projected").fit(X).get_feature_names_out()) == 2048
    )
    full = EmpiricalNTK(mlp).operator(X) @ np.ones(75)
    pseudo = EmpiricalNTK(mlp, kind="pseudo").operator(X) @ np.ones(75)
    assert_array_equal(full, pseudo)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_bad_input():
    mlp = network()
    for options, error, message in (
        (
            {"estimator": MLPClassifier()},
            NotFittedError,
            "MLPClassifier, is not fitted",
        ),
        ({"estimator": make_pipeline(MLPClassifier())}, NotFittedError, "not fitted"),
        ({"estimator": Ridge()}, TypeError, "no network whose layers can be read"),
        ({"kind": "ntk"}, ValueError, "'kind' parameter"),
        ({"n_projections": 0}, ValueError, "'n_projections' parameter"),
        ({"random_state": None}, ValueError, "'random_state' parameter"),
        ({"kind": "full"}, ValueError, "one number is wanted"),
    ):
        with pytest.raises(error, match=message):
            EmpiricalNTK(**{"estimator": mlp} | options)(X)
    for rows, message in (
        (X[:, :2], "X has 2 columns, and the network was fitted to 3"),
        (np.full((2, 3), np.nan), "NaN"),
        (X[0], "Expected 2D array"),
    ):
        with pytest.raises(ValueError, match=message):
            EmpiricalNTK(mlp).kernel(rows)
