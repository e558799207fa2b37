"""Targets from fitted estimators: mixtures, kernel density estimates, and others."""

from __future__ import annotations

import copy
import inspect
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn import preprocessing
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity as TreeKernelDensity
from sklearn.utils.validation import check_is_fitted

from .._device import is_cupy
from .base import Target, as_float64, check_values, to_numpy
from .differences import gradient
from .mixture import Mixture

# Steps of a pipeline that change a density by a constant factor.
LINEAR = (
    preprocessing.StandardScaler,
    preprocessing.MinMaxScaler,
    preprocessing.MaxAbsScaler,
    preprocessing.RobustScaler,
    PCA,
)


class EstimatorTarget(Target):
    """The density of a fitted estimator.

    Parameters
    ----------
    estimator : object
        With `score_samples`; a `FrozenEstimator` of it is not fitted again.
    name : str, default="target"
        For messages.
    """

    has_log_density = True

    def __init__(self, estimator, name="target"):
        frozen = isinstance(estimator, FrozenEstimator)
        self.estimator = estimator.estimator if frozen else estimator
        _check_fitted(self.estimator, name)
        # A search is fitted as a whole; its density is that of its best estimator.
        best = getattr(self.estimator, "best_estimator_", self.estimator)
        self.best = best.estimator if isinstance(best, FrozenEstimator) else best
        _check_is_density(self.best, name)
        self._known = _in_closed_form(self.best, name)
        self.n_features = getattr(self._known, "n_features_in_", None)
        if isinstance(self._known, Target):
            self.n_features = self._known.n_features
        self.can_sample = hasattr(self._known, "sample")
        clones = all(hasattr(self.estimator, a) for a in ("fit", "get_params"))
        self.can_refit = self.can_sample and clones and not frozen
        self._name = name

    def _score(self, X):
        if isinstance(self._known, Target):
            return self._known._score(X)
        X = self._placed(X)
        if not hasattr(self._known, "score_gradient"):
            return gradient(self._log_density, X)[0]
        with _without_names():
            return self._known.score_gradient(X)

    def _log_density(self, X):
        if isinstance(self._known, Target):
            return self._known._log_density(X)
        with _without_names():
            return check_values(self._known.score_samples(self._placed(X)), X)

    def _sample(self, n, rng):
        if isinstance(self._known, Target):
            return self._known._sample(n, rng)
        return as_float64(_draw(self._known, n, rng))

    def refit(self, X):
        """See `Target`."""
        if not self.can_refit:
            return super().refit(X)
        fitted = clone(self.estimator).fit(to_numpy(X))
        return type(self)(fitted, self._name)

    def _placed(self, X):
        """Rows in an array library that the estimator takes."""
        device = getattr(self._known, "device", "cpu")
        ours = type(self._known).__module__.split(".")[0] == "gpkern"
        return X if ours and device != "cpu" else to_numpy(X)


def _check_fitted(estimator, name):
    """An error for an estimator that is not fitted, or was cloned."""
    if not isinstance(estimator, BaseEstimator):
        return
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise NotFittedError(
            f"{name}={type(estimator).__name__} is not fitted: fit it first, and pass "
            f"{name}=FrozenEstimator(model), of sklearn.frozen, where it is a "
            "parameter of an estimator, as clone (in cross-validation) unfits a bare "
            "one"
        ) from None


def _check_is_density(estimator, name):
    """An error where `score_samples` is not the log density of rows."""
    kind, what = type(estimator).__name__, "its score_samples is no log density of rows"
    outlier = (
        isinstance(estimator, BaseEstimator)
        and estimator.__sklearn_tags__().estimator_type == "outlier_detector"
    )
    test = hasattr(estimator, "null_distribution_")
    if outlier or test or kind == "BernoulliRBM":
        raise TypeError(f"{name}={kind}: {what}; use a KernelDensity or a mixture")
    if not hasattr(estimator, "score_samples"):
        raise TypeError(
            f"{name}={kind} has no score_samples, the log density of rows: wrap it in "
            "gpkern.targets.LogDensity or Score"
        )
    for _, step in getattr(estimator, "steps", [])[:-1]:
        step = step.estimator if isinstance(step, FrozenEstimator) else step
        if step is None or step == "passthrough":
            continue
        square = not isinstance(step, PCA) or step.n_components_ == step.n_features_in_
        if not isinstance(step, LINEAR) or not square:
            raise TypeError(
                f"{name}=Pipeline: its score_samples leaves out by how much "
                f"{type(step).__name__} changes volumes, which need not be constant; "
                "transform the rows first and pass the last step alone, or pass "
                "gpkern.targets.LogDensity of the sum of both logarithms"
            )


