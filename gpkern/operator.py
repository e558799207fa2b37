"""`KernelOperator`: a kernel matrix that is applied and reduced, never formed."""

from __future__ import annotations

import sys
from numbers import Real

import numpy as np
from scipy.sparse.linalg import LinearOperator

from . import _device
from ._validation import check_precision, check_rows, is_extreme, working_dtype
from .kernels import base
from .kernels.compose import OffDiagonal
from .kernels.opaque import MatrixCallable, RowCallable
from .kernels.program import Program
from .kernels.resolve import as_kernel, from_name
from .reductions import Reductions, on_device


class Views:
    """Ways from one operator to another, and what a linear operator must define."""

    def _setup(self, matrix, kernel, device):
        self.matrix_, self.kernel, self.device = matrix, kernel, device

    def with_rows(self, X):
        """Operator of the same kernel and Z with other rows.

        Prepared data of Z is shared, so this is cheap enough for mini-batches.

        Parameters
        ----------
        X : array of shape (n, n_features)
            Already checked; on the operator's device.
        """
        return _wrap(self.matrix_.with_rows(X), self.kernel, self.device)

    def with_samples(self, X, Z=None, alike=False):
        """Operator of the same kernel on other data, K(X, Z) or K(X, X).

        Parameters
        ----------
        X, Z : array of shape (n, n_features), (m, n_features)
            Already checked; on the operator's device.
        alike : bool, default=False
            Whether they are rows of the data that this operator was made for, so that
            what an engine has found out about it holds for them.
        """
        matrix, device = self.matrix_, self.device
        options = self.dtype, matrix.budget, matrix.precision
        with device.here():
            new = device.Matrix(matrix.program, matrix.opaque, X, Z, *options)
        if alike and hasattr(matrix, "family"):
            new.family = matrix.family
        return _wrap(new, self.kernel, device)

    def take(self, order):
        """Some of the rows of X, in the order given, on the operator's device."""
        return self.matrix_.X.some(self.device.xp.asarray(order))

    def with_kernel(self, kernel):
        """Operator of another kernel on the same rows; prepared data is shared.

        Parameters
        ----------
        kernel : Kernel, str or callable
        """
        matrix = self.matrix_
        kernel, program, opaque = _resolved(kernel, matrix.X.shape[1])
        return _wrap(matrix.with_formula(program, opaque), kernel, self.device)

    def in_float32(self, X):
        """Operator of the same sample X, worked on in float32."""
        return make_operator(self.kernel, X, None, self.device, dtype=np.float32)

    def without_diagonal(self):
        """Operator of K(X, X) with zeros on its diagonal.

        Raises
        ------
        TypeError
            For kernels without a formula.
        """
        matrix = self.matrix_
        if matrix.program is None:
            raise TypeError(f"{self.kernel} has no formula")
        matrix = matrix.with_formula(matrix.program.without_diagonal)
        return _wrap(matrix, OffDiagonal(self.kernel), self.device)

    def with_precision(self, precision):
        """Operator of the same rows in another `precision`; prepared data is shared.

        Parameters
        ----------
        precision : {"high", "highest", "medium"}
        """
        matrix = self.matrix_.with_precision(check_precision(precision))
        return _wrap(matrix, self.kernel, self.device)

    def __reduce__(self):
        return _wrap, (self.matrix_, self.kernel, self.device)

    @on_device
    def _matmat(self, V):
        if V.dtype.kind == "c":
            return self._matmat(V.real) + 1j * self._matmat(V.imag)
        return self.matrix_.matmat(V)

    @on_device
    def matvec(self, x):
        """``K @ x`` for x of shape (n_cols,) or (n_cols, 1)."""
        x, m = self.device.xp.asanyarray(x), self.shape[1]
        if x.shape not in ((m,), (m, 1)):
            raise ValueError(f"dimension mismatch: {self.shape}, {x.shape}")
        return super().matvec(x)

    def rmatvec(self, x):
        """``K.T @ x`` for x of shape (n_rows,) or (n_rows, 1)."""
        return self._adjoint().matvec(x)

    def _matvec(self, v):
        return self._matmat(v.reshape(-1, 1))

    def _rmatmat(self, U):
        return self._adjoint()._matmat(U)

    def _rmatvec(self, u):
        return self._rmatmat(u.reshape(-1, 1))

    def _adjoint(self):
        return _wrap(self.matrix_.transposed(), self.kernel, self.device)

    _transpose = _adjoint


