"""Kernels of rows that hold features and targets, for coresets of training data."""

from __future__ import annotations

import math

from . import expr as ex
from .base import FormulaKernel
from .pair import Pair, formula

FORMS = ("ridge", "smoother")


class SupervisedKernel(FormulaKernel):
    r"""Kernel of rows ``[x, y]``: a base kernel of x, with the product of the targets.

    With the base kernel k and :math:`t = y \cdot y' / s^2` it is

    - "ridge": :math:`k^2 + k\,t`. What kernel ridge regression with k computes from a
      sample are means of functions in its space.
    - "smoother": :math:`k\,(1 + t)`, the same for Nadaraya-Watson regression.

    Parameters
    ----------
    base : Kernel
        Of x.
    n_features, n_targets : int
        Columns of x and of y, which stand one after the other.
    form : {"ridge", "smoother"}, default="ridge"
    target_scale : float, default=1.0
        The s above, in the units of y.

    References
    ----------
    Gong, Choi & Dwivedi (2024), Supervised kernel thinning.

    Examples
    --------
    >>> from gpkern.kernels import RBF, SupervisedKernel
    >>> kernel = SupervisedKernel(RBF(1.0), n_features=1, n_targets=1, form="smoother")
    >>> kernel([[0.0, 2.0]], [[0.0, 3.0]])
    array([[7.]])
    """

    def __init__(self, base, n_features, n_targets=1, form="ridge", target_scale=1.0):
        self.base = base
        self.n_features = n_features
        self.n_targets = n_targets
        self.form = form
        self.target_scale = target_scale

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} must be one of {FORMS}")
        d, c = self.n_features, self.n_targets
        try:
            base = formula(self.base, Pair(self.base, f"{pair.prefix}base__", d))
        except TypeError:
            raise ValueError(
                f"base={self.base} of a SupervisedKernel must be a kernel with a "
                "formula"
            ) from None
        k = _of_first_columns(base, d, c)
        products = ex.leaf("dot", (math.inf,) * d + (1.0,) * c)
        t = products / pair.hyper("target_scale", positive=True) ** 2
        return k * k + k * t if self.form == "ridge" else k * (1.0 + t)


def _of_first_columns(expr, d, others):
    """An expression of rows of d columns, of rows that go on after them.

    An infinite length scale takes a column out of any distance or product.
    """
    wider = {}
    for leaf in ex.leaves(expr):
        if leaf.mix is not None:
            raise ValueError(
                "base of a SupervisedKernel must be a kernel of plain rows, not of "
                "points with scores"
            )
        if leaf.metric == "same":
            continue
        leaf.check_columns(d)
        scale = (1.0,) * d if leaf.scale is None else leaf.scale
        scale = (*scale, *(math.inf,) * others)
        wider[ex.leaf_node(leaf)] = ex.leaf(leaf.metric, scale, leaf.owner)
    return ex.substitute(expr, wider)
