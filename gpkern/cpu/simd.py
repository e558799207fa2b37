"""The inner loops of the CPU engine: small blocks of K held in vector registers.

A block is `ROWS` rows of X against one panel of Z, `WIDTH` samples wide. LLVM does not
find this register blocking in plain loops, so the loops are built from vector types
here; everything around them is ordinary Numba. Block sizes follow the registers of
the processor: one block of accumulators, a row of the panel, and one entry of X.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INDEX = ir.IntType(64)


@lru_cache(maxsize=1)
def _register_file():
    """Bytes of a vector register, and how many vectors wide a panel is."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:  # unknown on this platform
        features = {}
    if features.get("avx512f"):
        return 64, 4
    if features.get("avx"):
        return 32, 2
    # NEON has 32 registers of 16 bytes, SSE has 16.
    return 16, 4 if features.get("neon") else 2


class _Emit:
    """Vector instructions of one dtype."""

    def __init__(self, builder, dtype, lanes):
        self.b, self.lanes = builder, lanes
        self.scalar = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.vector = ir.VectorType(self.scalar, lanes)
        self.suffix = f"v{lanes}f{32 if dtype == 'float32' else 64}"
        self.align = 4 if dtype == "float32" else 8

    def call(self, name, *args):
        kind = ir.FunctionType(self.vector, [self.vector] * len(args))
        name = f"llvm.{name}.{self.suffix}"
        function = cgutils.get_or_insert_function(self.b.module, kind, name)
        return self.b.call(function, args, fastmath=("contract",))

    def splat(self, value):
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.b.shuffle_vector(one, undefined, mask)

    def constant(self, value):
        return ir.Constant(self.vector, [value] * self.lanes)

    def load(self, base, offset):
        at = self.b.bitcast(self.b.gep(base, [offset]), self.vector.as_pointer())
        out = self.b.load(at)
        out.align = self.align
        return out

    def store(self, value, base, offset):
        at = self.b.bitcast(self.b.gep(base, [offset]), self.vector.as_pointer())
        self.b.store(value, at).align = self.align

    def entry(self, base, offset):
        """One number, in every lane."""
        return self.splat(self.b.load(self.b.gep(base, [offset])))


def _index(value):
    return ir.Constant(_INDEX, value)


def _data(context, builder, kind, value):
    return context.make_array(kind)(context, builder, value).data


# What one column of X adds to a block, from the entries x and z of the two rows.
_TERMS = {
    "dot": lambda e, x, z, acc: e.call("fmuladd", x, z, acc),
    "sqeuclidean": lambda e, x, z, acc: _squared(e, e.b.fsub(x, z), acc),
    "unit_sqdist": lambda e, x, z, acc: _squared(e, e.b.fsub(x, z), acc),
    "unit_sqsum": lambda e, x, z, acc: _squared(e, e.b.fadd(x, z), acc),
    "l1": lambda e, x, z, acc: e.b.fadd(acc, e.call("fabs", e.b.fsub(x, z))),
    "chi2": lambda e, x, z, acc: _chi2(e, x, z, acc),
}
METRICS = tuple(_TERMS)


def _squared(e, term, acc):
    return e.call("fmuladd", term, term, acc)


def _chi2(e, x, z, acc):
    difference = e.b.fsub(x, z)
    # Both entries zero: the added tiny number turns 0 / 0 into 0.
    total = e.b.fadd(e.b.fadd(x, z), e.constant(1e-30))
    return e.call("fmuladd", e.b.fdiv(difference, total), difference, acc)


