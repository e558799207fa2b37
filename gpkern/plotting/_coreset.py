"""`CoresetDisplay`: a coreset within the sample that it stands for."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from .._device import is_cupy
from ..estimators._door import to_numpy_or_cupy

# Area of the marker of a mean weight, in square points.
MARKER = 34.0


class CoresetDisplay:
    """A coreset, and the sample that it stands for.

    Two columns are a scatter plot, in which the area of a marker is its weight; one is
    a pair of histograms. It is best made by `from_estimator`.

    Parameters
    ----------
    X : ndarray of shape (n, 1) or (n, 2)
        The sample.
    samples : ndarray of shape (n_samples, 1) or (n_samples, 2)
        The coreset.
    weights : ndarray of shape (n_samples,)
        Of the coreset; those below 0 are drawn hollow.
    feature_names : list of str
        Of the columns.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelThinning
    >>> from gpkern.plotting import CoresetDisplay
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> thinning = KernelThinning(30, random_state=0).fit(X)
    >>> display = CoresetDisplay.from_estimator(thinning, X)  # doctest: +SKIP
    """

    def __init__(self, X, samples, weights, feature_names):
        self.X, self.samples, self.weights = X, samples, weights
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, thinning, X, *, features=None, max_points=5000, ax=None, **kwargs
    ):
        """Draw what a fitted thinning has chosen.

        Parameters
        ----------
        thinning : KernelThinning or SteinThinning
            Fitted.
        X : array-like of shape (n, n_features) or (chain, draw, n_features)
            The sample; of a stream, any rows that show what it looks like.
        features : sequence of 1 or 2 ints or str, default=None
            Columns to draw, by number or by name in a data frame; None for the first
            two.
        max_points : int, default=5000
            Rows of X to draw, evenly spread.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        CoresetDisplay
        """
        check_is_fitted(thinning)
        names = [str(c) for c in X.columns] if hasattr(X, "columns") else None
        X = _on_host(X)
        X = X.reshape(-1, X.shape[-1])
        if hasattr(thinning, "samples_"):
            samples = _on_host(thinning.samples_)
        else:
            samples = X[_on_host(thinning.sample_indices_)]
        if X.shape[1] != samples.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} columns, the coreset has {samples.shape[1]}"
            )
        columns = _columns(features, names, X.shape[1])
        names = names or [f"column {i}" for i in range(X.shape[1])]
        step = max(1, -(-len(X) // max_points))
        display = cls(
            X[::step, columns],
            samples[:, columns],
            _on_host(thinning.weights_),
            [names[i] for i in columns],
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, sample_kwargs=None, coreset_kwargs=None):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        sample_kwargs, coreset_kwargs : dict, default=None
            Of ``ax.scatter``, or of ``ax.hist`` for one column.

        Returns
        -------
        CoresetDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        draw = self._scatter if self.X.shape[1] == 2 else self._histograms
        draw(ax, sample_kwargs or {}, coreset_kwargs or {})
        ax.set_xlabel(self.feature_names[0])
        return self

    def _scatter(self, ax, sample_kwargs, coreset_kwargs):
        of_sample = {"s": 6, "color": "0.75", "linewidths": 0, "label": "sample"}
        ax.scatter(*self.X.T, **(of_sample | sample_kwargs))
        area = np.abs(self.weights)
        area = MARKER * area / area.mean()
        kind = {"color": "tab:blue", "alpha": 0.9, "zorder": 3, "linewidths": 0.5}
        for sign, look, label in (
            (self.weights >= 0, {"edgecolors": "white"}, "coreset"),
            (self.weights < 0, {"facecolors": "none"}, "of negative weight"),
        ):
            if sign.any():
                look = kind | look | {"s": area[sign], "label": label}
                if "facecolors" in look:  # which "color" would override
                    look["edgecolors"] = look.pop("color")
                ax.scatter(*self.samples[sign].T, **(look | coreset_kwargs))
        ax.set_ylabel(self.feature_names[1])
        for handle in ax.legend().legend_handles:
            handle.set_sizes([MARKER])

    def _histograms(self, ax, sample_kwargs, coreset_kwargs):
        bins = np.histogram_bin_edges(self.X, bins=min(30, 5 + len(self.weights) // 3))
        of_sample = {"bins": bins, "density": True, "color": "0.8", "label": "sample"}
        ax.hist(self.X[:, 0], **(of_sample | sample_kwargs))
        of_coreset = {
            "bins": bins,
            "density": True,
            "weights": self.weights,
            "histtype": "step",
            "color": "tab:blue",
            "linewidth": 1.5,
            "label": "coreset",
        }
        ax.hist(self.samples[:, 0], **(of_coreset | coreset_kwargs))
        ax.set_ylabel("density")
        ax.legend()


def _on_host(array):
    array = to_numpy_or_cupy(array)
    return np.asarray(array.get() if is_cupy(array) else array)


def _columns(features, names, width):
    """Numbers of the columns to draw."""
    if features is None:
        return list(range(min(2, width)))
    features = [features] if isinstance(features, (int, str)) else list(features)
    if len(features) not in (1, 2):
        raise ValueError(f"features={features} must be one or two columns")
    columns = []
    for f in features:
        if not isinstance(f, (str, Integral)):
            raise ValueError(f"features={features} must be numbers or names of columns")
        if isinstance(f, str):
            if f not in (names or []):
                raise ValueError(f"features: X has no column {f!r}")
            f = names.index(f)
        if not -width <= f < width:
            raise ValueError(f"features: X has {width} columns, none of number {f}")
        columns.append(f % width)
    return columns


def two_columns(features, names, width):
    """Numbers of two different columns, given by their numbers or names."""
    columns = _columns(features, names, width)
    if len(columns) != 2 or columns[0] == columns[1]:
        raise ValueError(f"features={features} must be two columns")
    return columns
