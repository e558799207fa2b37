"""`EffectiveNumberDisplay`: from how many rows the values of a density come."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..algorithms.regimes import MANY_COLUMNS
from ._coreset import _on_host

# Below h_G, between h_G and h_CLT, and above, as in `DensityDiagnosis`.
REGIMES = {
    "one": ("the nearest rows decide each value", "#f4b6a6"),
    "few": ("a few rows weigh much in each value", "#fbe3b0"),
    "many": ("each value averages many rows", "#c5e3c0"),
}


class EffectiveNumberDisplay:
    """A histogram of effective numbers of rows, and the bandwidth among the regimes.

    A strip above the histogram shows the bandwidth h on a log scale: for a normal
    sample of the same covariance, one row dominates each value below h_G, and many
    average above h_CLT; in many columns the loss is least near h_KL. It is best
    made by `from_estimator`.

    Parameters
    ----------
    effective_number : ndarray of shape (n_queries,)
    bandwidth, h_g, h_clt : float
        In the same units.
    h_kl : float, default=None
        None is not drawn, as in fewer than 20 columns it is far too narrow.
    regime : {"one", "few", "many"}, default=None
        The rows that values come from; None says nothing of it.

    Attributes
    ----------
    ax_ : matplotlib Axes
    strip_ax_ : matplotlib Axes
        Of the bandwidths; None where these are 0, as of a single row.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelDensity
    >>> from gpkern.plotting import EffectiveNumberDisplay
    >>> X = np.random.default_rng(0).normal(size=(1000, 5))
    >>> kde = KernelDensity(bandwidth="silverman").fit(X)
    >>> display = EffectiveNumberDisplay.from_estimator(kde)  # doctest: +SKIP
    """

    def __init__(self, effective_number, bandwidth, h_g, h_clt, h_kl=None, regime=None):
        self.effective_number, self.bandwidth = effective_number, bandwidth
        self.h_g, self.h_clt, self.h_kl = h_g, h_clt, h_kl
        self.regime = regime

    @classmethod
    def from_estimator(cls, kde, X=None, *, ax=None, **kwargs):
        """Draw what ``kde.diagnose(X)`` says.

        Parameters
        ----------
        kde : KernelDensity
            Fitted.
        X : array-like of shape (n_queries, n_features), default=None
            Rows to look at; None for up to 1,000 of the sample, each left out.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        EffectiveNumberDisplay
        """
        if not hasattr(kde, "diagnose"):
            raise TypeError(
                f"kde={type(kde).__name__} has no effective numbers of rows: pass a "
                "fitted KernelDensity of gpkern"
            )
        return cls.from_diagnosis(kde.diagnose(X), ax=ax, **kwargs)

    @classmethod
    def from_diagnosis(cls, diagnosis, *, ax=None, **kwargs):
        """Draw a diagnosis.

        Parameters
        ----------
        diagnosis : DensityDiagnosis
            Of `KernelDensity.diagnose`.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        EffectiveNumberDisplay
        """
        h_g = diagnosis.h_g
        return cls(
            _on_host(diagnosis.effective_number),
            diagnosis.ratio * h_g if h_g > 0 else np.nan,
            h_g,
            diagnosis.h_clt,
            diagnosis.h_kl if diagnosis.n_features >= MANY_COLUMNS else None,
            diagnosis.regime,
        ).plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.hist``.

        Returns
        -------
        EffectiveNumberDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_, self.strip_ax_ = ax, ax.figure, None
        # 0 is for kernels that end, where no row is near: it has no logarithm.
        none = self.effective_number == 0
        number = self.effective_number[~none]
        top = max(2.0, number.max()) if len(number) else 2.0
        look = {"bins": np.geomspace(1.0, top, 41), "color": "tab:blue", "alpha": 0.7}
        ax.hist(np.clip(number, 1.0, top), **(look | kwargs))
        _plain_log(ax)
        median = float(np.median(self.effective_number))
        if median > 0:
            label = f"median: {median:.3g}"
            ax.axvline(median, 0, 0.8, color="black", linestyle="--", label=label)
        if none.any():
            ax.plot([], [], " ", label=f"of no row: {none.mean():.0%} of the values")
        ax.set(xlabel="effective number of rows", ylabel="values of the density")
        if len(number):
            ax.set_ylim(0.0, 1.25 * ax.dataLim.ymax)  # the legend is above the bars
        ax.legend(loc="upper left", frameon=False)
        if self.h_g > 0:
            self._strip(ax)
        return self

    def _strip(self, ax):
        """The bandwidths, above the axes."""
        from matplotlib.transforms import (
            Affine2D,
            ScaledTranslation,
            blended_transform_factory,
        )

        # Across as the axes; upwards in points, from the top of the axes.
        up = Affine2D().scale(1 / 72) + self.figure_.dpi_scale_trans
        up += ScaledTranslation(0, 1, ax.transAxes)
        where = blended_transform_factory(ax.transAxes, up)
        strip = self.strip_ax_ = ax.inset_axes([0, 26, 1, 18], transform=where)
        marks = np.array([self.bandwidth, self.h_g, self.h_clt])
        lowest = marks.min() if self.h_kl is None else min(marks.min(), self.h_kl)
        low, high = lowest / 1.5, marks.max() * 1.5
        edges = [low, self.h_g, self.h_clt, high]
        for (_, colour), a, b in zip(
            REGIMES.values(), edges[:-1], edges[1:], strict=True
        ):
            strip.axvspan(a, b, color=colour, linewidth=0)
        _plain_log(strip)
        strip.set(xlim=(low, high), yticks=[], ylim=(0, 1))
        for h, name, side in (
            (self.h_kl, "$h_{KL}$", "right"),  # which is never above h_G
            (self.h_g, "$h_G$", "left"),
            (self.h_clt, "$h_{CLT}$", "left"),
        ):
            if h is None:
                continue
            strip.axvline(h, color="0.3", linewidth=1)
            away = (-1 if side == "right" else 1, 2)
            strip.annotate(
                name,
                (h, 1),
                away,
                textcoords="offset points",
                ha=side,
                annotation_clip=False,
            )
        strip.scatter(self.bandwidth, 0.5, s=170, color="black", zorder=3)
        strip.annotate(
            "h",
            (self.bandwidth, 0.5),
            ha="center",
            va="center_baseline",
            color="white",
            zorder=4,
        )
        strip.set_ylabel("bandwidth", rotation=0, ha="right", va="center")
        ratio = self.bandwidth / self.h_g
        words = "" if self.regime is None else f": {REGIMES[self.regime][0]}"
        strip.set_title(f"h = {ratio:.3g} $h_G${words}", pad=18)


def _plain_log(ax):
    """A log axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.set_xscale("log")
    low, high = ax.dataLim.intervalx
    few = high / low < 100.0
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
