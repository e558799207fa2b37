"""From an estimator's kernel parameters to a kernel object with numbers in it."""

from __future__ import annotations

import inspect
import math
from numbers import Real

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils import check_random_state

from .._device import is_dask
from .dot_product import Cosine, Polynomial, Sigmoid
from .opaque import MatrixCallable, RowCallable
from .radial import AdditiveChi2, Chi2, Laplacian

# How many rows the median heuristic looks at: half a million pairs.
MEDIAN_ROWS = 1000
# How many the variance looks at, and entries that it copies to float64 at a time.
SPREAD_ROWS, PART_ENTRIES = 200_000, 1 << 22

_NAMED = {
    "rbf": lambda gamma: RBF(1.0 / math.sqrt(2.0 * gamma)),
    "laplacian": lambda gamma: Laplacian(1.0 / gamma),
    "linear": lambda: Polynomial(1, 1.0, 0.0),
    "poly": lambda gamma, degree, coef0: Polynomial(degree, gamma, coef0),
    "polynomial": lambda gamma, degree, coef0: Polynomial(degree, gamma, coef0),
    "sigmoid": lambda gamma, coef0: Sigmoid(gamma, coef0),
    "cosine": Cosine,
    "chi2": Chi2,
    "additive_chi2": AdditiveChi2,
}
KERNEL_NAMES = frozenset(_NAMED)

_DEFAULTS = {"degree": 3, "coef0": 1.0}


def from_name(name, *, n_features=None, strict=False, **params):
    """Kernel object for a name of `sklearn.metrics.pairwise.pairwise_kernels`.

    Parameters
    ----------
    name : str
    n_features : int or None
        For the default ``gamma = 1 / n_features``.
    strict : bool, default=False
        Raise for a parameter that the kernel does not have; otherwise ignore it, as
        scikit-learn does.
    **params
        ``gamma``, ``degree``, ``coef0``; None stands for scikit-learn's default.
    """
    if name not in _NAMED:
        raise ValueError(
            f"kernel={name!r} is not known. Use one of {sorted(_NAMED)}, a kernel "
            "object or a callable."
        )
    build = _NAMED[name]
    wanted = inspect.signature(build).parameters
    extra = [p for p in params if p not in wanted]
    if strict and extra:
        raise ValueError(f"kernel={name!r} has no parameter {extra[0]!r}")
    given = {}
    for p in wanted:
        if p.endswith("_bounds"):
            continue
        value = params.get(p)
        if value is None:
            value = _default_gamma(name, n_features) if p == "gamma" else _DEFAULTS[p]
        if p == "gamma" and not (isinstance(value, Real) and 0 < value < math.inf):
            raise ValueError(f"gamma={value!r} must be a positive number")
        given[p] = value
    return build(**given)


def _default_gamma(name, n_features):
    if name == "chi2":
        return 1.0
    if n_features is None:
        raise ValueError(f"kernel={name!r} needs gamma, or data to take it from")
    return 1.0 / n_features


def resolve_kernel(
    kernel,
    X,
    *,
    gamma=None,
    length_scale=None,
    degree=3,
    coef0=1.0,
    kernel_params=None,
    random_state=None,
):
    """What an estimator keeps as ``kernel_``.

    Parameters
    ----------
    kernel : str, Kernel or callable
    X : array of shape (n_samples, n_features)
        Training rows, in memory or sliceable; the heuristics look at no more than
        1,000 of them.
    gamma : float, "scale" or None
        ``"scale"`` is ``1 / (n_features * X.var())``. Belongs to named kernels.
    length_scale : float, ndarray, "median", "scale" or None
        Sets the length scale of the kernel, named or object, in place of `gamma`.
    degree, coef0, kernel_params
        As in `sklearn.kernel_ridge.KernelRidge`.
    random_state : int, RandomState or None
        Chooses the rows for the median.

    Returns
    -------
    Kernel or MatrixCallable or RowCallable
    """
    _check_is_no_class(kernel)
    if isinstance(kernel, str):
        if kernel_params:
            raise ValueError(
                "kernel_params belongs to kernels given as a callable; for a kernel "
                "given by name set gamma, degree or coef0"
            )
        if length_scale is not None:
            return _named_of_length(kernel, gamma, length_scale, X, random_state)
        if kernel == "chi2":  # its gamma is no inverse square of a length
            gamma = gamma if _is_number(gamma) else None
        params = {"gamma": _gamma(gamma, X), "degree": degree, "coef0": coef0}
        return from_name(kernel, n_features=X.shape[1], **params)
    if isinstance(kernel, Kernel):
        if _is_number(gamma):
            raise ValueError(
                "gamma belongs to kernels given by name; a kernel object holds its "
                "own parameters (use length_scale, or set it in the object)"
            )
        if kernel_params:
            raise ValueError("kernel_params belongs to kernels given as a callable")
        return _with_length(kernel, length_scale, X, random_state)
    if callable(kernel):
        if length_scale is not None:
            raise ValueError("length_scale does not apply to a callable kernel")
        return RowCallable(kernel, kernel_params or {})
    raise TypeError(
        f"kernel must be a name, a kernel object or a callable, not {kernel!r}"
    )


def _is_number(gamma):
    return gamma is not None and not isinstance(gamma, str)


