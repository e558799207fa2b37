"""Kernels of features and targets: every reduction against plain NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from gpkern.kernels import (
    RBF,
    Chi2,
    Cosine,
    Laplacian,
    Matern,
    Polynomial,
    Sinc,
    SteinKernel,
    SupervisedKernel,
    WhiteKernel,
)

BASES = [
    RBF(1.3),
    RBF([1.0, 2.0, 3.0]),
    Matern(2.0, nu=1.5),
    2.0 * Laplacian(2.0) + RBF(0.5),
    Polynomial(2),
    Cosine(),
    Chi2(0.3),
    Sinc(5.0),  # which must know its columns
]


def data(n=230, d=3, c=2, seed=0):
    """Features, and targets far from zero: their products must not be centred."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(n, d))), np.abs(rng.normal(size=(n, c))) + 5.0


def reference(base, X, Y, form, scale):
    k, t = base(X), Y @ Y.T / scale**2
    return k**2 + k * t if form == "ridge" else k * (1 + t)


@pytest.mark.parametrize("form", ["ridge", "smoother"])
@pytest.mark.parametrize("base", BASES, ids=str)
def test_reductions(base, form, operator, host):
    X, Y = data()
    expected = reference(base, X, Y, form, 4.0)
    kernel, rows = SupervisedKernel(base, 3, 2, form, 4.0), np.hstack([X, Y])
    assert_allclose(kernel(rows), expected, rtol=1e-12)
    assert_allclose(kernel.diag(rows), np.diagonal(expected), rtol=1e-12)
    op = operator(kernel, rows)
    V = np.random.default_rng(1).normal(size=(230, 3))
    assert_allclose(host(op.to_dense()), expected, rtol=1e-10)
    assert_allclose(host(op.diagonal()), np.diagonal(expected), rtol=1e-10)
    V_there = op.device.xp.asarray(V)
    assert_allclose(host(op @ V_there), expected @ V, rtol=1e-9, atol=1e-9)
    assert_allclose(host(op.row_logsumexp()), np.log(expected.sum(axis=1)), rtol=1e-10)
    weights = expected / expected.sum(axis=1, keepdims=True)
    assert_allclose(host(op.row_softmax(V_there)), weights @ V, rtol=1e-9, atol=1e-10)
    forms = np.einsum("ib,ij,jb->b", V, expected, V)
    assert_allclose(host(op.quadratic_forms(V)), forms, rtol=1e-9)
    cross = operator(kernel, rows[:50], rows)
    assert_allclose(host(cross @ V_there), expected[:50] @ V, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("d", [2, 45])
def test_float32(d, operator, host):
    X, Y = data(300, d, 1)
    base = RBF(np.sqrt(d))
    expected = reference(base, X, Y, "ridge", 6.0)
    rows = np.hstack([X, Y]).astype(np.float32)
    op = operator(SupervisedKernel(base, d, 1, "ridge", 6.0), rows)
    got = host(op.row_sum())
    assert got.dtype == np.float32
    assert_allclose(got, expected.sum(axis=1), rtol=1e-4)


def test_gradient_by_the_rows(operator, host):
    X, Y = data(40)
    kernel, rows = SupervisedKernel(RBF(1.3), 3, 2, "smoother", 4.0), np.hstack([X, Y])
    got, step = host(operator(kernel, rows[:5], rows).row_gradient()), 1e-6
    for j in range(5):
        move = np.zeros(5)
        move[j] = step
        high, low = (kernel(rows[:5] + m, rows).sum(axis=1) for m in (move, -move))
        assert_allclose(got[:, j], (high - low) / (2 * step), rtol=1e-6, atol=1e-6)


def test_is_a_parameter_like_others():
    kernel = SupervisedKernel(RBF(1.0), 2)
    assert clone(kernel) == kernel
    assert kernel.set_params(base__length_scale=3.0).base == RBF(3.0)
    assert "SupervisedKernel" in repr(kernel)


@pytest.mark.parametrize(
    "kernel, message",
    [
        (SupervisedKernel(RBF(1.0), 2, form="tree"), "form='tree'"),
        (SupervisedKernel(RBF(1.0), 2, target_scale=0.0), "target_scale=0.0"),
        (SupervisedKernel(RBF([1.0, 2.0, 3.0]), 2), "3 length scales"),
        (SupervisedKernel(SteinKernel(RBF(1.0), 1), 2), "plain rows"),
        (SupervisedKernel(RBF(1.0), 5), "columns"),
    ],
    ids=str,
)
def test_errors(kernel, message, operator):
    with pytest.raises(ValueError, match=message):
        operator(kernel, np.ones((4, 3)))


def test_noise_is_of_the_same_sample(operator, host):
    rows = np.hstack(data(20))
    base = RBF(1.0) + WhiteKernel(0.5)
    op = operator(SupervisedKernel(base, 3, 2, "smoother"), rows)
    quiet = operator(SupervisedKernel(RBF(1.0), 3, 2, "smoother"), rows)
    more = host(op.to_dense()) - host(quiet.to_dense())
    products = 1 + (rows[:, 3:] ** 2).sum(axis=1)
    assert_allclose(more, np.diag(0.5 * products), atol=1e-12)
