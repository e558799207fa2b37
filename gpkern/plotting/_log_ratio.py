"""`LogRatioDisplay`: where a batch differs from its reference."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ..estimators._door import check_predict_X
from ..estimators._likelihood_ratio import LearnedLikelihoodRatioTest
from ..targets.base import namespace
from ._contributions import names_of
from ._coreset import _on_host, two_columns
from ._density_modes import check_counts

# Quantiles of the rows between which the bins lie.
INNER = 0.005
# Reference rows that a bin needs to have a colour.
LEAST = 3


class LogRatioDisplay:
    """Where a batch differs from the reference, in two columns.

    A map of bins: the rows that the machine of a `LearnedLikelihoodRatioTest` finds in
    them, over those that are expected, as a natural logarithm. In each bin the learned
    ratio is averaged over the reference's rows, which is the ratio of the two columns
    alone whatever the others are, and over the batch's where the reference has next to
    none: red where the batch has too many rows, blue where it has too few, grey where
    neither sample has any. Dots are the batch. The histograms at the edges are what was
    counted, without a machine. It is best made by `from_estimator`.

    Parameters
    ----------
    edges : list of two ndarrays
        Edges of the bins, of the first column and of the second.
    log_ratio : ndarray of shape (n_bins, n_bins)
        The first column along the first axis; NaN where there are too few rows to
        tell.
    batch, reference : ndarray of shape (n, 2)
        Rows.
    weight : float
        Of a row of the reference: expected rows of a batch over the reference's.
    feature_names : list of str
        Of the two columns.
    result : LikelihoodRatioResult, default=None
        Of the batch, for its z-score.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Of the map.
    histogram_axes_ : tuple of two Axes
        Above it, of the first column, and beside it, of the second.
    figure_ : matplotlib Figure

    References
    ----------
    D'Agnolo & Wulzer (2019), Learning new physics from a machine, sec. 3; Grosso et al.
    (2023), Fast kernel methods for data quality monitoring as a goodness-of-fit test.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import LearnedLikelihoodRatioTest
    >>> from gpkern.plotting import LogRatioDisplay
    >>> rng = np.random.default_rng(0)
    >>> reference = rng.normal(size=(5000, 3))
    >>> batch = np.vstack([rng.normal(size=(450, 3)), np.full((50, 3), 1.0)])
    >>> test = LearnedLikelihoodRatioTest(n_toys=20, random_state=0)
    >>> test.fit(reference, expected=500).test(batch).zscore > 3
    True
    >>> display = LogRatioDisplay.from_estimator(test, batch)  # doctest: +SKIP
    """

    def __init__(
        self, edges, log_ratio, batch, reference, weight, feature_names, result=None
    ):
        self.edges, self.log_ratio = edges, np.asarray(log_ratio)
        self.batch, self.reference, self.weight = batch, reference, weight
        self.feature_names, self.result = feature_names, result

    @classmethod
    def from_estimator(
        cls,
        test,
        batch,
        reference=None,
        features=(0, 1),
        *,
        feature_names=None,
        n_bins=20,
        ax=None,
        **kwargs,
    ):
        """Draw what a test has learned of a batch.

        Parameters
        ----------
        test : LearnedLikelihoodRatioTest
            Whose last batch this is.
        batch : array-like of shape (n_rows, n_features)
            The batch.
        reference : array-like of shape (n_reference, n_features), default=None
            None for the rows that the batch was tested against.
        features : sequence of two ints or str, default=(0, 1)
            Columns to draw, by number or name.
        feature_names : sequence of str, default=None
            Of all columns; None for those of the data frame that the test was fitted
            to.
        n_bins : int, default=20
            Bins along each axis.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        LogRatioDisplay

        Raises
        ------
        TypeError
            For another kind of test.
        ValueError
            For a batch that is not the last one, or features that are not two columns.
        """
        if not isinstance(test, LearnedLikelihoodRatioTest):
            raise TypeError(
                f"test={type(test).__name__} has learned no log ratio: pass a "
                "LearnedLikelihoodRatioTest that has tested a batch"
            )
        check_is_fitted(test, "dual_coef_", msg="call fit, then test(batch), first")
        check_counts(n_bins=(n_bins, 2))
        given = _rows_of(test, batch, "batch")
        own = _on_host(test._reference).astype(np.float64)
        own = own * test._units.spread + test._units.middle
        scores, of_batch = _scores(test, own), _scores(test, given)
        _check_last(test, scores, of_batch)
        rows = own
        if reference is not None:
            rows = _rows_of(test, reference, "reference")
            scores = _scores(test, rows)
        width = rows.shape[1]
        names = names_of(test, feature_names, width)
        columns = two_columns(features, names, width)
        weight = test.expected_ / len(rows)
        batch, reference = given[:, columns], rows[:, columns]
        edges = [_edges(reference[:, k], batch[:, k], n_bins) for k in range(2)]
        log_ratio = _in_bins(reference, scores, edges, LEAST)
        beyond = _in_bins(batch, of_batch, edges, 1)
        log_ratio = np.where(np.isnan(log_ratio), beyond, log_ratio)
        names = [names[c] for c in columns]
        display = cls(
            edges, log_ratio, batch, reference, weight, names, result=test.result_
        )
        return display.plot(ax=ax, **kwargs)

    def plot(self, ax=None, *, batch_kwargs=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure. The histograms are put beside it.
        batch_kwargs : dict, default=None
            Of ``ax.scatter``, for the rows of the batch.
        **kwargs
            Of ``ax.pcolormesh``.

        Returns
        -------
        LogRatioDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt
        from mpl_toolkits.axes_grid1 import make_axes_locatable

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        most = self._most()
        look = {"cmap": "RdBu_r", "vmin": -most, "vmax": most, "zorder": 0}
        ax.set_facecolor("0.9")  # of bins that neither sample reaches
        drawn = ax.pcolormesh(*self.edges, self.log_ratio.T, **(look | kwargs))
        dots = {"s": 3, "color": "black", "alpha": 0.4, "linewidths": 0}
        ax.scatter(*self.batch.T, **(dots | (batch_kwargs or {})))
        ax.set(xlabel=self.feature_names[0], ylabel=self.feature_names[1])
        ax.set(xlim=self.edges[0][[0, -1]], ylim=self.edges[1][[0, -1]])
        # Within the room of `ax`, whatever the layout of its figure.
        divider = make_axes_locatable(ax)
        top = divider.append_axes("top", "22%", pad=0.06, sharex=ax)
        side = divider.append_axes("right", "22%", pad=0.06, sharey=ax)
        self._histogram(top, 0, "vertical")
        self._histogram(side, 1, "horizontal")
        self.histogram_axes_ = top, side
        side.legend(
            *top.get_legend_handles_labels(),
            title=None if self.result is None else f"z = {self.result.zscore:.1f}",
            fontsize="small",
            frameon=False,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.02),
            borderaxespad=0.0,
        )
        self.figure_.colorbar(
            drawn,
            ax=ax,
            location="bottom",
            extend="both",
            label="log of rows over expected rows, as learned",
        )
        return self

    def _most(self):
        """End of the colours: the largest ratio of bins where rows are, or should be.

        Those at the rim, where neither is so, are noise.
        """
        expected, *_ = np.histogram2d(*self.reference.T, bins=self.edges)
        there, *_ = np.histogram2d(*self.batch.T, bins=self.edges)
        counts = (self.weight * expected >= 1) | (there > 0)
        known = self.log_ratio[counts & np.isfinite(self.log_ratio)]
        return float(abs(known).max(initial=0.0)) or 1.0

    def _histogram(self, ax, column, orientation):
        """Rows in the bins of one column: expected ones filled, those of the batch."""
        rows, edges = self.reference[:, column], self.edges[column]
        weights = np.full(len(rows), self.weight)
        common = {"bins": edges, "orientation": orientation}
        ax.hist(rows, weights=weights, color="0.75", label="expected", **common)
        ax.hist(
            self.batch[:, column],
            histtype="step",
            color="tab:red",
            label="batch",
            **common,
        )
        flat = orientation == "vertical"
        ax.tick_params(labelbottom=not flat, labelleft=flat)
        (ax.set_ylabel if flat else ax.set_xlabel)("rows")


def _rows_of(test, rows, name):
    """A sample on the host, which has the columns of the fit."""
    try:
        rows = check_predict_X(test, rows, sparse_ok=False)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return _on_host(rows).astype(np.float64)


def _check_last(test, scores, of_batch):
    """An error unless the statistic is what the last batch has."""
    weight = test.expected_ / len(scores)
    t = 2.0 * (of_batch.sum() - weight * np.expm1(scores).sum())
    same = len(of_batch) == test.result_.n_rows
    if not (same and np.isclose(t, test.statistic_, rtol=1e-3, atol=1e-3)):
        raise ValueError(
            f"batch, of {len(of_batch)} rows, is not the last one that was tested, of "
            f"{test.result_.n_rows}: call test(batch) first"
        )


def _scores(test, rows):
    """The learned log ratio of rows on the host."""
    like = namespace(test._reference).asarray(rows)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return _on_host(test.score_samples(like)).astype(np.float64)


def _edges(reference, batch, n_bins):
    """Of bins of equal width, to where both samples have all but a few rows."""
    inner = [np.quantile(rows, [INNER, 1.0 - INNER]) for rows in (reference, batch)]
    low, high = np.min(inner), np.max(inner)
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, n_bins + 1)


def _in_bins(rows, scores, edges, least):
    """Log of the mean learned ratio over the rows of each bin, NaN of too few."""
    count, *_ = np.histogram2d(*rows.T, bins=edges)
    found, *_ = np.histogram2d(*rows.T, bins=edges, weights=np.exp(scores))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count >= least, np.log(found / count), np.nan)
