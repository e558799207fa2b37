"""Tiles of a kernel matrix: leaves first, then the element function."""

from __future__ import annotations

import threading

import numpy as np
from scipy import sparse

from . import codegen, metrics
from .points import View, check_signs

# Up to this many columns a distance is computed from differences; above, as a matrix
# product. Measured on AVX-512: the two meet near 16.
DIRECT_COLUMNS = 16
# A squared distance below this share of the norms is recomputed from differences.
CLOSE = {"float32": 1e-3, "float64": 1e-9}


class TileFiller:
    """Writes tiles of a program's kernel; what does not depend on the tile is kept.

    Parameters
    ----------
    matrix : Matrix
        Whose rows are used.
    program : Program
        Its kernel, or the logarithm.
    """

    def __init__(self, matrix, program):
        self.X, self.Z, self.program = matrix.X, matrix.Z, program
        dtype = self.dtype = matrix.dtype
        self.params = program.params.astype(dtype)
        self.is_dense = matrix.is_dense
        self.leaves = [self._leaf(v, dtype.name) for v in program.pair_leaves]
        products = [i for i, v in enumerate(self.leaves) if v.expands]
        self.apply = codegen.apply_function(program, dtype.name, products)
        self.scratch = threading.local()

    def _leaf(self, leaf, name):
        by_product = leaf.metric == "dot" or (
            leaf.metric == "sqeuclidean"
            and (self.X.shape[1] > DIRECT_COLUMNS or not self.is_dense)
        )
        if not by_product:
            function = codegen.tile_function(leaf.metric, name)
            return DirectLeaf(leaf, self.is_dense, function)
        if not self.is_dense:
            return SparseLeaf(leaf)
        return ProductLeaf(leaf, self.dtype.type(CLOSE[name]))

    def __call__(self, out, i0, i1, j0, j1):
        """Write entries ``[i0:i1, j0:j1]`` to `out`."""
        arguments = []
        for leaf, block in zip(self.leaves, self._blocks(out), strict=True):
            if block is not out:
                arguments.append(block)
            arguments += leaf.tile(self.X, self.Z, i0, i1, j0, j1, block)
        for leaf in self.program.row_leaves:
            side, span = (
                (self.X, (i0, i1)) if leaf.metric == "norm_x" else (self.Z, (j0, j1))
            )
            norms = side.take(View(leaf.scale), *span)[1]
            arguments.append(norms.astype(self.dtype, copy=False))
        self.apply(*arguments, self.params, out)

    def _blocks(self, out):
        """A tile for each leaf: the first in `out`, the others in a buffer."""
        count = len(self.leaves)
        if count < 2:
            return [out][:count]
        buffer = getattr(self.scratch, "buffer", None)
        if buffer is None or buffer.size < (count - 1) * out.size:
            buffer = self.scratch.buffer = np.empty((count - 1) * out.size, self.dtype)
        rest = buffer[: (count - 1) * out.size].reshape(count - 1, *out.shape)
        return [out, *rest]

    def diagonal(self, lo, hi):
        """k(x, x) of rows ``lo:hi``."""
        return self.program.diagonal(
            hi - lo, lambda scale: self.X.take(View(scale), lo, hi)[1]
        )


class DirectLeaf:
    """A quantity summed over the columns, from the two entries of each."""

    expands = False

    def __init__(self, leaf, is_dense, function):
        self.leaf, self.function = leaf, function
        # CSR rows are not centred, so a dense other side may not be either.
        centred = is_dense and leaf.metric in ("sqeuclidean", "l1")
        self.rows = View(leaf.scale, centred)
        self.columns = View(leaf.scale, centred, columns=True)

    def tile(self, X, Z, i0, i1, j0, j1, out):
        """Write the leaf's tile; returns further arguments of ``apply``."""
        x, _ = X.dense(self.rows, i0, i1)
        z, offset = Z.columns(self.columns, j0, j1)
        check_signs(self.leaf, x)
        check_signs(self.leaf, z[:, offset : offset + j1 - j0])
        self.function(x, z, offset, out)
        return []


class ProductLeaf:
    """Inner products by BLAS, or the squared distances that follow from them."""

    def __init__(self, leaf, close):
        self.expands = leaf.metric == "sqeuclidean"
        self.view = View.of(leaf)
        self.close = close

    def tile(self, X, Z, i0, i1, j0, j1, out):
        """Write the leaf's tile; returns further arguments of ``apply``."""
        x, nx = X.take(self.view, i0, i1)
        z, nz = Z.take(self.view, j0, j1)
        np.matmul(x, z.T, out=out)
        return [x, z, nx, nz, self.close] if self.expands else []


class SparseLeaf:
    """As `ProductLeaf` for CSR rows: not centred, so computed in float64."""

    expands = False

    def __init__(self, leaf):
        self.leaf, self.view = leaf, View(leaf.scale)

    def tile(self, X, Z, i0, i1, j0, j1, out):
        """Write the leaf's tile; returns further arguments of ``apply``."""
        x, nx = X.take(self.view, i0, i1)
        z, nz = Z.take(self.view, j0, j1)
        product = x @ z.T
        if sparse.issparse(product):
            product = product.toarray()
        product = np.ascontiguousarray(product, dtype=np.float64)
        if self.leaf.metric == "sqeuclidean":
            nx, nz = nx.astype(np.float64), nz.astype(np.float64)
            metrics.distances_from_sparse(product, nx, nz)
        out[...] = product
        return []


class OpaqueFiller:
    """Writes tiles of a kernel that is the user's own code."""

    def __init__(self, matrix, log):
        self.X, self.Z, self.opaque, self.log = matrix.X, matrix.Z, matrix.opaque, log

    def __call__(self, out, i0, i1, j0, j1):
        """Write entries ``[i0:i1, j0:j1]`` to `out`."""
        out[...] = self.opaque.block(self.X.raw(i0, i1), self.Z.raw(j0, j1))
        if self.log:
            np.log(out, out=out)

    def diagonal(self, lo, hi):
        """k(x, x) of rows ``lo:hi``."""
        values = np.asarray(self.opaque.diagonal(self.X.raw(lo, hi)))
        return np.log(values) if self.log else values