def _in_closed_form(estimator, name):
    """A `Mixture`, a gpkern KernelDensity, or the estimator itself."""
    if hasattr(estimator, "covariance_type") and hasattr(estimator, "means_"):
        return Mixture(estimator.weights_, estimator.means_, _covariances(estimator))
    if isinstance(estimator, TreeKernelDensity):
        return _from_tree(estimator, name)
    if hasattr(estimator, "get_covariance") and hasattr(estimator, "mean_"):
        # Of PCA and FactorAnalysis: their log density is that of a normal.
        covariance = np.asarray(estimator.get_covariance())
        return Mixture([1.0], estimator.mean_[None], covariance[None])
    _check_kernel(estimator, name)
    return estimator


def _covariances(mixture):
    """As `Mixture` takes them."""
    k, d = np.shape(mixture.means_)
    C = np.asarray(mixture.covariances_, dtype=np.float64)
    return np.broadcast_to(C, (k, d, d)) if mixture.covariance_type == "tied" else C


def _check_kernel(estimator, name):
    """An error for a kernel density estimate that has no score everywhere."""
    kernel = getattr(estimator, "kernel_", None)
    if not hasattr(kernel, "is_smooth"):
        return
    if not kernel.is_smooth or getattr(kernel, "is_compact", False):
        raise ValueError(
            f"{name} has the kernel {type(kernel).__name__}, which is not smooth, or "
            "ends: its density has no score everywhere; use 'gaussian', or another "
            "smooth kernel with tails, as 'logistic' or 'student-t'"
        )
    if getattr(estimator, "metric", "euclidean") not in ("euclidean", "l2"):
        raise ValueError(
            f"{name} has metric={estimator.metric!r}: its score needs 'euclidean'"
        )


def _from_tree(estimator, name):
    """scikit-learn's KernelDensity as one of gpkern, whose sums are exact."""
    if estimator.kernel != "gaussian" or estimator.metric not in ("euclidean", "l2"):
        raise ValueError(
            f"{name}=KernelDensity(kernel={estimator.kernel!r}, metric="
            f"{estimator.metric!r}): scores of scikit-learn's are for the kernel "
            "'gaussian' and the metric 'euclidean' alone, as the others are not "
            "smooth; gpkern.KernelDensity has more kernels that are"
        )
    tree = estimator.tree_
    # None where it was fitted without any.
    weights = None if tree.sample_weight is None else np.asarray(tree.sample_weight)
    return gaussian_kde(np.asarray(tree.data), estimator.bandwidth_, weights)


def gaussian_kde(points, bandwidth, weights=None):
    """gpkern's KernelDensity of rows; bandwidth as it takes it."""
    from ..estimators import KernelDensity  # imports go down: this one when needed

    return KernelDensity(bandwidth=bandwidth).fit(points, sample_weight=weights)


@contextmanager
def _without_names():
    """Rows are arrays here, whatever the estimator was fitted to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        yield


def _draw(estimator, n, rng):
    """Rows from `sample`, with the random numbers of rng where it takes any."""
    accepted = inspect.signature(estimator.sample).parameters
    if "random_state" in accepted:
        drawn = estimator.sample(n, random_state=rng)
    else:
        if hasattr(estimator, "random_state"):
            estimator = copy.copy(estimator)  # the user's own keeps its state
            estimator.random_state = rng
        drawn = estimator.sample(n)
    drawn = drawn[0] if isinstance(drawn, tuple) else drawn
    return drawn if is_cupy(drawn) else np.asarray(drawn)
