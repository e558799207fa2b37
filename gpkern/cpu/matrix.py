"""A kernel matrix on a CPU, as reductions over blocks that fit the cache."""

from __future__ import annotations

import numpy as np

from ..kernels.opaque import transposed
from . import codegen, forms, metrics, parallel
from .points import Points, centre_of
from .recipes import OpaqueRecipe, Recipe, SparseRecipe

# Rows of a task: a multiple of every block's height and width.
STRIP = 192
# Entries of a tile that one thread computes.
SERIAL_TILE = 1 << 16
# Shape of the tiles of kernels that are not computed in blocks.
TILE_ROWS, TILE_COLUMNS = 192, 512
# Outputs beyond which tiles and BLAS are faster than sums in registers.
MOST_OUTPUTS = 32
# Columns of X up to which ``K.T @ (K @ V)`` computes K twice rather than keep it.
TWICE_COLUMNS = 40
# Bytes of K that a thread keeps between the two products.
KEPT_BYTES = 4 << 20
# Index of the first column of a strip's diagonal where there is none.
NO_DIAGONAL = -(1 << 60)


def finite_top(log_weights):
    """The largest log weight; 0 where all columns are left out."""
    top = float(log_weights.max()) if log_weights.size else 0.0
    return top if top > -np.inf else 0.0


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
        Bytes for blocks and prepared rows.
    precision : str
        "medium" makes the products of quadratic forms in float32; all else is in the
        precision of the dtype.
    other : Matrix, default=None
        Share the prepared Z of another matrix.
    """

    def __init__(
        self, program, opaque, X, Z, dtype, budget, precision="high", other=None
    ):
        self.program, self.opaque, self.given = program, opaque, None
        self.dtype, self.budget = np.dtype(dtype), int(budget)
        self.precision = precision
        self.symmetric = Z is None
        if other is None:
            target, name = (X, "X") if Z is None else (Z, "Z")
            self.Z = self._points(target, centre_of(target, name), name)
        else:
            self.Z = other.Z
        self.X = self.Z if self.symmetric else self._points(X, self.Z.centre)
        self.shape = (self.X.shape[0], self.Z.shape[0])

    def with_rows(self, X):
        """The matrix of other rows against the same Z."""
        return Matrix(
            self.program, self.opaque, X, self.Z, self.dtype, self.budget, other=self
        )

    def with_formula(self, program, opaque=None, given=None):
        """The matrix of another kernel on the same rows.

        Parameters
        ----------
        program, opaque
            Of the kernel.
        given : array of shape (n,), default=None
            What the formula takes from the call, one number a row.
        """
        out = object.__new__(Matrix)
        out.__dict__.update(self.__dict__)
        out.program, out.opaque = program, opaque
        if given is not None:
            out.given = np.zeros(self.shape[0] + self.X.block.ROWS, self.dtype)
            out.given[: self.shape[0]] = given
        return out

    def with_precision(self, precision):
        """The matrix of the same rows in another precision."""
        out = object.__new__(Matrix)
        out.__dict__.update(self.__dict__)
        out.precision = precision
        return out

    def transposed(self):
        """K(Z, X)."""
        out = object.__new__(Matrix)
        out.__dict__.update(self.__dict__)
        out.X, out.Z, out.shape = self.Z, self.X, self.shape[::-1]
        out.opaque = transposed(self.opaque)
        if self.program is not None:
            out.program = self.program.transposed
        return out

    def _points(self, source, centre, name="X"):
        size = source.shape[0] * source.shape[1] * self.dtype.itemsize
        keep = size <= self.budget // 4
        return Points(source, self.dtype, centre, keep, self.budget // 2, name)

    # ------------------------------------------------------------------ tiles

    def recipe(self, log=False):
        """Computes blocks or tiles of the kernel, or of its logarithm."""
        if self.opaque is not None:
            return OpaqueRecipe(self.X, self.Z, self.opaque, log)
        kind = Recipe if self.is_dense else SparseRecipe
        program = self.program.log if log else self.program
        return kind(self.X, self.Z, program, self.dtype, self.given)

    @property
    def is_dense(self):
        """Whether neither side is sparse."""
        return not (self.X.is_sparse or self.Z.is_sparse)

    def tile(self, i0, i1, j0, j1, out=None, recipe=None):
        """Entries ``[i0:i1, j0:j1]``, the diagonal of a symmetric matrix exact.

        Parameters
        ----------
        i0, i1, j0, j1 : int
        out : array of shape (i1 - i0, j1 - j0), default=None
            Where to write.
        recipe : Recipe, default=None
            From `recipe`, which saves its set-up when there are many tiles.
        """
        if out is None:
            out = np.empty((i1 - i0, j1 - j0), self.dtype)
        if recipe is None:
            recipe = self.recipe()
            if out.size > SERIAL_TILE and self.X.keep and self.Z.keep:
                return self._threaded_tile(recipe, out, i0, j0)
        if out.size:
            recipe.tile(out, i0, i1, j0, j1)
        if self.symmetric and i0 < j1 and j0 < i1:
            lo, hi = max(i0, j0), min(i1, j1)
            at = np.arange(lo, hi)
            out[at - i0, at - j0] = recipe.diagonal(lo, hi)
        return out

    def _threaded_tile(self, recipe, out, i0, j0):
        """The same, strips of rows shared out."""
        recipe.prepare()
        height, width = out.shape

        def strip(index, worker):
            a, b = index * STRIP, min((index + 1) * STRIP, height)
            self.tile(i0 + a, i0 + b, j0, j0 + width, out[a:b], recipe)

        parallel.run(strip, -(-height // STRIP))
        return out

    def _tiles(self, recipe, i0, i1, j0, j1):
        """Tiles of a strip of rows, all in one buffer: ``(a, b, K[i0:i1, a:b])``."""
        height = i1 - i0
        buffer = np.empty(height * min(TILE_COLUMNS, max(j1 - j0, 0)), self.dtype)
        for a in range(j0, j1, TILE_COLUMNS):
            b = min(a + TILE_COLUMNS, j1)
            out = buffer[: height * (b - a)].reshape(height, b - a)
            yield a, b, self.tile(i0, i1, a, b, out, recipe)

    # ------------------------------------------------------------- reductions

    def matmat(self, V):
        """K @ V, shape (n, c)."""
        n, m = self.shape
        V = np.ascontiguousarray(V, dtype=self.dtype)
        out = np.empty((n, V.shape[1]), self.dtype)
        if not out.size:
            return out
        recipe = self.recipe()
        recipe.prepare()
        if isinstance(recipe, Recipe) and V.shape[1] <= MOST_OUTPUTS:
            if self._use_symmetry(2 * STRIP, V.shape[1]):
                return self._symmetric_matmat(recipe, V)
            self._block_matmat(recipe, V, out)
            return out
        if self._use_symmetry(TILE_ROWS, V.shape[1]):
            return self._symmetric_tile_matmat(recipe, V)

        def strip(i0, i1, worker):
            total = np.zeros((i1 - i0, V.shape[1]))
            for a, b, block in self._tiles(recipe, i0, i1, 0, m):
                total += block @ V[a:b]
            out[i0:i1] = total

        self._over_strips(strip, TILE_ROWS)
        return out

    def _over_strips(self, task, height, workers=None):
        """Call ``task(i0, i1, worker)`` for strips of so many rows.

        With `workers`, which of them takes a strip does not depend on timing.
        """
        n = self.shape[0]
        count = -(-n // height)

        def strip(index, worker):
            task(index * height, min((index + 1) * height, n), worker)

        if workers is None:
            parallel.run(strip, count)
        else:
            parallel.run_fixed(strip, count, workers)

    def _workers(self, height, outputs):
        """Threads that may each have a float64 array of so many outputs a column."""
        size = max(1, 8 * outputs * self.shape[1])
        room = max(1, int(self.budget // (2 * size)))
        return min(parallel.n_threads(), room, -(-self.shape[0] // height))

    def _use_symmetry(self, height, outputs):
        """Whether half of the matrix is worth its sums, one for each thread."""
        enough = self.shape[0] >= 2 * height * parallel.n_threads()
        fits = self._workers(1, outputs) == parallel.n_threads()
        return self._mirrored and enough and fits

    @property
    def _mirrored(self):
        """Whether entries (i, j) and (j, i) are the same."""
        formula = self.program is None or self.program.is_symmetric
        return self.symmetric and self.given is None and formula

    def _strip_rows(self):
        """Rows of a task: fewer where there are few tasks to share out."""
        block = self.X.block.ROWS
        share = -(-self.shape[0] // (4 * parallel.n_threads() * block)) * block
        return min(STRIP, share)

    def _spans(self, recipe, start=0):
        """Parts of the columns: all of them, or as many as the budget allows."""
        m, block = self.shape[1], self.Z.block.WIDTH
        row = self.X.shape[1] * self.dtype.itemsize
        span = m if self.Z.keep else max(512, self.budget // (8 * row))
        span = -(-span // block) * block
        for a in range(start, m, span):
            yield a, min(a + span, m), recipe.columns(a, min(a + span, m))

    def _panels_of(self, V):
        """V as a panel of each block's samples after another, zero where it ends."""
        block, (m, c) = self.Z.block.WIDTH, V.shape
        out = np.zeros((-(-m // block), c, block), self.dtype)
        whole = m // block
        out[:whole] = V[: whole * block].reshape(whole, block, c).transpose(0, 2, 1)
        out[whole:, :, : m - whole * block] = V[whole * block :].T
        return out

    def _diagonal_of(self, recipe, i0, i1):
        """k(x, x) of a strip, as long as its padded rows."""
        out = np.zeros(i1 - i0 + self.X.block.ROWS, self.dtype)
        if self.symmetric:
            out[: i1 - i0] = recipe.diagonal(i0, i1)
        return out

    def _block_matmat(self, recipe, V, out):
        panels, loop = self._panels_of(V), recipe.loop("matmat")
        width, c = self.Z.block.WIDTH, V.shape[1]

        def strip(i0, i1, worker):
            rows, diagonal = recipe.rows(i0, i1), self._diagonal_of(recipe, i0, i1)
            total = np.zeros((i1 - i0, c))
            for a, b, columns in self._spans(recipe):
                values = panels[a // width : -(-b // width)]
                first = i0 - a if self.symmetric else NO_DIAGONAL
                arguments = recipe.arguments(rows, columns)
                loop(*arguments, values, c, first, diagonal, total)
            out[i0:i1] = total

        self._over_strips(strip, self._strip_rows())

    def _symmetric_matmat(self, recipe, V):
        """Each block above the diagonal serves both of its sides."""
        (n, c), width = V.shape, self.Z.block.WIDTH
        workers = self._workers(STRIP, c)
        panels, loop = self._panels_of(V), recipe.loop("symmetric")
        below = np.zeros((workers, *panels.shape))
        factors = np.zeros((n + self.X.block.ROWS, c), self.dtype)
        factors[:n] = V
        out = np.zeros((n, c))

        def strip(i0, i1, worker):
            rows, diagonal = recipe.rows(i0, i1), self._diagonal_of(recipe, i0, i1)
            total = out[i0:i1]
            for a, b, columns in self._spans(recipe, i0):
                cut = slice(a // width, -(-b // width))
                values, under = panels[cut], below[worker, cut]
                arguments = recipe.arguments(rows, columns)
                first = 0 if a == i0 else NO_DIAGONAL
                loop(*arguments, values, c, factors[i0:], first, diagonal, total, under)

        self._over_strips(strip, STRIP, workers)
        out += self._from_panels(below.sum(axis=0))
        return out.astype(self.dtype)

    def _from_panels(self, panels):
        """The reverse of `_panels_of`."""
        c = panels.shape[1]
        return panels.transpose(0, 2, 1).reshape(-1, c)[: self.shape[1]]

    def _symmetric_tile_matmat(self, recipe, V):
        """The same in tiles."""
        n, workers = self.shape[0], self._workers(TILE_ROWS, V.shape[1])
        totals = np.zeros((workers, n, V.shape[1]))

        def strip(i0, i1, worker):
            total = totals[worker]
            total[i0:i1] += self.tile(i0, i1, i0, i1, recipe=recipe) @ V[i0:i1]
            for a, b, K in self._tiles(recipe, i0, i1, i1, n):
                total[i0:i1] += K @ V[a:b]
                total[a:b] += K.T @ V[i0:i1]

        self._over_strips(strip, TILE_ROWS, workers)
        return totals.sum(axis=0).astype(self.dtype)

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``."""
        n, m = self.shape
        V = np.ascontiguousarray(V, dtype=self.dtype)
        c = V.shape[1]
        blocks = self.opaque is None and self.is_dense and c <= MOST_OUTPUTS
        if blocks and self.X.shape[1] <= TWICE_COLUMNS:
            U = self._weighted_residual(self.matmat(V), slice(None), targets, weights)
            return self.transposed().matmat(U), U
        U = np.empty((n, c), self.dtype)
        if not (n and m):
            return np.zeros((m, c), self.dtype), U
        # Whole rows of K are kept between the products.
        share = min(KEPT_BYTES, self.budget // (4 * parallel.n_threads()))
        height = max(1, share // (m * self.dtype.itemsize))
        block = self.X.block.ROWS
        height = min(STRIP, max(2 * block, height // block * block))
        if blocks and self.Z.keep:
            return self._kept_normal(V, U, targets, weights, height), U
        recipe = self.recipe()
        recipe.prepare()
        workers = self._workers(height, c)
        totals = np.zeros((workers, m, c))

        def strip(i0, i1, worker):
            K = np.empty((i1 - i0, m), self.dtype)
            u = np.zeros((i1 - i0, c))
            for a, b, tile in self._tiles(recipe, i0, i1, 0, m):
                u += tile @ V[a:b]
                K[:, a:b] = tile
            U[i0:i1] = self._weighted_residual(u, slice(i0, i1), targets, weights)
            totals[worker] += K.T @ U[i0:i1]

        self._over_strips(strip, height, workers)
        return totals.sum(axis=0).astype(self.dtype), U

    def quadratic_forms(self, programs, R):
        """``r' K r`` for each program and column of R, or None: not here.

        Shape (len(programs), b), float64.
        """
        kernels = [self.with_formula(p) for p in programs if p is not None]
        if len(kernels) < len(programs) or not all(k._mirrored for k in kernels):
            return None
        if hasattr(R, "rows"):
            R = R.rows(0, self.shape[0], np, np.int8)
        return np.stack([forms.quadratic_forms(k, R) for k in kernels])

    def _weighted_residual(self, u, cut, targets, weights):
        if targets is not None:
            u -= targets[cut]
        if weights is not None:
            u *= weights[cut, None]
        return u

    def _kept_normal(self, V, U, targets, weights, height):
        m, c = self.shape[1], V.shape[1]
        block = self.X.block
        recipe, panels = self.recipe(), self._panels_of(V)
        recipe.prepare()
        keep = recipe.loop("keep")
        transposed = codegen.transposed_function(self.dtype.name)
        workers = self._workers(height, c)
        below = np.zeros((workers, *panels.shape))
        size = (workers, height // block.ROWS * len(panels), block.ROWS, block.WIDTH)
        store = np.empty(size, self.dtype)
        columns = recipe.columns(0, m)

        def strip(i0, i1, worker):
            total = np.zeros((i1 - i0, c))
            arguments = recipe.arguments(recipe.rows(i0, i1), columns)
            first = i0 if self.symmetric else NO_DIAGONAL
            diagonal = self._diagonal_of(recipe, i0, i1)
            keep(*arguments, panels, c, first, diagonal, store[worker], total)
            u = self._weighted_residual(total, slice(i0, i1), targets, weights)
            factors = np.zeros((height, c), self.dtype)
            factors[: i1 - i0] = u
            U[i0:i1] = u
            transposed(store[worker], factors, i1 - i0, c, below[worker])

        self._over_strips(strip, height, workers)
        return self._from_panels(below.sum(axis=0)).astype(self.dtype)

    def logsumexp(self, log_weights=None):
        """Row log-sum-exp of log K + log_weights, shape (n,), float64."""
        n, m = self.shape
        recipe = self.recipe(log=True)
        out, width = np.full(n, -np.inf), self.Z.block.WIDTH
        logw, top = np.full(-(-m // width) * width, -np.inf), 0.0
        if log_weights is None:
            logw[:m] = 0.0
        else:  # their rounding to float32 is that of differences from the largest
            top = finite_top(log_weights)
            logw[:m] = np.asarray(log_weights, dtype=np.float64) - top
        recipe.prepare()
        blocks = isinstance(recipe, Recipe)
        loop = recipe.loop("logsumexp") if blocks else None
        logw = logw.reshape(-1, width).astype(self.dtype) if blocks else logw

        def strip(i0, i1, worker):
            peak, total = out[i0:i1], np.zeros(i1 - i0)
            if blocks:
                rows, diagonal = recipe.rows(i0, i1), self._diagonal_of(recipe, i0, i1)
                for a, b, columns in self._spans(recipe):
                    cut = logw[a // width : -(-b // width)]
                    first = i0 - a if self.symmetric else NO_DIAGONAL
                    arguments = recipe.arguments(rows, columns)
                    loop(*arguments, cut, first, diagonal, peak, total)
            else:
                for a, b, tile in self._tiles(recipe, i0, i1, 0, m):
                    metrics.logsumexp_update(tile, logw[a:b], peak, total)
            metrics.logsumexp_finish(peak, total)

        if out.size:
            self._over_strips(strip, self._strip_rows())
        return out + top

    def diagonal(self):
        """Entries (i, i) of a square matrix."""
        n = min(self.shape)
        recipe = self.recipe()
        if self.symmetric:
            return np.asarray(recipe.diagonal(0, n)).astype(self.dtype)
        out = np.empty(n, self.dtype)
        for i0 in range(0, n, 32):
            i1 = min(i0 + 32, n)
            out[i0:i1] = np.diagonal(self.tile(i0, i1, i0, i1, recipe=recipe))
        return out