def _named_of_length(kernel, gamma, length_scale, X, random_state):
    """Kernel by name, with a length scale in the place of gamma."""
    if _is_number(gamma):
        raise ValueError(
            "gamma and length_scale are two names for one number: give one"
        )
    length = _length(length_scale, X, random_state)
    if kernel not in ("rbf", "laplacian"):
        raise ValueError(f"kernel={kernel!r} has no length_scale; set gamma instead")
    return RBF(length) if kernel == "rbf" else Laplacian(length)


def as_kernel(kernel):
    """Kernel of a `KernelOperator`: object, name with its defaults, or callable.

    A callable takes two arrays of rows and returns their matrix.
    """
    _check_is_no_class(kernel)
    if isinstance(kernel, (Kernel, MatrixCallable, RowCallable)):
        return kernel
    if isinstance(kernel, str):
        if kernel not in KERNEL_NAMES:
            return from_name(kernel)
        return _Unresolved(kernel)
    if callable(kernel):
        return MatrixCallable(kernel)
    raise TypeError(
        f"kernel must be a name, a kernel object or a callable, not {kernel!r}"
    )


def _check_is_no_class(kernel):
    if isinstance(kernel, type):
        name = kernel.__name__
        raise TypeError(f"kernel={name} is a class: pass an instance, such as {name}()")


class _Unresolved(str):
    """A kernel name whose default gamma waits for the number of columns."""


def _with_length(kernel, length_scale, X, random_state):
    kernel = clone(kernel)
    if length_scale is None:
        return kernel
    names = [
        p
        for p in kernel.get_params()
        if p == "length_scale" or p.endswith("__length_scale")
    ]
    if not names:
        raise ValueError(f"length_scale: the kernel {kernel} has no length scale")
    value = _length(length_scale, X, random_state)
    return kernel.set_params(**dict.fromkeys(names, value))


def _length(value, X, random_state):
    """A length scale as a positive number (or one per column)."""
    if isinstance(value, str):
        if value == "median":
            return median_distance(X, random_state)
        if value == "scale":
            return math.sqrt(X.shape[1] * _variance(X) / 2.0)
        raise ValueError(
            f"length_scale={value!r} must be a number, 'median' or 'scale'"
        )
    out = np.asarray(value, dtype=np.float64)
    if out.ndim > 1 or not (np.isfinite(out) & (out > 0)).all():
        raise ValueError(f"length_scale={value!r} must be positive")
    if out.ndim == 1 and len(out) != X.shape[1]:
        raise ValueError(
            f"length_scale has {len(out)} entries for {X.shape[1]} columns of X"
        )
    return out if out.ndim else float(out)


def _gamma(value, X):
    if value is None or not isinstance(value, str):
        return value
    if value == "scale":
        return 1.0 / (X.shape[1] * _variance(X))
    raise ValueError(f"gamma={value!r} must be a number, 'scale' or None")


def _variance(X):
    """Variance of all entries, 1 for constant data, as in SVC's gamma='scale'."""
    if hasattr(X, "tocsr"):
        values, size = X.data.astype(np.float64), X.shape[0] * X.shape[1]
        mean = float(values.sum()) / size
        # Of the zeros too, which are not there; no square of a large mean is taken.
        total = float(((values - mean) ** 2).sum()) + (size - len(values)) * mean**2
        return total / size or 1.0
    mean, total, size = 0.0, 0.0, 0
    for part in _parts_of(X):
        count = part.shape[0] * part.shape[1]
        own = float(part.mean(dtype=np.float64))
        squares = float(part.var(dtype=np.float64)) * count
        step = own - mean
        total += squares + step**2 * size * count / (size + count)
        mean += step * count / (size + count)
        size += count
    return total / size or 1.0


def _parts_of(X):
    """Slices of at most 200,000 spread rows, little enough to copy one by one."""
    n, d = X.shape
    step = -(-n // SPREAD_ROWS)
    height = step * max(1, PART_ENTRIES // d)
    # Sliced in any case: an array read in slices has no `var` of its own.
    if is_dask(X):
        return (
            _rows_at(X, np.arange(a, min(a + height, n), step))
            for a in range(0, n, height)
        )
    return (X[a : a + height : step] for a in range(0, n, height))


def _rows_at(X, rows):
    """Some sorted rows, also of an array that takes slices only."""
    if is_dask(X):
        from ..dask.arrays import take

        return take(X, rows)
    if hasattr(X, "tocsr") or hasattr(X, "__array_interface__") or hasattr(X, "get"):
        return X[rows]
    return np.concatenate([np.asarray(X[int(i) : int(i) + 1]) for i in rows])


def median_distance(X, random_state=None, quantile=0.5):
    """Median Euclidean distance between pairs of at most 1,000 rows of X.

    Or another quantile of these; 1.0 when all the rows are equal.
    """
    n = X.shape[0]
    if n > MEDIAN_ROWS:
        rng = check_random_state(random_state)
        chosen = np.sort(rng.choice(n, MEDIAN_ROWS, replace=False))
        X = _rows_at(X, chosen)
    X = X[:]  # in memory, when it is read in slices
    if hasattr(X, "toarray"):
        X = X.toarray()
    if hasattr(X, "get"):  # CuPy
        X = X.get()
    from scipy.spatial.distance import pdist

    distances = pdist(np.asarray(X, dtype=np.float64))
    positive = distances[distances > 0]
    if not len(positive):
        return 1.0
    found = float(np.quantile(distances, quantile))
    # So many of the pairs coincide: that of the others.
    return found if found > 0 else float(np.quantile(positive, quantile))
