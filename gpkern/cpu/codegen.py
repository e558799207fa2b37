"""Kernel formula -> Numba loops, compiled once and cached on disk.

For a program and a dtype one small module is generated: the element function, and
the loops that call it. The loops are text because Numba's disk cache needs a source
file, and because the number of leaves and columns is fixed in them, which is what
lets LLVM keep everything in vector registers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import types
from functools import lru_cache
from pathlib import Path

from . import vecmath

# Columns of X up to which the distance is unrolled into the element loop.
UNROLL = 8
# Entries of a row handled at a time: buffers of this length stay in the L1 cache.
SEGMENT = 1024

_OPS = {
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "recip": "T(1.0) / {0}",
    "sqrt": "T(np.sqrt({0}))",
    "exp": "exp({0})",
    "log": "log({0})",
    "sin": "sin({0})",
    "cos": "cos({0})",
    "tanh": "tanh({0})",
    "matern": "matern({0}, {1})",
    "ratio": "ratio({0}, {1})",
}
_SUFFIX = {"float32": "f32", "float64": "f64"}
# sum over columns of one term; `a` and `b` are the two entries.
_TERMS = {
    "sqeuclidean": "({a} - {b}) * ({a} - {b})",
    "l1": "abs({a} - {b})",
    "dot": "{a} * {b}",
    # Both entries zero: the added tiny number turns 0 / 0 into 0.
    "chi2": "({a} - {b}) * ({a} - {b}) / ({a} + {b} + T(1e-30))",
}


def _token(token):
    return token if token[0] in "spt" else f"T({token})"


def _element(program):
    """Source of the scalar function."""
    args = [f"s{i}" for i in range(len(program.pair_leaves + program.row_leaves))]
    args += [f"p{i}" for i in range(len(program.params))]
    lines = [
        f"    {target} = {_OPS[op].format(*map(_token, operands))}"
        for target, op, operands in program.statements
    ]
    head = '@njit(fastmath={"contract", "nsz"}, cache=CACHE, error_model="numpy")'
    body = "\n".join([*lines, f"    return T({_token(program.result)})"])
    return f"{head}\ndef element({', '.join(args)}):\n{body}\n"


def _apply(program, products):
    """Source of ``apply``: leaf tiles in, kernel tile out.

    A squared distance in `products` comes as the tile of inner products, and is
    turned into distances row by row, while the row is in the L1 cache. One that is
    much smaller than the norms has lost its digits to cancellation: it is computed
    again from the differences.
    """
    arguments, heads, values = [], [], []
    for i in range(len(program.pair_leaves)):
        if i == 0:
            # The first leaf lies in `out` itself. Were it a second argument for the
            # same memory, LLVM would see two arrays that overlap, and not vectorise.
            heads.append("        a0 = o")
        else:
            arguments.append(f"S{i}")
            heads.append(f"        a{i} = S{i}[i]")
        values.append(f"a{i}[j]")
        if i in products:
            arguments += [f"x{i}", f"z{i}", f"nx{i}", f"nz{i}", f"tol{i}"]
            heads.append(_DISTANCES.replace("#", str(i)))
    for i, leaf in enumerate(program.row_leaves):
        arguments.append(f"R{i}")
        if leaf.metric == "norm_x":
            heads.append(f"        r{i} = R{i}[i]")
            values.append(f"r{i}")
        else:
            values.append(f"R{i}[j]")
    values += [f"p{i}" for i in range(len(program.params))]
    return f"""
@njit(nogil=True, fastmath=True, cache=CACHE, error_model="numpy")
def apply({", ".join([*arguments, "p", "out"])}):
{_unpack(program)}
    for i in range(out.shape[0]):
        o = out[i]
{chr(10).join(heads)}
        for j in range(out.shape[1]):
            o[j] = element({", ".join(values)})
