"""What `BatchSelector` compares rows by: a kernel, or features."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import _num_samples, validate_data

from .._device import is_cupy, is_dask
from .._validation import check_rows
from ..algorithms.pool_rows import FeatureRows, KernelRows
from ..kernels.resolve import resolve_kernel
from ..operator import make_operator
from ._door import check_fit_X, is_of_numbers, to_numpy_or_cupy
from ._gathered import gathered
from ._thinning_rows import check_kernel, in_memory

# Where a Dask array does not fit in memory.
POOL = "each choice takes all of them: choose from a random part of the rows"
# Rules of distances alone, for which training rows are centres.
CENTRES = ("lcmd", "maxdist", "kmeans++")


class RowsOfPool:
    """The methods of `BatchSelector` that read rows."""

    @property
    def _has_own_features(self):
        """Whether rows go to a function, and are what it takes."""
        return self.features is not None and not isinstance(self.features, str)

    def _read(self, X, X_train):
        """Rows to compare, checked, of pool and training set: X, or its features."""
        if is_of_numbers(X) or not self._has_own_features:
            X = in_memory(gathered(check_fit_X(self, X, sparse_ok=False), POOL))
            X_train = None if X_train is None else self._training_rows(X_train)
        if not self._has_own_features:
            return X, X_train
        if hasattr(X, "iloc"):
            validate_data(self, X, skip_check_array=True)
            if X_train is not None:
                validate_data(self, X_train, reset=False, skip_check_array=True)
        return self._features(X, "X"), self._features(X_train, "X_train")

    def _training_rows(self, X_train):
        """Checked, with the columns of the pool."""
        train = X_train
        if is_dask(train):
            train = gathered(check_rows(train, "X_train"), POOL, "X_train")
        train = to_numpy_or_cupy(train)
        if hasattr(train, "iloc"):  # names and order of its columns
            validate_data(self, train, reset=False, skip_check_array=True)
        if sparse.issparse(train):
            raise TypeError("X_train is sparse; pass a dense array: X_train.toarray()")
        if np.shape(train)[:1] == (0,):
            raise ValueError("X_train has no rows: pass None where none are known")
        train = in_memory(check_rows(train, "X_train"))
        if train.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X_train has {train.shape[1]} columns and X has "
                f"{self.n_features_in_}: pass rows of the same columns"
            )
        return train

    def _rows(self, X, train, device):
        """Covariances of the pool's rows and, after them, of the training rows."""
        self.kernel_ = None if self.features is not None else self._kernel(X)
        points = _stacked([X, train], device)
        if self.features is not None or self.kernel == "linear":
            rows = FeatureRows(points, 0.0, device)
        else:
            rows = self._kernel_rows(points, len(X), device)
        known = rows.variance[len(X) :] if train is not None else rows.variance
        scale = float(known.mean())
        if not np.isfinite(scale):
            name = "kernel" if self.features is None else "features"
            raise ValueError(f"{name}: k(x, x) overflows on these rows: scale X")
        rows.noise = self.noise * scale if scale > 0 else self.noise
        return rows

    def _kernel(self, X):
        kernel = "rbf" if self.kernel is None else self.kernel
        length_scale = self.length_scale
        if length_scale is None and self.gamma is None:
            length_scale = "median" if kernel in ("rbf", "laplacian") else None
        return resolve_kernel(
            kernel,
            X,
            gamma=self.gamma,
            length_scale=length_scale,
            random_state=self.random_state,
        )

    def _kernel_rows(self, points, n, device):
        # Of two samples, though they are one: without white noise.
        square = make_operator(self.kernel_, points, points, device, dtype=np.float64)
        check_kernel(square, np.random.RandomState(0))
        operator = square
        # Training rows need be no columns where they are centres alone.
        if self.method in CENTRES and not self.posterior and n < len(points):
            operator = square.with_samples(points, points[:n])
        return KernelRows(operator, square.diagonal(), 0.0)

    def _features(self, rows, name):
        """Features of rows, checked."""
        if rows is None:
            return None
        if _num_samples(rows) == 0:
            raise ValueError(f"{name} has no rows: a minimum of 1 is required")
        transform = getattr(self.features, "transform", self.features)
        try:
            out = transform(rows)
        except NotFittedError as error:
            raise NotFittedError(
                f"features={self.features} is not fitted: fit it, and pass it as "
                "sklearn.frozen.FrozenEstimator(transformer), which clone leaves fitted"
            ) from error
        out = to_numpy_or_cupy(out)
        out = out.toarray() if sparse.issparse(out) else out
        if not is_cupy(out):
            out = np.asarray(out)
        n = _num_samples(rows)
        if out.ndim != 2 or len(out) != n:
            raise ValueError(
                f"features returned shape {out.shape} for {n} rows of {name}: "
                f"it must return one row for each, shape ({n}, p)"
            )
        return check_rows(out, f"features({name})")


def _stacked(parts, device):
    """Rows of the pool and of the training set, float64 on the device."""
    parts = [device.put(a) for a in parts if a is not None]
    if len({a.shape[1] for a in parts}) > 1:
        raise ValueError(
            f"features have {parts[0].shape[1]} columns for X and {parts[1].shape[1]} "
            "for X_train: they must be as many"
        )
    parts = [device.xp.asarray(a, dtype=np.float64) for a in parts]
    return device.xp.concatenate(parts)
