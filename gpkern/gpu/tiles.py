"""Tiles of a kernel matrix: one matrix product, or none, and one generated kernel."""

from __future__ import annotations

import threading
from functools import lru_cache, partial, wraps

import cupy as cp
import numpy as np

from ..cpu.points import View, check_signs
from . import codegen
from .points import Points

# Up to this many columns a distance is computed from differences.
DIRECT_COLUMNS = 24
THREADS, LEAST_TILE_ROWS = 256, 64
# Columns of V that `tile_product` takes, and columns of K that a warp walks over.
PRODUCT_OUTPUTS, PRODUCT_SPAN = 16, 2048
# Index of the column of a row's diagonal where there is none.
NO_DIAGONAL = -(1 << 40)
# Share of the budget that the blocks of `group_products` may take.
GROUP_SHARE = 8


@lru_cache(maxsize=256)
def _compiled(source, name="kernel_tile"):
    return cp.RawModule(code=source, options=("-std=c++17",)).get_function(name)


_inside = threading.local()


def on_device(method):
    """Run a method on the matrix's GPU; out of memory means smaller tiles.

    The outermost call begins again: what it calls would repeat the same tile.
    """

    @wraps(method)
    def run(self, *args, **kwargs):
        with cp.cuda.Device(self.device_id):
            if getattr(_inside, "active", False):
                return method(self, *args, **kwargs)
            _inside.active = True
            try:
                return _with_less(self, method, args, kwargs)
            finally:
                _inside.active = False

    return run


def _with_less(matrix, method, args, kwargs):
    """Call a method with tiles of half the height until the memory is enough."""
    while True:
        try:
            return method(matrix, *args, **kwargs)
        except cp.cuda.memory.OutOfMemoryError as error:
            cp.get_default_memory_pool().free_all_blocks()
            if matrix.tile_rows <= LEAST_TILE_ROWS:
                raise MemoryError(
                    f"{error}; tiles are as small as they get: free GPU memory that "
                    "others hold, pass a smaller memory_budget, or fewer columns of V"
                ) from error
            matrix.tile_rows //= 2


