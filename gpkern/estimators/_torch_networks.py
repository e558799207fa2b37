"""Networks of PyTorch, by what hooks see of their layers.

Dense layers and convolutions leave what they were given and the gradients by what they
returned, as in `gpkern.algorithms.tangent`; the gradients by all other parameters are
taken row by row by ``torch.func``.
"""

from __future__ import annotations

import warnings

import numpy as np

from .._device import is_cupy
from ..algorithms.tangent import LayerTangents, PlainTangents, Tangents
from ._torch_layers import (
    are_by_rows,
    by_places,
    evaluating,
    flat,
    layers_of,
    leaves_of,
    recording,
    sizes_of,
    trained,
)

# Rows that a module is tried with.
TRIED = 8
# Relative difference of sums that are taken in two ways, in float32.
SAME = 1e-3


class TorchNetwork:
    """A module, as `DenseNetwork` is one.

    Gradients are those by the parameters that require them, in evaluation mode.

    Parameters
    ----------
    module : torch.nn.Module
    X : array of shape (n, ...)
        Rows to try it with.
    xp : module
        NumPy or CuPy, of which X is.

    Raises
    ------
    ValueError
        Where it has no parameter that requires a gradient, or rows of which one
        changes what the module makes of another.
    TypeError
        Where it has parameters by which no gradient can be taken.
    """

    def __init__(self, module, X, xp):
        self.module, self.xp = module, xp
        self.trainable = {k: p for k, p in module.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise ValueError(
                "estimator has no parameter that requires a gradient: call "
                "estimator.requires_grad_(True), or of the layers that count"
            )
        self._survey(X)

    # --------------------------------------------------- what a network is asked for

    def numbers_per_row(self, n_sums):
        """What `tangents` holds of a row."""
        held = self.activations * (1 + n_sums) + n_sums * sum(
            p.numel() for p in self.rest.values()
        )
        for places, d, width in self.layers.values():
            held += places * (d + n_sums * width)
            held += n_sums * d * width * self._is_plain(places, d, width, n_sums)
        return held

    def outputs(self, X):
        """Shape (n, O)."""
        import torch

        with torch.inference_mode(False), torch.no_grad(), evaluating(self.module):
            return self._array(self._flat_outputs(self._tensor(X)))

    def hidden(self, X):
        """What the last module with parameters is given, shape (n, p)."""
        modules = [
            m for m in leaves_of(self.module) if any(True for _ in m.parameters())
        ]
        calls = self._record(X, modules)
        return self._array(calls[-1][1].flatten(1))

    def responses(self, X):
        """What all modules without parts return, shape (n, p)."""
        calls = self._record(X, leaves_of(self.module, plain=False))
        parts = [self._array(out.flatten(1)) for *_, out in calls]
        return self.xp.concatenate(parts, axis=1)

    def tangents(self, X, seed):
        """`Tangents` of sums of outputs, see `DenseNetwork`."""
        rows = self._tensor(X)
        seeds = self._tensor(seed if seed.ndim == 3 else seed[None])
        seeds = seeds.expand(len(rows), -1, -1)
        parts = self._layer_tangents(rows, seeds) if self.layers else []
        return Tangents(parts + (self._others(rows, seeds) if self.rest else []))

    # ----------------------------------------------------------------- the survey

    def _survey(self, X):
        """Find what layers hooks do for, and what parameters are left.

        Of the latter are those that two modules share, and those of layers that are not
        called as modules, or also used otherwise: found by comparing the gradients of a
        sum with those of automatic differentiation.
        """
        import torch

        rows = self._tensor(X[np.arange(TRIED) % len(X)])
        layers = layers_of(self.module)
        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.module):
            with recording(layers) as first:
                alone = self._flat_outputs(rows[:1])
            with recording(layers) as calls:
                F = self._flat_outputs(rows)
            self._check_rows_alone(F, alone)
            weights = 1.0 / (1.0 + torch.arange(F.shape[1], device=F.device))
            seeds = weights.to(F.dtype).expand(TRIED, 1, -1)
            squares = self._squared_slopes((F * seeds[:, 0]).sum(), layers)
        self.n_outputs, leaves = F.shape[1], leaves_of(self.module)
        record = self._record(rows[:1], leaves)
        self.activations = sum(out[0].numel() for *_, out in record)
        once, together = (
            {m for m, *_ in c if are_by_rows(c, m, n)}
            for n, c in ((1, first), (TRIED, calls))
        )
        self.layers = {
            m: sizes_of(m, [out for other, _, out in calls if other is m])
            for m in layers
            if m in once and m in together
        }
        parts = self._layer_tangents(rows, seeds) if self.layers else []
        for layer, part in zip(list(self.layers), parts, strict=True):
            true = sum(squares[id(p)] for p in trained(layer))
            away = abs(float(part.trace(part).sum()) - true)
            if not away <= SAME * (true + float(part.diagonal().sum())):
                del self.layers[layer]
        self.rest = self._without(self.layers)
        if self.rest:
            self._try_others(rows, seeds)

    def _without(self, layers):
        """Parameters that are not of these layers."""
        seen = {id(p) for layer in layers for p in trained(layer)}
        return {k: p for k, p in self.trainable.items() if id(p) not in seen}

    def _squared_slopes(self, total, layers):
        """Squared length of the gradient of a sum by each parameter, by its id."""
        import torch

        parameters = list(self.trainable.values())
        try:
            slopes = torch.autograd.grad(total, parameters, materialize_grads=True)
        except Exception as error:  # whatever a user's module raises there
            raise self._unhandled(self._without(layers), error) from error
        pairs = zip(parameters, slopes, strict=True)
        return {id(p): float((s.double() ** 2).sum()) for p, s in pairs}

    def _check_rows_alone(self, F, alone):
        away = float((F[:1] - alone).detach().abs().max())
        if not away <= SAME * float(alone.detach().abs().max()) + 1e-6:
            raise ValueError(
                "estimator makes something else of a row beside another one than of "
                "it alone: a tangent kernel is of networks that take rows one by one"
            )

    def _try_others(self, rows, seeds):
        """Choose how gradients by the other parameters are taken."""
        for self._slopes in (slopes_at_once, slopes_in_turn):
            try:
                self._others(rows[:1], seeds[:1])
                return
            except Exception as raised:  # whatever a user's module raises there
                error = raised
        raise self._unhandled(self.rest, error) from error

    def _unhandled(self, parameters, error):
        """The error of parameters whose gradients raise one."""
        owners = {k.rpartition(".")[0] for k in parameters}
        kinds = ", ".join(
            f"{k or 'itself'} ({type(self.module.get_submodule(k)).__name__})"
            for k in sorted(owners)
        )
        return TypeError(
            f"estimator has layers that cannot be handled: {kinds or 'its own'}, whose "
            f"gradients raise {type(error).__name__}: {error}. Leave them out by "
            "requires_grad_(False), or write them by other operations"
        )

    # ------------------------------------------------------------------ gradients

    def _layer_tangents(self, rows, seeds):
        """Of the layers that hooks do for."""
        import torch

        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.module):
            with recording(self.layers) as calls:
                F = self._flat_outputs(rows)
            by = [out for *_, out in calls]
            slopes = []
            for c in range(seeds.shape[1]):
                total = (F * seeds[:, c]).sum()
                more = c + 1 < seeds.shape[1]
                found = torch.autograd.grad(
                    total, by, retain_graph=more, allow_unused=True
                )
                slopes.append(
                    [
                        torch.zeros_like(z) if g is None else g
                        for g, z in zip(found, by, strict=True)
                    ]
                )
        factors = {layer: ([], []) for layer in self.layers}
        for i, (layer, given, _) in enumerate(calls):
            G = torch.stack([s[i] for s in slopes], dim=1)
            A, G = by_places(layer, given, G)
            factors[layer][0].append(A)
            factors[layer][1].append(G)
        return [
            self._part(layer, torch.cat(A, dim=1), torch.cat(G, dim=2))
            for layer, (A, G) in factors.items()
        ]

    def _part(self, layer, A, G):
        import torch

        weight, bias = (
            p is not None and p.requires_grad for p in (layer.weight, layer.bias)
        )
        groups = getattr(layer, "groups", 1)
        if groups == 1 and not self._is_plain(*self.layers[layer], G.shape[1]):
            A, G = self._array(A), self._array(G)
            return LayerTangents(A, G, self.xp, weight, bias)
        parts = []
        if weight:
            A = A.unflatten(2, (groups, -1))
            parts.append(
                torch.einsum("ntgd,nqtge->nqgde", A, G.unflatten(3, (groups, -1)))
            )
        if bias:
            parts.append(G.sum(dim=2))
        J = torch.cat([p.flatten(2) for p in parts], dim=2)
        return PlainTangents(self._array(J), self.xp)

    def _is_plain(self, places, d, width, n_sums):
        """Whether gradients number by number take fewer products than their factors."""
        return places > 1 and n_sums * d * width < places**2 * (d + n_sums * width)

    def _others(self, rows, seeds):
        """By the parameters that are left."""
        import torch

        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.module):
            slopes = self._slopes(self.module, self.rest, rows, seeds)
        shape = seeds.shape[:2]
        J = torch.cat([slopes[k].reshape(*shape, -1) for k in self.rest], dim=2)
        return [PlainTangents(self._array(J), self.xp)]

    # ---------------------------------------------------------------- small parts

    def _record(self, X, modules):
        """Calls of modules, without gradients."""
        import torch

        rows = self._tensor(X)
        still, eval_mode = torch.no_grad(), evaluating(self.module)
        with torch.inference_mode(False), still, eval_mode, recording(modules) as calls:
            self.module(rows)
        return calls

    def _flat_outputs(self, rows):
        return flat(self.module(rows), len(rows))

    def _tensor(self, X):
        """A tensor where the module is, of its dtype."""
        import torch

        weight = next(iter(self.trainable.values()))
        if isinstance(X, torch.Tensor):
            return X
        if not is_cupy(X) and not (X.flags.writeable and X.flags.c_contiguous):
            X = X.copy()
        with torch.inference_mode(False):
            X = torch.from_dlpack(X) if is_cupy(X) else torch.from_numpy(X)
            return X.to(weight.device, weight.dtype)

    def _array(self, tensor):
        tensor = tensor.detach()
        if self.xp is np:
            return tensor.cpu().numpy()
        return self.xp.from_dlpack(tensor.contiguous())


