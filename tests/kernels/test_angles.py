"""Angles between rows: what formulas may ask for, and the function of a sine."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from gpkern import KernelOperator
from gpkern.kernels import FormulaKernel, special
from gpkern.kernels import expr as ex


class Angle(FormulaKernel):
    """Of the directions that are numbers x and z, in radians, from each other."""

    def __init__(self):
        pass

    def formula(self, pair):
        apart = pair.dot()
        return ex.angle(ex.sin(apart), ex.cos(apart))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
def test_angle(dtype, operator, host):
    """From -pi to pi, with all digits of the smallest angle."""
    small = np.geomspace(1e-30, 1, 200)
    t = np.concatenate([np.linspace(-3.1415, 3.1415, 4001), small, -small, [0.0]])
    t = t.astype(dtype)
    got = host(operator(Angle(), t[:, None], np.ones((1, 1), dtype)).to_dense())[:, 0]
    # Sine and cosine have their own errors, where neither is small.
    eps = np.finfo(dtype).eps
    assert_allclose(got, t, rtol=4 * eps)
    assert_allclose(special.NUMPY["angle"](np.sin(t), np.cos(t)), t, rtol=4 * eps)


def test_derivative_of_an_angle():
    t = ex.hyper("t", 0.7)
    for shift in (0.0, 1.2, 2.5, -2.0):
        slope = ex.diff(ex.angle(ex.sin(t + shift), ex.cos(t + shift)), t)
        assert_allclose(ex.uniform_value(slope), 1.0, rtol=1e-15)


class Angles(FormulaKernel):
    def __init__(self):
        pass

    def formula(self, pair):
        return pair.unit_sqdist() + 100.0 * pair.unit_sqsum()


@pytest.mark.parametrize("d", [3, 45])
@pytest.mark.parametrize("as_csr", [False, True], ids=["dense", "csr"])
def test_angles_of_rows(d, as_csr, operator, host):
    """Neither the norms nor where the middle of the data is make a difference."""
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((9, d)) + 5, rng.standard_normal((200, d))
    Z[1], Z[3], Z[4], Z[5] = 1e-3 * X[1], -7 * X[3], 0.0, X[5] + 1e-7
    X[6] = 0.0
    u, v = (
        a / np.maximum(np.sqrt(np.square(a).sum(1)), 1e-300)[:, None] for a in (X, Z)
    )
    minus, plus = (
        np.square(u[:, None] + s * v).sum(-1) for s in (-1, 1)
    )  # by their definition
    given = [sparse.csr_array(a) if as_csr else a for a in (X, Z)]
    got = host(operator(Angles(), *given).to_dense())
    assert_allclose(got, minus + 100.0 * plus, rtol=1e-13)
    assert abs(got[3, 3] - 4.0) < 1e-15  # opposite: the sum is exactly zero
    got = host(operator(Angles(), given[0]).diagonal())
    assert_allclose(got, [400.0] * 6 + [0.0] + [400.0] * 2, rtol=1e-14)


def test_where_many_rows_are_opposite():
    """Differences from the start, as for distances where many rows are close."""
    X = np.random.default_rng(0).standard_normal((100, 45))
    for rows, products in ((X, (0, 1)), (np.concatenate([X, -X]), (0,))):
        assert KernelOperator(Angles(), rows).matrix_.recipe().products == products
