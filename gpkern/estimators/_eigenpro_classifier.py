"""EigenPro classification."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context

from .._callbacks import with_callbacks
from .._validation import working_dtype
from ..algorithms.calibration import fit_calibration, probabilities
from ._door import (
    ArrayKind,
    ScoreMixin,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_labels,
    check_predict_X,
    in_turn,
    on_host,
    to_numpy_or_cupy,
)
from ._eigenpro_base import _EigenPro
from ._labels import encode, labels_out, winners
from ._thinning_rows import rows_of


class EigenProClassifier(ScoreMixin, ClassifierMixin, _EigenPro):
    """Large kernel classification by preconditioned stochastic gradient descent.

    Least squares on class indicators, solved as in `EigenProRegressor`.

    Parameters
    ----------
    kernel : str, Kernel or callable, default="rbf"
        Name, kernel object, or function of two single rows.
    gamma : float, "scale" or None, default="scale"
        Of kernels given by name: "scale" is ``1 / (n_features * X.var())``.
    length_scale : float, array-like, "median", "scale" or None, default=None
        Sets the kernel's length scale, in the units of X.
    degree : float, default=3
        Degree of the polynomial kernel.
    coef0 : float, default=1.0
        Constant of the polynomial and sigmoid kernels.
    kernel_params : dict, default=None
        Keyword arguments of a callable kernel.
    n_centers : int, float, array of shape (n_centers, n_features) or sampler, \
default=None
        Rows that carry coefficients: None for all, a number or a share of the rows
        drawn at random, the centres themselves, or a sampler that chooses them, such
        as `KernelThinning`: see `EigenProRegressor`.
    center_sampling : {"uniform", "leverage"}, default="uniform"
        How rows are drawn as centers; "leverage" prefers rare rows.
    n_epochs : int, default=10
        Passes over the rows, at most.
    batch_size : int or "auto", default="auto"
        Rows of a step.
    n_eigencomponents : int or "auto", default="auto"
        Rank of the preconditioner, at most.
    n_subsamples : int or "auto", default="auto"
        Rows that the preconditioner is learnt from.
    early_stopping : bool or "auto", default="auto"
        Hold out `validation_fraction` of the rows, stop after `n_iter_no_change`
        epochs without a better accuracy there and keep the best epoch. "auto" does so
        for more than 10,000 rows. The held-out rows are stratified by class, unless a
        class has a single row, and calibrate `predict_proba`.
    validation_fraction : float, default=0.1
        Share of rows held out.
    n_iter_no_change : int, default=2
        Epochs to wait for a better validation score.
    tol : float, default=1e-4
        How much better counts as better.
    warm_start : bool, default=False
        Go on from the last fit: its kernel, centres, coefficients and split.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data. Several GPUs share the centers.
    random_state : int, RandomState or None, default=None
        Draws centres, subsample, validation split and batches.
    verbose : int, default=0
        Print each epoch's loss and score.

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
        classes, codes = encode(y, X, self)
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
            held = on_host(rows_of(codes, held_out))
            self.calibration_ = kind.out(fit_calibration(values, held))
        return self

    @all_or_nothing
    @in_turn
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
        y = check_labels(y, X, self)
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

    @by_blocks
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

    @by_blocks
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

    @by_blocks
    def predict_proba(self, X):
        """Probability of each class.

        Calibrated on the held-out rows when there were any (`early_stopping`), so that
        for two classes the more probable one need not be that of `predict`; otherwise
        the least-squares scores, which estimate probabilities, clipped to [0, 1] and
        normalised.

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
    return (codes[:, None] == np.arange(n_classes)).astype(dtype)
