"""Densities known up to a constant, as Stein discrepancies need them: by their scores.

`as_target` takes functions, fitted estimators and distributions of scipy.stats; the
rest is made by the classes and functions here.
"""

from .autodiff import from_jax, from_torch
from .base import Target
from .functions import LogDensity, Score, check_score
from .mixture import Mixture
from .programs import from_bridgestan, from_pymc
from .rbm import GaussianBernoulliRBM
from .resolve import as_target

__all__ = [
    "GaussianBernoulliRBM",
    "LogDensity",
    "Mixture",
    "Score",
    "Target",
    "as_target",
    "check_score",
    "from_bridgestan",
    "from_jax",
    "from_pymc",
    "from_torch",
]
