"""Kernel formulas as data.

A kernel writes its formula once, over the quantities of a pair of rows (squared
distance, inner product, ...) and its hyperparameters. The result is a small
expression graph. From that one graph come the NumPy reference (`evaluate`), the
derivatives (`diff`), the logarithm (`log_of`) and, through `Program`, the
element functions that the CPU and GPU engines compile.

Nodes are interned: equal graphs are the same object, so sharing is found by
identity and a recursion of any depth stays linear in size.
"""

from __future__ import annotations

import math
import threading
import weakref
from dataclasses import dataclass
from functools import reduce

import numpy as np

_INTERNED: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_interning = threading.Lock()


class Expr:
    """One node: an operation, its arguments and, at a leaf, its value.

    Build nodes with the arithmetic operators and the functions of this module.
    """

    __slots__ = ("__weakref__", "args", "is_uniform", "op", "value")

    def __new__(cls, op, args=(), value=None):
        key = (op, args, value)
        with _interning:
            node = _INTERNED.get(key)
            if node is None:
                node = object.__new__(cls)
                node.op, node.args, node.value = op, args, value
                # Uniform: the same for every pair, so computed once on the host.
                node.is_uniform = op != "leaf" and all(a.is_uniform for a in args)
                _INTERNED[key] = node
            return node

    def __reduce__(self):
        return Expr, (self.op, self.args, self.value)

    def __add__(self, other):
        return _add(self, as_expr(other))

    def __radd__(self, other):
        return _add(as_expr(other), self)

    def __sub__(self, other):
        return _add(self, _mul(literal(-1.0), as_expr(other)))

    def __rsub__(self, other):
        return _add(as_expr(other), _mul(literal(-1.0), self))

    def __mul__(self, other):
        return _mul(self, as_expr(other))

    def __rmul__(self, other):
        return _mul(as_expr(other), self)

    def __truediv__(self, other):
        return _mul(self, power(as_expr(other), -1.0))

    def __rtruediv__(self, other):
        return _mul(as_expr(other), power(self, -1.0))

    def __pow__(self, exponent):
        return power(self, exponent)

    def __neg__(self):
        return _mul(literal(-1.0), self)

    def __repr__(self):
        if self.op in ("literal", "hyper", "leaf"):
            return str(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"


@dataclass(frozen=True)
class Leaf:
    """A quantity of a pair of rows that an engine computes from the data.

    Parameters
    ----------
    metric : {"sqeuclidean", "l1", "chi2", "dot", "norm_x", "norm_z"}
        The last two are the squared norms of the two rows; they vary along one
        side of the matrix only.
    scale : tuple of float or None
        Length scale of each column, by which the rows are divided first.
    owner : str
        The hyperparameter that holds `scale`; empty when there is none.
    """

    metric: str
    scale: tuple | None = None
    owner: str = ""

    @property
    def is_pairwise(self):
        return self.metric not in ("norm_x", "norm_z")

    def check_columns(self, n_features):
        """ValueError unless `scale` fits data of so many columns."""
        if self.scale is not None and len(self.scale) != n_features:
            raise ValueError(
                f"the kernel has {len(self.scale)} length scales for data of "
                f"{n_features} columns"
            )


def literal(value):
    """A number written in the formula itself."""
    return Expr("literal", (), float(value))


def hyper(name, value):
    """A hyperparameter: its name (for derivatives) and current value."""
    return Expr("hyper", (), (name, float(value)))


def leaf(metric, scale=None, owner=""):
    """A quantity of the pair; see `Leaf`."""
    return Expr("leaf", (), Leaf(metric, scale, owner))


def as_expr(x):
    """A node unchanged, a number as a literal."""
    return x if isinstance(x, Expr) else literal(x)


def _is(node, number):
    return node.op == "literal" and node.value == number


def _add(a, b):
    if a.op == b.op == "literal":
        return literal(a.value + b.value)
    if _is(a, 0.0):
        return b
    if _is(b, 0.0):
        return a
    if b.is_uniform and not a.is_uniform:
        a, b = b, a
    if a.is_uniform and b.op == "add" and b.args[0].is_uniform:
        return _add(_add(a, b.args[0]), b.args[1])
    return Expr("add", (a, b))


def _mul(a, b):
    if a.op == b.op == "literal":
        return literal(a.value * b.value)
    if _is(a, 0.0) or _is(b, 0.0):
        return literal(0.0)
    if _is(a, 1.0):
        return b
    if _is(b, 1.0):
        return a
    # Numbers move to the front and merge, so that one multiplication is left.
    if b.is_uniform and not a.is_uniform:
        a, b = b, a
    if a.is_uniform and not b.is_uniform and b.op == "mul" and b.args[0].is_uniform:
        return _mul(_mul(a, b.args[0]), b.args[1])
    if not a.is_uniform and a.op == "mul" and a.args[0].is_uniform:
        return _mul(a.args[0], _mul(a.args[1], b))
    if not a.is_uniform and b.op == "mul" and b.args[0].is_uniform:
        return _mul(b.args[0], _mul(a, b.args[1]))
    return Expr("mul", (a, b))


def power(base, exponent):
    """``base ** exponent``; the exponent may not depend on the pair."""
    base, exponent = as_expr(base), as_expr(exponent)
    if not exponent.is_uniform:
        raise TypeError("the exponent of a kernel expression must be a number")
    if _is(exponent, 0.0):
        return literal(1.0)
    if _is(exponent, 1.0):
        return base
    if _is(exponent, 0.5):
        return sqrt(base)
    if base.op == exponent.op == "literal" and base.value > 0:
        return literal(base.value**exponent.value)
    return Expr("pow", (base, exponent))


def _unary(name):
    def build(x):
        return Expr(name, (as_expr(x),))

    build.__name__ = name
    build.__doc__ = f"Element-wise ``{name}``."
    return build


exp, log = _unary("exp"), _unary("log")
sin, cos, tanh = _unary("sin"), _unary("cos"), _unary("tanh")


def sqrt(x):
    """Element-wise square root."""
    x = as_expr(x)
    if x.op == "mul" and x.args[0].is_uniform and uniform_value(x.args[0]) > 0:
        # The number leaves the root, where it can merge with others.
        return _mul(Expr("sqrt", (x.args[0],)), Expr("sqrt", (x.args[1],)))
    return Expr("sqrt", (x,))


def matern(nu, z):
    """Matern correlation ``2^(1-nu) / Gamma(nu) z^nu K_nu(z)``, 1 at ``z = 0``."""
    return Expr("matern", (as_expr(nu), as_expr(z)))


def guarded_ratio(numerator, denominator):
    """``numerator / denominator``, and 0 where the denominator is 0."""
    return Expr("ratio", (as_expr(numerator), as_expr(denominator)))


# --------------------------------------------------------------------------------
# What can be asked of an expression


def nodes(expr):
    """All nodes below `expr`, arguments before their users."""
    seen, order, stack = set(), [], [(expr, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(node.args))
    return order


def leaves(expr):
    """The distinct `Leaf` values used, in order of first use."""
    return [n.value for n in nodes(expr) if n.op == "leaf"]


def _np_ratio(a, b):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b == 0, 0.0, np.divide(a, b))


def _np_matern(nu, z):
    from scipy.special import gammaln, kve

    z = np.asarray(z, dtype=np.float64)
    safe = np.maximum(z, 1e-300)
    # kve(nu, z) = K_nu(z) exp(z): keeps the far tail away from underflow.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        logk = np.log(kve(nu, safe)) - safe + nu * np.log(safe)
        value = np.exp((1.0 - nu) * math.log(2.0) - gammaln(nu) + logk)
    return np.where(z < 1e-12, 1.0, value)


_NUMPY = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "pow": lambda a, b: a**b,
    "ratio": _np_ratio,
    "matern": _np_matern,
    **{f: getattr(np, f) for f in ("exp", "log", "sqrt", "sin", "cos", "tanh")},
}


