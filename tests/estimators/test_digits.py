"""Float32 rows where float32 predictions would lose what the fit has found."""

import numpy as np
import pytest
from sklearn.datasets import make_friedman1

from gpkern import EigenProRegressor, KernelRidge
from gpkern.kernels import RBF


def friedman(n, seed=0):
    X, y = make_friedman1(n, noise=0.5, random_state=seed)
    return X, X.astype(np.float32), y


@pytest.mark.parametrize("alpha, dtype", [(1.0, "float32"), (1e-6, "float64")])
def test_ridge_of_large_coefficients(alpha, dtype, asarray, host):
    X, single, y = friedman(600)
    model = KernelRidge(alpha, kernel=RBF(5.0), solver="cholesky")
    got = model.fit(asarray(single), asarray(y)).predict(asarray(single))
    assert got.dtype == model.dual_coef_.dtype == np.dtype(dtype)
    exact = KernelRidge(alpha, kernel=RBF(5.0)).fit(X, y).predict(X)
    np.testing.assert_allclose(host(got), exact, atol=1e-3 * np.ptp(y))


def test_kernel_values_beyond_float32(asarray):
    _, X, y = friedman(300)
    model = KernelRidge(kernel="poly", degree=9).fit(asarray(1e4 * X), asarray(y))
    assert model.score(asarray(1e4 * X), asarray(y)) > 0.9


def test_predictions_that_overflow(asarray):
    _, X, y = friedman(300)
    model = KernelRidge(kernel="poly", degree=9).fit(asarray(X), asarray(y))
    with pytest.raises(ValueError, match="predictions overflow float32"):
        model.predict(asarray(1e6 * X))


@pytest.mark.parametrize("mean, dtype", [(0.0, "float32"), (1.7e9, "float64")])
def test_targets_far_from_zero(mean, dtype, asarray):
    _, X, y = friedman(1500)
    model = EigenProRegressor(random_state=0, n_epochs=3)
    model.fit(asarray(X[:1000]), asarray(y[:1000] + mean))
    assert model.predict(asarray(X[1000:])).dtype == np.dtype(dtype)
    assert model.score(asarray(X[1000:]), asarray(y[1000:] + mean)) > 0.9


def test_a_stream_keeps_its_halved_step():
    X, _, y = friedman(1000)
    model = EigenProRegressor(kernel="poly", degree=2, gamma=0.1, random_state=0)
    model.partial_fit(X[:500], y[:500])
    before = model.learning_rate_
    rates = [model.partial_fit(3 * X[500:], y[500:]).learning_rate_ for _ in range(3)]
    assert rates[0] < before
    assert rates[0] == rates[1] == rates[2]


@pytest.mark.parametrize(
    "model",
    [
        KernelRidge(kernel="rbf", gamma=1e-5, n_centers=50, random_state=0),
        EigenProRegressor(n_centers=50, n_epochs=2, random_state=0),
    ],
)
def test_integers_on_a_disk(model, tmp_path):
    rng = np.random.default_rng(0)
    X = (255 * rng.uniform(size=(3000, 20))).astype(np.uint8)
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    y = X[:, 0].astype(float)
    expected = model.fit(X, y).predict(X[:20])
    np.testing.assert_allclose(model.fit(mapped, y).predict(mapped[:20]), expected)


@pytest.mark.parametrize("weight", [1e39, 1e-46])
def test_weights_beyond_float32(weight):
    _, X, y = friedman(30)
    with pytest.raises(ValueError, match=r"sample_weight goes from .* beyond float32"):
        KernelRidge().fit(X, y, np.full(30, weight))
