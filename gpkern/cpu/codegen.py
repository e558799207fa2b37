"""Kernel formula -> Numba loops, compiled once and cached on disk.

For a program and a dtype one small module is generated: the element function, and
the loops that call it. The loops are text because Numba's disk cache needs a source
file, and because the number of leaves and columns is fixed in them, which is what
lets LLVM keep everything in vector registers.
"""

from __future__ import annotations

from . import loops, simd
from .compiled import load

# Bytes of panels that stay in the L2 cache while rows pass by, and their number.
PANEL_BYTES, MOST_PANELS = 256 << 10, 16

_OPS = {
    "add": "{0} + {1}",
    "mul": "{0} * {1}",
    "recip": "T(1.0) / {0}",
    "absolute": "abs({0})",
    "sqrt": "T(np.sqrt({0}))",
    "exp": "exp({0})",
    "log": "log({0})",
    "log1p": "log1p({0})",
    "sin": "sin({0})",
    "cos": "cos({0})",
    "tanh": "tanh({0})",
    "matern": "matern({0}, {1})",
    "log_matern": "log_matern({0}, {1})",
    "angle": "angle({0}, {1})",
    "ratio": "ratio({0}, {1})",
}
_SUFFIX = {"float32": "f32", "float64": "f64"}


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
    options = 'fastmath={"contract", "nsz"}, cache=CACHE, error_model="numpy"'
    head = f"@njit({options}, forceinline=True)"
    body = "\n".join([*lines, f"    return T({_token(program.result)})"])
    return f"{head}\ndef element({', '.join(args)}):\n{body}\n"


def _arguments(program, products):
    """Names of what a block is computed from, as `Recipe` passes it."""
    names = []
    for i in range(len(program.pair_leaves)):
        names += [f"X{i}", f"Z{i}"]
        if i in products:
            names += [f"nx{i}", f"nz{i}"]
    names += [f"R{i}" for i in range(len(program.row_leaves))]
    return ", ".join([*names, "d", "tol", "p"])


def _block(program, products, buffer, index, indent):
    """Source that writes rows ``i:i + ROWS`` of panel q to ``buffer[index]``.

    A squared distance in `products`, or norm of a sum, starts as inner products. One
    that is much smaller than the norms has lost its digits to cancellation: it is
    computed again from the differences.
    """
    first, rows, values, distances = [], [], [], []
    shared = _shared_products(program, products)
    for i, leaf in enumerate(program.pair_leaves):
        to, at = (buffer, index) if i == 0 else (f"B{i}", "0")
        metric = "dot" if i in products else leaf.metric
        place = f"q * d * WIDTH, {to}, ({at}) * (ROWS * WIDTH)"
        rows.append(f"    b{i} = {to}[{at}, r]")
        values.append(f"b{i}[j]")
        if i not in shared:
            first.append(f"{metric}(X{i}, i, d, Z{i}, {place})")
        if i in products:
            text = loops.SUMS if leaf.metric == "unit_sqsum" else loops.DISTANCES
            text = text.replace("#", str(i)).replace("@", str(shared.get(i, i)))
            # Those that read another's products come before it writes over them.
            distances.insert(0 if i in shared else len(distances), text)
    rows += distances
    if not program.pair_leaves:
        rows.append(f"    b0 = {buffer}[{index}, r]")
    for i, leaf in enumerate(program.row_leaves):
        if leaf.is_left:
            rows.append(f"    r{i} = R{i}[i + r]")
            values.append(f"r{i}")
        else:
            rows.append(f"    r{i} = R{i}[q]")
            values.append(f"r{i}[j]")
    values += [f"p{i}" for i in range(len(program.params))]
    lines = [
        *first,
        "for r in range(ROWS):",
        *rows,
        "    for j in range(WIDTH):",
        f"        b0[j] = element({', '.join(values)})",
    ]
    return _indented("\n".join(lines), indent)


def _shared_products(program, products):
    """Leaves whose inner products are those of another leaf, and which one's."""
    units = [i for i in products if program.pair_leaves[i].is_unit]
    return {units[1]: units[0]} if len(units) == 2 else {}


def _indented(text, indent):
    return "\n".join(" " * indent + line for line in text.split("\n"))


def _start(program):
    """Source of the set-up that all loops share."""
    lines = [f"    p{i} = p[{i}]" for i in range(len(program.params))]
    lines += [
        f"    B{i} = np.empty((1, ROWS, WIDTH), T)"
        for i in range(1, len(program.pair_leaves))
    ]
    fit = f"{PANEL_BYTES} // (d * WIDTH * SIZE)"
    lines += [f"    step = max(1, min({MOST_PANELS}, {fit}))"]
    return "\n".join(lines)


