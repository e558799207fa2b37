"""`KernelDensity`: scikit-learn's estimator, with exact sums on either device."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._device import is_dask
from ..algorithms import gridded
from ..algorithms.bandwidth import Sample
from ..algorithms.distinct import merged_rows
from ..algorithms.regimes import diagnose
from ..algorithms.whitening import Whitening
from ..kernels.density import DENSITY_KERNELS, DensityKernel
from ..kernels.metrics import OtherMetric
from . import _density_blocks as in_blocks
from ._bandwidths import EUCLIDEAN, RULES, check_metric, resolve_bandwidth
from ._density_blocks import of_queries
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_predict_X,
    check_weights,
    choose_device,
    to_numpy_or_cupy,
)
from ._thinning_rows import in_memory

# Rows of the sample that `diagnose` looks at.
MOST_QUERIES = 1000
# Bandwidths from the mean from which rows are taken in float64, and are refused.
FAR, FARTHEST = 1e15, 1e150


class KernelDensity(BaseEstimator):
    """Kernel density estimate, exact in any number of dimensions.

    A drop-in for `sklearn.neighbors.KernelDensity`: the same parameters and the same
    answers where those are right. Sums go over all rows, as log-sum-exp where the
    kernel has tails, so that log densities keep their digits far outside and in many
    columns; with a GPU they take a hundredth of the time. Rows that occur more than
    once are merged. Float32 data is computed in float32, to a millionth of how far it
    extends in bandwidths; where clusters lie ten thousands of them apart, pass float64.

    Parameters
    ----------
    bandwidth : float, array-like of shape (n_features,) or (n_features, n_features), \
