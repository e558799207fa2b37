"""The nodes of kernel formulas: built, interned, evaluated.

Nodes are interned: equal graphs are the same object, so sharing is found by
identity and a recursion of any depth stays linear in size.
"""

from __future__ import annotations

import operator
import os
import threading
import weakref
from dataclasses import dataclass

import numpy as np

from .special import NUMPY

_INTERNED: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
_interning = threading.Lock()


def _renew_lock():
    global _interning
    _interning = threading.Lock()


# Another thread may hold the lock while this one forks: the child would wait forever.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)

_OPERATORS = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
    np.true_divide: operator.truediv,
    np.power: operator.pow,
    np.negative: operator.neg,
    np.equal: operator.is_,
    np.not_equal: operator.is_not,
}


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
        return add(self, as_expr(other))

    def __radd__(self, other):
        return add(as_expr(other), self)

    def __sub__(self, other):
        return add(self, mul(literal(-1.0), as_expr(other)))

    def __rsub__(self, other):
        return add(as_expr(other), mul(literal(-1.0), self))

    def __mul__(self, other):
        return mul(self, as_expr(other))

    def __rmul__(self, other):
        return mul(as_expr(other), self)

    def __truediv__(self, other):
        return mul(self, power(as_expr(other), -1.0))

    def __rtruediv__(self, other):
        return mul(as_expr(other), power(self, -1.0))

    def __pow__(self, exponent):
        return power(self, exponent)

    def __neg__(self):
        return mul(literal(-1.0), self)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        # NumPy numbers ask here for their arithmetic with expressions.
        if ufunc in _OPERATORS and method == "__call__" and not kwargs:
            return _OPERATORS[ufunc](*map(as_expr, inputs))
        name = ufunc.__name__
        usable = name if name in _FUNCTIONS else ", ".join(_FUNCTIONS)
        raise TypeError(
            f"numpy.{name} does not take a kernel expression; use the functions of "
            f"gpkern.kernels.expr: {usable}"
        )

    def __repr__(self):
        if self.op in ("literal", "constant", "hyper", "leaf"):
            return str(self.value)
        return f"{self.op}({', '.join(map(repr, self.args))})"


@dataclass(frozen=True)
class Leaf:
    """A quantity of a pair of rows that an engine computes from the data.

    Parameters
    ----------
    metric : {"sqeuclidean", "l1", "chi2", "dot", "unit_sqdist", "unit_sqsum", \
            "norm_x", "norm_z", "given_x"}
        The last three vary along one side of the matrix only: the squared norms of
        the two rows, and a number of the left row that comes with the call. Those
        named "unit" are of rows divided by their norms.
    scale : tuple of float or None
        Length scale of each column, by which the rows are divided first.
    owner : str
        The hyperparameter that holds `scale`; empty when there is none.
    mix : tuple of float or None
        Of rows that hold two vectors one after the other: the combination (a, b) of
        them, ``a * first + b * second``, that the quantity is one of.
    """

    metric: str
    scale: tuple | None = None
    owner: str = ""
    mix: tuple | None = None

    @property
    def is_pairwise(self):
        return self.metric not in ("norm_x", "norm_z", "given_x")

    @property
    def is_unit(self):
        """Whether it is a quantity of rows divided by their norms."""
        return self.metric in ("unit_sqdist", "unit_sqsum")

    @property
    def is_left(self):
        """Whether it is a quantity of the left row alone."""
        return self.metric in ("norm_x", "given_x")

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


def constant(value):
    """A number that is compiled in, where `literal` is an argument of the code."""
    return Expr("constant", (), float(value))


def hyper(name, value):
    """A hyperparameter: its name (for derivatives) and current value."""
    return Expr("hyper", (), (name, float(value)))


def leaf(metric, scale=None, owner="", mix=None):
    """A quantity of the pair; see `Leaf`."""
    return leaf_node(Leaf(metric, scale, owner, mix))


def leaf_node(value):
    """The node of a `Leaf`."""
    return Expr("leaf", (), value)


def as_expr(x):
    """A node unchanged, a number as a literal."""
    return x if isinstance(x, Expr) else literal(x)


def _is(node, number):
    return node.op == "literal" and node.value == number


