"""Formulas of scikit-learn's compound and constant kernels, and one more."""

from __future__ import annotations

from sklearn.gaussian_process import kernels as skk

from .base import FormulaKernel
from .pair import Pair, formula, states


@states(skk.ConstantKernel)
def _(kernel, pair):
    return pair.hyper("constant_value")


@states(skk.WhiteKernel)
def _(kernel, pair):
    return pair.hyper("noise_level") * pair.same()


@states(skk.Sum)
def _(kernel, pair):
    return pair.part("k1") + pair.part("k2")


@states(skk.Product)
def _(kernel, pair):
    return pair.part("k1") * pair.part("k2")


@states(skk.Exponentiation)
def _(kernel, pair):
    return pair.part("kernel") ** pair.hyper("exponent")


@states(skk.PairwiseKernel)
def _(kernel, pair):
    from .resolve import from_name

    if not isinstance(kernel.metric, str):
        raise TypeError("PairwiseKernel of a callable states no formula")
    named = from_name(
        kernel.metric, gamma=kernel.gamma, **(kernel.pairwise_kernels_kwargs or {})
    )
    return formula(named, Pair(named, pair.prefix, pair.n_features))


class OffDiagonal(FormulaKernel):
    """A kernel that is 0 between a sample and itself: what leave-one-out sums need.

    Parameters
    ----------
    kernel : Kernel
        With a formula.

    Examples
    --------
    >>> from gpkern.kernels import RBF, OffDiagonal
    >>> OffDiagonal(RBF(1.0))([[0.0], [0.0]])
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(self, kernel):
        self.kernel = kernel

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return pair.part("kernel") * (1.0 - pair.same())
