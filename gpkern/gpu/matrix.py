"""A kernel matrix on a GPU: its reductions, by the fused kernels or over tiles.

A tile is written once by the matrix product (or by nothing, for distances from
differences), turned into kernel values in place by one generated CUDA kernel, and
read once by the reduction.
"""

from __future__ import annotations

import cupy as cp
import numpy as np

from ..cpu.matrix import finite_top
from ..kernels.opaque import transposed
from . import angular, compiler, forms, greedy, plans
from .points import Points, centre_of
from .reducer import Reducer
from .tiles import PRODUCT_OUTPUTS, Tiles, on_device

TILE_ROWS, TILE_COLUMNS = 4096, 8192
# Kernels whose row sums are made in one pass.
AT_ONCE = 10


class Matrix(Tiles):
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
        precision = self.precision
        if self.dtype == np.float32:
            program = angular.simplified(program, self.parts)
            precision = "highest" if self._is_uneven else precision
        capability = compiler.properties(self.device_id)[2]
        kind = plans.kind_of(
            program,
            program.width(self.X.shape[1]),
            capability,
            self.dtype.name,
            precision,
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
    def _is_uneven(self):
        """Whether half-precision parts would lose digits; looked at once a family."""
        if "uneven" not in self.family:
            sides = {id(side): side for side in (self.X, self.Z)}.values()
            self.family["uneven"] = any(side.is_uneven() for side in sides)
        return self.family["uneven"]

    @property
    def parts(self):
        """Half-precision numbers that make an entry of packed rows."""
        return 1 if self.precision == "medium" else 2

    # ------------------------------------------------------------- reductions

    def _strips(self, start=0):
        height = self.tile_rows  # which may shrink on the way
        for i0 in range(start, self.shape[0], height):
            yield i0, min(i0 + height, self.shape[0])

    def _columns(self, j0=0):
        for a in range(j0, self.shape[1], TILE_COLUMNS):
            yield a, min(a + TILE_COLUMNS, self.shape[1])

    def _buffer(self):
        width = min(TILE_COLUMNS, self.shape[1])
        return cp.empty(min(self.tile_rows, self.shape[0]) * width, self.dtype)

    @on_device
    def matmat(self, V):
        """K @ V, shape (n, c)."""
        V = cp.ascontiguousarray(cp.asarray(V, dtype=self.dtype))
        reducer = self._reducer(self.program, V.shape[1])
        if reducer is not None and V.size:
            if reducer.halves(V.shape[1], self.budget) and self.Z.keep:
                return reducer.symmetric_matmat(V, self.budget)
            return reducer.matmat(V, self.budget)
        same = self.program is None or self.program.is_symmetric
        halves = self.symmetric and self.given is None and same and self._by_product
        if halves and self.shape[0] > self.tile_rows:
            return self._symmetric_matmat(V)
        if self._in_one_reading(V.shape[1]):
            return self._matmat_in_one_reading(V)
        out = cp.empty((self.shape[0], V.shape[1]), self.dtype)
        buffer = self._buffer()
        for i0, i1 in self._strips():
            total = cp.zeros((i1 - i0, V.shape[1]))
            for a, b in self._columns():
                block = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
                total += self.tile(i0, i1, a, b, block) @ V[a:b]
            out[i0:i1] = total
        return out

    def _in_one_reading(self, c):
        """Whether K is multiplied as it is made: a formula, few columns of V."""
        formula = self.opaque is None and self.program.pair_leaves
        return formula and not self.symmetric and 0 < c <= PRODUCT_OUTPUTS

    def _matmat_in_one_reading(self, V):
        out = cp.empty((self.shape[0], V.shape[1]), self.dtype)
        buffer, V = self._buffer(), cp.ascontiguousarray(V.T)
        for i0, i1 in self._strips():
            spans = self._columns()
            out[i0:i1] = sum(
                self.tile_product(i0, i1, a, b, V, buffer) for a, b in spans
            )
        return out

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

    @on_device
    def row_sums(self, programs):
        """Row sums for each program, float64, or None: not here.

        Shape (len(programs), n). All programs are evaluated where the quantities of
        a pair have been read once.
        """
        formulas = all(p is not None and p.pair_leaves for p in programs)
        kept = self.X.keep and self.Z.keep
        # In float32 the fused kernels are faster.
        if not (formulas and kept) or self.dtype != np.float64:
            return None
        if len({(p.key, p.leaf_key) for p in programs}) > 1 or self.given is not None:
            return None
        out, buffer = cp.zeros((len(programs), self.shape[0])), self._buffer()
        for k in range(0, len(programs), AT_ONCE):
            some, part = programs[k : k + AT_ONCE], out[k : k + AT_ONCE]
            for i0, i1 in self._strips():
                for a, b in self._columns():
                    part[:, i0:i1] += self.tile_sums(some, i0, i1, a, b, buffer)
        if self.symmetric:
            n = self.shape[0]
            out += cp.stack([self._diagonal(0, n, p) for p in programs])
        return out

    @on_device
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
            if reducer.keeps(back.parts, self.budget):
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

    @on_device
    def greedy(self, objective, size, scale, *options):
        """Rows chosen one by one; see `gpkern.algorithms.greedy.choose`."""
        return greedy.choose(self, objective, size, scale, *options)

    @on_device
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

    @on_device
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
        if not hasattr(R, "rows") and not bool((R.astype(np.float16) == R).all()):
            return None
        out = forms.quadratic_forms(self, programs, R)
        return out if bool(cp.isfinite(out).all()) else None

    @on_device
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
