"""Kernels: what is computed, stated once and compiled for every engine.

Every `sklearn.gaussian_process.kernels` object works throughout gpkern; the common
ones are re-exported here beside gpkern's own.
"""

from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Exponentiation,
    ExpSineSquared,
    Matern,
    Product,
    RationalQuadratic,
    Sum,
    WhiteKernel,
)

from . import density
from .base import FormulaKernel
from .compose import OffDiagonal
from .dot_product import Cosine, Polynomial, Sigmoid
from .ntk import NTK
from .pair import Pair, states
from .power import power_kernel
from .products import BSpline, Sinc
from .program import Program
from .radial import AdditiveChi2, Chi2, InverseMultiquadric, Laplacian
from .resolve import KERNEL_NAMES, from_name, median_distance, resolve_kernel
from .stein import SteinKernel
from .supervised import SupervisedKernel

__all__ = [
    "KERNEL_NAMES",
    "NTK",
    "RBF",
    "AdditiveChi2",
    "BSpline",
    "Chi2",
    "ConstantKernel",
    "Cosine",
    "DotProduct",
    "ExpSineSquared",
    "Exponentiation",
    "FormulaKernel",
    "InverseMultiquadric",
    "Laplacian",
    "Matern",
    "OffDiagonal",
    "Pair",
    "Polynomial",
    "Product",
    "Program",
    "RationalQuadratic",
    "Sigmoid",
    "Sinc",
    "SteinKernel",
    "Sum",
    "SupervisedKernel",
    "WhiteKernel",
    "density",
    "from_name",
    "median_distance",
    "power_kernel",
    "resolve_kernel",
    "states",
]
