"""What a kernel may say about a pair of rows when it writes its formula."""

from __future__ import annotations

import numpy as np

from . import expr as ex

# Positive parameters whose squares and reciprocals are numbers still.
_SMALLEST, _LARGEST = 1e-150, 1e150


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
    n_features : int, default=None
        Columns of the rows, where they are known.
    """

    def __init__(self, kernel, prefix="", n_features=None):
        self.kernel = kernel
        self.prefix = prefix
        self.n_features = n_features

    def hyper(self, name, positive=False):
        """A scalar hyperparameter by its name.

        Parameters
        ----------
        name : str
        positive : bool, default=False
            ValueError for a value that is not.
        """
        return ex.hyper(self.prefix + name, self.number(name, positive))

    def number(self, name, positive=False, infinite=False):
        """Value of a scalar parameter: a finite number, or an error that names it."""
        value = self._numbers(name, positive, infinite)
        if value.size != 1:
            raise self.error(name, "must be one number")
        return value.item()

    def _numbers(self, name, positive, infinite=False):
        given = getattr(self.kernel, name)
        if isinstance(given, str):
            hint = "must be a number"
            if name == "length_scale":
                hint += (
                    "; 'median' and 'scale' are values of an estimator's parameter of "
                    "that name, as in KernelRidge(kernel=RBF(), length_scale='median')"
                )
            raise self.error(name, hint)
        try:
            value = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise self.error(name, "must be a number") from None
        if value.ndim > 1 or value.size == 0:
            raise self.error(name, "must be a number, or one per column")
        if infinite and (value == np.inf).all():
            return value
        if positive and not (value > 0).all():
            raise self.error(name, "must be positive")
        if not np.isfinite(value).all():
            raise self.error(name, "must be finite")
        if positive and ((value < _SMALLEST) | (value > _LARGEST)).any():
            raise self.error(name, f"must be from {_SMALLEST} to {_LARGEST}")
        return value

    def error(self, name, what):
        """ValueError about a parameter of the kernel, to raise."""
        value = getattr(self.kernel, name)
        return ValueError(f"{name}={value!r} of {type(self.kernel).__name__} {what}")

    def part(self, name):
        """Formula of the kernel held by attribute `name`."""
        kernel = getattr(self.kernel, name)
        return formula(kernel, Pair(kernel, f"{self.prefix}{name}__", self.n_features))

    def _scaled(self, metric, name, exponent):
        if name is None:
            return ex.leaf(metric)
        scale = self._numbers(name, positive=True)
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

    def unit_sqdist(self):
        """``|x / |x| - z / |z||^2``, twice one less the cosine of the rows' angle.

        A row of zeros stays one. Digits are kept of the smallest angle, whatever the
        norms; `unit_sqsum` keeps those of rows that are nearly opposite.
        """
        return ex.leaf("unit_sqdist")

    def unit_sqsum(self):
        """``|x / |x| + z / |z||^2``; see `unit_sqdist`."""
        return ex.leaf("unit_sqsum")

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
            return ex.as_expr(kernel.formula(pair))
        if base in _FORMULAS:
            return ex.as_expr(_FORMULAS[base](kernel, pair))
        if "__call__" in vars(base):
            break  # its own values, which no formula of a parent describes
    raise TypeError(
        f"{type(kernel).__name__} states no formula; it can be used block by block, "
        "as a callable"
    )


def formula_of(kernel, n_features=None):
    """Expression of a whole kernel object, on rows of so many columns."""
    return formula(kernel, Pair(kernel, n_features=n_features))
