"""A kernel matrix on a GPU, as reductions over tiles made by cuBLAS and one kernel.

A tile is written once by the matrix product (or by nothing, for distances from
differences), turned into kernel values in place by one generated CUDA kernel, and
read once by the reduction.
"""

from __future__ import annotations

from functools import lru_cache, wraps

import cupy as cp
import numpy as np

from ..cpu.matrix import finite_top
from ..cpu.points import View, check_signs
from ..kernels.opaque import transposed
from . import codegen, compiler, forms, plans
from .points import Points, centre_of
from .reducer import Reducer

# Up to this many columns a distance is computed from differences.
DIRECT_COLUMNS = 24
TILE_ROWS, TILE_COLUMNS = 4096, 8192
THREADS = 256


@lru_cache(maxsize=256)
def _compiled(source):
    return cp.RawModule(code=source, options=("-std=c++17",)).get_function(
        "kernel_tile"
    )


def _on_device(method):
    """Run a method on the matrix's GPU; out of memory means smaller tiles."""

    @wraps(method)
    def run(self, *args, **kwargs):
        with cp.cuda.Device(self.device_id):
            while True:
                try:
                    return method(self, *args, **kwargs)
                except cp.cuda.memory.OutOfMemoryError:
                    if self.tile_rows <= 64:
                        raise
                    cp.get_default_memory_pool().free_all_blocks()
                    self.tile_rows //= 2

    return run


