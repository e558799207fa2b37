"""What hooks see of the layers of a module of PyTorch."""

from __future__ import annotations

import math
from contextlib import contextmanager

from .._device import is_cupy, select

# Modules that return what they are given, or zeros for some, in whatever shape.
SAME_NUMBERS = ("Dropout", "Flatten", "Unflatten", "Identity")


class TensorKind:
    """Of tensors, as `ArrayKind` is of arrays: results are where they are.

    Attributes
    ----------
    array : ndarray or cupy.ndarray
        Their numbers, which are not copied.
    """

    def __init__(self, X):
        X = X.detach()
        self.device = X.device
        if X.device.type == "cuda":
            self.array = select(str(X.device)).xp.from_dlpack(X.contiguous())
        else:
            self.array = X.cpu().numpy()

    def out(self, array):
        """A NumPy or CuPy array as a tensor."""
        import torch

        tensor = torch.from_dlpack(array) if is_cupy(array) else torch.as_tensor(array)
        return tensor.to(self.device)


@contextmanager
def evaluating(module):
    """In evaluation mode, each part back as it was at the end."""
    before = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in before:
            m.training = training


@contextmanager
def recording(modules):
    """Fills a list of (module, the first tensor it is given, the first it returns)."""
    calls = []

    def hook(module, args, options, out):
        given, own = _tensor_of([*args, *options.values()]), _tensor_of(out)
        if own is None:
            return None
        calls.append((module, None if given is None else given.detach(), own))
        # A copy goes on: later modules may change it in place.
        return own.clone() if own is out else None

    handles = [m.register_forward_hook(hook, with_kwargs=True) for m in modules]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def layers_of(module):
    """Dense layers, and convolutions along one or two axes, with their own weights."""
    from torch import nn

    owners = {}
    for m in module.modules():
        for p in m.parameters(recurse=False):
            owners[id(p)] = owners.get(id(p), 0) + 1
    return [
        m
        for m in module.modules()
        if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d))
        and "weight" in m._parameters
        and set(m._parameters) <= {"weight", "bias"}
        and all(owners[id(p)] == 1 for p in m.parameters(recurse=False))
        and trained(m)
    ]


def _tensor_of(values):
    """The first tensor in what a module is given, or returns; None without one."""
    import torch

    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (list, tuple)):
        return next((v for v in map(_tensor_of, values) if v is not None), None)
    return values if isinstance(values, torch.Tensor) else None


def has_embedding(module):
    """Whether rows of whole numbers may be those of words."""
    from torch import nn

    kinds = nn.Embedding, nn.EmbeddingBag
    return any(isinstance(m, kinds) for m in module.modules())


def trained(layer):
    """Its own parameters that require a gradient."""
    return [p for p in layer.parameters(recurse=False) if p.requires_grad]


def leaves_of(module, plain=True):
    """Modules without parts, and layers: all, or those that change numbers."""
    from torch import nn

    skip = () if plain else SAME_NUMBERS
    return [
        m
        for name, m in module.named_modules()
        if "parametrizations" not in name
        and (
            isinstance(m, nn.Linear)
            or hasattr(m, "kernel_size")
            or not any(m.children())
        )
        and not type(m).__name__.startswith(skip)
    ]


def are_by_rows(calls, layer, n):
    """Whether all a layer is given and returns has a first axis of n rows."""
    return all(
        given is not None
        and given.ndim > 1
        and given.shape[0] == n
        and out.shape[:1] == (n,)
        for other, given, out in calls
        if other is layer
    )


def sizes_of(layer, outs):
    """Places of a row in all calls, numbers given and returned at each."""
    axis = 1 if hasattr(layer, "kernel_size") else -1
    width = outs[0].shape[axis]
    places = sum(out[0].numel() // width for out in outs)
    return places, layer.weight[0].numel() * getattr(layer, "groups", 1), width


def by_places(layer, given, G):
    """What a layer is given at each place, (n, T, d), and gradients, (n, q, T, d')."""
    if not hasattr(layer, "kernel_size"):
        n, q, width = len(given), G.shape[1], G.shape[-1]
        return given.reshape(n, -1, given.shape[-1]), G.reshape(n, q, -1, width)
    return _patches(layer, given), G.flatten(3).transpose(2, 3)


def _patches(layer, given):
    """What a convolution is given at each place, shape (n, T, d)."""
    from torch.nn import functional

    sizes = zip(layer.kernel_size, layer.dilation, strict=True)
    if layer.padding == "same":
        total = [d * (k - 1) for k, d in sizes]
        around = [(t // 2, t - t // 2) for t in total]
    elif layer.padding == "valid":
        around = [(0, 0) for _ in layer.kernel_size]
    else:
        around = [(p, p) for p in layer.padding]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    pads = [p for pair in around[::-1] for p in pair]
    if any(pads):
        given = functional.pad(given, pads, mode=mode)
    kernel, dilation, stride = layer.kernel_size, layer.dilation, layer.stride
    if len(kernel) == 1:
        given = given[:, :, None]
        kernel, dilation, stride = (1, *kernel), (1, *dilation), (1, *stride)
    patches = functional.unfold(given, kernel, dilation=dilation, stride=stride)
    return patches.transpose(1, 2)


def flat(out, n):
    """Outputs of n rows, shape (n, O)."""
    shape = getattr(out, "shape", None)
    if shape is None or not len(shape) or shape[0] != n:
        found = type(out).__name__ if shape is None else f"shape {tuple(shape)}"
        raise TypeError(
            f"estimator returns {found} for {n} rows, where a tensor of shape "
            f"({n}, n_outputs) is wanted: wrap it in a module that returns one"
        )
    return out.reshape(n, math.prod(shape[1:]))
