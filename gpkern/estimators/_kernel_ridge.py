"""Kernel ridge regression and classification, exact or with centres."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MultiOutputMixin,
    RegressorMixin,
    _fit_context,
)
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._validation import working_dtype
from ..algorithms import least_squares
from ..algorithms.training import RowSource
from ..kernels.resolve import KERNEL_NAMES
from ..operator import make_operator
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_labels,
    check_predict_X,
    check_same_namespace,
    check_targets,
    check_weights,
    choose_device,
    labels_out,
    to_numpy_or_cupy,
)
from ._linear_prediction import kernel_of, pick_centers, predict_linear, take_centers

_CONSTRAINTS = {
    "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
    "kernel": [StrOptions(set(KERNEL_NAMES) | {"precomputed"}), Kernel, callable],
    "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"}), None],
    "length_scale": [
        Interval(Real, 0, None, closed="neither"),
        StrOptions({"median", "scale"}),
        "array-like",
        None,
    ],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
    "solver": [StrOptions({"auto", "cholesky", "pcg"})],
    "n_centers": [
        Interval(Integral, 1, None, closed="left"),
        Interval(Real, 0, 1, closed="right"),
        "array-like",
        None,
    ],
    "tol": [Interval(Real, 0, None, closed="neither"), None],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "device": [str, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}


class _Ridge(BaseEstimator):
    """Fit and predict, shared by regression and classification."""

    _parameter_constraints = _CONSTRAINTS

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
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self.kernel == "precomputed"
        return tags

    def _fit_targets(self, X, Y, sample_weight, kind):
        """Solve for targets of shape (n, c); returns the dual coefficients."""
        device = choose_device(self.device, X)
        dtype = working_dtype(X)
        alpha = self._alphas(Y.shape[1])
        weights = device.put(check_weights(sample_weight, X.shape[0], dtype))
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
        rows, given = pick_centers(self.n_centers, X, random_state)
        data = RowSource(X, Y, device)
        centers, X = take_centers(data, rows, given, device), data.X
        has_centers = centers is not None
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
            operator = make_operator(kernel, X, centers, device)
            coef = least_squares.solve_features(operator, centers, Y, alpha, weights)
        elif self.solver_ == "pcg":
            operator = make_operator(kernel, X, None, device)
            coef, self.n_iter_, _ = least_squares.solve_pcg(
                operator, X, Y, alpha, weights, tol, self.max_iter, random_state
            )
        else:
            K = make_operator(kernel, X, None, device).to_dense()
            coef = least_squares.solve_direct(K, Y, alpha, weights, device)
        self.kernel_ = kernel
        return coef, (centers if has_centers else X)

    def _choose_solver(self, n, has_centers):
        """What ``solver="auto"`` stands for."""
        if self.solver != "auto":
            return self.solver
        # Two float64 matrices of all rows: above the working memory, go lazy.
        fits = 2 * 8 * n * n <= get_config()["working_memory"] * 2**20
        return "cholesky" if fits and not has_centers else "pcg"

    def _values(self, X, method):
        """Predictions of shape (m, c), the user's array kind, the device."""
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="dual_coef_", method=method)
        coef = to_numpy_or_cupy(self.dual_coef_)
        coef = coef.reshape(len(coef), -1)
        if self.kernel_ != "precomputed":
            return predict_linear(self, X, self.X_fit_, coef)
        kind = ArrayKind(X)
        K = check_predict_X(self, X)
        return K @ coef, kind, choose_device(self.device, K, coef, predicting=True)


