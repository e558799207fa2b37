"""`KernelSpectrumDisplay`: eigenvalues of kernels, and where the targets lie."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._device import select
from .._validation import check_rows
from ..algorithms.alignment import kernel_spectrum
from ..estimators import EmpiricalNTK
from ..kernels.resolve import resolve_kernel
from ..operator import make_operator
from ._coreset import _on_host
from ._density_modes import check_counts

# Rows above which eigenvectors take more than minutes.
MOST_ROWS = 10_000
# Eigenvalues below minus this share of the largest are no rounding, also in float32.
INDEFINITE = 1e-5


class KernelSpectrumDisplay:
    """Eigenvalues of kernel matrices, and how targets align with their eigenvectors.

    On the left, eigenvalues by rank, as shares of their sum. On the right, how much of
    the targets lies in the first k eigenvectors: a kernel machine learns these first.
    It is best made by `from_kernel` or `from_kernels`.

    Parameters
    ----------
    eigenvalues : dict of str to array-like of shape (n,)
        For each kernel, in descending order.
    target_shares : dict of str to array-like of shape (n,), default=None
        Share of the squares of the centred targets in the first 1, 2, ...
        eigenvectors. Drawn as far as the eigenvalues.
    alignments : dict of str to float, default=None
        Centred kernel-target alignments, for the legend.
    n_components : int, default=None
        How many to draw; None draws all.

    Attributes
    ----------
    eigenvalue_shares_ : dict of str to ndarray of shape (n,)
        Eigenvalues by the sum of those above 0. NaN, and not drawn, are those that are
        no more than what rounding leaves: n times the float64 epsilon times the
        largest.
    axes_ : ndarray of matplotlib Axes of shape (2,), or (1,) without targets
    figure_ : matplotlib Figure

    See Also
    --------
    gpkern.algorithms.alignment.kernel_spectrum : The numbers without the plot.

    References
    ----------
    Cortes, Mohri & Rostamizadeh (2012), Algorithms for learning kernels based on
    centered alignment.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from gpkern.kernels import NTK
    >>> from gpkern.plotting import KernelSpectrumDisplay
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> display = KernelSpectrumDisplay.from_kernels(
    ...     {"Gaussian": "rbf", "NTK": NTK(depth=2)}, X, y
    ... )  # doctest: +SKIP
    """

    def __init__(
        self, eigenvalues, target_shares=None, alignments=None, n_components=None
    ):
        self.eigenvalues = _arrays(eigenvalues)
        self.target_shares = None if target_shares is None else _arrays(target_shares)
        self.alignments, self.n_components = alignments, n_components

    @classmethod
    def from_kernel(
        cls,
        kernel,
        X,
        y=None,
        *,
        center=True,
        n_components=None,
        name=None,
        axes=None,
        **kwargs,
    ):
        """Draw the spectrum of one kernel.

        Parameters
        ----------
        kernel : Kernel, str, callable or "precomputed"
            A kernel of scikit-learn or gpkern, `EmpiricalNTK` included; a name of
            `~sklearn.metrics.pairwise.pairwise_kernels`, of which "rbf" and "laplacian"
            take the median distance for their length scale; or a function of two rows.
        X : array-like of shape (n, n_features), or (n, n) if "precomputed"
            Two to 10,000 rows.
        y : array-like of shape (n,) or (n, n_targets), default=None
            Floats are numbers. One column of integers, booleans or strings are
            classes; pass counts as floats.
        center : bool, default=True
            Whether the eigenvalues are those of the matrix of centred features.
            Without centring, the first one is mostly that of the mean.
        n_components : int, default=None
            Eigenvalues to draw; None draws all.
        name : str, default=None
            For the legend; None is the kernel's own.
        axes : array-like of two matplotlib Axes, default=None
            One of them, or its Axes alone, without y. None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        KernelSpectrumDisplay
        """
        if name is None:
            name = kernel if isinstance(kernel, str) else _own_name(kernel)
        return cls.from_kernels(
            {name: kernel},
            X,
            y,
            center=center,
            n_components=n_components,
            axes=axes,
            **kwargs,
        )

    @classmethod
    def from_kernels(
        cls, kernels, X, y=None, *, center=True, n_components=None, axes=None, **kwargs
    ):
        """Draw the spectra of several kernels of the same rows.

        Parameters
        ----------
        kernels : dict of str to Kernel, str, callable or ndarray of shape (n, n)
            By their names, as `from_kernel` takes them; or matrices.
        X, y, center, n_components, axes, **kwargs
            Of `from_kernel`.

        Returns
        -------
        KernelSpectrumDisplay

        Raises
        ------
        ValueError
            For fewer than two rows, or too many; where rows, y or a kernel matrix are
            not finite; where y is constant, or a kernel is on all rows.

        Warns
        -----
        UserWarning
            For kernels with negative eigenvalues, which are not drawn.
        """
        if not isinstance(kernels, dict) or not kernels:
            raise TypeError("kernels must be a dict of kernels by their names")
        if n_components is not None:
            check_counts(n_components=(n_components, 1))
        y = None if y is None else _on_host(y)
        found = {}
        for name, kernel in kernels.items():
            found[name] = _spectrum(name, kernel, X, y, center)
        values = {name: s.eigenvalues for name, s in found.items()}
        if y is None:
            return cls(values, n_components=n_components).plot(axes=axes, **kwargs)
        return cls(
            values,
            {name: s.target_shares for name, s in found.items()},
            {name: s.alignment for name, s in found.items()},
            n_components,
        ).plot(axes=axes, **kwargs)

    @property
    def eigenvalue_shares_(self):
        """See the class."""
        out = {}
        for name, values in self.eigenvalues.items():
            rounding = len(values) * np.finfo(float).eps * abs(values).max()
            shares = values / values[values > 0].sum()
            out[name] = np.where(values > rounding, shares, np.nan)
        return out

    def plot(self, axes=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        axes : array-like of two matplotlib Axes, default=None
            One of them, or its Axes alone, without targets. None makes a figure.
        **kwargs
            Of ``ax.plot``, for all curves.

        Returns
        -------
        KernelSpectrumDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        count = 1 if self.target_shares is None else 2
        if axes is None:
            size = (5.0 * count, 4.0)
            _, axes = plt.subplots(1, count, figsize=size, layout="constrained")
        axes = np.atleast_1d(axes).ravel()
        if len(axes) != count:
            raise ValueError(f"axes holds {len(axes)} Axes, and needs {count}")
        self.axes_, self.figure_ = axes, axes[0].figure
        for name, shares in self.eigenvalue_shares_.items():
            self._curve(axes[0], shares, {"label": name} | kwargs)
        axes[0].set(xscale="log", yscale="log")
        axes[0].set(xlabel="rank k", ylabel="eigenvalue, share of the sum")
        if count == 1:
            axes[0].legend(frameon=False)
            return self
        drawn = self.eigenvalue_shares_
        for name, shares in self.target_shares.items():
            # Among the eigenvectors of what rounding leaves, the order is none.
            shares, label = np.where(np.isnan(drawn[name]), np.nan, shares), name
            if self.alignments is not None:
                label = f"{name}: alignment {self.alignments[name]:.2f}"
            self._curve(axes[1], shares, {"label": label} | kwargs)
        axes[1].set(xscale="log", ylim=(-0.02, 1.02))
        axes[1].set(
            xlabel="first k eigenvectors", ylabel="share of the targets in them"
        )
        axes[1].legend(frameon=False)
        return self

    def _curve(self, ax, values, look):
        values = values[: self.n_components]
        (line,) = ax.plot(np.arange(1, len(values) + 1), values, **look)
        if np.isfinite(values).sum() < 2:
            line.set_marker("o")


def _arrays(of_each):
    return {k: np.asarray(v, dtype=np.float64) for k, v in of_each.items()}


def _own_name(kernel):
    return getattr(kernel, "__name__", type(kernel).__name__)


def _spectrum(name, kernel, X, y, center):
    """Of one kernel; errors name it."""
    K = _matrix(kernel, X)
    try:
        found = kernel_spectrum(K, y, center)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    first, last = found.eigenvalues[[0, -1]]
    if not first > len(K) * np.finfo(float).eps * abs(K).max():
        raise ValueError(f"{name}: no eigenvalue is above 0: the rows are all alike")
    if last < -INDEFINITE * first:
        warnings.warn(
            f"{name} is not positive semi-definite on these rows: eigenvalues down to "
            f"{last / first:.2g} of the largest, which are not drawn",
            UserWarning,
            stacklevel=3,
        )
    return found


def _matrix(kernel, X):
    """Kernel matrix of the rows, on the host."""
    given = isinstance(kernel, str) and kernel == "precomputed"
    if given or not (isinstance(kernel, (str, type)) or callable(kernel)):
        K = _on_host(X if given else kernel)
        _check_count(len(K) if K.ndim else 0)
        return K
    _check_count(X.shape[0] if hasattr(X, "shape") else len(X))
    if isinstance(kernel, EmpiricalNTK):  # takes what its pipeline takes
        return _on_host(kernel(X))
    X = check_rows(X if sparse.issparse(X) else _on_host(X))
    named = isinstance(kernel, str) and kernel in ("rbf", "laplacian")
    kernel = resolve_kernel(
        kernel, X, length_scale="median" if named else None, random_state=0
    )
    return make_operator(kernel, X, None, select("cpu"), dtype=np.float64).to_dense()


def _check_count(n):
    if n < 2:
        raise ValueError(f"X has n_samples={n}: a spectrum needs two rows or more")
    if n > MOST_ROWS:
        raise ValueError(
            f"X has {n} rows, whose eigenvectors take n x n numbers and time in "
            f"proportion to n^3: pass a sample of {MOST_ROWS} or fewer"
        )
