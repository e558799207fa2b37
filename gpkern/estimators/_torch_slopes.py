"""Gradients by parameters of PyTorch that no hook sees, row by row."""

from __future__ import annotations

import warnings

from ._torch_layers import flat


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
