"""What `KernelThinning` compares rows by, and what it keeps of those it has chosen."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    Matern,
    Product,
    RationalQuadratic,
)

from .._device import is_cupy, is_dask
from .._validation import is_sliceable
from ..algorithms import coresets, thinning
from ..algorithms.mean_distance import drawn
from ..algorithms.thinning import Embedding, Thinning
from ..kernels import InverseMultiquadric, Sinc, SupervisedKernel, power_kernel
from ..kernels.expr import nodes
from ..kernels.pair import formula_of
from ..kernels.resolve import resolve_kernel
from ._door import check_targets, to_numpy_or_cupy

# Smooth kernels, for which halving by the kernel itself is enough.
SMOOTH = (RBF, RationalQuadratic, InverseMultiquadric, Sinc)
# Rows on which a kernel is checked.
CHECKED_ROWS = 64
# Perturbations of a coreset, where their number is left open.
PERTURBATIONS = 8
# Rows above which compressing them first costs the coreset nothing.
COMPRESSED_ROWS = 2_000


@dataclass(frozen=True)
class Chosen:
    """A coreset.

    Attributes
    ----------
    numbers : ndarray of int, shape (s,)
        Of its rows, in what was given to fit or in a stream.
    values : array of shape (s, d)
        The rows, with their targets where these count.
    weights : ndarray of shape (s,)
    path : list
    distances : tuple of float or None
        `mmd_`, `mmd_stderr_` and `mmd_iid_`.
    """

    numbers: np.ndarray
    values: Any
    weights: np.ndarray
    path: list
    distances: tuple = (None, None, None)


def size_of(wanted, n):
    """How many of n rows to choose; `wanted` is a parameter ``n_samples``."""
    if wanted is None:
        return max(1, int(np.sqrt(n)))
    size = int(wanted) if isinstance(wanted, Integral) else max(1, int(wanted * n))
    if size > n:
        rows = "1 sample" if n == 1 else f"{n} samples"
        raise ValueError(
            f"n_samples={wanted} is more than X has: {rows} (of positive weight)"
        )
    return size


def _is_smooth(kernel):
    """Whether halving by the kernel itself is enough; constants do not count."""
    if isinstance(kernel, Product):
        parts = [k for k in (kernel.k1, kernel.k2) if type(k) is not ConstantKernel]
        return len(parts) < 2 and all(map(_is_smooth, parts))
    if type(kernel) is Matern:
        return kernel.nu > 1e15
    return type(kernel) in SMOOTH


def halving_method(kernel, d):
    """Which method halves by the kernel that suits this one: "target" or "kt+"."""
    if _is_smooth(kernel):
        return "target"
    try:
        power = formula_of(power_kernel(kernel, d), d)
    except ValueError:
        return "target"
    # With Bessel functions it would take far longer, for nothing that is measured.
    return "target" if any(n.op == "matern" for n in nodes(power)) else "kt+"


def check_kernel(operator, random_state):
    """An error where a kernel has no distances, by some of the rows.

    Raises
    ------
    ValueError
        When values are not finite, or the kernel not symmetric or not positive
        definite on them.
    """
    n = operator.shape[0]
    few = drawn(operator, min(n, CHECKED_ROWS), None, random_state, replace=False)
    few = coresets.take_rows(operator, np.sort(few))
    K = operator.device.get(operator.with_samples(few, few).to_dense())
    name = f"kernel={operator.kernel}"
    if not np.isfinite(K).all():
        raise ValueError(f"{name} is NaN or infinite for some rows: scale X")
    size = abs(K).max()
    if not np.allclose(K, K.T, rtol=1e-8, atol=1e-8 * size):
        raise ValueError(f"{name} is not symmetric: k(x, z) must be k(z, x)")
    if np.linalg.eigvalsh(K)[0] < -1e-7 * len(K) * size:
        raise ValueError(
            f"{name} is not positive definite on these rows, so that it has no "
            "distances between samples: use another one"
        )


def of_positive_weight(X, weights, device):
    """Rows of a weight above 0, their numbers, and their weights, of sum 1.

    Numbers are None where all rows are meant, and weights where they are equal.
    """
    if is_dask(X):
        from ..dask.weighted import positive

        return positive(X, weights)
    if weights is None:
        return X, None, None
    rows = np.flatnonzero(weights > 0)
    return taken(X, rows, device), rows, weights[rows] / weights[rows].sum()


def whole(array):
    """A result, computed where it is Dask's."""
    if not is_dask(array):
        return array
    from ..dask.compute import gather

    return gather(array)


def rows_of(array, rows):
    """Rows of an array of any library, a data frame or a list; Dask's lazily."""
    if is_dask(array):
        from ..dask.arrays import from_frame

        return from_frame(array)[rows]
    rows = to_numpy_or_cupy(rows)
    if is_cupy(rows) and not is_cupy(array):
        rows = rows.get()
    if hasattr(array, "iloc"):
        return array.iloc[rows]
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    return array[rows]


