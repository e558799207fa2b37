"""Formulas as data: what can be asked of them."""

import math
import os
import pickle
import signal
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from gpkern.kernels import expr as ex
from gpkern.kernels import graph
from gpkern.kernels.expr import Expr, Leaf

R2, DOT, ONE = ex.leaf("sqeuclidean"), ex.leaf("dot"), ex.leaf("same")
A, B = ex.hyper("a", 0.7), ex.hyper("b", 1.9)


def value(expr, r2=1.3, dot=-0.4):
    return ex.evaluate(expr, {R2.value: r2, DOT.value: dot, ONE.value: 1.0})


# Each over R2 > 0, with its value at r2 = s.
FORMULAS = [
    (R2 + 2, lambda s: s + 2),
    (2 - R2, lambda s: 2 - s),
    (R2 - A, lambda s: s - 0.7),
    (3 * R2 * A, lambda s: 2.1 * s),
    (A / (1 + R2), lambda s: 0.7 / (1 + s)),
    (R2 / B, lambda s: s / 1.9),
    (-(R2**2.5), lambda s: -(s**2.5)),
    (R2**0.5, np.sqrt),
    (R2 ** (-A), lambda s: s**-0.7),
    (R2**0, lambda s: 1.0),
    (ex.exp(-R2), lambda s: np.exp(-s)),
    (ex.log(R2), np.log),
    (ex.log(1 + R2), np.log1p),
    (ex.log1p(A * R2), lambda s: np.log1p(0.7 * s)),
    (ex.sqrt(4 * R2), lambda s: 2 * np.sqrt(s)),
    (ex.sin(R2) * ex.cos(R2), lambda s: np.sin(s) * np.cos(s)),
    (ex.tanh(R2), np.tanh),
    (ex.absolute(R2 - 1), lambda s: np.abs(s - 1)),
    (ex.angle(ex.sin(R2), ex.cos(R2)), lambda s: s),
    (ex.guarded_ratio(ex.sin(R2), R2), lambda s: np.sin(s) / s),
    (ex.log_matern(1.5, R2), lambda s: np.log(1 + s) - s),
    (ex.matern(1.5, R2), lambda s: (1 + s) * np.exp(-s)),
    (ex.matern(2.5, ex.sqrt(R2)), lambda s: (1 + s**0.5 + s / 3) * np.exp(-(s**0.5))),
    (ex.exp(-R2 / B) * (R2 + A) ** 3, lambda s: np.exp(-s / 1.9) * (s + 0.7) ** 3),
]


@pytest.mark.parametrize(("formula", "expected"), FORMULAS, ids=range(len(FORMULAS)))
def test_evaluate_and_diff(formula, expected):
    s, h = np.array([0.2, 1.3, 2.8]), 1e-6
    assert_allclose(value(formula, s), expected(s), rtol=1e-13)
    slope = (expected(s + h) - expected(s - h)) / (2 * h)
    derivative = np.broadcast_to(value(ex.diff(formula, R2), s), s.shape)
    assert_allclose(derivative, slope, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("formula", [f for f, _ in FORMULAS], ids=str)
def test_diff_by_a_hyperparameter(formula):
    h = 1e-6
    up, down = (
        ex.substitute(formula, {A: ex.hyper("a", 0.7 + step)}) for step in (h, -h)
    )
    slope = (value(up) - value(down)) / (2 * h)
    assert_allclose(value(ex.diff(formula, A)), slope, rtol=1e-7, atol=1e-9)


def test_diff_of_what_is_not_there():
    assert ex.diff(ex.exp(R2), DOT) is ex.literal(0.0)
    assert ex.diff(R2, R2) is ex.literal(1.0)


def test_second_derivative():
    formula = ex.exp(-R2 * A)
    assert_allclose(value(ex.diff(ex.diff(formula, R2), R2)), 0.49 * np.exp(-0.7 * 1.3))


def test_diff_of_a_rough_matern_says_why_not():
    with pytest.raises(ValueError, match="half-integer"):
        ex.diff(ex.matern(0.7, R2), R2)


def test_guarded_ratio_at_zero():
    assert value(ex.guarded_ratio(R2, R2), np.array([0.0, 2.0])).tolist() == [0, 1]


def test_matern_where_the_rows_meet_and_far_away():
    z = np.array([0.0, 1e-14, 600.0, 1e5])
    got = value(ex.matern(1.5, R2), z)
    assert_allclose(got, (1 + z) * np.exp(-z), rtol=1e-12)


# -------------------------------------------------------------------------- interning


def test_equal_graphs_are_one_object():
    assert ex.exp(-R2 * A) is ex.exp(-ex.leaf("sqeuclidean") * ex.hyper("a", 0.7))
    assert ex.hyper("a", 0.7) is not ex.hyper("a", 0.8)
    assert ex.hyper("a", 0.7) is not ex.hyper("b", 0.7)
    assert ex.leaf("dot") is not ex.leaf("dot", (1.0, 2.0))


def test_interning_in_threads():
    """A race would split one quantity in two: substitute() would miss one of them."""
    rounds, threads = 200, 8
    made = np.empty((threads, rounds), dtype=object)
    start = threading.Barrier(threads)

    def make(t):
        for i in range(rounds):
            start.wait()
            made[t, i] = ex.leaf("dot", (float(i), -1.0)) * ex.hyper("w", i)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=make, args=(t,)) for t in range(threads)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
    finally:
        sys.setswitchinterval(interval)
    assert all(len({id(node) for node in column}) == 1 for column in made.T)


