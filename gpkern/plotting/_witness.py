"""`WitnessDisplay`: where a sample differs from a density, or from another sample."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ..estimators._door import to_numpy_or_cupy
from ..estimators._ksd_test import KSDTest
from ..estimators._mmd_test import MMDTest
from ..targets.base import namespace
from ._contributions import names_of
from ._coreset import _on_host, two_columns
from ._density_modes import check_counts

# Points of the grid along each axis: arrows, and contours.
ARROWS, CONTOURS = 20, 80
# Cells of the grid that the longest arrow crosses; how far the grid exceeds the rows.
LONGEST, MARGIN = 1.4, 0.05


class WitnessDisplay:
    """Where the discrepancy comes from, in two columns.

    Of a `KSDTest` it is a field of arrows along which the sample would have to move
    to become one of the density; rows are coloured by what they add to the
    discrepancy. Of an `MMDTest` it is a map: red where the first sample has more than
    the second, blue where it has less. Arrows and colours are scaled to the largest
    one: they say where, and the p-value whether. It is best made by `from_estimator`.

    Parameters
    ----------
    grid : list of two ndarrays of shape (n_grid,)
        Along each axis.
    witness : ndarray of shape (n_grid, n_grid) or (n_grid, n_grid, 2)
        On the grid, the first column along the first axis: values, or arrows.
    samples : list of ndarray of shape (n, 2)
        One sample, or two.
    feature_names : list of str
        Of the two columns.
    values : ndarray of shape (n,), default=None
        Of the rows of the first sample, which they colour.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    Lloyd & Ghahramani (2015), Statistical model criticism using kernel two sample
    tests; Liu & Wang (2016), Stein variational gradient descent.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KSDTest
    >>> from gpkern.plotting import WitnessDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 2)) * [1.0, 1.5]
    >>> test = KSDTest(lambda X: -X, random_state=0).fit(X)
    >>> display = WitnessDisplay.from_estimator(test)  # doctest: +SKIP
    """

    def __init__(self, grid, witness, samples, feature_names, values=None):
        self.grid, self.witness, self.samples = grid, np.asarray(witness), samples
        self.feature_names, self.values = feature_names, values

    @classmethod
    def from_estimator(
        cls,
        test,
        *,
        features=None,
        feature_names=None,
        n_grid=None,
        max_points=2000,
        ax=None,
        **kwargs,
    ):
        """Draw the witness of a fitted test.

        Parameters
        ----------
        test : KSDTest or MMDTest
            Fitted.
        features : sequence of two ints or str, default=None
            Columns to draw, by number or name; the witness is then that of a cut where
            the others are at their medians, which is all that is seen of them. None
            is for samples of two columns.
        feature_names : sequence of str, default=None
            Of all columns; None for those of the data frame that the test was fitted
            to.
        n_grid : int, default=None
            Places along each axis; None for 20 arrows, or 80 for a map.
        max_points : int, default=2000
            Rows of each sample to draw, evenly spread.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        WitnessDisplay
        """
        if not isinstance(test, KSDTest | MMDTest):
            raise TypeError(
                f"test={type(test).__name__} has no witness to draw: pass a fitted "
                "KSDTest or MMDTest"
            )
        check_is_fitted(test)
        stein = isinstance(test, KSDTest)
        n_grid = (ARROWS if stein else CONTOURS) if n_grid is None else n_grid
        check_counts(n_grid=(n_grid, 2), max_points=(max_points, 1))
        samples, values = _samples(test), None
        width = samples[0].shape[1]
        names = names_of(test, feature_names, width)
        columns = _two(features, names, width)
        rows = np.concatenate(samples)
        grid = [_axis(rows[:, c], n_grid) for c in columns]
        V = np.tile(np.median(rows, axis=0), (n_grid * n_grid, 1))
        V[:, columns] = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 2)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            witness = _on_host(test.witness_function(_like(test, V)))
        if stein:
            witness = witness[:, columns]
            values = _evenly(_on_host(test.score_samples()), max_points)
        return cls(
            grid,
            witness.reshape(n_grid, n_grid, *witness.shape[1:]),
            [_evenly(sample[:, columns], max_points) for sample in samples],
            [names[c] for c in columns],
            values,
        ).plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, sample_kwargs=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        sample_kwargs : dict, default=None
            Of ``ax.scatter``, for rows.
        **kwargs
            Of ``ax.quiver``, or of ``ax.contourf``.

        Returns
        -------
        WitnessDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        draw = self._arrows if self.witness.ndim == 3 else self._map
        draw(ax, sample_kwargs or {}, kwargs)
        ax.set(xlabel=self.feature_names[0], ylabel=self.feature_names[1])
        return self

    def _arrows(self, ax, sample_kwargs, kwargs):
        look = {"s": 10, "linewidths": 0, "cmap": "viridis", "zorder": 1}
        if self.values is not None:
            look["c"] = self.values
        rows = ax.scatter(*self.samples[0].T, **(look | sample_kwargs))
        if self.values is not None:
            label = "what a row adds to the discrepancy"
            self.figure_.colorbar(rows, ax=ax, label=label)
        steps = np.array([axis[1] - axis[0] for axis in self.grid])
        longest = float(abs(self.witness / steps).max())
        look = {
            "angles": "xy",
            "scale_units": "xy",
            "scale": longest / LONGEST if longest > 0 else 1.0,
            "color": "black",
            "width": 0.003,
            "zorder": 2,
        }
        u, v = self.witness[..., 0].T, self.witness[..., 1].T
        ax.quiver(*self.grid, u, v, **(look | kwargs))

    def _map(self, ax, sample_kwargs, kwargs):
        most = float(abs(self.witness).max()) or 1.0
        look = {"levels": np.linspace(-most, most, 16), "cmap": "RdBu_r"}
        drawn = ax.contourf(*self.grid, self.witness.T, **(look | kwargs))
        self.figure_.colorbar(drawn, ax=ax, label="first sample less the second")
        for sample, colour, label in zip(
            self.samples, ("darkred", "navy"), ("first", "second"), strict=False
        ):
            look = {"s": 5, "color": colour, "alpha": 0.5, "linewidths": 0}
            look["label"] = f"{label} sample"
            ax.scatter(*sample.T, **(look | sample_kwargs))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)


def _samples(test):
    """The rows of a fitted test: one sample, or two."""
    if isinstance(test, KSDTest):
        return [_on_host(test._points).astype(np.float64)]
    if not test.kernels_:
        raise ValueError("WitnessDisplay needs a kernel, not 'precomputed'")
    rows = _on_host(test._rows).astype(np.float64)
    return [rows[: test._first], rows[test._first :]]


def _like(test, V):
    """Rows in the array library of those that the test was fitted to."""
    own = to_numpy_or_cupy(test._points if isinstance(test, KSDTest) else test._rows)
    return namespace(own).asarray(V)


def _two(features, names, width):
    """Numbers of the two columns to draw."""
    if features is None and width != 2:
        raise ValueError(
            f"the sample has {width} column{'s' if width > 1 else ''}, and the witness "
            "is drawn in two" + (": choose them by features" if width > 2 else "")
        )
    return two_columns(features, names, width)


def _axis(values, n_grid):
    low, high = values.min(), values.max()
    edge = MARGIN * (high - low) if high > low else 1.0
    return np.linspace(low - edge, high + edge, n_grid)


def _evenly(rows, most):
    return rows[:: max(1, -(-len(rows) // most))]
