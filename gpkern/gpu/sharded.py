"""A kernel matrix whose columns are shared out among several GPUs.

Each GPU holds some of the samples of Z and multiplies with its own columns of K; the
results come together on the first. Operands are copied to all GPUs before the first of
them starts to work: a copy waits for what its source's GPU was given to do before.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property

import cupy as cp
import numpy as np

from .._device import is_cupy
from .matrix import Matrix
from .plans import PADDING
from .points import Points

# Samples of Z below which another GPU is not worth its copies.
LEAST_COLUMNS = 2048
# Threads at work at a time, one for each GPU.
MOST_DEVICES = 16


@cache
def _pool():
    return ThreadPoolExecutor(MOST_DEVICES, thread_name_prefix="gpkern-gpu")


def moved(array, device_id):
    """An array on a GPU; host arrays and None as they are.

    Ordered by events: after what has made it, and before its memory is used again.
    """
    if not is_cupy(array) or array.device.id == device_id:
        return array
    source = array.device.id
    with cp.cuda.Device(source):
        array = cp.ascontiguousarray(array)
        made = cp.cuda.Event()
        made.record()
    with cp.cuda.Device(device_id):
        stream = cp.cuda.get_current_stream()
        stream.wait_event(made)
        out = cp.empty(array.shape, array.dtype)
        out.data.copy_from_device_async(array.data, array.nbytes, stream)
        copied = cp.cuda.Event()
        copied.record()
    with cp.cuda.Device(source):
        cp.cuda.get_current_stream().wait_event(copied)
    return out


def _weighted_residual(product, targets, weights):
    if targets is not None:
        product -= cp.asarray(targets, dtype=product.dtype)
    if weights is not None:
        product *= cp.asarray(weights, dtype=product.dtype)[:, None]
    return product


class ShardedMatrix:
    """K(X, Z) on several GPUs; see `gpkern.gpu.matrix.Matrix`.

    Parameters
    ----------
    devices : tuple of int
        GPUs; the first is where operands come from and results go. One may be named
        more than once.
    """

    def __init__(
        self, program, opaque, X, Z, dtype, budget, precision="high", *, devices
    ):
        self.symmetric, target = Z is None, X if Z is None else Z
        self.rows, self.source, self.devices = X, target, devices
        self.program, self.opaque = program, opaque
        self.dtype, self.budget, self.precision = np.dtype(dtype), budget, precision
        self.shape = (X.shape[0], target.shape[0])
        m = target.shape[0]
        count = max(1, min(len(devices), m // LEAST_COLUMNS))
        each = -(-m // (count * PADDING)) * PADDING
        self.cuts = [(a, min(a + each, m)) for a in range(0, m, each)]
        self.bases = self._each(self._base)
        self.given = None

    def _base(self, p):
        """The matrix of a part of Z against itself: its `with_rows` serves X."""
        a, b = self.cuts[p]
        rows = moved(self.source[a:b], self.devices[p])
        options = (self.dtype, self.budget, self.precision)
        return Matrix(self.program, self.opaque, rows, rows, *options)

    def _each(self, call):
        """``call(part)`` in a thread for each, on its GPU."""

        def run(p):
            with cp.cuda.Device(self.devices[p]):
                return call(p)

        if len(self.cuts) == 1:
            return [run(0)]
        return list(_pool().map(run, range(len(self.cuts))))

    @cached_property
    def parts(self):
        """Matrix of X against each part of Z."""

        def part(p):
            base, device = self.bases[p], self.devices[p]
            given = moved(self.given, device)
            rows = base.with_rows(moved(self.rows, device))
            rows = rows.with_formula(self.program, self.opaque, given)
            return rows.with_precision(self.precision)

        return self._each(part)

    def _copy(self, **changes):
        out = object.__new__(type(self))
        out.__dict__.update(self.__dict__)
        out.__dict__.pop("parts", None)
        out.__dict__.update(changes)
        return out

    def with_rows(self, X):
        """The matrix of other rows against the same Z."""
        shape = (X.shape[0], self.shape[1])
        return self._copy(rows=X, shape=shape, symmetric=False)

    def with_formula(self, program, opaque=None, given=None):
        """The matrix of another kernel on the same rows."""
        return self._copy(program=program, opaque=opaque, given=given)

    def with_precision(self, precision):
        """The same matrix in another precision."""
        out = self._copy(precision=precision)
        if "parts" in self.__dict__:  # rows that have been moved stay where they are
            out.__dict__["parts"] = [p.with_precision(precision) for p in self.parts]
        return out

    def transposed(self):
        """K(Z, X)."""
        return Transposed(self)

    @property
    def X(self):
        """The rows, where they came from."""
        return Points(self.rows, self.dtype, None, self.budget)

    @property
    def Z(self):
        """The samples of the columns, where they came from, and their middle."""
        return Points(self.source, self.dtype, self.bases[0].Z.centre, self.budget)

    # ------------------------------------------------------------- reductions

    def _scattered(self, array):
        """Each part's share of an array with a row for each column of K."""
        if array is None:
            return [None] * len(self.cuts)
        shares = zip(self.cuts, self.devices, strict=False)
        return [moved(array[a:b], device) for (a, b), device in shares]

    def _copies(self, array):
        """The whole array for each part."""
        return [moved(array, d) for d, _ in zip(self.devices, self.cuts, strict=False)]

    def _gather(self, results):
        """Results of the parts, on the first GPU."""
        return [moved(r, self.devices[0]) for r in results]

    def matmat(self, V):
        """K @ V, shape (n, c)."""
        V = cp.ascontiguousarray(cp.asarray(V, dtype=self.dtype))

        parts, own = self.parts, self._scattered(V)
        results = self._gather(self._each(lambda p: parts[p].matmat(own[p])))
        total = sum(r.astype(np.float64) for r in results)
        if self.symmetric:
            total += self._beyond(V)
        return total.astype(self.dtype)

    def _beyond(self, V):
        """What K(X, X) has on its diagonal and a cross matrix lacks, times V."""
        if self.opaque is not None or self.program.expr is self.program.diagonal_expr:
            return 0.0
        whole = Matrix(self.program, None, self.rows, None, self.dtype, self.budget)
        whole = whole.with_formula(self.program, given=self.given)
        plain = type(self.program)(self.program.expr, self.program.expr)
        n = self.shape[0]
        extra = whole._diagonal(0, n) - whole._diagonal(0, n, plain)
        return extra[:, None] * V

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``."""
        U = _weighted_residual(self.matmat(V), targets, weights)
        back = self.with_precision(gradient_precision or self.precision)
        back.__dict__["symmetric"] = self.symmetric
        return back.transposed().matmat(U), U

    def logsumexp(self, log_weights=None):
        """Row log-sum-exp of log K + log_weights, shape (n,), float64."""
        if self.symmetric:  # its own diagonal is part of the sum
            whole = Matrix(
                self.program, self.opaque, self.rows, None, self.dtype, self.budget
            )
            return whole.logsumexp(log_weights)

        parts, own = self.parts, self._scattered(log_weights)
        sums = self._each(lambda p: parts[p].logsumexp(own[p]))
        out, *rest = self._gather(sums)
        for other in rest:
            out = cp.logaddexp(out, other)
        return out

    def tile(self, i0, i1, j0, j1, out=None):
        """Entries ``[i0:i1, j0:j1]``."""
        block = cp.empty((i1 - i0, j1 - j0), self.dtype) if out is None else out

        def part(p):
            a, b = max(j0, self.cuts[p][0]), min(j1, self.cuts[p][1])
            first = self.cuts[p][0]
            return self.parts[p].tile(i0, i1, a - first, b - first) if a < b else None

        for (a, b), own in zip(self.cuts, self._gather(self._each(part)), strict=True):
            if own is not None:
                block[:, max(a - j0, 0) : min(b, j1) - j0] = own
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            at = cp.arange(hi - lo)
            block[at + (lo - i0), at + (lo - j0)] = self.diagonal()[lo:hi]
        return block

    def diagonal(self):
        """Entries (i, i) of a square matrix."""
        if self.symmetric:
            options = (self.dtype, self.budget)
            return Matrix(
                self.program, self.opaque, self.rows, None, *options
            ).diagonal()
        n = min(self.shape)
        out = cp.empty(n, self.dtype)
        for i0 in range(0, n, 512):
            i1 = min(i0 + 512, n)
            out[i0:i1] = cp.diagonal(self.tile(i0, i1, i0, i1))
        return out

    def __reduce__(self):
        options = (self.dtype, self.budget, self.precision, self.devices)
        Z = None if self.symmetric else self.source
        return _again, (self.program, self.opaque, self.rows, Z, *options)


def _again(program, opaque, X, Z, dtype, budget, precision, devices):
    options = (dtype, budget, precision)
    return ShardedMatrix(program, opaque, X, Z, *options, devices=devices)


class Transposed:
    """K(Z, X) of a `ShardedMatrix`: each GPU has some of its rows."""

    def __init__(self, matrix):
        self.matrix, self.shape = matrix, matrix.shape[::-1]
        self.dtype, self.budget = matrix.dtype, matrix.budget
        self.program, self.opaque = matrix.program, matrix.opaque

    def __getattr__(self, name):
        raise AttributeError(
            f"{name} of a transposed matrix on several GPUs: transpose last, or name "
            "one GPU"
        )

    def transposed(self):
        """The matrix itself."""
        return self.matrix

    def with_precision(self, precision):
        """The same in another precision."""
        return Transposed(self.matrix.with_precision(precision))

    def matmat(self, U):
        """``K.T @ U``, shape (m, c)."""
        matrix = self.matrix
        U = cp.ascontiguousarray(cp.asarray(U, dtype=self.dtype))

        parts, copies = matrix.parts, matrix._copies(U)
        products = matrix._each(lambda p: parts[p].transposed().matmat(copies[p]))
        out = cp.concatenate(matrix._gather(products))
        if matrix.symmetric:
            out = (out + matrix._beyond(U)).astype(self.dtype)
        return out

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K @ U`` and ``U = weights * (K.T @ V - targets)``."""
        U = _weighted_residual(self.matmat(V), targets, weights)
        return self.matrix.matmat(U), U

    def logsumexp(self, log_weights=None):
        """Row log-sum-exp, shape (m,), float64."""
        matrix = self.matrix
        if matrix.symmetric:
            return matrix.logsumexp(log_weights)

        parts, copies = matrix.parts, matrix._copies(log_weights)
        sums = matrix._each(lambda p: parts[p].transposed().logsumexp(copies[p]))
        return cp.concatenate(matrix._gather(sums))

    def tile(self, i0, i1, j0, j1, out=None):
        """Entries ``[i0:i1, j0:j1]``."""
        block = self.matrix.tile(j0, j1, i0, i1).T
        if out is None:
            return cp.ascontiguousarray(block)
        out[...] = block
        return out

    def diagonal(self):
        """Entries (i, i)."""
        return self.matrix.diagonal()
