"""scikit-learn estimators: validate, run an algorithm, keep its results."""

from ._eigenpro import EigenProClassifier, EigenProRegressor
from ._kernel_ridge import KernelRidge, KernelRidgeClassifier

__all__ = [
    "EigenProClassifier",
    "EigenProRegressor",
    "KernelRidge",
    "KernelRidgeClassifier",
]