def slopes_at_once(module, parameters, rows, seeds):
    """Gradients of sums of outputs by some parameters, by ``torch.func``.

    Parameters
    ----------
    module : torch.nn.Module
    parameters : dict of {str: torch.nn.Parameter}
    rows : tensor of shape (n, ...)
    seeds : tensor of shape (n, q, O)

    Returns
    -------
    dict of {str: tensor of shape (n, q, ...)}
    """
    from torch.func import functional_call, jacrev, vmap

    def sums(parameters, row, seed):
        return seed @ flat(functional_call(module, parameters, (row[None],)), 1)[0]

    parameters = {k: p.detach() for k, p in parameters.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop")
        return vmap(jacrev(sums), in_dims=(None, 0, 0))(parameters, rows, seeds)


def slopes_in_turn(module, parameters, rows, seeds):
    """The same, one after another: for what ``torch.func`` knows nothing of."""
    import torch

    found = {k: [] for k in parameters}
    for row, seed in zip(rows, seeds, strict=True):
        sums = seed @ flat(module(row[None]), 1)[0]
        for c, total in enumerate(sums):
            slopes = torch.autograd.grad(
                total,
                list(parameters.values()),
                retain_graph=c + 1 < len(sums),
                materialize_grads=True,
            )
            for k, slope in zip(found, slopes, strict=True):
                found[k].append(slope)
    shape = seeds.shape[:2]
    return {k: torch.stack(g).unflatten(0, shape) for k, g in found.items()}
