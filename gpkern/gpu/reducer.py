"""Launches of the fused kernels for one kernel matrix."""

from __future__ import annotations

from functools import cached_property

import cupy as cp
import numpy as np

from ..cpu.points import View, check_signs
from . import compiler, fast, packed, plans, sources

NOTHING = np.uintp(0)


def _or_nothing(array):
    return NOTHING if array is None else array


class Reducer:
    """Reductions over K(X, Z) or K(X, X), or over its logarithm.

    Parameters
    ----------
    program : Program
    X, Z : Points
    kind : {"direct", "wide", "mma", "wgmma"}
        From `plans.kind_of`.
    parts : {1, 2}
        2 for float32 accuracy, 1 for that of TF32.
    diagonal : array of shape (n,) or None
        Entries on the diagonal of the symmetric matrix.
    launch_rows : int
        Rows of one launch, at most; a multiple of 256.
    given : array of shape (n,) or None
        What the formula takes from the call, one number a row.
    family : dict
        Where functions, numbers and decisions are kept that no rows of X change.
    """

    def __init__(
        self, program, X, Z, kind, parts, diagonal, launch_rows, given, family
    ):
        self.given, self.family = given, family
        self.program, self.X, self.Z, self.kind = program, X, Z, kind
        self.width = program.width(X.shape[1])
        self.dtype, self.by_products = np.dtype(X.dtype), kind in ("mma", "wgmma")
        self.parts, self.diagonal, self.launch_rows = parts, diagonal, launch_rows
        self.processors, self.shared, _ = compiler.properties(
            cp.cuda.runtime.getDevice()
        )
        self.key = program.key, program.params.tobytes()
        self.form, self.params = self._kept_once(("numbers", self.key), self._numbers)

    def _kept_once(self, key, make):
        if key not in self.family:
            self.family[key] = make()
        return self.family[key]

    def _numbers(self):
        form = fast.lowered(self.program, self.width)
        return form, cp.asarray(np.append(form.params, 0.0).astype(self.dtype))

    # -------------------------------------------------------------- the reductions

    def matmat(self, V, budget, targets=None, weights=None):
        """``weights * (K @ V - targets)``, shape (n, c)."""
        n, d, c = *self.X.shape, V.shape[1]
        out = cp.empty((n, c), self.dtype)
        most = plans.most_outputs(self.kind, self.shared)
        pays = self.by_products and plans.product_pays(d, c, self.parts, most)
        if not (pays and self._panel_rows(budget)):
            for i0, i1 in self._row_chunks(self.launch_rows):
                self._rows_of_product(i0, i1, V, targets, weights, out)
            return out
        # The first columns are a by-product of K; the others are one matrix product.
        height, panel = self._panel(budget)
        padded = cp.zeros((panel.shape[1], c - most), np.float32)
        padded[: V.shape[0]] = V[:, most:]
        for i0, i1 in self._row_chunks(height):
            kept = panel[: i1 - i0]
            self._rows_of_product(i0, i1, V, None, None, out, kept, most)
            out[i0:i1, most:] = kept @ padded
        if targets is not None:
            out -= targets
        if weights is not None:
            out *= weights[:, None]
        return out

    def _panel_rows(self, budget):
        """Rows of K that half of the budget holds, in steps of 256; 0 for none."""
        width = -(-self.Z.shape[0] // plans.PADDING) * plans.PADDING
        rows = min(budget // (8 * width), self.launch_rows, plans.LAUNCH_ROWS)
        return int(rows // 256 * 256)

    def _panel(self, budget, at_most=plans.LAUNCH_ROWS):
        """Rows that are worked on together, and memory for K of them."""
        width = -(-self.Z.shape[0] // plans.PADDING) * plans.PADDING
        height = min(at_most, self._panel_rows(budget))
        return height, cp.zeros((min(height, self.X.shape[0]), width), np.float32)

    def keeps(self, parts, budget):
        """Whether `normal_matmat` by kept values is faster than by two products.

        Parameters
        ----------
        parts : {1, 2}
            Of the second product.
        budget : int
        """
        wide = self.by_products and self.X.shape[1] >= plans.KEPT_COLUMNS[parts]
        return wide and self._panel_rows(budget) > 0

    def normal_matmat(self, V, targets, weights, budget):
        """``K.T @ U`` and U, the `matmat`; K is computed once, panel by panel."""
        n, m = self.X.shape[0], self.Z.shape[0]
        height, panel = self._panel(budget)
        U, total = cp.empty((n, V.shape[1]), np.float32), cp.zeros((m, V.shape[1]))
        for i0, i1 in self._row_chunks(height):
            kept = panel[: i1 - i0]
            self._rows_of_product(i0, i1, V, targets, weights, U, kept)
            total += (kept.T @ U[i0:i1])[:m]
        return total.astype(np.float32), U

    def symmetric_matmat(self, V, budget):
        """K(X, X) @ V: a panel of K, from the diagonal on, serves both of its sides."""
        n = self.X.shape[0]
        # Of sixteen panels a seventeenth of the work is done twice.
        share = max(256, n // 16 // 256 * 256)
        height, panel = self._panel(budget, share)
        out, below = cp.empty((n, V.shape[1]), self.dtype), cp.zeros((n, V.shape[1]))
        for i0, i1 in self._row_chunks(height):
            rows, width = i1 - i0, -(-(n - i0) // plans.PADDING) * plans.PADDING
            kept = panel.ravel()[: rows * width].reshape(rows, width)
            self._rows_of_product(i0, i1, V, None, None, out, kept, start=i0)
            below[i1:] += (kept.T @ V[i0:i1])[rows : n - i0]
        out += below.astype(self.dtype)
        return out

    def _rows_of_product(
        self, i0, i1, V, targets, weights, out, kept=None, columns=None, start=0
    ):
        """Some rows of `matmat` into `out`, and K into `kept`.

        Of the first `columns` columns of V, and of K's columns from `start` on.
        """
        c = columns or V.shape[1]
        most = plans.most_outputs(self.kind, self.shared)
        for first in range(0, c, most):
            count = min(most, c - first)
            plan = self._plan(count, False)
            rows, operand = (self._rows(plan, i0, i1), i0, i1), (V, first, count)
            parts = []
            for z, j0, j1 in self._column_chunks(plan, start):
                store = None if kept is None else kept[:, j0 - start :]
                parts.append(self._launch(plan, rows, (z, j0, j1), operand, store))
            self._sum(parts, plan, i0, i1, first, count, targets, weights, out)
            kept = None

    def logsumexp(self, log_weights):
        """Row log-sum-exp, float64; `program` is the logarithm of the kernel."""
        out = cp.empty(self.X.shape[0])
        plan = self._plan(1, True)
        logw = log_weights.reshape(-1, 1)
        for i0, i1 in self._row_chunks(self.launch_rows):
            rows = self._rows(plan, i0, i1), i0, i1
            parts = [
                self._launch(plan, rows, columns, (logw, 0, 1))
                for columns in self._column_chunks(plan)
            ]
            parts = parts[0] if len(parts) == 1 else cp.concatenate(parts)
            function = self._helper("logsumexp_parts")
            n = i1 - i0
            function(
                (-(-n // 128),),
                (128,),
                (parts, _i(parts.shape[0]), _i(parts.shape[1]), _i(n), out[i0:i1]),
            )
        return out

    # ------------------------------------------------------------------- the parts

    def _helper(self, name):
        ctype = "float" if self.dtype == np.float32 else "double"
        return compiler.function(sources.complete("operands.cu"), name, T=ctype)

    def _plan(self, outputs, logsumexp):
        d, dtype = self.width, self.dtype.name
        leaves, alone = len(self.program.pair_leaves), len(self.program.row_leaves)
        if self.kind == "direct":
            return plans.plan_direct(d * leaves + alone, outputs, logsumexp, dtype)
        if self.kind == "wide":
            return plans.plan_wide(leaves, outputs, logsumexp, dtype)
        return plans.plan(
            self.kind,
            d,
            outputs,
            self.parts,
            logsumexp,
            self._exact,
            self.shared,
        )

    def _row_chunks(self, limit):
        n, height = self.X.shape[0], self.X.chunk(limit)
        return [(i0, min(i0 + height, n)) for i0 in range(0, n, height)]

    def _column_chunks(self, plan, start=0):
        m, width = self.Z.shape[0], self.Z.chunk(self.Z.shape[0])
        for j0 in range(start, m, width):
            j1 = min(j0 + width, m)
            yield self._columns(plan, j0, j1), j0, j1

    def _rows(self, plan, i0, i1):
        if self.by_products:
            return self._packed(self.X, i0, i1)
        columns = self._as_columns(self.X, True, i0, i1)
        return columns if self.kind == "direct" else packed.tiles_of(columns, plan.rows)

    def _packed(self, side, start, stop):
        view = View.of(self.program.pair_leaves[0])
        depth = plans.depth_of(self.kind, self.X.shape[1])
        return side.packed(view, depth, self.parts, start, stop)

    def _columns(self, plan, j0, j1):
        if self.by_products:
            return self._packed(self.Z, j0, j1)
        leaves = self.program.leaf_key, self.form.fold
        key = ("tiles", self.kind, leaves, plan.columns)

        def make(start, stop):
            columns = self._as_columns(self.Z, False, start, stop)
            return packed.tiles_of(columns, plan.columns)

        return self.Z.kept(key, make, j0, j1)

    def _as_columns(self, side, left, start, stop):
        """All that the kernel reads of one side: shape (numbers, stop - start)."""
        found, n, d = [], stop - start, self.width
        for leaf in self.program.pair_leaves:
            columns, _ = side.take(View.of(leaf, columns=True), start, stop)
            check_signs(leaf, columns)
            if self.form.sign:
                fold = self.form.fold
                columns = columns * (fold if leaf.metric == "l1" else fold**0.5)
            found.append(columns)
            if self.kind == "wide" and d % plans.WIDE_DEPTH:
                found.append(cp.zeros((-d % plans.WIDE_DEPTH, n), self.dtype))
        for leaf in self.program.row_leaves:
            if leaf.is_left != left:
                found.append(cp.zeros((1, n), self.dtype))
            elif leaf.metric == "given_x":
                found.append(self.given[None, start:stop])
            else:
                found.append(side.take(View.of(leaf), start, stop)[1][None, :])
        out = found[0] if len(found) == 1 else cp.concatenate(found)
        return cp.ascontiguousarray(out)

    @cached_property
    def _exact(self):
        """Whether distances far below the norms must be computed again."""
        program = self.program
        first = program.pair_leaves[0]
        if first.metric == "dot":
            return False
        if program.is_rough or first.is_unit:
            return True

        def by_norms():
            if not self.Z.keep:
                return True
            sides = (side for side in (self.X, self.Z) if side.keep)
            norm = max(self._packed(s, 0, s.shape[0]).largest_norm for s in sides)
            return plans.slope(program) * norm > plans.SAFE_SLOPE

        # Waits for the GPU, so once, whatever rows are X at first.
        return self._kept_once(("exact", self.key, program.leaf_key), by_norms)

    def _launch(self, plan, rows, columns, operand, kept=None):
        """Parts of one chunk of rows against one chunk of columns.

        Parameters
        ----------
        plan : Plan
        rows, columns : tuple
            What the kernel reads of them, the first and the last.
        operand : tuple
            V, the first of its columns, and how many.
        kept : array of shape (rows, at least columns), default=None
            Where K goes.
        """
        (x, i0, i1), (z, j0, j1), (V, first, count) = rows, columns, operand
        n, m = i1 - i0, j1 - j0
        row_blocks, tiles = -(-n // plan.rows), -(-m // plan.columns)
        count_splits, each = plans.splits(
            row_blocks, tiles, plan.blocks, self.processors
        )
        padded = row_blocks * plan.rows
        logsumexp = bool(plan.macros["LOGSUMEXP"])
        diagonal = None
        if self.diagonal is not None and i0 < j1 and j0 < i1:
            diagonal = self.diagonal[i0:i1]
        width = plan.macros.get("C") or max(1, 8 * plan.macros["CG"])
        shape = (count_splits * plan.parts_per_split, padded, 2 if logsumexp else width)
        out = cp.empty(shape)
        operand = self._lay_out(
            plan, V[j0:j1], first, count, z, tiles, width, logsumexp
        )
        d = self.width
        if self.by_products:
            arguments = (x.data, z.data, x.norms, operand, x.scale, z.scale)
            arguments += (self.params, x.rows, z.rows, _or_nothing(z.factor))
            given = None if self.given is None else self.given[i0:i1]
            arguments += (_or_nothing(diagonal), _or_nothing(given), out)
            stride = 0 if kept is None else kept.strides[0] // kept.itemsize
            arguments += (_or_nothing(kept), np.int64(stride))
            arguments += (np.float32(self.form.fold), _i(n), _i(m), _i(d))
            arguments += (_i(i0 - j0), _i(-(-d // plan.macros["KS"])))
        else:
            direct = self.kind == "direct"
            size = np.int64(x.shape[1]) if direct else _i(-(-d // plan.macros["KS"]))
            arguments = (x, z, operand, self.params, _or_nothing(diagonal), out)
            arguments += (_i(n), size, _i(i0 - j0))
        function = self._function(plan, diagonal is not None, kept is not None)
        function(
            (row_blocks, count_splits),
            (plan.threads,),
            (*arguments, _i(tiles), _i(each), _i(padded)),
            shared_mem=plan.shared_bytes,
        )
        return out

    def _function(self, plan, diagonal, store):
        """The compiled kernel, looked for once for each set of options."""

        def make():
            macros = plan.macros | {"DIAGONAL": int(diagonal)}
            if self.by_products:
                macros["STORE"] = int(store)
            source = sources.reduction(
                self.kind,
                self.program,
                self.form,
                self.width,
                plan.columns,
                self.dtype.name,
            )
            function = compiler.function(source, "reduce", **macros)
            if plan.shared_bytes > 48 << 10:
                function.max_dynamic_shared_size_bytes = plan.shared_bytes
                function.preferred_shared_memory_carveout = 100
            return function

        key = ("function", self.kind, self.key, plan, diagonal, store)
        return self._kept_once(key, make)

    def halves(self, outputs, budget):
        """Whether `symmetric_matmat` is faster than `matmat`, for columns of V."""
        if outputs > plans.most_outputs(self.kind, self.shared):
            return False
        mirrored = self.diagonal is not None and self.given is None
        wide = self.parts == 2 and self.keeps(self.parts, budget)
        tall = self.X.shape[0] >= 4 * plans.PADDING
        return mirrored and wide and tall and self.program.is_symmetric

    @property
    def _norm_factor(self):
        """Norms that stand in a distance are multiplied by what it is."""
        return 1.0 if self.program.pair_leaves[0].metric == "dot" else self.form.fold

    def _lay_out(self, plan, V, first, count, z, tiles, width, logsumexp):
        """V in tiles, with the norms of Z beside it where the kernel reads them."""
        norms = self.by_products
        stride = plan.columns + (8 if norms else 0)
        size = width * stride + (plan.columns if norms else 0)
        out = cp.empty((tiles, size), self.dtype)
        self._helper("lay_out")(
            (min(4096, -(-out.size // 256)),),
            (256,),
            (
                V,
                _i(V.shape[0]),
                _i(V.shape[1]),
                _i(first),
                _i(count),
                _i(width),
                _i(plan.columns),
                _i(stride),
                self.dtype.type(-np.inf if logsumexp else 0.0),
                z.norms if norms else NOTHING,
                self.dtype.type(self._norm_factor),
                out,
                _i(tiles),
            ),
        )
        return out

    def _sum(self, parts, plan, i0, i1, first, count, targets, weights, out):
        parts = parts[0] if len(parts) == 1 else cp.concatenate(parts)
        rows, c = i1 - i0, out.shape[1]
        self._helper("sum_parts")(
            (min(4096, -(-rows * count // 256)),),
            (256,),
            (
                parts,
                _i(parts.shape[0]),
                _i(parts.shape[1]),
                _i(parts.shape[2]),
                _i(rows),
                _i(c),
                _i(first),
                _i(count),
                NOTHING if targets is None else targets[i0:i1],
                NOTHING if weights is None else weights[i0:i1],
                out[i0:i1],
            ),
        )


def _i(number):
    return np.int32(number)
