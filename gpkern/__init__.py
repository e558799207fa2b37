"""Large-scale kernel methods for scikit-learn users, on a CPU and on a GPU."""

from ._show_versions import show_versions
from ._signs import RandomSigns
from .estimators import (
    BatchSelector,
    EigenProClassifier,
    EigenProRegressor,
    EmpiricalNTK,
    FSSDTest,
    KDEModeFinder,
    KernelDensity,
    KernelLogisticRegression,
    KernelRidge,
    KernelRidgeClassifier,
    KernelThinning,
    KSDTest,
    LearnedLikelihoodRatioTest,
    LinearKSDTest,
    MMDTest,
    NTKSurrogateClassifier,
    NystromKSDTest,
    ParticleMinimizer,
    PerturbedKSDTest,
    SteinControlVariates,
    SteinSampler,
    SteinThinning,
    ksd_scorer,
)
from .operator import KernelOperator

__version__ = "0.1.0.dev0"

__all__ = [
    "BatchSelector",
    "EigenProClassifier",
    "EigenProRegressor",
    "EmpiricalNTK",
    "FSSDTest",
    "KDEModeFinder",
    "KSDTest",
    "KernelDensity",
    "KernelLogisticRegression",
    "KernelOperator",
    "KernelRidge",
    "KernelRidgeClassifier",
    "KernelThinning",
    "LearnedLikelihoodRatioTest",
    "LinearKSDTest",
    "MMDTest",
    "NTKSurrogateClassifier",
    "NystromKSDTest",
    "ParticleMinimizer",
    "PerturbedKSDTest",
    "RandomSigns",
    "SteinControlVariates",
    "SteinSampler",
    "SteinThinning",
    "ksd_scorer",
    "show_versions",
]
