"""Functions of the angle between two rows, as polynomials.

Without biases, kernels of infinitely wide networks are a function of the angle, times
one of the norms; its recursion through the layers is long. In the difference of cosine
and sine of half the angle such functions are analytic on all of [-1, 1], both ends
included, so a polynomial of some sixteen terms has all digits of float32.
"""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np
from numpy.polynomial import chebyshev

from ..kernels import expr as ex
from ..kernels.program import Program

# Degrees to choose from, and nodes of a formula from which the lowest one pays.
DEGREES, LEAST_NODES = (10, 16, 20, 24), 30
# Largest error, as a share of the largest value, by the parts of an entry.
TOLERANCES = {1: 2.0**-13, 2: 2.0**-22}


@lru_cache(maxsize=256)
def simplified(program, parts):
    """The program with a polynomial for what depends on the angle alone, if it pays.

    Parameters
    ----------
    program : Program
    parts : {1, 2}
        2 for float32 accuracy, 1 for that of TF32.
    """
    node = _of_the_angle(program.expr)
    if node is None:
        return program
    w = _coordinate()
    for degree in DEGREES:
        coefficients = chebyshev.chebinterpolate(lambda x: _value(node, x), degree)
        x = np.linspace(-1.0, 1.0, 999)
        exact = _value(node, x)
        error = abs(chebyshev.chebval(x, coefficients) - exact).max()
        if error <= TOLERANCES[parts] * abs(exact).max():
            powers = chebyshev.cheb2poly(coefficients) / 2.0 ** np.arange(degree + 1)
            # As arguments they would take registers. Depth and slope change them.
            terms = map(ex.constant, powers[::-1])
            short = reduce(lambda total, c: total * w + c, terms)
            expr = ex.substitute(program.expr, {node: short})
            return Program(expr, program.diagonal_expr)
    return program


def _of_the_angle(expr):
    """The largest part of a formula that depends on unit rows alone, if it is large."""
    size = {}
    for node in ex.nodes(expr):
        if not node.is_uniform:
            found = ex.leaves(node)
            if found and all(v.is_unit and v.scale is None for v in found):
                below = [n for n in ex.nodes(node) if not n.is_uniform]
                size[node] = len(below)
    largest = max(size, key=size.get, default=None)
    return largest if largest is not None and size[largest] >= LEAST_NODES else None


def _coordinate():
    """Twice the cosine less the sine of half the angle: |u + v| - |u - v|."""
    return ex.sqrt(ex.leaf("unit_sqsum")) - ex.sqrt(ex.leaf("unit_sqdist"))


def _value(node, w):
    """The function where cosine less sine of half the angle is w."""
    half = np.arccos(np.clip(w / np.sqrt(2.0), -1.0, 1.0)) - 0.25 * np.pi
    at = {"unit_sqdist": 4.0 * np.sin(half) ** 2, "unit_sqsum": 4.0 * np.cos(half) ** 2}
    values = {v: at[v.metric] for v in ex.leaves(node)}
    return ex.evaluate(node, values)
