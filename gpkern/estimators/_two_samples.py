"""What `MMDTest` checks of two samples, of their kernels and of a Gram matrix."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_array

from .._device import is_cupy
from .._validation import FLOATS, check_rows
from ..operator import make_operator
from ..targets.base import namespace

# Allowed asymmetry of a matrix that is given, as a share of its largest entry.
SYMMETRIC = 1e-8
# Rows at which a function of the user is tried.
FEW = 8


def by_columns_of(X, y):
    """A second data frame with its columns in the order of those of the first."""
    if not (hasattr(X, "columns") and hasattr(y, "columns")):
        return y
    own, theirs = list(X.columns), list(y.columns)
    if own == theirs or len(own) != len(theirs):
        return y.to_numpy()
    if set(own) != set(theirs):
        raise ValueError(f"X and y have other columns: {own} and {theirs}")
    return y[own].to_numpy()


def second_sample(y):
    """Its rows, checked."""
    if is_cupy(y):
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
        few = rows[:FEW]
        K = make_operator(kernel, few, None, device, dtype=np.float64).to_dense()
        if float(abs(K - K.T).max()) > 1e-4 * float(abs(K).max()):
            raise ValueError(
                f"kernel={kernel!r} is not symmetric: k(x, y) must be k(y, x)"
            )


def check_gram(K):
    """An error for what is no Gram matrix."""
    if K.shape[0] != K.shape[1]:
        raise ValueError(
            f"kernel='precomputed' needs a square Gram matrix, not {K.shape}"
        )
    if float(abs(K - K.T).max()) > SYMMETRIC * float(abs(K).max()):
        raise ValueError("the Gram matrix X is not symmetric: use (X + X.T) / 2")
