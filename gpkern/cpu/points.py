"""The rows of a data set as the tiles need them: cast, centred, scaled, with norms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse


@dataclass(frozen=True)
class View:
    """How a leaf wants the rows: which length scales, centred or not, as columns.

    Parameters
    ----------
    scale : tuple of float or None
    centred : bool
    columns : bool
        Transposed, for loops that run along the samples.
    """

    scale: tuple | None = None
    centred: bool = False
    columns: bool = False

    @classmethod
    def of(cls, leaf, columns=False):
        """How a leaf wants its rows."""
        return cls(leaf.scale, leaf.metric in ("sqeuclidean", "l1"), columns)


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
    """

    def __init__(self, source, dtype, centre, keep):
        self.source, self.dtype, self.centre, self.keep = source, dtype, centre, keep
        self.shape = source.shape
        self.is_sparse = sparse.issparse(source)
        self._kept = {}

    def take(self, view, start, stop):
        """Rows ``start:stop`` in a view, with their squared norms.

        Returns
        -------
        rows : ndarray of shape (stop - start, d)
            CSR in float64 for a sparse source.
        norms : ndarray of shape (stop - start,)
        """
        if not self.keep:
            return self._prepare(view, start, stop)
        rows, norms = self._all(view)
        return rows[start:stop], norms[start:stop]

    def columns(self, view, start, stop):
        """A view with ``columns=True`` that holds rows ``start:stop``.

        Returns
        -------
        columns : ndarray of shape (d, at least stop - start)
            Contiguous: all rows where they are kept.
        offset : int
            Where row `start` is in it.
        """
        if not self.keep:
            return self._prepare(view, start, stop)[0], 0
        return self._all(view)[0], start

    def _all(self, view):
        if view not in self._kept:
            self._kept[view] = self._prepare(view, 0, self.shape[0])
        return self._kept[view]

    def dense(self, view, start, stop):
        """As `take`, but never sparse."""
        rows, norms = self.take(view, start, stop)
        if sparse.issparse(rows):
            rows = rows.toarray().astype(self.dtype)
        return rows, norms

    def raw(self, start, stop):
        """Rows as they came, for kernels that are the user's own code."""
        rows = self.source[start:stop]
        return rows if self.is_sparse else np.asarray(rows, dtype=self.dtype)

    def _prepare(self, view, start, stop):
        rows = self.source[start:stop]
        if self.is_sparse and not view.columns:
            return self._prepare_sparse(rows, view.scale)
        rows = rows.toarray() if self.is_sparse else np.asarray(rows)
        if view.centred and not self.is_sparse:
            rows = rows - self.centre  # in float64: the offset may be large
        if view.scale is not None:
            rows = rows / np.array(view.scale)
        rows = np.ascontiguousarray(rows.T if view.columns else rows, dtype=self.dtype)
        norms = np.einsum("ij,ij->j" if view.columns else "ij,ij->i", rows, rows)
        return rows, norms

    def _prepare_sparse(self, rows, scale):
        # Centring would fill the zeros; float64 makes up for the cancellation.
        rows = sparse.csr_array(rows, dtype=np.float64)
        if scale is not None:
            rows = rows @ sparse.diags_array(1.0 / np.array(scale))
            rows = sparse.csr_array(rows)
        return rows, np.asarray(rows.multiply(rows).sum(axis=1)).ravel()


def centre_of(source, at_most=4096):
    """Mean of a spread of rows: near enough to the middle to keep digits."""
    if sparse.issparse(source):
        return None
    step = max(1, -(-source.shape[0] // at_most))
    return np.asarray(source[::step], dtype=np.float64).mean(axis=0)