def _function(name, program, products, arguments, body, fastmath="True"):
    """Source of a generated function, whose `body` names blocks as ``BLOCK(...)``."""
    head = f'@njit(nogil=True, fastmath={fastmath}, cache=CACHE, error_model="numpy")'
    lines = []
    for line in body.split("\n"):
        text = line.lstrip()
        indent = len(line) - len(text)
        if text.startswith("BLOCK("):
            buffer, index = text[6:-1].split(", ", 1)
            lines.append(_block(program, products, buffer, index, indent))
        elif text.startswith("DIAGONAL("):
            buffer, index = text[9:-1].split(", ", 1)
            entries = loops.DIAGONAL.replace("@", f"{buffer}[{index}]")
            lines.append(_indented(entries, indent))
        elif text.startswith("CLEAR("):
            array, *sizes = text[6:-1].split(", ")
            for k, size in enumerate(sizes):
                lines.append(" " * (indent + 4 * k) + f"for e{k} in range({size}):")
            lines.append(" " * (indent + 12) + f"{array}[e0, e1, e2] = 0")
        elif text == "REDUCE":
            lines.append(_indented(loops.REDUCE, indent))
        else:
            lines.append(line)
    body = "\n".join(lines)
    return f"""
{head}
def {name}({_arguments(program, products)}, {arguments}):
{_start(program)}
{body}
"""


def _apply(program):
    """Source of ``apply``: leaf tiles in, kernel tile out, for sparse rows.

    The first leaf lies in `out` itself. Were it a second argument for the same
    memory, LLVM would see two arrays that overlap, and not vectorise.
    """
    arguments, heads, values = [], [], []
    for i in range(len(program.pair_leaves)):
        if i > 0:
            arguments.append(f"S{i}")
            heads.append(f"        a{i} = S{i}[i]")
        values.append(f"a{i}[j]" if i else "o[j]")
    for i, leaf in enumerate(program.row_leaves):
        arguments.append(f"R{i}")
        if leaf.is_left:
            heads.append(f"        r{i} = R{i}[i]")
        values.append(f"r{i}" if leaf.is_left else f"R{i}[j]")
    values += [f"p{i}" for i in range(len(program.params))]
    params = [f"    p{i} = p[{i}]" for i in range(len(program.params))] or ["    pass"]
    return f"""
@njit(nogil=True, fastmath=True, cache=CACHE, error_model="numpy")
def apply({", ".join([*arguments, "p", "out"])}):
{chr(10).join(params)}
    for i in range(out.shape[0]):
        o = out[i]
{chr(10).join(heads)}
        for j in range(out.shape[1]):
            o[j] = element({", ".join(values)})
"""


def _preamble(dtype):
    suffix, block = _SUFFIX[dtype], simd.BLOCKS[dtype]
    names = ("exp", "log", "log1p", "sin", "cos", "tanh")
    names += ("matern", "log_matern", "angle", "ratio")
    lines = [f"from gpkern.cpu.vecmath import {n}_{suffix} as {n}" for n in names]
    metrics = (*simd.METRICS, "add_product", "add_transposed")
    lines += [f"{n} = blocks.{n}" for n in metrics]
    # As text, so that another processor's sizes are another module.
    lines += [f"{n} = {getattr(block, n)}" for n in ("ROWS", "WIDTH", "LANES")]
    return (
        "import numpy as np\nfrom numba import njit\n"
        f"from gpkern.cpu.simd import {dtype} as blocks\n"
        "from gpkern.cpu.vecmath import exp_f64 as wide_exp\n"
        f"T, SIZE = np.{dtype}, {4 if dtype == 'float32' else 8}\n"
        "CACHE = __file__ is not None\n" + "\n".join(lines) + "\n"
    )


_COMPILED: dict = {}


def _compiled(key, dtype, name, source):
    key = (*key, dtype)
    if key not in _COMPILED:
        module = load(_preamble(dtype) + source())
        _COMPILED[key] = getattr(module, name)
    return _COMPILED[key]


def apply_function(program, dtype):
    """``apply(*leaves, *row_leaves, params, out)``: a tile of the kernel.

    A leaf is its tile, the first of them in `out`, which is overwritten.
    """
    return _compiled(
        ("apply", program.key),
        dtype,
        "apply",
        lambda: _element(program) + _apply(program),
    )


def loop_function(name, program, dtype, products=()):
    """A loop over blocks: "tile", "matmat", "symmetric", "keep" or "logsumexp".

    Parameters
    ----------
    name : str
    program : Program
    dtype : str
    products : tuple of int
        Which leaves are squared distances by way of inner products.
    """
    arguments, body, fastmath = loops.LOOPS[name]
    return _compiled(
        (name, program.key, tuple(products)),
        dtype,
        name,
        lambda: (
            _element(program)
            + _function(name, program, products, arguments, body, fastmath)
        ),
    )


def transposed_function(dtype):
    """``transposed(store, U, height, c, below)``: adds K' U of kept blocks."""
    return _compiled(("transposed",), dtype, "transposed", lambda: loops.TRANSPOSED)
