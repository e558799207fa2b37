"""`DensityModesDisplay`: a density, its modes, and the rows that it comes from."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ..estimators._mode_finder import KDEModeFinder
from ._coreset import _columns, _on_host

# Shares of the rows that the filled regions hold.
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
# Modes that get their number, and those that get a colour of their own too.
NUMBERS, COLOURS = 20, 9


class DensityModesDisplay:
    """A density with its modes.

    One column is a curve above a histogram of the rows, with a line at each mode. Two
    are filled regions, the smallest that hold given shares of the rows. More are a
    scatter plot of two columns, or of the first two principal components, in which
    rows have the colour of their mode. Modes have their numbers in `labels_` of the
    finder. It is best made by `from_estimator`.

    Parameters
    ----------
    X : ndarray of shape (n, 1) or (n, 2)
        Rows to draw.
    modes : ndarray of shape (n_modes, 1) or (n_modes, 2)
        The densest first.
    feature_names : list of str
        Of the columns.
    labels : ndarray of int, shape (n,), default=None
        Mode of each row, where rows are coloured.
    grid : list of ndarray of shape (n_grid,), default=None
        One for each column, where the density is drawn.
    density : ndarray of shape (n_grid,) or (n_grid, n_grid), default=None
        On the grid; the first column is the first axis.
    row_density : ndarray of shape (n,), default=None
        At the rows.
    row_weights : ndarray of shape (n,), default=None

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    Hyndman (1996), Computing and graphing highest density regions.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from gpkern import KDEModeFinder
    >>> from gpkern.plotting import DensityModesDisplay
    >>> X, _ = make_blobs(600, random_state=0)
    >>> finder = KDEModeFinder(random_state=0).fit(X)
    >>> display = DensityModesDisplay.from_estimator(finder, X)  # doctest: +SKIP
    """

    def __init__(
        self,
        X,
        modes,
        feature_names,
        *,
        labels=None,
        grid=None,
        density=None,
        row_density=None,
        row_weights=None,
    ):
        self.X, self.modes, self.feature_names = X, modes, feature_names
        self.labels, self.grid, self.density = labels, grid, density
        self.row_density, self.row_weights = row_density, row_weights

    @classmethod
    def from_estimator(
        cls,
        finder,
        X,
        *,
        features=None,
        sample_weight=None,
        n_grid=100,
        max_points=5000,
        ax=None,
        **kwargs,
    ):
        """Draw what a fitted finder has found.

        Parameters
        ----------
        finder : KDEModeFinder
            Fitted.
        X : array-like of shape (n, n_features)
            Rows of the sample.
        features : sequence of 2 ints or str, default=None
            Columns to draw, by number or by name in a data frame; None for all of up
            to two, and for the first two principal components of more.
        sample_weight : array-like of shape (n,), default=None
            Of the rows, as in `fit`; what the regions hold is counted by it.
        n_grid : int, default=100
            Places along each column at which the density is computed; one column has
            those of the modes too.
        max_points : int, default=5000
            Rows of X to draw, evenly spread; regions and labels are of these.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        DensityModesDisplay
        """
        check_finder(finder)
        names = [str(c) for c in X.columns] if hasattr(X, "columns") else None
        rows, width = _on_host(X), finder.n_features_in_
        check_rows(rows, width)
        check_counts(n_grid=(n_grid, 2), max_points=(max_points, 1))
        columns = _pair(features, names, width)
        names = names or [f"column {i}" for i in range(width)]
        modes = _on_host(finder.modes_)
        step = max(1, -(-len(rows) // max_points))
        found = {}
        if sample_weight is not None:
            weights = _on_host(sample_weight)
            if weights.shape != (len(rows),):
                raise ValueError(
                    f"sample_weight has shape {weights.shape}, X has {len(rows)} rows"
                )
            found["row_weights"] = weights[::step]
        if width <= 2:
            found |= _density_on_grid(finder.kde_, rows[::step], modes, n_grid, columns)
        else:
            # In the user's type of array, so that the names of columns are known.
            few = X.iloc[::step] if hasattr(X, "iloc") else X[::step]
            found["labels"] = _on_host(finder.predict(few))
        if columns is None:
            plane = PCA(2, random_state=0).fit(rows)
            names = [
                f"principal component {i + 1} ({share:.0%} of the variance)"
                for i, share in enumerate(plane.explained_variance_ratio_)
            ]
            rows, modes = plane.transform(rows[::step]), plane.transform(modes)
        else:
            names = [names[i] for i in columns]
            rows, modes = rows[::step, columns], modes[:, columns]
        return cls(rows, modes, names, **found).plot(ax=ax, **kwargs)

    def plot(
        self,
        ax=None,
        *,
        shares=SHARES,
        colorbar=True,
        row_kwargs=None,
        mode_kwargs=None,
        density_kwargs=None,
    ):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        shares : sequence of float, default=(0.1, 0.3, 0.5, 0.7, 0.9)
            Of the rows, that the filled regions of two columns hold.
        colorbar : bool, default=True
            Whether a bar beside the axes tells these.
        row_kwargs, mode_kwargs, density_kwargs : dict, default=None
            Of ``ax.scatter`` and ``ax.contourf``; for one column of ``ax.hist``,
            ``ax.vlines`` and ``ax.plot``.

        Returns
        -------
        DensityModesDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        row_kwargs, mode_kwargs = row_kwargs or {}, mode_kwargs or {}
        ax.set_xlabel(self.feature_names[0])
        if self.X.shape[1] == 1:
            self._curve(ax, row_kwargs, mode_kwargs, density_kwargs or {})
            return self
        ax.set_ylabel(self.feature_names[1])
        if self.density is not None:
            self._regions(ax, shares, colorbar, density_kwargs or {})
            alpha = np.clip(10.0 / np.sqrt(len(self.X)), 0.1, 0.35)
            look = {"s": 5, "color": "black", "alpha": alpha, "linewidths": 0}
            ax.scatter(*self.X.T, **(look | row_kwargs))
        else:
            look = {"s": 14, "color": mode_colours(self.labels), "linewidths": 0}
            ax.scatter(*self.X.T, **(look | {"alpha": 0.5} | row_kwargs))
        self._markers(ax, mode_kwargs)
        return self

    def _curve(self, ax, row_kwargs, mode_kwargs, density_kwargs):
        low, high = self.grid[0][[0, -1]]
        of_rows = {
            "bins": min(60, 20 + len(self.X) // 20),
            "range": (low, high),
            "density": True,
            "weights": self.row_weights,
            "color": "0.88",
        }
        ax.hist(self.X[:, 0], **(of_rows | row_kwargs))
        look = {"color": "tab:blue", "linewidth": 1.5}
        (curve,) = ax.plot(self.grid[0], self.density, **(look | density_kwargs))
        at = self.modes[:, 0]
        heights = np.interp(at, *curve.get_data())
        look = {"color": "tab:red", "linewidth": 1.2}
        ax.vlines(at, 0.0, heights, **(look | mode_kwargs))
        for k in range(min(len(at), NUMBERS)):
            ax.annotate(
                f"{k}",
                (at[k], heights[k]),
                (0, 3),
                textcoords="offset points",
                ha="center",
                color="tab:red",
            )
        ax.set_xlim(low, high)
        ax.set_ylim(0.0, 1.1 * max(self.density.max(), ax.dataLim.ymax / 1.05))
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))
        ax.set_ylabel("density")

    def _regions(self, ax, shares, colorbar, density_kwargs):
        shares, levels = _levels(shares, self.row_density, self.row_weights)
        top = max(self.density.max(), levels[-1] * (1.0 + 1e-9))
        look = {"cmap": "Blues", "levels": [*levels, np.nextafter(top, np.inf)]}
        # Even steps of colour: densities of different regions can be far apart.
        steps = np.linspace(0.15, 0.75, len(levels))
        if not {"cmap", "colors"} & set(density_kwargs):
            from matplotlib import colormaps

            look.pop("cmap")
            look["colors"] = colormaps["Blues"](steps)
        drawn = ax.contourf(*self.grid, self.density.T, **(look | density_kwargs))
        if colorbar:
            bar = self.figure_.colorbar(drawn, ax=ax, spacing="uniform")
            bar.set_ticks(levels, labels=[f"{share:.0%}" for share in shares])
            bar.set_label("share of the rows inside")

    def _markers(self, ax, mode_kwargs):
        """Modes, with their numbers inside; the densest on top."""
        order = np.arange(len(self.modes))[::-1]
        coloured = self.labels is not None
        numbered = order < (COLOURS if coloured else NUMBERS)
        look = {
            "s": np.where(numbered, 130, 30),
            "color": mode_colours(order) if coloured else "tab:red",
            "edgecolors": "white",
            "linewidths": 1.2,
            "zorder": 3,
        }
        ax.scatter(*self.modes[order].T, **(look | mode_kwargs))
        for k in order[numbered]:
            ax.annotate(
                f"{k}",
                self.modes[k],
                ha="center",
                va="center_baseline",
                color="white",
                fontsize="small",
                fontweight="bold",
                zorder=3,
            )


def check_finder(finder):
    """Raise unless this is a fitted `KDEModeFinder`."""
    if not isinstance(finder, KDEModeFinder):
        raise TypeError(
            f"finder={type(finder).__name__} has no modes: pass a fitted KDEModeFinder"
        )
    check_is_fitted(finder)


def check_rows(rows, width=None):
    """Raise unless these are rows, of so many columns."""
    if rows.ndim != 2:
        raise ValueError(
            f"X has shape {rows.shape}: it must have rows and columns; one column is "
            "X.reshape(-1, 1)"
        )
    if width is not None and rows.shape[1] != width:
        raise ValueError(
            f"X has {rows.shape[1]} columns, the finder was fitted on {width}: pass "
            "rows of the sample that it was fitted on"
        )


def check_counts(**counts):
    """Raise unless each is a whole number of at least the one beside it."""
    for name, (value, least) in counts.items():
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name}={value} must be a whole number from {least} on")


def mode_colours(labels):
    """A colour for each mode, grey for all but the densest; shape (n, 3)."""
    from matplotlib import colormaps

    table = np.array(colormaps["tab10"].colors)
    table = np.append(np.delete(table, 7, axis=0), table[[7]], axis=0)  # 7 is grey
    return table[np.minimum(labels, COLOURS)]


def _pair(features, names, width):
    """Numbers of the columns to draw; None for principal components."""
    if features is None:
        return list(range(width)) if width <= 2 else None
    columns = _columns(features, names, width)
    if len(columns) != min(2, width) or len(set(columns)) < len(columns):
        raise ValueError(
            f"features={features} must be "
            + ("the one column" if width == 1 else f"two of the {width} columns")
            + " of X, or None"
        )
    return columns


def _density_on_grid(kde, rows, modes, n_grid, columns):
    """The density at the rows, and on a grid around them and the modes."""
    places = np.concatenate([rows, modes])
    low, high = places.min(axis=0), places.max(axis=0)
    margin = np.where(high > low, 0.07 * (high - low), 1.0)
    axes = [
        np.linspace(a, b, n_grid if len(columns) > 1 else max(n_grid, 500))
        for a, b in zip(low - margin, high + margin, strict=True)
    ]
    if len(axes) == 1:  # so that the curve has its peaks
        axes = [np.union1d(axes[0], modes)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    with warnings.catch_warnings():
        # Of a density that was fitted on a data frame.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        density = np.exp(_on_host(kde.score_samples(nodes.reshape(-1, len(axes)))))
        at_rows = np.exp(_on_host(kde.score_samples(rows)))
    return {
        "grid": [axes[i] for i in columns],
        "density": density.reshape(nodes.shape[:-1]).transpose(columns),
        "row_density": at_rows,
    }


def _levels(shares, densities, weights):
    """Ascending densities above which these shares of the rows are."""
    shares = np.sort(np.unique(np.asarray(shares, dtype=np.float64)))[::-1]
    if not shares.size or shares.min() <= 0 or shares.max() >= 1:
        raise ValueError(f"shares={shares[::-1].tolist()} must be between 0 and 1")
    order = np.argsort(-densities, kind="stable")
    weights = np.ones(len(order)) if weights is None else weights
    held = np.cumsum(weights[order])
    last = np.searchsorted(held, shares * held[-1] * (1.0 - 1e-12))
    levels = densities[order][last]
    new = np.append(True, np.diff(levels) > 0)
    return shares[new], levels[new]
