"""Large-scale kernel methods for scikit-learn users, on a CPU and on a GPU."""

from ._show_versions import show_versions
from ._signs import RandomSigns
from .estimators import (
    EigenProClassifier,
    EigenProRegressor,
    KDEModeFinder,
    KernelDensity,
    KernelRidge,
    KernelRidgeClassifier,
    KernelThinning,
    SteinThinning,
)
from .operator import KernelOperator

__version__ = "0.1.0.dev0"

__all__ = [
    "EigenProClassifier",
    "EigenProRegressor",
    "KDEModeFinder",
    "KernelDensity",
    "KernelOperator",
    "KernelRidge",
    "KernelRidgeClassifier",
    "KernelThinning",
    "RandomSigns",
    "SteinThinning",
    "show_versions",
]
