"""Targets, labels and weights of the rows of a Dask array."""

from __future__ import annotations

import dask.array as da
import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from .arrays import aligned
from .compute import gather
from .graphs import over_blocks, total_over_blocks
from .work import Sum, on_block, on_host


def check_targets(y, X):
    """Targets of shape (n,) or (n, c) as a Dask array of floats, in the blocks of X.

    Parameters
    ----------
    y : dask.array.Array, dask Series or array-like
    X : dask.array.Array of shape (n, d)
    """
    y = aligned(y, X, "y")
    if y.ndim not in (1, 2) or y.shape[-1] == 0:
        raise ValueError(f"y must have shape (n,) or (n, n_targets), got {y.shape}")
    if y.dtype.kind == "c":
        raise ValueError("Complex data not supported: y")
    if y.dtype.kind != "f":
        y = y.astype(np.float64)
    _check(y, "y", _finite)
    return y


def check_weights(sample_weight, X, dtype):
    """Weights as a Dask array of shape (n,), in the blocks of X.

    Parameters
    ----------
    sample_weight : dask.array.Array, dask Series, array-like or number
    X : dask.array.Array of shape (n, d)
    dtype : dtype
    """
    if np.ndim(sample_weight) == 0:
        sample_weight = np.full(X.shape[0], float(sample_weight))
    w = aligned(sample_weight, X, "sample_weight")
    if w.dtype.kind == "O":
        w = w.astype(np.float64)
    if w.dtype.kind not in "fiub":
        raise ValueError(f"sample_weight must hold real numbers, not {w.dtype}")
    if w.ndim != 1:
        raise ValueError(f"sample_weight has shape {w.shape}, expected ({X.shape[0]},)")
    _check(w, "sample_weight", _weight)
    w = w.astype(np.float64)
    top = float(gather(w.max(), w))
    if top == 0:
        raise ValueError("sample_weight is all zeros: there is nothing to fit")
    if not top < np.finfo(dtype).max:
        raise ValueError(
            f"sample_weight goes up to {top:.3g}, beyond {np.dtype(dtype).name}, in "
            "which X is worked on: rescale the weights, or pass X as float64"
        )
    return w.astype(dtype)


def encode(y, X, name):
    """Classes of labels as an array, and their numbers as a Dask array.

    Parameters
    ----------
    y : dask.array.Array, dask Series or array-like
    X : dask.array.Array of shape (n, d)
    name : str
        Of the estimator.
    """
    y = aligned(y, X, "y")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {y.shape} instead."
        )
    if y.dtype.kind == "f":
        _check(y, "y", _finite)
    classes = np.asarray(on_host(gather(da.unique(y), y)))
    check_classification_targets(classes)
    if len(classes) < 2:
        raise ValueError(
            f"{name} needs samples of at least 2 classes, but the data contains only "
            f"one class: {classes.tolist()[0]!r}"
        )
    codes = over_blocks(_codes, y, shape=(), dtype=np.int64, classes=classes)
    return classes, codes


def class_counts(codes, n_classes):
    """Rows of each class, shape (n_classes,)."""
    return total_over_blocks(_counts, codes, n_classes=n_classes)


def looked_up(table, codes):
    """``table[codes]``, as a Dask array."""
    return over_blocks(_looked_up, codes, shape=(), dtype=table.dtype, table=table)


def _counts(codes, place, n_classes):
    return Sum(np.bincount(codes, minlength=n_classes))


def _looked_up(codes, place, table):
    return table[codes]


def _codes(labels, place, classes):
    return np.searchsorted(classes, on_host(labels))


def _check(array, name, test):
    """An error, with its number, where a block does not pass a test."""
    gather(over_blocks(test, array, shape=(), dtype=bool, of=name).any(), array)


def _finite(block, place, of):
    with on_block(place, of):
        block = on_host(block)
        if not np.isfinite(block).all():
            raise ValueError(f"Input {of} contains NaN or infinity.")
        return np.zeros(len(block), bool)


def _weight(block, place, of):
    with on_block(place, of):
        block = on_host(block).astype(np.float64)
        if not np.isfinite(block).all():
            raise ValueError(f"Input {of} contains NaN or infinity.")
        if (block < 0).any():
            raise ValueError(f"Negative values in {of}; weights must be >= 0")
        return np.zeros(len(block), bool)
