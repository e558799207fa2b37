"""Activations of networks, and what their Hermite polynomials leave of them."""

from __future__ import annotations

import math

import numpy as np
from scipy import special

from .sketches import inverse

_ROOT_2PI = math.sqrt(2.0 * math.pi)


class Activation:
    """An activation, and what its Hermite polynomials of low degree leave of it.

    Parameters
    ----------
    name : {"relu", "leaky_relu", "erf", "gelu"}
    slope : float
        Of "leaky_relu" for negative numbers.
    """

    def __init__(self, name, slope=0.0):
        self.name = name
        self.slope = slope if name == "leaky_relu" else 0.0

    def value(self, u, xp):
        """Its values."""
        match self.name:
            case "erf":
                return _erf(u, xp)
            case "gelu":
                return 0.5 * u * (1.0 + _erf(u * math.sqrt(0.5), xp))
        return xp.maximum(u, 0.0) + self.slope * xp.minimum(u, 0.0)

    def derivative(self, u, xp):
        """Its derivative."""
        match self.name:
            case "erf":
                return 2.0 / math.sqrt(math.pi) * xp.exp(-u * u)
            case "gelu":
                bell = xp.exp(-0.5 * u * u) * (1.0 / _ROOT_2PI)
                return 0.5 + 0.5 * _erf(u * math.sqrt(0.5), xp) + u * bell
        return (u > 0).astype(u.dtype) * (1.0 - self.slope) + self.slope

    def mean(self, k, q):
        """Mean of the k-th derivative at normal numbers of variance q.

        Times ``q^((k - 1) / 2)`` from k = 1 on, which is finite at q = 0.
        """
        match self.name:
            case "erf":
                v = q + 0.5
                if k == 0:
                    return 0.0 * q
                size = 2.0 / _ROOT_2PI * _at_zero(k - 1)
                return size * (q / v) ** (0.5 * (k - 1)) * v**-0.5
            case "gelu":
                v = 1.0 + q
                if k == 0:
                    return q * v**-0.5 * (1.0 / _ROOT_2PI)
                if k == 1:
                    return 0.5 + 0.0 * q
                size = (_at_zero(k - 2) - _at_zero(k) / v) * (1.0 / _ROOT_2PI)
                return size * (q / v) ** (0.5 * (k - 1))
        kink = (1.0 - self.slope) / _ROOT_2PI
        if k == 0:
            return kink * q**0.5
        if k == 1:
            return 0.5 * (1.0 + self.slope) + 0.0 * q
        return kink * _at_zero(k - 2) + 0.0 * q

    def rest(self, u, q, degrees, xp):
        """What is left of the values once some degrees are taken away."""
        out, root = self.value(u, xp), q**0.5
        for k, H in _hermite(u, root, max(degrees, default=0), xp):
            if k in degrees:
                size = self.mean(k, q) * (root if k else 1.0)
                out -= size * (1.0 / math.factorial(k)) * H
        return out

    def rest_of_derivative(self, u, q, degrees, xp):
        """The derivative of `rest`."""
        out = self.derivative(u, xp)
        for k, H in _hermite(u, q**0.5, max(degrees, default=0) - 1, xp):
            if k + 1 in degrees:
                out -= self.mean(k + 1, q) * (1.0 / math.factorial(k)) * H
        return out


def _at_zero(k):
    """Hermite's polynomial He_k at 0."""
    return float(special.eval_hermitenorm(k, 0.0))


def _hermite(u, root, degree, xp):
    """Pairs k, He_k(u / root) up to a degree; 0 in the place of 0 / 0."""
    before, now = None, xp.ones_like(u[:, :1])
    t = u * inverse(root, xp)
    for k in range(degree + 1):
        yield k, now
        before, now = now, t * now - (k * before if k else 0.0)


def _erf(u, xp):
    if xp is np:
        return special.erf(u)
    return xp.ElementwiseKernel("T u", "T y", "y = erf(u)", "gpkern_erf")(u)
