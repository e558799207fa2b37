"""`NTKSurrogateClassifier`: a kernel machine in the place of a network."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy import special, stats
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._door import (
    all_or_nothing,
    check_fit_X,
    check_predict_X,
    check_weights,
    to_numpy_or_cupy,
)
from ._empirical_ntk import KINDS, EmpiricalNTK
from ._kernel_logistic import KernelLogisticRegression
from ._labels import encode
from ._networks import is_module, labels_of, unwrapped
from ._parameters import AT_LEAST_ONE, RUN
from ._trak import trak_scores


@dataclass(frozen=True)
class Faithfulness:
    """How closely a surrogate follows its network, on the same rows.

    Attributes
    ----------
    kendall_tau : float
        Rank correlation of the probabilities that both give to the true class, without
        those that the network gives as exactly 0 or 1.
    r2 : float
        Squared correlation of the same, of all rows.
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


class NTKSurrogateClassifier(ClassifierMixin, BaseEstimator):
    """Kernel logistic regression that stands for a fitted network.

    With the network's empirical tangent kernel a linear model in its training rows
    predicts nearly what the network predicts, and says by which rows: each logit is a
    sum over them.

    Parameters
    ----------
    estimator : object
        A fitted classifier, as in `EmpiricalNTK`: an `MLPClassifier`, a network of
        skorch, or a `torch.nn.Module` that returns logits, one for each label in their
        order, or one for two labels.
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
    X_fit_ : array of shape (n_samples, n_features)
        The training rows; those of more axes with all numbers in one.
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
            The rows that the network was trained on; of modules also with more axes,
            such as images of shape (n_samples, channels, height, width).
        y : array-like of shape (n_samples,)
            Their labels, all of which the network knows.
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self
        """
        X, self._row_shape = _in_one_axis(X)
        X = check_fit_X(self, X, sparse_ok=False)
        classes, codes = encode(y, len(X), self)
        self.kernel_ = EmpiricalNTK(
            self.estimator,
            kind=self.kind,
            n_projections=self.n_projections,
            device=self.device,
            random_state=self.random_state,
        )
        n_outputs = self.kernel_.outputs(self._rows(X[:1])).shape[1]
        known = labels_of(self.estimator, n_outputs, classes)
        if not np.array_equal(classes, known):
            raise ValueError(
                f"y has the classes {classes.tolist()}, and the network was fitted to "
                f"{known.tolist()}: pass rows of all of them"
            )
        K = self.kernel_.kernel(self._rows(X)).astype(np.float64)
        weights = check_weights(sample_weight, len(X), np.float64)
        own = _on_host(K.diagonal())
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

    def decision_function(self, X):
        """Logits of the surrogate: see `KernelLogisticRegression`."""
        K = self._matrix(X)
        return self.model_.decision_function(K)

    def predict_proba(self, X):
        """Probabilities of the classes, shape (n_samples, n_classes)."""
        K = self._matrix(X)
        return self.model_.predict_proba(K)

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
            What each adds to the logit: all of them, of which each carries its part of
            the intercept, sum to the logit. Of two classes the logit of the second one
            is the log odds, and of the first its negative.
        """
        K = _on_host(self._matrix(X))
        columns, signs = self._columns(K, target)
        coef = _on_host(self.model_.dual_coef_).reshape(len(self.X_fit_), -1)
        intercept = _on_host(self.model_.intercept_)
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
        if target is None:
            target = self.classes_[self._network_proba(X).argmax(axis=1)]
        target = np.broadcast_to(_on_host(target), len(X))
        train = self._rows(self.X_fit_), self.y_fit_
        options = {"device": self.device, "random_state": self.random_state} | options
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
        ours = _on_host(self.predict_proba(X))
        theirs = self._network_proba(X)
        y = _on_host(y)
        if not np.isin(y, self.classes_).all():
            raise ValueError("y has labels that the network does not know")
        codes = np.searchsorted(self.classes_, y)
        at = np.arange(len(codes))
        p, q = theirs[at, codes], ours[at, codes]
        inside = (p > 0) & (p < 1)
        return Faithfulness(
            float(stats.kendalltau(p[inside], q[inside]).statistic),
            float(np.corrcoef(p, q)[0, 1] ** 2),
            float((theirs.argmax(axis=1) == ours.argmax(axis=1)).mean()),
            float((ours.argmax(axis=1) == codes).mean()),
            float((theirs.argmax(axis=1) == codes).mean()),
        )

    # ------------------------------------------------------------------ inside

    def _matrix(self, X):
        """Kernel of rows and training rows, over its scale."""
        check_is_fitted(self)
        X = check_predict_X(self, _in_one_axis(X)[0], sparse_ok=False)
        rows, others = self._rows(X), self._rows(self.X_fit_)
        return self.kernel_.kernel(rows, others).astype(np.float64) / self.scale_

    def _rows(self, X):
        """Rows of as many axes as in `fit`."""
        return X.reshape(len(X), *self._row_shape)

    def _network_proba(self, X):
        """Probabilities of the network, on the host."""
        network, _ = unwrapped(self.estimator)
        if not is_module(network):
            return np.asarray(self.estimator.predict_proba(_on_host(X)))
        F = _on_host(self.kernel_.outputs(X)).astype(np.float64)
        if F.shape[1] == 1:
            F = np.column_stack([np.zeros(len(F)), F])
        return special.softmax(F, axis=1)

    def _columns(self, K, target):
        """The column of the coefficients of each row's class, and its sign."""
        if target is None:
            target = self.model_.predict(K)
        target = np.broadcast_to(np.asarray(target), len(K))
        if not np.isin(target, self.classes_).all():
            raise ValueError(
                f"target={target.tolist()} must be of the classes "
                f"{self.classes_.tolist()}"
            )
        codes = np.searchsorted(self.classes_, target)
        if len(self.classes_) > 2:
            return codes, np.ones(len(codes))
        return np.zeros(len(codes), dtype=int), np.where(codes == 1, 1.0, -1.0)


def _in_one_axis(X):
    """Rows of one axis, and the shape that each had."""
    X = to_numpy_or_cupy(X)
    shape = getattr(X, "shape", ())
    if len(shape) > 2 and 0 not in shape:
        return X.reshape(len(X), -1), shape[1:]
    return X, (-1,)


def _on_host(array):
    array = to_numpy_or_cupy(array)
    return np.asarray(array.get() if hasattr(array, "get") else array)
