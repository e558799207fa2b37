"""`EffectiveNumberDisplay`: from how many rows the values of a density come."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._coreset import _on_host

REGIMES = (
    ("one row dominates", "#f4b6a6"),
    ("a few rows weigh much", "#fbe3b0"),
    ("many rows average", "#c5e3c0"),
)


class EffectiveNumberDisplay:
    """A histogram of effective numbers of rows, and the bandwidth among the regimes.

    A strip above the histogram shows the bandwidth h on a log scale: for a normal
    sample of the same covariance, one row dominates each value below h_G, and many
    average above h_CLT; at h_KL the Kullback-Leibler divergence is least. It is best
    made by `from_estimator`.

    Parameters
    ----------
    effective_number : ndarray of shape (n_queries,)
    bandwidth, h_g, h_clt, h_kl : float
        In the same units.

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

    def __init__(self, effective_number, bandwidth, h_g, h_clt, h_kl):
        self.effective_number, self.bandwidth = effective_number, bandwidth
        self.h_g, self.h_clt, self.h_kl = h_g, h_clt, h_kl

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
            diagnosis.h_kl,
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
        top = max(2.0, number.max() if len(number) else 2.0)
        look = {"bins": np.geomspace(1.0, top, 31), "color": "tab:blue", "alpha": 0.7}
        ax.hist(np.clip(number, 1.0, top), **(look | kwargs))
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        median = float(np.median(self.effective_number))
        if median > 0:
            label = f"half of the values come from {_rows(median)} or fewer"
            ax.axvline(median, color="black", linestyle="--", label=label)
        if none.any():
            ax.plot([], [], " ", label=f"{none.mean():.0%} of the values come from none")
        ax.set(xlabel="effective number of rows", ylabel="values")
        ax.margins(y=0.15)
        ax.legend(loc="upper left", frameon=False)
        if self.h_g > 0:
            self._strip(ax)
        return self

    def _strip(self, ax):
        """The bandwidths, above the axes."""
        marks = {"h": self.bandwidth, "$h_{KL}$": self.h_kl}
        every = np.array([*marks.values(), self.h_g, self.h_clt])
        every = every[every > 0]
        low, high = every.min() / 1.4, every.max() * 1.4
        strip = self.strip_ax_ = ax.inset_axes([0.0, 1.2, 1.0, 0.07])
        edges = [low, self.h_g, self.h_clt, high]
        for (words, colour), a, b in zip(REGIMES, edges[:-1], edges[1:], strict=True):
            strip.axvspan(a, b, color=colour, linewidth=0)
        strip.set(xscale="log", xlim=(low, high), yticks=[])
        strip.axvline(self.bandwidth, color="black", linewidth=3)
        strip.axvline(self.h_kl, color="black", linewidth=1, linestyle=":")
        strip.set_title(f"h = {self.bandwidth / self.h_g:.2g} h_G")


def _rows(number):
    return f"{number:.3g} rows" if number >= 1.05 else "a single row"
