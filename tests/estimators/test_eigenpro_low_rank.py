"""EigenPro where a few directions are all that there is: linear kernels, few distinct
rows, wide kernels."""

import numpy as np
import pytest

from gpkern import EigenProClassifier, EigenProRegressor
from gpkern.kernels import RBF, Matern

rng = np.random.default_rng(0)
X = rng.standard_normal((1500, 4))
COEF = np.array([1.0, 2.0, 3.0, 4.0])
X_TEST = rng.standard_normal((500, 4))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "linear"},
        {"kernel": "poly", "degree": 1},
        {"kernel": "linear", "n_centers": 50},
        {"kernel": RBF(100.0)},
        {"kernel": RBF(1000.0)},
        {"kernel": RBF(20.0), "n_eigencomponents": 1000},
    ],
    ids=str,
)
def test_linear_target(options, dtype):
    model = EigenProRegressor(random_state=0, **options)
    model.fit(X.astype(dtype), X @ COEF)
    assert model.score(X_TEST.astype(dtype), X_TEST @ COEF) > 0.999


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("kernel", ["rbf", Matern(nu=0.5)], ids=["rbf", "Matern"])
def test_few_distinct_rows(kernel, dtype):
    B = rng.integers(0, 2, size=(2000, 4)).astype(dtype)
    y = B @ COEF + B[:, 0] * B[:, 1]
    model = EigenProRegressor(kernel, random_state=0).fit(B, y)
    assert model.score(B, y) > 0.999
    labels = y > np.median(y)
    classifier = EigenProClassifier(kernel, random_state=0).fit(B, labels)
    assert classifier.score(B, labels) == 1.0


def test_more_rows_than_the_subsample():
    A = rng.standard_normal((12_000, 50))
    y = A @ rng.standard_normal(50)
    model = EigenProRegressor("linear", random_state=0).fit(A[:11_000], y[:11_000])
    assert model.score(A[11_000:], y[11_000:]) > 0.999
    assert model.batch_size_ >= 256


@pytest.mark.parametrize("n_eigencomponents", [0, 10, 100, 1000])
def test_more_eigencomponents_do_no_harm(n_eigencomponents):
    y = np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    model = EigenProRegressor(n_eigencomponents=n_eigencomponents, random_state=0)
    score = model.fit(X, y).score(X_TEST, np.sin(2 * X_TEST[:, 0]) + X_TEST[:, 1] ** 2)
    assert score > (0.94 if n_eigencomponents else 0.8)


@pytest.mark.parametrize("n_centers", [None, 100])
def test_a_row_far_from_the_others(n_centers):
    """A step that suits the others would throw its coefficient off, ever further."""
    A = rng.standard_normal((6000, 4))
    A[17] = 1e4
    y = A @ COEF
    y[17] = 5.0
    model = EigenProRegressor(
        RBF(50.0), n_centers=n_centers, n_epochs=20, random_state=0
    ).fit(A, y)
    assert model.score(A[100:], y[100:]) > 0.99
    assert abs(model.predict(A[17:18])[0]) < 20


@pytest.mark.slow
def test_large_offset_of_the_target():
    """The mean is taken off before the target is cast to the dtype of X."""
    y = np.sin(2 * X[:, 0])
    model = EigenProRegressor(random_state=0)
    plain = model.fit(X.astype("f"), y).dual_coef_
    shifted = model.fit(X.astype("f"), y + 1e8).dual_coef_
    np.testing.assert_allclose(shifted, plain, atol=1e-4 * abs(plain).max())


def test_target_beyond_float32():
    with pytest.raises(ValueError, match="y is too large for float32"):
        EigenProRegressor().fit(X.astype("f"), X[:, 0] * 1e300)
