"""`LearnedLikelihoodRatioTest`: batches of events against a reference (NPLM)."""

from __future__ import annotations

import warnings
from dataclasses import replace
from numbers import Integral, Real

from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..algorithms.likelihood_ratio import Machine, calibrate, chi2_significance
from ..algorithms.resampling import p_value
from ..kernels import median_distance, resolve_kernel
from ..operator import make_operator
from ._batches import LikelihoodRatioResult, Units, check_expected, make_toys
from ._door import (
    ArrayKind,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_predict_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._gathered import gathered
from ._parameters import AT_LEAST_ONE, RUN

# Where a Dask array does not fit in memory.
FEWER = "the fits take all of them: pass a random part of the rows"
# Of the pairs' distances: the default length scale.
QUANTILE = 0.9
# Toys of which a fit can be judged, and its p-value from which they are no chi-square.
FEW_TOYS, POOR_FIT = 20, 0.01
# Attributes that a test sets.
OF_A_BATCH = (
    "statistic_",
    "pvalue_",
    "zscore_",
    "result_",
    "dual_coef_",
    "intercept_",
)


class LearnedLikelihoodRatioTest(BaseEstimator):
    """Does a batch of events follow a reference? By the ratio that a machine learns.

    The New Physics Learning Machine (NPLM): a kernel logistic machine learns to tell a
    batch from a much larger reference sample. Its scores estimate the logarithm of the
    ratio of their densities, counts included, and the likelihood ratio that they give
    is the test statistic: one test against every alternative that the kernel can
    express, in many dimensions, with an answer to where the batch differs.

    `fit` learns what the statistic is for batches of the reference itself, from toys;
    `test` takes one batch after another.

    Parameters
    ----------
    kernel : {"rbf"} or Kernel, default="rbf"
    length_scale : float or None, default=None
        In units of the columns' standard deviations, or of X without `standardize`.
        None is the 90 % quantile of the distances of pairs of reference rows, and a
        kernel object's own.
    n_centers : int, default=None
        Rows of the reference that carry coefficients; None is four times the square
        root of the rows of both samples, at most 5,000. More see finer structure.
    penalty : float, default=1e-6
        Of the squared norm, in ``mean_i w_i loss_i + penalty / 2 |f|^2``: as small as
        the fits stay stable.
    n_toys : int, default=100
        Batches of the reference by which the statistic is calibrated.
    calibration : {"chi2", "toys"}, default="chi2"
        "chi2": p-values of a chi-square distribution with as many degrees of freedom as
        the mean of the toys; they may be far below ``1 / n_toys``. A warning tells
        where the toys do not follow it. "toys": the share of toys that are at least as
        large, the batch counted; none is below ``1 / (n_toys + 1)``.
    counts : {"poisson", "fixed"}, default="poisson"
        "poisson": batches have a random number of rows, and one that is far from what
        is expected is a discrepancy. "fixed": batches have `expected` rows.
    standardize : bool, default=True
        Whether columns are divided by the reference's standard deviations.
    tol : float, default=1e-9
        Of `KernelLogisticRegression`.
    max_iter : int, default=100
        Limit of Newton's steps.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Draws centres, toys, and rows for the length scale.

    Attributes
    ----------
    null_distribution_ : ndarray of shape (n_toys,)
        Statistics of the toys.
    df_ : float
        Their mean: degrees of freedom of the chi-square distribution.
    goodness_of_fit_ : float
        p-value of a Kolmogorov-Smirnov test of the toys against it.
    expected_ : float
        Rows that batches have on average.
    n_reference_ : int
        Rows of the reference that batches are tested against.
    kernel_ : Kernel
        With its length scale.
    length_scale_ : float, array or None
        Of `kernel_`, where it has one.
    centers_ : array of shape (n_centers, n_features)
        In the units of X.
    result_ : LikelihoodRatioResult
        Of the last batch, with `statistic_`, `pvalue_` and `zscore_`.
    dual_coef_ : array of shape (n_centers,)
        Of the last batch's log ratio, and its constant, `intercept_`.
    n_features_in_ : int

    See Also
    --------
    MMDTest : Two samples of about the same size, without learning.
    KernelLogisticRegression : The machine.

    Notes
    -----
    Toys are drawn from the reference, without its centres, unless `fit` is given a
    null sample; then fewer rows are left to test against. All toys share the rows, the
    centres and the preconditioner, so that a hundred of them take a few times as long
    as one. Here the machine has an intercept, without which rows that are far from all
    centres would add nothing.

    All batches are tested against the same reference, so that its noise is in every
    one of them. The toys allow for it on average; for one reference of five times the
    expected rows a nominal level of 0.05 may be anything from 0 to 0.3, of 15 to 25
    times still from 0 to 0.13. An `expected` other than that of the fit needs a fit of
    its own, as runs of another length do.

    References
    ----------
    Letizia et al. (2022), Learning new physics efficiently with nonparametric methods,
    Eur. Phys. J. C 82:879; Grosso et al. (2023), Fast kernel methods for data quality
    monitoring as a goodness-of-fit test, arXiv 2303.05413; D'Agnolo & Wulzer (2019),
    Learning new physics from a machine.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import LearnedLikelihoodRatioTest
    >>> rng = np.random.default_rng(0)
    >>> reference = rng.normal(size=(5000, 2))
    >>> monitor = LearnedLikelihoodRatioTest(n_toys=50, random_state=0)
    >>> monitor.fit(reference, expected=500)
    LearnedLikelihoodRatioTest(n_toys=50, random_state=0)
    >>> monitor.test(rng.normal(size=(500, 2))).pvalue > 0.01
    True
    >>> bad = rng.normal(size=(500, 2))
    >>> bad[:40] = rng.normal(2.0, 0.1, size=(40, 2))
    >>> monitor.test(bad).zscore > 3
    True
    >>> monitor.score_samples([[2.0, 2.0]]) > 1  # that is where there are too many
    array([ True])
    """

    _parameter_constraints = {
        "kernel": [StrOptions({"rbf"}), Kernel],
        "length_scale": [Interval(Real, 0, None, closed="neither"), None],
        "n_centers": [AT_LEAST_ONE, None],
        "penalty": [Interval(Real, 0, None, closed="neither")],
        "n_toys": [Interval(Integral, 2, None, closed="left")],
        "calibration": [StrOptions({"chi2", "toys"})],
        "counts": [StrOptions({"poisson", "fixed"})],
        "standardize": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [AT_LEAST_ONE],
        "device": RUN["device"],
        "random_state": RUN["random_state"],
    }

    def __init__(
        self,
        *,
        kernel="rbf",
        length_scale=None,
        n_centers=None,
        penalty=1e-6,
        n_toys=100,
        calibration="chi2",
        counts="poisson",
        standardize=True,
        tol=1e-9,
        max_iter=100,
        device=None,
        random_state=None,
    ):
        self.kernel = kernel
        self.length_scale = length_scale
        self.n_centers = n_centers
        self.penalty = penalty
        self.n_toys = n_toys
        self.calibration = calibration
        self.counts = counts
        self.standardize = standardize
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, *, expected=None, null=None):
        """Calibrate the test for batches of the reference.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_reference, n_features)
            The reference: rows of a detector, say, that is known to work. Those of a
            Dask array are gathered.
        y : Ignored
        expected : float
            Rows that a batch has on average.
        null : array-like of shape (n_null, n_features) or callable, default=None
            Where the toys' batches come from: more rows like those of the reference,
            also a dask.array.Array, or ``null(n_rows, rng)``, a simulator. None: rows
            of the reference.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where too few rows are left for the toys, and for an `expected` that is no
            positive number.
        """
        self._validate_params()
        kind, rng = ArrayKind(X), check_random_state(self.random_state)
        X = check_fit_X(self, X, sparse_ok=False, ensure_min_samples=2)
        X = gathered(X, FEWER)
        self.expected_ = check_expected(expected, self.counts)
        device = choose_device(self.device, X)
        X = device.xp.asarray(device.put(X))
        self._units = Units.of(X, device, self.standardize)
        X = self._units.scaled(X, device)
        toys = make_toys(self, X, null, device, rng)
        self.kernel_ = self._kernel_of(X, rng)
        self.length_scale_ = getattr(self.kernel_, "length_scale", None)
        self.n_reference_ = toys.n_reference
        self._alpha = self.penalty * (self.n_reference_ + self.expected_)
        centers = X[device.xp.asarray(toys.centers)]
        self._reference = kind.out(X[device.xp.asarray(toys.kept)])
        self._scaled_centers = kind.out(centers)
        self.centers_ = kind.out(self._units.unscaled(centers, device))
        self._machine = self._made(device)
        for name in OF_A_BATCH:
            vars(self).pop(name, None)
        return self._calibrate(toys)

    def test(self, X):
        """Test a batch.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_rows, n_features)
            The batch, of any number of rows, which counts too; with
            ``counts="fixed"`` of `expected` rows. Those of a Dask array are gathered.

        Returns
        -------
        LikelihoodRatioResult

        Raises
        ------
        ValueError
            For an empty batch, one of other columns, and with ``counts="fixed"`` one
            of another number of rows.
        """
        check_is_fitted(self, "null_distribution_")
        kind = ArrayKind(X)
        X = gathered(check_predict_X(self, X, sparse_ok=False), FEWER)
        if self.counts == "fixed" and len(X) != self.expected_:
            raise ValueError(
                f"X has {len(X)} rows, but with counts='fixed' all batches have "
                f"expected={self.expected_:g}: pass so many, or use counts='poisson'"
            )
        machine = self._machine_for(X)
        device, weight = machine.device, self.expected_ / self.n_reference_
        with device.here():
            reference = device.xp.asarray(device.put(to_numpy_or_cupy(self._reference)))
            batch = self._units.scaled(X, device)
            t, coef, constant, converged = machine.test(reference, batch, weight)
        if not converged:
            _warn_unconverged("the fit of the batch", self.max_iter, stacklevel=3)
        p, z = self._significance(t)
        self.statistic_, self.pvalue_, self.zscore_ = t, p, z
        self.result_ = LikelihoodRatioResult(t, p, z, len(X))
        self.dual_coef_, self.intercept_ = kind.out(coef), constant
        return self.result_

    @by_blocks
    def score_samples(self, X):
        """Logarithm of the density of the last batch over that of the reference.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_samples, n_features)

        Returns
        -------
        array of shape (n_samples,)
            Above 0 where the batch has more rows than are expected, as of counts. Far
            from all centres it is the intercept, the same everywhere. Of a Dask array
            one, lazy.
        """
        check_is_fitted(
            self,
            "dual_coef_",
            msg="there is no batch yet whose log ratio this %(name)s could have "
            "learned: call fit, then test(batch)",
        )
        kind = ArrayKind(X)
        X = check_predict_X(self, X, sparse_ok=False)
        machine = self._machine_for(X)
        device, centers = machine.device, machine.centers
        with device.here():
            rows = self._units.scaled(X, device)
            operator = make_operator(self.kernel_, rows, centers, device)
            coef = device.xp.asarray(device.put(to_numpy_or_cupy(self.dual_coef_)))
            return kind.out(operator @ coef + self.intercept_)

    def __getstate__(self):
        """Without the machine: it is large, may lie on a GPU, and can be made again."""
        state = dict(super().__getstate__())
        state.pop("_machine", None)
        return state

    # ------------------------------------------------------------------ inside

    def _made(self, device):
        """The machine on a device, from what `fit` keeps."""
        return Machine.of(
            self.kernel_,
            device.xp.asarray(device.put(to_numpy_or_cupy(self._scaled_centers))),
            self._alpha,
            self.expected_,
            device,
            self.tol,
            self.max_iter,
        )

    def _machine_for(self, X):
        """The machine where a batch is worked on."""
        own = to_numpy_or_cupy(self._reference)
        device = choose_device(self.device, X, own, predicting=True)
        machine = vars(self).get("_machine")
        if machine is None or machine.device.name != device.name:
            with device.here():
                machine = self._machine = self._made(device)
        return replace(machine, tol=self.tol, max_iter=self.max_iter)

    def _kernel_of(self, X, rng):
        scale = self.length_scale
        if isinstance(self.kernel, str):
            if scale is None:
                scale = median_distance(X, rng, QUANTILE)
            return RBF(scale)
        return resolve_kernel(self.kernel, X, length_scale=scale, random_state=rng)

    def _calibrate(self, toys):
        t, failed = calibrate(self._machine, toys, self.n_toys)
        if failed:
            _warn_unconverged("fits of toys", self.max_iter, stacklevel=6)
        self.null_distribution_, self.df_ = t, float(t.mean())
        low = (
            "the statistics of toys, which should be above 0, go down to "
            f"{t.min():.3g}: the machine follows single rows; raise penalty, now "
            f"{self.penalty:g}, or length_scale, or lower n_centers"
        )
        if self.df_ <= 0:
            raise ValueError(low)
        self.goodness_of_fit_ = float(stats.kstest(t, stats.chi2(self.df_).cdf).pvalue)
        problem = None
        if t.min() < -max(1.0, self.df_):
            problem = low
        elif self.n_toys < FEW_TOYS:
            problem = f"n_toys={self.n_toys} are too few to tell their mean: use more"
        elif self.goodness_of_fit_ < POOR_FIT:
            problem = (
                f"the toys do not follow a chi-square distribution (p = "
                f"{self.goodness_of_fit_:.2g}): use calibration='toys' with more "
                "n_toys, or another penalty or length_scale"
            )
        if self.calibration == "chi2" and problem is not None:
            warnings.warn(problem, UserWarning, stacklevel=4)
        return self

    def _significance(self, t):
        """p-value and z-score of a statistic."""
        if self.calibration == "toys":
            p = p_value(t, self.null_distribution_)
            return p, float(stats.norm.isf(p))
        return chi2_significance(t, self.df_)


def _warn_unconverged(what, max_iter, stacklevel):
    warnings.warn(
        f"{what} did not converge in max_iter={max_iter} steps: raise it, or the "
        "penalty",
        ConvergenceWarning,
        stacklevel=stacklevel,
    )
