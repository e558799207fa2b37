"""From a kernel object to something that an engine can run.

`Program.of(kernel)` holds the formula as a list of elementary statements on
quantities of a pair (`pair_leaves`), quantities of one row (`row_leaves`) and
numbers (`params`). Numbers are kept out of the statements, so one compiled function
serves every value of the hyperparameters.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from . import expr as ex
from .pair import formula_of

# Pairwise leaves that are zero between a row and itself.
_AT_ZERO = ("sqeuclidean", "l1", "chi2", "unit_sqdist")
# Squared distances: the rounding of a small one shows in its root.
_DISTANCES = ("sqeuclidean", "unit_sqdist")


# Programs that are kept.
MOST_KEPT = 256
_MADE: dict = {}
_LOCK = threading.Lock()
# Of each `Program.key`, whether the rows may change places.
_SYMMETRIC: dict = {}


@dataclass(frozen=True, eq=False)
class Program:
    """A kernel formula, ready to compile.

    Parameters
    ----------
    expr : Expr
        Value for two different samples.
    diagonal_expr : Expr
        Value for a sample and itself.
    """

    expr: ex.Expr
    diagonal_expr: ex.Expr = field(repr=False)

    @classmethod
    def of(cls, kernel, n_features=None):
        """Program of a kernel object; TypeError when it has no formula.

        Some kernels, such as NTK, must know the number of columns. Programs of equal
        kernels are one, with all that has been derived from it.
        """
        key = _value_of(kernel)
        if key is None:
            return cls.of_formula(formula_of(kernel, n_features))
        key = key, n_features
        with _LOCK:
            made = _MADE.pop(key, None)
        if made is None:
            made = cls.of_formula(formula_of(kernel, n_features))
        with _LOCK:
            _MADE[key] = made  # last, as the one used last
            while len(_MADE) > MOST_KEPT:
                del _MADE[next(iter(_MADE))]
        return made

    @classmethod
    def of_formula(cls, full):
        """Program of the expression of a whole kernel."""
        same = ex.leaf("same")
        return cls(
            ex.substitute(full, {same: ex.literal(0.0)}),
            ex.substitute(full, {same: ex.literal(1.0)}),
        )

    @classmethod
    def of_leaf(cls, leaf):
        """Program of one quantity of a pair, as if it were a kernel."""
        node = ex.leaf_node(leaf)
        return cls(node, node)

    @cached_property
    def pair_leaves(self):
        return tuple(v for v in ex.leaves(self.expr) if v.is_pairwise)

    @cached_property
    def row_leaves(self):
        return tuple(v for v in ex.leaves(self.expr) if not v.is_pairwise)

    @cached_property
    def log(self):
        """Program of the logarithm of the kernel."""
        return Program(ex.log_of(self.expr), ex.log_of(self.diagonal_expr))

    @cached_property
    def transposed(self):
        """Program of k(z, x); itself where that is the same."""
        if self.is_symmetric:
            return self
        other = {"norm_x": "norm_z", "norm_z": "norm_x"}
        swap = {
            ex.leaf_node(v): ex.leaf_node(replace(v, metric=other[v.metric]))
            for v in self.row_leaves
        }
        exprs = self.expr, self.diagonal_expr
        return Program(*(ex.substitute(e, swap) for e in exprs))

    @cached_property
    def without_diagonal(self):
        """Program of the kernel that is 0 between a sample and itself."""
        out = Program(self.expr, ex.literal(0.0))
        # What follows from the other values alone is the same.
        for name in ("_lowered", "params", "key", "leaf_key", "is_symmetric"):
            vars(out)[name] = getattr(self, name)
        return out

    @cached_property
    def is_symmetric(self):
        """Whether the two rows' own quantities may change places."""
        norms = [v for v in self.row_leaves if v.metric != "given_x"]
        if not norms:
            return True
        if self.key not in _SYMMETRIC:
            _SYMMETRIC[self.key] = self._changes_places(norms)
        return _SYMMETRIC[self.key]

    def _changes_places(self, norms):
        values = {v: 1.5 for v in self.pair_leaves + self.row_leaves}
        left = {v: 2.0 if v.metric == "norm_x" else 3.0 for v in norms}
        right = {v: 5.0 - w for v, w in left.items()}
        with np.errstate(all="ignore"):
            one, two = (ex.evaluate(self.expr, values | s) for s in (left, right))
        return bool(np.isclose(one, two, rtol=1e-12, equal_nan=True))

    @cached_property
    def softmax(self):
        """Program of the kernel over ``exp(given_x)``, without underflow."""
        return Program(*(ex.exp(e) for e in self._log_less_given))

    @cached_property
    def _log_less_given(self):
        given = ex.leaf("given_x")
        return self.log.expr - given, self.log.diagonal_expr - given

    @cached_property
    def slopes(self):
        """Pairs of a leaf that depends on the left row and the derivative by it."""
        return self._by_leaves(lambda e, node, _: ex.diff(e, node))

    @cached_property
    def softmax_slopes(self):
        """The same of the logarithm, times `softmax`."""
        return self._by_leaves(lambda e, node, s: s * ex.diff(ex.log_of(e), node))

    @cached_property
    def softmax_bends(self):
        """Second derivative of the kernel by the leaf over itself, times `softmax`."""

        def bend(e, node, s):
            slope = ex.diff(ex.log_of(e), node)
            return s * (ex.diff(slope, node) + slope * slope)

        return self._by_leaves(bend)

    def _by_leaves(self, of):
        out, soft = [], self.softmax
        for leaf in self.pair_leaves + self.row_leaves:
            if leaf.metric != "norm_z":
                node = ex.leaf_node(leaf)
                exprs = (self.expr, soft.expr), (self.diagonal_expr, soft.diagonal_expr)
                out.append((leaf, Program(*(of(e, node, s) for e, s in exprs))))
        return tuple(out)

    @cached_property
    def is_rough(self):
        """Whether the formula takes the root of a squared distance.

        Such kernels are not smooth where two rows meet, so the rounding error of a
        small squared distance is magnified.
        """
        return any(
            n.op in ("sqrt", "matern", "log_matern", "pow")
            and any(v.metric in _DISTANCES for v in ex.leaves(n))
            for n in ex.nodes(self.expr)
        )

    @cached_property
    def _lowered(self):
        return _lower(self.expr, self.pair_leaves + self.row_leaves)

    @property
    def statements(self):
        """List of ``(target, op, operands)``; the last target is the value."""
        return self._lowered[0]

    @property
    def result(self):
        """Token that holds the value after all statements."""
        return self._lowered[2]

    @cached_property
    def params(self):
        """Numbers ``p0, p1, ...`` of the statements, float64."""
        return np.array(self._lowered[1], dtype=np.float64)

    @cached_property
    def key(self):
        """Equal for two programs that compile to the same code."""
        lines = [f"{t}={op}({','.join(a)})" for t, op, a in self.statements]
        kinds = [v.metric for v in self.pair_leaves + self.row_leaves]
        return ";".join([*kinds, *lines, self.result])

    @cached_property
    def leaf_key(self):
        """Equal for two programs that need the same rows."""
        leaves = self.pair_leaves + self.row_leaves
        return tuple((v.metric, v.scale, v.mix) for v in leaves)

    def check_columns(self, n_features):
        """ValueError unless every length scale fits data of so many columns."""
        width = self.width(n_features)
        for leaf in self.pair_leaves + self.row_leaves:
            leaf.check_columns(width)

    @property
    def is_mixed(self):
        """Whether rows hold two vectors, which the leaves combine."""
        return any(v.mix is not None for v in self.pair_leaves + self.row_leaves)

    def width(self, n_features):
        """Numbers of a row that a pairwise quantity is made from."""
        if not self.is_mixed:
            return n_features
        if any(v.mix is None for v in self.pair_leaves):
            raise ValueError(
                "a kernel of rows that hold a point and its score does not combine "
                "with one of plain rows"
            )
        if n_features % 2:
            raise ValueError(
                f"rows must hold a point and its score, one after the other; they have "
                f"{n_features} columns, an odd number"
            )
        return n_features // 2

    @cached_property
    def _diagonal_nodes(self):
        return ex.nodes(self.diagonal_expr)

    def diagonal(self, n, self_dots, given=0.0):
        """k(x, x) for each of `n` rows, float64.

        Parameters
        ----------
        n : int
        self_dots : callable
            ``self_dots(leaf)``: squared norm of each row as the leaf has it; called
            only when the diagonal depends on the row.
        given : array of shape (n,), default=0
            What comes with the call, where the formula has a place for it.
        """
        order = self._diagonal_nodes
        values = {n.value: 0.0 for n in order if n.op == "leaf"}
        for v in values:
            if v.metric == "given_x":
                values[v] = given
            elif v.metric == "unit_sqsum":
                values[v] = 4.0 * self_dots(v)
            elif v.metric not in _AT_ZERO:
                values[v] = self_dots(v)
        out = ex.evaluate(self.diagonal_expr, values, order)
        return out if getattr(out, "shape", ()) else np.full(n, out)