def test_pickle_keeps_identity():
    formula = ex.exp(-R2 * A) + ex.matern(1.2, ex.sqrt(R2)) * DOT
    assert pickle.loads(pickle.dumps(formula)) is formula


def test_sharing_keeps_deep_recursions_small():
    """As many nodes as steps, though written out the graph has 2 ** 200."""
    formula = DOT
    for _ in range(200):
        formula = ex.sin(formula) + formula * formula
    assert len(ex.nodes(formula)) == 1 + 3 * 200
    assert len(ex.nodes(ex.diff(formula, DOT))) < 10_000
    assert len(ex.nodes(ex.substitute(formula, {DOT: R2}))) == 1 + 3 * 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_inherit_the_lock():
    with graph._interning:  # as another thread would hold it
        child = os.fork()
        if child == 0:
            signal.alarm(10)  # ends a child that waits
            _ = R2 * 1234.5
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# ---------------------------------------------------------------------- NumPy numbers


def test_numpy_numbers():
    two = np.float64(2.0)
    assert two * R2 is 2.0 * R2 and R2 * two is 2.0 * R2
    assert two + R2 is 2.0 + R2 and two - R2 is 2.0 - R2
    assert two / R2 is 2.0 / R2 and R2 / two is R2 / 2.0
    assert R2**two is R2**2.0 and np.negative(R2) is -R2
    assert np.array(3.0) * R2 is np.int64(3) * R2
    assert two != R2 and (two == R2) is False


@pytest.mark.parametrize(
    ("ufunc", "message"),
    [
        (np.exp, r"numpy\.exp does not take .* gpkern\.kernels\.expr: exp$"),
        (np.log1p, r"expr: log1p$"),
        (
            np.arctan,
            r"numpy\.arctan does not .* exp, log, log1p, sqrt, sin, cos, tanh$",
        ),
        (np.add.reduce, r"numpy\.add does not"),
    ],
)
def test_other_ufuncs_say_what_to_use(ufunc, message):
    with pytest.raises(TypeError, match=message):
        ufunc(R2)


def test_arrays_are_no_numbers():
    with pytest.raises(TypeError):
        np.ones(3) * R2


# -------------------------------------------------------------------------- algebra


def test_numbers_are_folded():
    assert ex.literal(2.0) * 3.0 is ex.literal(6.0)
    assert R2 * 1.0 is R2 and R2 + 0.0 is R2 and R2**1.0 is R2
    assert R2 * 0.0 is ex.literal(0.0)
    assert 2.0 * (3.0 * R2) is 6.0 * R2
    assert (2.0 * R2) * (3.0 * DOT) is 6.0 * (R2 * DOT)
    assert 1.0 + (2.0 + R2) is 3.0 + R2


numbers = st.floats(-3, 3, allow_nan=False).map(lambda v: round(v, 2))
atoms = st.one_of(st.sampled_from([R2, DOT, A, B]), numbers.map(ex.literal))
TREES = st.recursive(
    st.builds(lambda e: (e, e), atoms),
    lambda children: st.builds(
        lambda op, left, right: (op, left, right),
        st.sampled_from(["add", "sub", "mul", "sqrt", "square", "sin"]),
        children,
        children,
    ),
    max_leaves=12,
)


def _build(tree, leaf):
    """The tree with Expr arithmetic (leaf: identity) or with plain numbers."""
    if len(tree) == 2:
        return leaf(tree[0])
    op, left, right = tree
    a, b = _build(left, leaf), _build(right, leaf)
    sqrt, sin = (ex.sqrt, ex.sin) if isinstance(a, Expr) else (math.sqrt, math.sin)
    match op:
        case "add":
            return a + b
        case "sub":
            return a - b
        case "mul":
            return a * b
        case "square":
            return a**2
        case "sin":
            return sin(a)
    # A number may leave the root: also a factor that is negative twice.
    return sqrt(a * a)


