"""Elementary functions of formulas, as the engines compute them."""

from time import perf_counter

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.spatial.distance import cdist
from scipy.special import kve, loggamma
from sklearn.gaussian_process import kernels as skk

from gpkern.cpu import vecmath
from gpkern.kernels import FormulaKernel, special
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


def test_log1p(dtype, compute):
    """All digits for tiny arguments of either sign, and up to the ends."""
    top = 1e30 if dtype == np.float32 else 1e300
    x = np.concatenate(
        [
            np.geomspace(1e-30, top, 3001),
            -np.geomspace(1e-30, 0.5, 3001),
            np.linspace(-0.999, 4, 3001),
        ]
    ).astype(dtype)
    exact = np.log1p(x.astype(np.longdouble))
    assert_allclose(compute(ex.log1p, x), exact, rtol=4 * np.finfo(dtype).eps)
    ends = np.array([0.0, -1.0, -1.5], dtype)
    assert_allclose(compute(ex.log1p, ends), [0.0, -np.inf, np.nan])


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


# By mpmath, 30 digits.
MATERN = [
    # nu, z, logarithm
    (0.1, 1e-09, -0.015619512711364903),
    (0.1, 0.001, -0.2818710862461186),
    (0.5, 1e-09, -1e-09),
    (0.8, 0.0001, -6.34815467631573e-07),
    (0.95, 2e-08, -1.0537030207544438e-14),
    (1.2, 3.0, -1.8865889396804725),
    (4.7, 40.0, -29.312582576037407),
    (0.3, 1000.0, -1001.7664346316188),
    (2.2, 5000.0, -4986.223245351308),
    (30.3, 0.001, -8.532423206904868e-09),
    (100.3, 0.5, -0.0006294038258897853),
    (100.3, 30.0, -2.240523387266442),
    (150.0, 0.001, -1.6778523489837779e-09),
    (500.0, 700.0, -206.67622389198073),
    (1990.0, 100.0, -1.25651601471361),
    (2100.0, 100.0, -1.1907055295928513),
    (100000.0, 50.0, -0.00625006230530471),
]


@pytest.mark.parametrize(("nu", "z", "log"), MATERN)
def test_log_matern(nu, z, log, dtype, compute):
    """Of rough and of nearly Gaussian kernels, where rows meet and far away."""
    z = np.array([z], dtype)
    rtol = 3e-6 if dtype == np.float32 else 1e-12
    got = compute(lambda x: ex.log_matern(nu, x), z)
    assert_allclose(got, log, rtol=rtol, atol=1e-14)
    assert_allclose(special.log_matern(nu, z), log, rtol=rtol, atol=1e-14)
    rtol *= 1 + abs(log)
    tiny = np.finfo(dtype).tiny
    assert_allclose(
        compute(lambda x: ex.matern(nu, x), z), np.exp(log), rtol=rtol, atol=tiny
    )


@pytest.mark.parametrize("nu", [1e-6, 0.1, 0.5, 0.95, 3.0, 100.3, 1e9])
def test_matern_ends_for_every_argument(nu):
    """Nobody can interrupt a compiled loop."""
    for matern, T in (
        (vecmath.matern_f32, np.float32),
        (vecmath.matern_f64, np.float64),
        (special.matern, np.float64),
    ):
        assert matern(T(nu), T(np.inf)) == 0
        assert np.isnan(matern(T(nu), T(np.nan)))
        assert matern(T(nu), T(0)) == 1
        assert 0 <= matern(T(nu), T(np.finfo(T).max)) < 1e-100
        assert 0 <= matern(T(nu), T(np.finfo(T).tiny)) <= 1 + np.finfo(T).eps
    start = perf_counter()
    for z in np.geomspace(1e-300, 1e300, 20_000):
        vecmath.matern_f64(nu, z)
    assert perf_counter() - start < 2  # 100 us each; an endless loop is another thing


@pytest.mark.parametrize("nu", [100.3, 150.0, 1e6, 1e20])
def test_matern_of_large_order_is_nearly_gaussian(nu, operator, host):
    X = np.linspace(0, 3, 8)[:, None] * 1e-3
    K = host(operator(skk.Matern(1.0, nu=nu), X).to_dense())
    # |M - exp(-r^2 / 2)| is about r^2 / nu.
    assert_allclose(K, skk.RBF(1.0)(X), atol=1e-5 / nu + 1e-14)


def test_rough_matern_of_close_rows(operator, host):
    X = np.array([[0.0], [1e-9]])
    K = host(operator(skk.Matern(1.0, nu=0.1), X).to_dense())
    assert_allclose(K[0, 1], 0.98681, atol=1e-5)


def test_matern_far_away(operator, host):
    x, z = np.zeros((1, 1)), np.full((1, 1), 1e3)
    log = operator(skk.Matern(1.0, nu=0.7), x, z).row_logsumexp()
    t = np.sqrt(1.4) * 1e3
    exact = 0.3 * np.log(2) - loggamma(0.7).real + 0.7 * np.log(t)
    assert_allclose(host(log), exact + np.log(kve(0.7, t)) - t, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.7, 50.0, 1e4, 1e7])
def test_rational_quadratic_of_large_alpha(alpha, dtype, operator, host):
    """1 + x keeps too few digits of a small x to be raised to such a power."""
    X = np.random.default_rng(0).standard_normal((40, 3)).astype(dtype)
    op = operator(skk.RationalQuadratic(1.0, alpha=alpha), X)
    s = cdist(X.astype(float), X.astype(float), "sqeuclidean")
    log = -alpha * np.log1p(s / (2 * alpha))
    # Of exp(-log): its relative error grows with the argument.
    eps = np.finfo(dtype).eps
    assert_allclose(host(op.to_dense()), np.exp(log), rtol=eps * (8 + s.max()))
    exact = np.log(np.exp(log).sum(1))
    assert_allclose(host(op.row_logsumexp()), exact, atol=20 * eps)
    far = operator(
        skk.RationalQuadratic(1.0, alpha=alpha), X[:1], X[:1] + dtype.type(9)
    )
    s = np.square(X[:1].astype(float) - (X[:1] + dtype.type(9)).astype(float)).sum()
    exact = -alpha * np.log1p(s / (2 * alpha))
    assert_allclose(host(far.row_logsumexp()), exact, rtol=8 * eps)


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
        lambda x: (1 + 20 * x) ** 0.7 * ex.sqrt(x),
        lambda x: ex.exp(ex.sqrt(x)),
        lambda x: ex.tanh(ex.log(x)),
        lambda x: ex.sin(ex.sqrt(x)),
        lambda x: ex.log(ex.log(x)),
        lambda x: ex.exp(ex.log(x) * 0.3) + 1,
    ],
    ids=[
        "sqrt",
        "log",
        "pow",
        "pow of 1 + x",
        "exp",
        "tanh",
        "sin",
        "loglog",
        "exp of log",
    ],
)
def test_undefined_stays_undefined(function, dtype, compute):
    """No finite number out of the root of a negative one."""
    x = np.array([-1.0, -0.3, -1e-3, -1e5] * 5, dtype)
    assert np.isnan(compute(function, x)).all()