def _pairwise(metric, dtype, rows, vectors, lanes):
    """``f(X, i, d, ZP, z, B, at)``: a metric of rows ``i:i + rows`` with a panel.

    X has d numbers a row, ZP a panel at z, and B takes the block at `at`.
    """
    term, width = _TERMS[metric], vectors * lanes

    @intrinsic
    def pairwise(typing_context, X, i, d, ZP, z, B, at):
        def emit(context, b, signature, args):
            e = _Emit(b, dtype, lanes)
            x, z, out = (
                _data(context, b, signature.args[k], args[k]) for k in (0, 3, 5)
            )
            i, d, z, out = args[1], args[2], b.gep(z, [args[4]]), b.gep(out, [args[6]])
            each = [(r, v) for r in range(rows) for v in range(vectors)]
            starts = [b.gep(x, [b.mul(b.add(i, _index(r)), d)]) for r in range(rows)]
            before = b.block
            loop = b.append_basic_block("columns")
            done = b.append_basic_block("columns.done")
            b.branch(loop)
            b.position_at_end(loop)
            k = b.phi(_INDEX)
            k.add_incoming(_index(0), before)
            acc = {}
            for place in each:
                acc[place] = b.phi(e.vector)
                acc[place].add_incoming(e.constant(0.0), before)
            offset = b.mul(k, _index(width))
            panel = [
                e.load(z, b.add(offset, _index(v * lanes))) for v in range(vectors)
            ]
            new = {}
            for r in range(rows):
                entry = e.entry(starts[r], k)
                for v in range(vectors):
                    new[r, v] = term(e, entry, panel[v], acc[r, v])
            following = b.add(k, _index(1))
            k.add_incoming(following, loop)
            for place in each:
                acc[place].add_incoming(new[place], loop)
            b.cbranch(b.icmp_signed("<", following, d), loop, done)
            b.position_at_end(done)
            for r, v in each:
                e.store(new[r, v], out, _index(r * width + v * lanes))
            return context.get_dummy_value()

        intp = types.intp
        return types.void(X, intp, intp, ZP, intp, B, intp), emit

    return pairwise


def _add_product(dtype, rows, vectors, lanes):
    """``f(B, at, VP, v, c, A)``: ``A[q, r] += B[r] * VP[q]``, summed over vectors.

    A holds a vector of partial sums for each of c outputs and each row.
    """
    width = vectors * lanes

    @intrinsic
    def add_product(typing_context, B, at, VP, v, c, A):
        def emit(context, b, signature, args):
            e = _Emit(b, dtype, lanes)
            block, values, total = (
                _data(context, b, signature.args[k], args[k]) for k in (0, 2, 5)
            )
            block, values = b.gep(block, [args[1]]), b.gep(values, [args[3]])
            with cgutils.for_range(b, args[4]) as loop:
                start = b.mul(loop.index, _index(rows * lanes))
                column = b.mul(loop.index, _index(width))
                places = [b.add(start, _index(r * lanes)) for r in range(rows)]
                acc = [e.load(total, place) for place in places]
                for v in range(vectors):
                    value = e.load(values, b.add(column, _index(v * lanes)))
                    for r in range(rows):
                        entry = e.load(block, _index(r * width + v * lanes))
                        acc[r] = e.call("fmuladd", entry, value, acc[r])
                for r in range(rows):
                    e.store(acc[r], total, places[r])
            return context.get_dummy_value()

        intp = types.intp
        return types.void(B, intp, VP, intp, intp, A), emit

    return add_product


def _add_transposed(dtype, rows, vectors, lanes):
    """``f(B, at, U, u, c, T, t)``: ``T[q] += sum_r B[r] * U[r, q]``.

    U has its rows at u, c numbers each, and T c panels at t.
    """
    width = vectors * lanes

    @intrinsic
    def add_transposed(typing_context, B, at, U, u, c, T, t):
        def emit(context, b, signature, args):
            e = _Emit(b, dtype, lanes)
            block, factors, total = (
                _data(context, b, signature.args[k], args[k]) for k in (0, 2, 5)
            )
            block, factors = b.gep(block, [args[1]]), b.gep(factors, [args[3]])
            c, total = args[4], b.gep(total, [args[6]])
            with cgutils.for_range(b, c) as loop:
                start = b.mul(loop.index, _index(width))
                places = [b.add(start, _index(v * lanes)) for v in range(vectors)]
                acc = [e.load(total, place) for place in places]
                for r in range(rows):
                    at = b.add(b.mul(c, _index(r)), loop.index)
                    factor = e.entry(factors, at)
                    for v in range(vectors):
                        entry = e.load(block, _index(r * width + v * lanes))
                        acc[v] = e.call("fmuladd", entry, factor, acc[v])
                for v in range(vectors):
                    e.store(acc[v], total, places[v])
            return context.get_dummy_value()

        intp = types.intp
        return types.void(B, intp, U, intp, intp, T, intp), emit

    return add_transposed


def _of(dtype):
    size, vectors = _register_file()
    lanes = size // (4 if dtype == "float32" else 8)
    shape = (dtype, 6, vectors, lanes)
    return SimpleNamespace(
        ROWS=6,
        WIDTH=vectors * lanes,
        LANES=lanes,
        **{metric: _pairwise(metric, *shape) for metric in METRICS},
        add_product=_add_product(*shape),
        add_transposed=_add_transposed(*shape),
    )


float32, float64 = _of("float32"), _of("float64")
BLOCKS = {"float32": float32, "float64": float64}