@given(tree=TREES)
def test_rewriting_keeps_the_value(tree):
    expected = _build(tree, lambda e: float(value(e)))
    got = float(value(_build(tree, lambda e: e)))
    assert_allclose(got, expected, rtol=1e-9, atol=1e-9)


def test_logarithm_of_one_plus():
    x = A * R2
    assert ex.log(1 + x) is ex.log(x + 1) is ex.log1p(x)
    assert ex.log(ex.literal(1.0) + 2.0 + x) is not ex.log1p(x)
    assert ex.log_of(1 + x) is ex.log1p(x)
    replaced = ex.substitute(ex.log(ONE + R2), {ONE: ex.literal(1.0)})
    assert replaced is ex.log1p(R2)
    assert ex.evaluate(ex.log(1 + R2), {R2.value: 1e-20}) == 1e-20


def test_substitute_builds_anew():
    formula = ex.exp(R2**3) + DOT**2
    got = ex.substitute(formula, {DOT: R2}, {"pow": lambda base, exponent: base})
    assert got is ex.exp(R2) + R2


def test_exponent_must_be_a_number():
    with pytest.raises(TypeError, match="exponent"):
        R2**DOT


def test_uniform():
    assert (A * B + 2).is_uniform and not (A * R2).is_uniform
    assert ex.uniform_value(A * B + 2) == pytest.approx(0.7 * 1.9 + 2)


def test_leaves_in_order_of_first_use():
    scaled = ex.leaf("l1", (1.0, 2.0), "length_scale")
    assert ex.leaves(DOT * scaled + DOT) == [
        Leaf("dot"),
        Leaf("l1", (1.0, 2.0), "length_scale"),
    ]


def test_substitute():
    formula = ex.exp(-R2 * A) + ONE * B
    assert ex.substitute(formula, {ONE: ex.literal(0.0)}) is ex.exp(-R2 * A)
    assert ex.substitute(formula, {DOT: R2}) is formula
    swapped = ex.substitute(formula, {R2: DOT, A: B})
    assert swapped is ex.exp(-DOT * B) + ONE * B


def test_repr():
    assert "exp" in repr(ex.exp(A)) and "'a'" in repr(A)


# -------------------------------------------------------------------------- logarithm

POSITIVE = [
    ex.exp(-R2),
    ex.literal(3.0) * ex.exp(-R2),
    A * ex.exp(-R2) ** 2.5,
    ex.sqrt(ex.exp(-R2)) * (1 + R2),
    (1 + R2 / B) ** (-A),
    ex.exp(-R2) + A,
    ex.matern(1.2, R2),
    ex.tanh(R2),
    ex.guarded_ratio(R2, B),
    ex.literal(2.0),
    # Factors below zero whose product is not.
    DOT**2 * ex.exp(-R2),
    (DOT - 1) ** 4,
    DOT ** (-2),
    DOT * (DOT - 1),
    ex.hyper("c", -1.0) * ex.hyper("c", -1.0) * ex.exp(-R2),
    (DOT * ex.exp(-R2)) * DOT,
]


@pytest.mark.parametrize("formula", POSITIVE, ids=str)
def test_log_of(formula):
    exact = np.log(value(formula))
    assert np.isfinite(exact)
    assert_allclose(value(ex.log_of(formula)), exact, rtol=1e-12)


@pytest.mark.parametrize("formula", [DOT, DOT**3, -ex.exp(-R2), DOT * ex.exp(-R2)])
def test_log_of_a_negative_value_is_nan(formula):
    assert np.isnan(value(ex.log_of(formula)))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (ex.exp(-R2), -1e5),
        (ex.exp(-R2) ** 3 * A, -3e5 + math.log(0.7)),
        (ex.sqrt(ex.exp(-R2)) * (1 + R2), -5e4 + math.log(1 + 1e5)),
        (DOT**2 * ex.exp(-R2), -1e5 + 2 * math.log(0.4)),
        (ex.exp(-R2) * ex.exp(-R2), -2e5),
        (3 * ex.matern(1.5, R2), math.log(3 * (1 + 1e5)) - 1e5),
    ],
)
def test_log_of_does_not_underflow(formula, expected):
    assert_allclose(value(ex.log_of(formula), r2=1e5), expected, rtol=1e-14)
