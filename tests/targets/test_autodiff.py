"""Log densities of PyTorch and JAX, where these are installed."""

import copy
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpkern.targets import as_target, check_score, from_jax, from_torch

X = np.random.default_rng(0).normal(size=(30, 2))


def log_quartic(X):
    """Of tensors and arrays alike."""
    return -0.25 * (X**4).sum(-1) + X[:, 0] * X[:, 1]


def quartic(X):
    return X[:, ::-1] - X**3


@pytest.mark.parametrize("make, package", [(from_torch, "torch"), (from_jax, "jax")])
def test_without_the_package(make, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"from_{package} needs {package}, .*pip"):
        make(log_quartic)


def test_torch(asarray, host):
    torch = pytest.importorskip("torch")
    target = from_torch(log_quartic, batch_size=7)
    assert_allclose(host(asarray(target.score(asarray(X)))), quartic(X), rtol=1e-12)
    assert_allclose(target.log_density(X), log_quartic(X), rtol=1e-12)
    assert check_score(target, X) < 1e-8
    with torch.no_grad():
        assert_allclose(target.score(X), quartic(X), rtol=1e-12)
    assert_allclose(from_torch(lambda X: -(X**2)).score(X[:, :1]), -2 * X[:, :1])


def test_torch_module():
    """In the dtype of its weights, which get no gradients."""
    torch = pytest.importorskip("torch")

    class Flow(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 5)

        def forward(self, X):
            return -0.5 * (X**2).sum(1) + torch.tanh(self.inner(X)).sum(1)

    torch.manual_seed(0)
    flow = Flow()
    target = from_torch(flow)
    score = target.score(X)
    assert score.dtype == np.float64
    assert check_score(target, X) < 1e-3
    assert flow.inner.weight.grad is None
    assert_allclose(from_torch(flow.double()).score(X), score, rtol=1e-4, atol=1e-5)
    with pytest.raises(TypeError, match=r"target=Flow is of torch: pass .*from_torch"):
        as_target(flow)


def test_torch_errors():
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"gives shape \(\) for rows of shape \(30, 2"):
        from_torch(lambda X: X.sum()).score(X)
    with pytest.raises(ValueError, match="do not depend on the rows by operations"):
        from_torch(lambda X: X.detach().sum(1)).score(X)
    with pytest.raises(TypeError, match="log_density must be a function"):
        from_torch(3)


def test_jax():
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    try:
        jax.config.update("jax_enable_x64", True)
        target = from_jax(log_quartic)
        assert_allclose(target.score(X), quartic(X), rtol=1e-12)
        assert_allclose(copy.deepcopy(target).score(X), quartic(X), rtol=1e-12)
        assert check_score(target, X) < 1e-8
        jax.config.update("jax_enable_x64", False)
        with pytest.warns(UserWarning, match="JAX computes in float32, so scores have"):
            score = target.score(X)
        assert_allclose(score, quartic(X), rtol=1e-4, atol=1e-5)
        with pytest.warns(UserWarning, match="JAX computes in float32"):
            check_score(target, X)
        with pytest.raises(ValueError, match=r"gives shape \(\) for rows"):
            from_jax(lambda X: X.sum()).log_density(X)
    finally:
        jax.config.update("jax_enable_x64", before)
