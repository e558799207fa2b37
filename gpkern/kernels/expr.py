"""Kernel formulas as data.

A kernel writes its formula once, over the quantities of a pair of rows (squared
distance, inner product, ...) and its hyperparameters. The result is a small
expression graph. From that one graph come the NumPy reference (`evaluate`), the
derivatives (`diff`), the logarithm (`log_of`) and, through `Program`, the
element functions that the CPU and GPU engines compile.
"""

from __future__ import annotations

import math
from functools import reduce

from .graph import (
    Expr,
    Leaf,
    absolute,
    add,
    angle,
    as_expr,
    constant,
    cos,
    evaluate,
    evaluate_all,
    exp,
    guarded_ratio,
    hyper,
    leaf,
    leaf_node,
    leaves,
    literal,
    log,
    log1p,
    log_matern,
    matern,
    mul,
    nodes,
    nodes_of_all,
    power,
    sin,
    sqrt,
    tanh,
    uniform_value,
)

__all__ = [
    "Expr",
    "Leaf",
    "absolute",
    "angle",
    "as_expr",
    "constant",
    "cos",
    "diff",
    "evaluate",
    "evaluate_all",
    "exp",
    "guarded_ratio",
    "hyper",
    "leaf",
    "leaf_node",
    "leaves",
    "literal",
    "log",
    "log1p",
    "log_matern",
    "log_of",
    "matern",
    "never_negative",
    "nodes",
    "nodes_of_all",
    "power",
    "sin",
    "sqrt",
    "substitute",
    "tanh",
    "uniform_value",
]


def _partials(node):
    """Derivatives of a node with respect to its arguments."""
    a = node.args
    match node.op:
        case "add":
            return literal(1.0), literal(1.0)
        case "mul":
            return a[1], a[0]
        case "pow":
            exponent = uniform_value(a[1])
            if 0.0 < exponent < 1.0:  # as of a root, below
                return a[1] * guarded_ratio(node, a[0]), node * log(a[0])
            return a[1] * power(a[0], a[1] - 1.0), node * log(a[0])
        case "exp":
            return (node,)
        case "log":
            return (1.0 / a[0],)
        case "log1p":
            return (1.0 / (1.0 + a[0]),)
        case "sqrt":  # 0 where rows meet: what it is multiplied by is 0 there as well
            return (guarded_ratio(0.5, node),)
        case "sin":
            return (cos(a[0]),)
        case "cos":
            return (-sin(a[0]),)
        case "tanh":
            return (1.0 - node * node,)
        case "absolute":
            return (guarded_ratio(a[0], node),)
        case "angle":
            return a[1], -a[0]
        case "ratio":
            return guarded_ratio(1.0, a[1]), -guarded_ratio(node, a[1])
        case "matern":
            return literal(0.0), _matern_slope(a[0]) * a[1] * matern(a[0] - 1.0, a[1])
        case "log_matern":
            ratio = exp(log_matern(a[0] - 1.0, a[1]) - node)
            return literal(0.0), _matern_slope(a[0]) * a[1] * ratio
    raise TypeError(f"no derivative for {node.op!r}")  # pragma: no cover


def _matern_slope(order):
    """d/dz of a Matern correlation, over z times that of the order below.

    From ``d/dz z^nu K_nu(z) = -z^nu K_{nu-1}(z)``. The order itself is not a
    hyperparameter.
    """
    nu = uniform_value(order)
    if nu <= 1:
        raise ValueError(
            "the derivative of a Matern kernel with nu <= 1 needs a half-integer nu"
        )
    return -1.0 / (2.0 * (nu - 1.0))


def diff(expr, wrt):
    """Symbolic derivative.

    Parameters
    ----------
    expr : Expr
    wrt : Expr
        A `leaf` or a `hyper` node.

    Returns
    -------
    Expr
    """
    order = nodes(expr)
    below = {id(wrt)}
    for n in order:
        if any(id(a) in below for a in n.args):
            below.add(id(n))
    done = {id(wrt): literal(1.0)}
    for n in order:
        if id(n) not in below or n is wrt:
            continue
        terms = [
            p * done[id(a)]
            for a, p in zip(n.args, _partials(n), strict=True)
            if id(a) in below
        ]
        done[id(n)] = reduce(add, terms)
    return done.get(id(expr), literal(0.0))


def never_negative(expr):
    """Whether the form of `expr` alone rules out negative values."""
    signs = {}
    for n in nodes(expr):
        match n.op:
            case "literal" | "constant":
                sign = n.value >= 0
            case "hyper":
                sign = n.value[1] >= 0
            case "leaf":
                sign = n.value.metric != "dot"
            case "exp" | "sqrt" | "matern" | "absolute":
                sign = True
            case "add" | "mul" | "ratio":
                sign = all(signs[id(a)] for a in n.args)
            case "pow":
                sign = signs[id(n.args[0])]
            case _:
                sign = False
        signs[id(n)] = sign
    return signs[id(expr)]


def log_of(expr):
    """Logarithm of an expression: NaN where that is negative.

    Without underflow where it can be had: not through a sum.
    """
    match expr.op:
        case "exp":
            return expr.args[0]
        case "mul" if any(map(never_negative, expr.args)):
            return log_of(expr.args[0]) + log_of(expr.args[1])
        case "pow":
            base, exponent = expr.args
            if uniform_value(exponent) % 2 == 0 and not never_negative(base):
                return 0.5 * exponent * log(base * base)
            return exponent * log_of(base)
        case "sqrt":
            return 0.5 * log_of(expr.args[0])
        case "matern":
            return log_matern(*expr.args)
        case "literal" if expr.value > 0:
            return literal(math.log(expr.value))
    return log(expr)


def substitute(expr, replacements, builders=None):
    """`expr` with some nodes replaced.

    Parameters
    ----------
    expr : Expr
    replacements : mapping of Expr to Expr
    builders : mapping of str to callable, default=None
        What builds the nodes of an operation anew, from their arguments.
    """
    usual = {"add": add, "mul": mul, "pow": power, "log": log}
    builders = builders or {}
    done = {id(old): new for old, new in replacements.items()}
    for node in nodes(expr):
        if id(node) in done:
            continue
        args = tuple(done[id(a)] for a in node.args)
        build = builders.get(node.op)
        if build is None and args == node.args:
            done[id(node)] = node
            continue
        build = build or usual.get(node.op)
        done[id(node)] = build(*args) if build else Expr(node.op, args, node.value)
    return done[id(expr)]
