"""Formulas of kernels of a distance: scikit-learn's own, and three more."""

from __future__ import annotations

import math

from sklearn.gaussian_process import kernels as skk

from . import expr as ex
from .base import FormulaKernel
from .pair import states


@states(skk.RBF)
def _(kernel, pair):
    return ex.exp(-0.5 * pair.sqdist("length_scale"))


@states(skk.Matern)
def _(kernel, pair):
    r2 = pair.sqdist("length_scale")
    nu = pair.number("nu", positive=True, infinite=True)
    if nu > 1e15:  # where the limit differs by less than rounding
        return ex.exp(-0.5 * r2)
    return matern_of(nu, ex.sqrt(r2) * math.sqrt(2.0 * nu))


def matern_of(nu, z):
    """Matern correlation of order nu at z = sqrt(2 nu) times the scaled distance."""
    order = nu - 0.5
    if order != int(order) or order > 8:
        return ex.matern(nu, z)
    # exp(-z) times a polynomial: Rasmussen & Williams (2006), eq. 4.16, by Horner.
    p, polynomial = int(order), ex.literal(0.0)
    for i in range(p, -1, -1):
        c = (
            math.factorial(p)
            / math.factorial(2 * p)
            * math.factorial(2 * p - i)
            / (math.factorial(i) * math.factorial(p - i))
            * 2.0**i
        )
        polynomial = polynomial * z + c if i < p else ex.literal(c)
    return polynomial * ex.exp(-z)


@states(skk.RationalQuadratic)
def _(kernel, pair):
    alpha = pair.hyper("alpha", positive=True)
    return (1.0 + 0.5 * pair.sqdist("length_scale") / alpha) ** (-alpha)


@states(skk.ExpSineSquared)
def _(kernel, pair):
    period = pair.hyper("periodicity", positive=True)
    phase = ex.sqrt(pair.sqdist()) * math.pi / period
    scale = pair.hyper("length_scale", positive=True)
    return ex.exp(-2.0 * (ex.sin(phase) / scale) ** 2)


class InverseMultiquadric(FormulaKernel):
    r"""Inverse multiquadric kernel, :math:`(1 + |x - z|^2 / l^2)^{-b}`.

    Heavier tails than a Gaussian; the usual base of Stein discrepancies.

    Parameters
    ----------
    length_scale : float or ndarray of shape (n_features,), default=1.0
        Length scale l, in the units of the data; one per column for ARD.
    exponent : float, default=0.5
        Exponent b > 0.
    length_scale_bounds, exponent_bounds : pair of floats or "fixed"
        Bounds of the hyperparameters.

    Examples
    --------
    >>> from gpkern.kernels import InverseMultiquadric
    >>> float(InverseMultiquadric(1.0, exponent=1.0)([[0.0]], [[1.0]])[0, 0])
    0.5
    """

    def __init__(
        self,
        length_scale=1.0,
        exponent=0.5,
        length_scale_bounds=(1e-5, 1e5),
        exponent_bounds="fixed",
    ):
        self.length_scale = length_scale
        self.exponent = exponent
        self.length_scale_bounds = length_scale_bounds
        self.exponent_bounds = exponent_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        exponent = pair.hyper("exponent", positive=True)
        return (1.0 + pair.sqdist("length_scale")) ** (-exponent)


class Laplacian(FormulaKernel):
    r"""Laplacian kernel of the L1 distance, :math:`\exp(-|x - z|_1 / l)`.

    This is scikit-learn's ``"laplacian"`` with ``gamma = 1 / l``. The Laplacian of
    the EigenPro papers uses the Euclidean distance: that one is ``Matern(nu=0.5)``.

    Parameters
    ----------
    length_scale : float or ndarray of shape (n_features,), default=1.0
        Length scale l, in the units of the data; one per column for ARD.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.

    Examples
    --------
    >>> from gpkern.kernels import Laplacian
    >>> Laplacian(2.0)([[0.0, 0.0]], [[1.0, 1.0]]).round(4)
    array([[0.3679]])
    """

    def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return ex.exp(-pair.l1dist("length_scale"))


class Chi2(FormulaKernel):
    r"""Exponential chi-squared kernel for histograms.

    :math:`\exp(-\gamma \sum_j (x_j - z_j)^2 / (x_j + z_j))`, for rows without
    negative values; a term with both entries zero counts 0.

    Parameters
    ----------
    gamma : float, default=1.0
        Inverse scale.
    gamma_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.

    Examples
    --------
    >>> from gpkern.kernels import Chi2
    >>> Chi2(0.5)([[1.0, 0.0]], [[0.0, 1.0]]).round(4)
    array([[0.3679]])
    """

    def __init__(self, gamma=1.0, gamma_bounds=(1e-5, 1e5)):
        self.gamma = gamma
        self.gamma_bounds = gamma_bounds

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return ex.exp(-pair.hyper("gamma", positive=True) * pair.chi2dist())


class AdditiveChi2(FormulaKernel):
    r"""Additive chi-squared kernel, :math:`-\sum_j (x_j - z_j)^2 / (x_j + z_j)`.

    Conditionally positive definite; rows may not hold negative values.
    """

    def __init__(self):
        pass

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        return -pair.chi2dist()
