"""`KernelThinning`: a few rows that keep the distribution of all."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import RBF, Kernel, RationalQuadratic
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._device import is_cupy
from ..algorithms import coresets, thinning
from ..algorithms.halving import take_rows
from ..algorithms.mean_distance import mean_distance, random_distance
from ..algorithms.thinning import Thinning, sample_means
from ..kernels import InverseMultiquadric, power_kernel
from ..kernels.resolve import KERNEL_NAMES, resolve_kernel
from ..operator import make_operator
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_labels,
    check_weights,
    choose_device,
    to_numpy_or_cupy,
)
from ._parameters import RUN

METHODS = ("auto", "target", "power", "kt+", "compress++", "herding", "standard")


class KernelThinning(BaseEstimator):
    """Choose rows whose kernel mean is near that of all rows.

    Generalised kernel thinning: the sample is halved again and again by a walk that
    keeps the halves alike, the best of the resulting sets is taken, and its rows are
    exchanged until none is better. The distance (MMD) to the sample falls about as the
    inverse of the number of chosen rows, where random rows have its square root.

    Parameters
    ----------
    n_samples : int, float or None, default=None
        Rows to choose; a share of them below 1; None for the square root of n.
    kernel : str or Kernel, default="rbf"
        The kernel of the distance.
    gamma : float, "scale" or None, default=None
        Of a kernel given by name.
    length_scale : float, ndarray, "median", "scale" or None, default=None
        None: "median" for a named kernel without gamma; a kernel object's own.
    method : str, default="auto"
        How the start of the exchanges is found. "target" halves all rows by the kernel
        itself, "power" by its power kernel, "kt+" by the sum of both, "compress++"
        compresses them first, in near-linear time, "herding" chooses one row after
        another, "standard" takes every so manieth. "auto" is "compress++" above 20,000
        rows; below, "target" for smooth kernels and "kt+" for others with a power
        kernel.
    oversampling : int or "auto", default="auto"
        Of "compress++": sets of ``2^oversampling`` times the square root of n rows. The
        larger, the better and slower. "auto" is 4, or what n_samples needs.
    delta : float, default=0.5
        Probability that the halving misses its error bound.
    refine : "converge" or int, default="converge"
        Passes over the chosen rows in which each is exchanged for the best one. The
        better of what comes of the halved set and of every so manieth row is taken.
    unique : bool, default=True
        Whether a row may be chosen only once.
    weights : {None, "simplex", "sum-to-one"}, default=None
        Weights of the chosen rows that bring their mean nearest: not negative, or of
        any sign; None for equal ones.
    stratify : {None, "y"}, default=None
        "y" thins the rows of each class of y by themselves, as many of each as its
        share of the sample.
    compute_mmd : bool or "auto", default="auto"
        Whether to compute `mmd_` and `mmd_iid_`.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Coins of the halving; the rows of the median and of estimates.
    verbose : int, default=0
        Print what was chosen, and how near it is.

    Attributes
    ----------
    sample_indices_ : ndarray of int, shape (n_samples,)
        The chosen rows, sorted.
    weights_ : ndarray of shape (n_samples,)
        Their weights; sum 1.
    mmd_, mmd_iid_ : float
        Distance to the sample, and its mean for random subsets of that size.
    mmd_stderr_ : float
        Standard error of `mmd_`: 0 up to 20,000 rows, which are compared exactly.
    objective_path_ : list of float
        Squared distance less a constant, after each pass of exchanges; a list of them
        for each class where the sample was stratified.
    kernel_, split_kernel_ : Kernel
        Of the distance, and that of the halving.
    method_ : str
        What "auto" has chosen.
    n_features_in_ : int

    References
    ----------
    Dwivedi & Mackey (2022), Generalized kernel thinning; Shetty, Dwivedi & Mackey
    (2022), Distribution compression in near-linear time.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import KernelThinning
    >>> X = np.random.default_rng(0).normal(size=(1000, 2))
    >>> thinning = KernelThinning(30, random_state=0).fit(X)
    >>> X[thinning.sample_indices_].shape
    (30, 2)
    >>> thinning.mmd_ < 0.2 * thinning.mmd_iid_
    True
    """

    _parameter_constraints = {
        **RUN,
        "n_samples": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "kernel": [StrOptions(set(KERNEL_NAMES)), Kernel],
        "gamma": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"scale"}),
            None,
        ],
        "length_scale": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median", "scale"}),
            "array-like",
            None,
        ],
        "method": [StrOptions(set(METHODS))],
        "oversampling": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "delta": [Interval(Real, 0, 1, closed="neither")],
        "refine": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"converge"}),
        ],
        "unique": ["boolean"],
        "weights": [StrOptions({"simplex", "sum-to-one"}), None],
        "stratify": [StrOptions({"y"}), None],
        "compute_mmd": ["boolean", StrOptions({"auto"})],
    }

    def __init__(
        self,
        n_samples=None,
        *,
        kernel="rbf",
        gamma=None,
        length_scale=None,
        method="auto",
        oversampling="auto",
        delta=0.5,
        refine="converge",
        unique=True,
        weights=None,
        stratify=None,
        compute_mmd="auto",
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.n_samples = n_samples
        self.kernel = kernel
        self.gamma = gamma
        self.length_scale = length_scale
        self.method = method
        self.oversampling = oversampling
        self.delta = delta
        self.refine = refine
        self.unique = unique
        self.weights = weights
        self.stratify = stratify
        self.compute_mmd = compute_mmd
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, sample_weight=None):
        """Choose rows of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            The sample.
        y : array-like of shape (n,), default=None
            Classes, for ``stratify="y"``; otherwise ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows in the sample; rows of weight 0 are not chosen.

        Returns
        -------
        self
        """
        self._validate_params()
        kind = ArrayKind(X)
        X = check_fit_X(self, X, sparse_ok=False)
        device = choose_device(self.device, X)
        random_state = check_random_state(self.random_state)
        weights = check_weights(sample_weight, X.shape[0], np.float64)
        kept = np.ones(X.shape[0], bool) if weights is None else weights > 0
        rows = np.flatnonzero(kept)
        if weights is not None:
            X = X[device.xp.asarray(rows) if is_cupy(X) else rows]
        X = device.put(X)
        share = None if weights is None else weights[rows] / weights[rows].sum()
        size = self._size(len(rows))
        self.kernel_ = self._kernel(X)
        operator = make_operator(self.kernel_, X, None, device, dtype=np.float64)
        way = self._thinning(*X.shape)
        if self.stratify is None:
            chosen, path = way.choose(operator, size, share, random_state)
        else:
            classes = check_labels(y, len(kept), self)[kept]
            chosen, path = way.choose_of_each(
                operator, size, share, classes, random_state
            )
        chosen = np.sort(chosen)
        self.sample_indices_ = kind.out(device.put(rows[chosen]))
        self.objective_path_ = path
        self._weigh(operator, chosen, share, kind)
        self._measure(operator, chosen, share, random_state)
        if self.verbose:
            found = "" if self.mmd_ is None else f", MMD {self.mmd_:.3g}"
            print(
                f"[KernelThinning] {len(chosen)} of {len(rows)} rows by "
                f"{self.method_}, {len(path)} passes{found}"
            )
        return self

    def fit_resample(self, X, y=None):
        """Choose rows, and return them with their targets.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        y : array-like of shape (n, ...), default=None

        Returns
        -------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples, ...), where it was given
        """
        self.fit(X, y)
        X, rows = _rows_of(X, self.sample_indices_), self.sample_indices_
        return X if y is None else (X, _rows_of(y, rows))

    def _size(self, n):
        wanted = self.n_samples
        if wanted is None:
            return max(1, int(np.sqrt(n)))
        size = int(wanted) if isinstance(wanted, Integral) else max(1, int(wanted * n))
        if size > n:
            rows = "1 sample" if n == 1 else f"{n} samples"
            raise ValueError(f"n_samples={wanted} is more than X has: {rows}")
        return size

    def _kernel(self, X):
        length_scale = self.length_scale
        named = isinstance(self.kernel, str)
        if named and length_scale is None and self.gamma is None:
            length_scale = "median" if self.kernel in ("rbf", "laplacian") else None
        return resolve_kernel(
            self.kernel,
            X,
            gamma=self.gamma,
            length_scale=length_scale,
            random_state=self.random_state,
        )

    def _thinning(self, n, d):
        """How to choose among n rows of d columns; sets what "auto" stands for."""
        self.method_ = self._method(n, d)
        self.split_kernel_ = self._split_kernel(d)
        return Thinning(
            self.method_,
            self.split_kernel_,
            None if self.oversampling == "auto" else self.oversampling,
            self.delta,
            None if self.refine == "converge" else self.refine,
            self.unique,
        )

    def _method(self, n, d):
        if self.method != "auto":
            return self.method
        if n > thinning.ALL_PAIRS_ROWS:
            return "compress++"
        if type(self.kernel_) in (RBF, RationalQuadratic, InverseMultiquadric):
            return "target"
        try:
            power_kernel(self.kernel_, d)
        except ValueError:
            return "target"
        return "kt+"

    def _split_kernel(self, d):
        if self.method_ == "power":
            return power_kernel(self.kernel_, d)
        if self.method_ == "kt+":
            return self.kernel_ + power_kernel(self.kernel_, d)
        return self.kernel_

    def _weigh(self, operator, chosen, share, kind):
        """`weights_`: equal, or those of least distance."""
        weights = np.full(len(chosen), 1.0 / len(chosen))
        if self.weights is not None:
            rows = operator.with_rows(take_rows(operator, chosen))
            mu = sample_means(rows, share)
            K = coresets.block(operator, chosen)
            solve = {
                "simplex": coresets.simplex_weights,
                "sum-to-one": coresets.affine_weights,
            }[self.weights]
            weights = solve(K, operator.device.get(mu))
        self.weights_ = kind.out(operator.device.put(weights))

    def _measure(self, operator, chosen, share, random_state):
        """`mmd_`, its standard error, and what random subsets reach."""
        self.mmd_ = self.mmd_iid_ = self.mmd_stderr_ = None
        if self.compute_mmd is False:
            return
        weights = to_numpy_or_cupy(self.weights_)
        weights = operator.device.get(weights)
        limit = None if self.compute_mmd is True else thinning.ALL_PAIRS_ROWS
        self.mmd_, self.mmd_stderr_ = mean_distance(
            operator, chosen, weights, share, limit, random_state
        )
        self.mmd_iid_ = random_distance(operator, len(chosen), share, random_state)


def _rows_of(array, rows):
    """Rows of an array of any library, a data frame or a list."""
    if is_cupy(rows) and not is_cupy(array):
        rows = rows.get()
    if hasattr(array, "iloc"):
        return array.iloc[rows]
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    return array[rows]
