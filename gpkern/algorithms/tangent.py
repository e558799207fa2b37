"""Tangent kernels of networks, layer by layer.

The outputs f_c of a network have gradients by all weights, and the tangent kernel is
their inner product. Of a dense layer with inputs a and outputs z the gradient by its
weights is ``a g'``, and by its biases g, where g is the gradient of f_c by z: the
product of two such gradients is ``(a . b + 1) (g . h)``. Nothing of the size of the
weights is made for any row. A layer that is used at several places of a row, such as a
convolution, has the sum of its gradients there.

What one pass forward and one back leave of each layer, for n rows and q sums of
outputs, are its inputs A of shape (n, T, d) and the gradients G of shape (n, q, T, d'),
at T places. With those of other rows, B and H, and ``S = A B' + 1``, the sums over the
layers and pairs of places are

    full      S[i, j] <G[i, c], H[j, c']>        (n, m, q, q)
    trace     S * sum_c <G[:, c], H[:, c]>       (n, m)
    pseudo    S * <sum_c G[:, c], sum_c H[:, c]> / q

(Novak, Sohl-Dickstein & Schoenholz 2022, Fast finite width neural tangent kernel,
section 3; Mohamadi, Bae & Sutherland 2023, A fast, well-founded approximation to the
empirical neural tangent kernel, for "pseudo").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class LayerTangents:
    """Gradients of sums of outputs by the weights of a dense layer, as two factors.

    Attributes
    ----------
    inputs : array of shape (n, T, d)
        What the layer was given at each of T places.
    gradients : array of shape (n, q, T, d') or (1, q, T, d')
        Of the q sums, by what the layer returned there.
    xp : module
        NumPy or CuPy, of which the arrays are.
    has_weight, has_bias : bool
        By what of the layer gradients are taken.
    """

    inputs: Any
    gradients: Any
    xp: Any
    has_weight: bool = True
    has_bias: bool = True

    def __len__(self):
        return len(self.inputs)

    def full(self, other):
        """Products of gradients of all sums, shape (n, q, m, q)."""
        total = 0.0
        for S, G, H in self._places(other):
            products = self.xp.tensordot(G, H, axes=([2], [2]))
            total = total + S[:, None, :, None] * products
        return total

    def trace(self, other):
        """Products of gradients, summed over the sums, shape (n, m)."""
        total = 0.0
        for S, G, H in self._places(other):
            total = total + S * (_flat(G) @ _flat(H).T)
        return total

    def diagonal(self):
        """That of rows with themselves, shape (n,)."""
        return (self._spread() * self.gradients).sum(axis=(1, 2, 3))

    def diagonal_blocks(self):
        """All products of rows with themselves, shape (n, q, q)."""
        n, q = len(self), self.gradients.shape[1]
        left = self._spread().reshape(n, q, -1)
        right = self.gradients.reshape(len(self.gradients), q, -1)
        return left @ right.transpose(0, 2, 1)

    def pulled_back(self, V):
        """Sums of the rows' gradients with weights V, shape (n, q, k).

        Returns
        -------
        list of array of shape (k, d, d') and (k, d')
            By the weights and biases.
        """
        xp, (n, T, d) = self.xp, self.inputs.shape
        G = xp.broadcast_to(self.gradients, (n, *self.gradients.shape[1:]))
        U = xp.einsum("nqk,nqte->knte", V, G).reshape(V.shape[2], n * T, -1)
        out = [self.inputs.reshape(n * T, d).T @ U] if self.has_weight else []
        return [*out, U.sum(axis=1)] if self.has_bias else out

    def pushed(self, directions):
        """Products of the gradients and directions of `pulled_back`'s shapes.

        Returns
        -------
        array of shape (n, q, k)
        """
        xp, moved = self.xp, 0.0
        if self.has_weight:
            A = self.inputs.reshape(-1, self.inputs.shape[2])
            moved = A @ directions[0]  # (k, n T, d')
        if self.has_bias:
            moved = moved + directions[-1][:, None, :]
        shape = (len(directions[0]), *self.inputs.shape[:2], self.gradients.shape[3])
        moved = xp.broadcast_to(moved, (shape[0], shape[1] * shape[2], shape[3]))
        G = xp.broadcast_to(self.gradients, (len(self), *self.gradients.shape[1:]))
        return xp.einsum("nqte,knte->nqk", G, moved.reshape(shape))

    @property
    def sketch_sizes(self):
        """Rows of both matrices of signs for `sketch`."""
        q, _, width = self.gradients.shape[1:]
        return self.inputs.shape[2] + 1, q * width

    def sketch(self, left, right):
        """Random projections, shape (n, p), of signs of shapes (d + 1, p), (q d', p).

        Products of a projection of ``[a, 1]`` and one of g: their inner products are
        those of the gradients on average, summed over the q sums.
        """
        total = 0.0
        for t in range(self.inputs.shape[1]):
            of_inputs = left[-1] if self.has_bias else 0.0
            if self.has_weight:
                of_inputs = of_inputs + self.inputs[:, t] @ left[:-1]
            total = total + of_inputs * (_flat(self.gradients[:, :, t]) @ right)
        return total

    def _places(self, other):
        """Of each pair of places the inputs' products, and both gradients there."""
        for t in range(self.inputs.shape[1]):
            for s in range(other.inputs.shape[1]):
                S = self.inputs[:, t] @ other.inputs[:, s].T if self.has_weight else 0.0
                if self.has_bias:
                    S = S + self.xp.ones((1, 1), dtype=self.inputs.dtype)
                yield S, self.gradients[:, :, t], other.gradients[:, :, s]

    def _spread(self):
        """Gradients times the inputs' products of all places, shape (n, q, T, d')."""
        A = self.inputs
        S = A @ A.transpose(0, 2, 1) if self.has_weight else 0.0
        if self.has_bias:
            S = S + self.xp.ones((1, *A.shape[1:2] * 2), dtype=A.dtype)
        S = S[:, None]  # (n, 1, T, T)
        return S * self.gradients if A.shape[1] == 1 else S @ self.gradients


@dataclass(frozen=True)
class PlainTangents:
    """Gradients of sums of outputs by some parameters, number by number.

    Of layers whose factors would be larger than that, such as convolutions.

    Attributes
    ----------
    jacobian : array of shape (n, q, p)
    xp : module
    """

    jacobian: Any
    xp: Any

    def __len__(self):
        return len(self.jacobian)

    def full(self, other):
        """See `LayerTangents`."""
        return self.xp.tensordot(self.jacobian, other.jacobian, axes=([2], [2]))

    def trace(self, other):
        """See `LayerTangents`."""
        return _flat(self.jacobian) @ _flat(other.jacobian).T

    def diagonal(self):
        """See `LayerTangents`."""
        return (self.jacobian**2).sum(axis=(1, 2))

    def diagonal_blocks(self):
        """See `LayerTangents`."""
        return self.jacobian @ self.jacobian.transpose(0, 2, 1)

    def pulled_back(self, V):
        """See `LayerTangents`; of shape (k, p)."""
        k = V.shape[2]
        return [V.reshape(-1, k).T @ self.jacobian.reshape(-1, self.jacobian.shape[2])]

    def pushed(self, directions):
        """See `LayerTangents`."""
        return self.jacobian @ directions[0].T

    @property
    def sketch_sizes(self):
        """See `LayerTangents`."""
        return self.jacobian.shape[1:]

    def sketch(self, left, right):
        """See `LayerTangents`; signs of shapes (q, p) and (parameters, p)."""
        total = 0.0
        for c in range(self.jacobian.shape[1]):
            total = total + left[c] * (self.jacobian[:, c] @ right)
        return total


@dataclass(frozen=True)
class Tangents:
    """What the tangent kernels of some rows are made of.

    Attributes
    ----------
    parts : list of LayerTangents and PlainTangents
        Of which the kernels are sums.
    """

    parts: list

    def __len__(self):
        return len(self.parts[0])

    def full(self, other):
        """All products of gradients, shape (n, m, q, q)."""
        return sum(p.full(o) for p, o in self._pairs(other)).transpose(0, 2, 1, 3)

    def trace(self, other):
        """Sum over the outputs of the products of their gradients, shape (n, m)."""
        return sum(p.trace(o) for p, o in self._pairs(other))

    def diagonal(self):
        """That of rows with themselves, shape (n,)."""
        return sum(p.diagonal() for p in self.parts)

    def diagonal_blocks(self):
        """The full kernel of rows with themselves, shape (n, q, q)."""
        return sum(p.diagonal_blocks() for p in self.parts)

    def pulled_back(self, V):
        """Sums of the rows' gradients: J' v for each of k columns of V.

        Parameters
        ----------
        V : array of shape (n, q, k)

        Returns
        -------
        list of list of array of shape (k, ...)
            By the parameters of each part.
        """
        return [p.pulled_back(V) for p in self.parts]

    def pushed(self, directions):
        """The gradients times directions of the parameters: J w, shape (n, q, k)."""
        pairs = zip(self.parts, directions, strict=True)
        return sum(p.pushed(w) for p, w in pairs)

    def signs(self, n_projections, rng, dtype):
        """Random signs for `sketch`, the same on every device.

        Parameters
        ----------
        n_projections : int
        rng : RandomState
        dtype : dtype

        Returns
        -------
        list of (array, array) of `n_projections` columns
        """
        xp = self.parts[0].xp

        def draw(rows):
            drawn = rng.randint(0, 2, size=(rows, n_projections), dtype=np.int8)
            return xp.asarray((2 * drawn - 1).astype(dtype))

        return [tuple(draw(size) for size in p.sketch_sizes) for p in self.parts]

    def sketch(self, signs):
        """Random projections of the rows' gradients, shape (n, p).

        Their inner products are those of `trace` on average.
        """
        pairs = zip(self.parts, signs, strict=True)
        return sum(p.sketch(*s) for p, s in pairs) / signs[0][0].shape[1] ** 0.5

    def _pairs(self, other):
        return zip(self.parts, other.parts, strict=True)


def _flat(G):
    return G.reshape(len(G), -1)
