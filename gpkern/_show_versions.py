"""`show_versions`: the facts that a report of a problem needs."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from importlib import metadata


def show_versions():
    """Print the versions and devices that gpkern works with.

    Python and platform, gpkern's dependencies, CPU threads and BLAS libraries, the
    folder of compiled kernels, and the GPU: which GPU packages are installed, which
    devices they find, and what to install where there are none.

    Examples
    --------
    >>> from gpkern import show_versions
    >>> show_versions()  # doctest: +SKIP
    """
    sections = {
        "System": _system,
        "Dependencies": _dependencies,
        "CPU": _cpu,
        "BLAS and OpenMP": _thread_pools,
        "GPU": _gpu,
    }
    for title, describe in sections.items():
        print(f"{title}:")
        for line in _lines(describe):
            print(f"  {line}")
        print()


def _lines(describe):
    """Lines of a section; a broken installation must not hide the other sections."""
    try:
        return describe()
    except Exception as error:
        return [f"failed: {type(error).__name__}: {error}"]


def _system():
    return [
        f"python: {' '.join(sys.version.split())}",
        f"executable: {sys.executable}",
        f"platform: {platform.platform()}",
    ]


def _dependencies():
    """gpkern and what it requires, then the optional packages that are installed."""
    from . import __version__

    lines = [f"gpkern: {__version__}"]
    try:
        requirements = metadata.requires("gpkern") or []
    except metadata.PackageNotFoundError:
        return [*lines, "gpkern is not installed, so its dependencies are unknown"]
    required, optional = _split(requirements)
    lines += [f"{name}: {_version(name) or 'not installed'}" for name in required]
    versions = {name: _version(name) for name in optional}
    return lines + [f"{name}: {v} (optional)" for name, v in versions.items() if v]


def _split(requirements):
    """Names required always, and names of the extras but those of the GPU."""
    required, optional = [], []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement).group()
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", requirement)
        if extra is None:
            required.append(name)
        elif not extra.group(1).startswith("gpu"):
            optional.append(name)
    return required, sorted(set(optional) - set(required))


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu():
    import joblib
    import numba

    from .cpu import compiled, parallel

    return [
        f"cores: {os.cpu_count()}, of which this process may use {joblib.cpu_count()}",
        f"gpkern threads: {parallel.n_threads()}",
        f"Numba threads: {numba.config.NUMBA_NUM_THREADS}, "
        f"threading layer: {numba.config.THREADING_LAYER}",
        f"compiled kernels: {compiled.cache_folder()}",
    ]


def _thread_pools():
    import scipy.linalg  # noqa: F401  (so that its BLAS is loaded and found too)
    from threadpoolctl import threadpool_info

    return [
        f"{pool['user_api']}: {pool['internal_api']} {pool['version'] or ''}, "
        f"{pool['num_threads']} threads, {pool['filepath']}"
        for pool in threadpool_info()
    ]


def _gpu():
    # Imported here alone: CuPy must not be loaded before a GPU is asked for.
    runtime = importlib.import_module("gpkern.gpu.runtime")
    return runtime.describe()
