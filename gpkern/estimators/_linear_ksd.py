"""`LinearKSDTest`: a Stein test of a million rows, by pairs of them."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from .._device import is_dask
from ..algorithms.feature_sums import rows_at
from ..algorithms.stein import score_scale, stein_rows
from ..kernels.stein import SteinKernel
from ..operator import make_operator
from ._door import all_or_nothing, choose_device
from ._independent import ONE_KERNEL, independent_sample, one_base
from ._stein_sample import TARGET
from ._testing import LEVEL, TestMixin

# Numbers of the rows of pairs that are worked on at a time.
CHUNK = 1 << 22
# Rows of which two pairs are made, the fewest that have a standard deviation.
LEAST_ROWS = 4


class LinearKSDTest(TestMixin, BaseEstimator):
    r"""Kernel Stein discrepancy test in linear time, from pairs of rows.

    The rows are shuffled and paired, each in one pair, and the Stein kernel h of the
    pairs averaged. Its mean is 0 if the sample comes from the density, and the pairs
    are independent, so that

    .. math:: T = \sqrt{n / 2}\; \bar h / \mathrm{sd}(h)

    is asymptotically standard normal: no resampling, and time and memory grow with
    the rows. `KSDTest` averages over all pairs and sees far smaller differences in as
    many rows; this test is for those that are too many for it. `NystromKSDTest` takes
    some ten times as long as this one and sees far more, too.

    Parameters
    ----------
    target : object, default=None
        The density, as in `KSDTest`. None: `fit` is given scores.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
        Base of the Stein kernel: ``(1 + |x - y|^2 / l^2)^(-1/2)``,
        ``exp(-|x - y|^2 / (2 l^2))``, or any smooth kernel of the Euclidean distance.
    length_scale : float, "median" or None, default=None
        The l of the kernel. None is the median distance of the sample for a kernel
        given by name, and a kernel object's own.
    alpha : float, default=0.05
        Level of the test: the share of rejections where the null hypothesis holds.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Of the pairs, and of rows for the median.

    Attributes
    ----------
    statistic_ : float
        T.
    pvalue_ : float
        ``1 - Phi(T)``.
    rejected_ : bool
        Whether the p-value is at most `alpha`.
    null_distribution_ : frozen distribution of `scipy.stats`
        The standard normal one.
    result_ : TestResult
        These, like a result of `scipy.stats`.
    discrepancy_ : float
        The mean of h, an unbiased estimate of the squared discrepancy.
    standard_error_ : float
        Of `discrepancy_`.
    kernel_ : Kernel
        The base, with its length scale.
    length_scale_ : float
    n_features_in_ : int

    References
    ----------
    Liu, Lee & Jordan (2016), A kernelized Stein discrepancy for goodness-of-fit tests
    (the estimate in linear time); Gretton et al. (2012), A kernel two-sample test,
    section 6, of which this is the twin for one sample.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy import stats
    >>> from gpkern import LinearKSDTest
    >>> X = np.random.default_rng(0).normal(size=(20_000, 2))
    >>> normal = stats.multivariate_normal(np.zeros(2))
    >>> LinearKSDTest(normal, random_state=0).fit(X).rejected_
    False
    >>> LinearKSDTest(normal, random_state=0).fit(X + 0.3).pvalue_ < 0.001
    True
    """

    _parameter_constraints = {
        "target": TARGET,
        **ONE_KERNEL,
        "alpha": LEVEL["alpha"],
        "device": LEVEL["device"],
        "random_state": LEVEL["random_state"],
    }

    def __init__(
        self,
        target=None,
        *,
        kernel="imq",
        length_scale=None,
        alpha=0.05,
        device=None,
        random_state=None,
    ):
        self.target = target
        self.kernel = kernel
        self.length_scale = length_scale
        self.alpha = alpha
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, *, scores=None):
        """Test a sample.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            Independent rows, float32 or float64; the work is in float64. More than
            5,000 rows of a Dask array stay in their blocks. Of an odd number
            one is left out.
        y : Ignored
        scores : array-like of shape (n, n_features), default=None
            Gradients of the log density at X, in the place of a target.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For chains, fewer than four rows, equal rows, scores that are missing or
            not finite, and kernels that are not smooth enough.
        """
        self._validate_params()
        sample = independent_sample(self, X, scores, LEAST_ROWS)
        rng = check_random_state(self.random_state)
        device = choose_device(self.device, sample.points, sample.scores)
        points, given = (device.put(a) for a in (sample.points, sample.scores))
        self.kernel_ = one_base(self, points, rng)
        self.length_scale_ = getattr(self.kernel_, "length_scale", None)
        # Shuffled, so that sorted rows too make independent pairs.
        order = rng.permutation(len(points))
        h = pair_values(self.kernel_, points, given, order, device, sample.score_scale)
        mean, spread = float(h.mean()), float(h.std(ddof=1))
        if not 0 < spread < math.inf:
            raise ValueError(
                "the Stein kernel of all pairs of rows is the same, or not finite: "
                "there is nothing to test"
            )
        self.discrepancy_, self.standard_error_ = mean, spread / math.sqrt(len(h))
        statistic = mean / self.standard_error_
        return self._conclude(statistic, stats.norm.sf(statistic), stats.norm())


def pair_values(base, points, scores, order, device, scale=None):
    """The Stein kernel of rows ``order[2 i]`` and ``order[2 i + 1]``.

    Parameters
    ----------
    base : Kernel
    points, scores : array of shape (n, d)
    order : ndarray of shape (n,)
        Of whole numbers, on the host.
    device : Device
    scale : float, default=None
        `score_scale`, where it is known.

    Returns
    -------
    array of shape (n // 2,), float64
        On the device.
    """
    if scale is None:
        scale = score_scale(points, scores, device.xp)
    xp, d = device.xp, points.shape[1]
    kernel, pairs = SteinKernel(base, d, scale), len(order) // 2
    if is_dask(points):
        from ..dask import sample_rows

        rows = stein_rows(points, scores, xp)
        operator = make_operator(kernel, rows, None, device, dtype=np.float64)
        sides = (rows[order[a : 2 * pairs : 2]] for a in (0, 1))
        return sample_rows.gathered(
            sample_rows.pair_values(kernel, *sides, operator), rows
        )
    height, out = max(1, CHUNK // (4 * d)), []
    for a in range(0, pairs, height):
        at = order[2 * a : 2 * min(a + height, pairs)]
        sides = (
            stein_rows(*(rows_at(m, i, device) for m in (points, scores)), xp)
            for i in (at[::2], at[1::2])
        )
        operator = make_operator(kernel, *sides, device, dtype=np.float64)
        out.append(operator.diagonal())
    return xp.concatenate(out)
