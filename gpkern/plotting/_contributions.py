"""`ContributionDisplay`: which columns a discrepancy comes from."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._density_modes import check_counts


class ContributionDisplay:
    """What each column adds to the squared discrepancy of a sample from a density.

    A mark in each bar shows about what a sample of the density itself would have (see
    `KSDTest.expected_contributions`): of so few rows none has a discrepancy of 0, and
    columns with large scores have much. Bars far longer than that tell where the sample
    is wrong. It is best made by `from_estimator`.

    Parameters
    ----------
    contributions : ndarray of shape (d,)
    feature_names : list of str
    expected : ndarray of shape (d,), default=None
        Of samples of the density; None draws no marks.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KSDTest
    >>> from gpkern.plotting import ContributionDisplay
    >>> X = np.random.default_rng(0).normal(size=(300, 3)) * [1.0, 1.0, 1.5]
    >>> test = KSDTest(lambda X: -X, random_state=0).fit(X)
    >>> display = ContributionDisplay.from_estimator(test)  # doctest: +SKIP
    """

    def __init__(self, contributions, feature_names, expected=None):
        self.contributions = np.asarray(contributions)
        self.feature_names, self.expected = list(feature_names), expected
        if len(self.feature_names) != len(self.contributions):
            raise ValueError(
                f"feature_names has {len(self.feature_names)} names for "
                f"{len(self.contributions)} columns"
            )

    @classmethod
    def from_estimator(
        cls, test, *, feature_names=None, max_features=20, ax=None, **kwargs
    ):
        """Draw the contributions of the columns of a fitted test.

        Parameters
        ----------
        test : KSDTest
            Fitted.
        feature_names : sequence of str, default=None
            None for those of the data frame that the test was fitted to.
        max_features : int, default=20
            Columns to draw, those that contribute most.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        ContributionDisplay
        """
        if not hasattr(test, "coordinate_contributions"):
            raise TypeError(
                f"test={type(test).__name__} has no contributions of columns: pass a "
                "fitted KSDTest"
            )
        check_counts(max_features=(max_features, 1))
        contributions = test.coordinate_contributions()
        names = names_of(test, feature_names, len(contributions))
        expected = test.expected_contributions()
        return cls(contributions, names, expected).plot(
            ax=ax, max_features=max_features, **kwargs
        )

    def plot(self, ax=None, *, max_features=20, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        max_features : int, default=20
            Columns to draw, those that contribute most, in their own order.
        **kwargs
            Of ``ax.barh``.

        Returns
        -------
        ContributionDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        d = len(self.contributions)
        most = np.sort(np.argsort(-self.contributions, kind="stable")[:max_features])
        values, at = self.contributions[most], np.arange(len(most))
        ax.barh(at, values, **({"color": "tab:blue", "label": "sample"} | kwargs))
        if self.expected is not None:
            marks = self.expected[most]
            look = {"color": "black", "linewidth": 2, "zorder": 3}
            label = "expected without a discrepancy"
            ax.vlines(marks, at - 0.4, at + 0.4, label=label, **look)
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False)
        ax.set_yticks(at, [self.feature_names[i] for i in most])
        ax.invert_yaxis()
        label = "contribution to the squared discrepancy"
        if len(most) < d:
            label += f" ({len(most)} of {d} columns, the largest)"
        ax.set_xlabel(label)
        return self


def names_of(test, given, d):
    """Names of the columns of a fitted test."""
    if given is None:
        given = getattr(test, "feature_names_in_", None)
    if given is None:
        return [f"column {i}" for i in range(d)]
    names = [str(name) for name in given]
    if len(names) != d:
        raise ValueError(f"feature_names has {len(names)} names for {d} columns")
    return names
