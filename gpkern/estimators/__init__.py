"""scikit-learn estimators: validate, make an operator, run an algorithm, keep attributes."""

from ._eigenpro import EigenProClassifier, EigenProRegressor
from ._kernel_ridge import KernelRidge, KernelRidgeClassifier

__all__ = [
    "EigenProClassifier",
    "EigenProRegressor",
    "KernelRidge",
    "KernelRidgeClassifier",
]