def _lower(expr, leaf_order):
    """Statements, parameter values and result token of an expression."""
    expr = ex.substitute(expr, {}, {"pow": _power_by_log})
    statements, params, tokens = [], [], {}
    leaf_token = {v: f"s{i}" for i, v in enumerate(leaf_order)}

    def emit(op, *operands):
        target = f"t{len(statements)}"
        statements.append((target, op, operands))
        return target

    def number(node):
        if node.op == "constant":
            return repr(node.value)
        if node.op == "literal" and node.value == int(node.value):
            return repr(node.value)
        params.append(ex.uniform_value(node))
        return f"p{len(params) - 1}"

    def raise_to(base, value):
        """By roots and products."""
        whole, half = divmod(abs(value), 1.0)
        out, square, whole = (emit("sqrt", base) if half else None), base, int(whole)
        while whole:
            if whole & 1:
                out = square if out is None else emit("mul", out, square)
            whole >>= 1
            if whole:
                square = emit("mul", square, square)
        if out is None:
            return "1.0"
        return emit("recip", out) if value < 0 else out

    def visit(node):
        if id(node) not in tokens:
            if node.is_uniform:
                tokens[id(node)] = number(node)
            elif node.op == "leaf":
                tokens[id(node)] = leaf_token[node.value]
            elif node.op == "pow":
                tokens[id(node)] = raise_to(
                    tokens[id(node.args[0])], ex.uniform_value(node.args[1])
                )
            else:
                operands = [tokens[id(a)] for a in node.args]
                tokens[id(node)] = emit(node.op, *operands)
        return tokens[id(node)]

    needed = _needed(expr)
    for node in ex.nodes(expr):
        if id(node) in needed:
            visit(node)
    return statements, params, tokens[id(expr)]


