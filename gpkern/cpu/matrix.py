"""A kernel matrix on a CPU, as reductions over tiles that fit the cache."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from . import codegen, metrics, parallel
from .points import Points, View, centre_of

# Up to this many columns a distance is computed from differences; above, as a matrix
# product. Measured on AVX-512: the two meet near 16.
DIRECT_COLUMNS = 16
# A squared distance below this share of the norms is recomputed from differences.
CLOSE = {"float32": 1e-3, "float64": 1e-9}
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
            self._check_signs(X, Z)
            self.Z = self._points(target, centre_of(target))
        else:
            self._check_signs(X, None)
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

    def _check_signs(self, *arrays):
        leaves = self.program.pair_leaves if self.program else ()
        if any(v.metric == "chi2" for v in leaves):
            for a in arrays:
                if a is not None and a.shape[0] and a.min() < 0:
                    raise ValueError("a chi2 kernel needs X without negative values")

    # ------------------------------------------------------------------ tiles

    def tile(self, i0, i1, j0, j1, out=None, program=None):
        """Entries ``[i0:i1, j0:j1]``, the diagonal of a symmetric matrix exact."""
        shape = (i1 - i0, j1 - j0)
        if self.opaque is not None:
            block = self.opaque.block(self.X.raw(i0, i1), self.Z.raw(j0, j1))
            block = np.array(block, dtype=self.dtype)
            if program is not None:
                block = np.log(block)
        else:
            block = np.empty(shape, self.dtype) if out is None else out
            self._fill(block, i0, i1, j0, j1, program or self.program)
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            block[np.arange(lo - i0, hi - i0), np.arange(lo - j0, hi - j0)] = (
                self._diagonal(lo, hi, program)
            )
        return block

    def _fill(self, out, i0, i1, j0, j1, program):
        """Compute a tile: leaves first, the last of them in `out` itself."""
        leaves = program.pair_leaves
        tiles = [out, *(np.empty_like(out) for _ in leaves[1:])][: len(leaves)]
        for leaf, block in zip(leaves, tiles, strict=True):
            self._leaf_tile(leaf, i0, i1, j0, j1, block)
        sides = []
        for leaf in program.row_leaves:
            side, span = (
                (self.X, (i0, i1)) if leaf.metric == "norm_x" else (self.Z, (j0, j1))
            )
            sides.append(side.take(View(leaf.scale), *span)[1].astype(self.dtype))
        apply = codegen.apply_function(program, self.dtype.name)
        apply(*tiles, *sides, program.params.astype(self.dtype), out)

    def _leaf_tile(self, leaf, i0, i1, j0, j1, out):
        d = self.X.shape[1]
        by_product = leaf.metric == "dot" or (
            leaf.metric == "sqeuclidean"
            and (d > DIRECT_COLUMNS or self.X.is_sparse or self.Z.is_sparse)
        )
        if not by_product:
            centred = leaf.metric != "chi2"
            x, _ = self.X.dense(View(leaf.scale, centred), i0, i1)
            z, _ = self.Z.take(View(leaf.scale, centred, columns=True), j0, j1)
            codegen.tile_function(leaf.metric, self.dtype.name)(x, z, out)
            return
        view = View(leaf.scale, centred=leaf.metric == "sqeuclidean" and self._can_centre)
        x, nx = self.X.take(view, i0, i1)
        z, nz = self.Z.take(view, j0, j1)
        if self._can_centre:
            np.matmul(x, z.T, out=out)
            if leaf.metric == "sqeuclidean":
                tol = self.dtype.type(CLOSE[self.dtype.name])
                metrics.distances_from_products(out, x, z, nx, nz, tol)
            return
        product = x @ z.T
        if sparse.issparse(product):
            product = product.toarray()
        if leaf.metric == "sqeuclidean":
            product = np.ascontiguousarray(product, dtype=np.float64)
            metrics.distances_from_sparse(
                product, nx.astype(np.float64), nz.astype(np.float64)
            )
        out[...] = product

    @property
    def _can_centre(self):
        return not (self.X.is_sparse or self.Z.is_sparse)

    # ------------------------------------------------------------- reductions

    def matmat(self, V):
        """K @ V, shape (n, c)."""
        n, m = self.shape
        V = np.ascontiguousarray(V, dtype=self.dtype)
        if self.opaque is None and self._can_centre:
            if codegen.can_fuse(self.program, self.X.shape[1]) and self._no_diagonal:
                return self._fused_matmat(V)
            if self.symmetric and n > TILE_ROWS:
                return self._symmetric_matmat(V)
        out = np.empty((n, V.shape[1]), self.dtype)

        def strip(index, worker):
            i0, i1 = self._strip(index)
            out[i0:i1] = self._strip_product(i0, i1, 0, m, V)

        parallel.run(strip, self._n_strips)
        return out

    @property
    def _no_diagonal(self):
        """Whether the diagonal needs no special value."""
        return not self.symmetric or (
            self.program.expr is self.program.diagonal_expr
        )

    @property
    def _n_strips(self):
        return -(-self.shape[0] // TILE_ROWS)

    def _strip(self, index):
        i0 = index * TILE_ROWS
        return i0, min(i0 + TILE_ROWS, self.shape[0])

    def _columns(self, j0, j1):
        return ((a, min(a + TILE_COLUMNS, j1)) for a in range(j0, j1, TILE_COLUMNS))

    def _strip_product(self, i0, i1, j0, j1, V):
        """K[i0:i1, j0:j1] @ V[j0:j1], summed over tiles in float64."""
        total = np.zeros((i1 - i0, V.shape[1]))
        buffer = np.empty((i1 - i0) * TILE_COLUMNS, self.dtype)
        for a, b in self._columns(j0, j1):
            out = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
            total += self.tile(i0, i1, a, b, out) @ V[a:b]
        return total

    def _symmetric_matmat(self, V):
        """Each tile above the diagonal serves both of its sides."""
        n = self.shape[0]
        workers = min(parallel.n_threads(), self._n_strips)
        totals = np.zeros((workers, n, V.shape[1]))

        def strip(index, worker):
            i0, i1 = self._strip(index)
            total = totals[worker]
            total[i0:i1] += self.tile(i0, i1, i0, i1) @ V[i0:i1]
            buffer = np.empty((i1 - i0) * TILE_COLUMNS, self.dtype)
            for a, b in self._columns(i1, n):
                out = buffer[: (i1 - i0) * (b - a)].reshape(i1 - i0, b - a)
                K = self.tile(i0, i1, a, b, out)
                total[i0:i1] += K @ V[a:b]
                total[a:b] += K.T @ V[i0:i1]

        parallel.run_fixed(strip, self._n_strips)
        return totals.sum(axis=0).astype(self.dtype)

    def _fused_matmat(self, V):
        n, m = self.shape
        d = self.X.shape[1]
        leaf = self.program.pair_leaves[0]
        view = View(leaf.scale, leaf.metric != "dot")
        columns = View(leaf.scale, leaf.metric != "dot", columns=True)
        fused = codegen.fused_function(self.program, self.dtype.name, d)
        params = self.program.params.astype(self.dtype)
        VT = np.ascontiguousarray(V.T)
        out = np.empty((n, V.shape[1]), self.dtype)
        span = max(codegen.SEGMENT, self.budget // (8 * d * self.dtype.itemsize))

        def strip(index, worker):
            i0 = index * FUSED_ROWS
            x, _ = self.X.take(view, i0, min(i0 + FUSED_ROWS, n))
            total = np.zeros((len(x), V.shape[1]))
            for a in range(0, m, span):
                z, _ = self.Z.take(columns, a, min(a + span, m))
                fused(x, z, VT[:, a : a + span], params, total)
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

        def strip(index, worker):
            i0 = index * height
            i1 = min(i0 + height, n)
            panel = panels[worker][: (i1 - i0) * m].reshape(i1 - i0, m)
            u = np.zeros((i1 - i0, V.shape[1]))
            for a, b in self._columns(0, m):
                tile = panel[:, a:b]
                tile[...] = self.tile(i0, i1, a, b)
                u += tile @ V[a:b]
            if targets is not None:
                u -= targets[i0:i1]
            if weights is not None:
                u *= weights[i0:i1, None]
            U[i0:i1] = u
            totals[worker] += panel.T @ U[i0:i1]

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
        program = self.program.log if self.opaque is None else self.opaque

        def strip(index, worker):
            i0, i1 = self._strip(index)
            peak, total = out[i0:i1], np.zeros(i1 - i0)
            for a, b in self._columns(0, m):
                tile = self.tile(i0, i1, a, b, program=program)
                update(tile, logw[a:b], peak, total)
            metrics.logsumexp_finish(peak, total)

        parallel.run(strip, self._n_strips)
        return out

    def diagonal(self):
        """Entries (i, i) of a square matrix."""
        n = min(self.shape)
        if self.symmetric:
            return np.asarray(self._diagonal(0, n)).astype(self.dtype)
        out = np.empty(n, self.dtype)
        for i0 in range(0, n, 32):
            i1 = min(i0 + 32, n)
            out[i0:i1] = np.diagonal(self.tile(i0, i1, i0, i1))
        return out

    def _diagonal(self, lo, hi, program=None):
        if self.opaque is not None:
            values = np.asarray(self.opaque.diagonal(self.X.raw(lo, hi)))
            return values if program is None else np.log(values)
        return (program or self.program).diagonal(
            hi - lo, lambda scale: self.X.take(View(scale), lo, hi)[1]
        )
