"""Formulas of kernels of the inner product."""

from __future__ import annotations

from sklearn.gaussian_process import kernels as skk

from . import expr as ex
from .base import FormulaKernel
from .pair import states


@states(skk.DotProduct)
def _(kernel, pair):
    return pair.dot() + pair.hyper("sigma_0") ** 2


class Polynomial(FormulaKernel):
    r"""Polynomial kernel, :math:`(\gamma\, x \cdot z + c_0)^p`.

    Parameters
    ----------
    degree : float, default=3
        Degree p.
    gamma : float, default=1.0
        Factor of the inner product.
    coef0 : float, default=1.0
        Constant c_0.
    gamma_bounds, coef0_bounds : pair of floats or "fixed"
        Bounds of the hyperparameters.

    Examples
    --------
    >>> from gpkern.kernels import Polynomial
    >>> float(Polynomial(degree=2)([[1.0]], [[2.0]])[0, 0])
    9.0
    """

    def __init__(
        self,
        degree=3,
        gamma=1.0,
        coef0=1.0,
        gamma_bounds=(1e-5, 1e5),
        coef0_bounds="fixed",
    ):
        self.degree = degree
        self.gamma = gamma
        self.coef0 = coef0
        self.gamma_bounds = gamma_bounds
        self.coef0_bounds = coef0_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        gamma = pair.hyper("gamma", positive=True)
        return (gamma * pair.dot() + pair.hyper("coef0")) ** pair.number("degree")


class Sigmoid(FormulaKernel):
    r"""Sigmoid kernel, :math:`\tanh(\gamma\, x \cdot z + c_0)`.

    Not positive definite in general.

    Parameters
    ----------
    gamma : float, default=1.0
        Factor of the inner product.
    coef0 : float, default=1.0
        Constant c_0.
    gamma_bounds, coef0_bounds : pair of floats or "fixed"
        Bounds of the hyperparameters.

    Examples
    --------
    >>> from gpkern.kernels import Sigmoid
    >>> Sigmoid(coef0=0.0)([[1.0]], [[1.0]]).round(4)
    array([[0.7616]])
    """

    def __init__(
        self, gamma=1.0, coef0=1.0, gamma_bounds=(1e-5, 1e5), coef0_bounds="fixed"
    ):
        self.gamma = gamma
        self.coef0 = coef0
        self.gamma_bounds = gamma_bounds
        self.coef0_bounds = coef0_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        gamma = pair.hyper("gamma", positive=True)
        return ex.tanh(gamma * pair.dot() + pair.hyper("coef0"))


class Cosine(FormulaKernel):
    r"""Cosine similarity, :math:`x \cdot z / (|x| |z|)`, 0 for a row of zeros.

    Examples
    --------
    >>> from gpkern.kernels import Cosine
    >>> Cosine()([[1.0, 0.0]], [[1.0, 1.0]]).round(4)
    array([[0.7071]])
    """

    def __init__(self):
        pass

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return ex.guarded_ratio(
            pair.dot(), ex.sqrt(pair.norm_x()) * ex.sqrt(pair.norm_z())
        )