or str, default=1.0
        Length scale of the kernel: one number, one for each column, or the matrix that
        a Gaussian kernel has as covariance (squared units). Names are rules, of which
        "lcv" is the one to start with, as it looks at what the density is for; "scott"
        and "silverman" take the data for normal and smear clusters:

        - "scott", "silverman": a factor times each column's standard deviation. These
          differ from scikit-learn's, which do not look at the data's scale.
        - "normal_reference": Silverman's factor with the covariance matrix.
        - "lcv": the factor of the standard deviations with the largest leave-one-out
          likelihood. All copies of a row are left out together.
        - "lscv": the factor with the least squared distance to the density, estimated
          by leaving one out; for the Gaussian kernel.
        - "isj": improved Sheather-Jones, for one column; many modes are no problem.
        - "nn": the median distance of nearest neighbours, over the root of the
          columns, times the standard deviations; for many columns, in few too narrow.
    algorithm : {"auto", "exact", "kd_tree", "ball_tree"}, default="auto"
        "exact" ignores `atol` and `rtol`. The trees are accepted as scikit-learn's
        names, and do as "auto" does.
    kernel : str or DensityKernel, default="gaussian"
        "gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine",
        "biweight", "triweight", "logistic", "sigmoid", "student-t" (of 3 degrees of
        freedom), "cauchy", "generalized-gaussian" (of power 1.5), or an object of
        `gpkern.kernels.density` with other parameters, such as ``StudentT(nu=5)``. Its
        ``length_scale`` is replaced by the bandwidth.
    metric : str, default="euclidean"
        A metric of `sklearn.metrics.pairwise_distances`. The kernel's integral is that
        for the Euclidean one; others are computed on the CPU, for one bandwidth, of a
        sample in memory.
    atol, rtol : float, default=0
        Errors that are allowed: a density is off by at most ``atol + rtol * density``.
        With these, Gaussian kernels in one to three columns on the CPU are summed on a
        grid, with a bound on its error, where that is quicker, and rows for which the
        bound is not good enough exactly; all else is summed exactly anyway.
    breadth_first : bool, default=True
        Of scikit-learn's trees; ignored.
    leaf_size : int, default=40
        Of scikit-learn's trees; ignored.
    metric_params : dict, default=None
        More parameters of the metric.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Rows at which "lcv", "lscv" and "nn" judge large samples.

    Attributes
    ----------
    bandwidth_ : float or ndarray of shape (n_features,) or (n_features, n_features)
        The bandwidth in use, as `bandwidth` has it.
    kernel_ : DensityKernel
        Of rows that are divided by the bandwidth.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has names of columns.
    n_samples_ : int
        Rows of the sample.
    n_effective_ : float
        ``(sum w)^2 / sum w^2`` of their weights.
    n_distinct_ : int
        Terms of the sum, after repeated rows have been merged; all rows of a Dask array
        that stays in its blocks.

    References
    ----------
    Scott (1992), Multivariate Density Estimation, section 6.2; Wand & Jones (1995),
    Kernel Smoothing; Botev, Grotowski & Kroese (2010), Kernel density estimation via
    diffusion (the rule "isj"); Biroli & Mezard (2023), Kernel density estimators in
    large dimensions (`diagnose`).

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelDensity
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> kde = KernelDensity(bandwidth="silverman").fit(X)
    >>> kde.score_samples([[0.0, 0.0], [5.0, 0.0]]).round(2)
    array([ -1.96, -32.97])
    """

    _parameter_constraints = {
        "bandwidth": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions(set(RULES)),
            "array-like",
        ],
        "algorithm": [StrOptions({"auto", "exact", "kd_tree", "ball_tree"})],
        "kernel": [StrOptions(set(DENSITY_KERNELS)), DensityKernel],
        "metric": [str],
        "atol": [Interval(Real, 0, None, closed="left")],
        "rtol": [Interval(Real, 0, None, closed="left")],
        "breadth_first": ["boolean"],
        "leaf_size": [Interval(Integral, 1, None, closed="left")],
        "metric_params": [dict, None],
        "device": [str, list, tuple, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        bandwidth=1.0,
        algorithm="auto",
        kernel="gaussian",
        metric="euclidean",
        atol=0,
        rtol=0,
        breadth_first=True,
        leaf_size=40,
        metric_params=None,
        device=None,
        random_state=None,
    ):
        self.bandwidth = bandwidth
        self.algorithm = algorithm
        self.kernel = kernel
        self.metric = metric
        self.atol = atol
        self.rtol = rtol
        self.breadth_first = breadth_first
        self.leaf_size = leaf_size
        self.metric_params = metric_params
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, sample_weight=None):
        """Keep the sample, and choose the bandwidth.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_samples, n_features)
            Of a Dask array with more than 20,000 rows the sample stays in its blocks,
            and sums go over these, block by block, where they are: those at rows in
            memory are computed, and those at Dask arrays lazy. Each call reads X again
            unless it is held by the workers, as after ``X.persist()``. Rows that occur
            more than once are not merged then.
        y : Ignored
        sample_weight : array-like or dask.array.Array of shape (n_samples,), \
