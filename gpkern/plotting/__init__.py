"""Displays of what the estimators have found; they need matplotlib."""

from ._coreset import CoresetDisplay
from ._mmd_curve import MMDCurveDisplay

__all__ = ["CoresetDisplay", "MMDCurveDisplay"]
