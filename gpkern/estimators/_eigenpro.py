"""EigenPro regression."""

from __future__ import annotations

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin, _fit_context

from .._callbacks import with_callbacks
from ._door import (
    ArrayKind,
    ScoreMixin,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_predict_X,
    check_targets,
    in_turn,
    to_numpy_or_cupy,
)
from ._eigenpro_base import _EigenPro


class EigenProRegressor(ScoreMixin, MultiOutputMixin, RegressorMixin, _EigenPro):
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
    n_centers : int, float, array of shape (n_centers, n_features) or sampler, \
default=None
        Rows that carry coefficients: None for all that are not held out, a number or a
        share of them drawn at random, or the centres themselves. Noise kernels
        (`~sklearn.gaussian_process.kernels.WhiteKernel`) add nothing here.

        A sampler has ``fit(X, y)`` and then ``sample_indices_``; a clone of it chooses
        among the training rows, with ``partial_fit`` where X is read in slices. A
        `KernelThinning` whose kernel, gamma and length_scale are left at their defaults
        takes the kernel of this model, unless that is a callable; without a
        random_state it takes numbers from that of this model. Its parameters are
        reached as ``n_centers__n_samples``. Do not expect much: the error is seldom far
        from that of centers drawn by leverage.
    center_sampling : {"uniform", "leverage"}, default="uniform"
        How rows are drawn as centers. "leverage" prefers rows that the others do not
        explain, by approximate ridge leverage scores: a lower error from as many
        centers where some rows are rare, for some passes over the rows against 1,000
        of them.
    n_epochs : int, default=10
        Passes over the rows, at most.
    batch_size : int or "auto", default="auto"
        Rows of a step. "auto" takes the largest number, up to 8,192, for which the
        step of a single row is safe: larger batches need more epochs.
    n_eigencomponents : int or "auto", default="auto"
        Rank of the preconditioner, at most; "auto" is 500. As many eigenvectors are
        used as a batch can follow, and none that drowns in rounding.
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
        Go on from the last fit: its kernel, centres, coefficients and, for as many
        rows, its split. Changed kernel parameters have no effect then.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data. Several GPUs share the centers.
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
        Step for each row's residual: one over the smaller of k(x, x) and twice what
        preconditioning leaves of it, or less where the largest eigenvalue that is left
        demands it.
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
        y = check_targets(y, X, self)
        self._flat = y.ndim == 1
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        self._fit_rows(X, Y, kind)
        return self

    @all_or_nothing
    @in_turn
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y):
        """One pass over a chunk of a stream.

        The first call chooses kernel, centres and preconditioner from its chunk
        (``n_centers=None`` makes all its rows centres); later calls keep them. A copy
        or a pickle keeps kernel, centres and coefficients, and learns the
        preconditioner anew from its next chunk.

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
        y = check_targets(y, X, self)
        if first:
            self._flat = y.ndim == 1
        Y = y.reshape(len(y), -1).astype(np.float64, copy=False)
        self._partial_fit_rows(X, Y, kind)
        return self

    @by_blocks
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
