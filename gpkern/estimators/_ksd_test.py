"""`KSDTest`: is this a sample of that density? By its score alone."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from .._device import is_dask
from ..algorithms import resampling, stein
from ..algorithms.stein import stein_sums
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_predict_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._stein_sample import TARGET, read_sample, scored_rows
from ._testing import (
    KERNELS,
    LEVEL,
    TestMixin,
    bases_of,
    check_chains,
    length_scales_of,
    warn_if_dependent,
    warn_if_slow,
)

NULLS = ("wild", "auto", "multinomial", "markov", "parametric")
IN_BLOCKS = (
    "null={!r} takes rows in the memory of the caller, and X is a Dask array of {} "
    "rows: gather them, X.compute(), or use null='wild' for independent rows"
)
CHAINS = "use null='markov', with chains as X of shape (chain, draw, n_features)"


class KSDTest(TestMixin, BaseEstimator):
    """Kernel Stein discrepancy test: does a sample come from a density?

    The density needs to be known by its score alone, the gradient of its logarithm, so
    up to a constant. The null hypothesis is that the sample comes from the density; a
    small p-value speaks against. What it cannot see are the shares of modes that are
    far apart (see `PerturbedKSDTest`), and chains that have not mixed, whose draws tell
    too little: look at R-hat too.

    Parameters
    ----------
    target : object, default=None
        The density: a function that returns the scores of rows; a frozen distribution
        of `scipy.stats`; a GaussianMixture, KernelDensity or another estimator with
        ``score_samples``, fitted, in a `sklearn.frozen.FrozenEstimator` where it must
        outlive `clone`; or anything of `gpkern.targets`. None: `fit` is given scores.
    kernel : {"imq", "rbf"}, Kernel or list of these, default="imq"
        Base of the Stein kernel: ``(1 + |x - y|^2 / l^2)^(-1/2)``,
        ``exp(-|x - y|^2 / (2 l^2))``, or any smooth kernel of the Euclidean distance.
    length_scale : float, "median", list of float or None, default=None
        The l of the kernel. None is the median distance of the sample for a kernel
        given by name, a kernel object's own, and with `aggregate` ten scales,
        ``s / d * (D / s)^(i / 9)`` with s the spread of the d columns and D the largest
        distance of 500 rows.
    null : {"auto", "wild", "multinomial", "markov", "parametric"}, default="auto"
        Where the statistic's distribution under the null hypothesis comes from.
        "wild": random signs, for independent rows. "multinomial": rows drawn again,
        for independent rows too, with about the same power. "markov": signs that flip
        the more rarely the longer the autocorrelation time of the rows, for draws of
        Markov chains. "parametric": samples of the target, to each of which it is
        fitted anew: for a target that was fitted to X itself. It takes one fit for
        each replicate. "auto": "markov" where X has an axis of chains or successive
        rows correlate by more than 0.15, and "wild" otherwise.
    n_resamples : int, default=1000
        Replicates of the statistic. No p-value is below ``1 / (n_resamples + 1)``.
    statistic : {"u", "v"}, default="u"
        Mean of the Stein kernel over pairs of different rows, whose mean is 0 under the
        null hypothesis, or over all pairs, which is a squared norm and never
        negative. The p-value is the same where the multipliers are signs. "markov"
        always takes "v".
    alpha : float, default=0.05
        Level of the test: the share of rejections where the null hypothesis holds.
    aggregate : bool, default=False
        Combine tests with all kernels and length scales into one of the same level
        (KSDAgg). No scale needs to be chosen, for little loss of power; it takes as
        long as all of them.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Seed of the replicates, and of the 1,000 rows that the median of a larger
        sample is taken from.

    Attributes
    ----------
    statistic_ : float
        Squared discrepancy. With `aggregate`, ``-log(k p)``, where p is the smallest
        p-value of k tests.
    pvalue_ : float
        Share of replicates that are at least as large, the observed one counted.
    rejected_ : bool
        Whether the p-value is at most `alpha`.
    null_distribution_ : ndarray of shape (n_resamples,)
        Replicates of `statistic_`.
    result_ : TestResult
        These, like a result of `scipy.stats`.
    kernels_ : list of Kernel
        The bases, with their length scales.
    best_ : int
        Which of them has the smallest p-value.
    length_scale_ : float or list of float
    per_kernel_ : dict of ndarray
        "statistic", "pvalue" and "weight" of each base by itself.
    null_ : str
        What "auto" has chosen.
    autocorrelation_time_ : float
        Of "markov": the longest of the columns, in draws.
    n_features_in_ : int

    See Also
    --------
    PerturbedKSDTest : Sees the shares of modes that are far apart.
    NystromKSDTest, FSSDTest, LinearKSDTest : For many rows, in linear time.
    MMDTest : Compares two samples.

    Notes
    -----
    Time grows with ``n^2 n_resamples``: on two cores 5,000 rows take about half a
    second and 20,000 rows some ten, for each kernel; smooth kernels in one or two
    columns take far less.

    Of a Dask array with more than 5,000 rows the sample stays in its blocks: workers
    evaluate the target, each pair of blocks once, and the replicates, which are those
    of the same rows in memory to a ten-thousandth of their spread. The nulls "wild"
    and "multinomial" do so; others need the rows gathered.

    Where a density does not fall to 0 at an edge of its support, as the exponential
    and the uniform one do not, or no faster than in proportion to the distance, as
    gamma densities of shape 2 and less, its own samples are rejected too often: move to
    coordinates without edges first. So they are where scores differ by many orders of
    magnitude, as those of a wide log-normal density.

    References
    ----------
    Liu, Lee & Jordan (2016), A kernelized Stein discrepancy for goodness-of-fit tests;
    Chwialkowski, Strathmann & Gretton (2016), A kernel test of goodness of fit; Schrab,
    Guedj & Gretton (2022), KSD aggregated goodness-of-fit test; Key et al. (2025),
    Composite goodness-of-fit tests with kernels ("parametric").

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from gpkern import KSDTest
    >>> X = np.random.default_rng(0).normal(size=(500, 1))
    >>> good = KSDTest(stats.norm(), random_state=0).fit(X)
    >>> good.rejected_
    False
    >>> KSDTest(stats.norm(loc=0.3), random_state=0).fit(X).pvalue_ < 0.01
    True

    Draws of four Markov chains, which depend on those before them:

    >>> from scipy.signal import lfilter
    >>> steps = np.random.default_rng(0).normal(size=(4, 500, 1))
    >>> chains = lfilter([np.sqrt(1 - 0.8**2)], [1, -0.8], steps, axis=1)
    >>> test = KSDTest(stats.norm(), random_state=0).fit(chains)
    >>> test.null_, test.rejected_
    ('markov', False)
    """

    _parameter_constraints = {
        **LEVEL,
        **KERNELS,
        "target": TARGET,
        "null": [StrOptions(set(NULLS))],
        "statistic": [StrOptions({"u", "v"})],
    }

    def __init__(
        self,
        target=None,
        *,
        kernel="imq",
        length_scale=None,
        null="auto",
        n_resamples=1000,
        statistic="u",
        alpha=0.05,
        aggregate=False,
        device=None,
        random_state=None,
    ):
        self.target = target
        self.kernel = kernel
        self.length_scale = length_scale
        self.null = null
        self.n_resamples = n_resamples
        self.statistic = statistic
        self.alpha = alpha
        self.aggregate = aggregate
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, *, scores=None):
        """Test a sample.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (chain, draw, n_features)
            The sample; one of a single column is ``x[:, None]``. Also an xarray
            Dataset, or ArviZ's InferenceData or DataTree, whose stored gradients are
            the scores where there is no target. Or dask.array.Array of shape
            (n, n_features), whose rows stay where they are if there are many.
        y : Ignored
        scores : array-like of the shape of X, str or list of str, default=None
            Gradients of the log density at X, in the place of a target; names are
            those of variables in ``X.sample_stats``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For fewer than three rows, equal rows, scores that are missing or not
            finite, and kernels that are not smooth enough. For Dask arrays of more than
            5,000 rows also where the null needs them in memory.
        """
        self._validate_params()
        vars(self).pop("autocorrelation_time_", None)  # of an earlier fit
        sample = read_sample(self, X, scores, self.null == "parametric")
        kind = ArrayKind(X)
        rng = check_random_state(self.random_state)
        device = choose_device(self.device, sample.points, sample.scores)
        points, given = (device.put(a) for a in (sample.points, sample.scores))
        self.kernels_ = bases_of(
            self.kernel, self.length_scale, self.aggregate, points, rng
        )
        self.length_scale_ = length_scales_of(self.kernels_)
        self.null_ = self._null_of(sample)
        self._check_resamples()
        sums = stein_sums(points, given, self.kernels_, device)
        observed, replicates = self._replicates(sums, sample, rng, device)
        self._points, self._scores = kind.out(points), kind.out(given)
        return self._judge(observed, replicates)

    def score_samples(self, X=None, scores=None):
        """How much each row adds to the discrepancy: large values are bad.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features), default=None
            Or a dask.array.Array. None: the sample itself, one chain after another, of
            which the mean is the V-statistic.
        scores : array-like of the shape of X, default=None
            Where there is no target.

        Returns
        -------
        array of shape (n_queries,), float64
            Means of the Stein kernel with the rows of the sample; of the kernel with
            the smallest p-value where there are several. A Dask array, lazy, where X or
            the sample itself, if it is X, is one.
        """
        device, points, given, kind = self._fitted(X)
        sums = stein_sums(points, given, [self.kernels_[self.best_]], device)
        if X is None and scores is None and is_dask(points):
            return sums.means_at(stein.stein_rows(points, given, device.xp))[0]
        if X is None and scores is None:
            return kind.out(sums.row_sums[0] / len(points))
        rows = scored_rows(self, X, scores, device)
        return kind.out(sums.means_at(rows)[0])

    def witness_function(self, V):
        """Where the sample has too little or too much: the Stein witness.

        Parameters
        ----------
        V : array-like or dask.array.Array of shape (n_queries, n_features)

        Returns
        -------
        array of shape (n_queries, n_features), float64; lazy where V is a Dask array
            ``mean_i s_i k(x_i, v) + grad_{x_i} k(x_i, v)``: the field along which the
            sample would have to move; of the kernel with the smallest p-value where
            there are several.
        """
        device, points, given, kind = self._fitted(V)
        V = device.put(check_predict_X(self, V, sparse_ok=False))
        return kind.out(
            stein.witness(self.kernels_[self.best_], points, given, V, device)
        )

    def coordinate_contributions(self):
        """What each column adds to the squared discrepancy.

        Returns
        -------
        ndarray of shape (n_features,), float64
            Not negative; their sum is the V-statistic, of the kernel with the
            smallest p-value where there are several. `expected_contributions` tells
            what they would be without any discrepancy.
        """
        device, points, given, _ = self._fitted(None)
        base = self.kernels_[self.best_]
        return device.get(stein.coordinate_parts(base, points, given, device))

    def expected_contributions(self):
        """About what `coordinate_contributions` are where the null hypothesis holds.

        Returns
        -------
        ndarray of shape (n_features,), float64
            The parts of pairs of a row with itself: others have mean 0. Of chains, in
            which they have not, times how much larger the replicates are on average.
        """
        device, points, given, _ = self._fitted(None)
        base = self.kernels_[self.best_]
        own = device.get(stein.own_parts(base, points, given, device))
        if self.null_ != "markov" or len(self.kernels_) > 1:
            return own
        return own * max(float(np.mean(self.null_distribution_)) / own.sum(), 0.0)

    # ------------------------------------------------------------------ inside

    def _null_of(self, sample):
        """The null distribution in use; warns where it does not fit the rows."""
        if sample.in_blocks and self.null in ("markov", "parametric"):
            raise ValueError(IN_BLOCKS.format(self.null, len(sample.points)))
        if self.null not in ("wild", "multinomial", "auto"):
            return self.null
        if self.null == "auto" and sample.has_chains:
            return "markov"
        if self.null == "auto":
            if sample.correlation is None:
                return "wild"
            if sample.in_blocks:
                remedy = IN_BLOCKS.format("markov", len(sample.points))
                raise ValueError(
                    f"successive rows of X correlate ({sample.correlation:.2f}), as "
                    f"draws of a chain do: {remedy}"
                )
            warnings.warn(
                "successive rows of X correlate: they are taken as draws of a chain "
                "(null='markov'); shuffle rows that are sorted but independent, or use "
                "null='wild'",
                UserWarning,
                stacklevel=4,
            )
            return "markov"
        warn_if_dependent(sample.correlation, CHAINS)
        return self.null

    def _replicates(self, sums, sample, rng, device):
        """Statistics of each kernel, and their replicates, shape (k, b)."""
        n, count = len(sample.points), self.n_resamples
        kind = "v" if self.null_ == "markov" else self.statistic
        observed = stein.statistics(sums, kind)
        if self.null_ == "parametric":
            draws = sample.refitted_draws(n, count, rng)
            replicates = [
                stein.statistics(
                    stein_sums(device.put(x), device.put(s), self.kernels_, device),
                    kind,
                )
                for x, s in draws
            ]
            return observed, np.stack(replicates, axis=1)
        if self.null_ == "markov":
            m = sample.n_chains
            check_chains(device.get(sums.rows[:, : sums.rows.shape[1] // 2]), m)
            both = device.get(sums.rows).reshape(m, n // m, -1)
            probability, time = resampling.flip_probability(both)
            self.autocorrelation_time_ = time
            warn_if_slow(time, n // m)
            R = resampling.markov(m, n // m, probability, count, rng)
        else:
            R = getattr(resampling, self.null_)(n, count, rng)
        return observed, stein.replicates(sums, R, kind)

    def _fitted(self, X):
        """Device, sample and scores on it, and the user's type of array."""
        check_is_fitted(self)
        own, given = (
            a if is_dask(a) else to_numpy_or_cupy(a)
            for a in (self._points, self._scores)
        )
        arrays = (own,) if X is None else (X, own)
        device = choose_device(self.device, *arrays, predicting=True)
        kind = ArrayKind(self._points if X is None else X)
        return device, device.put(own), device.put(given), kind
