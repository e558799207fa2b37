"""A kernel matrix on a CPU, as reductions over tiles that fit the cache."""

from __future__ import annotations

import numpy as np

from . import codegen, metrics, parallel
from .filler import OpaqueFiller, TileFiller
from .points import Points, View, centre_of

TILE_ROWS, TILE_COLUMNS = 256, 512
FUSED_ROWS = 128


class Matrix:
    """K(X, Z) that is never formed.

    Parameters
    ----------
    program : Program or None
        The kernel's formula; None for `opaque` kernels.
    opaque : MatrixCallable, RowCallable or None
        A kernel that is the user's own code.
    X : ndarray, memmap, sliceable array or CSR matrix of shape (n, d)
    Z : the same of shape (m, d), or None for the symmetric matrix of X
    dtype : dtype
        float32 or float64.
    budget : int
        Bytes for tiles and prepared rows.
    other : Matrix, default=None
        Share the prepared Z of another matrix.
    """

    def __init__(self, program, opaque, X, Z, dtype, budget, other=None):
        self.program, self.opaque = program, opaque
        self.dtype, self.budget = np.dtype(dtype), int(budget)
        self.symmetric = Z is None
        if other is None:
            target = X if Z is None else Z
            self.Z = self._points(target, centre_of(target))
        else:
            self.Z = other.Z
        self.X = self.Z if self.symmetric else self._points(X, self.Z.centre)
        self.shape = (self.X.shape[0], self.Z.shape[0])

    def with_rows(self, X):
        """The matrix of other rows against the same Z."""
        return Matrix(
            self.program, self.opaque, X, self.Z, self.dtype, self.budget, self
        )

    def transposed(self):
        """K(Z, X)."""
        out = object.__new__(Matrix)
        out.__dict__.update(self.__dict__)
        out.X, out.Z, out.shape = self.Z, self.X, self.shape[::-1]
        return out

    def _points(self, source, centre):
        size = source.shape[0] * source.shape[1] * self.dtype.itemsize
        return Points(source, self.dtype, centre, keep=size <= self.budget // 4)

    # ------------------------------------------------------------------ tiles

    def tile(self, i0, i1, j0, j1, out=None, fill=None):
        """Entries ``[i0:i1, j0:j1]``, the diagonal of a symmetric matrix exact.

        Parameters
        ----------
        i0, i1, j0, j1 : int
        out : array of shape (i1 - i0, j1 - j0), default=None
            Where to write.
        fill : TileFiller, default=None
            From `filler`, which saves its set-up when there are many tiles.
        """
        fill = fill or self.filler()
        if out is None:
            out = np.empty((i1 - i0, j1 - j0), self.dtype)
        if out.size:
            fill(out, i0, i1, j0, j1)
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            at = np.arange(lo, hi)
            out[at - i0, at - j0] = fill.diagonal(lo, hi)
        return out

    def filler(self, log=False):
        """Writes tiles of the kernel, or of its logarithm."""
        if self.opaque is not None:
            return OpaqueFiller(self, log)
        return TileFiller(self, self.program.log if log else self.program)

    # ------------------------------------------------------------- reductions

    def matmat(self, V):
        """K @ V, shape (n, c)."""
        n, m = self.shape
        V = np.ascontiguousarray(V, dtype=self.dtype)
        if self.opaque is None and self.is_dense:
            if codegen.can_fuse(self.program, self.X.shape[1]) and self._no_diagonal:
                return self._fused_matmat(V)
            if self.symmetric and n > TILE_ROWS:
                return self._symmetric_matmat(V)
        out = np.empty((n, V.shape[1]), self.dtype)
        fill = self.filler()

        def strip(index, worker):
            i0, i1 = self._strip(index)
            total = np.zeros((i1 - i0, V.shape[1]))
            for a, b, block in self._tiles(fill, i0, i1, 0, m):
                total += block @ V[a:b]
            out[i0:i1] = total

        parallel.run(strip, self._n_strips)
        return out

    @property
    def is_dense(self):
        """Whether neither side is sparse."""
        return not (self.X.is_sparse or self.Z.is_sparse)

    @property
    def _no_diagonal(self):
        """Whether the diagonal needs no special value."""
        return not self.symmetric or (self.program.expr is self.program.diagonal_expr)

    @property
    def _n_strips(self):
        return -(-self.shape[0] // TILE_ROWS)

    def _strip(self, index):
        i0 = index * TILE_ROWS
        return i0, min(i0 + TILE_ROWS, self.shape[0])

    def _tiles(self, fill, i0, i1, j0, j1):
        """Tiles of a strip of rows, all in one buffer: ``(a, b, K[i0:i1, a:b])``."""
        height = i1 - i0
        buffer = np.empty(height * min(TILE_COLUMNS, max(j1 - j0, 0)), self.dtype)
        for a in range(j0, j1, TILE_COLUMNS):
            b = min(a + TILE_COLUMNS, j1)
            out = buffer[: height * (b - a)].reshape(height, b - a)
            yield a, b, self.tile(i0, i1, a, b, out, fill)

    def _symmetric_matmat(self, V):
        """Each tile above the diagonal serves both of its sides."""
        n = self.shape[0]
        workers = min(parallel.n_threads(), self._n_strips)
        totals = np.zeros((workers, n, V.shape[1]))
        fill = self.filler()

        def strip(index, worker):
            i0, i1 = self._strip(index)
            total = totals[worker]
            total[i0:i1] += self.tile(i0, i1, i0, i1, fill=fill) @ V[i0:i1]
            for a, b, K in self._tiles(fill, i0, i1, i1, n):
                total[i0:i1] += K @ V[a:b]
                total[a:b] += K.T @ V[i0:i1]

        parallel.run_fixed(strip, self._n_strips)
        return totals.sum(axis=0).astype(self.dtype)

    def _fused_matmat(self, V):
        n, m = self.shape
        d = self.X.shape[1]
        leaf = self.program.pair_leaves[0]
        view, columns = View.of(leaf), View.of(leaf, columns=True)
        fused = codegen.fused_function(self.program, self.dtype.name, d)
        params = self.program.params.astype(self.dtype)
        VT = np.ascontiguousarray(V.T)
        out = np.empty((n, V.shape[1]), self.dtype)
        # Rows of Z that are not kept are prepared again for each strip, in parts.
        span = max(codegen.SEGMENT, self.budget // (8 * d * self.dtype.itemsize))
        span = m if self.Z.keep else span

        def strip(index, worker):
            i0 = index * FUSED_ROWS
            x, _ = self.X.take(view, i0, min(i0 + FUSED_ROWS, n))
            total = np.zeros((len(x), V.shape[1]))
            for a in range(0, m, span):
                z, _ = self.Z.columns(columns, a, min(a + span, m))
                fused(x, z, np.ascontiguousarray(VT[:, a : a + span]), params, total)
            out[i0 : i0 + FUSED_ROWS] = total

        parallel.run(strip, -(-n // FUSED_ROWS))
        return out

    def normal_matmat(self, V, targets=None, weights=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``, K computed once."""
        n, m = self.shape
        V = np.ascontiguousarray(V, dtype=self.dtype)
        U = np.empty((n, V.shape[1]), self.dtype)
        height = self._panel_rows()
        strips = -(-n // height)
        workers = min(parallel.n_threads(), strips)
        totals = np.zeros((workers, m, V.shape[1]))
        panels = np.empty((workers, height * m), self.dtype)
        fill = self.filler()

        def strip(index, worker):
            i0 = index * height
            i1 = min(i0 + height, n)
            # A panel is a row of whole tiles, each contiguous for its loops.
            tiles = []
            for a in range(0, m, TILE_COLUMNS):
                b = min(a + TILE_COLUMNS, m)
                block = panels[worker][(i1 - i0) * a : (i1 - i0) * b]
                block = block.reshape(i1 - i0, b - a)
                tiles.append((a, b, self.tile(i0, i1, a, b, block, fill)))
            u = np.zeros((i1 - i0, V.shape[1]))
            for a, b, K in tiles:
                u += K @ V[a:b]
            if targets is not None:
                u -= targets[i0:i1]
            if weights is not None:
                u *= weights[i0:i1, None]
            U[i0:i1] = u
            for a, b, K in tiles:
                totals[worker, a:b] += K.T @ U[i0:i1]

        parallel.run_fixed(strip, strips)
        return totals.sum(axis=0).astype(self.dtype), U

    def _panel_rows(self):
        """Rows of a panel of full width: in the cache if that leaves enough rows."""
        row = self.shape[1] * self.dtype.itemsize
        share = self.budget // (4 * parallel.n_threads())
        best = max(64, (4 << 20) // row)
        return int(max(1, min(TILE_ROWS, best, share // row)))

    def logsumexp(self, log_weights=None):
        """Row log-sum-exp of log K + log_weights, shape (n,), float64."""
        n, m = self.shape
        logw = np.zeros(m) if log_weights is None else np.asarray(log_weights)
        logw = logw.astype(self.dtype)
        out = np.full(n, -np.inf)
        update = metrics.logsumexp_update[self.dtype.name]
        fill = self.filler(log=True)

        def strip(index, worker):
            i0, i1 = self._strip(index)
            peak, total = out[i0:i1], np.zeros(i1 - i0)
            for a, b, tile in self._tiles(fill, i0, i1, 0, m):
                update(tile, logw[a:b], peak, total)
            metrics.logsumexp_finish(peak, total)

        parallel.run(strip, self._n_strips)
        return out

    def diagonal(self):
        """Entries (i, i) of a square matrix."""
        n = min(self.shape)
        fill = self.filler()
        if self.symmetric:
            return np.asarray(fill.diagonal(0, n)).astype(self.dtype)
        out = np.empty(n, self.dtype)
        for i0 in range(0, n, 32):
            i1 = min(i0 + 32, n)
            out[i0:i1] = np.diagonal(self.tile(i0, i1, i0, i1, fill=fill))
        return out
