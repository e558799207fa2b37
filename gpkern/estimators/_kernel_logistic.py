"""`KernelLogisticRegression`: probabilities of classes, up to millions of rows."""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._device import is_dask
from .._validation import working_dtype
from ..algorithms.log_losses import LogLoss
from ..algorithms.logistic import GramOperator, solve_logistic
from ..algorithms.training import RowSource
from ..cpu.parallel import blas_for
from ..operator import make_operator
from ._door import (
    ArrayKind,
    ScoreMixin,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_weights,
    choose_device,
    to_numpy_or_cupy,
)
from ._labels import class_weights, encode
from ._linear_prediction import (
    CenterValues,
    ClassValues,
    choose_centers,
    kernel_of,
)
from ._parameters import AT_LEAST_ONE, CENTERS, KERNEL, RUN

# Rows of a kernel matrix that are compared with its columns, and how closely.
FEW_ROWS, ASYMMETRY = 200, 1e-4


class KernelLogisticRegression(
    ClassValues, ScoreMixin, ClassifierMixin, CenterValues, BaseEstimator
):
    """Kernel logistic regression, from hundreds to millions of rows.

    Minimises ``sum_i w_i loss(y_i, f(x_i)) + alpha / 2 |f|^2`` over the functions f of
    a kernel, with the logistic loss for two classes and the multinomial one for more:
    with the linear kernel that is scikit-learn's `LogisticRegression` of
    ``C = 1 / alpha``. Newton's method, whose steps are solved by
    preconditioned conjugate gradients on a matrix that is never formed (Falkon).

    Parameters
    ----------
    alpha : float, default=1.0
        Penalty on the squared norm of the function, above 0. It is compared with the
        sum of the losses: for the same smoothness it grows with the rows.
    kernel : str, Kernel or callable, default="rbf"
        A name of `sklearn.metrics.pairwise.pairwise_kernels`; a scikit-learn or
        gpkern kernel object; "precomputed"; or a function of two single rows that
        returns a number.
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
    n_centers : int, float, array-like, CSR matrix or sampler, default=None
        Rows that carry coefficients: None for all, a number or a share of the rows
        drawn at random, the centres themselves, of shape ``(n_centers, n_features)``,
        or a sampler that chooses them, such as `KernelThinning`. Memory is five float64
        matrices of the centres.
    center_sampling : {"uniform", "leverage"}, default="uniform"
        How rows are drawn as centers; "leverage" prefers rows that the others do not
        explain.
    fit_intercept : bool, default=True
        Whether a constant without a penalty is added to f. Probabilities far from all
        rows are its own; without it they are even.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, which multiply `sample_weight`. "balanced" gives all
        classes the same total.
    tol : float, default=1e-5
        End where no more than about this share of the objective is left to gain; of
        float32 rows no more than rounding leaves, up to 1% where `alpha` is so small
        that coefficients are huge.
    max_iter : int, default=100
        Limit of Newton's steps.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data. Several GPUs share the centers.
    random_state : int, RandomState or None, default=None
        Draws centres, the rows of a first rough solution, and those of the median
        heuristic.
    verbose : int, default=0
        Print the objective after each step.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    dual_coef_ : ndarray of shape (n_centers,) or (n_centers, n_classes)
        Coefficient of each centre; one column for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        Zeros without `fit_intercept`.
    X_fit_ : array of shape (n_centers, n_features)
        The centres; the training rows when there are no others.
    kernel_ : Kernel
        The kernel with its numbers.
    objective_ : float
        What was minimised, at the end.
    n_iter_ : int
        Newton's steps on all rows.
    n_features_in_ : int
        Number of columns in fit.
    feature_names_in_ : ndarray of str
        Names of the columns, when X had them.

    Warns
    -----
    ConvergenceWarning
        When `max_iter` steps do not reach `tol`.

    See Also
    --------
    KernelRidgeClassifier : Squared loss, in one step and without probabilities.
    EigenProClassifier : Squared loss, for more centres still.
    sklearn.linear_model.LogisticRegression : The linear model.

    References
    ----------
    .. [1] U. Marteau-Ferey, F. Bach, A. Rudi, "Globally convergent Newton methods for
       ill-conditioned generalized self-concordant losses", NeurIPS 2019.
    .. [2] A. Rudi, L. Carratino, L. Rosasco, "FALKON: an optimal large scale kernel
       method", NeurIPS 2017.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from gpkern import KernelLogisticRegression
    >>> X, y = make_moons(1000, noise=0.2, random_state=0)
    >>> model = KernelLogisticRegression(alpha=0.1, length_scale=0.5, n_centers=200)
    >>> model.fit(X[:800], y[:800]).score(X[800:], y[800:]) > 0.95
    True
    >>> model.predict_proba([[0.5, 0.3], [1.0, -0.5]]).shape
    (2, 2)
    """

    _parameter_constraints = {
        **KERNEL,
        **CENTERS,
        **RUN,
        "kernel": [*KERNEL["kernel"], StrOptions({"precomputed"})],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "fit_intercept": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [AT_LEAST_ONE],
    }

    def __init__(
        self,
        alpha=1.0,
        *,
        kernel="rbf",
        gamma=None,
        degree=3,
        coef0=1.0,
        kernel_params=None,
        length_scale=None,
        n_centers=None,
        center_sampling="uniform",
        fit_intercept=True,
        class_weight=None,
        tol=1e-5,
        max_iter=100,
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
        self.n_centers = n_centers
        self.center_sampling = center_sampling
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

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
            Weight of each row's loss.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        kind = ArrayKind(X)
        X = check_fit_X(self, X)
        classes, codes = encode(y, X, self)
        device = choose_device(self.device, X)
        weights = self._weights(sample_weight, X, classes, codes)
        columns = len(classes) if len(classes) > 2 else 1
        loss = self._loss(codes, columns, weights, device)
        if is_dask(X) and self.n_centers is None:
            X, loss = self._gathered(X, loss, device)
        fit = self._fit_matrix if self.kernel == "precomputed" else self._fit_rows
        with blas_for(X.shape[0]):
            found, centers = fit(X, loss, device)
        coef, constants, self.n_iter_, self.objective_ = found
        self.classes_, self.X_fit_ = classes, kind.out(centers)
        self.intercept_ = kind.out(constants.astype(coef.dtype))
        self.dual_coef_ = kind.out(coef[:, 0] if columns == 1 else coef)
        return self

    @by_blocks
    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        P : array of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        log_P, kind, device = self._log_probabilities(X, "predict_proba")
        return kind.out(device.xp.exp(log_P))

    @by_blocks
    def predict_log_proba(self, X):
        """Logarithms of `predict_proba`, without underflow.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_P : array of shape (n_samples, n_classes)
        """
        log_P, kind, _ = self._log_probabilities(X, "predict_log_proba")
        return kind.out(log_P)

    # ------------------------------------------------------------------ inside

    def _weights(self, sample_weight, X, classes, codes):
        """Weights of the rows, those of the classes included; or None."""
        dtype = working_dtype(X)
        weights = check_weights(sample_weight, X, dtype)
        if self.class_weight is None:
            return weights
        of_classes = class_weights(self.class_weight, classes, codes)
        return check_weights(
            of_classes if weights is None else weights * of_classes, X, dtype
        )

    def _loss(self, codes, columns, weights, device):
        if not is_dask(codes):
            at = device.xp.asarray(codes)
            return LogLoss(at, columns, device.put(weights), device.xp)
        from ..dask.losses import BlockedLoss

        return BlockedLoss(codes, columns, weights)

    def _gathered(self, X, loss, device):
        """Rows of a Dask array that are all to be centers, and their loss."""
        from ..dask.arrays import collect

        remedy = "n_centers=None makes every row a center: set n_centers"
        codes, weights = device.whole(loss.codes), device.whole(loss.weights)
        return collect(X, remedy), LogLoss(codes, loss.n_columns, weights, device.xp)

    def _options(self):
        return self.alpha, self.tol, self.max_iter, self.fit_intercept

    def _fit_rows(self, X, loss, device):
        """What `solve_logistic` finds, and the centres."""
        rng = check_random_state(self.random_state)
        kernel = kernel_of(self, X)
        columns = device.xp.arange(max(2, loss.n_columns))
        is_sampled = hasattr(self.n_centers, "fit")
        targets = (loss.codes[:, None] == columns) * 1.0 if is_sampled else None
        data = RowSource(X, targets, device)
        centers = choose_centers(self, kernel, data, device, rng, loss.weights)
        operator = make_operator(kernel, data.X, centers, device)
        is_whole = centers is None
        centers = data.X if centers is None else centers
        M = make_operator(kernel, centers, None, device, dtype=np.float64).to_dense()

        def coarse(size):
            rows = data.choose(size, rng)
            if is_dask(data.X):
                some = operator.some_rows(rows)
                return loss.some(rows, some.X), some
            return loss.some(rows), operator.with_rows(data.rows(rows))

        self.kernel_ = kernel
        found = solve_logistic(
            operator,
            M,
            loss,
            *self._options(),
            is_whole=is_whole,
            coarse=coarse,
            report=self._report,
        )
        return found, centers

    def _fit_matrix(self, X, loss, device):
        """The same of a kernel matrix that is given."""
        if self.n_centers is not None:
            raise ValueError(
                "kernel='precomputed' holds the matrix of all rows: n_centers does not "
                "apply"
            )
        if self.length_scale is not None:
            raise ValueError(
                "kernel='precomputed' has a length scale already: leave length_scale "
                "None"
            )
        if X.shape[0] != X.shape[1]:
            raise ValueError(
                f"Precomputed metric requires shape (n_queries, n_indexed). Got "
                f"{X.shape} for fit: the matrix must be square"
            )
        K = device.put(X.toarray() if sparse.issparse(X) else X).astype(np.float64)
        some = device.xp.linspace(0, len(K) - 1, FEW_ROWS).astype(np.int64)
        if not bool(device.xp.allclose(K[some], K[:, some].T, rtol=ASYMMETRY)):
            raise ValueError(
                "X is no kernel matrix: with kernel='precomputed' it must be symmetric"
            )
        self.kernel_ = "precomputed"
        found = solve_logistic(
            GramOperator(K, device),
            K,
            loss,
            *self._options(),
            is_whole=True,
            report=self._report,
        )
        return found, X

    @property
    def _report(self):
        if not self.verbose:
            return None
        name = type(self).__name__
        return lambda i, s: print(f"[{name}] step {i}: objective {s.objectives[0]:.8g}")

    def _values(self, X, method):
        """Log odds of shape (m, c), the user's array kind, the device."""
        values, kind, device = super()._values(X, method)
        constants = device.xp.asarray(to_numpy_or_cupy(self.intercept_))
        return values + constants.astype(values.dtype), kind, device

    def _log_probabilities(self, X, method):
        F, kind, device = self._values(X, method)
        xp = device.xp
        if F.shape[1] == 1:
            F = xp.concatenate([-F, xp.zeros_like(F)], axis=1)
        F = F - F.max(axis=1, keepdims=True)
        return F - xp.log(xp.exp(F).sum(axis=1, keepdims=True)), kind, device
