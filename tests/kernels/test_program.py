"""Programs: the statements that both engines compile."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process import kernels as skk

from gpkern import kernels as gk
from gpkern.kernels import Program
from gpkern.kernels import expr as ex
from gpkern.kernels.base import _as_leaf_has_it, _leaf_matrix
from gpkern.kernels.special import NUMPY


def run(program, X, Z):
    """The statements one after the other: what a compiler makes of them."""
    names = {
        f"s{i}": _leaf_matrix(leaf, *(_as_leaf_has_it(leaf, A) for A in (X, Z)), 0.0)
        for i, leaf in enumerate(program.pair_leaves + program.row_leaves)
    } | {f"p{i}": p for i, p in enumerate(program.params)}

    def operand(token):
        return names[token] if token in names else float(token)

    numpy = NUMPY | {"recip": lambda a: 1.0 / a}
    for target, op, operands in program.statements:
        assert target not in names, "a token is assigned once"
        names[target] = numpy[op](*map(operand, operands))
    return np.broadcast_to(operand(program.result), (len(X), len(Z)))


def test_statements(case):
    rng = np.random.default_rng(0)
    X, Z = case.data(rng, 7, 4), case.data(rng, 5, 4)
    program = Program.of(case.make(4), 4)
    with np.errstate(divide="ignore"):
        got = run(program, X, Z)
    assert_allclose(got, case.matrix(X, Z), rtol=1e-12, atol=1e-15)
    if case.positive:
        with np.errstate(divide="ignore"):
            got, expected = run(program.log, X, Z), np.log(case.matrix(X, Z))
        assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "exponent", [-3, -2.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 7, 10, 0.3, -1.7, 1e-3, 2000]
)
def test_powers(exponent):
    class Power(gk.FormulaKernel):
        def __init__(self, exponent=exponent):
            self.exponent = exponent

        def formula(self, pair):
            return pair.sqdist() ** pair.hyper("exponent")

    X = np.linspace(0.9, 1.1, 6)[:, None]
    Z = np.zeros((1, 1))
    assert_allclose(run(Program.of(Power()), X, Z), X ** (2.0 * exponent), rtol=1e-12)


def test_powers_of_whole_order_use_products():
    program = Program.of(skk.DotProduct(sigma_0=0.0) ** 8)
    assert [op for _, op, _ in program.statements].count("mul") == 3
    assert "log" not in program.key


def test_powers_of_one_plus_keep_small_terms():
    rq = Program.of(skk.RationalQuadratic(alpha=1e4))
    ops = [op for _, op, _ in rq.statements]
    assert ops == ["mul", "log1p", "mul", "exp"]
    assert "log1p" in Program.of(skk.RationalQuadratic(alpha=50.0)).key
    assert [op for _, op, _ in rq.log.statements] == ["mul", "log1p", "mul"]
    # Roots and reciprocals, where they do, are faster, and as accurate.
    for kernel in (skk.RationalQuadratic(alpha=8.0), gk.InverseMultiquadric()):
        assert "log" not in Program.of(kernel).key


def test_key_is_free_of_values():
    """One compiled function serves every value of the hyperparameters."""
    assert Program.of(skk.RBF(1.0)).key == Program.of(skk.RBF(2.5)).key
    assert Program.of(skk.RBF(1.0)).key == Program.of(skk.Matern(nu=np.inf)).key
    assert (
        Program.of(skk.RBF([1.0, 2.0])).key == Program.of(skk.RBF([3.0, 4.0, 5.0])).key
    )
    a, b = (
        Program.of(skk.ConstantKernel(c) * gk.InverseMultiquadric(s, exponent=0.8))
        for c, s in ((1.5, 2.5), (2.5, 0.3))
    )
    assert a.key == b.key and not np.array_equal(a.params, b.params)


def test_key_tells_formulas_apart():
    kernels = [
        skk.RBF(),
        skk.RBF() ** 2.5,
        skk.Matern(nu=0.5),
        skk.Matern(nu=1.5),
        gk.Laplacian(),
        gk.Chi2(),
        skk.DotProduct(),
        gk.Cosine(),
        gk.Polynomial(degree=2),
        gk.Polynomial(degree=3),
        skk.RBF() + skk.DotProduct(),
        skk.RBF() * skk.DotProduct(),
        skk.RBF([1.0, 2.0]) + skk.RBF(),
    ]
    assert len({Program.of(k).key for k in kernels}) == len(kernels)


def test_shared_distance_is_computed_once():
    program = Program.of(skk.RBF(1.0) + skk.Matern(2.0) + skk.RationalQuadratic())
    assert [leaf.metric for leaf in program.pair_leaves] == ["sqeuclidean"]


def test_white_noise_lives_on_the_diagonal():
    program = Program.of(skk.RBF() + skk.WhiteKernel(0.3))
    assert program.key == Program.of(skk.RBF()).key
    assert_allclose(program.diagonal(4, None), np.full(4, 1.3))


@pytest.mark.parametrize(
    ("kernel", "rough"),
    [
        (skk.Matern(nu=0.5), True),
        (skk.Matern(nu=1.2), True),
        (skk.RBF() + skk.ExpSineSquared(), True),
        (skk.RBF(), False),
        (skk.DotProduct() ** 0.5, False),
        (gk.Laplacian(), False),
    ],
    ids=str,
)
def test_is_rough(kernel, rough):
    assert Program.of(kernel).is_rough == rough


def test_pickle(case):
    kernel = case.make(3)
    program = pickle.loads(pickle.dumps(Program.of(kernel, 3)))
    assert program.key == Program.of(kernel, 3).key
    assert program.expr is Program.of(kernel, 3).expr
    assert pickle.loads(pickle.dumps(kernel)) == kernel


def test_no_formula():
    with pytest.raises(TypeError, match="CompoundKernel states no formula"):
        Program.of(skk.CompoundKernel([skk.RBF()]))


def test_deep_recursion():
    """As a network's kernel: hundreds of layers, each used twice by the next."""

    class Deep(gk.FormulaKernel):
        def __init__(self, depth=300):
            self.depth = depth

        def formula(self, pair):
            value = pair.dot()
            for _ in range(self.depth):
                value = ex.sin(value) * 0.5 + value * 0.5
            return value

    program = Program.of(Deep())
    assert len(program.statements) <= 4 * 300
    X = np.array([[0.3], [1.0]])
    expected = X @ X.T
    for _ in range(300):
        expected = np.sin(expected) / 2 + expected / 2
    assert_allclose(run(program, X, X), expected, rtol=1e-12)