def _power_by_log(base, exponent):
    """exp(e log b), unless roots and products give the power."""
    value = ex.uniform_value(exponent)
    # A product magnifies the rounding of 1 + x by the exponent; a logarithm does not.
    one_plus = ex.log(base).op == "log1p"
    by_products = value * 2 == int(value * 2) and abs(value) <= (
        8 if one_plus else 1024
    )
    if base.is_uniform or by_products:
        return ex.power(base, exponent)
    return ex.exp(exponent * ex.log(base))


def _needed(expr):
    """Nodes that the statements refer to: not the inside of a uniform part."""
    needed, stack = set(), [expr]
    while stack:
        node = stack.pop()
        if id(node) in needed:
            continue
        needed.add(id(node))
        if node.is_uniform:
            continue
        # The exponent is folded into the power itself.
        stack.extend(node.args[:1] if node.op == "pow" else node.args)
    return needed


def _value_of(kernel):
    """What equal kernels of scikit-learn and of gpkern have in common; None of others.

    Parameters may be numbers, arrays of numbers, strings and other such kernels.
    """
    kind = type(kernel)
    if kind.__module__.partition(".")[0] not in ("sklearn", "gpkern"):
        return None
    try:
        params = kernel.get_params(deep=False)
    except (AttributeError, TypeError):
        return None
    out = [kind]
    for name in sorted(params):
        value = params[name]
        if isinstance(value, np.ndarray):
            value = (value.dtype.str, value.shape, value.tobytes())
        elif isinstance(value, list):
            value = ("list", *value)
        elif hasattr(value, "get_params"):
            value = _value_of(value)
            if value is None:
                return None
        if type(value) in (bool, np.bool_):
            value = ("bool", bool(value))  # which equals the number, but is refused
        out.append((name, value))
    try:
        hash(tuple(out))
    except TypeError:
        return None
    return tuple(out)
