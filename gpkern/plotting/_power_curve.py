"""`PowerCurveDisplay`: how often tests reject, as their samples change."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager

import numpy as np
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._optional_dependencies import check_matplotlib_support

from ._density_modes import check_counts

# Of the intervals.
CONFIDENCE = 0.95


class PowerCurveDisplay:
    """Shares of rejections of tests, against a parameter of their samples.

    The parameter is anything: a shift between two samples, a number of rows. Bars are
    95% intervals of the binomial distribution (Wilson). Where the null hypothesis
    holds the share is the level, and elsewhere the power. It is best made by
    `from_tests`.

    Parameters
    ----------
    parameters : array-like of shape (k,)
    rejections : dict of str to array-like of int, shape (k,)
        For each test how many of the samples were rejected.
    n_repetitions : int
        Samples of each parameter.
    alpha : float, default=None
        The level, drawn as a line.
    parameter_name : str, default="parameter"

    Attributes
    ----------
    power_ : dict of str to ndarray of shape (k,)
        Shares of rejections.
    intervals_ : dict of str to ndarray of shape (k, 2)
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import MMDTest
    >>> from gpkern.plotting import PowerCurveDisplay
    >>> def make(shift, seed):
    ...     rng = np.random.default_rng(seed)
    ...     return rng.normal(size=(50, 1)), rng.normal(shift, size=(50, 1))
    >>> display = PowerCurveDisplay.from_tests(
    ...     {"MMD": MMDTest(n_resamples=100)},
    ...     make,
    ...     [0.0, 0.5, 1.0],
    ...     n_repetitions=20,
    ...     random_state=0,
    ...     parameter_name="shift",
    ... )  # doctest: +SKIP
    """

    def __init__(
        self,
        parameters,
        rejections,
        n_repetitions,
        alpha=None,
        parameter_name="parameter",
    ):
        self.parameters = np.asarray(parameters, dtype=np.float64)
        self.rejections = {k: np.asarray(v) for k, v in rejections.items()}
        self.n_repetitions, self.alpha = n_repetitions, alpha
        self.parameter_name = parameter_name

    @classmethod
    def from_tests(
        cls,
        tests,
        make,
        parameters,
        *,
        n_repetitions=100,
        random_state=None,
        parameter_name="parameter",
        ax=None,
        **kwargs,
    ):
        """Run tests on samples of several parameters, and draw the shares.

        Parameters
        ----------
        tests : dict of str to estimator
            Tests by their names; clones of them are fitted, all to the same samples.
        make : callable
            ``make(parameter, seed)`` gives what `fit` takes: a sample; a tuple, such as
            two samples; or a dict, such as ``{"X": X, "scores": S}``. The seed is an
            int.
        parameters : sequence of float
        n_repetitions : int, default=100
            Samples of each parameter.
        random_state : int, RandomState or None, default=None
            Of the seeds; the tests get others than `make`, for their `random_state`.
        parameter_name : str, default="parameter"
            For the axis.
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of `plot`.

        Returns
        -------
        PowerCurveDisplay
        """
        _check_tests(tests)
        if not callable(make):
            raise TypeError(
                f"make={make!r:.60} must be a function of (parameter, seed)"
            )
        check_counts(n_repetitions=(n_repetitions, 1))
        parameters = _checked(parameters)
        rng = check_random_state(random_state)
        seeds = rng.randint(2**31 - 1, size=(len(parameters), n_repetitions, 2))
        rejections = {name: np.zeros(len(parameters), int) for name in tests}
        with _each_warning_once():
            for k, (parameter, own) in enumerate(zip(parameters, seeds, strict=True)):
                for seed, of_test in own.tolist():
                    args, kw = _arguments(make(parameter, seed))
                    for name, test in tests.items():
                        rejections[name][k] += _rejects(test, of_test, args, kw)
        levels = {getattr(test, "alpha", None) for test in tests.values()}
        alpha = levels.pop() if len(levels) == 1 else None
        return cls(parameters, rejections, n_repetitions, alpha, parameter_name).plot(
            ax=ax, **kwargs
        )

    @property
    def power_(self):
        """See the class."""
        return {k: v / self.n_repetitions for k, v in self.rejections.items()}

    @property
    def intervals_(self):
        """See the class."""
        return {
            name: np.array([_interval(int(c), self.n_repetitions) for c in counts])
            for name, counts in self.rejections.items()
        }

    def plot(self, ax=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None makes a figure.
        **kwargs
            Of ``ax.errorbar``, for all curves.

        Returns
        -------
        PowerCurveDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        intervals = self.intervals_
        for name, shares in self.power_.items():
            low, high = intervals[name].T
            ends = np.maximum([shares - low, high - shares], 0.0)
            look = {"marker": "o", "capsize": 3, "label": name}
            ax.errorbar(self.parameters, shares, ends, **(look | kwargs))
        if self.alpha is not None:
            label = f"level {self.alpha:g}"
            ax.axhline(self.alpha, color="0.5", linestyle=":", zorder=0, label=label)
        ax.set(xlabel=self.parameter_name, ylim=(-0.02, 1.02))
        ax.set_ylabel(f"share of rejections in {self.n_repetitions} samples")
        ax.legend(frameon=False)
        return self


def _check_tests(tests):
    if not isinstance(tests, dict) or not tests:
        raise TypeError("tests must be a dict of one or more tests by their names")
    for name, test in tests.items():
        if not hasattr(test, "fit") or isinstance(test, type):
            raise TypeError(f"tests[{name!r}]={test!r:.60} is no estimator with fit")


def _checked(parameters):
    """Finite numbers, as they were given: whole ones stay so."""
    values = np.asarray(parameters)
    if values.ndim != 1 or not len(values) or values.dtype.kind not in "iuf":
        raise ValueError(f"parameters={parameters!r:.60} must be one or more numbers")
    if not np.isfinite(values).all():
        raise ValueError("parameters must be finite")
    return values.tolist()


@contextmanager
def _each_warning_once():
    """Of the same warning of many fits, numbers in it apart, the first alone."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        yield
    first = {re.sub(r"[-\d.e]+", "", str(w.message)): w for w in reversed(told)}
    for w in reversed(first.values()):
        warnings.warn(w.message, w.category, stacklevel=4)


def _arguments(made):
    """Positional and named arguments of `fit`."""
    if isinstance(made, dict):
        return (), made
    return (made if isinstance(made, tuple) else (made,)), {}


def _rejects(test, seed, args, kwargs):
    """Whether a clone of a test rejects."""
    test = clone(test)
    if "random_state" in test.get_params(deep=False):
        test.set_params(random_state=seed)
    test.fit(*args, **kwargs)
    if not hasattr(test, "rejected_"):
        raise TypeError(f"{type(test).__name__} is no test: it has no rejected_")
    return int(test.rejected_)


def _interval(count, n):
    ends = binomtest(count, n).proportion_ci(CONFIDENCE, method="wilson")
    return ends.low, ends.high