def evaluate(expr, values):
    """Value of `expr`, by NumPy; infinite and undefined values raise no warning.

    Parameters
    ----------
    expr : Expr
    values : mapping of Leaf to array
        Broadcastable against each other.

    Returns
    -------
    ndarray or float
    """
    done = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for node in nodes(expr):
            if node.op == "literal":
                out = node.value
            elif node.op == "hyper":
                out = node.value[1]
            elif node.op == "leaf":
                out = values[node.value]
            else:
                out = _NUMPY[node.op](*(done[id(a)] for a in node.args))
            done[id(node)] = out
    return done[id(expr)]


def uniform_value(expr):
    """The number that a uniform expression stands for."""
    return float(evaluate(expr, {}))


def _partials(node):
    """Derivatives of a node with respect to its arguments."""
    a = node.args
    match node.op:
        case "add":
            return literal(1.0), literal(1.0)
        case "mul":
            return a[1], a[0]
        case "pow":
            return a[1] * power(a[0], a[1] - 1.0), node * log(a[0])
        case "exp":
            return (node,)
        case "log":
            return (1.0 / a[0],)
        case "sqrt":
            return (0.5 / node,)
        case "sin":
            return (cos(a[0]),)
        case "cos":
            return (-sin(a[0]),)
        case "tanh":
            return (1.0 - node * node,)
        case "ratio":
            return guarded_ratio(1.0, a[1]), -guarded_ratio(node, a[1])
        case "matern":
            # d/dz z^nu K_nu(z) = -z^nu K_{nu-1}(z); written with the correlation of
            # order nu - 1 where that exists. The order itself is not a hyperparameter.
            nu = uniform_value(a[0])
            if nu <= 1:
                raise ValueError(
                    "the derivative of a Matern kernel with nu <= 1 needs a "
                    "half-integer nu"
                )
            return literal(0.0), -a[1] / (2.0 * (nu - 1.0)) * matern(nu - 1.0, a[1])
    raise TypeError(f"no derivative for {node.op!r}")  # pragma: no cover


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
        done[id(n)] = reduce(_add, terms)
    return done.get(id(expr), literal(0.0))


