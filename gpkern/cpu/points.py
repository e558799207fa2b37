"""The rows of a data set as the blocks need them: cast, centred, scaled, with norms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy import sparse

from .._kept import Kept
from .._validation import is_sliceable
from . import parallel
from .simd import BLOCKS

# How far above the mean distance from the mean the largest one may be.
LONELY = 100.0
# Rows prepared by one task.
CHUNK = 6144


@dataclass(frozen=True)
class View:
    """How a leaf wants the rows: which length scales, centred or not, as columns.

    Parameters
    ----------
    scale : tuple of float or None
    centred : bool
    columns : bool
        Transposed, for loops that run along the samples: on a CPU in panels.
    mix : tuple of float or None
        How the two vectors that a row holds are combined.
    unit : bool
        Divided by their norms.
    """

    scale: tuple | None = None
    centred: bool = False
    columns: bool = False
    mix: tuple | None = None
    unit: bool = False

    @classmethod
    def of(cls, leaf, columns=False, centred=True):
        """How a leaf wants its rows."""
        centred = centred and leaf.metric in ("sqeuclidean", "l1")
        return cls(leaf.scale, centred, columns, leaf.mix, leaf.is_unit)

    def mixed(self, rows):
        """Rows, or their middle, as this view combines them; in float64."""
        if self.mix is None:
            return rows
        half, (a, b) = rows.shape[-1] // 2, self.mix
        return a * rows[..., :half].astype("f8") + b * rows[..., half:].astype("f8")


def check_signs(leaf, rows):
    """The chi-squared distance is one of histograms."""
    if leaf.metric == "chi2" and rows.size and rows.min() < 0:
        raise ValueError("a chi2 kernel needs X without negative values")


class Points:
    """Rows of one side of a kernel matrix.

    Parameters
    ----------
    source : ndarray, memmap, sliceable array or CSR matrix of shape (n, d)
    dtype : dtype
        float32 or float64, of the tiles.
    centre : ndarray of shape (d,) or None
        Subtracted, in float64, where a view asks for centred rows.
    keep : bool
        Whether prepared rows of the whole set may stay in memory.
    room : int, default=2**30
        Bytes that may stay, prepared for several length scales or kernels.
    name : str, default="X"
        For messages.
    """

    def __init__(self, source, dtype, centre, keep, room=2**30, name="X"):
        self.source, self.dtype, self.centre, self.keep = source, dtype, centre, keep
        self.name, self.shape = name, source.shape
        self.is_sparse = sparse.issparse(source)
        self.block = BLOCKS[np.dtype(dtype).name]
        self.kept = Kept(room)

    def rows(self, view, start, stop):
        """Dense rows from `start` on, and their squared norms.

        Returns
        -------
        rows : ndarray of shape (stop - start + padding, d)
            The last row repeated up to a multiple of the height of a block.
        norms : ndarray of shape (stop - start + padding,)
        """
        height = self.block.ROWS
        size = -(-(stop - start) // height) * height
        if not self.keep:
            return self._prepare(view, start, stop, size)
        rows, norms = self._all(view, self.shape[0] + height)
        return rows[start : start + size], norms[start : start + size]

    def panels(self, view, start, stop):
        """The same as panels of columns, the last row repeated to fill the last.

        Returns
        -------
        panels : ndarray of shape (n_panels, d, width)
        norms : ndarray of shape (n_panels, width)
        skip : int
            Where row `start` is in the first panel.
        """
        width = self.block.WIDTH
        if not self.keep:
            size = -(-(stop - start) // width) * width
            return *self._prepare(view, start, stop, size), 0
        first, last = start // width, -(-stop // width)
        panels, norms = self._all(view, -(-self.shape[0] // width) * width)
        return panels[first:last], norms[first:last], start - first * width

    def csr(self, leaf, start, stop):
        """CSR rows in float64 as a leaf has them, and their squared norms."""
        if not self.keep:
            return self._prepare_sparse(leaf, start, stop)
        rows, norms = self.kept.once(
            ("csr", leaf.scale, leaf.is_unit),
            lambda: self._prepare_sparse(leaf, 0, self.shape[0]),
        )
        return rows[start:stop], norms[start:stop]

    def norms(self, leaf, start, stop):
        """Squared norms of rows as a leaf has them."""
        if self.is_sparse:
            return self.csr(leaf, start, stop)[1]
        return self.rows(View.of(leaf, centred=False), start, stop)[1][: stop - start]

    def close_share(self, view, close, sign=1.0, sample=128):
        """Share of pairs whose squared distance is below `close` times the norms.

        With a sign of -1, of the distance from the opposite of a row.
        """

        def counted():
            step = -(-self.shape[0] // sample)
            some = read(self.source, 0, self.shape[0], self.name, step)
            few = Points(some, self.dtype, self.centre, keep=False)
            n = few.shape[0]
            rows, norms = (a[:n].astype(np.float64) for a in few.rows(view, 0, n))
            total = norms[:, None] + norms[None, :]
            near = total - 2.0 * sign * (rows @ rows.T) < close * total
            pairs = max(1, n * (n - 1))
            return float(near.sum() - np.trace(near)) / pairs

        return self.kept.once(("close", view, sign), counted)

    def some(self, rows):
        """Some of the rows, in the order given."""
        if is_sliceable(self.source):
            return self.raw(0, self.shape[0])[rows]
        part = self.source[rows]
        return part if self.is_sparse else np.asarray(part, dtype=self.dtype)

    def raw(self, start, stop):
        """Rows as they came, for kernels that are the user's own code."""
        rows = read(self.source, start, stop, self.name)
        return rows if self.is_sparse else np.asarray(rows, dtype=self.dtype)

    def _all(self, view, size):
        return self.kept.once(view, lambda: self._prepare(view, 0, self.shape[0], size))

    def _prepare(self, view, start, stop, size):
        """Rows ``start:stop`` in a view, the last repeated up to `size`."""
        d = self.shape[1] if view.mix is None else self.shape[1] // 2
        shift = self.centre if view.centred and not self.is_sparse else None
        shift = np.zeros(d) if shift is None else view.mixed(shift)
        factor = np.ones(d) if view.scale is None else 1.0 / np.array(view.scale)
        factor = np.broadcast_to(factor, d).copy()
        width = self.block.WIDTH if view.columns else 1
        count = size // width
        out = np.empty((count, d, width) if view.columns else (size, d), self.dtype)
        norms = np.empty((count, width) if view.columns else size, self.dtype)
        pack = _pack_panels if view.columns else _pack_rows

        def chunk(index, worker):
            a = index * CHUNK
            b = min(a + CHUNK, size)
            # Beyond `stop` there is padding, which repeats the last row.
            first, last = min(start + a, stop - 1), min(start + b, stop)
            rows = read(self.source, first, last, self.name)
            rows = rows.toarray() if self.is_sparse else np.asarray(rows)
            if rows.dtype not in (np.float32, np.float64):
                rows = rows.astype(np.float64)
            rows = np.ascontiguousarray(view.mixed(rows))
            cut = slice(a // width, b // width)
            pack(rows, shift, factor, view.unit, out[cut], norms[cut])

        if stop > start:
            parallel.run(chunk, -(-size // CHUNK))
        return out, norms

    def _prepare_sparse(self, leaf, start, stop):
        # Centring would fill the zeros; float64 makes up for the cancellation.
        rows = sparse.csr_array(self.source[start:stop], dtype=np.float64)
        if leaf.scale is not None:
            rows = rows @ sparse.diags_array(1.0 / np.array(leaf.scale))
            rows = sparse.csr_array(rows)
        if leaf.is_unit:
            lengths = inverse_lengths(_square_sums(rows))
            rows = sparse.csr_array(sparse.diags_array(lengths) @ rows)
        return rows, _square_sums(rows)


def _square_sums(rows):
    return np.asarray(rows.multiply(rows).sum(axis=1)).ravel()


def inverse_lengths(norms):
    """One over the lengths of rows with these squared norms; 1 for rows of zeros."""
    return 1.0 / np.sqrt(np.where(norms > 0, norms, 1.0))


@njit(nogil=True, cache=True, error_model="numpy")
def _inverse_length(row, shift, factor):
    """The same of a single row, shifted and scaled."""
    total = 0.0
    for k in range(shift.size):
        total += ((row[k] - shift[k]) * factor[k]) ** 2
    return 1.0 / np.sqrt(total) if total > 0.0 else 1.0


@njit(nogil=True, cache=True, error_model="numpy")
def _pack_rows(source, shift, factor, unit, out, norms):
    last = source.shape[0] - 1
    for i in range(out.shape[0]):
        row, total = source[min(i, last)], 0.0
        length = _inverse_length(row, shift, factor) if unit else 1.0
        for k in range(shift.size):
            # In float64: the offset may be large.
            out[i, k] = (row[k] - shift[k]) * factor[k] * length
            total += np.float64(out[i, k]) * np.float64(out[i, k])
        norms[i] = total


@njit(nogil=True, cache=True, error_model="numpy")
def _pack_panels(source, shift, factor, unit, out, norms):
    last, width = source.shape[0] - 1, out.shape[2]
    for q in range(out.shape[0]):
        for j in range(width):
            i = q * width + j
            row, total = source[min(i, last)], 0.0
            length = _inverse_length(row, shift, factor) if unit else 1.0
            for k in range(shift.size):
                out[q, k, j] = (row[k] - shift[k]) * factor[k] * length
                total += np.float64(out[q, k, j]) * np.float64(out[q, k, j])
            norms[q, j] = total


def read(source, start, stop, name, step=1):
    """Rows of a source, those of a data set on disk checked as they come."""
    rows = source[start:stop:step] if step > 1 else source[start:stop]
    if is_sliceable(source):
        rows = np.asarray(rows)
        if rows.dtype.kind == "f" and not _is_finite(rows):
            raise ValueError(
                f"Input {name} contains NaN or infinity in rows {start} to {stop - 1}."
            )
    return rows


def _is_finite(rows):
    """Whether all entries are, by all threads: reading must keep up with a GPU."""
    good = []

    def check(a, b):
        with np.errstate(over="ignore", invalid="ignore"):
            good.append(np.isfinite(rows[a:b].sum()) or np.isfinite(rows[a:b]).all())

    parallel.over_rows(check, rows)
    return all(good)


def centre_of(source, name="X", at_most=4096):
    """The middle of a spread of rows: near enough to most of them to keep digits.

    Their mean, and in columns in which few rows are far from all others, such as a
    value that stands for a missing one, their median.
    """
    if sparse.issparse(source):
        return None
    step = max(1, -(-source.shape[0] // at_most))
    rows = read(source, 0, source.shape[0], name, step)
    rows = np.asarray(rows, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=0)
        off = abs(rows - mean)
        lonely = ~(off.max(axis=0) <= LONELY * off.mean(axis=0))
    if lonely.any():
        mean[lonely] = np.median(rows[:, lonely], axis=0)
    return mean
