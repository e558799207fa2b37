"""CUDA sources -> functions: completed, compiled by NVRTC, kept on disk."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import lru_cache

import cupy as cp
from cupy_backends.cuda.libs import nvrtc

from ..cpu.compiled import cache_folder

_FUNCTIONS: dict = {}


def architecture():
    """Target of the current GPU; on 9.0 with the instructions of that chip alone."""
    capability = cp.cuda.Device().compute_capability
    return f"sm_{capability}a" if capability == "90" else f"sm_{capability}"


def function(source, name, **macros):
    """A compiled kernel of the current GPU.

    Parameters
    ----------
    source : str
        From `sources`.
    name : str
        Of the kernel.
    **macros
        Numbers that the source leaves open.
    """
    key = (source, name, cp.cuda.runtime.getDevice(), *sorted(macros.items()))
    if key not in _FUNCTIONS:
        lines = [f"#define {macro} {value}" for macro, value in sorted(macros.items())]
        module = _load("\n".join([*lines, source]), architecture())
        _FUNCTIONS[key] = module.get_function(name)
    return _FUNCTIONS[key]


def _load(text, target):
    """Module of a text, from the disk cache where there is one."""
    version = nvrtc.getVersion()
    digest = hashlib.sha256(f"{version} {target}\n{text}".encode()).hexdigest()[:32]
    path = cache_folder() / "cuda" / f"{digest}.cubin"
    try:
        if not path.exists():
            code = _compile(text, target)
            path.parent.mkdir(parents=True, exist_ok=True)
            # Write aside and rename: another process may be doing the same.
            with tempfile.NamedTemporaryFile(
                "wb", dir=path.parent, suffix=".tmp", delete=False
            ) as f:
                f.write(code)
            os.replace(f.name, path)
        return cp.RawModule(path=str(path))
    except OSError:  # a read-only home: compiled anew in each process
        with tempfile.NamedTemporaryFile("wb", suffix=".cubin") as f:
            f.write(_compile(text, target))
            f.flush()
            return cp.RawModule(path=f.name)


def _compile(text, target):
    program = nvrtc.createProgram(text, "gpkern.cu", [], [])
    try:
        options = [f"--gpu-architecture={target}", "-std=c++17", "-default-device"]
        nvrtc.compileProgram(program, options)
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        log = nvrtc.getProgramLog(program)
        raise RuntimeError(f"a CUDA kernel does not compile: {error}\n{log}") from error
    finally:
        nvrtc.destroyProgram(program)


@lru_cache(maxsize=16)
def properties(device_id):
    """Multiprocessors, bytes of shared memory a block may have, capability."""
    found = cp.cuda.runtime.getDeviceProperties(device_id)
    return (
        found["multiProcessorCount"],
        found["sharedMemPerBlockOptin"],
        10 * found["major"] + found["minor"],
    )