class Tiles:
    """Dense parts of a matrix, which has ``X``, ``Z``, ``program`` and ``opaque``."""

    @on_device
    def tile(self, i0, i1, j0, j1, out=None, program=None):
        """Entries ``[i0:i1, j0:j1]``, the diagonal of a symmetric matrix exact."""
        if self.opaque is not None:
            x, z = self._opaque_rows(self.X, i0, i1), self._opaque_rows(self.Z, j0, j1)
            block = self.opaque.block(x, z)
            block = cp.asarray(block, dtype=self.dtype)
            if program is not None:
                block = cp.log(block)
        else:
            block = cp.empty((i1 - i0, j1 - j0), self.dtype) if out is None else out
            width = j1 - j0 if self.Z.keep else self.Z.chunk(max(1, j1 - j0))
            if width >= j1 - j0:
                self._fill(block, i0, i1, j0, j1, program or self.program)
            else:  # of columns that stay in main memory, some at a time
                for a in range(j0, j1, width):
                    b = min(a + width, j1)
                    part = cp.empty((i1 - i0, b - a), self.dtype)
                    self._fill(part, i0, i1, a, b, program or self.program)
                    block[:, a - j0 : b - j0] = part
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            at = cp.arange(hi - lo)
            block[at + (lo - i0), at + (lo - j0)] = self._diagonal(lo, hi, program)
        return block

    @on_device
    def group_blocks(self, rows):
        """K of the rows in each group with themselves; see `Reductions.group_blocks`.

        Parameters
        ----------
        rows : array of int, shape (groups, a)

        Returns
        -------
        array of shape (groups, a, a)
        """
        groups, a = rows.shape
        part = self._gathered(rows, None)
        out = cp.empty((groups * a, a), self.dtype)
        part._fill(out, 0, groups * a, 0, groups * a, self.program, groups)
        out, at = out.reshape(groups, a, a), cp.arange(a)
        out[:, at, at] = part._diagonal(0, groups * a).reshape(groups, a)
        return out

    @on_device
    def group_products(self, rows, columns, V):
        """K of rows and columns of each group, times a vector of its own.

        Parameters
        ----------
        rows, columns : array of int, shape (groups, a), (groups, b)
        V : array of shape (groups, b)

        Returns
        -------
        array of shape (groups, a)
        """
        groups, a = rows.shape
        b, Z = columns.shape[1], self._some(columns)
        out = cp.empty((groups, a), self.dtype)
        room = self.budget // (GROUP_SHARE * groups * b * self.dtype.itemsize)
        height = int(min(a, max(1, room)))
        for start in range(0, a, height):
            some = rows[:, start : start + height]
            part = self._gathered(some, Z)
            block = cp.empty((some.size, b), self.dtype)
            part._fill(block, 0, some.size, 0, columns.size, self.program, groups)
            block = block.reshape(groups, -1, b)
            out[:, start : start + height] = (block @ V[:, :, None])[:, :, 0]
        return out

    def _gathered(self, rows, Z):
        """The matrix of some rows of X and of Z, or of themselves."""
        out = self._copy()
        out.X = self._some(rows)
        out.Z = out.X if Z is None else Z
        out.shape = (out.X.shape[0], out.Z.shape[0])
        return out

    def _some(self, rows):
        """Rows of X as `Points` of their own."""
        source = self.X.some(cp.asarray(rows).ravel())
        return Points(source, self.dtype, self.Z.centre, self.budget)

    def _fill(self, out, i0, i1, j0, j1, program, groups=1):
        """Entries of a tile; in groups, rows have columns of their own."""
        rows, columns = out.shape
        if not out.size:
            return
        # The first product may live in `out` itself.
        span = i0, i1, j0, j1
        kinds, arguments = self.pair_quantities(program, *span, out, groups)
        source = codegen.tile_source(
            program, self.dtype.name, kinds, grouped=groups > 1
        )
        params = cp.asarray(program.params.astype(self.dtype))
        arguments = (*arguments, params, out)
        if groups > 1:
            arguments += (np.int32(rows // groups),)
        self._evaluate(source, rows, columns, arguments)

    def tile_product(self, i0, i1, j0, j1, V, out):
        """Entries ``[i0:i1, j0:j1]`` times V, float64; they are written nowhere.

        Parameters
        ----------
        V : array of shape (c, m), c at most `PRODUCT_OUTPUTS`
            Transposed.
        out : array
            At least as long as the tile has entries: where inner products go.
        """
        rows, columns, c = i1 - i0, j1 - j0, V.shape[0]
        product = out[: rows * columns].reshape(rows, columns)
        kinds, arguments = self.pair_quantities(self.program, i0, i1, j0, j1, product)
        source = codegen.product_source(self.program, self.dtype.name, kinds, c)
        params = cp.asarray(self.program.params.astype(self.dtype))
        spans = -(-columns // PRODUCT_SPAN)
        sums = cp.empty((spans, rows, c))
        arguments += (params, V[:, j0:], np.int64(V.shape[1]), sums)
        arguments += tuple(map(np.int32, (PRODUCT_SPAN, rows, columns)))
        warps = -(-rows // codegen.PRODUCT_ROWS)
        function = _compiled(source, "kernel_product")
        function((-(-warps * 32 // THREADS), spans), (THREADS,), arguments)
        return sums.sum(axis=0) if spans > 1 else sums[0]

    def tile_sums(self, programs, i0, i1, j0, j1, out):
        """Row sums of a tile for programs of one `key` and `leaf_key`, float64.

        Without the diagonal of a symmetric matrix.

        Parameters
        ----------
        out : array
            At least as long as the tile has entries: where inner products go.

        Returns
        -------
        array of shape (len(programs), i1 - i0)
        """
        rows, columns, count = i1 - i0, j1 - j0, len(programs)
        product = out[: rows * columns].reshape(rows, columns)
        kinds, arguments = self.pair_quantities(programs[0], i0, i1, j0, j1, product)
        source = codegen.row_sums_source(programs[0], self.dtype.name, kinds, count)
        params = np.concatenate([p.params for p in programs]).astype(self.dtype)
        spans = -(-columns // PRODUCT_SPAN)
        sums = cp.empty((spans, count, rows))
        diagonal = i0 - j0 if self.symmetric else NO_DIAGONAL
        arguments += (cp.asarray(params), sums, np.int64(diagonal))
        arguments += tuple(map(np.int32, (PRODUCT_SPAN, rows, columns)))
        function = _compiled(source, "kernel_sums")
        function((-(-rows * 32 // THREADS), spans), (THREADS,), arguments)
        return sums.sum(axis=0)

    def evaluate(self, program, kinds, arguments, out):
        """Kernel values of a tile, from its `pair_quantities`, which stay.

        Parameters
        ----------
        program : Program
        kinds, arguments
            From `pair_quantities`.
        out : array of shape (rows, columns), of the matrix's dtype
        """
        source = codegen.tile_source(program, self.dtype.name, kinds)
        params = cp.asarray(program.params.astype(self.dtype))
        self._evaluate(source, *out.shape, (*arguments, params, out))

    def evaluate_halves(self, program, kinds, arguments, columns, scale, parts):
        """Kernel values of a tile times `scale`, in half-precision parts.

        Parameters
        ----------
        program : Program
        kinds, arguments
            From `pair_quantities`.
        columns : int
        scale : float
        parts : list of array of shape (rows, at least columns), float16
            One or two.
        """
        source = codegen.tile_source(program, self.dtype.name, kinds, halves=True)
        params = cp.asarray(program.params.astype(self.dtype))
        low = parts[1] if len(parts) == 2 else np.uintp(0)
        rows, stride = parts[0].shape
        more = (params, np.float32(scale), parts[0], low, np.int64(stride))
        self._evaluate(source, rows, columns, (*arguments, *more))

    def _evaluate(self, source, rows, columns, arguments):
        grid = (-(-columns // THREADS), min(rows, 65535))
        arguments += (np.int32(rows), np.int32(columns))
        _compiled(source)(grid, (THREADS,), arguments)

    def pair_quantities(self, program, i0, i1, j0, j1, out=None, groups=1, kinds=None):
        """What a tile's kernel values are made from: how, and the kernel's arguments.

        Programs of one `leaf_key` share them.

        Returns
        -------
        kinds : tuple of {"product", "direct"}
        arguments : tuple
        """
        shape, free = (i1 - i0, (j1 - j0) // groups), [] if out is None else [out]
        kinds = kinds or tuple(self._kind(v) for v in program.pair_leaves)
        arguments = []
        for leaf, kind in zip(program.pair_leaves, kinds, strict=True):
            x, nx = self.X.take(View.of(leaf), i0, i1)
            if kind == "direct":
                z, _ = self.Z.take(View.of(leaf, columns=True), j0, j1)
                check_signs(leaf, x)
                check_signs(leaf, z)
                stride = z.strides[0] // z.itemsize
                arguments += [x, z, np.int32(x.shape[1]), np.int64(stride)]
                continue
            z, nz = self.Z.take(View.of(leaf), j0, j1)
            product = free.pop() if free else cp.empty(shape, self.dtype)
            d = x.shape[1]
            if groups == 1:  # not as one of a batch, which is slower
                cp.matmul(x, z.T, out=product)
            else:
                cp.matmul(
                    x.reshape(groups, -1, d),
                    z.reshape(groups, -1, d).transpose(0, 2, 1),
                    out=product.reshape(groups, -1, shape[1]),
                )
            arguments.append(product)
            if leaf.metric != "dot":
                arguments += [x, z, nx, nz, np.int32(d)]
        for leaf in program.row_leaves:
            if leaf.metric == "given_x":
                arguments.append(self.given[i0:i1])
                continue
            side, span = (self.X, (i0, i1)) if leaf.is_left else (self.Z, (j0, j1))
            arguments.append(side.take(View.of(leaf), *span)[1])
        return kinds, tuple(arguments)

    def _opaque_rows(self, points, start, stop):
        """Rows for a kernel that is the user's own code."""
        rows = points.raw(start, stop)
        return rows.get() if self.opaque.on_host else rows

    def _kind(self, leaf):
        """Whether a leaf comes from a matrix product or from differences."""
        width = self.X.shape[1] // (1 if leaf.mix is None else 2)
        distance = leaf.metric == "sqeuclidean" or leaf.is_unit
        by_product = leaf.metric == "dot" or (distance and width > DIRECT_COLUMNS)
        return "product" if by_product else "direct"

    @property
    def _by_product(self):
        leaves = self.program.pair_leaves if self.program else ()
        return any(self._kind(v) == "product" for v in leaves)

    def _norms(self, leaf, lo, hi):
        view, step = View.of(leaf, centred=False), self.X.chunk(max(1, hi - lo))
        if self.X.keep or step >= hi - lo:
            return self.X.take(view, lo, hi)[1]
        cuts = [(a, min(a + step, hi)) for a in range(lo, hi, step)]
        return cp.concatenate([self.X.take(view, a, b)[1] for a, b in cuts])

    def _diagonal(self, lo, hi, program=None):
        if self.opaque is not None:
            rows = self._opaque_rows(self.X, lo, hi)
            values = cp.asarray(self.opaque.diagonal(rows))
            return values if program is None else cp.log(values)
        program = program or self.program
        if not self.X.keep:
            return self._diagonal_values(program, lo, hi)
        # Tile after tile asks for its part: the whole is computed once.
        whole = partial(self._diagonal_values, program, 0, self.X.shape[0])
        if self.given is None:
            return self.X.kept_once(("diagonal", program), whole)[lo:hi]
        formula, given, values = self.__dict__.get("_last_diagonal", [None] * 3)
        if formula is not program or given is not self.given:
            values = whole()
            self._last_diagonal = program, self.given, values
        return values[lo:hi]

    def _diagonal_values(self, program, lo, hi):
        given = 0.0 if self.given is None else self.given[lo:hi].astype(np.float64)
        norms = partial(self._norms, lo=lo, hi=hi)
        return cp.asarray(program.diagonal(hi - lo, norms, given))
