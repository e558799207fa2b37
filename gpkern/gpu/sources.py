"""CUDA sources, completed: headers in place, those made from a formula too."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources

from . import fast

_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"$', re.MULTILINE)
_REDUCTIONS: dict = {}


@lru_cache(maxsize=32)
def read(name):
    """Text of a source of this package."""
    return resources.files(__package__).joinpath("cuda", name).read_text()


def complete(name, generated=None):
    """A source with its headers in place: those of the package, and `generated`.

    Parameters
    ----------
    name : str
        File in ``gpkern/gpu/cuda``.
    generated : dict of str, default=None
        Texts of headers that are not files.
    """
    if generated is None:
        return _complete_file(name)

    def header(match):
        inner = match[1]
        return expand(generated[inner] if inner in generated else read(inner))

    def expand(text):
        return _INCLUDE.sub(header, text.replace("#pragma once\n", ""))

    return expand(read(name))


@lru_cache(maxsize=32)
def _complete_file(name):
    return complete(name, {})


def reduction(kind, program, form, d, columns, dtype="float32"):
    """Completed text of a kernel; one text for all programs of the same code.

    Parameters
    ----------
    kind : {"direct", "wide", "mma", "wgmma"}
    program : Program
    form : fast.Lowered
        Of the program.
    d, columns : int
        Columns of the rows, and of a tile.
    dtype : {"float32", "float64"}
    """
    size = {"direct": d, "wgmma": columns}.get(kind)
    key = (kind, program.key, form.sign, size, dtype)
    if key not in _REDUCTIONS:
        math = read("math.cuh")
        if kind == "direct":
            header = fast.direct_header(program, form, d, math, dtype)
        elif kind == "wide":
            header = fast.wide_header(program, form, math, dtype)
        else:
            header = fast.product_header(program, form, math)
        text = complete(f"{kind}.cu", {"element.cuh": header})
        _REDUCTIONS[key] = fast.wgmma(columns) + text if kind == "wgmma" else text
    return _REDUCTIONS[key]
