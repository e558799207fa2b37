"""`SelectionCurveDisplay`: how fast a model learns from the rows that were chosen."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..estimators._selection_curve import selection_curve

# Drawn in grey, as what the others are to beat.
CHANCE = {"color": "0.5", "marker": "s", "linestyle": ":"}


class SelectionCurveDisplay:
    """Test error of a model against the rows whose targets are known.

    A line for each method that chooses rows, the mean of the repetitions, with a band
    of one standard deviation to either side. It is best made by `from_estimator`.

    Parameters
    ----------
    n_rows : array-like of int, shape (k,)
    scores : dict of str to array-like of shape (n_repeats, k)
        For each method, as scorers return them.
    score_name : str, default="score"
        The name of the scorer. Of one that starts with "neg_", minus the scores are
        drawn.

    Attributes
    ----------
    values_ : dict of str to ndarray of shape (n_repeats, k)
        What is drawn: scores, or errors above 0.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    gpkern.selection_curve : The scores, and which rows were chosen, without the plot.

    Notes
    -----
    Curves of several calls, such as those of several `features`, go into one figure by
    ``SelectionCurveDisplay(n_rows, scores_of_one | scores_of_the_other).plot()``; with
    the same `random_state` they start with the same rows.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelRidge
    >>> from gpkern.plotting import SelectionCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(600, 2))
    >>> y = np.sin(X).sum(axis=1)
    >>> display = SelectionCurveDisplay.from_estimator(
    ...     KernelRidge(alpha=1e-3, kernel="rbf"),
    ...     X[:400],
    ...     y[:400],
    ...     X_test=X[400:],
    ...     y_test=y[400:],
    ...     n_initial=10,
    ...     batch_size=10,
    ...     n_batches=5,
    ...     random_state=0,
    ... )  # doctest: +SKIP
    """

    def __init__(self, n_rows, scores, score_name="score"):
        self.n_rows = np.asarray(n_rows)
        self.scores = {k: np.atleast_2d(v) for k, v in scores.items()}
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        y,
        *,
        X_test,
        y_test,
        methods=("random", "lcmd"),
        features=None,
        kernel=None,
        n_initial=50,
        batch_size=50,
        n_batches=8,
        n_repeats=3,
        scoring=None,
        random_state=None,
        ax=None,
        **kwargs,
    ):
        """Let methods choose rows of a pool, batch after batch, and draw the errors.

        Parameters
        ----------
        estimator, X, y, X_test, y_test, methods, features, kernel, n_initial, \
batch_size, n_batches, n_repeats, scoring, random_state
            Of `gpkern.selection_curve`.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        SelectionCurveDisplay
        """
        curve = selection_curve(
            estimator,
            X,
            y,
            X_test=X_test,
            y_test=y_test,
            methods=methods,
            features=features,
            kernel=kernel,
            n_initial=n_initial,
            batch_size=batch_size,
            n_batches=n_batches,
            n_repeats=n_repeats,
            scoring=scoring,
            random_state=random_state,
        )
        return cls(*curve[:3]).plot(ax=ax, **kwargs)

    @property
    def values_(self):
        """See the class."""
        sign = -1.0 if self.score_name.startswith("neg_") else 1.0
        return {k: sign * v for k, v in self.scores.items()}

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.plot``, for all curves.

        Returns
        -------
        SelectionCurveDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        for name, values in self.values_.items():
            look = {"marker": "o"} | (CHANCE if name == "random" else {})
            mean = values.mean(axis=0)
            (line,) = ax.plot(self.n_rows, mean, **(look | {"label": name} | kwargs))
            if len(values) > 1:
                spread = values.std(axis=0)
                ax.fill_between(
                    self.n_rows,
                    mean - spread,
                    mean + spread,
                    color=line.get_color(),
                    alpha=0.2,
                    linewidth=0,
                )
        what = self.score_name.removeprefix("neg_").replace("_", " ")
        ax.set(xlabel="rows with a known target", ylabel=f"{what} on test rows")
        ax.legend(frameon=False)
        return self
