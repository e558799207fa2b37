"""What the loops over blocks need, for each way the rows may come."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ..kernels.program import Program
from . import codegen, metrics
from .points import View, check_signs, inverse_lengths, read

# Up to this many columns a distance is computed from differences; above, from inner
# products, one operation a column instead of two. They meet near 32 on AVX-512, where
# the rest of a block's work hides the difference.
DIRECT_COLUMNS = 32
# A squared distance below this share of the norms is recomputed from differences.
CLOSE = {"float32": 1e-3, "float64": 1e-9}
# The same of rows of norm 1, whose angles are roots of their distances.
UNIT_CLOSE = 1e-2
# With more pairs as close as that, differences from the start are faster.
MOST_CLOSE = 0.003
# Quantities that inner products and norms give.
DISTANCES = ("sqeuclidean", "unit_sqdist", "unit_sqsum")


def _close(leaves, dtype):
    """Below which share of the norms distances are recomputed."""
    return UNIT_CLOSE if any(v.is_unit for v in leaves) else CLOSE[dtype]


class Recipe:
    """Loops of a program's kernel over dense rows, with their arguments.

    Parameters
    ----------
    X, Z : Points
    program : Program
        The kernel, or its logarithm.
    dtype : dtype
    given : ndarray of shape (n + padding,), default=None
        What the formula takes from the call, one number a row.
    """

    def __init__(self, X, Z, program, dtype, given=None):
        self.X, self.Z, self.program, self.dtype = X, Z, program, dtype
        self.given = given
        self.params = program.params.astype(dtype)
        # CSR rows are not centred, so a dense other side may not be either.
        self.centred = not (X.is_sparse or Z.is_sparse)
        self.close = _close(program.pair_leaves, dtype.name)
        self.products = tuple(
            i for i, v in enumerate(program.pair_leaves) if self._is_product(v)
        )
        close = dtype.type(self.close)
        self.fixed = (program.width(X.shape[1]), close, self.params)

    def _is_product(self, leaf):
        """Whether a leaf is computed from inner products."""
        width = self.program.width(self.X.shape[1])
        if leaf.metric not in DISTANCES or width <= DIRECT_COLUMNS:
            return False
        sign = -1.0 if leaf.metric == "unit_sqsum" else 1.0
        share = self.Z.close_share(self._view(leaf), self.close, sign)
        return share <= MOST_CLOSE

    def prepare(self):
        """Lay out what is kept, with all threads, before each of them asks for it."""
        for side, ask in ((self.X, self.rows), (self.Z, self.columns)):
            if side.keep and side.shape[0]:
                ask(0, 1)
        if self.X is self.Z and self.X.keep:
            self.diagonal(0, 1)

    def loop(self, name):
        """A compiled loop; call it with `arguments`, then its own."""
        return codegen.loop_function(name, self.program, self.dtype.name, self.products)

    def rows(self, i0, i1):
        """What the blocks of rows ``i0:i1`` need, for `arguments`."""
        pairs = []
        for leaf in self.program.pair_leaves:
            rows, norms = self.X.rows(self._view(leaf), i0, i1)
            check_signs(leaf, rows)
            pairs.append((rows, norms))
        singles = {}
        for i, leaf in enumerate(self.program.row_leaves):
            if leaf.metric == "given_x":
                singles[i] = self.given[i0:]
            elif leaf.is_left:
                singles[i] = self.X.rows(View.of(leaf), i0, i1)[1]
        return pairs, singles

    def columns(self, j0, j1):
        """The same of columns ``j0:j1``, and how many samples come before j0."""
        pairs, skip = [], 0
        for leaf in self.program.pair_leaves:
            panels, norms, skip = self.Z.panels(self._view(leaf, True), j0, j1)
            check_signs(leaf, panels)
            pairs.append((panels, norms))
        singles = {}
        for i, leaf in enumerate(self.program.row_leaves):
            if not leaf.is_left:
                view = View.of(leaf, columns=True)
                _, singles[i], skip = self.Z.panels(view, j0, j1)
        if not pairs and not singles:
            skip = j0 % self.Z.block.WIDTH if self.Z.keep else 0
        return pairs, singles, skip

    def arguments(self, rows, columns):
        """Arguments of a loop, up to its own."""
        out = []
        for i, (x, z) in enumerate(zip(rows[0], columns[0], strict=True)):
            out += [x[0], z[0]]
            if i in self.products:
                out += [x[1], z[1]]
        singles = {**rows[1], **columns[1]}
        out += [singles[i] for i in range(len(self.program.row_leaves))]
        return (*out, *self.fixed)

    def _view(self, leaf, columns=False):
        return View.of(leaf, columns, self.centred)

    def tile(self, out, i0, i1, j0, j1):
        """Write entries ``[i0:i1, j0:j1]`` to `out`."""
        columns = self.columns(j0, j1)
        arguments = self.arguments(self.rows(i0, i1), columns)
        self.loop("tile")(*arguments, columns[2], out)

    def diagonal(self, lo, hi):
        """k(x, x) of rows ``lo:hi``."""
        return _diagonal(self, lo, hi)


def _diagonal(recipe, lo, hi):
    X, program = recipe.X, recipe.program
    if not X.keep or recipe.given is not None:
        return _diagonal_values(recipe, lo, hi)
    # Tile after tile asks for its part: the whole is computed once.
    whole = X.kept.once(
        ("diagonal", program), lambda: _diagonal_values(recipe, 0, X.shape[0])
    )
    return whole[lo:hi]


def _diagonal_values(recipe, lo, hi):
    given = 0.0 if recipe.given is None else recipe.given[lo:hi].astype(np.float64)
    return recipe.program.diagonal(
        hi - lo, lambda leaf: recipe.X.norms(leaf, lo, hi), given
    )


class SparseRecipe:
    """Tiles of a program's kernel where a side is sparse."""

    def __init__(self, X, Z, program, dtype, given=None):
        if program.is_mixed:
            raise TypeError("rows of points and scores must be dense: X.toarray()")
        self.X, self.Z, self.program, self.dtype = X, Z, program, dtype
        self.given = given
        self.params = program.params.astype(dtype)
        self.apply = codegen.apply_function(program, dtype.name)
        # Sums over columns that sparsity does not simplify, one dense tile each.
        self.dense = {
            leaf: Recipe(X, Z, Program.of_leaf(leaf), dtype)
            for leaf in program.pair_leaves
            if leaf.metric not in ("dot", *DISTANCES)
        }

    def prepare(self):
        """Lay out what is kept, before every thread asks for it."""
        for recipe in self.dense.values():
            recipe.prepare()
        for side in (self.X, self.Z):
            if side.is_sparse and side.keep:
                for leaf in self.program.pair_leaves + self.program.row_leaves:
                    if leaf not in self.dense:
                        side.csr(leaf, 0, 1)

    def tile(self, out, i0, i1, j0, j1):
        """Write entries ``[i0:i1, j0:j1]`` to `out`."""
        arguments, products = [], {}
        for leaf in self.program.pair_leaves:
            block = np.empty_like(out) if arguments or leaf is not self._first else out
            if leaf in self.dense:
                self.dense[leaf].tile(block, i0, i1, j0, j1)
            else:
                self._product(leaf, i0, i1, j0, j1, block, products)
            if block is not out:
                arguments.append(block)
        for leaf in self.program.row_leaves:
            if leaf.metric == "given_x":
                arguments.append(self.given[i0:i1])
                continue
            side, span = (self.X, (i0, i1)) if leaf.is_left else (self.Z, (j0, j1))
            norms = side.norms(leaf, *span)
            arguments.append(norms.astype(self.dtype, copy=False))
        self.apply(*arguments, self.params, out)

    @property
    def _first(self):
        return self.program.pair_leaves[0]

    def _product(self, leaf, i0, i1, j0, j1, out, products):
        """Not centred, so computed in float64; leaves share `products` of rows."""
        x, nx = self._rows(self.X, leaf, i0, i1)
        z, nz = self._rows(self.Z, leaf, j0, j1)
        key = leaf.scale, leaf.is_unit
        if key not in products:
            product = x @ z.T
            if sparse.issparse(product):
                product = product.toarray()
            products[key] = np.ascontiguousarray(product, dtype=np.float64)
        product = products[key]
        if leaf.metric in DISTANCES:
            # The norm of a sum is the distance from the opposite row.
            sign = -1.0 if leaf.metric == "unit_sqsum" else 1.0
            product, close = sign * product, _close((leaf,), "float64")
            if metrics.distances_from_sparse(product, nx, nz, close):
                x, z = _as_csr(x), _as_csr(sign * z)
                metrics.close_distances(product, nx, nz, close, x, z)
        out[...] = product

    def _rows(self, side, leaf, start, stop):
        if side.is_sparse:
            return side.csr(leaf, start, stop)
        rows = read(side.source, start, stop, side.name)
        rows = np.asarray(rows, dtype=np.float64)
        if leaf.scale is not None:
            rows = rows / np.array(leaf.scale)
        if leaf.is_unit:
            rows = rows * inverse_lengths((rows * rows).sum(axis=1))[:, None]
        return rows, (rows * rows).sum(axis=1)

    def diagonal(self, lo, hi):
        """k(x, x) of rows ``lo:hi``."""
        return _diagonal(self, lo, hi)


def _as_csr(rows):
    """Numbers, columns and ends of sparse or dense rows, columns in order."""
    rows = sparse.csr_array(rows)
    if not rows.has_sorted_indices:
        rows = rows.sorted_indices()
    return rows.data, rows.indices.astype(np.int64), rows.indptr.astype(np.int64)


class OpaqueRecipe:
    """Tiles of a kernel that is the user's own code."""

    def __init__(self, X, Z, opaque, log):
        self.X, self.Z, self.opaque, self.log = X, Z, opaque, log

    def prepare(self):
        """Nothing is kept: the rows go to the user's code as they came."""

    def tile(self, out, i0, i1, j0, j1):
        """Write entries ``[i0:i1, j0:j1]`` to `out`."""
        out[...] = self.opaque.block(self.X.raw(i0, i1), self.Z.raw(j0, j1))
        if self.log:
            np.log(out, out=out)

    def diagonal(self, lo, hi):
        """k(x, x) of rows ``lo:hi``."""
        values = np.asarray(self.opaque.diagonal(self.X.raw(lo, hi)))
        return np.log(values) if self.log else values
