"""`NTKSurrogateClassifier`: a kernel machine in the place of a network."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import sparse, special, stats
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples, check_is_fitted, validate_data

from .._device import is_cupy, is_dask
from ._door import all_or_nothing, by_blocks, check_weights, is_table, on_host
from ._empirical_ntk import KINDS, EmpiricalNTK
from ._gathered import gathered
from ._kernel_logistic import KernelLogisticRegression
from ._labels import encode
from ._networks import (
    KeepsNetwork,
    is_module,
    is_skorch,
    labels_of,
    unwrapped,
)
from ._parameters import AT_LEAST_ONE, RUN
from ._thinning_rows import rows_of
from ._trak import trak_scores


@dataclass(frozen=True)
class Faithfulness:
    """How closely a surrogate follows its network, on the same rows.

    Attributes
    ----------
    kendall_tau : float
        Rank correlation of the probabilities that both give to the true class, without
        those that the network gives as exactly 0 or 1; NaN where they are constant.
    r2 : float
        Squared correlation of the same, of all rows; NaN where they are constant.
    agreement : float
        Share of rows to which both give the same label.
    accuracy, network_accuracy : float
    """

    kendall_tau: float
    r2: float
    agreement: float
    accuracy: float
    network_accuracy: float

    @property
    def accuracy_difference(self):
        """Accuracy of the surrogate less that of the network."""
        return self.accuracy - self.network_accuracy


class NTKSurrogateClassifier(KeepsNetwork, ClassifierMixin, BaseEstimator):
    """Kernel logistic regression that stands for a fitted network.

    With the network's empirical tangent kernel a linear model in its training rows
    predicts nearly what the network predicts, and says by which rows: each logit is a
    sum over them.

    Parameters
    ----------
    estimator : object
        A fitted classifier, as in `EmpiricalNTK`: an `MLPClassifier`, a network of
        skorch, or a `torch.nn.Module` that returns logits, one for each label in their
        order, or one for two labels. Clones keep it as it is.
    kind : str, default="trace_normalized"
        Of the `EmpiricalNTK`, but for "full".
    n_projections : int, default=2048
        Of kind "projected".
    alpha : float, default=1e-2
        Penalty of the `KernelLogisticRegression`, of a kernel whose values of rows with
        themselves are 1 on average.
    class_weight : dict, "balanced" or None, default=None
    tol : float, default=1e-5
    max_iter : int, default=100
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the rows.
    random_state : int, default=0
        Of kind "projected".

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    kernel_ : EmpiricalNTK
    scale_ : float
        By which its values are divided: the mean of those of rows with themselves, with
        their weights.
    model_ : KernelLogisticRegression
        Of the kernel matrix of the training rows.
    X_fit_ : object of n_samples rows
        The training rows, as they were passed.
    y_fit_ : ndarray of shape (n_samples,)
        Their labels.
    n_iter_ : int
        Steps of `model_`.
    n_features_in_ : int

    See Also
    --------
    EmpiricalNTK : The kernel.

    Notes
    -----
    The kernel matrix of the training rows is held in memory, in float64.

    References
    ----------
    Engel et al. (2024), Faithful and efficient explanations for neural networks via
    neural tangent kernel surrogate models.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from gpkern import NTKSurrogateClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> mlp = MLPClassifier(32, max_iter=400, random_state=0).fit(X[:900], y[:900])
    >>> surrogate = NTKSurrogateClassifier(mlp).fit(X[:900], y[:900])
    >>> report = surrogate.faithfulness_report(X[900:], y[900:])
    >>> bool(report.agreement > 0.95 and report.kendall_tau > 0.6)
    True
    >>> rows, shares = surrogate.attribute(X[900:902], n_top=3)
    >>> rows.shape
    (2, 3)
    """

    _parameter_constraints = {
        "estimator": [object],
        "kind": [StrOptions(set(KINDS) - {"full"})],
        "n_projections": [AT_LEAST_ONE],
        "alpha": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [AT_LEAST_ONE],
        "device": RUN["device"],
        "random_state": [Integral],
    }

    def __init__(
        self,
        estimator,
        *,
        kind="trace_normalized",
        n_projections=2048,
        alpha=1e-2,
        class_weight=None,
        tol=1e-5,
        max_iter=100,
        device=None,
        random_state=0,
    ):
        self.estimator = estimator
        self.kind = kind
        self.n_projections = n_projections
        self.alpha = alpha
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the surrogate.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows that the network was trained on, and whatever it takes: of modules
            also images of shape (n_samples, channels, height, width), of a `Pipeline` a
            data frame with words in it. The rows of a Dask array are gathered; methods
            that have a result for each row return one for one, lazy.
        y : array-like of shape (n_samples,)
            Their labels, all of which the network knows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        _check_columns(self, X, reset=True)
        X = gathered(X, "their kernel matrix is in memory: pass some, X[::10]")
        y = on_host(y) if is_dask(y) else y
        classes, codes = encode(y, X, self)
        self.kernel_ = EmpiricalNTK(
            self.estimator,
            kind=self.kind,
            n_projections=self.n_projections,
            device=self.device,
            random_state=self.random_state,
        )
        K = self.kernel_.kernel(X).astype(np.float64)
        n_outputs = self.kernel_.outputs(rows_of(X, [0])).shape[1]
        known = labels_of(self.estimator, n_outputs, classes)
        if not np.array_equal(classes, known):
            raise ValueError(
                f"y has the classes {classes.tolist()}, and the network was fitted to "
                f"{known.tolist()}: pass rows of all of them"
            )
        weights = check_weights(sample_weight, K, np.float64)
        own = on_host(K.diagonal())
        self.scale_ = float(np.average(own, weights=weights)) or 1.0
        self.model_ = KernelLogisticRegression(
            self.alpha,
            kernel="precomputed",
            class_weight=self.class_weight,
            tol=self.tol,
            max_iter=self.max_iter,
            device=self.device,
        ).fit(K / self.scale_, classes[codes], sample_weight)
        self.classes_, self.X_fit_, self.y_fit_ = classes, X, classes[codes]
        self.n_iter_ = self.model_.n_iter_
        del self.model_.X_fit_  # the matrix
        return self

    @by_blocks
    def decision_function(self, X):
        """Logits of the surrogate: see `KernelLogisticRegression`."""
        K = self._matrix(X)
        return self.model_.decision_function(K)

    @by_blocks
    def predict_proba(self, X):
        """Probabilities of the classes, shape (n_samples, n_classes)."""
        K = self._matrix(X)
        return self.model_.predict_proba(K)

    @by_blocks
    def predict(self, X):
        """Labels, shape (n_samples,)."""
        K = self._matrix(X)
        return self.model_.predict(K)

    def attribute(self, X, target=None, n_top=None):
        """Which training rows make the surrogate say what it says.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        target : label or array-like of shape (n_samples,), default=None
            The class whose logit is explained. None is the one that is predicted.
        n_top : int, default=None
            How many rows; None for all of them in their order.

        Returns
        -------
        rows : ndarray of int of shape (n_samples, n_top)
            Training rows that add most to the logit, the largest first; only with
            `n_top`.
        shares : array of shape (n_samples, n_fit) or (n_samples, n_top)
            What each adds to the surrogate's logit: all of them, of which each carries
            its part of the intercept, sum to it. Those of rows that speak against the
            label are negative, so the largest may exceed the logit. Of two classes the
            logit of the second one is the log odds, and of the first its negative.
        """
        K = on_host(self._matrix(X))
        columns, signs = self._columns(K, target)
        coef = on_host(self.model_.dual_coef_).reshape(len(self.X_fit_), -1)
        intercept = on_host(self.model_.intercept_)
        shares = K * coef[:, columns].T + (intercept[columns] / len(coef))[:, None]
        shares *= signs[:, None]
        if n_top is None:
            return shares
        if not (isinstance(n_top, Integral) and 1 <= n_top <= len(coef)):
            raise ValueError(
                f"n_top={n_top!r} must be a number of training rows, from 1 to "
                f"{len(coef)}"
            )
        rows = np.argsort(-shares, axis=1, kind="stable")[:, :n_top]
        return rows, np.take_along_axis(shares, rows, axis=1)

    def trak_scores(self, X, target=None, **options):
        """What the network's own margins come from, by `gpkern.trak_scores`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        target : label or array-like of shape (n_samples,), default=None
            Whose margin is explained. None is what the network predicts.
        **options
            Of `gpkern.trak_scores`: `n_projections`, `alpha`.

        Returns
        -------
        ndarray of shape (n_samples, n_fit)
        """
        check_is_fitted(self)
        options = {"device": self.device, "random_state": self.random_state} | options
        train = self.X_fit_, self.y_fit_
        return trak_scores(self.estimator, *train, X, target, **options)

    def faithfulness_report(self, X, y):
        """`Faithfulness` of the surrogate to the network, on rows with labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Best rows that neither was fitted to.
        y : array-like of shape (n_samples,)

        Returns
        -------
        Faithfulness
        """
        ours = on_host(self.predict_proba(X))
        theirs = self._network_proba(X)
        y = column_or_1d(on_host(y))
        check_consistent_length(X, y)
        if not np.isin(y, self.classes_).all():
            raise ValueError("y has labels that the network does not know")
        codes = np.searchsorted(self.classes_, y)
        at = np.arange(len(codes))
        p, q = theirs[at, codes], ours[at, codes]
        inside = (p > 0) & (p < 1)
        return Faithfulness(
            float(stats.kendalltau(p[inside], q[inside]).statistic),
            float(np.corrcoef(p, q)[0, 1] ** 2) if np.ptp(p) and np.ptp(q) else np.nan,
            float((theirs.argmax(axis=1) == ours.argmax(axis=1)).mean()),
            float((ours.argmax(axis=1) == codes).mean()),
            float((theirs.argmax(axis=1) == codes).mean()),
        )

    # ------------------------------------------------------------------ inside

    def _matrix(self, X):
        """Kernel of rows and training rows, over its scale."""
        check_is_fitted(self)
        _check_columns(self, X, reset=False)
        return self.kernel_.kernel(X, self.X_fit_).astype(np.float64) / self.scale_

    def _network_proba(self, X):
        """Probabilities of the network, on the host."""
        network, before = unwrapped(self.estimator)
        if not is_module(network):
            X = on_host(X) if is_cupy(X) else X
            X = X if before is None else before.transform(X)
            if is_skorch(network) and getattr(X, "dtype", None) == np.float64:
                X = X.astype(np.float32)  # as PyTorch's parameters are
            return np.asarray(network.predict_proba(X))
        F = on_host(self.kernel_.outputs(X)).astype(np.float64)
        if F.shape[1] == 1:
            F = np.column_stack([np.zeros(len(F)), F])
        elif (F >= 0).all() and np.allclose(F.sum(axis=1), 1.0, atol=1e-3):
            return F  # probabilities already, of which EmpiricalNTK has warned
        return special.softmax(F, axis=1)

    def _columns(self, K, target):
        """The column of the coefficients of each row's class, and its sign."""
        if target is None:
            target = self.model_.predict(K)
        target = np.asarray(target)
        if target.shape not in ((), (len(K),)):
            raise ValueError(
                f"target has shape {target.shape}: pass one label, or one for each of "
                f"the {len(K)} rows"
            )
        target = np.broadcast_to(target, len(K))
        if not np.isin(target, self.classes_).all():
            raise ValueError(
                f"target={target.tolist()} must be of the classes "
                f"{self.classes_.tolist()}"
            )
        codes = np.searchsorted(self.classes_, target)
        if len(self.classes_) > 2:
            return codes, np.ones(len(codes))
        return np.zeros(len(codes), dtype=int), np.where(codes == 1, 1.0, -1.0)


def _check_columns(estimator, X, reset):
    """Number and names of X's columns; what is in them is the network's business."""
    if _num_samples(X) == 0:
        raise ValueError("X has no rows: a minimum of 1 is required")
    if sparse.issparse(X):
        raise TypeError("X is sparse, and a dense array is needed: pass X.toarray()")
    if is_table(X):
        validate_data(estimator, X, skip_check_array=True, reset=reset)
