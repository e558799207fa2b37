"""A kernel matrix whose rows, or columns, or both, are blocks of Dask arrays."""

from __future__ import annotations

from functools import cached_property

import dask.array as da
import numpy as np

from .._device import is_dask
from .._validation import is_extreme, working_dtype
from ..operator import KernelOperator
from . import work
from .arrays import aligned, check_blocks
from .compute import everywhere, literal, persist
from .graphs import over_blocks, total_over_blocks
from .pairs import over_pairs


class DaskKernelOperator(KernelOperator):
    """K(X, Z) where X or Z is a Dask array.

    What has a number for each row of a Dask array is one too, and lazy; what is summed
    over its rows is computed and comes as a NumPy array. The other side, if it is no
    Dask array, is sent to each worker once, and vectors with each product.

    Parameters
    ----------
    Of `KernelOperator`; ``device`` is that of the workers.
    """

    @classmethod
    def of(cls, kernel, X, Z, device, budget, precision, dtype, flipped=False):
        """Of checked arguments; `device` is the driver's."""
        self = object.__new__(cls)
        X = check_blocks(X) if is_dask(X) else X
        Z = check_blocks(Z, "Z") if is_dask(Z) else Z
        if dtype is None:
            dtype = working_dtype(X, Z)
            plain = [a for a in (X, Z) if a is not None and not is_dask(a)]
            if dtype == np.float32 and is_extreme(*plain):
                dtype = np.dtype(np.float64)
        self.kernel, self.device, self.X, self.Z = kernel, device, X, Z
        self.options = np.dtype(dtype), budget, precision
        self.flipped = flipped
        n, m = X.shape[0], (X if Z is None else Z).shape[0]
        self._init_linear(dtype, (m, n) if flipped else (n, m))
        return self

    def _with(self, **changes):
        new = {
            "kernel": self.kernel,
            "X": self.X,
            "Z": self.Z,
            "flipped": self.flipped,
            "precision": self.options[2],
            **changes,
        }
        dtype, budget, _ = self.options
        kernel, precision = new["kernel"], new["precision"]
        return DaskKernelOperator.of(
            kernel,
            new["X"],
            new["Z"],
            self.device,
            budget,
            precision,
            dtype,
            new["flipped"],
        )

    def __reduce__(self):
        return DaskKernelOperator.of, (
            self.kernel,
            self.X,
            self.Z,
            self.device,
            self.options[1],
            self.options[2],
            self.options[0],
            self.flipped,
        )

    # -------------------------------------------------------------------- views

    def with_kernel(self, kernel):
        """Operator of another kernel on the same rows."""
        return self._with(kernel=kernel)

    def with_precision(self, precision):
        """Operator of the same rows in another `precision`."""
        return self._with(precision=precision)

    def _adjoint(self):
        return self._with(flipped=not self.flipped)

    _transpose = _adjoint

    # --------------------------------------------------------------- reductions

    @cached_property
    def _held(self):
        """What every worker holds: the side that is no Dask array, if there is one."""
        array, side = None, "columns"
        if self.Z is not None and not is_dask(self.Z):
            array = self.Z
        elif not is_dask(self.X):
            array, side = self.X, "rows"
        where = self.device.workers
        return everywhere(work.Held(self.kernel, array, side, where, *self.options))

    def _operand(self, name, array, *shape):
        if not is_dask(array):
            return super()._operand(name, array, *shape)
        if array.shape != shape:
            wanted = ", ".join(map(str, shape))
            raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
        return array

    def dot(self, V):
        """``K @ V``, for V of shape (n_cols,) or (n_cols, c)."""
        V = V if is_dask(V) else np.asarray(V)
        m = self.shape[1]
        if V.ndim not in (1, 2) or V.shape[0] != m:
            raise ValueError(f"dimension mismatch: {self.shape}, {V.shape}")
        if V.ndim == 1:
            return self._matmat(V.reshape(-1, 1))[:, 0]
        return self._matmat(V)

    __matmul__ = __mul__ = dot

    def _matmat(self, V):
        if V.dtype.kind == "c":
            return self._matmat(V.real) + 1j * self._matmat(V.imag)
        out, into = (self.Z, self.X) if self.flipped else (self.X, self.Z)
        if self.Z is None:
            out = into = self.X
        if not is_dask(into):
            V = np.asarray(V).astype(self.dtype, copy=False)
            return over_blocks(
                work.product,
                out,
                shape=V.shape[1:],
                dtype=self.dtype,
                V=literal(V),
                held=self._held,
                flip=self.flipped,
            )
        V = aligned(V, into, "V").astype(self.dtype)
        if is_dask(out):
            return over_pairs(self, out, into, V)
        total = total_over_blocks(
            work.summed, into, V, held=self._held, flip=self.flipped
        )
        return total.astype(self.dtype)

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``; U is lazy."""
        U = self._matmat(V) if targets is None else self._matmat(V) - targets
        U = U if weights is None else weights[:, None] * U
        if not self._is_of_rows:
            return self.T @ U, U
        return self.normal_sums(V, targets, weights)[0], U

    @property
    def _is_of_rows(self):
        """Whether rows are in blocks, and columns are not."""
        columns_are = self.Z is None or is_dask(self.Z)
        return is_dask(self.X) and not self.flipped and not columns_are

    def normal_sums(self, V, targets=None, weights=None):
        """``K.T @ U`` of `normal_matmat` and the sums of the columns of U, computed."""
        if not self._is_of_rows:
            raise NotImplementedError("normal_sums: rows in blocks, and columns not")
        rows = (
            None if a is None else aligned(a, self.X, "rows")
            for a in (targets, weights)
        )
        V = literal(np.asarray(V).astype(self.dtype, copy=False))
        product, sums = total_over_blocks(
            work.normal, self.X, *rows, V=V, held=self._held
        )
        return product.astype(self.dtype), sums

    def adjoint_sums(self, U):
        """``K.T @ U``, and the sums of the columns of U in float64, computed."""
        U = aligned(U, self.X, "U").astype(self.dtype)
        product, sums = total_over_blocks(work.adjoint, self.X, U, held=self._held)
        return product.astype(self.dtype), sums

    def in_float32(self, X):
        """The same operator, worked on in float32."""
        return DaskKernelOperator.of(
            self.kernel,
            self.X,
            self.Z,
            self.device,
            *self.options[1:],
            np.dtype(np.float32),
            self.flipped,
        )

    def sum_over_rows(self, function, *arrays):
        """Sum of ``function(device, K of some rows, *parts)`` over all rows."""
        arrays = (None if a is None else aligned(a, self.X, "rows") for a in arrays)
        return total_over_blocks(
            work.summed_rows,
            self.X,
            *arrays,
            apply=literal(function),
            held=self._held,
        )

    def some_rows(self, rows):
        """Operator of some sorted rows, which workers hold from now on."""
        return self._with(X=persist(self.X[rows]))

    def diagonal(self):
        """Entries (i, i) of one sample's matrix, lazy; of others an error."""
        if self.Z is not None:
            raise ValueError("diagonal: blocks are defined for K(X, X) of one sample")
        return over_blocks(
            work.diagonal, self.X, shape=(), dtype=self.dtype, held=self._held
        )


def is_blocked(*arrays):
    """Whether one of them is a Dask array."""
    return any(isinstance(a, da.Array) for a in arrays)
