"""What a kernel may say about a pair of rows when it writes its formula."""

from __future__ import annotations

import numpy as np

from . import expr as ex


class Pair:
    """The pair (x, z) as a kernel sees it.

    A kernel's ``formula(pair)`` combines the quantities below with arithmetic
    operators and the functions of `gpkern.kernels.expr`.

    Parameters
    ----------
    kernel : sklearn.gaussian_process.kernels.Kernel
        Whose formula is being written.
    prefix : str
        Path of `kernel` inside a compound kernel, as in ``get_params``.
    """

    def __init__(self, kernel, prefix=""):
        self.kernel = kernel
        self.prefix = prefix

    def hyper(self, name):
        """A scalar hyperparameter by its name."""
        return ex.hyper(self.prefix + name, np.asarray(getattr(self.kernel, name)))

    def part(self, name):
        """Formula of the kernel held by attribute `name`."""
        kernel = getattr(self.kernel, name)
        return formula(kernel, Pair(kernel, f"{self.prefix}{name}__"))

    def _scaled(self, metric, name, exponent):
        if name is None:
            return ex.leaf(metric)
        scale = np.asarray(getattr(self.kernel, name), dtype=float)
        if scale.size == 1:
            # One number: the distance is shared by every kernel that uses it.
            h = ex.hyper(self.prefix + name, scale.item())
            return ex.leaf(metric) / h**exponent
        return ex.leaf(metric, tuple(scale.tolist()), self.prefix + name)

    def sqdist(self, length_scale=None):
        """Squared Euclidean distance ``|(x - z) / length_scale|^2``.

        `length_scale` is the name of a hyperparameter that holds a number, or one
        number per column (ARD).
        """
        return self._scaled("sqeuclidean", length_scale, 2)

    def l1dist(self, length_scale=None):
        """L1 distance ``sum_j |x_j - z_j| / length_scale_j``; see `sqdist`."""
        return self._scaled("l1", length_scale, 1)

    def chi2dist(self):
        """``sum_j (x_j - z_j)^2 / (x_j + z_j)`` of rows without negative values."""
        return ex.leaf("chi2")

    def dot(self):
        """Inner product ``x . z``."""
        return ex.leaf("dot")

    def norm_x(self):
        """Squared norm ``x . x`` of the left row."""
        return ex.leaf("norm_x")

    def norm_z(self):
        """Squared norm ``z . z`` of the right row."""
        return ex.leaf("norm_z")

    def same(self):
        """1 where both rows are the same sample (not merely equal), else 0."""
        return ex.leaf("same")


_FORMULAS = {}


def states(kernel_class):
    """Decorator: the formula of a kernel class that is not ours."""

    def register(function):
        _FORMULAS[kernel_class] = function
        return function

    return register


def formula(kernel, pair):
    """Expression of a kernel: its own ``formula`` method, or the registered one.

    Raises
    ------
    TypeError
        When the kernel states none, or a subclass has replaced ``__call__``.
    """
    for base in type(kernel).__mro__:
        if "formula" in vars(base):
            return kernel.formula(pair)
        if base in _FORMULAS:
            return _FORMULAS[base](kernel, pair)
        if "__call__" in vars(base):
            break  # its own values, which no formula of a parent describes
    raise TypeError(
        f"{type(kernel).__name__} states no formula; it can be used block by block, "
        "as a callable"
    )


def formula_of(kernel):
    """Expression of a whole kernel object."""
    return formula(kernel, Pair(kernel))
