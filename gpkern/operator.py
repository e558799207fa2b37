"""`KernelOperator`: a kernel matrix that is applied and reduced, never formed."""

from __future__ import annotations

import sys
from numbers import Real
from operator import index as as_index

import numpy as np
from scipy.sparse.linalg import LinearOperator
from sklearn import get_config

from . import _device
from ._validation import check_rows, is_extreme, working_dtype
from .kernels.opaque import MatrixCallable, RowCallable
from .kernels.program import Program
from .kernels.resolve import as_kernel, from_name

PRECISIONS = ("high", "highest", "medium")


class _Reductions:
    """What every kernel operator offers beyond a linear operator."""

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

    def with_precision(self, precision):
        """Operator of the same rows in another `precision`; prepared data is shared.

        Parameters
        ----------
        precision : {"high", "highest", "medium"}
        """
        matrix = self.matrix_.with_precision(_checked_precision(precision))
        return _wrap(matrix, self.kernel, self.device)

    def __reduce__(self):
        return _wrap, (self.matrix_, self.kernel, self.device)

    def _matmat(self, V):
        if V.dtype.kind == "c":
            return self._matmat(V.real) + 1j * self._matmat(V.imag)
        return self.matrix_.matmat(V)

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

    def normal_matmat(self, V, targets=None, weights=None, gradient_precision=None):
        """``K.T @ U`` with ``U = weights * (K @ V - targets)``.

        The step of least-squares solvers (Falkon, EigenPro).

        Parameters
        ----------
        V : array of shape (n_cols, c)
        targets : array of shape (n_rows, c), default=None
        weights : array of shape (n_rows,), default=None
        gradient_precision : {None, "high", "highest", "medium"}, default=None
            Of the product with ``K.T``; None for the operator's own. Iterations whose
            U goes to zero end at the same point whatever it is.

        Returns
        -------
        gradient : array of shape (n_cols, c)
        residual : array of shape (n_rows, c)
            U.

        Raises
        ------
        TypeError
            When an operand is complex.
        """
        n, m = self.shape
        V = self.device.xp.asarray(V)
        c = V.shape[1] if V.ndim == 2 else "c"
        V = self._real("V", V, m, c)
        if targets is not None:
            targets = self._real("targets", targets, n, c)
        if weights is not None:
            weights = self._real("weights", weights, n)
        if gradient_precision is not None:
            _checked_precision(gradient_precision, "gradient_precision")
        return self.matrix_.normal_matmat(V, targets, weights, gradient_precision)

    def _real(self, name, array, *shape):
        """As `_operand`; an error when it is complex."""
        array = self._operand(name, array, *shape)
        if array.dtype.kind == "c":
            raise TypeError(
                f"{name} is complex: pass its real and its imaginary part, "
                f"{name}.real and {name}.imag, one after the other"
            )
        return array

    def _operand(self, name, array, *shape):
        """The array on this device; an error when it has another shape."""
        array = self.device.xp.asarray(array)
        if array.shape != shape:
            wanted = ", ".join(map(str, shape))
            raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
        return array

    def row_sum(self, weights=None):
        """``sum_j weights_j k(x_i, z_j)`` for each row i, shape (n_rows,)."""
        m = self.shape[1]
        if weights is None:
            weights = self.device.xp.ones(m, self.dtype)
        weights = self._operand("weights", weights, m)
        return self._matmat(weights.reshape(-1, 1))[:, 0]

    def row_logsumexp(self, log_weights=None):
        """``log sum_j exp(log_weights_j) k(x_i, z_j)`` for each row, float64.

        Streaming; exact far beyond the range of exp, except that a sum of kernels
        underflows where all its terms do. Kernels with negative values have no
        logarithm.

        Parameters
        ----------
        log_weights : array of shape (n_cols,), default=None
            -inf leaves a column out.

        Raises
        ------
        ValueError
            When the kernel takes negative values on this data, or a log weight is
            NaN or +inf.
        """
        xp = self.device.xp
        if log_weights is not None:
            log_weights = self._real("log_weights", log_weights, self.shape[1])
            if not bool((log_weights < np.inf).all()):
                raise ValueError(
                    "log_weights must be numbers or -inf; some are NaN or +inf"
                )
        out = self.matrix_.logsumexp(log_weights)
        if xp.isnan(out).any():
            raise ValueError(
                "row_logsumexp needs a kernel with positive values; this one is "
                "negative for some pairs"
            )
        return out

    def diagonal(self):
        """Entries (i, i), shape (min(n_rows, n_cols),)."""
        return self.matrix_.diagonal()

    def rows(self, index):
        """Dense rows of the matrix.

        Parameters
        ----------
        index : int or slice
            An int gives shape (n_cols,).
        """
        n, m = self.shape
        if isinstance(index, slice):
            i0, i1, step = index.indices(n)
            if step != 1:
                raise ValueError("rows(): a slice must have step 1")
            return self.matrix_.tile(i0, max(i0, i1), 0, m)
        try:
            i = as_index(index)
        except TypeError:
            kind = type(index).__name__
            raise TypeError(f"rows() takes an int or a slice, not {kind}") from None
        i += n if i < 0 else 0
        if not 0 <= i < n:
            raise IndexError(f"row {index} of an operator with {n} rows")
        return self.matrix_.tile(i, i + 1, 0, m)[0]

    def blocks(self):
        """Iterate over ``(slice of rows, dense block)`` within the memory budget."""
        for cut in self._cuts():
            yield cut, self.matrix_.tile(cut.start, cut.stop, 0, self.shape[1])

    def _cuts(self):
        """Slices of rows whose blocks fit the memory budget."""
        n, m = self.shape
        height = max(1, self.matrix_.budget // (2 * m * self.dtype.itemsize))
        return [slice(i, min(i + height, n)) for i in range(0, n, height)]

    def to_dense(self):
        """The whole matrix; it must fit in memory."""
        n, m = self.shape
        out = self.device.xp.empty((n, m), self.dtype)
        for cut in self._cuts():
            # Written where it belongs; a callable on a GPU returns an array of its own.
            place = out[cut]
            block = self.matrix_.tile(cut.start, cut.stop, 0, m, place)
            if block is not place:
                out[cut] = block
        return out


class KernelOperator(_Reductions, LinearOperator):
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
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        None computes where the data is. With NumPy data and a GPU named, data is
        copied there and operands and results are CuPy arrays.
    memory_budget : int or inf, default=None
        Bytes for tiles and prepared rows; scikit-learn's ``working_memory`` by default.
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
    _checked_precision(precision)
    if not isinstance(device, _device.Device):
        device = _device.select(device, X, Z)
    kernel = as_kernel(kernel)
    if isinstance(kernel, str):
        kernel = from_name(kernel, n_features=X.shape[1])
    program, opaque = _split(kernel)
    if program is not None:
        program.check_columns(X.shape[1])
    budget = _budget(memory_budget)
    X, Z = device.put(X), device.put(Z)
    if dtype is None:
        dtype = working_dtype(X, Z)
        if dtype == np.float32 and is_extreme(X, Z):
            dtype = np.dtype(np.float64)
    matrix = device.Matrix(program, opaque, X, Z, dtype, budget, precision)
    return _wrap(matrix, kernel, device)


def _checked_precision(precision, name="precision"):
    if precision not in PRECISIONS:
        raise ValueError(f"{name}={precision!r} must be one of {PRECISIONS}")
    return precision


def _budget(memory_budget):
    """Whole bytes, at least one."""
    if memory_budget is None:
        return max(1, int(get_config()["working_memory"] * 2**20))
    if isinstance(memory_budget, Real) and memory_budget > 0:
        if memory_budget == np.inf:
            return sys.maxsize
        if memory_budget == int(memory_budget):
            return int(memory_budget)
    raise ValueError(
        f"memory_budget={memory_budget!r} must be a positive whole number of bytes, "
        "or inf"
    )


def _split(kernel):
    """(program, None) for a kernel with a formula, (None, opaque) for one without."""
    if isinstance(kernel, (MatrixCallable, RowCallable)):
        return None, kernel
    try:
        return Program.of(kernel), None
    except TypeError:
        return None, MatrixCallable(kernel)


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
