"""`FSSDTest`: a Stein test in linear time, at a few locations that tell the most."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval

from .._device import is_cupy
from ..algorithms import fssd, resampling
from ..algorithms.feature_sums import scored_at
from ..algorithms.stein import score_scale
from ._door import ArrayKind, all_or_nothing, choose_device, to_numpy_or_cupy
from ._independent import ONE_KERNEL, independent_sample, one_base
from ._stein_sample import TARGET
from ._testing import LEVEL, TestMixin

# Rows beyond which a training sample does not make better locations, only dearer ones.
MOST_TRAINING = 10_000
# Numbers that they may hold: features of rows at the locations, and rows even then.
TRAINING_FEATURES, FEWEST_ROWS = 1 << 25, 1000
# Rows of a part of the sample.
LEAST_PART = 3


class FSSDTest(TestMixin, BaseEstimator):
    r"""Finite set Stein discrepancy test: where does a sample differ from a density?

    The Stein witness, the field along which the sample would have to move, is 0
    everywhere if the sample comes from the density. It is measured at J locations.
    Those, and the width of the kernel, are chosen on one part of the sample to make
    the test on the rest as powerful as possible; `locations_` then also says where the
    difference is. Time and memory grow with the rows.

    Parameters
    ----------
    target : object, default=None
        The density, as in `KSDTest`. None: `fit` is given scores.
    kernel : {"rbf", "imq"} or Kernel, default="rbf"
        ``exp(-|x - v|^2 / (2 l^2))``, ``(1 + |x - v|^2 / l^2)^(-1/2)``, or any smooth
        kernel of the Euclidean distance.
    length_scale : float, "median" or None, default=None
        The l of the kernel. None chooses it along with the locations, for a kernel
        given by name, and is the median distance where nothing is chosen; of a kernel
        object it is the object's own.
    n_locations : int, default=5
        J. A few are enough, as the number of features is J times that of the columns.
    locations : array-like of shape (J, n_features), default=None
        Locations to test at, in the place of chosen ones. They must not depend on X:
        all of it is tested.
    optimize : bool, default=True
        Choose the locations. False draws them from a normal distribution that is
        fitted to the training part.
    train_size : float or int, default=0.2
        Share or number of the rows, at random ones, on which the locations are chosen;
        no more than 10,000 are taken, and fewer where they have many columns.
    n_resamples : int, default=3000
        Replicates of the statistic under the null hypothesis.
    alpha : float, default=0.05
        Level of the test: the share of rejections where the null hypothesis holds.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Of the parts, the first locations and the replicates, and of rows for the
        median.

    Attributes
    ----------
    statistic_ : float
        Number of tested rows times the squared discrepancy at the locations, an
        unbiased estimate.
    pvalue_ : float
        Share of replicates that are at least as large, the observed one counted.
    rejected_ : bool
        Whether the p-value is at most `alpha`.
    null_distribution_ : ndarray of shape (n_resamples,)
        Replicates of `statistic_`, with random signs of the rows; of more than 16,384
        rows, of random groups of them.
    result_ : TestResult
        These, like a result of `scipy.stats`.
    locations_ : array of shape (J, n_features), float64
    kernel_ : Kernel
    length_scale_ : float
    n_test_ : int
        Rows that were tested.
    n_features_in_ : int

    See Also
    --------
    KSDTest : With all pairs of rows: more power in as many rows, and no split.

    References
    ----------
    Jitkrittum, Xu, Szabo, Fukumizu & Gretton (2017), A linear-time kernel
    goodness-of-fit test.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from gpkern import FSSDTest
    >>> X = np.random.default_rng(0).normal(size=(2000, 1))
    >>> FSSDTest(stats.norm(), random_state=0).fit(X).rejected_
    False
    >>> test = FSSDTest(stats.norm(0.3), n_locations=1, random_state=0).fit(X)
    >>> test.pvalue_ < 0.001, test.locations_.shape
    (True, (1, 1))
    """

    _parameter_constraints = {
        **LEVEL,
        "target": TARGET,
        **ONE_KERNEL,
        "n_locations": [Interval(Integral, 1, None, closed="left")],
        "locations": ["array-like", None],
        "optimize": ["boolean"],
        "train_size": [
            Interval(Integral, LEAST_PART, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
    }

    def __init__(
        self,
        target=None,
        *,
        kernel="rbf",
        length_scale=None,
        n_locations=5,
        locations=None,
        optimize=True,
        train_size=0.2,
        n_resamples=3000,
        alpha=0.05,
        device=None,
        random_state=None,
    ):
        self.target = target
        self.kernel = kernel
        self.length_scale = length_scale
        self.n_locations = n_locations
        self.locations = locations
        self.optimize = optimize
        self.train_size = train_size
        self.n_resamples = n_resamples
        self.alpha = alpha
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, *, scores=None):
        """Choose locations on a part of a sample, and test the rest there.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            Independent rows, float32 or float64; the work is in float64. More than
            5,000 rows of a Dask array stay in their blocks.
        y : Ignored
        scores : array-like of shape (n, n_features), default=None
            Gradients of the log density at X, in the place of a target.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For chains, parts of fewer than three rows, equal rows, locations of a
            wrong shape, scores that are missing or not finite, and kernels that are
            not smooth enough.
        """
        self._validate_params()
        sample = independent_sample(self, X, scores)
        kind, rng = ArrayKind(X), check_random_state(self.random_state)
        device = choose_device(self.device, sample.points, sample.scores)
        self._check_resamples()
        points, given = (device.put(a) for a in (sample.points, sample.scores))
        if sample.score_scale is None:
            score_scale(points, given, device.xp)  # an error for units without digits
        order = rng.permutation(len(points))
        if self.locations is not None:
            V, base = device.put(self._given_locations()), one_base(self, points, rng)
        else:
            size = self._train_size(len(points))
            train, order = order[:size], order[size:]
            parts = scored_at(points, given, train, device)
            V, base = self._chosen(*parts, device, rng)
        statistic, replicates = fssd.finite_set_test(
            base, points, given, order, V, self.n_resamples, device, rng
        )
        self.kernel_, self.length_scale_ = base, getattr(base, "length_scale", None)
        self.locations_, self.n_test_ = kind.out(V), len(order)
        p = resampling.p_value(statistic, replicates)
        return self._conclude(statistic, p, replicates)

    # ------------------------------------------------------------------ inside

    def _train_size(self, n):
        """How many rows to choose locations on."""
        size = self.train_size
        size = size if isinstance(size, Integral) else round(size * n)
        widest = self.n_locations * self.n_features_in_
        size = min(size, MOST_TRAINING, max(TRAINING_FEATURES // widest, FEWEST_ROWS))
        if min(size, n - size) < LEAST_PART:
            raise ValueError(
                f"train_size={self.train_size} of n_samples={n} leaves {size} rows to "
                f"choose locations on and {n - size} to test: each part needs at least "
                f"{LEAST_PART}"
            )
        return size

    def _chosen(self, points, scores, device, rng):
        """Locations and kernel by a training part."""
        base = one_base(self, points, rng)
        V = fssd.gaussian_locations(points, self.n_locations, device.xp, rng)
        if not self.optimize:
            return V, base
        fixed = self.length_scale is not None or not isinstance(self.kernel, str)
        return fssd.optimal_locations(base, points, scores, V, device, fixed)

    def _given_locations(self):
        V = to_numpy_or_cupy(self.locations)
        if not is_cupy(V):
            V = check_array(V, dtype=np.float64, input_name="locations")
        if V.ndim != 2 or V.shape[1] != self.n_features_in_:
            raise ValueError(
                f"locations must have shape (J, {self.n_features_in_}), as X has "
                f"{self.n_features_in_} columns, not {V.shape}"
            )
        return V.astype(np.float64)
