"""Base class of gpkern's own kernels: everything follows from the formula."""

from __future__ import annotations

import inspect

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
from sklearn.metrics.pairwise import additive_chi2_kernel

from . import expr as ex
from .pair import Pair

# Entries of a matrix whose leaves are computed at a time, and entries of whose formula
# the values are: what the cache holds.
BLOCK, STRIP = 1 << 21, 1 << 15
# Squared distances of unit rows below which they are taken from differences, and not
# from inner products: these have lost digits there.
CLOSE = 0.5
# Entries from which a matrix is one for the engine, which compiles the formula first.
LARGE = 1 << 21
# The engine for large matrices, a function of a kernel and rows: what is further up,
# `gpkern.operator`, puts it here.
by_engine = None


class FormulaKernel(Kernel):
    """A scikit-learn kernel that states its formula and nothing else.

    Subclasses define ``__init__`` (each tunable parameter ``name`` beside its
    ``name_bounds``) and ``formula(pair)``. Values, diagonal, hyperparameters and
    their analytic gradients are derived, so that the kernel works in
    `~sklearn.gaussian_process.GaussianProcessRegressor`, and every gpkern engine
    compiles it.

    See Also
    --------
    gpkern.kernels.Pair : The quantities that a formula may use.
    gpkern.kernels.expr : The functions that a formula may use, in place of NumPy's.

    Examples
    --------
    >>> from gpkern.kernels import FormulaKernel
    >>> from gpkern.kernels.expr import cos, exp, sqrt
    >>> class DampedWave(FormulaKernel):
    ...     def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5)):
    ...         self.length_scale = length_scale
    ...         self.length_scale_bounds = length_scale_bounds
    ...
    ...     def formula(self, pair):
    ...         r = sqrt(pair.sqdist("length_scale"))
    ...         return exp(-r) * cos(r)
    >>> DampedWave(2.0)([[0.0]], [[2.0]]).round(4)
    array([[0.1988]])
    """

    @property
    def hyperparameters(self):
        """Tunable parameters, in alphabetical order as in scikit-learn."""
        names = inspect.signature(type(self).__init__).parameters
        found = []
        for name in sorted(names):
            if f"{name}_bounds" in names:
                value = np.atleast_1d(getattr(self, name))
                bounds = getattr(self, f"{name}_bounds")
                found.append(Hyperparameter(name, "numeric", bounds, value.size))
        return found

    def _expression(self, n_features=None):
        # A formula without any quantity of the pair may be a plain number.
        return ex.as_expr(self.formula(Pair(self, n_features=n_features)))

    def is_stationary(self):
        """Whether k(x, z) depends on x - z alone."""
        metrics = {v.metric for v in ex.leaves(self._expression())}
        return metrics <= {"sqeuclidean", "l1", "same"}

    def diag(self, X):
        """k(x, x) for each row of X, shape (n_samples,)."""
        from .program import Program

        X = np.atleast_2d(np.asarray(X, dtype=np.float64))
        return Program.of_formula(self._expression(X.shape[1])).diagonal(
            len(X),
            lambda leaf: np.square(_as_leaf_has_it(leaf, X)).sum(1),
        )

    def __call__(self, X, Y=None, eval_gradient=False):
        """Dense kernel matrix in float64, by NumPy; a large one by the CPU's engine.

        Parameters
        ----------
        X : array-like of shape (n_samples_X, n_features)
        Y : array-like of shape (n_samples_Y, n_features), default=None
        eval_gradient : bool, default=False
            Also return the gradient with respect to the log hyperparameters; only
            without Y.

        Returns
        -------
        K : ndarray of shape (n_samples_X, n_samples_Y)
        gradient : ndarray of shape (n_samples_X, n_samples_X, n_dims)
            Only when `eval_gradient` is True.
        """
        X = _rows(X, "X")
        Z = X if Y is None else _rows(Y, "Y")
        if X.shape[1] != Z.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} columns and Y has {Z.shape[1]}: pass rows of the "
                "same columns"
            )
        if eval_gradient and Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        expr = self._expression(X.shape[1])
        if not eval_gradient and by_engine and len(X) * len(Z) >= LARGE:
            K = by_engine(self, X, None if Y is None else Z)
            if K is not None:
                return K
        same = np.eye(len(X)) if Y is None else 0.0
        if not eval_gradient:
            return dense(expr, X, Z, same)
        free = [h for h in self.hyperparameters if not h.fixed]
        return with_gradient(expr, free, X, same)

    def __repr__(self):
        always = {h.name for h in self.hyperparameters}
        defaults = inspect.signature(type(self).__init__).parameters
        params = {
            k: v
            for k, v in self.get_params().items()
            if not k.endswith("_bounds")
            and (k in always or not np.array_equal(v, defaults[k].default))
        }
        shown = ", ".join(
            f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v!r}"
            for k, v in params.items()
        )
        return f"{type(self).__name__}({shown})"


def _rows(X, name):
    if sparse.issparse(X):
        raise TypeError(f"{name} is sparse: pass {name}.toarray()")
    return np.atleast_2d(np.asarray(X, dtype=np.float64))


def dense(expr, X, Z, same=0.0):
    """Matrix of an expression by NumPy: the reference for every engine.

    Distances come from differences, never from an expanded square, where that would
    lose digits.
    """
    return dense_all([expr], X, Z, same)[0]


