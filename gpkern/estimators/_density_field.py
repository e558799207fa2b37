"""Densities of estimators as what mode finding climbs, in units of their bandwidth."""

from __future__ import annotations

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
