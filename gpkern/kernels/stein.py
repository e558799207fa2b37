"""Stein kernels: kernels whose mean under a density is zero, from its score alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sklearn.gaussian_process import kernels as skk

from . import expr as ex
from .base import FormulaKernel
from .pair import Pair, formula
from .radial import matern_of

POINT, SCORE = (1.0, 0.0), (0.0, 1.0)


class SteinKernel(FormulaKernel):
    r"""Langevin Stein kernel of a density that is known by its score.

    A row holds a point and the score there, ``[x, s]`` with
    :math:`s = \nabla \log p(x)`. For a base kernel :math:`\phi(|x - y|^2)` and
    :math:`r = |x - y|^2`,

    .. math:: u = \phi\, s \cdot t - 2 \phi' (s - t) \cdot (x - y)
              - 2 d \phi' - 4 r \phi'',

    whose mean over x or y drawn from p is zero. Its mean over a sample is the squared
    kernel Stein discrepancy.

    Parameters
    ----------
    base : Kernel
        A smooth kernel of the Euclidean distance: RBF, RationalQuadratic,
        InverseMultiquadric, Matern of order 3/2 or above 2, constants, sums, products
        and powers of these, each with one length scale for all columns.
    n_features : int
        Columns d of the points: half of those of the rows.
    score_scale : float, default=1.0
        Length of a point's typical difference over that of the scores'. In float32 it
        keeps digits where the two differ much; otherwise it changes nothing.

    References
    ----------
    Liu, Lee & Jordan (2016), A kernelized Stein discrepancy, eq. 14; Chwialkowski,
    Strathmann & Gretton (2016).

    Examples
    --------
    A sample of the standard normal distribution, whose score is -x:

    >>> import numpy as np
    >>> from gpkern import KernelOperator
    >>> from gpkern.kernels import InverseMultiquadric, SteinKernel
    >>> x = np.random.default_rng(0).normal(size=(500, 2))
    >>> kernel = SteinKernel(InverseMultiquadric(1.0), n_features=2)
    >>> good = KernelOperator(kernel, np.hstack([x, -x])).total() / 500**2
    >>> bad = KernelOperator(kernel, np.hstack([x + 1, -(x + 1)])).total() / 500**2
    >>> good < 0.05 < bad
    True
    """

    def __init__(self, base, n_features, score_scale=1.0):
        self.base = base
        self.n_features = n_features
        self.score_scale = score_scale

    def formula(self, pair):
        """``u(x, y)`` of the pair."""
        d, c = pair.number("n_features", True), pair.number("score_scale", True)
        r = ex.leaf("sqeuclidean", mix=POINT)
        apart = ex.leaf("sqeuclidean", mix=SCORE)  # of the scores
        both = ex.leaf("sqeuclidean", mix=(1.0, c))
        cross = (both - r - c * c * apart) / (2.0 * c)  # (s - t) . (x - y)
        norms = ex.leaf("norm_x", mix=SCORE) + ex.leaf("norm_z", mix=SCORE)
        inner = Pair(self.base, f"{pair.prefix}base__", self.n_features)
        jet = jet_of(self.base, inner, r)
        dot = 0.5 * (norms - apart)
        return jet.value * dot - 2.0 * jet.first * (cross + d) - 4.0 * jet.second


class BaseSlope(FormulaKernel):
    """Derivative of a radial kernel by the squared distance.

    Parameters
    ----------
    base : Kernel
        One that a `SteinKernel` takes.
    order : {1, 2}
        Of the derivative. Where two points meet the second one may be infinite: there
        it is 0.
    """

    def __init__(self, base, order):
        self.base = base
        self.order = order

    def formula(self, pair):
        """Expression of the derivative over a `Pair`."""
        r = ex.leaf("sqeuclidean")
        inner = Pair(self.base, f"{pair.prefix}base__", pair.n_features)
        jet = jet_of(self.base, inner, r)
        return jet.first if self.order == 1 else ex.guarded_ratio(jet.second, r)


@dataclass(frozen=True)
class Jet:
    """A function of r = |x - y|^2 with what a Stein kernel needs of its derivatives.

    Attributes
    ----------
    value, first : Expr
        The function and its derivative.
    second : Expr
        r times its second derivative, finite at 0 also where that is not.
    r : Expr
    """

    value: ex.Expr
    first: ex.Expr
    second: ex.Expr
    r: ex.Expr

    def __add__(self, other):
        pairs = zip(self._all, other._all, strict=True)
        return Jet(*(a + b for a, b in pairs), self.r)

    def __mul__(self, other):
        mixed = 2.0 * self.r * self.first * other.first
        return Jet(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + mixed + self.value * other.second,
            self.r,
        )

    def __pow__(self, p):
        slope = p * self.value ** (p - 1.0)
        bend = p * (p - 1.0) * self.value ** (p - 2.0)
        return Jet(
            self.value**p,
            slope * self.first,
            slope * self.second + bend * self.r * self.first * self.first,
            self.r,
        )

    @property
    def _all(self):
        return self.value, self.first, self.second


def jet_of(kernel, pair, r):
    """`Jet` of a radial kernel; an error for one that is not smooth enough.

    Parameters
    ----------
    kernel : Kernel
    pair : Pair
        Of that kernel.
    r : Expr
        The leaf that stands for the squared distance.
    """
    match kernel:
        case skk.Sum() | skk.Product():
            a, b = (
                jet_of(k, Pair(k, f"{pair.prefix}{name}__", pair.n_features), r)
                for name, k in (("k1", kernel.k1), ("k2", kernel.k2))
            )
            return a + b if isinstance(kernel, skk.Sum) else a * b
        case skk.Exponentiation():
            if kernel.exponent < 0:
                raise ValueError(
                    f"base={kernel} of a SteinKernel has a negative exponent, and is "
                    "no kernel: its sums over pairs can be negative"
                )
            inner = Pair(kernel.kernel, f"{pair.prefix}kernel__", pair.n_features)
            return jet_of(kernel.kernel, inner, r) ** pair.hyper("exponent")
        case skk.Matern() if type(kernel) is skk.Matern and kernel.nu < 1e15:
            return _matern(kernel, pair, r)
    expr = formula(kernel, pair)
    leaves = ex.leaves(expr)
    plain = all(v.metric == "sqeuclidean" and v.scale is None for v in leaves)
    if not plain:
        raise ValueError(
            f"base={kernel} of a SteinKernel must be a kernel of the Euclidean "
            "distance with one length scale for all columns"
        )
    value = ex.substitute(expr, {ex.leaf_node(v): r for v in leaves})
    if any(n.op in ("sqrt", "matern") and ex.leaves(n) for n in ex.nodes(value)):
        raise ValueError(
            f"base={kernel} of a SteinKernel is not smooth where two points meet"
        )
    first = ex.diff(value, r)
    return Jet(value, first, r * ex.diff(first, r), r)


def _matern(kernel, pair, r):
    """Of a Matern kernel, in terms of those of lower orders: no digits cancel."""
    nu = pair.number("nu", positive=True)
    scale = pair.number("length_scale", positive=True)
    if nu <= 2.0 and nu != 1.5:
        raise ValueError(
            f"base={kernel} of a SteinKernel is not smooth enough: use nu=1.5, or more "
            "than 2"
        )
    # With z = sqrt(2 nu r) / l the derivative by r of M_nu(z) is -a M_{nu-1}(z).
    z = ex.sqrt(r) * (math.sqrt(2.0 * nu) / scale)
    a = nu / (2.0 * (nu - 1.0) * scale**2)
    first = -a * matern_of(nu - 1.0, z)
    if nu == 1.5:
        second = a * 0.5 * z * ex.exp(-z)
    else:
        b = nu / (2.0 * (nu - 2.0) * scale**2)
        second = a * b * r * matern_of(nu - 2.0, z)
    return Jet(matern_of(nu, z), first, second, r)
