"""Densities of estimators as what mode finding climbs, in units of their bandwidth."""

from __future__ import annotations

from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import NotFittedError, check_is_fitted

from .. import _device
from ..algorithms.mixture import mixture_field, unit_covariance
from ..algorithms.whitening import Whitening
from ._kernel_density import KernelDensity


def field_of(density, device):
    """A density's field, how rows come into its units, and the log of a unit.

    Parameters
    ----------
    density : KernelDensity, GaussianMixture or BayesianGaussianMixture
        Fitted.
    device : Device

    Returns
    -------
    field : KernelSum or MixtureField
    whitening : Whitening
    log_unit : float
        What is taken from the field's logarithm for that of the density.

    Raises
    ------
    TypeError
        For other densities.
    """
    if isinstance(density, KernelDensity):
        return density._field(device)
    if hasattr(density, "precisions_") and hasattr(density, "means_"):
        if device.name != "cpu":
            device = _device.select("cpu")
        mean = density.weights_ @ density.means_
        whitening = Whitening.of(mean, unit_covariance(density))
        field = mixture_field(density, whitening, device)
        return field, whitening, whitening.log_determinant(len(mean))
    raise TypeError(
        f"kde={type(density).__name__} has no modes that can be climbed to: pass a "
        "gpkern KernelDensity, a bandwidth of one, or a GaussianMixture"
    )


def density_of(finder, X, sample_weight):
    """The density of a `KDEModeFinder`, fitted to X or as it came."""
    given = finder.kde
    frozen = isinstance(given, FrozenEstimator)
    given = given.estimator if frozen else given
    if hasattr(given, "score_samples") and finder.kernel != "gaussian":
        raise ValueError(
            f"kernel={finder.kernel!r} is for a bandwidth as kde: a "
            f"{type(given).__name__} has its own"
        )
    if frozen:
        try:
            check_is_fitted(given)
        except NotFittedError:
            raise ValueError("kde is a FrozenEstimator that is not fitted") from None
        return _checked(given, finder, X)
    if not hasattr(given, "score_samples"):
        bandwidth = "silverman" if given is None else given
        given = KernelDensity(
            bandwidth=bandwidth, kernel=finder.kernel, device=finder.device
        )
        return given.fit(X, sample_weight=sample_weight)
    if isinstance(given, KernelDensity):
        return clone(given).fit(X, sample_weight=sample_weight)
    return _checked(given, finder, X)


def _checked(density, finder, X):
    """A density that must be fitted already, to what has the columns of X."""
    try:
        check_is_fitted(density)
    except NotFittedError:
        raise ValueError(
            f"kde={type(density).__name__} is not fitted: fit it first, and pass "
            "FrozenEstimator(kde), of sklearn.frozen, which clones keep as it is"
        ) from None
    if density.n_features_in_ != X.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} columns, kde was fitted on {density.n_features_in_}"
        )
    names = [getattr(e, "feature_names_in_", None) for e in (finder, density)]
    if all(n is not None for n in names) and list(names[0]) != list(names[1]):
        raise ValueError(
            f"X has the columns {list(names[0])}, kde was fitted on {list(names[1])}"
        )
    return density
