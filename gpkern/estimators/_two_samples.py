"""What `MMDTest` checks of two samples, of their kernels and of a Gram matrix."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_array

from .._device import is_cupy, is_dask
from .._validation import FLOATS, check_rows
from ..operator import make_operator
from ..targets.base import namespace

# Allowed asymmetry of a matrix that is given, as a share of its largest entry.
SYMMETRIC = 1e-8
# Rows at which a function of the user is tried.
FEW = 8
# Rows of a Dask array by which labels are told from numbers.
SOME = 1000


def by_columns_of(X, y):
    """A second data frame with its columns in the order of those of the first."""
    if not (hasattr(X, "columns") and hasattr(y, "columns")):
        return y
    own, theirs = list(X.columns), list(y.columns)
    if own == theirs or len(own) != len(theirs):
        return y if is_dask(y) else y.to_numpy()
    if set(own) != set(theirs):
        raise ValueError(f"X and y have other columns: {own} and {theirs}")
    return y[own] if is_dask(y) else y[own].to_numpy()


def both_in_blocks(X, y, is_gram):
    """X and a second sample or labels, where one of them is a Dask array.

    Two NumPy arrays if the samples are small, or X a Gram matrix; labels always are
    one.

    Parameters
    ----------
    X : array or dask.array.Array of shape (n, d)
    y : array-like or dask.array.Array of shape (m, d) or (n,)
    is_gram : bool
    """
    from ..dask import arrays, sample_rows

    y = (
        arrays.from_frame(y)
        if is_dask(y)
        else check_array(y, dtype=None, ensure_2d=False, input_name="y")
    )
    both = [sample_rows.checked(X) if is_dask(X) else X]
    if is_gram or y.ndim != 2 or y.shape[1] != X.shape[1]:
        y = sample_rows.gathered(y) if is_dask(y) else y
    else:
        both.append(sample_rows.checked(y, "y") if is_dask(y) else second_sample(y))
    if is_gram or sample_rows.are_few(*both):
        remedy = "kernel='precomputed' takes the whole matrix"
        both = [sample_rows.collect(a, remedy) if is_dask(a) else a for a in both]
    elif len(both) == 2:
        height = max(a.chunks[0][0] for a in both if is_dask(a))
        both = [a if is_dask(a) else sample_rows.in_blocks(a, height) for a in both]
    return (both[0], y) if len(both) == 1 else tuple(both)


def in_order(X, order, n):
    """Rows in an order, of which the first n and the others are sorted; or as are."""
    if order is None:
        return X
    if is_dask(X):  # sorted rows are cheap to take
        return np.concatenate([X[order[:n]], X[order[n:]]])
    return X[namespace(X).asarray(order)]


def second_sample(y):
    """Its rows, checked."""
    if is_cupy(y) or is_dask(y):
        return check_rows(y)
    return check_array(y, dtype=FLOATS, input_name="y")


def check_sizes(n, m):
    if min(n, m) < 2:
        raise ValueError(
            f"samples of {n} and {m} rows: each must have at least 2 (n_samples)"
        )


def warn_of_labels(X, second):
    """Warn of a second sample of one column that looks like a column of labels."""
    if X.shape[1] > 1 or len(X) != len(second):
        return
    if is_dask(X):  # some of them will do
        X, second = (_first(a, SOME) for a in (X, second))
    xp = namespace(X)
    if len(xp.unique(second)) == 2 < len(xp.unique(X)):
        warnings.warn(
            "y has the shape of X and two values: it is taken as a second sample of "
            "one column; pass labels as y.ravel()",
            UserWarning,
            stacklevel=5,
        )


def check_symmetric(kernels, rows, device):
    """An error for functions k(x, y) that are not k(y, x)."""
    for kernel in kernels:
        if isinstance(kernel, Kernel):
            continue
        few = _first(rows, FEW)
        K = make_operator(kernel, few, None, device, dtype=np.float64).to_dense()
        if float(abs(K - K.T).max()) > 1e-4 * float(abs(K).max()):
            raise ValueError(
                f"kernel={kernel!r} is not symmetric: k(x, y) must be k(y, x)"
            )


def _first(rows, count):
    """So many rows; those of a Dask array in memory."""
    if not is_dask(rows):
        return rows[:count]
    from ..dask.arrays import take

    return take(rows, np.arange(min(len(rows), count)))


def check_gram(K):
    """An error for what is no Gram matrix."""
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"kernel='precomputed' needs a square Gram matrix, not {K.shape}"
        )
    if float(abs(K - K.T).max()) > SYMMETRIC * float(abs(K).max()):
        raise ValueError("the Gram matrix X is not symmetric: use (X + X.T) / 2")
