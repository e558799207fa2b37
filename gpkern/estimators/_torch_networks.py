"""Networks of PyTorch, by what hooks see of their layers.

Dense layers and convolutions leave what they were given and the gradients by what they
returned, as in `gpkern.algorithms.tangent`; the gradients by all other parameters are
taken row by row by ``torch.func``.
"""

from __future__ import annotations

import functools
import threading

import numpy as np

from .._device import is_cupy
from ..algorithms.tangent import LayerTangents, PlainTangents, Tangents
from ._door import on_host
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
from ._torch_slopes import slopes_at_once, slopes_in_turn

# Rows that a module is tried with.
TRIED = 8
# Hooks, modes and what torch.func puts in the place of parameters are the module's own:
# one thread at a time.
LOCK = threading.RLock()
# Relative difference of sums that are taken in two ways, in float32.
SAME = 1e-3


def alone(method):
    """One thread at a time, with the module in evaluation mode and full precision."""

    @functools.wraps(method)
    def wrapped(self, *args):
        import torch

        still = torch.inference_mode(False)
        exact = torch.autocast(self.place.type, enabled=False)
        with LOCK, still, exact, evaluating(self.module):
            return method(self, *args)

    return wrapped


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
    dtype : dtype
        Of its parameters; X is of that too, or of whole numbers.

    Raises
    ------
    ValueError
        Where it has no parameter that requires a gradient, or rows of which one
        changes what the module makes of another.
    TypeError
        Where it has parameters by which no gradient can be taken.
    """

    def __init__(self, module, X, xp, dtype):
        self.module, self.xp, self.dtype = module, xp, np.dtype(dtype)
        self.trainable = {k: p for k, p in module.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise ValueError(
                "estimator has no parameter that requires a gradient: call "
                "estimator.requires_grad_(True), or of the layers that count"
            )
        self.place = next(iter(self.trainable.values())).device
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

    @alone
    def outputs(self, X):
        """Shape (n, O)."""
        import torch

        with torch.no_grad():
            return self._array(self._flat_outputs(self._tensor(X)))

    @alone
    def hidden(self, X):
        """What the last module with parameters is given, shape (n, p)."""
        modules = [
            m
            for m in leaves_of(self.module)
            if any(p is not None for p in m.parameters())
        ]
        calls = self._by_rows(self._record(self._tensor(X), modules)[-1:], "conjugate")
        return self._array(calls[0][1].flatten(1))

    @alone
    def responses(self, X):
        """What all modules without parts return, shape (n, p)."""
        modules = leaves_of(self.module, plain=False)
        calls = self._by_rows(self._record(self._tensor(X), modules), "embedding")
        parts = [self._array(out.flatten(1)) for *_, out in calls]
        return self.xp.concatenate(parts, axis=1)

    @alone
    def tangents(self, X, seed):
        """`Tangents` of sums of outputs, see `DenseNetwork`."""
        rows = self._tensor(X)
        seeds = self._tensor(seed if seed.ndim == 3 else seed[None])
        seeds = seeds.expand(len(rows), -1, -1)
        parts = self._layer_tangents(rows, seeds) if self.layers else []
        return Tangents(parts + (self._others(rows, seeds) if self.rest else []))

    # ----------------------------------------------------------------- the survey

    @alone
    def _survey(self, X):
        """Find what layers hooks do for, and what parameters are left.

        Of the latter are those that two modules share, and those of layers that are not
        called as modules, or also used otherwise, or on rows in another order: found by
        comparing a few rows' gradients with those of automatic differentiation.
        """
        import torch

        rows = self._tensor(self._tried(X))
        layers = layers_of(self.module)
        with torch.enable_grad(), recording(layers) as calls:
            F = self._first_outputs(rows)
        self.n_outputs = F.shape[1]
        weights = 1.0 / (1.0 + torch.arange(F.shape[1], device=F.device))
        seeds = weights.to(F.dtype).expand(TRIED, 1, -1)
        truth = self._squared_slopes(rows, F.detach(), seeds, layers)
        self.are_probabilities = _are_probabilities(F.detach())
        self._measure(rows)
        first = self._record(rows[:1], layers)
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
            if not self._agrees(part, truth, trained(layer)):
                del self.layers[layer]
        self.rest = self._without(self.layers)
        if self.rest:
            self._try_others(rows, seeds, truth)

    def _tried(self, X):
        """A few rows from all over X, half of them with noise.

        Rows that are alike, or zero, would not show how a layer is used.
        """
        rows = X[np.linspace(0, len(X) - 1, TRIED).astype(int)].copy()
        if rows.dtype.kind == "f":
            half = rows[TRIED // 2 :]
            noise = np.random.default_rng(0).standard_normal(half.shape)
            spread = float(rows.std()) or 1.0
            half += self.xp.asarray(spread * noise, dtype=rows.dtype)
        return rows

    def _first_outputs(self, rows):
        """Of the rows that are tried."""
        try:
            return self._flat_outputs(rows)
        except TypeError:
            raise
        except Exception as error:  # whatever a user's module raises there
            shape = tuple(rows.shape[1:])
            raise ValueError(
                f"estimator, a {type(self.module).__name__}, does not take rows of "
                f"shape {shape}: {type(error).__name__}: {error}"
            ) from error

    def _squared_slopes(self, rows, F, seeds, layers):
        """Squared lengths of the gradients of each row alone, by each parameter's id.

        Only of rows whose numbers are finite.
        """
        import torch

        parameters, found = list(self.trainable.values()), []
        for row, f, seed in zip(rows, F, seeds, strict=True):
            with torch.enable_grad():
                own = self._own_outputs(row, f)
                try:
                    slopes = torch.autograd.grad(
                        (own * seed[0]).sum(), parameters, materialize_grads=True
                    )
                except Exception as error:  # whatever a user's module raises there
                    raise self._unhandled(self._without(layers), error) from error
            found.append([float((s.double() ** 2).sum()) for s in slopes])
        by_row = np.array(found).T
        self.finite = np.isfinite(by_row).all(axis=0)
        return {id(p): s for p, s in zip(parameters, by_row, strict=True)}

    def _own_outputs(self, row, beside):
        """Of a row alone, which must be those beside other rows."""
        together = ValueError(
            "estimator makes something else of a row beside another one than of it "
            "alone: a tangent kernel is of networks that take rows one by one"
        )
        try:
            own = self._flat_outputs(row[None])[0]
        except Exception as error:  # whatever a user's module raises for one row
            raise together from error
        known = beside.isfinite() & own.detach().isfinite()
        away = float((beside - own.detach()).abs()[known].sum())
        if not away <= SAME * float(beside.abs()[known].sum()) + 1e-6:
            raise together
        return own

    def _agrees(self, part, truth, parameters):
        """Whether gradients have their true lengths, not all of them 0."""
        true = sum(truth[id(p)] for p in parameters)[self.finite]
        found = np.asarray(on_host(part.diagonal()), dtype=np.float64)[self.finite]
        return bool((abs(found - true) <= SAME * true).all() and true.any())

    def _measure(self, rows):
        """Numbers that a row's pass leaves behind, and modules without rows first."""
        leaves = leaves_of(self.module)
        calls, first = self._record(rows, leaves), self._record(rows[:1], leaves)
        self.activations = sum(out.numel() for *_, out in calls) // TRIED
        pairs = [(TRIED, c) for c in calls] + [(1, c) for c in first]
        self.without_rows = {m for n, (m, _, out) in pairs if out.shape[:1] != (n,)}

    def _by_rows(self, calls, kind):
        """Calls, if all of them have rows first."""
        odd = {type(m).__name__ for m, *_ in calls if m in self.without_rows}
        if odd or not calls:
            names = ", ".join(sorted(odd)) or "no layer of its own"
            raise ValueError(
                f"kind={kind!r} is of layers that return a row for each row, and "
                f"estimator has {names}: use another kind"
            )
        return calls

    def _without(self, layers):
        """Parameters that are not of these layers."""
        seen = {id(p) for layer in layers for p in trained(layer)}
        return {k: p for k, p in self.trainable.items() if id(p) not in seen}

    def _try_others(self, rows, seeds, truth):
        """Choose how gradients by the other parameters are taken."""
        error = ValueError("they are not those of automatic differentiation")
        for self._slopes in (slopes_at_once, slopes_in_turn):
            try:
                [part] = self._others(rows, seeds)
            except Exception as raised:  # whatever a user's module raises there
                error = raised
                continue
            parameters = self.rest.values()
            nothing = not any(truth[id(p)][self.finite].any() for p in parameters)
            if nothing or self._agrees(part, truth, parameters):
                return
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

        with torch.enable_grad(), recording(self.layers) as calls:
            F = self._flat_outputs(rows)
        # A layer that runs without gradients has none.
        by, slopes = [out for *_, out in calls if out.requires_grad], []
        for c in range(seeds.shape[1] if by else 0):
            slopes.append(
                torch.autograd.grad(
                    (F * seeds[:, c]).sum(),
                    by,
                    retain_graph=c + 1 < seeds.shape[1],
                    materialize_grads=True,
                )
            )
        slopes = iter(torch.stack(s, dim=1) for s in zip(*slopes, strict=True))
        factors = {layer: ([], []) for layer in self.layers}
        for layer, given, out in calls:
            zeros = out.new_zeros(len(out), seeds.shape[1], *out.shape[1:])
            G = next(slopes) if out.requires_grad else zeros
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

        with torch.enable_grad():
            slopes = self._slopes(self.module, self.rest, rows, seeds)
        shape = seeds.shape[:2]
        J = torch.cat([slopes[k].reshape(*shape, -1) for k in self.rest], dim=2)
        return [PlainTangents(self._array(J), self.xp)]

    # ---------------------------------------------------------------- small parts

    def _record(self, rows, modules):
        """Calls of modules, without gradients."""
        import torch

        with torch.no_grad(), recording(modules) as calls:
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
        dtype = weight.dtype if X.dtype.kind == "f" else None
        if not is_cupy(X) and not (X.flags.writeable and X.flags.c_contiguous):
            X = X.copy()
        with torch.inference_mode(False):
            X = torch.from_dlpack(X) if is_cupy(X) else torch.from_numpy(X)
            return X.to(weight.device, dtype)

    def _array(self, tensor):
        tensor = tensor.detach()
        if tensor.is_floating_point():  # such as half precision, of the module's own
            tensor = tensor.to(next(iter(self.trainable.values())).dtype)
        if self.xp is np:
            return tensor.cpu().numpy()
        return self.xp.from_dlpack(tensor.contiguous())


def _are_probabilities(F):
    """Whether outputs are shares of 1, or their logarithms."""
    shares = F if bool((F >= 0).all()) else F.exp()
    return F.shape[1] > 1 and bool(((shares.sum(dim=1) - 1).abs() < SAME).all())