def _never_negative(expr):
    """Whether the form of `expr` alone rules out negative values."""
    signs = {}
    for n in nodes(expr):
        match n.op:
            case "literal":
                sign = n.value >= 0
            case "hyper":
                sign = n.value[1] >= 0
            case "leaf":
                sign = n.value.metric != "dot"
            case "exp" | "sqrt" | "matern":
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
        case "mul" if any(map(_never_negative, expr.args)):
            return log_of(expr.args[0]) + log_of(expr.args[1])
        case "pow":
            base, exponent = expr.args
            if uniform_value(exponent) % 2 == 0 and not _never_negative(base):
                return 0.5 * exponent * log(base * base)
            return exponent * log_of(base)
        case "sqrt":
            return 0.5 * log_of(expr.args[0])
        case "literal" if expr.value > 0:
            return literal(math.log(expr.value))
    return log(expr)


def substitute(expr, replacements):
    """`expr` with some nodes replaced.

    Parameters
    ----------
    expr : Expr
    replacements : mapping of Expr to Expr
    """
    rebuild = {"add": _add, "mul": _mul, "pow": power}
    done = {id(old): new for old, new in replacements.items()}
    for node in nodes(expr):
        if id(node) in done:
            continue
        args = tuple(done[id(a)] for a in node.args)
        if args == node.args:
            done[id(node)] = node
        elif node.op in rebuild:
            done[id(node)] = rebuild[node.op](*args)
        else:
            done[id(node)] = Expr(node.op, args, node.value)
    return done[id(expr)]
