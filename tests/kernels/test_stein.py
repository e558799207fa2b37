"""Stein kernels against derivatives by differences, and their mean by quadrature."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpkern import KernelOperator, RandomSigns
from gpkern.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Matern,
    RationalQuadratic,
    SteinKernel,
    WhiteKernel,
)

BASES = {
    "RBF": RBF(1.3),
    "IMQ": InverseMultiquadric(1.3),
    "rational": RationalQuadratic(1.3, alpha=0.7),
    "Matern_3/2": Matern(1.3, nu=1.5),
    "Matern_5/2": Matern(1.3, nu=2.5),
    "Matern_7/2": Matern(1.3, nu=3.5),
    "Matern_2.8": Matern(1.3, nu=2.8),
    "sum": 2.0 * RBF(1.3) + Matern(0.8, nu=2.5),
    "product": RBF(1.3) * InverseMultiquadric(2.0) ** 2,
}


def data(n=12, d=3):
    """Points and scores that have nothing to do with each other."""
    rng = np.random.default_rng(0)
    x, s = rng.normal(1.0, 1.0, size=(n, d)), rng.normal(size=(n, d))
    x[1] = x[0]  # a pair at distance 0, of different scores
    return x, s


def by_differences(base, x, y, s, t, h=1e-3):
    """The definition, its derivatives by central differences in x and y."""

    def k(dx, dy):
        return float(base((x + dx)[None], (y + dy)[None])[0, 0])

    d, zero = len(x), np.zeros(len(x))
    total = k(zero, zero) * (s @ t)
    for j in range(d):
        e = np.zeros(d)
        e[j] = h
        total += s[j] * (k(zero, e) - k(zero, -e)) / (2 * h)
        total += t[j] * (k(e, zero) - k(-e, zero)) / (2 * h)
        mixed = k(e, e) - k(e, -e) - k(-e, e) + k(-e, -e)
        total += mixed / (4 * h * h)
    return total


@pytest.mark.parametrize("name", BASES)
def test_definition(name):
    (x, s), base = data(6), BASES[name]
    rows = np.hstack([x, s])
    K = SteinKernel(base, 3)(rows)
    for i, j in itertools.product(range(6), repeat=2):
        if name == "Matern_3/2" and np.allclose(x[i], x[j]):
            continue  # no second derivative to difference there
        expected = by_differences(base, x[i], x[j], s[i], s[j])
        # Differences are of second order, and rougher where the kernel is.
        tol = 5e-3 if "Matern" in name or name == "sum" else 1e-4
        assert K[i, j] == pytest.approx(expected, abs=tol * (1 + abs(expected)))


def symbolic(name, r):
    """The bases written out once more, in the squared distance."""
    sympy = pytest.importorskip("sympy")
    number = sympy.Rational
    l2 = number(13, 10) ** 2

    def rbf(l2=l2):
        return sympy.exp(-r / (2 * l2))

    def imq(l2=l2):
        return (1 + r / l2) ** number(-1, 2)

    def matern(nu, l2=l2):
        z = sympy.sqrt(2 * nu * r / l2)
        factor = 2 ** (1 - nu) / sympy.gamma(nu)
        return factor * z**nu * sympy.besselk(nu, z)

    return {
        "RBF": rbf,
        "IMQ": imq,
        "rational": lambda: (1 + r / (2 * number(7, 10) * l2)) ** number(-7, 10),
        "Matern_3/2": lambda: matern(number(3, 2)),
        "Matern_5/2": lambda: matern(number(5, 2)),
        "Matern_7/2": lambda: matern(number(7, 2)),
        "Matern_2.8": lambda: matern(number(28, 10)),
        "sum": lambda: 2 * rbf() + matern(number(5, 2), number(8, 10) ** 2),
        "product": lambda: rbf() * imq(number(4)) ** 2,
    }[name]()


@pytest.mark.parametrize("name", BASES)
def test_symbolic_derivatives(name):
    """``s't k + s'grad_y k + t'grad_x k + tr grad_x grad_y k``, to all digits."""
    sympy = pytest.importorskip("sympy")
    d = 2
    x, y, s, t = (sympy.symbols(f"{v}:{d}", real=True) for v in "xyst")
    r = sympy.symbols("r", positive=True)
    k = symbolic(name, r).subs(r, sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
    u = sum(s[i] * t[i] * k for i in range(d))
    for i in range(d):
        u += s[i] * sympy.diff(k, y[i]) + t[i] * sympy.diff(k, x[i])
        u += sympy.diff(k, x[i], y[i])
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 2 * d))
    rows[3, 0] += 20.0
    K = SteinKernel(BASES[name], d)(rows)
    for i, j in itertools.combinations(range(4), 2):
        values = {
            v: sympy.Float(float(a), 40)
            for symbols, row in ((x + s, rows[i]), (y + t, rows[j]))
            for v, a in zip(symbols, row, strict=True)
        }
        expected = float(u.subs(values).evalf(30))
        assert K[i, j] == pytest.approx(expected, rel=1e-10, abs=1e-18)