default=None
            Not negative, and not all 0.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where the bandwidth does not fit X, or a rule finds none: the message says
            which to use instead.
        """
        self._validate_params()
        kind = ArrayKind(X)
        X, self._blocks = in_memory(check_fit_X(self, X, sparse_ok=False)), None
        if is_dask(X):
            self._blocks = X.chunks[0]
            if not in_blocks.is_few(X):
                return in_blocks.fit_blocks(self, X, sample_weight)
            X, sample_weight = in_blocks.gathered(X, sample_weight)
        check_metric(self, X.shape[1])
        device = choose_device(self.device, X)
        weights = check_weights(sample_weight, X, np.float64)
        weights = np.ones(X.shape[0]) if weights is None else weights
        xp, X = device.xp, self._floats(device.put(X))
        weights = weights / weights.max()  # a sum of large ones overflows
        weights = xp.asarray(weights / weights.sum())
        rows, shares, place = merged_rows(X, weights, xp)
        self.n_effective_ = 1.0 / float((weights**2).sum())
        kernel, sample = self._kernel(), Sample(rows, shares, device)
        self.bandwidth_ = resolve_bandwidth(
            self,
            kernel,
            sample,
            self.n_effective_,
            check_random_state(self.random_state),
        )
        self._whitening = self._units(X, weights, device)
        self.kernel_ = self._unit_kernel(kernel, device)
        self._points = kind.out(device.put(self._whitening.into(rows, xp)))
        self._shares, self._own = kind.out(shares), kind.out(weights)
        self._place = None if place is None else kind.out(place)
        self.n_samples_, self.n_distinct_ = len(X), len(rows)
        return self

    @of_queries
    def score_samples(self, X):
        """Log density at rows.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_queries, n_features)

        Returns
        -------
        array of shape (n_queries,), float64
            A lazy Dask array where X is one.
            -inf only for kernels that end at the bandwidth, beyond all rows.
        """
        rows, sums, kind = self._ready(X)
        with sums.device.here():
            return kind.out(self._logs(sums, rows) - self._log_integral)

    def score(self, X, y=None):
        """Sum of the log densities at rows: the log likelihood.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_queries, n_features)
        y : Ignored

        Returns
        -------
        float
        """
        total = self.score_samples(X).sum()
        return float(choose_device("cpu").whole(total) if is_dask(total) else total)

    @of_queries
    def score_gradient(self, X):
        """Gradient of the log density at rows: the score of Stein's method.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_queries, n_features)

        Returns
        -------
        array of shape (n_queries, n_features), float64
            Zeros where the density is 0. A lazy Dask array where X is one.
        """
        rows, sums, kind = self._ready(X)
        with sums.device.here():
            slopes = self._whitening.gradient_back(sums.gradient(rows), sums.device.xp)
            return kind.out(slopes)

    def loo_score_samples(self):
        """Log density at each row of the sample, without that row.

        Returns
        -------
        array of shape (n_samples,), float64
            In the order of `fit`, of a copy of a row its other copies stay. A Dask
            array where the sample was one.
        """
        sums, kind = self._sums()
        if is_dask(sums.points):
            return in_blocks.logs_without_self(sums) - self._log_integral
        device, xp = sums.device, sums.device.xp
        with device.here():
            own = xp.asarray(device.put(to_numpy_or_cupy(self._own)))
            place = slice(None)
            if self._place is not None:
                place = xp.asarray(device.put(to_numpy_or_cupy(self._place)))
            others = sums.log_without_self()[place]
            rest = sums.weights[place] - own  # of the copies of a row
            rest = xp.where(rest > 1e-12 * own, rest, 0.0)
            with np.errstate(divide="ignore"):
                total = xp.logaddexp(others, xp.log(rest))
            alone = own >= 1.0  # nothing is left
            total -= xp.log1p(-xp.where(alone, 0.0, own))
            found = kind.out(total - self._log_integral)
            return in_blocks.as_blocks(found, self._blocks)

    def sample(self, n_samples=1, random_state=None):
        """Draw rows from the density, of any kernel.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        array of shape (n_samples, n_features)
        """
        sums, kind = self._sums()
        device, xp = sums.device, sums.device.xp
        if self.metric not in EUCLIDEAN:
            raise ValueError(f"sample needs metric='euclidean', not {self.metric!r}")
        rng, d = check_random_state(random_state), self.n_features_in_
        with device.here():
            rows = in_blocks.drawn_rows(sums, n_samples, rng)
        steps = rng.normal(size=(n_samples, d))
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        steps *= self.kernel_.radii(n_samples, d, rng)[:, None]
        with device.here():
            rows = rows.astype(np.float64) + xp.asarray(steps)
            return kind.out(self._whitening.back(rows, xp))

    def diagnose(self, X=None):
        """How far the estimate can be trusted: from how many rows each value comes.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_queries, n_features), \
