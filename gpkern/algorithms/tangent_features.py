"""Finitely many features whose inner products are kernels of infinitely wide networks.

A layer turns features phi of the covariance K, and psi of the tangent kernel T, into
those of ``w E[a(u) a(v)] + b`` and ``... + w E[a'(u) a'(v)] T``, u and v being products
of phi with normal directions. Drawing directions for all of it is the published way.
Here only what is left of the activation a once its Hermite polynomials of low degree
are taken away is left to chance: with q = |phi|^2 and c_k(q) the mean of a's k-th
derivative,

    E[a(u) a(v)]   = sum_k c_k(q) c_k(q') K^k / k!,
    E[a'(u) a'(v)] = sum_k c_(k+1)(q) c_(k+1)(q') K^k / k!,

so that the terms of low degree are constants, phi itself and products of its columns.
After degree 1 an activation of this module is even or odd, so that pairs of opposite
directions would bring nothing.

References: Jacot, Gabriel & Hongler (2018), "Neural tangent kernel", theorem 1, for the
recursion. Zandieh, Han, Avron, Shoham, Kim & Shin (2021), "Scaling neural tangent
kernels via sketching and random features", algorithms 1 and 2: the polynomials that
`sketches.PolynomialSketch` sketches, and random features without the exact terms.
Daniely, Frostig & Singer (2016), "Toward deeper understanding of neural networks",
for the series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from ..kernels import NTK
from .activations import Activation
from .sketches import Monomials, Projection, divided, inverse

# The largest degree of products of columns that are taken one by one.
MOST_DEGREE = 12
# What is left to chance has long tails once degrees above 2 are taken away, which the
# expected square does not show: one of these has to bring the error down to this.
WORTHWHILE = 0.7
# Numbers, as a row, and the share of a standard normal distribution at each.
_GRID = np.linspace(-9.0, 9.0, 3600)[None]
_SHARES = np.exp(-0.5 * _GRID[0] ** 2) / np.exp(-0.5 * _GRID[0] ** 2).sum()


@dataclass(frozen=True)
class Network:
    """The network whose kernel is meant: the parameters of `gpkern.kernels.NTK`."""

    depth: int
    activation: str
    weight: float
    bias: float
    kind: str
    slope: float = 0.0

    @property
    def carried(self):
        """Degrees that no hidden layer but the first leaves to chance."""
        even = Activation(self.activation, self.slope).mean(0, 1.0)
        return (0, 1) if even else (1,)

    @property
    def kernel(self):
        """The kernel itself."""
        return NTK(
            self.depth,
            self.activation,
            self.weight,
            self.bias,
            kind=self.kind,
            negative_slope=self.slope,
        )


@dataclass
class _Block:
    """Columns of features.

    Attributes
    ----------
    values : array of shape (n, width)
        Those of the covariance, where they are part of it.
    times : int
        How often their product is part of the tangent kernel.
    share : int
        How many of the columns the features that are returned hold.
    covariance : bool
        Whether they are part of the covariance.
    """

    values: object
    times: int
    share: int
    covariance: bool = True

    def returned(self, kind):
        """The share of the columns, in the size of all."""
        times = self.times if kind == "ntk" else 1
        size = math.sqrt(times * self.values.shape[1] / self.share)
        return self.values[:, : self.share] * size


@dataclass(frozen=True)
class _Layer:
    """A layer's directions.

    Attributes
    ----------
    degrees : tuple of int
        Those that are not left to chance.
    shares : tuple of int
        Columns that are returned of the covariance's rest and of the derivative's.
    values, slopes, tangents : Projection or None
        Directions of the covariance's features, of the derivative's, and what the
        features of the tangent kernel below are multiplied with.
    """

    degrees: tuple
    shares: tuple
    values: Projection
    slopes: Projection | None
    tangents: Projection | None


class RandomNetwork:
    """Random features of a network's kernel.

    The columns are divided so as to make the expected error of a pair of unrelated
    rows with mean squares of 1 smallest; that also says up to which degree products of
    the data's columns are taken exactly.

    Parameters
    ----------
    n_features, n_components : int
        Columns of the data, and of what is returned.
    network : Network
    rng : RandomState

    Raises
    ------
    ValueError
        For fewer components than parts of the kernel, `least`.
    """

    def __init__(self, n_features, n_components, network, rng):
        self.network = network
        self.activation = Activation(network.activation, network.slope)
        p = n_features + (network.bias > 0)
        self.degrees, shares = self._plan(p, n_components)
        self.monomials = Monomials(p, max(self.degrees, default=0))
        self.layers, self.width, below, psi = [], p, p, p
        for layer, share in enumerate(shares, start=1):
            first, last = layer == 1, layer == network.depth
            # Between layers half as many columns as in all that is returned: with more
            # the error is the same, with fewer larger from three layers on.
            widths = [s if last else max(s, n_components // 2) for s in share]
            values = Projection(below, widths[0], rng, True)
            slopes = tangents = None
            if network.kind == "ntk":
                slopes = Projection(below, widths[1], rng, True)
                tangents = Projection(psi, widths[1], rng, False)
            degrees = self.degrees if first else network.carried
            self.layers.append(_Layer(degrees, share, values, slopes, tangents))
            # The first layer's powers stand for the columns of the data.
            exact = _powers(p, degrees) if first else below + (0 in degrees)
            exact += network.bias > 0
            psi = sum(widths) + exact + (0 if first else psi - below)
            below = widths[0] + exact
            self.width = max(self.width, psi)

    @staticmethod
    def least(network):
        """The fewest columns that features have: one for each part."""
        parts = 2 if network.kind == "ntk" else 1
        constants = (network.depth - 1) * (0 in network.carried)
        return network.depth * (parts + (network.bias > 0)) + constants

    def _plan(self, p, n_components):
        """Degrees of the first layer, and each layer's shares of the columns."""
        least, best = self.least(self.network), None
        if n_components < least:
            raise ValueError(f"the network's parts need at least {least} columns")
        for degrees in self._candidates():
            loads, fixed = self._loads(degrees), _powers(p, degrees) + least
            free = n_components - fixed + np.size(loads)
            if free < np.size(loads):
                break
            error = np.sum(loads) / math.sqrt(free)
            needed = WORTHWHILE if max(degrees, default=0) > 2 else 1.0
            if best is None or error < needed * best[0]:
                best = error, degrees, divided(free, loads)
        return best[1:]

    def _candidates(self):
        """Degrees up to 0, 1, ..., those left out of which the activation has none."""
        degrees = ()
        yield degrees
        for k in range(MOST_DEGREE + 1):
            if abs(self.activation.mean(k, 1.0)) > 1e-12:
                degrees = (*degrees, k)
                yield degrees

    def _loads(self, degrees):
        """Each layer's parts that are left to chance: sizes on the kernel's diagonal.

        Of rows with mean squares of 1, which all are alike.
        """
        network, out = self.network, []
        q = below = network.weight + network.bias
        for layer in range(1, network.depth + 1):
            kept = degrees if layer == 1 else network.carried
            u, of, one = q**0.5 * _GRID, self.activation, np.full((1, 1), q)
            functions = (
                of.rest(u, one, kept, np),
                of.rest_of_derivative(u, one, kept, np),
                of.value(u, np),
                of.derivative(u, np),
            )
            means = [network.weight * float(f[0] ** 2 @ _SHARES) for f in functions]
            gain = network.weight * float(of.mean(1, q)) ** 2
            out = [[gain * v for v in row] for row in out]
            if network.kind == "ntk":
                out.append([(network.depth - layer + 1) * means[0], means[1] * below])
            else:
                out.append([means[0]])
            q = means[2] + network.bias
            below = q + means[3] * below
        return out

    def __call__(self, X, place):
        """Features of rows in that place, shape (n, n_components)."""
        network, xp = self.network, place.xp
        phi = X * math.sqrt(network.weight / X.shape[1])
        if network.bias > 0:
            phi = xp.concatenate([phi, _constant(X, network.bias, xp)], axis=1)
        psi, blocks = phi, []
        for depth, layer in enumerate(self.layers, start=1):
            blocks = self._after(layer, depth == 1, blocks, phi, psi, place)
            if depth < network.depth:
                inner = [b.values for b in blocks if b.covariance]
                phi = xp.concatenate(inner, axis=1)
                inner = [b.values * math.sqrt(b.times) for b in blocks]
                psi = xp.concatenate(inner, axis=1)
        return xp.concatenate([b.returned(network.kind) for b in blocks], axis=1)

    def _after(self, layer, first, blocks, phi, psi, place):
        """The columns after a layer, of those before it."""
        of, weight, xp = self.activation, math.sqrt(self.network.weight), place.xp
        q = (phi * phi).sum(axis=1, keepdims=True)
        means = {k: weight * of.mean(k, q) for k in layer.degrees}
        if first:
            new = self._first(phi, q, means, place)
        else:
            for block in blocks:
                block.values = block.values * means[1]
                block.times += block.covariance
            new = [*blocks, *(_Block(means[k], 1, 1) for k in means if k == 0)]
        if self.network.bias > 0:
            new.append(_Block(_constant(phi, self.network.bias, xp), 1, 1))
        F = of.rest(layer.values(phi, place), q, layer.degrees, xp)
        F *= weight / math.sqrt(F.shape[1])
        new.append(_Block(F, 1, layer.shares[0]))
        if layer.slopes is not None:
            F = of.rest_of_derivative(layer.slopes(phi, place), q, layer.degrees, xp)
            F *= layer.tangents(psi, place)
            F *= weight / math.sqrt(F.shape[1])
            new.append(_Block(F, 1, layer.shares[1], covariance=False))
        return new

    def _first(self, phi, q, means, place):
        """The first layer's exact columns."""
        root, out = q**0.5, []
        powers = self.monomials(phi * inverse(root, place.xp), place)
        for k, mean in means.items():
            size = mean * (root / math.sqrt(math.factorial(k)) if k else 1.0)
            values = powers[k] * size
            # Of K^k, 1 / k! is in the covariance and k / k! in the slope times K.
            out.append(_Block(values, k + 1, values.shape[1]))
        return out


def _powers(p, degrees):
    """How many products of p columns there are of some degrees."""
    return sum(Monomials.count(p, k) for k in degrees)


def _constant(X, variance, xp):
    """A column of one number."""
    return xp.full((len(X), 1), math.sqrt(variance), dtype=X.dtype)


def nonnegative_series(network, degree):
    """Polynomial in the cosine with coefficients of 0 or more, near the kernel.

    Parameters
    ----------
    network : Network
        Of rectifiers, without biases: its kernel is ``|x| |z| f(cos) / n_features``.
    degree : int

    Returns
    -------
    coefficients : ndarray of shape (degree + 1,), float64
        Of f, by least squares over equally likely angles.
    """
    angles = np.linspace(0.0, np.pi, 401)
    rows = math.sqrt(2.0) * np.column_stack([np.cos(angles), np.sin(angles)])
    values = network.kernel(rows[:1], rows)[0]
    powers = np.cos(angles)[:, None] ** np.arange(degree + 1)
    return nnls(powers, values)[0]
