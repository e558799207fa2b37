"""`IntegralDisplay`: an integral with its error, from more and more draws."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import clone
from sklearn.utils._optional_dependencies import check_matplotlib_support

# Half of an interval, in standard errors.
WIDTH = 2.0


class IntegralDisplay:
    """Estimates of an integral with error bars, against the number of draws.

    Beside those of `SteinControlVariates` are plain means, with the bars of
    independent draws. It is best made by `from_estimator`.

    Parameters
    ----------
    sizes : array-like of int, shape (k,)
    integrals, errors : array-like of shape (k,)
        Estimates and their standard errors.
    means, mean_errors : array-like of shape (k,)
        The same of the plain means.
    truth : float, default=None
        The integral, where it is known.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import SteinControlVariates
    >>> from gpkern.plotting import IntegralDisplay
    >>> X = np.random.default_rng(0).normal(size=(400, 1))
    >>> display = IntegralDisplay.from_estimator(
    ...     SteinControlVariates(lambda x: -x, random_state=0),
    ...     X,
    ...     np.cos(X[:, 0]),
    ...     truth=np.exp(-0.5),
    ... )  # doctest: +SKIP
    """

    def __init__(self, sizes, integrals, errors, means, mean_errors, truth=None):
        self.sizes = np.asarray(sizes)
        self.integrals, self.errors = np.asarray(integrals), np.asarray(errors)
        self.means, self.mean_errors = np.asarray(means), np.asarray(mean_errors)
        self.truth = truth

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        scores=None,
        sizes=None,
        truth=None,
        name="integral",
        ax=None,
        **kwargs,
    ):
        """Fit clones to the first draws, and draw what they find.

        Parameters
        ----------
        estimator : SteinControlVariates
        X : array of shape (n, d) or (chain, draw, d)
            Draws in an order that does not matter, such as a shuffled one. The first
            draws of chains are the first ones of all of them.
        y : array of shape (n,) or (chain, draw)
            Values of one integrand.
        scores : array of the shape of X, default=None
            Where the estimator has no target.
        sizes : sequence of int, default=None
            How many draws; None is ten numbers from 20 to n.
        truth : float, default=None
        name : str, default="integral"
            For the axis.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        IntegralDisplay
        """
        X, y, scores = map(_in_turn, (X, y, scores), (3, 2, 3))
        n, y = len(X), np.asarray(y, dtype=np.float64)
        if y.shape != (n,):
            raise ValueError(f"y has shape {y.shape}, and one integrand needs ({n},)")
        if sizes is None:
            sizes = np.unique(np.geomspace(min(20, n), n, 10).round().astype(int))
        sizes = np.asarray(sizes)
        if sizes.ndim != 1 or not len(sizes) or sizes.min() < 3 or sizes.max() > n:
            raise ValueError(f"sizes={sizes} must be numbers of draws from 3 to {n}")
        found = []
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the control variates explain")
            for size in sizes:
                part = None if scores is None else scores[:size]
                own = clone(estimator).fit(X[:size], y[:size], scores=part)
                plain = y[:size].mean(), y[:size].std() / np.sqrt(size)
                found.append((own.integral_, own.standard_error_, *plain))
        columns = np.array(found).T
        return cls(sizes, *columns, truth).plot(ax=ax, name=name, **kwargs)

    def plot(self, ax=None, *, name="integral", mean_kwargs=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        name : str, default="integral"
            For the axis.
        mean_kwargs : dict, default=None
            Of ``ax.errorbar``, for the means of the values.
        **kwargs
            Of ``ax.errorbar``, for the control variates.

        Returns
        -------
        IntegralDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        look = {"marker": "o", "markersize": 4, "capsize": 3, "linestyle": "none"}
        plain = look | {"label": "mean of the values", "color": "0.6"}
        own = look | {"label": "control variates", "color": "C0"}
        for values, errors, aside, options in (
            (self.means, self.mean_errors, 1 / 1.04, plain | (mean_kwargs or {})),
            (self.integrals, self.errors, 1.04, own | kwargs),
        ):
            ax.errorbar(self.sizes * aside, values, WIDTH * errors, **options)
        if self.truth is not None:
            label = "known value"
            ax.axhline(self.truth, color="C3", linewidth=1, zorder=0, label=label)
        ax.set_xscale("log", subs=[2, 5])
        for axis in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
            axis("{x:g}")
        ax.set(xlabel="draws", ylabel=f"{name}, two standard errors")
        ax.legend(frameon=False)
        return self


def _in_turn(values, ndim):
    """Chains (chain, draw, ...) as rows, the first draw of each of them first."""
    if np.ndim(values) != ndim:
        return values
    values = np.moveaxis(np.asarray(values), 0, 1)
    return values.reshape(-1, *values.shape[2:])
