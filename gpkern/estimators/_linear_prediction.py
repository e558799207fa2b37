"""What every estimator of the form ``K(X, centers) @ coef`` shares."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from scipy import sparse
from sklearn.base import clone, is_classifier
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from .. import _device
from .._device import is_cupy, is_dask
from .._validation import check_rows
from ..algorithms.landmarks import leverage_rows
from ..kernels.resolve import resolve_kernel
from ..operator import make_operator
from ._door import (
    ArrayKind,
    by_blocks,
    check_predict_X,
    check_same_namespace,
    choose_device,
    to_numpy_or_cupy,
)
from ._kernel_thinning import KernelThinning
from ._labels import labels_out, winners

# Rows that a sampler takes at a time, of data that is read in slices.
CHUNK_ROWS = 16_384


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


def takes_sparse(estimator):
    """Whether an estimator is fitted on sparse rows too."""
    return not isinstance(estimator.n_centers, KernelThinning)


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


class CenterValues:
    """Values at rows of an estimator with ``dual_coef_``, ``X_fit_``, ``kernel_``.

    Its kernel may be "precomputed".
    """

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = takes_sparse(self)
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _values(self, X, method):
        """Predictions of shape (m, c), the user's array kind, the device."""
        check_is_fitted(self)
        with _device.here(self.device, X):
            return self._values_here(X, method)

    def _values_here(self, X, method):
        check_same_namespace(X, self, attribute="dual_coef_", method=method)
        coef = to_numpy_or_cupy(self.dual_coef_)
        coef = coef.reshape(len(coef), -1)
        if self.kernel_ != "precomputed":
            return predict_linear(self, X, self.X_fit_, coef)
        kind = ArrayKind(X)
        K = check_predict_X(self, X)
        return K @ coef, kind, choose_device(self.device, K, coef, predicting=True)


class ClassValues:
    """Scores and labels of a classifier with the values of a `CenterValues`."""

    @by_blocks
    def decision_function(self, X):
        """Score of each class.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : array of shape (n_samples,) or (n_samples, n_classes)
            One number for two classes, positive for ``classes_[1]``: of logistic
            regression the log odds, and otherwise the logarithms of the probabilities,
            up to a constant for each row.
        """
        values, kind, _ = self._values(X, "decision_function")
        return kind.out(values if self.dual_coef_.ndim == 2 else values[:, 0])

    @by_blocks
    def predict(self, X):
        """Predict the labels.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : array of shape (n_samples,)
            Labels.
        """
        values, kind, device = self._values(X, "predict")
        return labels_out(self.classes_, winners(values), kind, device)


def choose_centers(estimator, kernel, data, device, random_state, weights=None):
    """Centres of a model, on the device; None for all rows.

    Parameters
    ----------
    estimator : estimator
        Its ``n_centers`` and ``center_sampling`` count.
    kernel : Kernel or callable
    data : RowSource
    device : Device
    random_state : RandomState
    weights : array of shape (n,), default=None
        Of the rows, for a sampler whose fit takes them.

    Returns
    -------
    array or CSR matrix of shape (p, d), or None
    """
    n, wanted = len(data), estimator.n_centers
    if wanted is None:
        return None
    if hasattr(wanted, "fit"):
        sampler = _sampler(estimator, kernel, random_state)
        y = winners(data.y) if is_classifier(estimator) else data.y
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if not is_dask(data.X):
            y, weights = device.get(y), device.get(weights)
        rows = _sampled_rows(sampler, data, y, weights)
        return data.rows(np.unique(device.get(to_numpy_or_cupy(rows))))
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


def _sampler(estimator, kernel, random_state):
    """A clone of the sampler that a user passed, with what it shares with the model."""
    sampler = clone(estimator.n_centers)
    params = sampler.get_params(deep=False)
    if "random_state" in params and params["random_state"] is None:
        seed = random_state.randint(np.iinfo(np.int32).max)
        sampler.set_params(random_state=seed)
    if isinstance(sampler, KernelThinning):
        if params["compute_mmd"] == "auto":
            sampler.set_params(compute_mmd=False)
        if params["device"] is None:
            sampler.set_params(device=estimator.device)
        own = (params[name] for name in ("kernel", "gamma", "length_scale"))
        if tuple(own) == ("rbf", None, None) and isinstance(kernel, Kernel):
            sampler.set_params(kernel=kernel)
    return sampler


def _sampled_rows(sampler, data, y, weights):
    """Row numbers that a sampler chooses."""
    name, extra = type(sampler).__name__, {}
    if weights is not None and has_fit_parameter(sampler, "sample_weight"):
        extra["sample_weight"] = weights
    if sparse.issparse(data.X) and isinstance(sampler, KernelThinning):
        raise TypeError(
            f"n_centers={name} takes dense rows, and X is sparse: pass X.toarray(), or "
            "a number of centers"
        )
    if is_dask(data.X):
        held_out = getattr(data, "left_out", ())
        if len(held_out) and has_fit_parameter(sampler, "sample_weight"):
            from ..dask.weighted import all_but

            extra["sample_weight"] = all_but(held_out, data.X)
        sampler.fit(data.X, y, **extra)
    elif not data.in_runs:
        sampler.fit(data.all_rows(), y, **extra)
    elif not hasattr(sampler, "partial_fit"):
        raise ValueError(
            f"n_centers={name}: it has no partial_fit, and X is read in slices; pass "
            "an array of centers"
        )
    else:
        for a in range(0, len(data), CHUNK_ROWS):
            cut = slice(a, min(a + CHUNK_ROWS, len(data)))
            part = {k: w[cut] for k, w in extra.items()}
            sampler.partial_fit(
                data.rows(np.arange(cut.start, cut.stop)), y[cut], **part
            )
    if not hasattr(sampler, "sample_indices_"):
        raise ValueError(
            f"n_centers={name}: a sampler of centers must have sample_indices_ after "
            "fit, the numbers of the rows that it has chosen"
        )
    return sampler.sample_indices_


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
