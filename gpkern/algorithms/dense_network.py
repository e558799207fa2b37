"""Networks of dense layers with one activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .tangent import LayerTangents, Tangents


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

    # What modules of PyTorch may return in their stead.
    are_probabilities = False

    @property
    def n_outputs(self):
        """Numbers that it returns for a row."""
        return self.weights[-1].shape[1]

    @property
    def dtype(self):
        """Of its weights."""
        return self.weights[0].dtype

    def numbers_per_row(self, n_sums):
        """What `tangents` holds of a row."""
        return sum(n_sums * W.shape[1] + W.shape[0] for W in self.weights)

    def outputs(self, X):
        """Before the last activation, shape (n, O)."""
        return self._last(self._inputs(X))

    def hidden(self, X):
        """What the last layer is given, shape (n, d)."""
        return self._inputs(X)[-1]

    def responses(self, X):
        """What all layers return, before and after activations, shape (n, p)."""
        inputs = self._inputs(X)
        pairs = zip(inputs[:-1], self.weights[:-1], self.biases[:-1], strict=True)
        before = [A @ W + b for A, W, b in pairs]
        return self.xp.concatenate([*before, *inputs[1:], self._last(inputs)], axis=1)

    def tangents(self, X, seed):
        """`Tangents` of sums of outputs.

        Parameters
        ----------
        X : array of shape (n, d)
        seed : array of shape (q, O) or (n, q, O)
            Weights of the sums, the same for all rows or not.

        Returns
        -------
        Tangents
        """
        _, slope = ACTIVATIONS[self.activation]
        inputs = self._inputs(X)
        gradients = [seed if seed.ndim == 3 else seed[None]]
        for A, W in zip(inputs[:0:-1], self.weights[:0:-1], strict=True):
            gradients.append((gradients[-1] @ W.T) * slope(A, self.xp)[:, None, :])
        pairs = zip(inputs, gradients[::-1], strict=True)
        return Tangents(
            [LayerTangents(A[:, None], G[:, :, None], self.xp) for A, G in pairs]
        )

    def _inputs(self, X):
        """Of all layers."""
        phi, _ = ACTIVATIONS[self.activation]
        inputs = [X]
        for W, b in zip(self.weights[:-1], self.biases[:-1], strict=True):
            inputs.append(phi(inputs[-1] @ W + b, self.xp))
        return inputs

    def _last(self, inputs):
        return inputs[-1] @ self.weights[-1] + self.biases[-1]