"""


_DISTANCES = """        n# = nx#[i]
        close# = 0
        for j in range(a#.size):
            s# = n# + nz#[j]
            v# = s# - (a#[j] + a#[j])
            a#[j] = v#
            close# += np.int32(v# < tol# * s#)
        if close# > 0:
            for j in range(a#.size):
                if a#[j] < tol# * (n# + nz#[j]):
                    v# = T(0.0)
                    for k in range(x#.shape[1]):
                        t# = x#[i, k] - z#[j, k]
                        v# += t# * t#
                    a#[j] = v#"""


def _unpack(program):
    lines = [f"    p{i} = p[{i}]" for i in range(len(program.params))]
    return "\n".join(lines) or "    pass"


def _fused(program, d):
    """Source of ``fused_matmat``: K @ V without any tile, for few columns of X."""
    metric = program.pair_leaves[0].metric
    zs = "\n".join(f"        z{k} = ZT[{k}, j0 : j0 + w]" for k in range(d))
    xs = "\n".join(f"            x{k} = X[i, {k}]" for k in range(d))
    term = _TERMS[metric]
    total = " + ".join(term.format(a=f"x{k}", b=f"z{k}[j]") for k in range(d))
    params = "".join(f", p{i}" for i in range(len(program.params)))
    return f"""
@njit(nogil=True, fastmath=True, cache=CACHE, error_model="numpy")
def fused_matmat(X, ZT, VT, p, out):
{_unpack(program)}
    m = ZT.shape[1]
    c = VT.shape[0]
    buffer = np.empty({SEGMENT}, T)
    for j0 in range(0, m, {SEGMENT}):
        w = min({SEGMENT}, m - j0)
{zs}
        v0 = VT[0, j0 : j0 + w]
        b = buffer[:w]
        for i in range(X.shape[0]):
{xs}
            if c == 1:
                acc = T(0.0)
                for j in range(w):
                    acc += element({total}{params}) * v0[j]
                out[i, 0] += acc
            else:
                for j in range(w):
                    b[j] = element({total}{params})
                q = 0
                while q + 4 <= c:
                    va = VT[q, j0 : j0 + w]
                    vb = VT[q + 1, j0 : j0 + w]
                    vc = VT[q + 2, j0 : j0 + w]
                    vd = VT[q + 3, j0 : j0 + w]
                    sa = T(0.0)
                    sb = T(0.0)
                    sc = T(0.0)
                    sd = T(0.0)
                    for j in range(w):
                        k = b[j]
                        sa += k * va[j]
                        sb += k * vb[j]
                        sc += k * vc[j]
                        sd += k * vd[j]
                    out[i, q] += sa
                    out[i, q + 1] += sb
                    out[i, q + 2] += sc
                    out[i, q + 3] += sd
                    q += 4
                while q < c:
                    va = VT[q, j0 : j0 + w]
                    sa = T(0.0)
                    for j in range(w):
                        sa += b[j] * va[j]
                    out[i, q] += sa
                    q += 1
"""


def _tile(metric):
    """Source of ``tile``: one pairwise quantity, summed over columns of X."""
    term = _TERMS[metric]
    four = " + ".join(term.format(a=f"x{k}", b=f"z{k}[j]") for k in range(4))
    one = term.format(a="x0", b="z0[j]")
    return f"""
@njit(nogil=True, fastmath=True, cache=CACHE, error_model="numpy")
def tile(X, ZT, j0, out):
    d = X.shape[1]
    w = out.shape[1]
    for i in range(X.shape[0]):
        o = out[i]
        o[:] = 0
        k = 0
        while k + 4 <= d:  # four columns a pass: fewer loads and stores of o
            x0, x1, x2, x3 = X[i, k], X[i, k + 1], X[i, k + 2], X[i, k + 3]
            z0 = ZT[k, j0 : j0 + w]
            z1 = ZT[k + 1, j0 : j0 + w]
            z2 = ZT[k + 2, j0 : j0 + w]
            z3 = ZT[k + 3, j0 : j0 + w]
            for j in range(w):
                o[j] += {four}
            k += 4
        while k < d:
            x0 = X[i, k]
            z0 = ZT[k, j0 : j0 + w]
            for j in range(w):
                o[j] += {one}
            k += 1
"""


def can_fuse(program, d):
    """Whether K @ V can run as one loop, without tiles."""
    return (
        d <= UNROLL
        and len(program.pair_leaves) == 1
        and not program.row_leaves
        and program.pair_leaves[0].metric in ("sqeuclidean", "l1", "dot")
    )


def _preamble(dtype):
    suffix = _SUFFIX[dtype]
    names = ("exp", "log", "sin", "cos", "tanh", "matern", "ratio")
    imports = "\n".join(
        f"from gpkern.cpu.vecmath import {n}_{suffix} as {n}" for n in names
    )
    return (
        f"import numpy as np\nfrom numba import njit\n{imports}\n"
        f"T = np.{dtype}\nCACHE = __file__ is not None\n"
    )


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
    return hashlib.sha256(Path(vecmath.__file__).read_bytes()).hexdigest()


def _load(source):
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


_COMPILED: dict = {}


def _compiled(key, dtype, name, source):
    key = (*key, dtype)
    if key not in _COMPILED:
        module = _load(_preamble(dtype) + source())
        _COMPILED[key] = getattr(module, name)
    return _COMPILED[key]


def apply_function(program, dtype, products=()):
    """``apply(*leaves, *row_leaves, params, out)``: a tile of the kernel.

    A leaf is its tile, the first of them in `out`, which is overwritten; one in
    `products` holds inner products and has arguments ``x, z, |x|^2, |z|^2, tol``.
    """
    return _compiled(
        (program.key, tuple(products)),
        dtype,
        "apply",
        lambda: _element(program) + _apply(program, products),
    )


def fused_function(program, dtype, d):
    """``fused_matmat(X, ZT, VT, params, out)``: adds K @ V without any tile."""
    return _compiled(
        (program.key, d),
        dtype,
        "fused_matmat",
        lambda: _element(program) + _fused(program, d),
    )


def tile_function(metric, dtype):
    """``tile(X, ZT, j0, out)``: a tile of a metric, from differences.

    ZT is sliced inside, where Numba knows that its rows are contiguous: loops over
    strided views are not vectorised.
    """
    return _compiled((metric,), dtype, "tile", lambda: _tile(metric))
