"""What can be given as a target."""

from __future__ import annotations

from sklearn.frozen import FrozenEstimator

from .base import Target
from .distributions import from_scipy
from .estimators import EstimatorTarget
from .functions import Score

ACCEPTED = (
    "a function that returns scores, X -> (n, d); a fitted GaussianMixture, "
    "KernelDensity or other estimator with score_samples (in a FrozenEstimator, where "
    "it is to survive clone); a frozen distribution of scipy.stats; or a "
    "gpkern.targets.Target, as Score, LogDensity, Mixture, GaussianBernoulliRBM, and "
    "what from_torch, from_jax, from_bridgestan and from_pymc make"
)
# Attributes by which models of other packages are known, and what makes targets of
# them.
MAKERS = {
    "compile_dlogp": "from_pymc(model)",
    "log_density_gradient": "from_bridgestan(model)",
}


def as_target(target, name="target"):
    """A density in one of its many forms as a `Target`.

    Parameters
    ----------
    target : object
        One of:

        - a `Target`, returned as it is.
        - a function of rows that returns their scores: ``X -> (n, d)``.
        - a fitted `~sklearn.mixture.GaussianMixture`, by its closed form. Of a
          `~sklearn.mixture.BayesianGaussianMixture` the density is the mixture of its
          ``weights_``, ``means_`` and ``covariances_``, from which it samples; its
          `score_samples` is another function, a bound's.
        - a fitted `KernelDensity`, of gpkern with a smooth kernel, or of scikit-learn
          with the Gaussian one; `scipy.stats.gaussian_kde`.
        - a fitted `~sklearn.decomposition.PCA` or
          `~sklearn.decomposition.FactorAnalysis`: normal distributions.
        - any fitted estimator whose `score_samples` is the log density of rows: by its
          `score_gradient` where it has that, else by central differences. Pipelines of
          linear steps are fine; others leave out their change of volumes, and raise.
        - a frozen continuous distribution of `scipy.stats`: univariate (one column,
          or independent ones for parameters of shape (d,)), `multivariate_normal` or
          `multivariate_t`; closed forms for the common ones, else differences.

        An estimator in a `~sklearn.frozen.FrozenEstimator` survives `clone`, and is
        taken as known; a bare one that has `fit` and `sample` can be fitted again by
        `Target.refit`.
    name : str, default="target"
        Of the parameter, for messages.

    Returns
    -------
    Target

    Raises
    ------
    TypeError
        For anything else: the message lists what is accepted.
    NotFittedError
        For an estimator that is not fitted.

    Examples
    --------
    >>> from scipy import stats
    >>> from gpkern.targets import as_target
    >>> as_target(stats.gamma(3.0)).score([[1.0], [2.0], [4.0]])
    array([[ 1. ], [ 0. ], [-0.5]])
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, type):
        raise TypeError(
            f"{name} is the class {target.__name__}: pass an object of it; it may be "
            f"{ACCEPTED}"
        )
    for attribute, maker in MAKERS.items():
        if hasattr(target, attribute):
            raise TypeError(
                f"{name}={type(target).__name__}: pass gpkern.targets.{maker}"
            )
    if any(c.__module__.split(".")[0] == "torch" for c in type(target).__mro__):
        raise TypeError(
            f"{name}={type(target).__name__} is of torch: pass gpkern.targets."
            "from_torch(log_density), of a function of tensors of rows"
        )
    found = from_scipy(target, name)
    if found is not None:
        return found
    if isinstance(target, FrozenEstimator) or hasattr(target, "score_samples"):
        return EstimatorTarget(target, name)
    if callable(target):
        return Score(target)
    if hasattr(target, "fit"):
        return EstimatorTarget(target, name)  # raises: it says what is missing
    raise TypeError(f"{name}={target!r:.80} cannot be a target: it must be {ACCEPTED}")
