"""Targets from log densities of PyTorch and JAX, by automatic differentiation."""

from __future__ import annotations

import importlib
import warnings
from functools import cached_property

import numpy as np

from .._device import is_cupy
from .base import Target, as_float64, namespace, to_numpy
from .functions import _callable, _columns

NEEDS = "{0} needs {1}, which cannot be imported ({2}): install it (pip install {1})"


class TorchDensity(Target):
    """See `from_torch`."""

    has_log_density = True

    def __init__(self, log_density, n_features=None, batch_size=None):
        _import("torch", "from_torch")
        self.f = _callable(log_density, "log_density")
        self.n_features, self.batch_size = _columns(n_features), batch_size

    def _score(self, X):
        return self._in_batches(self._gradient, X)

    def _log_density(self, X):
        import torch

        def values(rows):
            with torch.no_grad():
                return _per_row(self.f(rows), rows)

        return self._in_batches(values, X)

    def _gradient(self, rows):
        import torch

        rows.requires_grad_(True)
        with torch.enable_grad():
            values = _per_row(self.f(rows), rows)
            if not values.requires_grad:
                raise ValueError(
                    "log_density's values do not depend on the rows by operations of "
                    "torch: leave out detach(), numpy() and no_grad()"
                )
            # A row's value depends on that row alone, so one sum gives all gradients.
            return torch.autograd.grad(values.sum(), rows)[0]

    def _in_batches(self, f, X):
        import torch

        size = self.batch_size or len(X)
        parts = [
            f(self._tensor(X[i : i + size])).detach() for i in range(0, len(X), size)
        ]
        return _from_torch(torch.cat(parts), X)

    def _tensor(self, X):
        """A copy of rows as a tensor: where X is, but where a module's weights are."""
        import torch

        X = torch.from_dlpack(X.copy()) if is_cupy(X) else torch.from_numpy(X.copy())
        weight = self._weight
        return X if weight is None else X.to(weight.device, weight.dtype)

    @property
    def _weight(self):
        """A weight of a module; None of a function."""
        parameters = getattr(self.f, "parameters", lambda: ())
        return next((w for w in parameters() if w.is_floating_point()), None)

    @property
    def _precision(self):
        weight = self._weight
        double = weight is None or str(weight.dtype) == "torch.float64"
        return np.float64 if double else np.float32


class JaxDensity(Target):
    """See `from_jax`."""

    has_log_density = True

    def __init__(self, log_density, n_features=None):
        _import("jax", "from_jax")
        self.f = _callable(log_density, "log_density")
        self.n_features = _columns(n_features)

    def _score(self, X):
        rows = self._array(X)
        if rows.dtype == np.float32:
            warnings.warn(
                "JAX computes in float32, so scores have six digits: set "
                "jax.config.update('jax_enable_x64', True) at the start of the program",
                UserWarning,
                stacklevel=4,
            )
        return np.asarray(self._gradient(rows), dtype=np.float64)

    @cached_property
    def _gradient(self):
        """Compiled, once for each shape of the rows."""
        import jax

        # A row's value depends on that row alone, so one sum gives all gradients.
        return jax.jit(jax.grad(lambda X: _per_row(self.f(X), X).sum()))

    def __getstate__(self):
        return {k: v for k, v in vars(self).items() if k != "_gradient"}

    def _log_density(self, X):
        rows = self._array(X)
        return np.asarray(_per_row(self.f(rows), rows))

    def _array(self, X):
        import jax

        if is_cupy(X) and jax.default_backend() == "gpu" and _precise(jax):
            return jax.numpy.from_dlpack(X)
        return jax.numpy.asarray(to_numpy(X))

    @property
    def _precision(self):
        import jax

        return np.float64 if _precise(jax) else np.float32


def from_torch(log_density, *, n_features=None, batch_size=None):
    """Target of a log density in PyTorch, with its score by autograd.

    Parameters
    ----------
    log_density : callable
        Of a tensor of rows (n, d), in float64, on the GPU for CuPy rows and else on
        the CPU: ``X -> (n,)``, up to a constant, each value by its own row alone (a
        module with batch normalisation must be in `eval` mode). Of an `nn.Module` the
        rows come where its weights are, and in their dtype.
    n_features : int, default=None
        Columns that rows must have; None for any.
    batch_size : int, default=None
        Rows of one call; None is all.

    Returns
    -------
    Target

    Raises
    ------
    ImportError
        Where torch is not installed.

    Examples
    --------
    >>> from gpkern.targets import from_torch
    >>> def log_density(X):
    ...     return -0.5 * (X**2).sum(dim=1)
    >>> from_torch(log_density).score([[1.0, 2.0]])  # doctest: +SKIP
    array([[-1., -2.]])
    """
    return TorchDensity(log_density, n_features, batch_size)


def from_jax(log_density, *, n_features=None):
    """Target of a log density in JAX, with its score by `jax.grad`.

    Scores are computed in float64 where ``jax_enable_x64`` is set; else JAX works in
    float32, they have the accuracy of that, about six digits, and a warning says so.

    Parameters
    ----------
    log_density : callable
        Of an array of rows (n, d): ``X -> (n,)``, up to a constant, each value by its
        own row alone; it must be one that `jax.jit` can compile.
    n_features : int, default=None
        Columns that rows must have; None for any.

    Returns
    -------
    Target

    Raises
    ------
    ImportError
        Where jax is not installed.

    Examples
    --------
    >>> from gpkern.targets import from_jax
    >>> def log_density(X):
    ...     return -0.5 * (X**2).sum(axis=1)
    >>> from_jax(log_density).score([[1.0, 2.0]])  # doctest: +SKIP
    array([[-1., -2.]])
    """
    return JaxDensity(log_density, n_features)


def _import(package, function):
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(NEEDS.format(function, package, error)) from error


def _per_row(values, rows):
    """Values of shape (n,), of tensors or JAX arrays."""
    shape = tuple(getattr(values, "shape", ()))
    if shape == (len(rows), 1):
        return values[:, 0]
    if shape != (len(rows),):
        raise ValueError(
            f"log_density gives shape {shape} for rows of shape {tuple(rows.shape)}: "
            "it must give one number for each row (sum over the columns alone, or map "
            "a function of one row by torch.vmap or jax.vmap)"
        )
    return values


def _from_torch(tensor, X):
    """A tensor as CuPy where X is and the tensor is on a GPU, else as NumPy."""
    if is_cupy(X) and tensor.device.type == "cuda":
        return as_float64(namespace(X).from_dlpack(tensor.contiguous()))
    return as_float64(tensor.double().cpu().numpy())


def _precise(jax):
    return bool(jax.config.jax_enable_x64)
