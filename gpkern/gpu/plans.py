"""Reductions over a kernel matrix in one CUDA kernel, K never in memory.

`direct` takes few columns by differences; `mma` takes inner products on tensor cores of
any card since compute capability 8.0; `wgmma` is the fastest for wide rows on 9.0;
`wide` does by ordinary arithmetic what is no inner product. See ``docs/engine.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..kernels import expr as ex

# Rows of packed samples are padded to a multiple of every block's rows and columns.
PADDING = 256
# Functions too long to stand in a kernel many times over.
HEAVY = ("matern", "log_matern", "sin", "cos")
# Columns up to which quantities of a pair come from differences.
DIRECT_COLUMNS = 8
# Leaves of a formula that ordinary arithmetic takes, and up to how many columns of all
# of its leaves and passes it is faster than tiles by cuBLAS, where those can serve.
MOST_LEAVES, WIDE_WORK = 4, {"float32": 100, "float64": 40}
# Columns that `wide` takes at a time.
WIDE_DEPTH = 16
# Passes for more columns of V than one takes, from which tiles are always better.
WIDE_PASSES = 2
# Columns of X from which wgmma is faster than mma.sync.
WGMMA_COLUMNS = 64
# Columns of X from which K is written and read once rather than computed again for a
# product with its transpose, by the parts of that product.
KEPT_COLUMNS = {1: 768, 2: 256}
# Picoseconds that a pair takes: for itself and for each column of X, by the parts.
PAIR_COST = {1: (0.5, 0.0025), 2: (0.9, 0.0085)}
# The same for a value written and read again, and for each column of a float32 product.
KEPT_COST, PRODUCT_COST = 2.0, 0.04
# Stages of mma's ring: more hide no more, and cost shared memory.
MOST_STAGES = 3
# Rows of one launch: bounds the memory of partial sums.
LAUNCH_ROWS = 1 << 18
# Slopes times squared norms below this lose no digit of a float32 kernel value to the
# rounding of a distance made from inner products.
SAFE_SLOPE = 4.0


@dataclass(frozen=True)
class Plan:
    """Which kernel, and its sizes.

    Attributes
    ----------
    kind : {"direct", "wide", "mma", "wgmma"}
    rows, columns : int
        Of K that a block takes at a time.
    macros : dict
        What the source leaves open.
    threads, shared_bytes, blocks : int
        Threads and shared memory of a block; blocks that a multiprocessor holds.
    parts_per_split : int
        Partial sums of one row that a split of the columns leaves.
    """

    kind: str
    rows: int
    columns: int
    macros: dict = field(hash=False)
    threads: int
    shared_bytes: int
    blocks: int
    parts_per_split: int = 1


@lru_cache(maxsize=1024)
def kind_of(program, d, capability, dtype="float32", precision="high", outputs=1):
    """The kernel for a formula on d columns, or None: tiles must do.

    Parameters
    ----------
    program : Program
    d : int
    capability : int
        Of the GPU, such as 90.
    dtype : {"float32", "float64"}
    precision : {"high", "highest", "medium"}
    outputs : int
        Columns of V.
    """
    heavy = any(op in HEAVY for _, op, _ in program.statements)
    if capability < 80 or not program.pair_leaves or heavy:
        return None
    leaf, leaves = program.pair_leaves[0], len(program.pair_leaves)
    if d * leaves + len(program.row_leaves) <= DIRECT_COLUMNS:
        return "direct"
    products = all(
        v.metric in ("sqeuclidean", "dot") or v.is_unit for v in program.pair_leaves
    )
    # Both quantities of unit rows come from one inner product.
    one = leaves == 1 or all(v.is_unit for v in program.pair_leaves)
    uncentred = leaf.metric == "dot" or leaf.is_unit
    norms = all(
        v.metric == "given_x" or (uncentred and v.scale == leaf.scale)
        for v in program.row_leaves
    )
    single = dtype == "float32" and precision != "highest" and not program.is_mixed
    if single and one and products and norms:
        return "wgmma" if capability == 90 and d >= WGMMA_COLUMNS else "mma"
    passes = -(-outputs // most_outputs("wide", 0))
    work = passes * leaves * d
    if leaves > MOST_LEAVES or (products and work > WIDE_WORK[dtype]):
        return None
    return "wide" if passes <= WIDE_PASSES else None


def depth_of(kind, d):
    """Columns of a slab of packed rows."""
    narrow = -(-d // 16) * 16 < -(-d // 32) * 32 and d < 128
    return 16 if kind == "mma" and narrow else 32


@lru_cache(maxsize=256)
def plan(kind, d, outputs, parts, logsumexp, exact, shared_limit):
    """Sizes for a kernel of inner products on tensor cores.

    Parameters
    ----------
    kind : {"mma", "wgmma"}
    d : int
        Columns of the rows.
    outputs : int
        Columns of V.
    parts : {1, 2}
        Half-precision numbers that make an entry.
    logsumexp : bool
    exact : bool
        Whether distances far below the norms are computed again.
    shared_limit : int
        Bytes of shared memory that a block may have.
    """
    groups = 0 if outputs == 1 or logsumexp else -(-outputs // 8)
    macros = {"PARTS": parts, "CG": groups, "LOGSUMEXP": int(logsumexp)}
    macros["EXACT"] = int(exact)
    width = max(1, groups * 8)
    depth = depth_of(kind, d)
    if kind == "wgmma":
        columns = 256
        tile = 4 * (width * (columns + 8) + columns)
        stage = (128 + columns) * depth * 2 * parts
        stages = int(min(8, (shared_limit - 2048 - 2 * tile) // stage))
        macros |= {"BN": columns, "KS": depth, "STAGES": stages}
        shared = stages * stage + 2 * tile + 1024
        return Plan(kind, 128, columns, macros, 384, shared, 1)
    slabs = -(-d // depth)
    if groups <= 2 and not exact:
        rows, columns, wm, wn, blocks = 128, 128, 64, 64, 2
    elif groups <= 2:  # the second look at pairs needs registers
        rows, columns, wm, wn, blocks = 128, 128, 32, 64, 2
    else:
        rows, columns, wm, wn, blocks = 128, 64, 32, 32, 1
    tile = 4 * (width * (columns + 8) + columns)
    x_bytes, z_bytes = rows * depth * 2 * parts, columns * depth * 2 * parts
    room = (shared_limit + 1024) // blocks - 1024
    stays = slabs * x_bytes + 3 * z_bytes + 3 * tile <= room
    stage = z_bytes + (0 if stays else x_bytes)
    fixed = 3 * tile + (slabs * x_bytes if stays else 0)
    stages = min(MOST_STAGES, (room - fixed) // stage)
    if stages < 2:
        blocks, room = 1, shared_limit
        stages = min(MOST_STAGES, (room - fixed) // stage)
    macros |= {"BM": rows, "BN": columns, "WM": wm, "WN": wn, "KS": depth}
    macros |= {"STAGES": int(stages), "XSTAYS": int(stays), "BLOCKS": blocks}
    threads = (rows // wm) * (columns // wn) * 32
    shared = int(stages * stage + fixed)
    return Plan(kind, rows, columns, macros, threads, shared, blocks, columns // wn)


@lru_cache(maxsize=256)
def plan_direct(dim, outputs, logsumexp, dtype="float32"):
    """Sizes for few columns: `dim` is all that PAIR reads of a row."""
    c = _outputs(outputs, logsumexp)
    if dtype == "float64":
        tm, tn, blocks = 4, 8 if c < 8 else 4, 1
    elif dim <= 4:
        tm, tn = (8, 32) if c == 1 else (8, 16) if c == 4 else (4, 16)
        blocks = 3 if dim * c <= 4 else 2 if dim * c <= 16 else 1
    else:
        tm, tn = (4, 16) if c < 8 else (4, 8)
        blocks = 2 if dim * c <= 16 else 1
    macros = {"TM": tm, "TN": tn, "C": c, "BLOCKS": blocks, "LOGSUMEXP": int(logsumexp)}
    return Plan("direct", 16 * tm, 16 * tn, macros, 256, 0, blocks)


@lru_cache(maxsize=256)
def plan_wide(leaves, outputs, logsumexp, dtype="float32"):
    """Sizes for a formula of so many leaves by ordinary arithmetic."""
    c = _outputs(outputs, logsumexp)
    if dtype == "float64":
        tm, tn = (4, 4) if leaves == 1 else (4, 2)
    else:
        tm, tn = (8, 8) if leaves == 1 else (8, 4) if leaves == 2 else (4, 4)
    macros = {"TM": tm, "TN": tn, "C": c, "BLOCKS": 1, "LOGSUMEXP": int(logsumexp)}
    macros["KS"] = WIDE_DEPTH
    return Plan("wide", 16 * tm, 16 * tn, macros, 256, 0, 1)


def _outputs(outputs, logsumexp):
    """Columns of V that a kernel is compiled for."""
    return 1 if logsumexp or outputs == 1 else 4 if outputs <= 4 else 8


def slope(program):
    """|d k / d s| where two rows meet, s their squared distance, k scaled to 1 there.

    Of a logarithm, whose errors are absolute, as it is.
    """
    if program.is_rough:
        return math.inf
    leaf = next(v for v in program.pair_leaves if v.metric == "sqeuclidean")
    at = {v: np.float64(0.0) for v in ex.leaves(program.expr)}
    with np.errstate(all="ignore"):
        value = abs(float(ex.evaluate(program.expr, at)))
        change = ex.evaluate(ex.diff(program.expr, ex.Expr("leaf", (), leaf)), at)
    out = abs(float(change)) / (min(value, 1.0) or 1.0)
    return out if math.isfinite(out) else math.inf


def most_outputs(kind, shared_limit):
    """Columns of V that one pass takes."""
    if kind in ("direct", "wide"):
        return 8
    return 64 if kind == "mma" and shared_limit > 160_000 else 32


def product_pays(d, outputs, parts, most):
    """Whether K is better kept for a matrix product than computed in every pass.

    Parameters
    ----------
    d, outputs : int
        Columns of X and of V.
    parts : {1, 2}
    most : int
        Columns of V that one pass takes.
    """
    passes = -(-outputs // most) - 1
    fixed, each = PAIR_COST[parts]
    return passes * (fixed + each * d) > KEPT_COST + PRODUCT_COST * outputs


@lru_cache(maxsize=1024)
def splits(row_blocks, tiles, blocks, processors):
    """Into how many parts to cut the columns, so that all multiprocessors work.

    Parameters
    ----------
    row_blocks, tiles : int
        Blocks of rows, and tiles of columns that each walks over.
    blocks : int
        That a multiprocessor holds.
    processors : int

    Returns
    -------
    count, tiles_per_split : int
    """
    slots = processors * blocks
    filling = [k * slots // row_blocks for k in (1, 2, 4)]
    candidates = sorted({*range(1, 33), *filling})
    best, best_time = 1, math.inf
    for count in (c for c in candidates if 1 <= c <= tiles):
        each = -(-tiles // count)
        # Waves of blocks, each as long as its tiles and some two more to start.
        time = -(-row_blocks * count // slots) * (each + 2)
        if time < 0.98 * best_time:
            best, best_time = count, time
    each = -(-tiles // best)
    return -(-tiles // each), each