def test_diagonal_of_matern():
    """``3 d / l^2`` for order 3/2, ``5 d / (3 l^2)`` for 5/2, where scores vanish."""
    rows = np.zeros((1, 6))
    for nu, factor in ((1.5, 3.0), (2.5, 5.0 / 3.0)):
        K = SteinKernel(Matern(0.7, nu=nu), 3)(rows)
        assert K[0, 0] == pytest.approx(factor * 3 / 0.7**2)


@pytest.mark.parametrize("name", BASES)
def test_mean_is_zero(name):
    """Under a mixture of two normals, by quadrature over x for several y."""
    x = np.linspace(-12, 12, 4001)[:, None]
    parts = np.exp(-0.5 * ((x - [-1.5, 1.0]) / [0.7, 1.0]) ** 2) * [0.3 / 0.7, 0.7]
    p = parts.sum(1)
    score = (parts * ([-1.5, 1.0] - x) / np.square([0.7, 1.0])).sum(1) / p
    rows = np.column_stack([x, score])
    K = SteinKernel(BASES[name], 1)(rows[::500], rows)
    mean = K @ (p / p.sum())
    assert (abs(mean) < 2e-4 * abs(K).max(axis=1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("d", [1, 3, 40])
def test_operator(name, d, dtype, asarray, host):
    x, s = data(300, d)
    scale = np.sqrt(d / 3)
    base = BASES[name] if d == 3 else RBF(scale)
    rows = np.hstack([scale * x, s / scale])
    kernel = SteinKernel(base, d, score_scale=scale**2)
    K = kernel(rows)
    assert_allclose(SteinKernel(base, d)(rows), K, atol=1e-9 * abs(K).max())
    single = rows.astype(dtype)
    op = KernelOperator(kernel, asarray(single))
    tol = {"float32": 2e-5, "float64": 1e-11}[dtype] * abs(K).max()
    assert_allclose(host(op.to_dense()), K, atol=tol)
    assert_allclose(host(op.diagonal()), np.diag(K), atol=tol)
    V = np.random.default_rng(1).normal(size=(300, 3)).astype(dtype)
    assert_allclose(host(op @ asarray(V)), K @ V, atol=40 * tol)
    cross = KernelOperator(kernel, asarray(single[:50]), asarray(single))
    assert_allclose(host(cross @ asarray(V)), K[:50] @ V, atol=40 * tol)
    signs = RandomSigns(300, 10, 0)
    R = signs.rows(0, 300).astype(float)
    forms = np.einsum("ib,ij,jb->b", R, K, R)
    assert_allclose(host(op.quadratic_forms(signs)), forms, atol=1000 * tol)


def test_scores_far_larger_than_points(asarray, host):
    """Float32 keeps its digits with `score_scale`."""
    x, s = data(200)
    rows = np.hstack([1e-3 * x, 1e3 * s])
    K = SteinKernel(RBF(1.3e-3), 3)(rows)
    kernel = SteinKernel(RBF(1.3e-3), 3, score_scale=1e-6)
    got = host(KernelOperator(kernel, asarray(rows.astype("f"))).to_dense())
    assert_allclose(got, K, atol=2e-5 * abs(K).max())


class TestErrors:
    @pytest.mark.parametrize(
        "base, message",
        [
            (Matern(1.0, nu=0.5), "not smooth enough: use nu"),
            (Matern(1.0, nu=1.2), "not smooth enough: use nu"),
            (Laplacian(1.0), "kernel of the Euclidean distance"),
            (RBF([1.0, 2.0, 3.0]), "one length scale for all columns"),
            (RBF(1.0) + WhiteKernel(), "kernel of the Euclidean distance"),
        ],
        ids=str,
    )
    def test_bases(self, base, message):
        with pytest.raises(ValueError, match=message):
            SteinKernel(base, 3)(np.ones((2, 6)))

    def test_rows(self, asarray):
        kernel = SteinKernel(RBF(1.0), 3)
        with pytest.raises(ValueError, match="an odd number"):
            KernelOperator(kernel, asarray(np.ones((4, 7))))
        with pytest.raises(ValueError, match="does not combine"):
            KernelOperator(kernel + RBF(1.0), asarray(np.ones((4, 6))))
        with pytest.raises(ValueError, match="n_features"):
            KernelOperator(SteinKernel(RBF(1.0), 0), asarray(np.ones((4, 6))))
