"""Parameters of kernel objects: what is refused, and what is not."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as skk

import gpkern
from gpkern import KernelOperator
from gpkern import kernels as gk

X = np.random.default_rng(0).standard_normal((6, 2))

POSITIVE = [
    (skk.RBF, "length_scale"),
    (skk.Matern, "length_scale"),
    (skk.Matern, "nu"),
    (skk.RationalQuadratic, "length_scale"),
    (skk.RationalQuadratic, "alpha"),
    (skk.ExpSineSquared, "length_scale"),
    (skk.ExpSineSquared, "periodicity"),
    (gk.InverseMultiquadric, "length_scale"),
    (gk.InverseMultiquadric, "exponent"),
    (gk.Laplacian, "length_scale"),
    (gk.Chi2, "gamma"),
    (gk.Polynomial, "gamma"),
    (gk.Sigmoid, "gamma"),
]


@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, -np.inf, "2", None, [], 1e-200])
@pytest.mark.parametrize(("make", "name"), POSITIVE)
def test_positive(make, name, value):
    kernel = make(**{name: value})
    for whole in (kernel, kernel + skk.WhiteKernel()):
        with pytest.raises(ValueError, match=rf"{name}=.* of {make.__name__} must be"):
            KernelOperator(whole, X)


@pytest.mark.parametrize(("make", "name"), POSITIVE)
def test_infinite_and_huge(make, name):
    if name != "nu":  # Matern's limit is a Gaussian
        with pytest.raises(ValueError, match=rf"{name}=inf of {make.__name__}"):
            KernelOperator(make(**{name: np.inf}), X)
    for value in (1e200, 10**400):
        with pytest.raises(ValueError, match=f"{name}="):
            KernelOperator(make(**{name: value}), X)


@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf, 1e200, 1e-200])
@pytest.mark.parametrize("make", [skk.RBF, skk.Matern, gk.Laplacian])
def test_one_bad_length_scale_of_many(make, value):
    with pytest.raises(ValueError, match=f"length_scale=.* of {make.__name__}"):
        KernelOperator(make([1.0, value]), X)


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (skk.ConstantKernel(np.nan), "constant_value"),
        (skk.WhiteKernel(np.inf), "noise_level"),
        (skk.DotProduct(np.nan), "sigma_0"),
        (gk.Polynomial(coef0=np.nan), "coef0"),
        (gk.Polynomial(degree="3"), "degree"),
        (gk.Polynomial(gamma=[1.0, 2.0]), "gamma"),
        (skk.RBF() ** np.inf, "exponent"),
    ],
    ids=str,
)
def test_finite(kernel, name):
    with pytest.raises(ValueError, match=f"{name}=.* must be"):
        KernelOperator(kernel, X)


def test_our_kernels_refuse_it_by_themselves():
    with pytest.raises(ValueError, match=r"length_scale=-1\.0 of Laplacian"):
        gk.Laplacian(-1.0)(X)


@pytest.mark.parametrize("name", ["median", "scale"])
def test_heuristics_belong_to_estimators(name):
    with pytest.raises(ValueError, match=r"\(kernel=RBF\(\), length_scale='median"):
        KernelOperator(skk.RBF(name), X)
    with pytest.raises(ValueError, match="an estimator's parameter"):
        gpkern.KernelRidge(kernel=skk.RBF(name)).fit(X, X[:, 0])
    gpkern.KernelRidge(kernel=skk.RBF(), length_scale=name).fit(X, X[:, 0])


@pytest.mark.parametrize(
    "kernel",
    [
        skk.ConstantKernel(0.0) + skk.RBF(),
        skk.ConstantKernel(-2.0) * skk.RBF(),
        skk.WhiteKernel(0.0) + skk.RBF(),
        skk.DotProduct(0.0),
        skk.DotProduct(1.0) ** 0,
        (skk.RBF() + 1.0) ** -1.5,
        skk.RBF(np.array([2.0])),
        skk.RBF(10),
        skk.RBF(1e10),
        skk.Matern(1e-10, nu=1.2),
        skk.Matern(nu=np.inf),
    ],
    ids=str,
)
def test_as_in_scikit_learn(kernel):
    assert_allclose(KernelOperator(kernel, X).to_dense(), kernel(X), rtol=1e-9)


@pytest.mark.parametrize("coef0", [0.0, -0.5])
def test_coef0_may_be_negative(coef0):
    K = KernelOperator(gk.Polynomial(2, 1.0, coef0), X).to_dense()
    assert_allclose(K, (X @ X.T + coef0) ** 2, rtol=1e-12)
    K = KernelOperator(gk.Sigmoid(1.0, coef0), X).to_dense()
    assert_allclose(K, np.tanh(X @ X.T + coef0), atol=1e-14)
