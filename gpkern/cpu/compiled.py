"""Generated source -> module, kept on disk together with its machine code."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import types
from functools import lru_cache
from pathlib import Path

from . import simd, vecmath


def cache_folder():
    """Where compiled kernels are kept: ``GPKERN_CACHE_DIR`` or the user's cache."""
    chosen = os.environ.get("GPKERN_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "gpkern"


@lru_cache(maxsize=1)
def _fingerprint():
    """Changes when the functions that generated code calls change."""
    files = (vecmath.__file__, simd.__file__)
    return hashlib.sha256(b"".join(Path(f).read_bytes() for f in files)).hexdigest()


def load(source):
    """Module of a generated source; from the disk cache where there is one."""
    name = "k" + hashlib.sha256((_fingerprint() + source).encode()).hexdigest()[:24]
    path = cache_folder() / f"{name}.py"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Write aside and rename: another process may be doing the same.
            with tempfile.NamedTemporaryFile(
                "w", dir=path.parent, suffix=".tmp", delete=False
            ) as f:
                f.write(source)
            os.replace(f.name, path)
        spec = importlib.util.spec_from_file_location(f"_gpkern_{name}", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    except OSError:  # a read-only home: compile in memory, every time
        module = types.ModuleType(f"_gpkern_{name}")
        module.__file__ = None
        exec(compile(source, f"<gpkern {name}>", "exec"), module.__dict__)
    return module