class RowsAndKernels:
    """Methods that a fit and a stream share."""

    def _with_targets(self, X, y, device):
        """Rows ``[x, y]`` where targets count, otherwise X; on the device."""
        X = device.put(X)
        if self.y_kernel is None:
            return X
        if self.stratify is not None:
            raise ValueError(
                "y_kernel takes y as targets and stratify='y' as classes: set one of "
                "them to None"
            )
        y = check_targets(y, X, self)
        self._flat_targets = y.ndim == 1
        y = y.reshape(len(y), -1)
        if is_dask(X):
            from ..dask.weighted import beside

            return beside(X, y)
        xp = device.xp if is_cupy(X) else np
        y = xp.asarray(device.get(y), dtype=np.float64)
        return xp.concatenate([X.astype(np.float64), y], axis=1)

    def _embedding(self, rows, n, random_state):
        """How n rows are compared, by the kernel parameters and some of the rows."""
        d, width = self.n_features_in_, rows.shape[1]
        kernel, offset = self._kernel(rows[:, :d], random_state), None
        if self.y_kernel is not None:
            y = rows[:, d:]
            mean = whole(y.mean(axis=0))
            spread = float(whole(((y - mean) ** 2).sum(axis=1).mean())) ** 0.5
            mean = mean.get() if is_cupy(mean) else mean
            offset = np.concatenate([np.zeros(d), mean])
            kernel = SupervisedKernel(
                kernel, d, width - d, self.y_kernel, spread if spread > 0 else 1.0
            )
        method = self._method(kernel, n, d)
        return Embedding(kernel, self._split_kernel(kernel, method, d), offset)

    def _kernel(self, X, random_state):
        length_scale = self.length_scale
        named = isinstance(self.kernel, str)
        if named and length_scale is None and self.gamma is None:
            length_scale = "median" if self.kernel in ("rbf", "laplacian") else None
        return resolve_kernel(
            self.kernel,
            X,
            gamma=self.gamma,
            length_scale=length_scale,
            random_state=random_state,
        )

    def _method(self, kernel, n, d):
        if self.method != "auto":
            return self.method
        return "compress++" if n > COMPRESSED_ROWS else halving_method(kernel, d)

    def _split_kernel(self, kernel, method, d):
        if method == "compress++":
            method = halving_method(kernel, d)
        if method == "power":
            return power_kernel(kernel, d)
        if method == "kt+":  # each of the two 1 where rows meet
            top = float(kernel.diag(np.zeros((1, d)))[0])
            own = kernel if top == 1.0 else ConstantKernel(1.0 / top, "fixed") * kernel
            return own + power_kernel(kernel, d)
        return kernel

    def _thinning(self, embedding, method):
        """How rows are chosen."""
        return Thinning(
            method,
            embedding.split_kernel,
            None if self.oversampling == "auto" else self.oversampling,
            self.delta,
            None if self.refine == "converge" else self.refine,
            self._perturbations(),
            self.unique,
        )

    def _perturbations(self):
        if self.n_perturbations != "auto":
            return self.n_perturbations
        return PERTURBATIONS if self.refine == "converge" else 0

    def _fitted_weights(self, operator, chosen, share):
        """`_weights` of rows of a sample with these shares."""
        mu = None
        if self.weights is not None:
            points = operator.with_rows(coresets.take_rows(operator, chosen))
            mu = thinning.sample_means(points, share)
        return self._weights(operator, chosen, mu)

    def _weights_of_each(self, operator, chosen, share, classes):
        """The same for the rows of each class by themselves, times its share."""
        out, n = np.zeros(len(chosen)), len(classes)
        share = np.full(n, 1.0 / n) if share is None else share
        for value in np.unique(classes[chosen]):
            rows = np.flatnonzero(classes == value)
            here = classes[chosen] == value
            mass = share[rows].sum()
            part = operator.with_samples(coresets.take_rows(operator, rows))
            local = np.searchsorted(rows, chosen[here])
            out[here] = mass * self._fitted_weights(part, local, share[rows] / mass)
        return out / out.sum()

    def _weights(self, operator, chosen, mu):
        """Equal weights, or those of least distance; on the host.

        Parameters
        ----------
        mu : array of shape (n_samples,)
            Mean kernel value of the chosen rows with the sample.
        """
        if self.weights is None:
            return np.full(len(chosen), 1.0 / len(chosen))
        solve = {
            "simplex": coresets.simplex_weights,
            "sum-to-one": coresets.affine_weights,
        }[self.weights]
        return solve(coresets.block(operator, chosen), operator.device.get(mu))

    def _store(self, embedding, way, chosen, kind, device):
        """Fitted attributes, in the user's array type."""

        def out(array):
            return kind.out(device.put(array))

        d, values = self.n_features_in_, chosen.values
        self.kernel_, self.split_kernel_ = embedding.kernel, embedding.split_kernel
        self.method_ = way.method
        self.sample_indices_, self.samples_ = out(chosen.numbers), out(values[:, :d])
        if self.y_kernel is not None:
            targets = values[:, d] if self._flat_targets else values[:, d:]
            self.sample_targets_ = out(targets)
        self.weights_, self.objective_path_ = out(chosen.weights), chosen.path
        self.mmd_, self.mmd_stderr_, self.mmd_iid_ = chosen.distances

    def _report(self, n):
        found = "" if self.mmd_ is None else f", MMD {self.mmd_:.3g}"
        print(
            f"[{type(self).__name__}] {len(self.weights_)} of {n} rows by "
            f"{self.method_}, {len(self.objective_path_)} passes{found}"
        )


def in_memory(X):
    """An array that is read in slices as a whole; others as they are."""
    if not is_sliceable(X):
        return X
    X = np.asarray(X[:])
    if not np.isfinite(X).all():
        raise ValueError("Input X contains NaN or infinity.")
    return X


def taken(X, rows, device):
    """Some rows of X, which may be on the device, on the host or in Dask's blocks."""
    if is_dask(X):
        from ..dask.arrays import take

        # A row may be wanted more than once.
        rows, place = np.unique(rows, return_inverse=True)
        return take(X, rows)[place]
    return X[device.xp.asarray(rows) if is_cupy(X) else rows]
