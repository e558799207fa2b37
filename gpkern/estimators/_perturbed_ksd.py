"""`PerturbedKSDTest`: has each mode of a density its share of the sample?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..algorithms import perturbations, resampling, stein
from ..algorithms.stein import stein_sums
from ..targets import as_target
from ..targets.base import like, to_numpy
from ._door import all_or_nothing, choose_device
from ._gathered import gathered
from ._parameters import AT_LEAST_ONE
from ._stein_sample import TARGET, read_sample
from ._testing import (
    KERNELS,
    LEVEL,
    TestMixin,
    bases_of,
    length_scales_of,
    positive_numbers,
    warn_if_dependent,
)

REMEDY = "the jumps take all of them: test a part of the rows, such as X[::10]"
# Rows of a part of the sample.
LEAST = 3
CHAINS = (
    "the jumps and the signs are those of independent rows: for draws of chains use "
    "KSDTest(null='markov')"
)


class PerturbedKSDTest(TestMixin, BaseEstimator):
    """Test that sees whether the modes of a density have the right shares of a sample.

    `KSDTest` compares scores, and where modes are far apart the score at one of them
    tells nothing of the others: a sample that lies in one of two modes passes. This
    test moves the rows by random jumps from mode to mode under which the density is
    invariant, and adds up the discrepancies of the rows before and after. A sample of
    the density is one after the jumps too, so that the level holds; another one is
    given a shape that the discrepancy sees.

    The modes are searched for. Where fewer than two are found there is nowhere to
    jump: a warning says so, and the test is a `KSDTest` of all rows.

    Parameters
    ----------
    target : object
        The density, as of `KSDTest`, with a log density: not a function of scores
        alone, but ``gpkern.targets.Score(score, log_density)``, ``LogDensity(f)``, a
        distribution of `scipy.stats`, a fitted mixture or density estimate.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
        Base of the Stein kernel.
    length_scale : float, "median" or None, default=None
        The l of the kernel. "median" is the median distance of the rows, for each set
        of jumped ones its own; None is that for a kernel given by name, and a kernel
        object's own.
    method : {"sum", "split"}, default="sum"
        "split": the size of the jumps is chosen on a part of the rows, the one of the
        largest ratio of discrepancy and standard deviation, and the others are tested
        (ospKSD). "sum": all rows, and the sum over all sizes (spKSD); nothing is lost
        by a split, and it takes as many times longer as there are sizes.
    n_steps : int, default=10
        Jumps that each row is offered.
    thetas : array-like of shape (n_sizes,), default=None
        Sizes of jumps, as shares of the way from mode to mode: 1 leads to the same
        place in another mode, and gives each mode its share; those of other sizes make
        it visible that it had not. None is 21 from 0.5 to 1.5 or, where modes are more
        than 6 of their widths apart, so many that lead up to 3 widths beside a mode.
    n_starts : int, default=100
        From how many points modes are searched for: rows (of "split" those that are
        not tested), points in boxes up to 32 times as wide as the rows, and draws of a
        target that has them.
    test_size : float, default=0.5
        Share of the rows that "split" tests.
    null : {"wild", "multinomial"}, default="wild"
        Replicates by random signs, or by rows drawn again, of independent rows both.
    n_resamples : int, default=1000
        Replicates of the statistic.
    statistic : {"u", "v"}, default="u"
        Mean of the Stein kernel over pairs of different rows, or over all.
    alpha : float, default=0.05
        Level of the test.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where the kernels are computed; None follows the data. Modes and jumps are
        found on the CPU, in float64.
    random_state : int, RandomState or None, default=None
        Of the split, the starts, the jumps, the replicates and rows for the median.

    Attributes
    ----------
    statistic_ : float
        Squared discrepancy of the tested rows, plus that after jumps: of `theta_`, or
        of each size for "sum".
    pvalue_ : float
        Share of replicates that are at least as large, the observed one counted.
    rejected_ : bool
        Whether the p-value is at most `alpha`.
    null_distribution_ : ndarray of shape (n_resamples,)
        Replicates of `statistic_`.
    result_ : TestResult
        These, like a result of `scipy.stats`.
    kernels_ : list of Kernel
        The bases of the rows before jumps, and after jumps of each size.
    length_scale_ : float or list of float
        Theirs.
    modes_ : ndarray of shape (n_modes_, n_features)
        The highest first.
    mode_log_density_ : ndarray of shape (n_modes_,)
        Up to the constant of the target.
    n_modes_ : int
    thetas_ : ndarray of shape (n_sizes,) or None
        Sizes of jumps; None without two modes.
    theta_ : float or None
        The one that "split" has chosen.
    n_features_in_ : int

    See Also
    --------
    KSDTest : More powerful where the modes are not far apart, and for chains.

    Notes
    -----
    Only modes that are found can be jumped between. They are searched for by L-BFGS,
    and those closer than about one standard deviation are merged.

    References
    ----------
    Liu, Duncan & Gandy (2023), Using perturbation to improve goodness-of-fit tests
    based on kernelized Stein discrepancy, ICML.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KSDTest, PerturbedKSDTest
    >>> from gpkern.targets import Mixture
    >>> two = Mixture([0.5, 0.5], [[0.0], [20.0]], 1.0)
    >>> X = np.random.default_rng(0).normal(size=(200, 1))  # the left one alone
    >>> KSDTest(two, random_state=0).fit(X).rejected_
    False
    >>> test = PerturbedKSDTest(two, random_state=0).fit(X)
    >>> test.rejected_
    True
    >>> test.modes_.round(3).ravel().tolist()
    [0.0, 20.0]
    """

    _parameter_constraints = {
        **LEVEL,
        "target": TARGET,
        "kernel": [k for k in KERNELS["kernel"] if k not in (list, tuple)],
        "length_scale": [k for k in KERNELS["length_scale"] if k != "array-like"],
        "method": [StrOptions({"split", "sum"})],
        "n_steps": [AT_LEAST_ONE],
        "thetas": ["array-like", None],
        "n_starts": [Interval(Integral, 2, None, closed="left")],
        "test_size": [Interval(Real, 0, 1, closed="neither")],
        "null": [StrOptions({"wild", "multinomial"})],
        "statistic": [StrOptions({"u", "v"})],
    }

    def __init__(
        self,
        target,
        *,
        kernel="imq",
        length_scale=None,
        method="sum",
        n_steps=10,
        thetas=None,
        n_starts=100,
        test_size=0.5,
        null="wild",
        n_resamples=1000,
        statistic="u",
        alpha=0.05,
        device=None,
        random_state=None,
    ):
        self.target = target
        self.kernel = kernel
        self.length_scale = length_scale
        self.method = method
        self.n_steps = n_steps
        self.thetas = thetas
        self.n_starts = n_starts
        self.test_size = test_size
        self.null = null
        self.n_resamples = n_resamples
        self.statistic = statistic
        self.alpha = alpha
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None):
        """Test a sample.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            Independent rows. Of a Dask array they are gathered for the jumps; sums over
            pairs of more than 5,000 are made by the workers.
        y : Ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError
            For a target without a log density.
        ValueError
            For draws of chains, too few rows, equal rows, and rows at which the score
            is not finite.
        """
        self._validate_params()
        thetas = self.thetas
        if thetas is not None:
            thetas = positive_numbers(thetas, "thetas")
        _check_target(as_target(self.target))
        sample = read_sample(self, X)
        if sample.has_chains:
            raise ValueError(f"X has an axis of chains; {CHAINS}")
        warn_if_dependent(sample.correlation, CHAINS)
        rng = check_random_state(self.random_state)
        device = choose_device(self.device, sample.points, sample.scores)
        self._check_resamples()
        density = _Density(sample.target, sample.points)
        rows, scores = (
            np.asarray(to_numpy(gathered(a, REMEDY)), np.float64)
            for a in (sample.points, sample.scores)
        )
        self._height = sample.height
        sets = self._sets(density, rows, scores, thetas, device, rng)
        return self._judge(sets, device, rng)

    # ------------------------------------------------------------------ inside

    def _sets(self, density, rows, scores, thetas, device, rng):
        """Rows to test with their scores, before and after jumps of each size."""
        train, test = self._parts(len(rows), rng)
        modes = self._find_modes(density, rows[train], rng)
        self.thetas_ = self.theta_ = None
        if len(modes) < 2:
            return [(rows, scores)]
        if thetas is None:
            thetas = perturbations.jump_sizes(modes)
        self.thetas_ = thetas
        if self.method == "split":
            moved = self._jump(density, rows[train], modes, thetas, rng)
            self.theta_ = self._best_theta(density, moved, thetas, device, rng)
            thetas = np.array([self.theta_])
        moved = self._jump(density, rows[test], modes, thetas, rng)
        after = [(points, density.score(points)) for points in moved]
        return [(rows[test], scores[test]), *after]

    def _parts(self, n, rng):
        """Rows for modes and size, and rows to test."""
        if self.method == "sum":
            return np.arange(n), np.arange(n)
        order, n_test = rng.permutation(n), round(self.test_size * n)
        if min(n_test, n - n_test) < LEAST:
            raise ValueError(
                f"n_samples={n} in parts of {n - n_test} and {n_test} rows, by "
                f"test_size={self.test_size}: each needs at least {LEAST}; "
                "method='sum' does not split"
            )
        return np.sort(order[n_test:]), np.sort(order[:n_test])

    def _find_modes(self, density, rows, rng):
        """`Modes`; warns where there are none to jump between."""
        draw = density.target.sample if density.target.can_sample else None
        starts = perturbations.starts_around(rows, self.n_starts, rng, draw)
        scale = perturbations.positive(rows.std(axis=0))
        modes = perturbations.find_modes(
            density.log_density, density.score, starts, scale
        )
        self.modes_, self.mode_log_density_ = modes.points, modes.log_densities
        self.n_modes_ = len(modes)
        if len(modes) < 2:
            found = "one mode" if len(modes) else "no mode"
            warnings.warn(
                f"{found} of the density found, from {self.n_starts} starts: without "
                "two there are no jumps, and this is KSDTest; use a larger n_starts "
                "if the density has more",
                UserWarning,
                stacklevel=5,
            )
        return modes

    def _jump(self, density, rows, modes, thetas, rng):
        return perturbations.jump(
            density.log_density, rows, modes, thetas, self.n_steps, rng
        )

    def _best_theta(self, density, moved, thetas, device, rng):
        """The size after which a sample is seen best to be none of the density."""
        ratios = [
            perturbations.power_ratio(
                self._sums(points, density.score(points), device, rng)
            )
            for points in moved
        ]
        return float(thetas[int(np.argmax(ratios))])

    def _sums(self, points, scores, device, rng):
        """`PairSums` of rows, by a kernel with their own length scale."""
        if self._height is None:
            points, scores = device.put(points), device.put(scores)
        else:  # for workers
            from ..dask.sample_rows import in_blocks

            points, scores = (in_blocks(a, self._height) for a in (points, scores))
        kernels = bases_of(self.kernel, self.length_scale, False, points, rng)
        return stein_sums(points, scores, kernels, device)

    def _judge(self, sets, device, rng):
        """The test of a sum of discrepancies, with one multiplier for each row.

        A row before and after its jumps is one draw of pairs, independent of others:
        the sum is a degenerate U-statistic of these.
        """
        n = len(sets[0][0])
        self.kernels_, observed, replicates = [], 0.0, 0.0
        R = getattr(resampling, self.null)(n, self.n_resamples, rng)
        for points, scores in sets:
            sums = self._sums(points, scores, device, rng)
            observed += stein.statistics(sums, self.statistic)[0]
            replicates = replicates + stein.replicates(sums, R, self.statistic)[0]
            self.kernels_ += [sums.kernels[0].base]
        self.length_scale_ = length_scales_of(self.kernels_)
        p = resampling.p_value(observed, replicates)
        return self._conclude(observed, p, replicates)


@dataclass(frozen=True)
class _Density:
    """A target that is asked in the array library of the sample, from the host.

    Attributes
    ----------
    target : Target
    sample : array
        Of the library in which the user's functions work.
    """

    target: Any
    sample: Any

    def log_density(self, X):
        return to_numpy(self.target.log_density(like(X, self.sample)))

    def score(self, X):
        return to_numpy(self.target.score(like(X, self.sample)))


def _check_target(target):
    """An error for scores alone: jumps are accepted by ratios of densities."""
    if not target.has_log_density:
        raise TypeError(
            f"target={type(target).__name__} has no log density, which jumps between "
            "modes need: pass gpkern.targets.Score(score, log_density), or "
            "LogDensity(f)"
        )
