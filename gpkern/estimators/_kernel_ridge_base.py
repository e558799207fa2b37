"""Fit of kernel ridge estimators, shared by regression and classification."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._device import is_dask
from .._validation import working_dtype
from ..algorithms import least_squares
from ..algorithms.training import RowSource
from ..operator import make_operator
from ._door import (
    check_weights,
    choose_device,
)
from ._linear_prediction import (
    CenterValues,
    choose_centers,
    kernel_of,
)
from ._parameters import AT_LEAST_ONE, CENTERS, KERNEL, RUN

# Kernel values that float32 sums hold, and the rounding of predictions, as a share of
# the largest target, beyond which they are made in float64.
LARGEST_IN_FLOAT32, CANCELLATION = 1e30, 1e-4


class _Ridge(CenterValues, BaseEstimator):
    """Fit and predict, shared by regression and classification."""

    _parameter_constraints = {
        **KERNEL,
        **CENTERS,
        **RUN,
        "kernel": [*KERNEL["kernel"], StrOptions({"precomputed"})],
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "solver": [StrOptions({"auto", "cholesky", "pcg"})],
        "tol": [Interval(Real, 0, None, closed="neither"), None],
        "max_iter": [AT_LEAST_ONE],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="linear",
        gamma=None,
        degree=3,
        coef0=1.0,
        kernel_params=None,
        length_scale=None,
        solver="auto",
        n_centers=None,
        center_sampling="uniform",
        tol=None,
        max_iter=200,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.alpha = alpha
        self.kernel = kernel
        self.gamma = gamma
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.length_scale = length_scale
        self.solver = solver
        self.n_centers = n_centers
        self.center_sampling = center_sampling
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def _fit_targets(self, X, Y, sample_weight, kind):
        """Solve for targets of shape (n, c); returns the dual coefficients."""
        device = choose_device(self.device, X)
        dtype = working_dtype(X)
        alpha = self._alphas(Y.shape[1])
        weights = device.put(check_weights(sample_weight, X, dtype))
        Y = device.put(Y.astype(dtype, copy=False))
        if self.kernel == "precomputed":
            coef = self._solve_precomputed(X, Y, alpha, weights, device)
            centers = X
        else:
            coef, centers = self._solve(X, Y, alpha, weights, device)
        if not bool(device.xp.isfinite(coef).all()):
            raise ValueError(
                "the coefficients are not finite: the kernel takes infinite or NaN "
                "values on these rows, or too large ones"
            )
        self.X_fit_ = kind.out(centers)
        if self.verbose:
            print(
                f"[{type(self).__name__}] solver={self.solver_}, {len(coef)} centers, "
                f"{self.n_iter_} iterations"
            )
        return coef

    def _alphas(self, n_targets):
        alpha = np.atleast_1d(np.asarray(self.alpha, dtype=np.float64))
        if alpha.ndim != 1 or len(alpha) not in (1, n_targets):
            raise ValueError(
                f"alpha has {alpha.size} values for {n_targets} targets: give one, or "
                "one per target"
            )
        if not (np.isfinite(alpha) & (alpha >= 0)).all():
            raise ValueError(f"alpha={self.alpha!r} must be finite and not negative")
        return alpha

    def _solve_precomputed(self, K, Y, alpha, weights, device):
        if self.solver == "pcg" or self.n_centers is not None:
            raise ValueError(
                "kernel='precomputed' holds the whole matrix: solver='pcg' and "
                "n_centers do not apply"
            )
        if K.shape[0] != K.shape[1]:
            raise ValueError(
                f"Precomputed metric requires shape (n_queries, n_indexed). Got "
                f"{K.shape} for fit: the matrix must be square"
            )
        self.kernel_, self.solver_, self.n_iter_ = "precomputed", "cholesky", 1
        K = K.toarray() if sparse.issparse(K) else K
        K = device.put(K).astype(np.float64)
        return least_squares.solve_direct(K, Y, alpha, weights, device)

    def _solve(self, X, Y, alpha, weights, device):
        random_state = check_random_state(self.random_state)
        kernel = kernel_of(self, X)
        data = RowSource(X, Y, device)
        centers = choose_centers(self, kernel, data, device, random_state, weights)
        X = data.X
        has_centers = centers is not None
        if not has_centers and is_dask(X):
            X = self._gathered(X)
        self.solver_ = self._choose_solver(X.shape[0], has_centers)
        # float32 data is solved to what float32 products can resolve.
        tol = self.tol or (1e-5 if Y.dtype == np.float32 else 1e-9)
        self.n_iter_ = 1
        if has_centers and self.solver_ == "pcg":
            operator = make_operator(kernel, X, centers, device)
            coef, self.n_iter_, _ = least_squares.solve_falkon(
                operator, centers, Y, alpha, weights, tol, self.max_iter
            )
        elif has_centers:
            # Factors are of float64, also where the data is float32.
            operator = make_operator(kernel, X, centers, device, dtype=np.float64)
            coef = least_squares.solve_features(operator, centers, Y, alpha, weights)
        elif self.solver_ == "pcg":
            operator = make_operator(kernel, data.X, None, device)
            coef, self.n_iter_, _ = least_squares.solve_pcg(
                operator, X, Y, alpha, weights, tol, self.max_iter, random_state
            )
        else:
            operator = make_operator(kernel, X, None, device, dtype=np.float64)
            Y, weights = device.whole(Y), device.whole(weights)
            wide, largest = Y.astype(np.float64), float(abs(operator.diagonal()).max())
            K = operator.to_dense()
            coef = least_squares.solve_direct(K, wide, alpha, weights, device)
            if Y.dtype == np.float32 and not _loses_digits(coef, wide, largest):
                coef = coef.astype(np.float32)
        self.kernel_ = kernel
        return coef, (centers if has_centers else X)

    def _gathered(self, X):
        """All rows of a Dask array, as they are to be centers."""
        from ..dask.arrays import collect

        return collect(X, "n_centers=None makes every row a center: set n_centers")

    def _choose_solver(self, n, has_centers):
        """What ``solver="auto"`` stands for."""
        if self.solver != "auto":
            return self.solver
        # A float64 matrix of all rows, and a second one should it be singular.
        fits = 2 * 8 * n * n <= get_config()["working_memory"] * 2**20
        return "cholesky" if fits and not has_centers else "pcg"


def _loses_digits(coef, Y, largest):
    """Whether predictions from coefficients must be computed in float64.

    Coefficients that are large beside the targets cancel in the sum.
    """
    noise = (
        float(np.finfo(np.float32).eps)
        * largest
        * float(((coef**2).sum(axis=0)).max()) ** 0.5
    )
    return largest > LARGEST_IN_FLOAT32 or noise > CANCELLATION * float(abs(Y).max())