class Matrix:
    """K(X, Z) on a GPU; see `gpkern.cpu.matrix.Matrix` for the parameters.

    Products and log-sum-exps go through the fused kernels where there is one for the
    formula; tiles of K serve the rest.
    """

    def __init__(
        self, program, opaque, X, Z, dtype, budget, precision="high", other=None
    ):
        self.program, self.opaque, self.precision = program, opaque, precision
        self.dtype, self.given = np.dtype(dtype), None
        self.device_id = cp.cuda.runtime.getDevice()
        self.budget = int(budget)
        self.symmetric = Z is None
        # What no rows change, kept once for this matrix and those made from it.
        self.family = {} if other is None else other.family
        if other is None:
            target = X if Z is None else Z
            name = "X" if Z is None else "Z"
            self.Z = self._points(target, centre_of(target, name), name)
            self.tile_rows = self._tile_rows()
        else:
            self.Z, self.tile_rows = other.Z, other.tile_rows
            self.device_id = other.device_id
        self.X = self.Z if self.symmetric else self._points(X, self.Z.centre)
        self.shape = (self.X.shape[0], self.Z.shape[0])

    def _tile_rows(self):
        leaves = max(1, len(self.program.pair_leaves)) if self.program else 2
        per_row = TILE_COLUMNS * self.dtype.itemsize * leaves
        return int(min(TILE_ROWS, max(64, self.budget // (4 * per_row))))

    def with_rows(self, X):
        """The matrix of other rows against the same Z."""
        return Matrix(
            self.program,
            self.opaque,
            X,
            self.Z,
            self.dtype,
            self.budget,
            self.precision,
            self,
        )

    def __getstate__(self):
        return self.__dict__ | {"family": {}}

    def _copy(self):
        out = object.__new__(Matrix)
        out.__dict__.update(self.__dict__)
        return out

    def with_formula(self, program, opaque=None, given=None):
        """The matrix of another kernel; see `gpkern.cpu.matrix.Matrix`."""
        out = self._copy()
        out.program, out.opaque = program, opaque
        if given is not None:
            out.given = cp.asarray(given, dtype=self.dtype)
        return out

    def with_precision(self, precision):
        """The same matrix in another precision."""
        out = self._copy()
        out.precision = precision
        return out

    def transposed(self):
        """K(Z, X)."""
        out = self._copy()
        out.X, out.Z, out.shape = self.Z, self.X, self.shape[::-1]
        out.opaque = transposed(self.opaque)
        if self.program is not None:
            out.program = self.program.transposed
        return out

    def _points(self, source, centre, name="X"):
        return Points(source, self.dtype, centre, self.budget, name)

    def _reducer(self, program, outputs=1):
        """The fused kernels for a formula and columns of V, or None."""
        if self.opaque is not None:
            return None
        capability = compiler.properties(self.device_id)[2]
        kind = plans.kind_of(
            program,
            program.width(self.X.shape[1]),
            capability,
            self.dtype.name,
            self.precision,
            outputs,
        )
        if kind is None:
            return None
        diagonal = None
        if self.symmetric:
            n = self.shape[0]
            diagonal = cp.asarray(self._diagonal(0, n, program)).astype(self.dtype)
        # Tiles and launches shrink together when memory runs out.
        launch = min(plans.LAUNCH_ROWS, 64 * self.tile_rows)
        return Reducer(
            program,
            self.X,
            self.Z,
            kind,
            self.parts,
            diagonal,
            launch,
            self.given,
            self.family,
        )

    @property
    def parts(self):
        """Half-precision numbers that make an entry of packed rows."""
        return 1 if self.precision == "medium" else 2

    # ------------------------------------------------------------------ tiles

    @_on_device
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
            self._fill(block, i0, i1, j0, j1, program or self.program)
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            at = cp.arange(hi - lo)
            block[at + (lo - i0), at + (lo - j0)] = self._diagonal(lo, hi, program)
        return block

    def _fill(self, out, i0, i1, j0, j1, program):
        rows, columns = out.shape
        if not out.size:
            return
        # The first product may live in `out` itself.
        kinds, arguments = self.pair_quantities(program, i0, i1, j0, j1, out)
        source = codegen.tile_source(program, self.dtype.name, kinds)
        params = cp.asarray(program.params.astype(self.dtype))
        self._evaluate(source, rows, columns, (*arguments, params, out))

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

    def pair_quantities(self, program, i0, i1, j0, j1, out=None):
        """What a tile's kernel values are made from: how, and the kernel's arguments.

        Programs of one `leaf_key` share them.

        Returns
        -------
        kinds : tuple of {"product", "direct"}
        arguments : tuple
        """
        shape, free = (i1 - i0, j1 - j0), [] if out is None else [out]
        kinds = tuple(self._kind(v) for v in program.pair_leaves)
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
            cp.matmul(x, z.T, out=product)
            arguments.append(product)
            if leaf.metric == "sqeuclidean":
                arguments += [x, z, nx, nz, np.int32(x.shape[1])]
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
        by_product = leaf.metric == "dot" or (
            leaf.metric == "sqeuclidean" and width > DIRECT_COLUMNS
        )
        return "product" if by_product else "direct"

    # ------------------------------------------------------------- reductions

    def _strips(self, start=0):
        for i0 in range(start, self.shape[0], self.tile_rows):
            yield i0, min(i0 + self.tile_rows, self.shape[0])

    def _columns(self, j0=0):
        for a in range(j0, self.shape[1], TILE_COLUMNS):
            yield a, min(a + TILE_COLUMNS, self.shape[1])

    def _buffer(self):
        width = min(TILE_COLUMNS, self.shape[1])
        return cp.empty(min(self.tile_rows, self.shape[0]) * width, self.dtype)

    @_on_device
    def matmat(self, V):
        """K @ V, shape (n, c)."""
        V = cp.ascontiguousarray(cp.asarray(V, dtype=self.dtype))
        reducer = self._reducer(self.program, V.shape[1])
        if reducer is not None and V.size:
            if reducer.halves(V.shape[1]) and self.Z.keep:
                return reducer.symmetric_matmat(V, self.budget)
            return reducer.matmat(V, self.budget)
        same = self.program is None or self.program.is_symmetric
        halves = self.symmetric and self.given is None and same and self._by_product
        if halves and self.shape[0] > self.tile_rows:
            return self._symmetric_matmat(V)
        out = cp.empty((self.shape[0], V.shape[1]), self.dtype)
        buffer = self._buffer()
        for i0, i1 in self._strips():
            total = cp.zeros((i1 - i0, V.shape[1]))
            for a, b in self._columns():
                block = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
                total += self.tile(i0, i1, a, b, block) @ V[a:b]
            out[i0:i1] = total
        return out

    @property
    def _by_product(self):
        leaves = self.program.pair_leaves if self.program else ()
        return any(self._kind(v) == "product" for v in leaves)

    def _symmetric_matmat(self, V):
        """Each tile above the diagonal serves both of its sides."""
        total = cp.zeros((self.shape[0], V.shape[1]))
        buffer = self._buffer()
        for i0, i1 in self._strips():
            total[i0:i1] += self.tile(i0, i1, i0, i1) @ V[i0:i1]
            for a, b in self._columns(i1):
                block = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
                K = self.tile(i0, i1, a, b, block)
                total[i0:i1] += K @ V[a:b]
                total[a:b] += K.T @ V[i0:i1]
        return total.astype(self.dtype)

    @_on_device
    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``.

        The fused kernels compute K twice where that takes less time than storing it.
        """
        n, m = self.shape
        V = cp.ascontiguousarray(cp.asarray(V, dtype=self.dtype))
        reducer = self._reducer(self.program, V.shape[1])
        if reducer is not None and V.size:
            targets, weights = self._as_operand(targets), self._as_operand(weights)
            back = self.with_precision(gradient_precision or self.precision)
            if reducer.keeps(back.parts):
                return reducer.normal_matmat(V, targets, weights, self.budget)
            U = reducer.matmat(V, self.budget, targets, weights)
            return back.transposed().matmat(U), U
        share = self.budget // (4 * m * self.dtype.itemsize)
        height = int(max(1, min(self.tile_rows, n, share)))
        U = cp.empty((n, V.shape[1]), self.dtype)
        total = cp.zeros((m, V.shape[1]))
        panel = cp.empty((height, m), self.dtype)
        for i0 in range(0, n, height):
            i1 = min(i0 + height, n)
            K = self.tile(i0, i1, 0, m, panel[: i1 - i0])
            u = K @ V
            if targets is not None:
                u -= targets[i0:i1]
            if weights is not None:
                u *= weights[i0:i1, None]
            U[i0:i1] = u
            total += K.T @ u
        return total.astype(self.dtype), U

    def _as_operand(self, array):
        if array is None:
            return None
        return cp.ascontiguousarray(cp.asarray(array, dtype=self.dtype))

    @_on_device
    def logsumexp(self, log_weights=None):
        """Row log-sum-exp of log K + log_weights, shape (n,), float64."""
        n, m = self.shape
        logw, largest = cp.zeros(m, self.dtype), 0.0
        if log_weights is not None:
            largest = finite_top(log_weights)
            logw = cp.asarray(log_weights, dtype=np.float64) - largest
            logw = logw.astype(self.dtype)
        if self.opaque is None and m > 0:
            reducer = self._reducer(self.program.log)
            if reducer is not None:
                return reducer.logsumexp(logw) + largest
        out = cp.empty(n)
        buffer = self._buffer()
        program = self.program.log if self.opaque is None else self.opaque
        for i0, i1 in self._strips():
            peak, total = cp.full(i1 - i0, -np.inf), cp.zeros(i1 - i0)
            for a, b in self._columns():
                block = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
                L = self.tile(i0, i1, a, b, block, program)
                L += logw[a:b]
                top = cp.maximum(peak, L.max(axis=1))
                shift = cp.where(cp.isneginf(top), 0.0, top)
                L -= shift.astype(self.dtype)[:, None]
                # The shift is rounded in L: put the same rounding into the sum.
                rest = shift - shift.astype(self.dtype)
                part = cp.exp(L, out=L).sum(axis=1, dtype=np.float64)
                total = total * cp.exp(peak - shift) + part * cp.exp(-rest)
                peak = top
            out[i0:i1] = peak + cp.log(total)
        return out + largest

    @_on_device
    def quadratic_forms(self, programs, R):
        """``r' K r`` for each program and each column r of R, or None: not here.

        Shape (len(programs), b), float64.
        """
        formulas = all(p is not None and p.pair_leaves for p in programs)
        fast = formulas and self.symmetric and self.dtype == np.float32
        fast = fast and all(p.is_symmetric for p in programs)
        if not fast or self.precision == "highest":
            return None
        if len({p.leaf_key for p in programs}) > 1:
            return None
        out = forms.quadratic_forms(self, programs, R)
        return out if bool(cp.isfinite(out).all()) else None

    @_on_device
    def diagonal(self):
        """Entries (i, i) of a square matrix."""
        n = min(self.shape)
        if self.symmetric:
            return cp.asarray(self._diagonal(0, n)).astype(self.dtype)
        out = cp.empty(n, self.dtype)
        for i0 in range(0, n, 512):
            i1 = min(i0 + 512, n)
            out[i0:i1] = cp.diagonal(self.tile(i0, i1, i0, i1))
        return out

    def _norms(self, leaf, lo, hi):
        return self.X.take(View.of(leaf, centred=False), lo, hi)[1]

    def _diagonal(self, lo, hi, program=None):
        if self.opaque is not None:
            rows = self._opaque_rows(self.X, lo, hi)
            values = cp.asarray(self.opaque.diagonal(rows))
            return values if program is None else cp.log(values)
        given = 0.0 if self.given is None else self.given[lo:hi].astype(np.float64)
        return cp.asarray(
            (program or self.program).diagonal(
                hi - lo, lambda leaf: self._norms(leaf, lo, hi), given
            )
        )
