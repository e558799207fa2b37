"""Displays of what the estimators have found; they need matplotlib."""

from ._attribution import AttributionDisplay
from ._contributions import ContributionDisplay
from ._coreset import CoresetDisplay
from ._density_modes import DensityModesDisplay
from ._effective_number import EffectiveNumberDisplay
from ._integral import IntegralDisplay
from ._log_ratio import LogRatioDisplay
from ._mmd_curve import MMDCurveDisplay
from ._mode_bandwidth import ModeBandwidthDisplay
from ._null_distribution import NullDistributionDisplay
from ._persistence import PersistenceDisplay
from ._power_curve import PowerCurveDisplay
from ._selection_curve import SelectionCurveDisplay
from ._simplex import SimplexDisplay
from ._spectrum import KernelSpectrumDisplay
from ._witness import WitnessDisplay

__all__ = [
    "AttributionDisplay",
    "ContributionDisplay",
    "CoresetDisplay",
    "DensityModesDisplay",
    "EffectiveNumberDisplay",
    "IntegralDisplay",
    "KernelSpectrumDisplay",
    "LogRatioDisplay",
    "MMDCurveDisplay",
    "ModeBandwidthDisplay",
    "NullDistributionDisplay",
    "PersistenceDisplay",
    "PowerCurveDisplay",
    "SelectionCurveDisplay",
    "SimplexDisplay",
    "WitnessDisplay",
]