class KernelOperator(Reductions, Views, LinearOperator):
    """The kernel matrix K(X, Z) as a linear operator that is never formed.

    Parameters
    ----------
    kernel : Kernel, str or callable
        A scikit-learn or gpkern kernel object; a name of
        `sklearn.metrics.pairwise.pairwise_kernels` with its default parameters; or
        a function of two arrays of rows that returns their matrix, a symmetric one
        where Z is None.
    X : array-like or CSR matrix of shape (n_rows, n_features)
        NumPy (memory-mapped included), CuPy, CSR, or any array read in slices.
    Z : array-like of shape (n_cols, n_features), default=None
        None: the symmetric matrix of one sample, K(X, X), with a
        `~sklearn.gaussian_process.kernels.WhiteKernel` on its diagonal. Passing X
        twice gives a cross matrix without it.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        None computes where the data is. With NumPy data and a GPU named, data is
        copied there and operands and results are CuPy arrays. A list shares the
        columns of K out among its GPUs; operands and results are on the first.
    memory_budget : int or inf, default=None
        Bytes for tiles and prepared rows. By default scikit-learn's ``working_memory``;
        on a GPU a sixteenth of its memory, if that is more.
    precision : {"high", "highest", "medium"}, default="high"
        Of float32 products on a GPU. "high" splits each number in two and is as
        accurate as float32 arithmetic; "highest" is float32 arithmetic itself, far
        slower; "medium" takes 11 significant bits, as TF32 does, and is up to four
        times faster than "high". float64 data is computed in float64, and a CPU works
        in the precision of the data, whatever is said here.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        float32 when all data is float32 or float16, otherwise float64. Also float64
        for float32 data in memory whose largest entry is above 1e15 or below 1e-15:
        its squares would leave the range of float32.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelOperator
    >>> from gpkern.kernels import RBF
    >>> X = np.linspace(0, 1, 5)[:, None]
    >>> K = KernelOperator(RBF(0.5), X)
    >>> K.shape
    (5, 5)
    >>> (K @ np.ones(5)).round(3)
    array([2.949, 3.696, 3.978, 3.696, 2.949])
    >>> bool(np.allclose(K @ np.ones(5), K.row_sum()))
    True
    """

    def __new__(
        cls, kernel, X, Z=None, *, device=None, memory_budget=None, precision="high"
    ):
        X = check_rows(X)
        if Z is not None:
            Z = check_rows(Z, "Z")
            if X.shape[1] != Z.shape[1]:
                raise ValueError(f"X has {X.shape[1]} columns and Z has {Z.shape[1]}")
        return make_operator(kernel, X, Z, device, memory_budget, precision)

    def __init__(self, *args, **kwargs):
        pass  # made in __new__, which chooses the class by device

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "a KernelOperator is not formed by itself: call to_dense() for the array"
        )


def make_operator(
    kernel,
    X,
    Z=None,
    device=None,
    memory_budget=None,
    precision="high",
    dtype=None,
):
    """`KernelOperator` of data that has been checked already.

    With `dtype` it works in that, whatever the data is.
    """
    check_precision(precision)
    if not isinstance(device, _device.Device):
        device = _device.select(device, X, Z)
    with device.here():
        return _made(kernel, X, Z, device, memory_budget, precision, dtype)


def _made(kernel, X, Z, device, memory_budget, precision, dtype):
    kernel, program, opaque = _resolved(kernel, X.shape[1])
    budget = _budget(memory_budget, device)
    if any(map(_device.is_dask, (X, Z))):
        from .dask.operator import DaskKernelOperator

        return DaskKernelOperator.of(kernel, X, Z, device, budget, precision, dtype)
    X, Z = device.put(X), device.put(Z)
    if dtype is None:
        dtype = working_dtype(X, Z)
        if dtype == np.float32 and is_extreme(X, Z):
            dtype = np.dtype(np.float64)
    matrix = device.Matrix(program, opaque, X, Z, dtype, budget, precision)
    return _wrap(matrix, kernel, device)


def _budget(memory_budget, device):
    """Whole bytes, at least one."""
    if memory_budget is None:
        return max(1, device.working_bytes())
    if isinstance(memory_budget, Real) and memory_budget > 0:
        if memory_budget == np.inf:
            return sys.maxsize
        if memory_budget == int(memory_budget):
            return int(memory_budget)
    raise ValueError(
        f"memory_budget={memory_budget!r} must be a positive whole number of bytes, "
        "or inf"
    )


def _resolved(kernel, d):
    """The kernel object, and its program on d columns or, without one, its opaque."""
    kernel = as_kernel(kernel)
    if isinstance(kernel, str):
        kernel = from_name(kernel, n_features=d)
    if isinstance(kernel, (MatrixCallable, RowCallable)):
        return kernel, None, kernel
    try:
        program = Program.of(kernel, d)
    except TypeError:
        return kernel, None, MatrixCallable(kernel)
    program.check_columns(d)
    return kernel, program, None


def _wrap(matrix, kernel, device):
    if device.name == "cpu":
        out = object.__new__(KernelOperator)
    else:
        from .gpu.operator import CudaKernelOperator

        out = object.__new__(CudaKernelOperator)
    out._setup(matrix, kernel, device)
    out._init_linear(matrix.dtype, matrix.shape)
    return out


def _init_linear(self, dtype, shape):
    LinearOperator.__init__(self, np.dtype(dtype), shape)


KernelOperator._init_linear = _init_linear


def _large_matrix(kernel, X, Z):
    """What a `FormulaKernel` calls for, of rows in float64; None without a program."""
    operator = make_operator(kernel, X, Z, device="cpu")
    return operator.to_dense() if operator.matrix_.program is not None else None


base.by_engine = _large_matrix
