"""EigenPro rounds what vanishes at its solution: the solution stays where it was."""

import numpy as np
import pytest
from sklearn.datasets import make_friedman1

from gpkern import EigenProRegressor
from gpkern.kernels import RBF, Matern

pytestmark = pytest.mark.gpu


@pytest.fixture
def full_precision(monkeypatch):
    """All products in "high"."""
    from gpkern.gpu.matrix import Matrix

    def apply():
        monkeypatch.setattr(Matrix, "with_precision", lambda self, _: self)
        monkeypatch.setattr(Matrix, "parts", property(lambda self: 2), raising=True)

    return apply


KERNELS = [RBF(4.0), RBF(1.0), Matern(8.0, nu=1.5), Matern(8.0, nu=0.5)]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
@pytest.mark.parametrize("n_centers", [None, 1500])
@pytest.mark.parametrize("dense_bytes", [None, 0], ids=["factor", "iterations"])
def test_same_solution(n_centers, kernel, dense_bytes, full_precision, monkeypatch):
    if n_centers is None and dense_bytes == 0:
        pytest.skip("no projection")
    if dense_bytes is not None:
        from gpkern._device import Device

        monkeypatch.setattr(Device, "dense_bytes", lambda self: dense_bytes)
    X, y = make_friedman1(6000, random_state=0)
    X, y = X.astype(np.float32), (y - y.mean()) / y.std()
    train, test = slice(0, 4000), slice(4000, None)

    def errors():
        model = EigenProRegressor(
            kernel,
            n_centers=n_centers,
            n_epochs=15,
            early_stopping=False,
            random_state=0,
            device="cuda",
        ).fit(X[train], y[train])
        return [
            np.sqrt(np.mean((model.predict(X[part]) - y[part]) ** 2))
            for part in (train, test)
        ]

    rounded = errors()
    full_precision()
    exact = errors()
    assert rounded[1] == pytest.approx(exact[1], rel=0.02)
    assert rounded[0] <= 1.1 * exact[0] + 1e-4
