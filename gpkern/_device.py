"""Where work runs: the engine for a device, and the way there and back."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from sklearn import get_config


@dataclass(frozen=True)
class Device:
    """A place to compute.

    Attributes
    ----------
    name : str
        ``"cpu"`` or ``"cuda:0"``, ``"cuda:1"``, ...
    xp : module
        NumPy or CuPy.
    Matrix : type
        Kernel matrix of the device's engine.
    linalg : module
        Its dense float64 factorisations.
    names : tuple of str
        All GPUs of a shared matrix, the first of which is `name`; else empty.
    workers : None, str or list of str
        Of Dask arrays: the device on which each worker computes its blocks; None
        follows the blocks.
    """

    name: str
    xp: Any
    Matrix: Any
    linalg: Any
    names: tuple = ()
    workers: Any = None

    def here(self):
        """Context in which arrays are made on this device."""
        if self.name == "cpu":
            return nullcontext()
        return self.xp.cuda.Device(int(self.name.partition(":")[2]))

    @property
    def walks(self):
        """Module of what goes one step after another."""
        if self.name == "cpu":
            from .cpu import walks
        else:
            from .gpu import walks
        return walks

    def put(self, array):
        """The array on this device; sparse matrices and None pass unchanged."""
        if array is None or sparse.issparse(array) or self.name == "cpu":
            return array
        from .gpu import runtime

        return runtime.put(array, self.name)

    def working_bytes(self):
        """Memory for tiles and prepared rows."""
        bytes_ = int(get_config()["working_memory"] * 2**20)
        if self.name == "cpu":
            return bytes_
        from .gpu import runtime

        return max(bytes_, runtime.total_bytes(self.name) // 16)

    def dense_bytes(self):
        """Memory that one dense matrix may take here."""
        if self.name == "cpu":
            return get_config()["working_memory"] * 2**20
        from .gpu import runtime

        return runtime.free_bytes() // 3

    def whole(self, array):
        """A result as an array of this device: that of Dask arrays is computed."""
        if not is_dask(array):
            return array
        from .dask.compute import gather

        return gather(array)

    def keep(self, array):
        """A result that is needed again: Dask's is computed and held by workers."""
        if not is_dask(array):
            return array
        from .dask.compute import persist

        return persist(array)

    def get(self, array):
        """The array on the host."""
        array = self.whole(array)
        return array.get() if hasattr(array, "get") else array

    def __reduce__(self):
        return _again, (list(self.names) or self.name, self.workers)


def _again(name, workers):
    return replace(select(name), workers=workers)


def is_cupy(array):
    """Whether an object is a CuPy array; imports nothing."""
    return type(array).__module__.split(".")[0] == "cupy"


def is_dask(array):
    """Whether an object is a Dask array, DataFrame or Series; imports nothing."""
    return type(array).__module__.split(".")[0] == "dask" and hasattr(array, "dask")


def select(device=None, *arrays):
    """Device for a computation.

    Parameters
    ----------
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N"
        None follows the data: CuPy arrays compute on their GPU, all others on the
        CPU. With Dask arrays, whose blocks the workers compute there, it is the CPU
        that is selected, for what is done with their results.
    *arrays : array-like
        The data.

    Returns
    -------
    Device

    Raises
    ------
    ValueError
        For a name that is not known, or CuPy arrays with ``device="cpu"``.
    RuntimeError
        When a GPU is asked for and none can be used; the message says what to
        install. Nothing falls back to the CPU in silence.
    """
    on_gpu, given = [a for a in arrays if is_cupy(a)], device
    if device is None:
        device = f"cuda:{on_gpu[0].device.id}" if on_gpu else "cpu"
    several = isinstance(device, (list, tuple)) and len(device) > 0
    names = list(device) if several else [device]
    pattern = r"cuda(:\d+)?" if several else r"cpu|cuda(:\d+)?"
    if not all(isinstance(v, str) and re.fullmatch(pattern, v) for v in names):
        raise ValueError(
            f"device={device!r} must be None, 'cpu', 'cuda', 'cuda:N' or a list of "
            "'cuda:N'"
        )
    if any(map(is_dask, arrays)):
        return replace(select("cpu"), workers=given)
    if device == "cpu":
        if on_gpu:
            raise ValueError(
                "device='cpu' with CuPy arrays: pass NumPy arrays (array.get()), or "
                "leave device=None to compute where the data is"
            )
        from .cpu import linalg
        from .cpu.matrix import Matrix

        return Device("cpu", np, Matrix, linalg)
    from .gpu import runtime

    return runtime.device(names)


def here(device, *arrays):
    """Context of the GPU that `select` would choose; of nothing where there is none."""
    try:
        return select(device, *arrays).here()
    except (ValueError, RuntimeError):
        return nullcontext()  # the error is that of the call itself