default=None
            Rows to look at; None for up to 1,000 of the sample, each left out.

        Returns
        -------
        DensityDiagnosis
            Printed, it says in words what it means.
        """
        if X is None:
            (sums, kind), rows = self._sums(), None
        else:
            rows, sums, kind = self._ready(X)
        with sums.device.here():
            rng = np.random.RandomState(0)
            found = diagnose(sums, self.n_effective_, rows, MOST_QUERIES, rng)
        scale = self.bandwidth_ if np.ndim(self.bandwidth_) == 0 else None
        return found.described(scale, kind.out(found.effective_number))

    # ------------------------------------------------------------------ inside

    def _kernel(self):
        """The kernel as an object."""
        named = isinstance(self.kernel, str)
        return DENSITY_KERNELS[self.kernel]() if named else self.kernel

    def _floats(self, X):
        """Rows in a float dtype; float64 where errors are to be within bounds."""
        keeps = X.dtype.kind == "f" and X.dtype.itemsize > 2
        return X if keeps and not max(self.atol, self.rtol) else X.astype(np.float64)

    def _logs(self, sums, rows):
        """Log sums, exact or within what is allowed."""
        if max(self.atol, self.rtol) == 0 or self.algorithm == "exact":
            return sums.log(rows)
        if self.metric not in EUCLIDEAN or not gridded.serves(sums):
            return sums.log(rows)
        unit = np.exp(self._log_integral)
        return gridded.log_sum(sums, rows, self.atol * unit, self.rtol)

    def _units(self, X, weights, device):
        """What rows are shifted and divided by."""
        if self.metric not in EUCLIDEAN:
            return Whitening(np.zeros(X.shape[1]), 1.0)
        mean = device.get(weights @ X.astype(np.float64))
        return Whitening.of(mean, self.bandwidth_)

    def _unit_kernel(self, kernel, device):
        """The kernel of rows in these units."""
        unit = type(kernel)(**(kernel.get_params() | {"length_scale": 1.0}))
        if self.metric in EUCLIDEAN:
            return unit
        if device.name != "cpu":
            raise ValueError(f"metric={self.metric!r} is computed on the CPU alone")
        unit.set_params(length_scale=self.bandwidth_)
        return unit

    @property
    def _log_integral(self):
        d = self.n_features_in_
        scale = np.log(self.kernel_.length_scale) * d
        own = self.kernel_.log_integral(d) + scale
        return own + self._whitening.log_determinant(d)

    def _field(self, device):
        """What mode finding climbs, on a device; see `_density_field.field_of`."""
        if self.metric not in EUCLIDEAN:
            raise ValueError(f"modes need metric='euclidean', not {self.metric!r}")
        return self._sum_on(device), self._whitening, self._log_integral

    def _sum_on(self, device):
        """The sum of kernels on a device."""
        kernel = self.kernel_
        if self.metric not in EUCLIDEAN:
            kernel = OtherMetric(kernel, self.metric, self.metric_params)
        return in_blocks.sum_of(kernel, self._points, self._shares, device)

    def _sums(self, X=None):
        """The sum of kernels on its device, and the user's type of array."""
        check_is_fitted(self)
        given = () if X is None else (X,)
        device = in_blocks.device_of(self, self._points, *given)
        with device.here():
            return self._sum_on(device), ArrayKind(self._points)

    def _ready(self, X):
        """Whitened rows on the device, the sum of kernels, and the user's type."""
        check_is_fitted(self)
        kind = ArrayKind(X)
        X = in_memory(check_predict_X(self, X, sparse_ok=False))
        sums, _ = self._sums(X)
        if is_dask(X):
            return in_blocks.into_units(self, X, FARTHEST, FAR), sums, kind
        with sums.device.here():
            rows = self._floats(sums.device.put(X))
            if sums.points.dtype == np.float64:
                rows = rows.astype(np.float64)
            rows = self._whitening.into(rows, sums.device.xp)
            size = float(abs(rows).max())
            if size > FARTHEST:
                raise ValueError(
                    f"X has values {size:.1g} bandwidths from the mean of the sample, "
                    "whose squares overflow: remove or clip them"
                )
            if size > FAR:
                rows, sums = rows.astype(np.float64), sums.exact()
            return rows, sums, kind
