"""Products over columns against plain NumPy, and against SciPy's splines."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import BSpline as SciPySpline
from sklearn.gaussian_process import GaussianProcessRegressor

from gpkern.kernels import RBF, BSpline, Sinc


def spline(u, degree):
    """By SciPy's recursion, with knots one apart, over its value at 0."""
    knots = np.arange(degree + 2) - (degree + 1) / 2
    basis = SciPySpline.basis_element(knots, extrapolate=False)
    return np.nan_to_num(basis(u)) / basis(0.0)


KERNELS = [(Sinc, {}, lambda u: np.sinc(u / np.pi))] + [
    (BSpline, {"degree": p}, lambda u, p=p: spline(u, p)) for p in (1, 3, 7)
]
IDS = ["sinc", "1", "3", "7"]


@pytest.mark.parametrize("ard", [False, True])
@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize("make, params, factor", KERNELS, ids=IDS)
def test_values(make, params, factor, d, ard, operator, host):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(90, d))
    X[1] = X[0]  # a pair of equal rows
    scale = np.linspace(0.8, 2.0, d) if ard else 1.3
    expected = factor((X[:, None] - X[None]) / scale).prod(axis=-1)
    kernel = make(scale, **params)
    assert_allclose(kernel(X), expected, atol=1e-12)
    assert_allclose(kernel.diag(X), 1.0)
    op, V = operator(kernel, X), rng.normal(size=(90, 2))
    assert_allclose(host(op.to_dense()), expected, atol=1e-12)
    there = op.device.xp.asarray(V)
    assert_allclose(host(op @ there), expected @ V, atol=1e-10)
    op = operator(kernel, X.astype(np.float32))
    got = host(op @ there.astype(np.float32))
    assert_allclose(got, expected @ V, atol=1e-3)


def test_many_columns(operator):
    """Of the highest degree, whose numbers would leave the range of float32."""
    X = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    expected = spline((X[:, None] - X[None]) / 3.0, 11).prod(axis=-1)
    got = operator(BSpline(3.0, 11), X).row_sum()
    assert_allclose(
        operator(BSpline(3.0, 11), X).device.get(got), expected.sum(1), 1e-3
    )


@pytest.mark.parametrize("scale", [1.3, np.array([0.8, 2.0])])
@pytest.mark.parametrize("make", [Sinc, BSpline])
def test_gradient_of_the_length_scale(make, scale):
    kernel, X = make(scale), np.random.default_rng(0).normal(size=(20, 2))
    K, gradient = kernel(X, eval_gradient=True)
    assert gradient.shape == (*K.shape, np.size(scale))
    for j in range(np.size(scale)):
        step = np.zeros(np.size(scale))
        step[j] = 1e-6
        high, low = (kernel.clone_with_theta(kernel.theta + s) for s in (step, -step))
        assert_allclose(gradient[..., j], (high(X) - low(X)) / 2e-6, atol=1e-8)
    assert kernel.is_stationary()


def test_in_scikit_learn():
    X = np.linspace(0, 3, 20)[:, None]
    model = GaussianProcessRegressor(BSpline(0.5), alpha=1e-6).fit(X, np.sin(X[:, 0]))
    assert model.score(X, np.sin(X[:, 0])) > 0.99
    both = (Sinc(1.0) * RBF(2.0) + 0.5)(X)
    assert_allclose(both, Sinc(1.0)(X) * RBF(2.0)(X) + 0.5)


@pytest.mark.parametrize(
    "kernel, message",
    [
        (BSpline(degree=2), "degree=2 of BSpline must be 1, 3"),
        (BSpline(degree=13), "degree=13"),
        (Sinc(-1.0), "length_scale"),
        (Sinc([1.0, 2.0]), "2 length scales for data of 3 columns"),
    ],
    ids=str,
)
def test_errors(kernel, message, operator):
    with pytest.raises(ValueError, match=message):
        operator(kernel, np.ones((4, 3)))
