"""Displays of what the estimators have found; they need matplotlib."""

from ._coreset import CoresetDisplay
from ._density_modes import DensityModesDisplay
from ._effective_number import EffectiveNumberDisplay
from ._mmd_curve import MMDCurveDisplay
from ._mode_bandwidth import ModeBandwidthDisplay
from ._persistence import PersistenceDisplay

__all__ = [
    "CoresetDisplay",
    "DensityModesDisplay",
    "EffectiveNumberDisplay",
    "MMDCurveDisplay",
    "ModeBandwidthDisplay",
    "PersistenceDisplay",
]