def add(a, b):
    """Sum of two expressions, numbers folded."""
    if a.op == b.op == "literal":
        return literal(a.value + b.value)
    if _is(a, 0.0):
        return b
    if _is(b, 0.0):
        return a
    if b.is_uniform and not a.is_uniform:
        a, b = b, a
    if a.is_uniform and b.op == "add" and b.args[0].is_uniform:
        return add(add(a, b.args[0]), b.args[1])
    return Expr("add", (a, b))


def mul(a, b):
    """Product of two expressions, numbers folded."""
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
        return mul(mul(a, b.args[0]), b.args[1])
    if not a.is_uniform and a.op == "mul" and a.args[0].is_uniform:
        return mul(a.args[0], mul(a.args[1], b))
    if not a.is_uniform and b.op == "mul" and b.args[0].is_uniform:
        return mul(b.args[0], mul(a, b.args[1]))
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


exp, log1p, absolute = _unary("exp"), _unary("log1p"), _unary("absolute")
sin, cos, tanh = _unary("sin"), _unary("cos"), _unary("tanh")


def log(x):
    """Element-wise natural logarithm; that of ``1 + x`` keeps the digits of a small x.

    So does a power of ``1 + x``, which a program takes by way of this logarithm.
    """
    x = as_expr(x)
    if x.op == "add" and _is(x.args[0], 1.0):
        return log1p(x.args[1])
    return Expr("log", (x,))


def sqrt(x):
    """Element-wise square root."""
    x = as_expr(x)
    if x.op == "mul" and x.args[0].is_uniform and uniform_value(x.args[0]) > 0:
        # The number leaves the root, where it can merge with others.
        return mul(Expr("sqrt", (x.args[0],)), Expr("sqrt", (x.args[1],)))
    return Expr("sqrt", (x,))


def matern(nu, z):
    """Matern correlation ``2^(1-nu) / Gamma(nu) z^nu K_nu(z)``, 1 at ``z = 0``."""
    return Expr("matern", (as_expr(nu), as_expr(z)))


def log_matern(nu, z):
    """Logarithm of `matern`, which does not underflow."""
    return Expr("log_matern", (as_expr(nu), as_expr(z)))


def angle(sine, cosine):
    """The angle, from -pi to pi, that has this sine and cosine.

    Their squares must add up to 1: the engines take the arc sine of the smaller one,
    which keeps all digits of an angle near 0.
    """
    return Expr("angle", (as_expr(sine), as_expr(cosine)))


def guarded_ratio(numerator, denominator):
    """``numerator / denominator``, and 0 where the denominator is 0."""
    return Expr("ratio", (as_expr(numerator), as_expr(denominator)))


_FUNCTIONS = ("absolute", "exp", "log", "log1p", "sqrt", "sin", "cos", "tanh")


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


def evaluate(expr, values, order=None):
    """Value of `expr`, by NumPy; infinite and undefined values raise no warning.

    Parameters
    ----------
    expr : Expr
    values : mapping of Leaf to array
        Broadcastable against each other.
    order : list of Expr, default=None
        The `nodes`, where they are known.

    Returns
    -------
    ndarray or float
    """
    return evaluate_all([expr], values, order)[0]


def nodes_of_all(exprs):
    """The `nodes` of several expressions, each once."""
    found = {id(node): node for expr in exprs for node in nodes(expr)}
    return list(found.values())


def evaluate_all(exprs, values, order=None):
    """Values of several expressions, of which what they share is computed once.

    Parameters
    ----------
    exprs : list of Expr
    values : mapping of Leaf to array
    order : list of Expr, default=None
        The `nodes_of_all`, where they are known.

    Returns
    -------
    list of ndarray or float
    """
    done, order = {}, nodes_of_all(exprs) if order is None else order
    last_user = {id(a): node for node in order for a in node.args}
    kept = {id(e) for e in exprs}
    with np.errstate(divide="ignore", invalid="ignore"):
        for node in order:
            if node.op in ("literal", "constant"):
                out = node.value
            elif node.op == "hyper":
                out = node.value[1]
            elif node.op == "leaf":
                out = values[node.value]
            else:
                out = NUMPY[node.op](*(done[id(a)] for a in node.args))
            done[id(node)] = out
            # What nobody needs any more goes: a long formula has many arrays.
            for a in set(node.args):
                if last_user[id(a)] is node and id(a) not in kept:
                    del done[id(a)]
    return [done[id(e)] for e in exprs]


def uniform_value(expr):
    """The number that a uniform expression stands for."""
    return float(evaluate(expr, {}))
