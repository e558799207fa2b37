"""`SimplexDisplay`: particles of a simplex in a triangle."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ._coreset import two_columns

# Corners of the triangle: of the two chosen columns, and of the rest.
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
# How far a row's sum may be from 1.
SUM = 1e-6


class SimplexDisplay:
    """Particles of a simplex in a triangle, before and after.

    Corners are two columns and the sum of all others, which of three columns is the
    third one. It is best made by `from_estimator`.

    Parameters
    ----------
    samples : array-like of shape (n, D)
        Positive rows of sum 1.
    reference : array-like of shape (m, D), default=None
        Rows to draw below them, such as draws of the density.
    columns : tuple of two int, default=(0, 1)
    names : tuple of three str, default=None
        Of the corners.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from scipy import stats
    >>> from gpkern import SteinSampler
    >>> from gpkern.plotting import SimplexDisplay
    >>> density = stats.dirichlet([5.0, 3.0, 2.0])
    >>> sampler = SteinSampler(
    ...     density, method="msvgd", domain="simplex", n_particles=50, random_state=0
    ... ).fit()
    >>> display = SimplexDisplay.from_estimator(
    ...     sampler, reference=density.rvs(500, random_state=0)
    ... )  # doctest: +SKIP
    """

    def __init__(self, samples, reference=None, columns=(0, 1), names=None):
        self.samples = _checked(samples, "samples")
        self.reference = None if reference is None else _checked(reference, "reference")
        d = self.samples.shape[1]
        if reference is not None and self.reference.shape[1] != d:
            raise ValueError(
                f"reference has {self.reference.shape[1]} columns, and samples {d}"
            )
        self.columns, self.names = tuple(two_columns(columns, None, d)), names
        if names is not None and len(names) != 3:
            raise ValueError(f"names={names} must be three, one for each corner")

    @classmethod
    def from_estimator(
        cls, estimator, *, reference=None, columns=(0, 1), names=None, ax=None, **kwargs
    ):
        """Draw the ``samples_`` of a sampler.

        Parameters
        ----------
        estimator : SteinSampler
            Fitted, with ``domain="simplex"``.
        reference : array-like of shape (m, D), default=None
            Rows to draw below them.
        columns : tuple of two int, default=(0, 1)
        names : tuple of three str, default=None
            Of the corners.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        SimplexDisplay
        """
        check_is_fitted(estimator, "samples_")
        samples = estimator.samples_
        samples = samples.get() if hasattr(samples, "get") else samples
        return cls(samples, reference, columns, names).plot(ax=ax, **kwargs)

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.scatter``, for the particles.

        Returns
        -------
        SimplexDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        outline = np.vstack([CORNERS, CORNERS[:1]])
        ax.plot(*outline.T, color="0.3", linewidth=1, zorder=1)
        if self.reference is not None:
            below = {"s": 6, "color": "0.75", "linewidths": 0, "label": "reference"}
            ax.scatter(*self._places(self.reference).T, zorder=2, **below)
        look = {"s": 18, "color": "C0", "zorder": 3, "label": "particles"}
        ax.scatter(*self._places(self.samples).T, **(look | kwargs))
        for corner, name, below in zip(
            CORNERS, self._names(), (True, True, False), strict=True
        ):
            ax.annotate(
                name,
                corner,
                (0, -6 if below else 6),
                textcoords="offset points",
                ha="center",
                va="top" if below else "bottom",
            )
        ax.set(aspect="equal")
        ax.set_axis_off()
        if self.reference is not None:
            ax.legend(frameon=False, loc="upper right")
        return self

    def _places(self, rows):
        first, second = (rows[:, c] for c in self.columns)
        return np.column_stack([first, second, 1.0 - first - second]) @ CORNERS

    def _names(self):
        if self.names is not None:
            return self.names
        d = self.samples.shape[1]
        rest = sorted(set(range(d)) - set(self.columns))
        third = f"column {rest[0]}" if d == 3 else f"{d - 2} others"
        return (*(f"column {c}" for c in self.columns), third)


def _checked(rows, name):
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 3:
        raise ValueError(f"{name} must have shape (n, D) with D >= 3, not {rows.shape}")
    if not ((rows >= 0).all() and (abs(rows.sum(axis=1) - 1.0) < SUM).all()):
        raise ValueError(f"{name} must hold rows that are not negative, of sum 1")
    return rows
