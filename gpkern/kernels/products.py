"""Kernels that are products over the columns of functions of one difference each."""

from __future__ import annotations

import math
from functools import reduce
from operator import mul

from . import expr as ex
from .base import FormulaKernel


class ColumnProduct(FormulaKernel):
    r"""A product over the columns, :math:`\prod_j f(|x_j - z_j| / l_j)`.

    Subclasses define ``factor``. Each column is a quantity of its own, so that a value
    takes time and prepared rows take memory that grow as the square of the columns:
    for some tens of them at most.
    """

    def factor(self, u, pair):
        """Expression of f, of an `Expr` that is not negative."""
        raise NotImplementedError

    def is_stationary(self):
        """Whether k(x, z) depends on x - z alone: it does."""
        return True

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        if pair.n_features is None:
            raise ValueError(
                f"{type(self).__name__} must know the columns of its rows, which this "
                "use of it does not tell"
            )
        distance = pair.l1dist("length_scale")
        columns = _each_column(distance, pair.n_features)
        return reduce(mul, (self.factor(u, pair) for u in columns))


def _each_column(distance, d):
    """A distance of rows of d columns, in one column at a time.

    An infinite length scale takes the others out.
    """
    (leaf,) = ex.leaves(distance)
    leaf.check_columns(d)
    scale = (1.0,) * d if leaf.scale is None else leaf.scale
    for j in range(d):
        alone = tuple(scale[i] if i == j else math.inf for i in range(d))
        column = ex.leaf(leaf.metric, alone, leaf.owner)
        yield ex.substitute(distance, {ex.leaf_node(leaf): column})


class Sinc(ColumnProduct):
    r"""Sinc kernel, :math:`\prod_j \sin(u_j) / u_j`.

    Here :math:`u_j = |x_j - z_j| / l_j`. The kernel of functions without frequencies
    above 1 / l, whose power kernels are itself. A product over columns: for some tens
    of them at most.

    Parameters
    ----------
    length_scale : float or ndarray of shape (n_features,), default=1.0
        Length scale l, in the units of the data.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.

    Examples
    --------
    >>> from gpkern.kernels import Sinc
    >>> Sinc(1.0)([[0.0, 0.0]], [[0.0, 0.0], [1.0, 2.0]]).round(4)
    array([[1.    , 0.3826]])
    """

    def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    def factor(self, u, pair):
        """``sin(u) / u``, and 1 at 0."""
        return 1.0 + ex.guarded_ratio(ex.sin(u) - u, u)


class BSpline(ColumnProduct):
    r"""B-spline kernel, :math:`\prod_j b(|x_j - z_j| / l_j)`.

    b is the spline of odd degree p whose knots are one length scale apart, scaled to 1
    at 0: a box function convolved with itself. Zero from (p + 1) / 2 length scales on.
    A product over columns: for some tens of them at most.

    Parameters
    ----------
    length_scale : float or ndarray of shape (n_features,), default=1.0
        Distance of the knots l, in the units of the data.
    degree : int, default=3
        Degree p: 1, 3, 5, ... up to 11, beyond which digits are lost.
    length_scale_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.

    Examples
    --------
    >>> from gpkern.kernels import BSpline
    >>> BSpline(2.0, degree=1)([[0.0]], [[0.5], [1.0], [3.0]])
    array([[0.75, 0.5 , 0.  ]])
    """

    def __init__(self, length_scale=1.0, degree=3, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.degree = degree
        self.length_scale_bounds = length_scale_bounds

    def factor(self, u, pair):
        """Sum of the powers that are cut off at the knots beyond u."""
        degree = pair.number("degree")
        if degree not in range(1, 12, 2):
            raise pair.error("degree", "must be 1, 3, 5, 7, 9 or 11")
        order = int(degree) + 1
        half = order // 2
        signed = [(-1) ** j * math.comb(order, j) for j in range(half)]
        at_zero = sum(c * (half - j) ** (order - 1) for j, c in enumerate(signed))
        total = 0.0
        for j, c in enumerate(signed):
            ahead = (half - j) - u
            positive = 0.5 * (ahead + ex.absolute(ahead))
            # Each term over the sum: their product over columns stays in range.
            total = total + c / at_zero * positive ** (order - 1)
        return total
