"""scikit-learn estimators: validate, run an algorithm, keep its results."""

from ._batch_selector import BatchSelector
from ._control_variates import SteinControlVariates
from ._eigenpro import EigenProRegressor
from ._eigenpro_classifier import EigenProClassifier
from ._empirical_ntk import EmpiricalNTK
from ._fssd_test import FSSDTest
from ._kernel_density import KernelDensity
from ._kernel_logistic import KernelLogisticRegression
from ._kernel_ridge import KernelRidge, KernelRidgeClassifier
from ._kernel_thinning import KernelThinning
from ._ksd_scorer import ksd_scorer
from ._ksd_test import KSDTest
from ._likelihood_ratio import LearnedLikelihoodRatioTest
from ._linear_ksd import LinearKSDTest
from ._mmd_test import MMDTest
from ._mode_finder import KDEModeFinder
from ._ntk_features import NNGPFeatures, NTKFeatures
from ._ntk_surrogate import NTKSurrogateClassifier
from ._nystrom_ksd import NystromKSDTest
from ._particle_minimizer import ParticleMinimizer
from ._perturbed_ksd import PerturbedKSDTest
from ._selection_curve import selection_curve
from ._stein_sampler import SteinSampler
from ._stein_thinning import SteinThinning
from ._trak import trak_scores

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
    "KernelRidge",
    "KernelRidgeClassifier",
    "KernelThinning",
    "LearnedLikelihoodRatioTest",
    "LinearKSDTest",
    "MMDTest",
    "NNGPFeatures",
    "NTKFeatures",
    "NTKSurrogateClassifier",
    "NystromKSDTest",
    "ParticleMinimizer",
    "PerturbedKSDTest",
    "SteinControlVariates",
    "SteinSampler",
    "SteinThinning",
    "ksd_scorer",
    "selection_curve",
    "trak_scores",
]
