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
from sklearn.utils.validation import column_or_1d, validate_data

try:
    from sklearn.utils._array_api import check_same_namespace
except ImportError:  # before scikit-learn 1.9

    def check_same_namespace(X, estimator, *, attribute, method):
        """Stand-in: no check."""


from .. import _device
from .._device import is_cupy
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
        if not any(map(is_cupy, (X, y, sample_weight))):
            return super().score(X, y, sample_weight)
        metric = accuracy_score if is_classifier(self) else r2_score
        truth, guess, weight = map(_on_host, (y, self.predict(X), sample_weight))
        return float(metric(truth, guess, sample_weight=weight))


def _on_host(array):
    return array.get() if is_cupy(array) else array


def to_numpy_or_cupy(array):
    """Foreign arrays (torch, array-api-strict) as NumPy; the others unchanged."""
    if array is None or isinstance(array, np.ndarray) or is_cupy(array):
        return array
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
    """A NumPy array of labels or numbers of any library."""
    return np.asarray(_on_host(to_numpy_or_cupy(array)))


def passes_as_is(X):
    """Whether X skips scikit-learn's checks, which would copy it.

    On a GPU, read in slices, or integers on a disk.
    """
    integers = isinstance(X, np.ndarray) and X.dtype.kind in "iub"
    return is_cupy(X) or is_sliceable(X) or (integers and is_on_disk(X))


def check_fit_X(estimator, X, sparse_ok=True, **options):
    """Rows to fit on; sets ``n_features_in_`` and ``feature_names_in_``."""
    X = to_numpy_or_cupy(X)
    if passes_as_is(X):
        X = check_rows(X)
        validate_data(estimator, X, skip_check_array=True)
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
    X = to_numpy_or_cupy(X)
    if passes_as_is(X):
        X = check_rows(X)
        validate_data(estimator, X, skip_check_array=True, reset=False)
        return X
    return validate_data(
        estimator,
        X,
        accept_sparse="csr" if sparse_ok else False,
        dtype=FLOATS,
        reset=False,
        **options,
    )


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


def check_targets(y, n, estimator):
    """Regression targets as float of shape (n,) or (n, c)."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y "
            "is None."
        )
    y = to_numpy_or_cupy(y)
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


def check_labels(y, n, estimator):
    """Class labels as a one-dimensional NumPy array."""
    if y is None:
        raise ValueError(
            f"{type(estimator).__name__} requires y to be passed, but the target y "
            "is None."
        )
    y = to_numpy_or_cupy(y)
    y = column_or_1d(_on_host(y), warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    check_consistent_length(np.empty(n), y)
    return y


def check_weights(sample_weight, n, dtype, some=True):
    """Sample weights as an array of shape (n,), or None where there are none.

    With `some` one of them must be above 0.
    """
    if sample_weight is None:
        return None
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
