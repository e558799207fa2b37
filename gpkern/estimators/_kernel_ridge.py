"""Kernel ridge regression and classification, exact or with centres."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin, _fit_context

from ._door import (
    ArrayKind,
    ScoreMixin,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_targets,
)
from ._kernel_ridge_base import _Ridge
from ._labels import encode
from ._linear_prediction import ClassValues


class KernelRidge(ScoreMixin, MultiOutputMixin, RegressorMixin, _Ridge):
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
        returns a number, as in scikit-learn. A
        `~sklearn.gaussian_process.kernels.WhiteKernel` in it adds to `alpha` where all
        rows carry coefficients, and does nothing where chosen centers do: no row is
        the same sample as a center.
    gamma : float, "scale" or None, default=None
        Of kernels given by name. None is scikit-learn's default, ``1 / n_features``
        for most; "scale" is ``1 / (n_features * X.var())``.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1.0
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel; other kernels take none.
    length_scale : float, array-like, "median", "scale" or None, default=None
        Sets the kernel's length scale, in the units of X. "median" is the median
        Euclidean distance between pairs of at most 1,000 rows.
    solver : {"auto", "cholesky", "pcg"}, default="auto"
        "cholesky" factors the matrix, in float64 and in place; one that is singular
        to rounding takes a second matrix and gives the least-squares solution of
        smallest norm. "pcg" runs preconditioned conjugate gradients on a matrix that
        is never formed, beside a preconditioner of at most half of scikit-learn's
        ``working_memory`` (or 50 columns); with centres this is Falkon, whose memory
        is two matrices of the centres. "auto" takes "cholesky" while two copies of
        the matrix fit ``working_memory`` and there are no centres. `solver_` says
        what was taken.
    n_centers : int, float, array-like, CSR matrix or sampler, default=None
        Rows that carry coefficients: None for all, a number or a share of the rows
        drawn at random, the centres themselves, of shape ``(n_centers, n_features)``,
        or a sampler that chooses them, such as `KernelThinning`: see
        `EigenProRegressor`.
    center_sampling : {"uniform", "leverage"}, default="uniform"
        How rows are drawn as centers. "leverage" prefers rows that the others do not
        explain, by approximate ridge leverage scores: a lower error from as many
        centers where some rows are rare, for some passes over the rows against 1,000
        of them.
    tol : float, default=None
        Relative residual at which "pcg" stops: 1e-9, and 1e-5 for float32 data. With
        centres, float32 products resolve penalties down to roughly 1e-6 times the
        number of rows; smaller ones need float64 data or "cholesky".
    max_iter : int, default=200
        Limit of the iterations of "pcg".
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data. Several GPUs share the centers.
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
    UserWarning
        When "cholesky" meets a matrix that is singular to rounding.

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
        y = check_targets(y, X, self)
        coef = self._fit_targets(X, y.reshape(len(y), -1), sample_weight, kind)
        self.dual_coef_ = kind.out(coef[:, 0] if y.ndim == 1 else coef)
        return self

    @by_blocks
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


class KernelRidgeClassifier(ClassValues, ScoreMixin, ClassifierMixin, _Ridge):
    """Kernel ridge regression on class indicators of -1 and 1.

    The kernel counterpart of `sklearn.linear_model.RidgeClassifier`. `KernelRidge` says
    more of the parameters.

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty on the squared norm of the function.
    kernel : str, Kernel or callable, default="linear"
        A name, a kernel object, "precomputed" or a function of two single rows.
    gamma : float, "scale" or None, default=None
        Of kernels given by name.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1.0
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel; other kernels take none.
    length_scale : float, array-like, "median", "scale" or None, default=None
        Sets the kernel's length scale, in the units of X.
    solver : {"auto", "cholesky", "pcg"}, default="auto"
        A factor of the matrix, or conjugate gradients without it.
    n_centers : int, float, array-like, CSR matrix or sampler, default=None
        Rows that carry coefficients: all, a number, a share, the centres, or what
        chooses them.
    center_sampling : {"uniform", "leverage"}, default="uniform"
        How rows are drawn as centers; "leverage" prefers rare rows.
    tol : float, default=None
        Relative residual at which "pcg" stops: 1e-9, and 1e-5 for float32 data.
    max_iter : int, default=200
        Limit of the iterations of "pcg".
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data. Several GPUs share the centers.
    random_state : int, RandomState or None, default=None
        Draws centres, preconditioner columns and the rows of the median heuristic.
    verbose : int, default=0
        Print what was solved, and how.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_classes)
        Coefficient of each centre; one column for two classes.
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
        classes, codes = encode(y, X, self)
        columns = np.arange(len(classes)) if len(classes) > 2 else np.array([1])
        Y = np.where(codes[:, None] == columns, 1.0, -1.0)
        coef = self._fit_targets(X, Y, sample_weight, kind)
        self.classes_ = classes
        self.dual_coef_ = kind.out(coef[:, 0] if Y.shape[1] == 1 else coef)
        return self