class KernelRidge(MultiOutputMixin, RegressorMixin, _Ridge):
    """Kernel ridge regression, from hundreds to millions of rows.

    Does what `sklearn.kernel_ridge.KernelRidge` does, with the same parameters and
    predictions, and goes on where its matrix no longer fits: conjugate gradients on
    a kernel matrix that is never formed, over all rows or on chosen centres
    (Falkon).

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Penalty on the squared norm of the function, per target if an array.
    kernel : str, Kernel or callable, default="linear"
        A name of `sklearn.metrics.pairwise.pairwise_kernels`; a scikit-learn or
        gpkern kernel object; "precomputed"; or a function of two single rows that
        returns a number, as in scikit-learn.
    gamma : float, "scale" or None, default=None
        Of kernels given by name. None is scikit-learn's default, ``1 / n_features``
        for most; "scale" is ``1 / (n_features * X.var())``.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1.0
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    length_scale : float, array-like, "median", "scale" or None, default=None
        Sets the kernel's length scale, in the units of X. "median" is the median
        Euclidean distance between pairs of at most 1,000 rows.
    solver : {"auto", "cholesky", "pcg"}, default="auto"
        "cholesky" factors the matrix. "pcg" runs preconditioned conjugate gradients
        in memory linear in the rows; with centres this is Falkon. "auto" takes
        "cholesky" while two copies of the matrix fit scikit-learn's
        ``working_memory`` and there are no centres. `solver_` says what was taken.
    n_centers : int, float, array of shape (n_centers, n_features), default=None
        Rows that carry coefficients: None for all, a number or a share of the rows
        drawn at random, or the centres themselves.
    tol : float, default=None
        Relative residual at which "pcg" stops: 1e-9, and 1e-5 for float32 data.
    max_iter : int, default=200
        Limit of the iterations of "pcg".
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Draws centres, preconditioner columns and the rows of the median heuristic.
    verbose : int, default=0
        Print what was solved, and how.

    Attributes
    ----------
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_targets)
        Coefficient of each centre.
    X_fit_ : array of shape (n_centers, n_features)
        The centres; the training rows when there are no others.
    kernel_ : Kernel
        The kernel with its numbers.
    solver_ : str
        "cholesky" or "pcg".
    n_iter_ : int
        Iterations of "pcg".
    n_features_in_ : int
        Number of columns in fit.
    feature_names_in_ : ndarray of str
        Names of the columns, when X had them.

    Warns
    -----
    ConvergenceWarning
        When "pcg" ends above `tol`.

    See Also
    --------
    EigenProRegressor : Stochastic solver for more centres still.
    sklearn.kernel_ridge.KernelRidge : The same model with a dense matrix.

    References
    ----------
    .. [1] Z. Frangella, J. A. Tropp, M. Udell, "Randomized Nystrom
       preconditioning", SIAM J. Matrix Anal. Appl. 44 (2023), section 5.
    .. [2] A. Rudi, L. Carratino, L. Rosasco, "FALKON: an optimal large scale kernel
       method", NeurIPS 2017, algorithm 1.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from gpkern import KernelRidge
    >>> X, y = make_friedman1(2000, noise=0.5, random_state=0)
    >>> model = KernelRidge(alpha=0.1, kernel="rbf", length_scale="median")
    >>> model.fit(X[:1500], y[:1500]).score(X[1500:], y[1500:]) > 0.9
    True
    """

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Training rows; the kernel matrix when ``kernel="precomputed"``.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weight of each row's squared error.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        kind = ArrayKind(X)
        X = check_fit_X(self, X)
        y = check_targets(y, X.shape[0], self)
        coef = self._fit_targets(X, y.reshape(len(y), -1), sample_weight, kind)
        self.dual_coef_ = kind.out(coef[:, 0] if y.ndim == 1 else coef)
        return self

    def predict(self, X):
        """Predict the targets.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows; their kernel matrix with the training rows when
            ``kernel="precomputed"``.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            In the array type of X.
        """
        values, kind, _ = self._values(X, "predict")
        return kind.out(values if self.dual_coef_.ndim == 2 else values[:, 0])


class KernelRidgeClassifier(ClassifierMixin, _Ridge):
    """Kernel ridge regression on class indicators of -1 and 1.

    The kernel counterpart of `sklearn.linear_model.RidgeClassifier`; parameters as
    in `KernelRidge`.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty on the squared norm of the function.
    kernel, gamma, degree, coef0, kernel_params, length_scale
        The kernel; see `KernelRidge`.
    solver, n_centers, tol, max_iter, device, random_state, verbose
        The solution; see `KernelRidge`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_classes)
        Coefficient of each centre; one column for two classes.
    X_fit_, kernel_, solver_, n_iter_, n_features_in_, feature_names_in_
        See `KernelRidge`.

    See Also
    --------
    EigenProClassifier : Stochastic solver for more centres still.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from gpkern import KernelRidgeClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = KernelRidgeClassifier(alpha=1e-3, kernel="rbf", gamma="scale")
    >>> model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.95
    True
    """

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Training rows; the kernel matrix when ``kernel="precomputed"``.
        y : array-like of shape (n_samples,)
            Labels.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weight of each row's squared error.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        kind = ArrayKind(X)
        X = check_fit_X(self, X)
        y = check_labels(y, X.shape[0], self)
        check_classification_targets(y)
        classes, codes = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs samples of at least 2 classes, but the "
                f"data contains only one class: {classes.tolist()[0]!r}"
            )
        columns = np.arange(len(classes)) if len(classes) > 2 else np.array([1])
        Y = np.where(codes[:, None] == columns, 1.0, -1.0)
        coef = self._fit_targets(X, Y, sample_weight, kind)
        self.classes_ = classes
        self.dual_coef_ = kind.out(coef[:, 0] if Y.shape[1] == 1 else coef)
        return self

    def decision_function(self, X):
        """Score of each class.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : array of shape (n_samples,) or (n_samples, n_classes)
            One number for two classes, positive for ``classes_[1]``.
        """
        values, kind, _ = self._values(X, "decision_function")
        return kind.out(values if self.dual_coef_.ndim == 2 else values[:, 0])

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
        index = values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0) * 1
        return labels_out(self.classes_, index, kind, device)