def dense_all(exprs, X, Z, same=0.0):
    """Matrices of expressions, of which what they share is computed once."""
    out = [np.empty((len(X), len(Z))) for _ in exprs]
    leaves = dict.fromkeys(v for e in exprs for v in ex.leaves(e))
    sides = {v: [_as_leaf_has_it(v, A) for A in (X, Z)] for v in leaves}
    order = ex.nodes_of_all(exprs)
    tall, flat = (max(1, size // max(1, len(Z))) for size in (BLOCK, STRIP))
    for start in range(0, len(X), tall):
        block = slice(start, start + tall)
        own = same[block] if np.ndim(same) else same
        values = {v: _leaf_matrix(v, A[block], B, own) for v, (A, B) in sides.items()}
        for a in range(0, len(X[block]), flat):
            strip = slice(a, a + flat)
            some = {k: _strip_of(v, strip) for k, v in values.items()}
            found = ex.evaluate_all(exprs, some, order)
            for matrix, value in zip(out, found, strict=True):
                matrix[block][strip] = value
    return out


def _strip_of(value, strip):
    """Rows of a leaf's matrix, if it has more than one."""
    return value if np.ndim(value) == 0 or len(value) == 1 else value[strip]


def _as_leaf_has_it(leaf, X):
    """Rows combined, scaled, and of norm 1 where the leaf wants them so."""
    if leaf.mix is not None:
        half = X.shape[1] // 2
        X = leaf.mix[0] * X[:, :half] + leaf.mix[1] * X[:, half:]
    leaf.check_columns(X.shape[1])
    X = X if leaf.scale is None else X / np.array(leaf.scale)
    if leaf.is_unit:
        norms = np.sqrt(np.square(X).sum(axis=1, keepdims=True))
        X = X / np.where(norms > 0, norms, 1.0)
    return X


def _unit_distances(X, Z):
    """Squared distances of rows of norm 1 or 0."""
    squares = [np.square(A).sum(axis=1) for A in (X, Z)]
    # Norms are 1 up to rounding, or 0.
    out = np.round(squares[0])[:, None] + np.round(squares[1]) - 2.0 * (X @ Z.T)
    rows, columns = np.nonzero(out < CLOSE)
    if len(rows) > out.size // 8:
        return cdist(X, Z, "sqeuclidean")
    count = max(1, STRIP // X.shape[1])
    for a in range(0, len(rows), count):
        i, j = rows[a : a + count], columns[a : a + count]
        out[i, j] = np.square(X[i] - Z[j]).sum(axis=1)
    return out


def _leaf_matrix(leaf, X, Z, same):
    """Of rows as the leaf has them."""
    if leaf.metric == "same":
        return same
    match leaf.metric:
        case "sqeuclidean":
            return cdist(X, Z, "sqeuclidean")
        case "unit_sqdist":
            return _unit_distances(X, Z)
        case "unit_sqsum":
            return _unit_distances(X, -Z)
        case "l1":
            return cdist(X, Z, "cityblock")
        case "dot":
            return X @ Z.T
        case "norm_x":
            return np.square(X).sum(1)[:, None]
        case "norm_z":
            return np.square(Z).sum(1)[None, :]
        case "chi2":
            if (X < 0).any() or (Z < 0).any():
                raise ValueError("a chi2 kernel needs X without negative values")
            return -additive_chi2_kernel(X, Z)
    raise ValueError(f"unknown metric {leaf.metric!r}")


def with_gradient(expr, hyperparameters, X, same):
    """Matrix, and its derivatives by the logarithms of hyperparameters.

    Returns
    -------
    K : ndarray of shape (n, n)
    gradient : ndarray of shape (n, n, n_dims)
        With one entry for each hyperparameter, or for each of its columns (ARD).
    """
    numbers = [n for n in ex.nodes(expr) if n.op == "hyper"]
    tuned = {h.name for h in hyperparameters}
    scalars = {n.value[0]: n for n in numbers[::-1] if n.value[0] in tuned}
    scaled = {k: [v for v in ex.leaves(expr) if v.owner == k] for k in tuned}
    by = {}
    for h in hyperparameters:
        wanted = [scalars[h.name]] if h.name in scalars else scaled[h.name]
        nodes = (n if h.name in scalars else ex.Expr("leaf", (), n) for n in wanted)
        by[h.name] = [ex.diff(expr, n) for n in nodes]
    K, *slopes = dense_all([expr, *(d for ds in by.values() for d in ds)], X, X, same)
    slopes, grads = iter(slopes), []
    for h in hyperparameters:
        if h.name in scalars:
            d = scalars[h.name].value[1] * next(slopes)
            grads.append(np.nan_to_num(d, copy=False))
            continue
        # All zero for a parameter that the formula does not depend on.
        out = np.zeros((h.n_elements, len(X), len(X)))
        for leaf in scaled[h.name]:
            _add_by_columns(out, next(slopes), leaf, X)
        grads.extend(out)
    return K, np.stack(grads, axis=2) if grads else np.empty((*K.shape, 0))


def _add_by_columns(out, slope, leaf, X):
    """Derivatives by the logarithms of a leaf's scales, from that by the leaf."""
    for j, scale in enumerate(leaf.scale):
        delta = np.abs(X[:, None, j] - X[None, :, j]) / scale
        inner = -2.0 * delta**2 if leaf.metric == "sqeuclidean" else -delta
        # A rough kernel has an infinite slope where the rows meet, but there
        # the inner derivative is zero, and so is the product's limit.
        zero = np.zeros_like(slope)
        out[j] += np.multiply(slope, inner, out=zero, where=inner != 0)
