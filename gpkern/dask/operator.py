"""A kernel matrix whose rows, or columns, or both, are blocks of Dask arrays."""

from __future__ import annotations

from functools import cached_property

import dask.array as da
import numpy as np

from .._device import is_dask
from .._validation import is_extreme, working_dtype
from ..kernels.compose import OffDiagonal
from ..operator import KernelOperator, make_operator
from . import means, pairs, work
from .arrays import aligned, check_blocks, take
from .compute import everywhere, literal, persist
from .graphs import over_blocks, total_over_blocks


class DaskKernelOperator(KernelOperator):
    """K(X, Z) where X or Z is a Dask array.

    What has a number for each row of a Dask array is one too, and lazy; what is summed
    over its rows is computed and comes as a NumPy array. The other side, if it is no
    Dask array, is sent to each worker once, and vectors with each product.
    """

    @classmethod
    def of(cls, kernel, X, Z, device, budget, precision, dtype, flipped=False):
        """Of checked arguments; ``device.workers`` is where blocks are computed."""
        self = object.__new__(cls)
        X, Z = (
            check_blocks(a, name) if is_dask(a) else a
            for a, name in ((X, "X"), (Z, "Z"))
        )
        if dtype is None:
            dtype = working_dtype(X, Z)
            plain = [a for a in (X, Z) if a is not None and not is_dask(a)]
            if dtype == np.float32 and is_extreme(*plain):
                dtype = np.dtype(np.float64)
        self.kernel, self.device, self.X, self.Z = kernel, device, X, Z
        self.budget, self.precision, self.flipped = budget, precision, flipped
        n, m = X.shape[0], (X if Z is None else Z).shape[0]
        self._init_linear(dtype, (m, n) if flipped else (n, m))
        return self

    def _state(self):
        sides = {"kernel": self.kernel, "X": self.X, "Z": self.Z}
        options = {"budget": self.budget, "precision": self.precision}
        device, dtype = self.device, self.dtype
        return (
            sides
            | {"device": device}
            | options
            | {"dtype": dtype, "flipped": self.flipped}
        )

    def _with(self, **changes):
        return DaskKernelOperator.of(**(self._state() | changes))

    def __reduce__(self):
        return DaskKernelOperator.of, tuple(self._state().values())

    # -------------------------------------------------------------------- views

    @property
    def _sides(self):
        """What has a row for each row of the matrix, and for each of its columns."""
        sides = self.X, self.X if self.Z is None else self.Z
        return sides[::-1] if self.flipped else sides

    def with_kernel(self, kernel):
        """Operator of another kernel on the same rows."""
        return self._with(kernel=kernel)

    def with_precision(self, precision):
        """Operator of the same rows in another `precision`."""
        return self._with(precision=precision)

    def without_diagonal(self):
        """Operator of K(X, X) with zeros on its diagonal."""
        return self._with(kernel=OffDiagonal(self.kernel))

    def in_float32(self, X):
        """The same operator, worked on in float32."""
        return self._with(dtype=np.dtype(np.float32))

    def with_rows(self, X):
        """Operator of the same kernel and columns with other rows."""
        return self.with_samples(X, self._sides[1])

    def with_samples(self, X, Z=None, alike=False):
        """Operator of the same kernel on other data, K(X, Z) or K(X, X)."""
        options = self.device, self.budget, self.precision, self.dtype
        return make_operator(self.kernel, X, Z, *options)

    def some_rows(self, rows):
        """Operator of some sorted rows, which workers hold from now on."""
        return self._with(X=persist(self.X[rows]))

    def take(self, order):
        """Some of the rows of X, in the order given, on the host."""
        order = np.asarray(order)
        if not is_dask(self.X):
            return self.X[order]
        rows, place = np.unique(order, return_inverse=True)
        return take(self.X, rows)[place]

    def _adjoint(self):
        return self._with(flipped=not self.flipped)

    _transpose = _adjoint

    @cached_property
    def _held(self):
        """What every worker holds: the side that is no Dask array, if there is one."""
        return everywhere(self._held_here())

    def _held_here(self):
        array, side = None, "columns"
        if self.Z is not None and not is_dask(self.Z):
            array = self.Z
        elif not is_dask(self.X):
            array, side = self.X, "rows"
        options = self.device.workers, self.dtype, self.budget, self.precision
        return work.Held(self.kernel, array, side, *options)

    # ----------------------------------------------------------------- operands

    def _of_columns(self, name, array):
        """A number or more for each column, beside the columns."""
        columns = self._sides[1]
        if is_dask(columns):
            return aligned(array, columns, name)
        return np.asarray(array)

    def _ones(self):
        columns = self._sides[1]
        if is_dask(columns):
            return da.ones(len(columns), self.dtype, chunks=columns.chunks[0])
        return np.ones(len(columns), self.dtype)

    # --------------------------------------------------------------- reductions

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
        rows, columns = self._sides
        V = self._of_columns("V", V).astype(self.dtype)
        how = {"held": self._held, "flip": self.flipped}
        if not is_dask(columns):
            options = {"shape": V.shape[1:], "dtype": self.dtype}
            return over_blocks(work.product, rows, **options, V=literal(V), **how)
        if is_dask(rows):
            return pairs.products(self, rows, columns, V)
        return total_over_blocks(work.summed, columns, V, **how).astype(self.dtype)

    def row_sum(self, weights=None):
        """``sum_j weights_j k(x_i, z_j)`` for each row i, shape (n_rows,)."""
        weights = self._ones() if weights is None else weights
        weights = self._operand("weights", weights, self.shape[1])
        return self._matmat(weights.reshape(-1, 1))[:, 0]

    def row_sums(self, kernels):
        """`row_sum` of each of several kernels, float64."""
        sums = [self.with_kernel(k).row_sum().astype(np.float64) for k in kernels]
        return np.stack(sums)

    def row_gradient(self, weights=None):
        """Gradient of `row_sum` by the rows of X."""
        weights = self._ones() if weights is None else weights
        return self._by_columns("row_gradient", weights, (self.X.shape[1],), np.sum)

    def row_logsumexp(self, log_weights=None):
        """``log sum_j exp(log_weights_j) k(x_i, z_j)`` for each row, float64."""
        return self._by_columns("row_logsumexp", log_weights, (), np.logaddexp.reduce)

    def row_logsumexp_gradient(self, log_weights=None):
        """Gradient of `row_logsumexp` by the rows of X."""
        shape = self.X.shape[1:]
        return self._means("row_logsumexp_gradient", shape, self.dtype, log_weights)

    def row_logsumexp_hessian(self, log_weights=None):
        """Second derivatives of `row_logsumexp` by the rows of X."""
        shape = 2 * self.X.shape[1:]
        return self._means("row_logsumexp_hessian", shape, np.float64, log_weights)

    def row_softmax(self, V, log_weights=None):
        """Means of the rows of V, weighted by the kernel."""
        return self._means("row_softmax", V.shape[1:], self.dtype, V, log_weights)

    def row_mean_shift(self, log_weights=None, V=None):
        """Where mean shift takes the rows of X."""
        shape = (self.X if V is None else V).shape[1:]
        return self._means("row_mean_shift", shape, np.float64, log_weights, V)

    def _means(self, method, shape, dtype, *arguments):
        """A method whose results for blocks of columns are means of these."""
        if not self._is_of_rows:
            return means.merged(self, method, shape, dtype, arguments)
        how = {"method": method, "shape": shape, "dtype": dtype}
        arguments = literal(arguments)
        return over_blocks(
            work.of_rows, self.X, **how, arguments=arguments, held=self._held
        )

    def _by_columns(self, method, argument, shape, merge):
        """A method with one argument of the columns, merged over blocks of these."""
        if self.flipped:
            raise TypeError(f"{method} is of the rows of X: make the operator anew")
        if argument is not None:
            argument = self._of_columns("weights", argument)
        dtype = np.float64 if merge is not np.sum else self.dtype
        how = {"method": method, "shape": shape, "dtype": dtype}
        if self._is_of_rows:
            argument = literal((argument,))
            return over_blocks(
                work.of_rows, self.X, **how, arguments=argument, held=self._held
            )
        return pairs.merged(self, (argument,), merge, **how)

    @property
    def _is_of_rows(self):
        """Whether rows are in blocks, and columns are not."""
        columns_are = self.Z is None or is_dask(self.Z)
        return is_dask(self.X) and not self.flipped and not columns_are

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` and ``U = weights * (K @ V - targets)``; U is lazy."""
        targets, weights = self._of_rows(V, targets, weights)
        U = self._matmat(V) if targets is None else self._matmat(V) - targets
        U = U if weights is None else weights[:, None] * U
        if not self._is_of_rows:
            return self.T @ U, U
        return self.normal_sums(V, targets, weights)[0], U

    def normal_sums(self, V, targets=None, weights=None):
        """``K.T @ U`` of `normal_matmat` and the sums of the columns of U, computed."""
        if not self._is_of_rows:
            return super().normal_sums(V, targets, weights)
        parts = self._of_rows(V, targets, weights)
        V = literal(np.asarray(V).astype(self.dtype, copy=False))
        product, sums = total_over_blocks(
            work.normal, self.X, *parts, V=V, held=self._held
        )
        return product.astype(self.dtype), sums

    def _of_rows(self, V, targets, weights):
        """Targets and weights, checked, beside the rows where these are in blocks."""
        shapes = {"targets": (self.shape[0], V.shape[1]), "weights": self.shape[:1]}
        out, rows = [], self._sides[0]
        for (name, shape), a in zip(shapes.items(), (targets, weights), strict=True):
            a = None if a is None else self._operand(name, a, *shape)
            out.append(aligned(a, rows, name) if a is not None and is_dask(rows) else a)
        return out

    def adjoint_sums(self, U):
        """``K.T @ U``, and the sums of the columns of U in float64, computed."""
        U = aligned(U, self.X, "U").astype(self.dtype)
        product, sums = total_over_blocks(work.adjoint, self.X, U, held=self._held)
        return product.astype(self.dtype), sums

    def sum_over_rows(self, function, *arrays):
        """Sum of ``function(device, K of some rows, *parts)`` over all rows."""
        arrays = (None if a is None else aligned(a, self.X, "rows") for a in arrays)
        how = {"apply": literal(function), "held": self._held}
        return total_over_blocks(work.summed_rows, self.X, *arrays, **how)

    def quadratic_forms(self, R, kernels=None):
        """``r' K r`` for each column r of R, computed, float64."""
        if self.Z is not None:
            raise ValueError("quadratic_forms: one sample is needed, K(X, X)")
        if R.shape[0] != self.shape[0]:
            raise ValueError(f"R has {R.shape[0]} rows, K has {self.shape[0]}")
        out = pairs.forms(self, R, [self.kernel] if kernels is None else kernels)
        return out[0] if kernels is None else out

    def diagonal(self):
        """Entries (i, i) of one sample's matrix, lazy."""
        if self.Z is not None:
            raise TypeError("diagonal: one sample is needed, K(X, X)")
        how = {"shape": (), "dtype": self.dtype, "held": self._held}
        return over_blocks(work.diagonal, self.X, **how)

    def rows(self, index):
        """Dense rows of the matrix, computed."""
        order = np.arange(self.shape[0])[index]
        dense = self.with_rows(self.take(np.atleast_1d(order))).to_dense()
        return dense if np.ndim(order) else dense[0]

    def to_dense(self):
        """The whole matrix, computed; it must fit in memory."""
        return self.device.whole(self._dense())

    def _dense(self):
        """Its columns one after another, as products with those of the unit matrix."""
        rows, columns = self._sides
        if is_dask(columns) and not is_dask(rows):
            return self.T._dense().T
        return self._matmat(np.eye(self.shape[1], dtype=self.dtype))
