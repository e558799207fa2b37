"""Checks that the operator and the estimators share."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.utils import check_array

from ._device import is_cupy, is_dask

FLOATS = (np.float64, np.float32)
PRECISIONS = ("high", "highest", "medium")


def check_precision(precision, name="precision"):
    """The same; an error when it is none of `PRECISIONS`."""
    if precision not in PRECISIONS:
        raise ValueError(f"{name}={precision!r} must be one of {PRECISIONS}")
    return precision


def working_dtype(*arrays):
    """float32 when every array is float32 or float16, otherwise float64."""
    small = all(a.dtype in (np.float32, np.float16) for a in arrays if a is not None)
    return np.dtype(np.float32 if small else np.float64)


def is_extreme(*arrays):
    """Whether squares of the rows leave the range of float32.

    Looks at what is in memory; a pass over a file would cost as much as the work.
    """
    largest = [_largest(a) for a in arrays if a is not None and not is_on_disk(a)]
    largest = max(largest, default=1.0)
    return largest > 1e15 or 0 < largest < 1e-15


def _largest(X):
    values = X.data if sparse.issparse(X) else X
    # Two passes, but no array of absolute values.
    return max(float(values.max()), -float(values.min())) if values.size else 0.0


def is_on_disk(X):
    """Whether X is memory-mapped or read in slices."""
    if is_sliceable(X):
        return True
    while isinstance(X, np.ndarray):
        if isinstance(X, np.memmap):
            return True
        X = X.base
    return False


def is_sliceable(X):
    """Whether X is an array that is read in slices: HDF5, Zarr and the like."""
    return (
        not isinstance(X, np.ndarray)
        and not is_cupy(X)
        and not is_dask(X)
        and not sparse.issparse(X)
        and not hasattr(X, "iloc")
        and not hasattr(X, "__array_namespace__")
        and all(hasattr(X, a) for a in ("shape", "dtype", "__getitem__"))
    )


def check_rows(X, name="X"):
    """A two-dimensional array of finite real numbers, not copied where it can be.

    CSR, CuPy, memory-mapped and other sliceable arrays pass as they are, as do Dask
    arrays, whose blocks are checked when they are computed.
    """
    if is_cupy(X):
        return _check_cupy(X, name)
    if is_dask(X):
        from .dask.arrays import check_blocks

        return check_blocks(X, name)
    if is_sliceable(X):
        if len(X.shape) != 2 or 0 in X.shape:
            raise ValueError(f"{name} must be a non-empty 2-D array, got {X.shape}")
        if X.dtype.kind not in "fiub":
            raise ValueError(f"{name} has dtype {X.dtype}; it must hold real numbers")
        return X
    if is_on_disk(X) and X.dtype.kind in "iub" and X.ndim == 2 and X.size:
        return X  # converted part by part
    half = isinstance(X, np.ndarray) and X.dtype == np.float16
    dtype = np.float32 if half else FLOATS
    return check_array(X, accept_sparse="csr", dtype=dtype, input_name=name)


def _check_cupy(X, name):
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{name} must be a non-empty 2-D array, got {X.shape}")
    if X.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {X.dtype}; it must hold real numbers")
    if X.dtype.kind != "f" or X.dtype.itemsize == 2:
        X = X.astype(np.float32 if X.dtype.kind == "f" else np.float64)
    # One pass: the sum is finite unless an entry is not (or it overflows).
    if not np.isfinite(X.sum(dtype=np.float64)) and not np.isfinite(X).all():
        raise ValueError(f"Input {name} contains NaN or infinity.")
    return X
