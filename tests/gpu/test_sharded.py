"""A kernel matrix shared out among GPUs: one named twice, or two where there are."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import make_friedman1
from sklearn.gaussian_process.kernels import WhiteKernel

from gpkern import (
    EigenProClassifier,
    EigenProRegressor,
    KernelOperator,
    KernelRidge,
    RandomSigns,
)
from gpkern.kernels import RBF, Matern

pytestmark = pytest.mark.gpu


@pytest.fixture(params=["same", "pair"])
def devices(request, monkeypatch):
    import cupy as cp

    from gpkern.gpu import sharded

    monkeypatch.setattr(sharded, "LEAST_COLUMNS", 100)
    if request.param == "same":
        return ["cuda:0", "cuda:0", "cuda:0"]
    if cp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("one GPU")
    return ["cuda:1", "cuda:0"]


def rows(n, d, seed=0, dtype="f"):
    return np.random.default_rng(seed).normal(2.0, 1.0, size=(n, d)).astype(dtype)


@pytest.mark.parametrize("d", [3, 20, 100])
@pytest.mark.parametrize("kernel", [RBF(4.0), Matern(4.0, nu=0.5)], ids=str)
def test_cross_matrix(kernel, d, devices):
    X, Z = rows(500, d), rows(1100, d, 1)
    V, U = rows(1100, 3, 2), rows(500, 3, 3)
    w = abs(rows(500, 1, 4))[:, 0]
    op, one = (KernelOperator(kernel, X, Z, device=v) for v in (devices, "cuda:0"))
    assert op.shape == (500, 1100)
    close = {"rtol": 1e-5, "atol": 1e-3}
    assert_allclose((op @ V).get(), (one @ V).get(), **close)
    assert_allclose((op.T @ U).get(), (one.T @ U).get(), **close)
    for precision in (None, "medium"):
        a, b = (
            o.normal_matmat(V, U, w, gradient_precision=precision) for o in (op, one)
        )
        assert_allclose(a[1].get(), b[1].get(), **close)
        size = np.abs(b[0].get()).max()
        assert_allclose(a[0].get(), b[0].get(), atol=2e-3 * size)
    logw = rows(1100, 1, 5)[:, 0]
    sums, expected = op.row_logsumexp(logw).get(), one.row_logsumexp(logw).get()
    assert_allclose(sums, expected, atol=1e-5)
    assert_allclose(op.to_dense().get(), one.to_dense().get(), rtol=1e-5)
    assert_allclose(op.rows(7).get(), one.rows(7).get(), rtol=1e-5)
    assert_allclose(op.diagonal().get(), one.diagonal().get(), rtol=1e-5)
    assert_allclose(op.row_softmax(Z).get(), one.row_softmax(Z).get(), rtol=1e-4)
    assert_allclose(
        op.row_logsumexp_gradient().get(),
        one.row_logsumexp_gradient().get(),
        atol=1e-4,
    )
    again = pickle.loads(pickle.dumps(op))
    assert_allclose((again @ V).get(), (op @ V).get(), **close)
    few = op.with_rows(op.device.put(X[:40]))
    assert_allclose((few @ V).get(), (one @ V).get()[:40], **close)


@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_one_sample(noise, devices):
    X, V = rows(900, 5), rows(900, 2, 1)
    kernel = RBF(2.0) + WhiteKernel(noise) if noise else RBF(2.0)
    op, one = (KernelOperator(kernel, X, device=v) for v in (devices, "cuda:0"))
    close = {"rtol": 1e-5, "atol": 1e-4}
    assert_allclose((op @ V).get(), (one @ V).get(), **close)
    assert_allclose((op.T @ V).get(), (one @ V).get(), **close)
    assert_allclose(op.diagonal().get(), one.diagonal().get(), rtol=1e-6)
    assert_allclose(op.to_dense().get(), one.to_dense().get(), **close)
    assert_allclose(op.row_logsumexp().get(), one.row_logsumexp().get(), rtol=1e-6)
    a, b = (o.normal_matmat(V)[0].get() for o in (op, one))
    assert_allclose(a, b, atol=1e-4 * abs(b).max())
    assert_allclose(op.row_softmax(V).get(), one.row_softmax(V).get(), atol=1e-4)
    signs = RandomSigns(900, 20, 0)
    scales = [RBF(1.0), RBF(3.0)]
    a, b = (o.quadratic_forms(signs, scales).get() for o in (op, one))
    assert_allclose(a, b, atol=1e-4 * abs(b).max())


@pytest.mark.parametrize(
    "model",
    [
        KernelRidge(1e-2, kernel=RBF(5.0), solver="pcg"),
        KernelRidge(1e-2, kernel=RBF(5.0), n_centers=400, random_state=0),
        EigenProRegressor(RBF(5.0), n_epochs=3, random_state=0),
        EigenProRegressor(RBF(5.0), n_centers=600, n_epochs=3, random_state=0),
    ],
    ids=str,
)
def test_estimators(model, devices):
    X, y = make_friedman1(1500, noise=0.1, random_state=0)
    one = model.set_params(device="cuda:0").fit(X, y).predict(X[:50])
    got = model.set_params(device=devices).fit(X, y).predict(X[:50])
    assert isinstance(got, np.ndarray)
    assert_allclose(got, one, atol=1e-3 * np.ptp(y))


def test_classes(devices):
    X = rows(1500, 4, dtype="d")
    y = np.where(X[:, 0] * X[:, 1] > 4, "in", "out")
    model = EigenProClassifier(n_epochs=5, random_state=0, device=devices).fit(X, y)
    assert model.score(X, y) > 0.9


def test_second_gpu_alone(devices):
    """Nothing assumes the first."""
    X, y = make_friedman1(1500, noise=0.1, random_state=0)
    name = devices[0]
    op = KernelOperator(RBF(5.0), X, device=name)
    assert (op @ y).device.id == int(name[-1])
    expected = KernelOperator(RBF(5.0), X) @ y
    assert_allclose((op @ y).get(), expected, rtol=1e-9)
    model = EigenProRegressor(n_epochs=3, random_state=0, device=name).fit(X, y)
    assert model.score(X, y) > 0.8
