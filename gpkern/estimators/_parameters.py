"""Constraints of the parameters that several estimators have."""

from numbers import Integral, Real

from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..kernels.resolve import KERNEL_NAMES

AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")

KERNEL = {
    "kernel": [StrOptions(set(KERNEL_NAMES)), Kernel, callable],
    "gamma": [Interval(Real, 0, None, closed="neither"), StrOptions({"scale"}), None],
    "length_scale": [
        Interval(Real, 0, None, closed="neither"),
        StrOptions({"median", "scale"}),
        "array-like",
        None,
    ],
    "degree": [Interval(Real, 0, None, closed="left")],
    "coef0": [Interval(Real, None, None, closed="neither")],
    "kernel_params": [dict, None],
}
CENTERS = {
    "n_centers": [
        AT_LEAST_ONE,
        Interval(Real, 0, 1, closed="right"),
        "array-like",
        "sparse matrix",
        HasMethods("fit"),
        None,
    ],
    "center_sampling": [StrOptions({"uniform", "leverage"})],
}
RUN = {
    "device": [str, list, tuple, None],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
