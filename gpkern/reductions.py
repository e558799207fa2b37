"""Reductions over a kernel matrix that is never formed."""

from __future__ import annotations

from functools import wraps
from operator import index as as_index

import numpy as np

from ._device import is_dask
from ._forms import quadratic_forms
from ._gradients import (
    gradient,
    logsumexp_gradient,
    logsumexp_hessian,
    mean_shift,
    softmax_product,
)
from ._logsums import logsumexp
from ._signs import RandomSigns
from ._validation import check_precision


def on_device(method):
    """Run a method of an operator where its arrays are."""

    @wraps(method)
    def run(self, *args, **kwargs):
        with self.device.here():
            return method(self, *args, **kwargs)

    return run


def added(total, part):
    """Sum of arrays, or of tuples of arrays; the total may be None."""
    if total is None:
        return part
    if isinstance(part, tuple):
        return tuple(a + b for a, b in zip(total, part, strict=True))
    return total + part


class Reductions:
    """What every kernel operator offers beyond a linear operator.

    Expects ``matrix_``, ``device``, ``shape`` and ``dtype``, and ``with_kernel``.
    """

    @on_device
    def row_sum(self, weights=None):
        """``sum_j weights_j k(x_i, z_j)`` for each row i, shape (n_rows,)."""
        m = self.shape[1]
        if weights is None:
            weights = self.device.xp.ones(m, self.dtype)
        weights = self._operand("weights", weights, m)
        return self._matmat(weights.reshape(-1, 1))[:, 0]

    @on_device
    def row_sums(self, kernels):
        """``sum_j k(x_i, z_j)`` for each row i and each of several kernels.

        Parameters
        ----------
        kernels : list of kernels
            In the place of the operator's own. On a GPU, in float64, kernels that
            differ in their parameters alone are evaluated in one pass.

        Returns
        -------
        array of shape (len(kernels), n_rows), float64
        """
        xp, operators = self.device.xp, [self.with_kernel(k) for k in kernels]
        if hasattr(self.matrix_, "row_sums"):
            out = self.matrix_.row_sums([op.matrix_.program for op in operators])
            if out is not None:
                return out
        return xp.stack([op.row_sum().astype(np.float64) for op in operators])

    @on_device
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
        log_weights = self._log_weights(log_weights)
        if self.device.name == "cpu":
            out = logsumexp(self, log_weights)
        else:
            out = self.matrix_.logsumexp(log_weights)
        if xp.isnan(out).any():
            raise ValueError(
                "row_logsumexp needs a kernel with positive values; this one is "
                "negative for some pairs"
            )
        return out

    @on_device
    def row_softmax(self, V, log_weights=None):
        """Means of the rows of V, weighted by the kernel: a kernel smoother.

        ``sum_j p_ij V_j`` with ``p_ij`` proportional to ``exp(log_weights_j)
        k(x_i, z_j)`` and of sum 1 in each row, also where every k underflows. With
        V = Z and a Gaussian kernel this is a step of mean shift.

        Parameters
        ----------
        V : array of shape (n_cols, c)
        log_weights : array of shape (n_cols,), default=None
            -inf leaves a column out.

        Returns
        -------
        array of shape (n_rows, c)

        Raises
        ------
        ValueError
            When the kernel takes negative values, a row has no positive weight, or log
            weights are further apart than products of the dtype can hold.
        TypeError
            When the kernel is a function without a formula.

        Examples
        --------
        >>> import numpy as np
        >>> from gpkern import KernelOperator
        >>> from gpkern.kernels import RBF
        >>> Z = np.array([[0.0], [1.0]])
        >>> K = KernelOperator(RBF(1.0), [[0.5], [100.0]], Z)
        >>> K.row_softmax(Z)
        array([[0.5],
               [1. ]])
        """
        V = self.device.xp.asarray(V)
        V = self._real("V", V, self.shape[1], V.shape[1] if V.ndim == 2 else "c")
        V = V.astype(self.dtype, copy=False)
        return softmax_product(self, V, self._log_weights(log_weights))

    @on_device
    def row_gradient(self, weights=None):
        """Gradient of `row_sum` by the rows of X.

        ``sum_j weights_j d k(x_i, z_j) / d x_i``; in K(X, X) the x_i moves alone. Where
        a rough kernel has no derivative, at a row of Z itself, that row adds zero.

        Parameters
        ----------
        weights : array of shape (n_cols,), default=None

        Returns
        -------
        array of shape (n_rows, n_features)

        Raises
        ------
        TypeError
            When the kernel is a function, or not one of Euclidean distances and inner
            products, or rows are sparse.
        """
        m = self.shape[1]
        if weights is None:
            weights = self.device.xp.ones(m, self.dtype)
        return gradient(self, self._real("weights", weights, m))

    @on_device
    def row_logsumexp_gradient(self, log_weights=None):
        """Gradient of `row_logsumexp` by the rows of X: the score of a density.

        Parameters
        ----------
        log_weights : array of shape (n_cols,), default=None
            -inf leaves a column out.

        Returns
        -------
        array of shape (n_rows, n_features)

        Raises
        ------
        ValueError, TypeError
            As `row_softmax` and `row_gradient`.

        Examples
        --------
        Of one Gaussian, ``(z - x) / length_scale^2``, however far away:

        >>> from gpkern import KernelOperator
        >>> from gpkern.kernels import RBF
        >>> K = KernelOperator(RBF(2.0), [[1.0], [100.0]], [[0.0]])
        >>> K.row_logsumexp_gradient()
        array([[ -0.25],
               [-25.  ]])
        """
        return logsumexp_gradient(self, self._log_weights(log_weights))

    @on_device
    def row_mean_shift(self, log_weights=None, V=None):
        """Where mean shift takes the rows of X: nearer to a mode of the row sums.

        Means of the rows of Z, each weighted by ``exp(log_weights)`` and minus the
        slope of the kernel by the squared distance; for a Gaussian kernel that is the
        kernel itself.

        Parameters
        ----------
        log_weights : array of shape (n_cols,), default=None
            -inf leaves a column out.
        V : array of shape (n_cols, c), default=None
            Rows whose means are taken in the place of those of Z, such as the rows of
            which Z is a projection.

        Returns
        -------
        array of shape (n_rows, n_features) or (n_rows, c), float64
            A row that no slope moves, beyond the end of a compact kernel, stays; with
            V it is NaN.

        Raises
        ------
        TypeError
            When the kernel is not one of a single Euclidean distance.

        Examples
        --------
        >>> import numpy as np
        >>> from gpkern import KernelOperator
        >>> from gpkern.kernels import RBF
        >>> Z = np.array([[0.0], [1.0], [9.0]])
        >>> KernelOperator(RBF(1.0), [[0.4]], Z).row_mean_shift().round(3)
        array([[0.475]])
        """
        if V is not None:
            V = self.device.xp.asarray(V)
            V = self._real("V", V, self.shape[1], V.shape[1] if V.ndim == 2 else "c")
        return mean_shift(self, self._log_weights(log_weights), V)

    @on_device
    def row_logsumexp_hessian(self, log_weights=None):
        """Second derivatives of `row_logsumexp` by the rows of X.

        Where they are negative definite and the gradient is 0 there is a mode.

        Parameters
        ----------
        log_weights : array of shape (n_cols,), default=None

        Returns
        -------
        array of shape (n_rows, n_features, n_features), float64

        Raises
        ------
        ValueError, TypeError
            As `row_softmax` and `row_mean_shift`.

        Examples
        --------
        Of one Gaussian:

        >>> from gpkern import KernelOperator
        >>> from gpkern.kernels import RBF
        >>> K = KernelOperator(RBF(2.0), [[1.0, 3.0]], [[0.0, 0.0]])
        >>> K.row_logsumexp_hessian().round(6) + 0.0
        array([[[-0.25,  0.  ],
                [ 0.  , -0.25]]])
        """
        return logsumexp_hessian(self, self._log_weights(log_weights))

    @on_device
    def total(self):
        """Sum of all entries, added in float64."""
        return float(self.row_sum().astype(np.float64).sum())

    @on_device
    def quadratic_forms(self, R, kernels=None):
        """``r' K r`` for each column r of R.

        What bootstraps of MMD and KSD need. K is never formed, half of a symmetric one
        is evaluated, and kernels that share a distance share its computation.

        Parameters
        ----------
        R : array of shape (n_rows, b), or RandomSigns
            On a GPU, vectors that half precision holds exactly (signs, small counts)
            take the fastest path.
        kernels : list of kernels, default=None
            Kernels in the place of the operator's own, such as one of each length
            scale.

        Returns
        -------
        array of shape (b,) or (len(kernels), b), float64
            On a GPU, from float32 data: kernel values have 22 significant bits, or 11
            with ``precision="medium"``, down to 2^-30 of the largest
            off the diagonal.

        Raises
        ------
        ValueError
            When the matrix is not square or R does not fit it.

        Examples
        --------
        >>> import numpy as np
        >>> from gpkern import KernelOperator, RandomSigns
        >>> from gpkern.kernels import RBF
        >>> X = np.linspace(0, 1, 50)[:, None]
        >>> signs = RandomSigns(50, 200, random_state=0)
        >>> scales = [RBF(0.1), RBF(1.0)]
        >>> KernelOperator(scales[0], X).quadratic_forms(signs, scales).shape
        (2, 200)
        """
        n, m = self.shape
        if n != m:
            raise ValueError(f"quadratic_forms needs a square matrix, not {n} x {m}")
        if not isinstance(R, RandomSigns):
            R = self.device.xp.asarray(R)
            R = self._real("R", R, n, R.shape[1] if R.ndim == 2 else "b")
        elif R.shape[0] != n:
            raise ValueError(f"R has {R.shape[0]} rows of signs, K has {n}")
        if kernels is None:
            return quadratic_forms([self], R)[0]
        if not len(kernels):
            raise ValueError("kernels must hold at least one kernel")
        return quadratic_forms([self.with_kernel(k) for k in kernels], R)

    @on_device
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
            check_precision(gradient_precision, "gradient_precision")
        return self.matrix_.normal_matmat(V, targets, weights, gradient_precision)

    def normal_sums(self, V, targets=None, weights=None):
        """``K.T @ U`` of `normal_matmat`, and the sums of the columns of U, float64."""
        product, U = self.normal_matmat(V, targets, weights)
        return product, U.sum(axis=0, dtype=np.float64)

    def adjoint_sums(self, U):
        """``K.T @ U``, and the sums of the columns of U in float64."""
        return self.T @ U, U.sum(axis=0, dtype=np.float64)

    @on_device
    def diagonal(self):
        """Entries (i, i), shape (min(n_rows, n_cols),)."""
        return self.matrix_.diagonal()

    @on_device
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

    def sum_over_rows(self, function, *arrays):
        """Sum of ``function(device, K of some rows, *parts)`` over all rows.

        Parameters
        ----------
        function : callable
            Given a `Device`, rows of K, dense, and the same rows of each of the arrays,
            it returns an array or a tuple of these. With Dask arrays it is sent to the
            workers.
        *arrays : array of shape (n_rows, ...), or None

        Returns
        -------
        array, or tuple of arrays
        """
        total, xp = None, self.device.xp
        arrays = [None if a is None else xp.asarray(a) for a in arrays]
        for cut, block in self.blocks():
            parts = (None if a is None else a[cut] for a in arrays)
            total = added(total, function(self.device, block, *parts))
        return total

    def _cuts(self):
        """Slices of rows whose blocks fit the memory budget."""
        n, m = self.shape
        height = max(1, self.matrix_.budget // (2 * m * self.dtype.itemsize))
        return [slice(i, min(i + height, n)) for i in range(0, n, height)]

    @on_device
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

    def _log_weights(self, log_weights):
        """Log weights on this device, checked; or None."""
        if log_weights is None:
            return None
        log_weights = self._real("log_weights", log_weights, self.shape[1])
        if not bool((log_weights < np.inf).all()):
            raise ValueError(
                "log_weights must be numbers or -inf; some are NaN or +inf"
            )
        return log_weights

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
        array = array if is_dask(array) else self.device.xp.asarray(array)
        if array.shape != shape:
            wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
            raise ValueError(f"{name} must have shape ({wanted}), got {array.shape}")
        return array
