"""Formulas against their definitions: values in NumPy, before any engine."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as skk
from sklearn.metrics.pairwise import pairwise_kernels

from gpkern import KernelOperator
from gpkern import kernels as gk
from gpkern.kernels.base import dense
from gpkern.kernels.pair import formula_of

NAMES = sorted(gk.KERNEL_NAMES)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("d", [1, 5])
def test_formula(case, rng, d):
    X, Z = case.data(rng, 9, d), case.data(rng, 6, d)
    Z[2] = X[3]  # rows that meet
    kernel = case.make(d)
    values = dense(formula_of(kernel, d), X, Z)
    assert values.dtype == np.float64
    assert_allclose(values, case.matrix(X, Z), rtol=1e-9, atol=1e-14)
    one = dense(formula_of(kernel, d), X, X, np.eye(9))
    assert_allclose(one, case.matrix(X), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("d", [1, 5])
def test_kernel_object_itself(case, rng, d):
    """Our own kernels compute this way; scikit-learn's vouch for the naive values."""
    X, Z = case.data(rng, 9, d), case.data(rng, 6, d)
    Z[2] = X[3]
    kernel = case.make(d)
    # scikit-learn's own Matern of a general order evaluates it at 2e-16, not 0.
    tol = 1e-5 if "0.3" in case.name else 1e-9
    assert_allclose(kernel(X, Z), case.matrix(X, Z), rtol=tol, atol=1e-14)
    assert_allclose(kernel(X), case.matrix(X), rtol=tol, atol=1e-14)
    assert_allclose(kernel.diag(X), np.diag(case.matrix(X)), rtol=tol, atol=1e-14)


def test_program_diagonal(case, rng):
    X = case.data(rng, 9, 5)
    X[4] = 0.0
    got = gk.Program.of(case.make(5), 5).diagonal(
        9,
        lambda leaf: np.square(
            X if leaf.scale is None else X / np.array(leaf.scale)
        ).sum(1),
    )
    assert got.shape == (9,)
    assert_allclose(got, np.diag(case.matrix(X)), rtol=1e-12)


def test_is_stationary(case):
    kernel = case.make(3)
    if type(kernel).__module__.startswith("gpkern"):
        expected = case.name.partition(" ")[0] in ("Laplacian", "InverseMultiquadric")
        assert kernel.is_stationary() == expected


def test_sum_and_product_stay_stationary():
    kernel = gk.Laplacian() + skk.RBF() * gk.InverseMultiquadric()
    assert kernel.is_stationary()
    assert not (kernel + gk.Polynomial()).is_stationary()


# ------------------------------------------- names of scikit-learn's pairwise_kernels

PARAMETERS = {
    "rbf": {"gamma": 0.3},
    "laplacian": {"gamma": 0.3},
    "linear": {},
    "poly": {"gamma": 0.3, "degree": 2, "coef0": 0.7},
    "polynomial": {"gamma": 0.3, "degree": 5, "coef0": -0.5},
    "sigmoid": {"gamma": 0.3, "coef0": -0.7},
    "cosine": {},
    "chi2": {"gamma": 0.3},
    "additive_chi2": {},
}


def test_every_name_is_known():
    from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS

    assert set(PAIRWISE_KERNEL_FUNCTIONS) == set(NAMES) == set(PARAMETERS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("defaults", [True, False])
def test_name(rng, name, defaults):
    X, Z = np.abs(rng.standard_normal((2, 8, 4)))
    X[3] = 0.0
    Z[2] = X[1]
    params = {} if defaults else PARAMETERS[name]
    kernel = gk.from_name(name, n_features=4, strict=True, **params)
    expected = pairwise_kernels(X, Z, metric=name, **params)
    assert_allclose(kernel(X, Z), expected, rtol=1e-12, atol=1e-15)
    got = KernelOperator(kernel, X, Z).to_dense()
    assert_allclose(got, expected, rtol=1e-11, atol=1e-14)
    if defaults:
        got = KernelOperator(name, X, Z).to_dense()
        assert_allclose(got, expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_pairwise_kernel_object(rng, name):
    X, Z = np.abs(rng.standard_normal((2, 8, 4)))
    more = {k: v for k, v in PARAMETERS[name].items() if k != "gamma"}
    kernel = skk.PairwiseKernel(
        gamma=0.3, metric=name, pairwise_kernels_kwargs=more or None
    )
    got = KernelOperator(kernel, X, Z).to_dense()
    assert_allclose(got, kernel(X, Z), rtol=1e-11, atol=1e-14)
    assert_allclose(KernelOperator(kernel, X).diagonal(), kernel.diag(X), rtol=1e-12)


def test_pairwise_kernel_of_a_callable(rng):
    X, Z = rng.standard_normal((2, 8, 4))
    kernel = skk.PairwiseKernel(metric=lambda x, z, gamma: gamma + (x @ z) ** 2)
    got = KernelOperator(kernel, X, Z).to_dense()
    assert_allclose(got, 1 + (X @ Z.T) ** 2, rtol=1e-12)


@pytest.mark.parametrize("kernel", [gk.Chi2(), gk.AdditiveChi2()])
def test_chi2_refuses_negative_entries(kernel):
    X = np.array([[1.0, -1e-9]])
    with pytest.raises(ValueError, match="negative"):
        kernel(X)
    for op in (
        KernelOperator(kernel, X),
        KernelOperator(kernel, X, np.abs(X)),
        KernelOperator(kernel, np.abs(X), X),
    ):
        # Checked where rows are read, as they may be on disk.
        with pytest.raises(ValueError, match="negative"):
            op @ np.ones(1)
        with pytest.raises(ValueError, match="negative"):
            op.to_dense()
