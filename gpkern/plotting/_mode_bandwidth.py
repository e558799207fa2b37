"""`ModeBandwidthDisplay`: which modes there are at which bandwidth."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support

from .._device import is_cupy
from ..estimators._kernel_density import KernelDensity
from ..estimators._mode_finder import KDEModeFinder
from ._coreset import _columns, _on_host
from ._density_modes import check_counts, check_rows

# Area of the marker of a mode that all rows belong to, in square points.
WHOLE = 300.0
# Share of the rows below which a mode's line is pale.
FEW = 0.03


class ModeBandwidthDisplay:
    """Where the modes are at each bandwidth: the mode tree.

    Modes that stay over a wide range of bandwidths are those to believe in. The area
    of a marker is the share of the rows that belong to the mode; lines lead to the
    mode of the next wider bandwidth that it becomes part of. It is best made by
    `from_data`.

    Parameters
    ----------
    factors : ndarray of shape (k,)
        Of the bandwidth "silverman", ascending.
    positions : list of k ndarrays of shape (n_modes,)
        Of the modes along one column or axis, the densest first.
    weights : list of k ndarrays of shape (n_modes,)
        Shares of the rows that belong to the modes.
    parents : list of k - 1 ndarrays of int, shape (n_modes,), default=None
        The mode at the next factor that each belongs to.
    feature_name : str, default="position"
    has_more : list of bool, default=None
        Whether there are likely to be more modes than were found, so that their number
        is a lower bound.

    Attributes
    ----------
    n_modes_ : ndarray of int, shape (k,)
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    Minnotte & Scott (1993), The mode tree; Silverman (1981), Using kernel density
    estimates to investigate multimodality.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from gpkern.plotting import ModeBandwidthDisplay
    >>> X, _ = make_blobs(300, random_state=0)
    >>> display = ModeBandwidthDisplay.from_data(X, feature=0)  # doctest: +SKIP
    """

    def __init__(
        self,
        factors,
        positions,
        weights,
        parents=None,
        feature_name="position",
        has_more=None,
    ):
        self.factors = np.asarray(factors)
        self.has_more = [False] * len(factors) if has_more is None else has_more
        self.positions, self.weights, self.parents = positions, weights, parents
        self.feature_name = feature_name

    @classmethod
    def from_data(
        cls,
        X,
        *,
        factors=None,
        kernel="gaussian",
        feature=None,
        persistence=0.05,
        max_points=1000,
        device=None,
        random_state=None,
        ax=None,
        **kwargs,
    ):
        """Find the modes at several bandwidths, and draw them.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            The sample.
        factors : sequence of float, default=None
            Of the bandwidth "silverman"; None for 13 from 1/4 to 2, four to each
            doubling.
        kernel : str or DensityKernel, default="gaussian"
            See `KernelDensity`.
        feature : int or str, default=None
            Column along which positions are drawn, by number or by name in a data
            frame; None for the first principal component, or the only column.
        persistence : float, default=0.05
            Of `KDEModeFinder`: modes that stand out by less are not counted.
        max_points : int, default=1000
            Rows of X to start from, and rows, evenly spread, of which the weights are
            the shares.
        device : {None, "cpu", "cuda", "cuda:N"}, default=None
            Where to compute; None follows the data.
        random_state : int, RandomState or None, default=None
            Seeds of the search, the same for each bandwidth.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ModeBandwidthDisplay
        """
        factors = _checked(factors)
        rows = _on_host(X)
        check_rows(rows)
        check_counts(max_points=(max_points, 1))
        along, name = _axis(feature, X, rows)
        X = X if is_cupy(X) else rows
        kde = KernelDensity(bandwidth="silverman", kernel=kernel, device=device)
        unit = kde.fit(X).bandwidth_
        step = max(1, -(-len(rows) // max_points))
        seed = check_random_state(random_state).randint(2**31 - 1)
        positions, weights, parents, previous, more = [], [], [], None, []
        for factor in factors:
            finder = KDEModeFinder(
                factor * unit,
                kernel=kernel,
                n_seeds=max_points,
                persistence=persistence,
                device=device,
                random_state=seed,
            )
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                finder.fit(X)
            more.append(any("n_seeds" in str(w.message) for w in told))
            if previous is not None:
                parents.append(_on_host(finder.predict(previous)))
            previous = finder.modes_
            positions.append(along(_on_host(previous)))
            labels = _on_host(finder.predict(X[::step]))
            weights.append(np.bincount(labels, minlength=len(previous)) / len(labels))
        return cls(factors, positions, weights, parents, name, more).plot(
            ax=ax, **kwargs
        )

    @property
    def n_modes_(self):
        """See the class."""
        return np.array([len(at) for at in self.positions])

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.scatter``, for the modes.

        Returns
        -------
        ModeBandwidthDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt
        from matplotlib.ticker import NullLocator

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        ax.set_yscale("log")
        for k, parents in enumerate(self.parents or ()):
            ends = np.stack([self.positions[k], self.positions[k + 1][parents]])
            # Pale where few rows belong, so that branches stand out from twigs.
            for few, colour in ((True, "0.88"), (False, "0.55")):
                of = (self.weights[k] < FEW) == few
                look = {"color": colour, "linewidth": 1, "zorder": 1 if few else 1.5}
                ax.plot(ends[:, of], self.factors[k : k + 2], **look)
        heights = np.repeat(self.factors, self.n_modes_)
        areas = WHOLE * np.concatenate(self.weights)
        look = {"s": areas, "color": "tab:blue", "linewidths": 0, "zorder": 2}
        ax.scatter(np.concatenate(self.positions), heights, **(look | kwargs))
        for share in (0.01, 0.1, 0.5):
            look |= {"s": WHOLE * share, "label": f"{share:.0%} of the rows"}
            ax.scatter([], [], **(look | kwargs))
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)
        if self.factors[0] < 1.0 < self.factors[-1]:
            ax.axhline(1.0, color="0.8", linewidth=1, linestyle="--", zorder=0)
        ticks = self.factors[:: -(-len(self.factors) // 15)]
        ax.set_yticks(ticks, [f"{factor:.2g}" for factor in ticks])
        ax.yaxis.set_minor_locator(NullLocator())
        counts = ax.secondary_yaxis("right")
        sign = ["\u2265 " if more else "" for more in self.has_more]
        texts = [f"{a}{n}" for a, n in zip(sign, self.n_modes_, strict=True)]
        counts.set_yticks(self.factors, texts)
        counts.yaxis.set_minor_locator(NullLocator())
        counts.tick_params(length=0)
        counts.set_ylabel("number of modes")
        ax.margins(x=0.08, y=0.06)
        ax.set(xlabel=self.feature_name, ylabel="bandwidth / Silverman's")
        return self


def _checked(factors):
    """Factors of the bandwidth, ascending."""
    if factors is None:
        return 2.0 ** np.linspace(-2.0, 1.0, 13)
    given, factors = factors, np.unique(np.asarray(factors, dtype=np.float64))
    if len(factors) < 2 or not np.isfinite(factors).all() or factors[0] <= 0:
        raise ValueError(f"factors={given} must be two or more positive numbers")
    return factors


def _axis(feature, X, rows):
    """Where rows are along what is drawn, and its name."""
    names = [str(c) for c in X.columns] if hasattr(X, "columns") else None
    width = rows.shape[1]
    if feature is None and width > 1:
        plane = PCA(1, random_state=0).fit(rows)
        share = plane.explained_variance_ratio_[0]
        name = f"first principal component ({share:.0%} of the variance)"
        return lambda points: plane.transform(points)[:, 0], name
    if feature is not None and not isinstance(feature, (int, np.integer, str)):
        raise ValueError(f"feature={feature} must be the number or name of one column")
    try:
        (column,) = _columns([0 if feature is None else feature], names, width)
    except ValueError as error:
        raise ValueError(str(error).replace("features:", "feature:", 1)) from None
    name = names[column] if names else f"column {column}"
    return lambda points: points[:, column], name
