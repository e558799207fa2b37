"""CuPy and the GPU: found, described, or refused with the remedy."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from functools import cache, partial

from .._device import Device, is_cupy

INSTALL = (
    'install the GPU extra: pip install "gpkern[gpu]" for CUDA 12, '
    '"gpkern[gpu13]" for CUDA 13'
)


def _cupy():
    """The cupy module, or an error that says what to install."""
    try:
        import cupy
    except ImportError as error:
        raise RuntimeError(f"device='cuda' needs CuPy; {INSTALL}") from error
    return cupy


def _device_count(cupy):
    try:
        return cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(
            "device='cuda' needs an NVIDIA GPU and its driver; CuPy finds none "
            f"({error}). gpkern.show_versions() tells more"
        ) from error


def device(names):
    """`Device` for a list of ``"cuda"`` or ``"cuda:N"``."""
    cupy = _cupy()
    count, indices = _device_count(cupy), []
    for name in names:
        index = int(name.partition(":")[2] or cupy.cuda.runtime.getDevice())
        if index >= count:
            raise RuntimeError(f"device={name!r}: this machine has {count} GPU(s)")
        indices.append(index)
    from . import linalg
    from .matrix import Matrix
    from .sharded import ShardedMatrix

    first, all_names = f"cuda:{indices[0]}", tuple(f"cuda:{i}" for i in indices)
    if len(indices) == 1:
        return Device(first, cupy, Matrix, linalg)
    shared = partial(ShardedMatrix, devices=tuple(indices))
    return Device(first, cupy, shared, linalg, all_names)


def put(array, name):
    """An array on the GPU, or as it is when it is too large or read in slices."""
    import cupy

    index = int(name.partition(":")[2])
    with cupy.cuda.Device(index):
        if is_cupy(array):
            if array.device.id != index:
                array = cupy.asarray(array)
            return array
        if not hasattr(array, "nbytes") or not hasattr(array, "__array_interface__"):
            return array
        if array.nbytes > free_bytes() // 3:
            return array
        return cupy.asarray(array)


@cache
def total_bytes(name):
    """Memory of a GPU."""
    import cupy

    index = int(name.partition(":")[2])
    return cupy.cuda.runtime.getDeviceProperties(index)["totalGlobalMem"]


def free_bytes():
    """Memory that the current GPU can still give, CuPy's own pool included."""
    import cupy

    free, _ = cupy.cuda.runtime.memGetInfo()
    return free + cupy.get_default_memory_pool().free_bytes()


def describe():
    """Lines for `gpkern.show_versions`."""
    lines = []
    for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy", "numba-cuda"):
        try:
            lines.append(f"{name}: {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    if importlib.util.find_spec("cupy") is None:
        return [*lines, f"CuPy: not installed; {INSTALL}"]
    try:
        cupy = _cupy()
        for i in range(_device_count(cupy)):
            props = cupy.cuda.runtime.getDeviceProperties(i)
            lines.append(
                f"cuda:{i}: {props['name'].decode()}, "
                f"{props['totalGlobalMem'] / 2**30:.0f} GiB, compute capability "
                f"{props['major']}.{props['minor']}"
            )
        version = cupy.cuda.runtime.runtimeGetVersion()
        lines.append(f"CUDA runtime: {version // 1000}.{version % 1000 // 10}")
    except RuntimeError as error:
        lines.append(str(error))
    return lines
