"""Slopes of Stein kernels by their points, as kernels of points with scores."""

from __future__ import annotations

from . import expr as ex
from .base import FormulaKernel
from .pair import Pair
from .stein import POINT, SCORE, jet_of


class SteinSlope(FormulaKernel):
    r"""What a Stein kernel's slope by x has along x - y.

    Of ``u`` as `SteinKernel` has it, scores held fixed, :math:`r = |x - y|^2`,

    .. math:: 2 \phi' s \cdot t - 4 \phi'' (s - t) \cdot (x - y)
              - (4 d + 8) \phi'' - 8 r \phi'''.

    The rest of the slope is :math:`-2 \phi' (s - t)`.

    Parameters
    ----------
    base : Kernel
        One that a `SteinKernel` takes. Where two points meet its second derivative may
        be infinite: there it is taken as 0, and so is x - y.
    n_features : int
        Columns d of the points: half of those of the rows.
    """

    def __init__(self, base, n_features):
        self.base = base
        self.n_features = n_features

    def formula(self, pair):
        """Expression over a `Pair` of rows ``[x, s]``."""
        d = pair.number("n_features", True)
        r = ex.leaf("sqeuclidean", mix=POINT)
        apart = ex.leaf("sqeuclidean", mix=SCORE)
        both = ex.leaf("sqeuclidean", mix=(1.0, 1.0))
        cross = 0.5 * (both - r - apart)  # (s - t) . (x - y)
        norms = ex.leaf("norm_x", mix=SCORE) + ex.leaf("norm_z", mix=SCORE)
        inner = Pair(self.base, f"{pair.prefix}base__", self.n_features)
        jet = jet_of(self.base, inner, r)
        bend = ex.guarded_ratio(jet.second, r)
        # The derivative of r phi'' is phi'' + r phi'''.
        rest = 4.0 * d * bend + 8.0 * ex.diff(jet.second, r)
        return jet.first * (norms - apart) - 4.0 * bend * cross - rest
