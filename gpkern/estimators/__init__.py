"""scikit-learn estimators: validate, run an algorithm, keep its results."""

from ._eigenpro import EigenProRegressor
from ._eigenpro_classifier import EigenProClassifier
from ._kernel_density import KernelDensity
from ._kernel_ridge import KernelRidge, KernelRidgeClassifier
from ._kernel_thinning import KernelThinning
from ._mode_finder import KDEModeFinder
from ._stein_thinning import SteinThinning

__all__ = [
    "EigenProClassifier",
    "EigenProRegressor",
    "KDEModeFinder",
    "KernelDensity",
    "KernelRidge",
    "KernelRidgeClassifier",
    "KernelThinning",
    "SteinThinning",
]
