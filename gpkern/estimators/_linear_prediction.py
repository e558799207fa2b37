"""What every estimator of the form ``K(X, centers) @ coef`` shares."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from scipy import sparse

from .._device import is_cupy
from .._validation import check_rows
from ..algorithms.landmarks import leverage_rows
from ..kernels.resolve import resolve_kernel
from ..operator import make_operator
from ._door import ArrayKind, check_predict_X, choose_device, to_numpy_or_cupy


def kernel_of(estimator, X):
    """``kernel_`` from an estimator's kernel parameters and its training rows."""
    return resolve_kernel(
        estimator.kernel,
        X,
        gamma=estimator.gamma,
        length_scale=estimator.length_scale,
        degree=estimator.degree,
        coef0=estimator.coef0,
        kernel_params=estimator.kernel_params,
        random_state=estimator.random_state,
    )


def predict_linear(estimator, X, centers, coef):
    """``K(X, centers) @ coef`` in the user's array type; coef is (p, c)."""
    kind = ArrayKind(X)
    X = check_predict_X(estimator, X)
    centers, coef = to_numpy_or_cupy(centers), to_numpy_or_cupy(coef)
    device = choose_device(estimator.device, X, centers, predicting=True)
    dtype = np.float64 if coef.dtype == np.float64 else None
    operator = make_operator(estimator.kernel_, X, centers, device, dtype=dtype)
    values = operator @ device.put(coef)
    if not bool(device.xp.isfinite(values).all()):
        raise ValueError(
            f"predictions overflow {operator.dtype}: X holds values for which the "
            "kernel is too large; scale X, or pass it as float64"
        )
    return values, kind, device


def choose_centers(estimator, kernel, data, device, random_state):
    """Centres of a model, on the device; None for all rows.

    Parameters
    ----------
    estimator : estimator
        Its ``n_centers`` and ``center_sampling`` count.
    kernel : Kernel or callable
    data : RowSource
    device : Device
    random_state : RandomState

    Returns
    -------
    array or CSR matrix of shape (p, d), or None
    """
    n, wanted = len(data), estimator.n_centers
    if wanted is None:
        return None
    if np.ndim(wanted):
        given = _given_centers(wanted, data.shape[1])
        return device.put(given.astype(data.dtype, copy=False))
    if isinstance(wanted, bool):
        raise ValueError(f"n_centers={wanted} must be a number or an array of centers")
    is_count = isinstance(wanted, Integral)
    count = int(wanted) if is_count else max(1, round(wanted * n))
    if not 1 <= count <= n:
        raise ValueError(
            f"n_centers={wanted} must be between 1 and the {n} training rows, or a "
            "share of them in (0, 1]"
        )
    if count == n:
        return None
    if estimator.center_sampling == "leverage":
        return data.rows(leverage_rows(kernel, data, count, device, random_state))
    return data.rows(np.sort(random_state.choice(n, count, replace=False)))


def _given_centers(centers, n_features):
    """The array of centres that a user passed, checked."""
    centers = to_numpy_or_cupy(centers)
    if not (is_cupy(centers) or sparse.issparse(centers)):
        centers = np.asarray(centers)
    shape = centers.shape
    if len(shape) != 2 or shape[1] != n_features or not shape[0]:
        raise ValueError(
            f"n_centers has shape {shape}; an array of centers needs shape "
            f"(n_centers, {n_features})"
        )
    return check_rows(centers, "n_centers")
