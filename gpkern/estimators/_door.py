"""The one way in and out of an estimator: validation, array types, devices."""

from __future__ import annotations

import functools
import warnings

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import assert_all_finite, check_consistent_length
from sklearn.utils.validation import (
    _num_samples,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # before scikit-learn 1.9

    def check_same_namespace(X, estimator, *, attribute, method):
        """Stand-in: no check."""


from .. import _device
from .._device import is_cupy, is_dask
from .._validation import FLOATS, check_rows, is_on_disk, is_sliceable


def all_or_nothing(method):
    """A `fit` that fails leaves the estimator as it was; it runs on its device."""

    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        before = dict(vars(self))
        try:
            with _device.here(self.device, *(args[:1] or [kwargs.get("X")])):
                return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return wrapped


def by_blocks(method):
    """A method with a result for each row of X that also takes Dask arrays.

    It returns one then, lazily: each block is a call of the method where the block is.
    """

    @functools.wraps(method)
    def wrapped(self, X, **options):
        if not is_dask(X):
            return method(self, X, **options)
        from ..dask.rows import by_rows

        check_is_fitted(self)
        X = check_predict_X(self, X)
        return by_rows(self, method.__name__, X, options)

    return wrapped


def in_turn(method):
    """A `partial_fit` that takes the blocks of a Dask array one after another."""

    @functools.wraps(method)
    def wrapped(self, X, y=None, *args, **options):
        if not is_dask(X):
            return method(self, X, y, *args, **options)
        from ..dask.stream import in_turn

        for part, targets in in_turn(check_rows(X), y):
            method(self, part, targets, *args, **options)
        return self

    return wrapped


class ArrayKind:
    """The user's array type, to give results back in.

    Parameters
    ----------
    array : object
        What the user passed as X.
    """

    def __init__(self, array):
        self.is_cupy = is_cupy(array)
        self.xp = None
        foreign = is_array_api_obj(array) and not isinstance(array, np.ndarray)
        foreign = foreign and not is_dask(array)  # whose results are Dask's or NumPy's
        if foreign and not self.is_cupy and not sparse.issparse(array):
            self.xp = array_namespace(array)
            self.device = getattr(array, "device", None)

    def out(self, array):
        """A NumPy or CuPy array as the user's type."""
        if self.is_cupy:
            return array
        array = _on_host(array)
        if self.xp is None or not isinstance(array, np.ndarray):
            return array
        if array.dtype.kind not in "fiub":
            return array  # string labels have no other array type
        return self.xp.asarray(array, device=self.device)


class ScoreMixin:
    """`score` with CuPy arrays too, which scikit-learn's metrics refuse by default."""

    def score(self, X, y, sample_weight=None):
        """Accuracy of a classifier, R^2 of a regressor.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            True labels or targets.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        score : float
            At most 1.
        """
        if not any(is_cupy(a) or is_dask(a) for a in (X, y, sample_weight)):
            return super().score(X, y, sample_weight)
        metric = accuracy_score if is_classifier(self) else r2_score
        truth, guess, weight = map(on_host, (y, self.predict(X), sample_weight))
        return float(metric(truth, guess, sample_weight=weight))


def _on_host(array):
    return array.get() if is_cupy(array) else array


def to_numpy_or_cupy(array):
    """Foreign arrays (torch, array-api-strict) as NumPy; the others unchanged."""
    if array is None or isinstance(array, np.ndarray) or is_cupy(array):
        return array
    if is_dask(array):
        return np.asarray(array)
    if sparse.issparse(array) or not is_array_api_obj(array):
        return array
    if getattr(getattr(array, "device", None), "type", "cpu") == "cuda":
        raise TypeError(
            f"{type(array).__module__} arrays on a GPU: pass them as CuPy "
            "(cupy.from_dlpack) or NumPy arrays"
        )
    try:
        return np.from_dlpack(array)
    except (AttributeError, BufferError, RuntimeError):
        return np.asarray(array)


def on_host(array):
    """A NumPy array of labels or numbers of any library; None stays None."""
    if array is None:
        return None
    return np.asarray(_on_host(to_numpy_or_cupy(array)))


def passes_as_is(X):
    """Whether X skips scikit-learn's checks, which would copy it.

    On a GPU, read in slices, in Dask's blocks, or integers on a disk.
    """
    integers = isinstance(X, np.ndarray) and X.dtype.kind in "iub"
    as_is = is_cupy(X) or is_dask(X) or is_sliceable(X)
    return as_is or (integers and is_on_disk(X))


def check_fit_X(estimator, X, sparse_ok=True, **options):
    """Rows to fit on; sets ``n_features_in_`` and ``feature_names_in_``."""
    X = X if is_dask(X) else to_numpy_or_cupy(X)
    if passes_as_is(X):
        given, X = X, check_rows(X)
        validate_data(estimator, _named(given, X), skip_check_array=True)
        return X
    return validate_data(
        estimator,
        X,
        accept_sparse="csr" if sparse_ok else False,
        dtype=FLOATS,
        **options,
    )


def check_predict_X(estimator, X, sparse_ok=True, **options):
    """Rows to predict at, with the columns of the fit."""
    X = X if is_dask(X) else to_numpy_or_cupy(X)
    if passes_as_is(X):
        given, X = X, check_rows(X)
        validate_data(estimator, _named(given, X), skip_check_array=True, reset=False)
        return X
    return validate_data(
        estimator,
        X,
        accept_sparse="csr" if sparse_ok else False,
        dtype=FLOATS,
        reset=False,
        **options,
    )


def _named(given, X):
    """What has the names of the columns: of a Dask DataFrame its empty frame."""
    return given._meta if is_dask(given) and hasattr(given, "columns") else X


def is_table(X):
    """Whether X has columns at all: not so texts, nor images of more axes."""
    if isinstance(X, (list, tuple)):
        return np.ndim(X[:1]) == 2
    return len(getattr(X, "shape", ())) == 2


def is_of_numbers(X):
    """Whether X is an array to be checked: no texts, data frame or images."""
    if hasattr(X, "iloc") or len(getattr(X, "shape", ())) > 2:
        return False
    first = X[0] if isinstance(X, (list, tuple)) and len(X) else X
    kind = getattr(getattr(first, "dtype", None), "kind", "")
    texts = kind in "US" if kind else isinstance(first, str)
    return not (texts or (kind == "O" and first.ndim == 1))


def check_targets(y, X, estimator):
    """Regression targets of the rows of X as float of shape (n,) or (n, c)."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y "
            "is None."
        )
    if is_dask(X):
        from ..dask import targets

        return targets.check_targets(y, X)
    n, y = _num_samples(X), to_numpy_or_cupy(y)
    if sparse.issparse(y):
        raise TypeError("y is sparse; a dense array is needed: use y.toarray()")
    if not is_cupy(y):
        y = np.asarray(y)
        if y.dtype.kind in "OSU":
            y = y.astype(np.float64)
        if y.dtype.kind == "c":
            raise ValueError("Complex data not supported: y")
    if y.ndim not in (1, 2):
        raise ValueError(f"y must have shape (n,) or (n, n_targets), got {y.shape}")
    if y.shape[0] != n:
        raise ValueError(
            f"Found input variables with inconsistent numbers of samples: [{n}, "
            f"{y.shape[0]}]: X and y"
        )
    if y.ndim == 2 and y.shape[1] == 0:
        raise ValueError("y has no columns")
    if y.dtype.kind != "f":
        y = y.astype(np.float64)
    if not bool((abs(y) < np.inf).all()):
        raise ValueError("Input y contains NaN or infinity.")
    return y


def check_labels(y, X, estimator):
    """Class labels of the rows of X as a one-dimensional NumPy array."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y "
            "is None."
        )
    y = to_numpy_or_cupy(y)
    y = column_or_1d(_on_host(y), warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_consistent_length(X, y)
    return y


def check_weights(sample_weight, X, dtype, some=True):
    """Weights of the rows of X as an array of shape (n,), or None without any.

    With `some` one of them must be above 0.
    """
    if sample_weight is None:
        return None
    if is_dask(X):
        from ..dask import targets

        return targets.check_weights(sample_weight, X, dtype)
    n = _num_samples(X)
    w = np.asarray(_on_host(to_numpy_or_cupy(sample_weight)))
    if w.dtype.kind == "O":  # such as pandas' nullable numbers
        w = w.astype(np.float64)
    if w.dtype.kind not in "fiub":
        raise ValueError(f"sample_weight must hold real numbers, not {w.dtype}")
    if w.ndim == 0:
        w = np.full(n, float(w))
    w = w.astype(np.float64)
    if w.shape != (n,):
        raise ValueError(f"sample_weight has shape {w.shape}, expected ({n},)")
    if not np.isfinite(w).all():
        raise ValueError("Input sample_weight contains NaN or infinity.")
    if (w < 0).any():
        raise ValueError("Negative values in sample_weight; weights must be >= 0")
    if some and not w.any():
        raise ValueError("sample_weight is all zeros: there is nothing to fit")
    with np.errstate(over="ignore"):
        out = w.astype(dtype)
    if not np.isfinite(out).all() or ((out == 0) & (w > 0)).any():
        raise ValueError(
            f"sample_weight goes from {w[w > 0].min():.3g} to {w.max():.3g}, beyond "
            f"{np.dtype(dtype).name}, in which X is worked on: rescale the weights, or "
            "pass X as float64"
        )
    return out


def choose_device(device, *arrays, predicting=False):
    """Device of a fit or a prediction.

    A model that was fitted on a GPU also predicts where there is none: with a
    warning, on the CPU.
    """
    try:
        return _device.select(device, *arrays)
    except RuntimeError as error:
        if not predicting or any(map(is_cupy, arrays)):
            raise
        warnings.warn(f"predicting on the CPU: {error}", UserWarning, stacklevel=3)
        return _device.select("cpu")
