"""EigenPro regression and classification."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, MultiOutputMixin, RegressorMixin, _fit_context

from .._callbacks import with_callbacks
from .._validation import working_dtype
from ..algorithms.calibration import fit_calibration, probabilities
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_labels,
    check_predict_X,
    check_targets,
    to_numpy_or_cupy,
)
from ._eigenpro_base import _EigenPro
from ._labels import encode, labels_out, winners


class EigenProRegressor(MultiOutputMixin, RegressorMixin, _EigenPro):
    """Large kernel regression by preconditioned stochastic gradient descent.

    Minimises the squared error over functions spanned by centres, in memory linear
    in the rows. The preconditioner flattens the top of the kernel's spectrum, so
    that a batch of thousands of rows takes a long, safe step. There is no penalty:
    the number of epochs regularises, and early stopping chooses it.

    All rows as centres is EigenPro 2 [1]_; fewer are EigenPro 4 [2]_, where batches
    are added as temporary centres and projected onto the permanent ones from time
    to time.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="rbf"
        A name of `sklearn.metrics.pairwise.pairwise_kernels`; a scikit-learn or
        gpkern kernel object such as ``Matern(nu=0.5)``, the Laplacian of the
        EigenPro papers; or a function of two single rows. It must be positive
        definite.
    gamma : float, "scale" or None, default="scale"
        Of kernels given by name: "scale" is ``1 / (n_features * X.var())``.
    length_scale : float, array-like, "median", "scale" or None, default=None
        Sets the kernel's length scale, in the units of X. "median" is the median
        Euclidean distance between pairs of at most 1,000 rows.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1.0
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    n_centers : int, float, array of shape (n_centers, n_features), default=None
        Rows that carry coefficients: None for all, a number or a share of the rows
        drawn at random, or the centres themselves.
    n_epochs : int, default=10
        Passes over the rows, at most.
    batch_size : int or "auto", default="auto"
        Rows of a step. "auto" takes the largest number, up to 8,192, for which the
        step of a single row is safe: larger batches need more epochs.
    n_eigencomponents : int or "auto", default="auto"
        Rank of the preconditioner; lowered where eigenvalues drown in the rounding
        of the dtype.
    n_subsamples : int or "auto", default="auto"
        Rows that the preconditioner is learnt from.
    early_stopping : bool or "auto", default="auto"
        Hold out `validation_fraction` of the rows, stop after `n_iter_no_change`
        epochs without progress and keep the best epoch. "auto" does so for more
        than 10,000 rows.
    validation_fraction : float, default=0.1
        Share of rows held out.
    n_iter_no_change : int, default=2
        Epochs to wait for a better validation score.
    tol : float, default=1e-4
        How much better counts as better.
    warm_start : bool, default=False
        Go on from the last fit's centres and coefficients.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Draws centres, subsample, validation split and batches.
    verbose : int, default=0
        Print each epoch's loss and score.

    Attributes
    ----------
    dual_coef_ : array of shape (n_centers,) or (n_centers, n_targets)
        Coefficient of each centre: the mean of the iterates over the second half of
        the epoch that was kept.
    centers_ : array of shape (n_centers, n_features)
        The centres.
    intercept_ : float or ndarray of shape (n_targets,)
        Mean of the training targets, added to every prediction.
    kernel_ : Kernel
        The kernel with its numbers.
    batch_size_ : int
        Rows of a step.
    learning_rate_ : float
        Step for each row's residual; ``1 / max k(x, x)``, or less where the largest
        eigenvalue that preconditioning leaves demands it.
    eigenvalues_ : ndarray
        Leading eigenvalues of the subsample's matrix over its size; the last one is
        the level to which the preconditioner flattens the others.
    n_iter_ : int
        Epochs run.
    best_iter_ : int
        Epoch whose coefficients were kept.
    loss_curve_ : list of float
        Mean squared residual in each epoch, before each batch's own update.
    validation_scores_ : list of float or None
        R^2 on the held-out rows after each epoch.
    n_features_in_ : int
        Number of columns in fit.
    feature_names_in_ : ndarray of str
        Names of the columns, when X had them.

    See Also
    --------
    KernelRidge : With a penalty; conjugate gradients converge further for up to some
        20,000 centres.

    References
    ----------
    .. [1] S. Ma, M. Belkin, "Kernel machines that adapt to GPUs for effective large
       batch training", MLSys 2019, algorithm 1.
    .. [2] A. Abedsoltan, S. Ma, P. Pandit, M. Belkin, "Fast training of large kernel
       models with delayed projections", NeurIPS 2025.

    Examples
    --------
    >>> from sklearn.datasets import make_friedman1
    >>> from gpkern import EigenProRegressor
    >>> X, y = make_friedman1(2000, noise=0.5, random_state=0)
    >>> model = EigenProRegressor(random_state=0).fit(X[:1500], y[:1500])
    >>> model.score(X[1500:], y[1500:]) > 0.95
    True
    """

    @all_or_nothing
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the model.

        Parameters
        ----------
        X : array-like, CSR matrix or sliceable array of shape (n_samples, n_features)
            Training rows. Memory-mapped arrays, and arrays that are read in slices
            (HDF5, Zarr), are read batch by batch.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        kind = ArrayKind(X)
        X = check_fit_X(self, X)
        y = check_targets(y, X.shape[0], self)
        self._flat = y.ndim == 1
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        self._fit_rows(X, Y, kind)
        return self

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """One pass over a chunk of a stream.

        The first call chooses kernel, centres and preconditioner from its chunk
        (``n_centers=None`` makes all its rows centres); later calls keep them.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.

        Returns
        -------
        self : object
            The estimator.
        """
        kind = ArrayKind(X)
        first = not hasattr(self, "dual_coef_")
        X = check_fit_X(self, X) if first else check_predict_X(self, X)
        y = check_targets(y, X.shape[0], self)
        if first:
            self._flat = y.ndim == 1
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        self._partial_fit_rows(X, Y, kind)
        return self

    def predict(self, X):
        """Predict the targets.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : array of shape (n_samples,) or (n_samples, n_targets)
            In the array type of X.
        """
        values, kind, _ = self._values(X, "predict")
        return kind.out(values[:, 0] if self._flat else values)

    def _set_coef(self, coef, kind):
        self.dual_coef_ = kind.out(coef[:, 0] if self._flat else coef)

    @property
    def intercept_(self):
        """Mean of the training targets, added to every prediction."""
        return float(to_numpy_or_cupy(self._offset)[0]) if self._flat else self._offset

    def _score_values(self, values, Y):
        """R^2, averaged over the targets; minus the error for constant targets."""
        error = ((values - Y) ** 2).sum(axis=0)
        spread = ((Y - Y.mean(axis=0)) ** 2).sum(axis=0)
        spread[spread == 0] = 1.0
        return float((1.0 - error / spread).mean())


class EigenProClassifier(ClassifierMixin, _EigenPro):
    """Large kernel classification by preconditioned stochastic gradient descent.

    Least squares on class indicators, solved as in `EigenProRegressor`.

    Parameters
    ----------
    kernel, gamma, length_scale, degree, coef0, kernel_params
        The kernel; see `EigenProRegressor`.
    n_centers, n_epochs, batch_size, n_eigencomponents, n_subsamples
        The solution; see `EigenProRegressor`.
    early_stopping, validation_fraction, n_iter_no_change, tol, warm_start
        The stopping rule, by validation accuracy; see `EigenProRegressor`.
    device, random_state, verbose
        See `EigenProRegressor`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels.
    dual_coef_ : array of shape (n_centers,) or (n_centers, n_classes)
        Coefficient of each centre; one column for two classes.
    validation_scores_ : list of float or None
        Accuracy on the held-out rows after each epoch.
    calibration_ : ndarray or None
        Parameters that turn scores into probabilities, fitted on the held-out rows.
    centers_, kernel_, batch_size_, learning_rate_, eigenvalues_, n_iter_, best_iter_
        See `EigenProRegressor`.
    loss_curve_, n_features_in_, feature_names_in_
        See `EigenProRegressor`.

    See Also
    --------
    KernelRidgeClassifier : With a penalty.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from gpkern import EigenProClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = EigenProClassifier(random_state=0).fit(X[:1200], y[:1200])
    >>> model.score(X[1200:], y[1200:]) > 0.95
    True
    """

    @all_or_nothing
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y):
        """Fit the model.

        Parameters
        ----------
        X : array-like, CSR matrix or sliceable array of shape (n_samples, n_features)
            Training rows; see `EigenProRegressor.fit`.
        y : array-like of shape (n_samples,)
            Labels.

        Returns
        -------
        self : object
            The fitted estimator.
        """
        kind = ArrayKind(X)
        X = check_fit_X(self, X)
        classes, codes = encode(y, X.shape[0], self)
        old = getattr(self, "classes_", classes)
        if self.warm_start and not np.array_equal(old, classes):
            raise ValueError(
                f"warm_start=True goes on with the classes of the last fit, {old}; y "
                f"has {classes}"
            )
        Y = _indicators(codes, len(classes), working_dtype(X))
        held_out, values = self._fit_rows(X, Y, kind, strata=codes)
        self.classes_ = classes
        self.calibration_ = None
        if held_out is not None:
            self.calibration_ = kind.out(fit_calibration(values, codes[held_out]))
        return self

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, classes=None):
        """One pass over a chunk of a stream; see `EigenProRegressor.partial_fit`.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels, all of them in `classes`.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever come; needed at the first call.

        Returns
        -------
        self : object
            The estimator.
        """
        kind = ArrayKind(X)
        first = not hasattr(self, "dual_coef_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        known = np.unique(np.asarray(classes)) if first else self.classes_
        if classes is not None and not np.array_equal(np.unique(classes), known):
            raise ValueError(
                f"classes={classes!r} differs from those of the first call, {known}"
            )
        if len(known) < 2:
            raise ValueError(f"classes={classes!r} must hold at least 2 classes")
        X = check_fit_X(self, X) if first else check_predict_X(self, X)
        y = check_labels(y, X.shape[0], self)
        unseen = np.setdiff1d(y, known)
        if len(unseen):
            raise ValueError(
                f"y holds labels that are not in classes: {unseen.tolist()}"
            )
        codes = np.searchsorted(known, y)
        if first:
            self.classes_, self.calibration_ = known, None
        self._partial_fit_rows(
            X, _indicators(codes, len(known), working_dtype(X)), kind
        )
        return self

    def decision_function(self, X):
        """Score of each class.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : array of shape (n_samples,) or (n_samples, n_classes)
            For two classes one number in about [-1, 1], positive for ``classes_[1]``;
            otherwise about 1 for the predicted class and 0 for the others.
        """
        values, kind, _ = self._values(X, "decision_function")
        return kind.out(values[:, 0] if len(self.classes_) == 2 else values)

    def predict(self, X):
        """Predict the labels.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : array of shape (n_samples,)
            Labels.
        """
        values, kind, device = self._values(X, "predict")
        return labels_out(self.classes_, winners(values), kind, device)

    def predict_proba(self, X):
        """Probability of each class.

        Calibrated on the held-out rows when there were any (`early_stopping`);
        otherwise the least-squares scores, which estimate probabilities, clipped to
        [0, 1] and normalised.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        p : array of shape (n_samples, n_classes)
            Rows sum to 1.
        """
        values, kind, device = self._values(X, "predict_proba")
        calibration = device.get(to_numpy_or_cupy(self.calibration_))
        p = probabilities(device.get(values), calibration)
        return kind.out(device.put(p))

    def _set_coef(self, coef, kind):
        self.dual_coef_ = kind.out(coef[:, 0] if coef.shape[1] == 1 else coef)

    def _score_values(self, values, Y):
        return float((winners(values) == winners(Y)).mean())


def _indicators(codes, n_classes, dtype):
    """-1 and 1 in one column for two classes, else 0 and 1 in a column for each."""
    if n_classes == 2:
        return (2.0 * codes - 1.0).reshape(-1, 1).astype(dtype)
    return np.eye(n_classes, dtype=dtype)[codes]
