"""`PersistenceDisplay`: how far the density falls between its modes."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._density_modes import check_counts, check_finder


class PersistenceDisplay:
    """The merge tree of the modes of a density.

    A bar for each mode leads from its log density down to where the way to a denser
    mode is lowest, and from there a line to that mode. What the finder has merged
    or left out is grey. Long bars are modes to believe in where many rows belong to
    them: single rows far out have long bars too, which the finder's `min_weight` makes
    grey. It is best made by `from_estimator`.

    Parameters
    ----------
    log_density : ndarray of shape (k,)
        Of the modes.
    persistence : ndarray of shape (k,)
        Share of the density that is lost on the way to a denser mode.
    parent : ndarray of int, shape (k,), default=None
        The mode that each is merged into, its own number for the densest; None draws
        no lines.
    number : ndarray of int, shape (k,), default=None
        Row of `modes_`, -1 for modes that were merged; None counts.
    threshold : float, default=None
        `persistence` of the finder.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    References
    ----------
    Chazal et al. (2013), Persistence-based clustering in Riemannian manifolds.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from gpkern import KDEModeFinder
    >>> from gpkern.plotting import PersistenceDisplay
    >>> X, _ = make_blobs(600, random_state=0)
    >>> finder = KDEModeFinder(random_state=0).fit(X)
    >>> display = PersistenceDisplay.from_estimator(finder)  # doctest: +SKIP
    """

    def __init__(
        self, log_density, persistence, parent=None, number=None, threshold=None
    ):
        self.log_density = np.asarray(log_density)
        self.persistence, self.parent = np.asarray(persistence), parent
        k = len(self.log_density)
        self.number = np.arange(k) if number is None else np.asarray(number)
        self.threshold = threshold

    @classmethod
    def from_estimator(cls, finder, *, max_modes=30, ax=None, **kwargs):
        """Draw what a fitted finder has found.

        Parameters
        ----------
        finder : KDEModeFinder
            Fitted.
        max_modes : int, default=30
            Modes to draw, those that persist most.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        PersistenceDisplay
        """
        check_finder(finder)
        check_counts(max_modes=(max_modes, 1))
        found = finder._found
        values, persistence = found.values - finder._log_unit, found.persistence
        # A parent persists at least as much, so that none of those drawn lacks its.
        most = np.sort(np.argsort(-persistence, kind="stable")[:max_modes])
        number = np.full(len(values), -1)
        number[found.kept] = np.arange(len(found.kept))
        parent = np.searchsorted(most, found.parent[most])
        display = cls(
            values[most], persistence[most], parent, number[most], finder.persistence
        ).plot(ax=ax, **kwargs)
        if len(most) < len(values):
            of = f"{len(most)} of {len(values)}"
            display.ax_.set_xlabel(f"mode ({of}, those that persist most)")
        return display

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.vlines``, for all bars.

        Returns
        -------
        PersistenceDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        tops = self.log_density
        with np.errstate(divide="ignore"):
            falls = tops + np.log1p(-self.persistence)
        ends = np.append(tops, falls[np.isfinite(falls)])
        floor = ends.min() - max(0.08 * np.ptp(ends), 0.1)
        feet = np.maximum(falls, floor)
        at = _places(self.parent, feet)
        if self.parent is not None:
            linked = (self.parent != np.arange(len(at))) & np.isfinite(falls)
            look = {"color": "0.6", "linewidth": 1, "zorder": 1}
            ax.hlines(feet[linked], at[self.parent[linked]], at[linked], **look)
        stands = self.number >= 0
        self._bars(ax, stands, at, feet, "tab:blue", "modes", ">", kwargs)
        self._bars(ax, ~stands, at, feet, "0.7", "merged", "\u2264", kwargs)
        ax.set_ylim(floor, ends.max() + 0.05 * (ends.max() - floor))
        ax.set_xlim(-0.6, len(at) - 0.4)
        size = "medium" if stands.sum() <= 20 else "x-small"
        ax.set_xticks(at[stands], self.number[stands], fontsize=size)
        ax.set(xlabel="mode", ylabel="log density")
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        return self

    def _bars(self, ax, of, at, ends, colour, what, sign, kwargs):
        """Bars of some modes, with a dot at the top that also shows short ones."""
        if not of.any():
            return
        if self.threshold is not None:
            what += f" (persistence {sign} {self.threshold:g})"
        look = {"color": colour, "linewidth": 4, "label": what}
        ax.vlines(at[of], ends[of], self.log_density[of], **(look | kwargs))
        dot = "white" if colour != "tab:blue" else colour
        look = {"s": 40, "facecolors": dot, "edgecolors": colour, "linewidths": 1.5}
        ax.scatter(at[of], self.log_density[of], zorder=3, **look)


def _places(parent, heights):
    """Where bars stand, so that no line crosses one.

    To the right of a mode are those that merge into it, the highest pass nearest: bars
    between a mode and the line from it have ended above that line.
    """
    k = len(heights)
    if parent is None:
        return np.arange(k, dtype=np.float64)
    children = [[] for _ in range(k)]
    for i in np.argsort(heights, kind="stable"):  # the last is visited first
        if parent[i] != i:
            children[parent[i]].append(i)
    at, count = np.empty(k), 0
    waiting = [i for i in range(k) if parent[i] == i][::-1]
    while waiting:
        i = waiting.pop()
        at[i], count = count, count + 1
        waiting += children[i]
    return at
