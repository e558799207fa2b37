"""Base class of gpkern's own kernels: everything follows from the formula."""

from __future__ import annotations

import inspect

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
from sklearn.metrics.pairwise import additive_chi2_kernel

from . import expr as ex
from .pair import Pair

# Entries of a matrix that are computed at a time: what the cache holds.
STRIP = 1 << 15


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
        """Dense kernel matrix in float64, by NumPy.

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
        X = np.atleast_2d(np.asarray(X, dtype=np.float64))
        Z = X if Y is None else np.atleast_2d(np.asarray(Y, dtype=np.float64))
        expr = self._expression(X.shape[1])
        same = np.eye(len(X)) if Y is None else 0.0
        K = dense(expr, X, Z, same)
        if not eval_gradient:
            return K
        if Y is not None:
            raise ValueError("Gradient can only be evaluated when Y is None.")
        grads = [
            g
            for h in self.hyperparameters
            if not h.fixed
            for g in _log_gradients(expr, h, X, same)
        ]
        return K, np.stack(grads, axis=2) if grads else np.empty((*K.shape, 0))

    def __repr__(self):
        params = {
            k: v for k, v in self.get_params().items() if not k.endswith("_bounds")
        }
        shown = ", ".join(
            f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v!r}"
            for k, v in params.items()
        )
        return f"{type(self).__name__}({shown})"


def dense(expr, X, Z, same=0.0):
    """Matrix of an expression by NumPy: the reference for every engine.

    Distances come from differences, never from an expanded square.
    """
    out = np.empty((len(X), len(Z)))
    height = max(1, STRIP // max(1, len(Z)))
    for start in range(0, len(X), height):
        strip = slice(start, start + height)
        one = same[strip] if np.ndim(same) else same
        values = {v: _leaf_matrix(v, X[strip], Z, one) for v in ex.leaves(expr)}
        out[strip] = ex.evaluate(expr, values)
    return out


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


def _leaf_matrix(leaf, X, Z, same):
    if leaf.metric == "same":
        return same
    X, Z = _as_leaf_has_it(leaf, X), _as_leaf_has_it(leaf, Z)
    match leaf.metric:
        case "sqeuclidean" | "unit_sqdist":
            return cdist(X, Z, "sqeuclidean")
        case "unit_sqsum":
            return cdist(X, -Z, "sqeuclidean")
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


def _log_gradients(expr, hyperparameter, X, same):
    """Derivatives of the matrix by log(parameter): one, or one per column (ARD)."""
    name = hyperparameter.name
    scalars = [n for n in ex.nodes(expr) if n.op == "hyper" and n.value[0] == name]
    if scalars:
        d = dense(ex.diff(expr, scalars[0]), X, X, same)
        return [np.nan_to_num(scalars[0].value[1] * d)]
    # All zero for a parameter that the formula does not depend on.
    out = np.zeros((hyperparameter.n_elements, len(X), len(X)))
    for leaf in (v for v in ex.leaves(expr) if v.owner == name):
        d = dense(ex.diff(expr, ex.Expr("leaf", (), leaf)), X, X, same)
        for j, scale in enumerate(leaf.scale):
            delta = np.abs(X[:, None, j] - X[None, :, j]) / scale
            inner = -2.0 * delta**2 if leaf.metric == "sqeuclidean" else -delta
            # A rough kernel has an infinite slope where the rows meet, but there
            # the inner derivative is zero, and so is the product's limit.
            out[j] += np.multiply(d, inner, out=np.zeros_like(d), where=inner != 0)
    return list(out)
