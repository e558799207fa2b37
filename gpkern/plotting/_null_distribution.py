"""`NullDistributionDisplay`: a statistic among its replicates."""

from __future__ import annotations

import numpy as np
from scipy import stats
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ._coreset import _on_host

# Of tests that have no level of their own.
LEVEL = 0.05


class NullDistributionDisplay:
    """The statistic of a test among those that the null hypothesis would give.

    It is best made by `from_estimator`.

    Parameters
    ----------
    statistic : float
    null_distribution : ndarray of shape (n_resamples,) or frozen distribution
        Replicates, drawn as a histogram; or a distribution of `scipy.stats`, drawn as
        a curve.
    pvalue : float
    alpha : float, default=0.05
        Level of the test.
    name : str, default=None
        Of the test, for the title.
    replicates : ndarray of shape (n_resamples,), default=None
        Those that a distribution was fitted to, drawn under its curve.

    Attributes
    ----------
    critical_value_ : float
        Statistics above it are rejected at `alpha`; infinite where there are too few
        replicates to reject any.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from gpkern import KSDTest
    >>> from gpkern.plotting import NullDistributionDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 1))
    >>> test = KSDTest(stats.norm(0.3), random_state=0).fit(X)
    >>> display = NullDistributionDisplay.from_estimator(test)  # doctest: +SKIP
    """

    def __init__(
        self,
        statistic,
        null_distribution,
        pvalue,
        alpha=0.05,
        name=None,
        replicates=None,
    ):
        self.statistic, self.null_distribution = statistic, null_distribution
        self.pvalue, self.alpha, self.name = pvalue, alpha, name
        self.replicates = replicates

    @classmethod
    def from_estimator(cls, test, *, alpha=None, ax=None, **kwargs):
        """Draw the null distribution of a fitted test.

        Parameters
        ----------
        test : KSDTest, MMDTest, PerturbedKSDTest or another test
            Fitted; a `LearnedLikelihoodRatioTest` that has tested a batch, whose toys
            are drawn with the chi-square distribution that stands for them.
        alpha : float, default=None
            Level; None is the test's own, and 0.05 where it has none.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        NullDistributionDisplay
        """
        check_is_fitted(test)
        if not hasattr(test, "null_distribution_"):
            raise TypeError(
                f"test={type(test).__name__} has no null distribution: pass a fitted "
                "test, such as KSDTest or MMDTest"
            )
        check_is_fitted(test, "statistic_", msg="call test(batch) first: there is none")
        null, replicates = test.null_distribution_, None
        if not hasattr(null, "pdf"):
            null = _on_host(null)
        if getattr(test, "calibration", None) == "chi2":
            null, replicates = stats.chi2(test.df_), null
        return cls(
            test.statistic_,
            null,
            test.pvalue_,
            getattr(test, "alpha", LEVEL) if alpha is None else alpha,
            type(test).__name__,
            replicates,
        ).plot(ax=ax, **kwargs)

    @property
    def critical_value_(self):
        """See the class."""
        if hasattr(self.null_distribution, "isf"):
            return float(self.null_distribution.isf(self.alpha))
        b = len(self.null_distribution)
        # So many replicates at least as large, the statistic counted, are allowed.
        allowed = int(np.floor(self.alpha * (b + 1) + 1e-9))
        if allowed < 1:
            return np.inf
        return float(np.sort(self.null_distribution)[max(b - allowed, 0)])

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.hist``, or of ``ax.plot`` for a distribution.

        Returns
        -------
        NullDistributionDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        null = self.null_distribution
        if self.replicates is not None:
            label = f"{len(self.replicates):,} replicates"
            look = {"bins": "auto", "density": True, "color": "0.85", "label": label}
            ax.hist(self.replicates, **look)
        if hasattr(null, "pdf"):
            at = np.linspace(null.ppf(1e-4), null.isf(1e-4), 400)
            look = {"color": "0.5", "label": "null distribution"}
            ax.plot(at, null.pdf(at), **(look | kwargs))
            ax.set(ylabel="density", ylim=(0, None))
        else:
            look = {"bins": 50, "color": "0.75", "label": f"{len(null):,} replicates"}
            ax.hist(null, **(look | kwargs))
            ax.set_ylabel("replicates")
        critical = self.critical_value_
        if np.isfinite(critical):
            label = f"critical value at {self.alpha:g}"
            ax.axvline(critical, color="black", linestyle="--", label=label)
        label = f"statistic: {self.statistic:.3g}"
        ax.axvline(self.statistic, color="tab:red", linewidth=2, label=label)
        verdict = "rejected" if self.pvalue <= self.alpha else "not rejected"
        name = "" if self.name is None else f"{self.name}: "
        ax.set_title(f"{name}p = {self.pvalue:.2g}, {verdict} at {self.alpha:g}")
        ax.set_xlabel("statistic")
        ax.locator_params(axis="x", nbins=6)
        ax.legend(frameon=False)
        return self
