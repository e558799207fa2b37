"""`MMDCurveDisplay`: how the distance to a sample falls with the rows chosen."""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ..algorithms.compress import standard
from ..algorithms.halving import take_rows
from ..algorithms.mean_distance import (
    DistanceEstimate,
    mean_distance,
    random_distance,
)
from ..algorithms.thinning import ALL_PAIRS_ROWS
from ..estimators._door import check_fit_X, choose_device, to_numpy_or_cupy
from ..estimators._thinning_rows import in_memory
from ..operator import make_operator

NAMES = {
    "random": "random rows",
    "standard": "standard thinning",
    "thinning": "kernel thinning",
}
LOOKS = {
    "random": {"color": "0.5", "marker": "s", "linestyle": ":"},
    "standard": {"color": "tab:orange", "marker": "^", "linestyle": "--"},
    "thinning": {"color": "tab:blue", "marker": "o", "linestyle": "-"},
}


class MMDCurveDisplay:
    """Distance (MMD) to a sample against the number of rows that stand for it.

    It is best made by `from_estimator`.

    Parameters
    ----------
    sizes : ndarray of int, shape (k,)
    distances : dict of str to ndarray of shape (k,)
        For "random", "standard" and "thinning": random rows; standard thinning, that
        is every k-th row; and the coreset.

    Attributes
    ----------
    slopes_ : dict of str to float
        Of the straight lines through the logarithms: about -1/2 for random rows.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelThinning
    >>> from gpkern.plotting import MMDCurveDisplay
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> display = MMDCurveDisplay.from_estimator(
    ...     KernelThinning(random_state=0), X
    ... )  # doctest: +SKIP
    """

    def __init__(self, sizes, distances):
        self.sizes, self.distances = np.asarray(sizes), distances

    @classmethod
    def from_estimator(
        cls, thinning, X, *, sizes=None, random_state=None, ax=None, **kwargs
    ):
        """Thin a sample to several sizes, and draw the distances.

        Parameters
        ----------
        thinning : KernelThinning
            Clones of it are fitted, all with the kernel of the first.
        X : array-like of shape (n, n_features)
            The sample, such as a chain; standard thinning depends on its order.
        sizes : sequence of int, default=None
            None for the powers of 2 from 4 to the square root of n, at least three.
        random_state : int, RandomState or None, default=None
            Of the estimates: above 20,000 rows, distances are not exact.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        MMDCurveDisplay
        """
        random_state = check_random_state(random_state)
        model = clone(thinning).set_params(compute_mmd=False)
        rows = in_memory(check_fit_X(model, X, sparse_ok=False))
        sizes = _sizes(sizes, rows.shape[0])
        fitted = clone(model).set_params(n_samples=int(sizes[0])).fit(X)
        kernel = {"kernel": fitted.kernel_, "gamma": None, "length_scale": None}
        device = choose_device(model.device, rows)
        with device.here():
            operator = make_operator(
                fitted.kernel_, device.put(rows), None, device, dtype=np.float64
            )
            to_sample = _distance(operator, random_state)
            found = {name: [] for name in NAMES}
            for size in sizes:
                chance = random_distance(operator, int(size), None, random_state)
                found["random"].append(chance)
                plain = standard(np.arange(rows.shape[0]), size)
                found["standard"].append(to_sample(plain, np.full(size, 1.0 / size)))
                model.set_params(n_samples=int(size), **kernel).fit(X)
                chosen, weights = (
                    device.get(to_numpy_or_cupy(a))
                    for a in (model.sample_indices_, model.weights_)
                )
                found["thinning"].append(to_sample(chosen, weights))
        found = {name: np.array(values) for name, values in found.items()}
        return cls(sizes, found).plot(ax=ax, **kwargs)

    @property
    def slopes_(self):
        """See the class."""
        return {
            name: float(np.polyfit(np.log(self.sizes), np.log(values), 1)[0])
            for name, values in self.distances.items()
        }

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
        MMDCurveDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        slopes = self.slopes_
        for name, values in self.distances.items():
            label = f"{NAMES[name]}: slope {slopes[name]:.2f}"
            ax.plot(self.sizes, values, **(LOOKS[name] | {"label": label} | kwargs))
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(self.sizes, [f"{s:g}" for s in self.sizes])
        ax.set(xlabel="rows of the coreset", ylabel="distance to the sample (MMD)")
        ax.legend()
        return self


def _distance(operator, random_state):
    """A function of rows and weights; what all calls share is computed once."""
    if operator.shape[0] <= ALL_PAIRS_ROWS:
        return lambda rows, w: mean_distance(operator, rows, w, None, None, None)[0]
    estimate = DistanceEstimate(operator, None, ALL_PAIRS_ROWS, random_state)
    return lambda rows, w: estimate.to(take_rows(operator, rows), w)[0]


def _sizes(sizes, n):
    """Sizes of coresets, checked."""
    if sizes is None:
        most = max(4, int(np.log2(np.sqrt(n))))
        sizes = 2 ** np.arange(2, most + 1)
        sizes = sizes[sizes < n]
        if len(sizes) < 2:
            raise ValueError(f"X has {n} rows: a curve needs more than 8")
    sizes = np.asarray(sizes)
    whole = sizes.ndim == 1 and len(sizes) > 1 and sizes.dtype.kind in "iu"
    if not whole or sizes.min() < 1 or sizes.max() >= n:
        raise ValueError(
            f"sizes={sizes.tolist()} must be two or more whole numbers from 1 to below "
            f"the {n} rows of X"
        )
    return sizes
