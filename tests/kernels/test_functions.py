"""Elementary functions of formulas, as the engines compute them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import kve, loggamma

from gpkern.kernels import FormulaKernel
from gpkern.kernels import expr as ex


class Function(FormulaKernel):
    """A function of the product of two numbers."""

    def __init__(self, function):
        self.function = function

    def formula(self, pair):
        return self.function(pair.dot())


@pytest.fixture
def compute(operator, host):
    """``compute(function, x)`` in the dtype of x."""

    def compute(function, x):
        one = np.ones((1, 1), x.dtype)
        return host(operator(Function(function), x[:, None], one).to_dense())[:, 0]

    return compute


@pytest.fixture(params=["float32", "float64"], ids=["f32", "f64"])
def dtype(request):
    return np.dtype(request.param)


def numbers(low, high, dtype, n=2001):
    return np.linspace(low, high, n).astype(dtype)


# Errors in units of the last place, relative to the value.
@pytest.mark.parametrize(
    ("name", "low", "high", "ulps"),
    [("sqrt", 0, 1e6, 1), ("log", 1e-6, 3, 8), ("log", 1, 1e30, 4)],
)
def test_relative(name, low, high, ulps, dtype, compute):
    x = numbers(low, high, dtype)
    exact = getattr(np, name)(x.astype(np.longdouble))
    near_zero = dtype.type(0.05) if name == "log" else 0  # log 1 = 0: absolute there
    tol = ulps * np.finfo(dtype).eps
    assert_allclose(
        compute(getattr(ex, name), x), exact, rtol=tol, atol=tol * near_zero
    )


def test_exp(dtype, compute):
    """The relative error grows with the argument, as that of any rounded product."""
    edge = 86.0 if dtype == np.float32 else 707.0
    x = numbers(-edge, edge, dtype, 20_001)
    exact = np.exp(x.astype(np.longdouble))
    error = np.abs(compute(ex.exp, x) / exact - 1).astype(float)
    eps = np.finfo(dtype).eps
    assert (error <= eps * (4 + np.abs(x))).all()
    assert compute(ex.exp, np.zeros(1, dtype)) == 1


@pytest.mark.parametrize("name", ["sin", "cos", "tanh"])
def test_absolute(name, dtype, compute):
    x = numbers(-1000, 1000, dtype, 20_001)
    x = np.concatenate([x, numbers(-8, 8, dtype)])
    exact = getattr(np, name)(x.astype(np.longdouble))
    error = np.abs(compute(getattr(ex, name), x) - exact).astype(float)
    # cos(x) is the sine of a rounded x + pi / 2.
    lost = {"tanh": 0, "sin": 0.03, "cos": 1}[name] * np.abs(x)
    assert (error <= np.finfo(dtype).eps * (4 + lost)).all()


@pytest.mark.parametrize("nu", [0.3, 0.7, 1.2, 2.2, 4.7])
def test_matern(nu, dtype, compute):
    z = np.concatenate([[0.0], np.logspace(-6, np.log10(80), 500)]).astype(dtype)
    t = np.maximum(z.astype(float), 1e-300)
    log_k = np.log(kve(nu, t)) - t + nu * np.log(t)
    exact = np.exp((1 - nu) * np.log(2) - loggamma(nu).real + log_k)
    exact[0] = 1.0
    rtol = 1e-5 if dtype == np.float32 else 1e-12
    assert_allclose(compute(lambda x: ex.matern(nu, x), z), exact, rtol=rtol)


def test_beyond_the_range(dtype, compute):
    x = np.array([-1e30, -1e4, -800, 800, 1e4, 1e30], dtype)
    assert compute(ex.exp, x).tolist() == [0, 0, 0, np.inf, np.inf, np.inf]
    assert compute(ex.tanh, x).tolist() == [-1, -1, -1, 1, 1, 1]
    assert compute(ex.log, np.zeros(1, dtype)) == -np.inf
    assert compute(lambda x: 1 / x, np.zeros(1, dtype)) == np.inf
    assert compute(lambda x: ex.guarded_ratio(1 - x, x), np.zeros(1, dtype)) == 0


@pytest.mark.parametrize(
    "function",
    [
        ex.sqrt,
        ex.log,
        lambda x: x**0.7,
        lambda x: ex.exp(ex.sqrt(x)),
        lambda x: ex.tanh(ex.log(x)),
        lambda x: ex.sin(ex.sqrt(x)),
        lambda x: ex.log(ex.log(x)),
        lambda x: ex.exp(ex.log(x) * 0.3) + 1,
    ],
    ids=["sqrt", "log", "pow", "exp", "tanh", "sin", "loglog", "exp of log"],
)
def test_undefined_stays_undefined(function, dtype, compute):
    """No finite number out of the root of a negative one."""
    x = np.array([-1.0, -0.3, -1e-3, -1e5] * 5, dtype)
    assert np.isnan(compute(function, x)).all()
