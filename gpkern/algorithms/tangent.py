"""Tangent kernels of a network of dense layers, layer by layer.

The outputs f_c of a network have gradients by all weights, and the tangent kernel is
their inner product. Of a dense layer with inputs a and outputs z the gradient by its
weights is ``a g'``, and by its biases g, where g is the gradient of f_c by z: the
product of two such gradients is ``(a . b + 1) (g . h)``. Nothing of the size of the
weights is made for any row.

What one pass forward and one back leave of each layer, for n rows and O outputs, are
its inputs A of shape (n, d) and the gradients G of shape (n, O, d'). With those of
other rows, B and H, and ``S = A B' + 1``, the sums over the layers are

    full      S[i, j] <G[i, c], H[j, c']>        (n, m, O, O)
    trace     S * sum_c <G[:, c], H[:, c]>       (n, m)
    pseudo    S * <sum_c G[:, c], sum_c H[:, c]> / O

(Novak, Sohl-Dickstein & Schoenholz 2022, Fast finite width neural tangent kernel,
section 3; Mohamadi, Bae & Sutherland 2023, A fast, well-founded approximation to the
empirical neural tangent kernel, for "pseudo").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def _logistic(Z, xp):
    return 0.5 + 0.5 * xp.tanh(0.5 * Z)


# Activations, and their derivatives as functions of what they return.
ACTIVATIONS = {
    "identity": (lambda Z, xp: Z, lambda A, xp: xp.ones_like(A)),
    "relu": (lambda Z, xp: xp.maximum(Z, 0.0), lambda A, xp: (A > 0).astype(A.dtype)),
    "tanh": (lambda Z, xp: xp.tanh(Z), lambda A, xp: 1.0 - A * A),
    "logistic": (_logistic, lambda A, xp: A * (1.0 - A)),
}


@dataclass(frozen=True)
class DenseNetwork:
    """Layers ``Z = A W + b`` with one activation between them, and none at the end.

    Attributes
    ----------
    weights : list of array of shape (d, d')
    biases : list of array of shape (d',)
    activation : {"identity", "relu", "tanh", "logistic"}
    xp : module
        NumPy or CuPy, of which the arrays are.
    """

    weights: list
    biases: list
    activation: str
    xp: Any

    @property
    def n_outputs(self):
        return self.weights[-1].shape[1]

    @property
    def n_parameters(self):
        """Weights and biases."""
        pairs = zip(self.weights, self.biases, strict=True)
        return int(sum(W.size + b.size for W, b in pairs))

    def forward(self, X):
        """Inputs of all layers, and the outputs, of shape (n, O)."""
        phi, _ = ACTIVATIONS[self.activation]
        inputs = [X]
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            inputs.append(phi(inputs[-1] @ W + b, self.xp))
        return inputs, inputs[-1] @ self.weights[-1] + self.biases[-1]

    def backward(self, inputs, seed):
        """Gradients by the layers' outputs, of sums of the network's outputs.

        Parameters
        ----------
        inputs : list of array of shape (n, d)
            Of `forward`.
        seed : array of shape (q, O)
            Weights of the sums.

        Returns
        -------
        list of array of shape (n, q, d')
            Of the last layer of shape (1, q, O): they are the same for all rows.
        """
        _, slope = ACTIVATIONS[self.activation]
        gradients = [seed[None]]
        pairs = zip(inputs[:0:-1], self.weights[:0:-1], strict=True)
        for A, W in pairs:
            gradients.append((gradients[-1] @ W.T) * slope(A, self.xp)[:, None, :])
        return gradients[::-1]


@dataclass(frozen=True)
class Tangents:
    """What the tangent kernels of some rows are made of.

    Attributes
    ----------
    inputs : list of array of shape (n, d)
    gradients : list of array of shape (n, q, d')
    xp : module
    """

    inputs: list
    gradients: list
    xp: Any

    @classmethod
    def of(cls, network, X, seed):
        """Of rows and sums of outputs, see `DenseNetwork.backward`."""
        inputs, _ = network.forward(X)
        return cls(inputs, network.backward(inputs, seed), network.xp)

    def __len__(self):
        return len(self.inputs[0])

    def full(self, other):
        """All products of gradients, shape (n, m, q, q)."""
        xp, total = self.xp, 0.0
        for A, G, B, H in self._layers(other):
            products = xp.tensordot(G, H, axes=([2], [2]))  # (n, q, m, q)
            S = A @ B.T + 1.0
            total = total + S[:, None, :, None] * products
        return total.transpose(0, 2, 1, 3)

    def trace(self, other):
        """Sum over the outputs of the products of their gradients, shape (n, m)."""
        total = 0.0
        for A, G, B, H in self._layers(other):
            total = total + (A @ B.T + 1.0) * (_flat(G) @ _flat(H).T)
        return total

    def diagonal(self):
        """That of rows with themselves, shape (n,)."""
        total = 0.0
        for A, G in zip(self.inputs, self.gradients, strict=True):
            total = total + ((A * A).sum(axis=1) + 1.0) * (G * G).sum(axis=(1, 2))
        return total

    def diagonal_blocks(self):
        """The full kernel of rows with themselves, shape (n, q, q)."""
        total = 0.0
        for A, G in zip(self.inputs, self.gradients, strict=True):
            size = (A * A).sum(axis=1) + 1.0
            total = total + size[:, None, None] * (G @ G.transpose(0, 2, 1))
        return total

    def pulled_back(self, V):
        """Sums of the rows' gradients: J' v for each column of V.

        Parameters
        ----------
        V : array of shape (n, q, k)

        Returns
        -------
        list of (array of shape (k, d, d'), array of shape (k, d'))
            By the weights and biases of each layer.
        """
        xp, out = self.xp, []
        for A, G in zip(self.inputs, self.gradients, strict=True):
            U = xp.einsum("nqk,nqd->knd", V, xp.broadcast_to(G, (len(A), *G.shape[1:])))
            out.append((A.T @ U, U.sum(axis=1)))
        return out

    def pushed(self, by_parameters):
        """The gradients times directions of the parameters: J w, shape (n, q, k)."""
        xp, total = self.xp, 0.0
        for A, G, (W, b) in zip(
            self.inputs, self.gradients, by_parameters, strict=True
        ):
            moved = A @ W + b[:, None, :]  # (k, n, d')
            rows = xp.broadcast_to(G, (len(A), *G.shape[1:]))
            total = total + xp.einsum("nqd,knd->nqk", rows, moved)
        return total

    def sketch(self, signs):
        """Random projections of the rows' gradients, shape (n, p).

        Products of a projection of ``[a, 1]`` and one of g, both with signs: their
        inner products are those of the gradients on average, summed over the q sums.

        Parameters
        ----------
        signs : list of (array of shape (d + 1, p), array of shape (q d', p))
        """
        total, p = 0.0, signs[0][0].shape[1]
        for A, G, (left, right) in zip(self.inputs, self.gradients, signs, strict=True):
            total = total + (A @ left[:-1] + left[-1]) * (_flat(G) @ right)
        return total / p**0.5

    def _layers(self, other):
        return zip(
            self.inputs, self.gradients, other.inputs, other.gradients, strict=True
        )


def _flat(G):
    return G.reshape(len(G), -1)


def signs_of(network, n_projections, n_sums, rng, dtype):
    """Random signs for `Tangents.sketch`, the same on every device.

    Parameters
    ----------
    network : DenseNetwork
    n_projections, n_sums : int
    rng : RandomState
    dtype : dtype

    Returns
    -------
    list of (array of shape (d + 1, p), array of shape (q d', p))
    """
    xp = network.xp

    def draw(rows):
        drawn = rng.randint(0, 2, size=(rows, n_projections), dtype=np.int8)
        return xp.asarray((2 * drawn - 1).astype(dtype))

    return [(draw(W.shape[0] + 1), draw(n_sums * W.shape[1])) for W in network.weights]
