"""`KernelThinning`: a few rows that keep the distribution of all."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets

from .._device import is_dask
from ..algorithms import thinning
from ..algorithms.mean_distance import mean_distance, random_distance
from ..kernels.resolve import KERNEL_NAMES
from ..kernels.supervised import FORMS
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_labels,
    check_weights,
    choose_device,
)
from ._parameters import RUN
from ._thinning_blocks import check_same_length, choose_of_blocks, gathered
from ._thinning_rows import (
    Chosen,
    RowsAndKernels,
    check_kernel,
    in_memory,
    of_positive_weight,
    rows_of,
    size_of,
    taken,
)
from ._thinning_stream import Streaming

METHODS = ("auto", "target", "power", "kt+", "compress++", "herding", "standard")


class KernelThinning(Streaming, RowsAndKernels, BaseEstimator):
    """Choose rows whose kernel mean is near that of all rows.

    Generalised kernel thinning: the sample is halved again and again by a walk that
    keeps the halves alike, the best of the resulting sets is taken, and its rows are
    exchanged until none is better. In few columns the distance (MMD) to the sample
    falls about as the inverse of the number of chosen rows, where random rows have its
    square root; in ten still as the power 0.8.

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
        How the start of the search is found. "target" halves all rows by the kernel
        itself, "power" by its power kernel, "kt+" by the sum of both; "compress++"
        compresses them first, in near-linear time, and halves by what suits the kernel:
        by itself where it is smooth, otherwise by that sum, where the power kernel is
        of elementary functions. "herding" chooses one row after another, "standard"
        takes every k-th. "auto" is "compress++" above 2,000 rows; below, "target" or
        "kt+", as suits the kernel.
    oversampling : int or "auto", default="auto"
        Of "compress++": sets of ``2^oversampling`` times the square root of n rows. The
        larger, the better and slower. "auto" is 4, or what n_samples needs.
    delta : float, default=0.5
        Probability that the halving misses its error bound.
    refine : "converge" or int, default="converge"
        Passes over the chosen rows in which each is exchanged for the best one, 5 to 40
        of them until none is better; a pass computes n_samples rows of K, up to 20,000
        values each. Most is gained in the first three. The best of what comes of the
        halved set, of herding and of every k-th row is taken, as compared on the rows
        that may be exchanged; above 20,000 rows these are those that were compressed
        and some more.
    n_perturbations : int or "auto", default="auto"
        After the exchanges: perturbations of what they end in. Each replaces 5 % of the
        chosen rows at random, exchanges again, and is kept where the set is nearer
        (iterated local search). "auto" is 8, and 0 where `refine` is a number; each
        takes a tenth of the time or less. In two columns 24 bring the distance down by
        another tenth to a quarter.
    unique : bool, default=True
        Whether a row may be chosen only once.
    weights : {None, "simplex", "sum-to-one"}, default=None
        Weights of the chosen rows that bring their mean nearest: not negative, or of
        any sign; None for equal ones. Those of any sign are large where rows lie close
        together: fit for means of functions as smooth as the kernel, not for counting.
        With `stratify` each class keeps its share of the sample.
    stratify : {None, "y"}, default=None
        "y" thins the rows of each class of y by themselves, as many of each as its
        share of the sample: none of a class whose share is less than half a row.
    y_kernel : {None, "ridge", "smoother"}, default=None
        Rows are compared with their targets y, by a `SupervisedKernel`: for a coreset
        on which kernel ridge regression ("ridge") or a kernel smoother ("smoother") is
        to be fitted. y is centred, and scaled to a mean square of 1.
    compute_mmd : bool or "auto", default="auto"
        Whether to compute `mmd_` and `mmd_iid_`, which are None without. "auto" does,
        above 20,000 rows by an estimate; True is always exact.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Coins of the halving; the rows of the median and of estimates.
    verbose : int, default=0
        Print what was chosen, and how near it is.

    Attributes
    ----------
    sample_indices_ : ndarray of int, shape (n_samples,)
        Numbers of the chosen rows, sorted; those of a stream count from its beginning.
    samples_ : ndarray of shape (n_samples, n_features)
        These rows.
    sample_targets_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Their targets, with `y_kernel`.
    weights_ : ndarray of shape (n_samples,)
        Their weights; sum 1.
    mmd_, mmd_iid_ : float
        Distance to the sample (MMD), and that of random subsets of that size, the root
        of its mean square.
    mmd_stderr_ : float
        Standard error of `mmd_`: 0 up to 20,000 rows, which are compared exactly, and
        of a stream up to 16,383. Of a longer one, the distance to expect between the
        stream and what is kept of it.
    objective_path_ : list of float
        Squared distance less a constant, after each pass of exchanges and each
        perturbation that was kept; a list of them for each class where the sample was
        stratified.
    kernel_, split_kernel_ : Kernel
        Of the distance, and that of the halving.
    method_ : str
        What "auto" has chosen.
    n_samples_seen_ : int
        Rows of the stream so far, after `partial_fit`.
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
        "n_perturbations": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "unique": ["boolean"],
        "weights": [StrOptions({"simplex", "sum-to-one"}), None],
        "stratify": [StrOptions({"y"}), None],
        "y_kernel": [StrOptions(set(FORMS)), None],
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
        n_perturbations="auto",
        unique=True,
        weights=None,
        stratify=None,
        y_kernel=None,
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
        self.n_perturbations = n_perturbations
        self.unique = unique
        self.weights = weights
        self.stratify = stratify
        self.y_kernel = y_kernel
        self.compute_mmd = compute_mmd
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, sample_weight=None):
        """Choose rows of X.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            The sample. A Dask array of more than 20,000 rows may be larger than
            memory: workers compress its blocks to about ``2^oversampling`` times the
            square root of their rows, and these are merged. It is read some eight
            times: ``X.persist()`` where the workers can hold it. With `method` other
            than "compress++" and "auto" the rows are gathered.
        y : array-like of shape (n,) or (n, n_targets), default=None
            Classes, for ``stratify="y"``, or targets, for `y_kernel`; otherwise
            ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows in the sample; rows of weight 0 are not chosen.

        Returns
        -------
        self
        """
        self._validate_params()
        self._forget_stream()
        kind = ArrayKind(X)
        X = in_memory(check_fit_X(self, X, sparse_ok=False))
        device = choose_device(self.device, X)
        X = given = gathered(X, self) if is_dask(X) else X
        random_state = check_random_state(self.random_state)
        weights = check_weights(sample_weight, X, np.float64)
        X = self._with_targets(X, y, device)
        X, rows, share = of_positive_weight(X, weights, device)
        n = X.shape[0]
        size = size_of(self.n_samples, n)
        embedding = self._embedding(X, n, self.random_state)
        operator = embedding.operator(X, device)
        check_kernel(operator, np.random.RandomState(0))
        way = self._thinning(embedding, self._method(embedding.kernel, *X.shape))
        if is_dask(X):
            chosen, path = choose_of_blocks(
                way, embedding, operator, X, size, share, random_state
            )
        elif self.stratify is None:
            chosen, path = way.choose(operator, size, share, random_state)
        else:
            classes = check_labels(y, given, self)
            classes = classes if rows is None else classes[rows]
            check_classification_targets(classes)
            chosen, path = way.choose_of_each(
                operator, size, share, classes, random_state
            )
        chosen = np.sort(chosen)
        if self.stratify is None or self.weights is None:
            weights = self._fitted_weights(operator, chosen, share)
        else:
            weights = self._weights_of_each(operator, chosen, share, classes)
        distances = self._distances(operator, chosen, weights, share, random_state)
        values = taken(X, chosen, device)
        numbers = chosen if rows is None else taken(rows, chosen, device)
        chosen = Chosen(numbers, values, weights, path, distances)
        self._store(embedding, way, chosen, kind, device)
        if self.verbose:
            self._report(n)
        return self

    def fit_resample(self, X, y=None, sample_weight=None):
        """Choose rows, and return them with their targets.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
        y : array-like of shape (n, ...), default=None
        sample_weight : array-like of shape (n,), default=None
            Of `fit`. What is returned is to be weighted by `weights_`.

        Returns
        -------
        X : array of shape (n_samples, n_features)
            Of a Dask array or DataFrame a Dask array, which is lazy.
        y : array of shape (n_samples, ...), where it was given
            Of the type of y.
        """
        if y is not None:
            check = check_same_length if is_dask(X) else check_consistent_length
            check(X, y)
        self.fit(X, y, sample_weight)
        X, rows = rows_of(X, self.sample_indices_), self.sample_indices_
        return X if y is None else (X, rows_of(y, rows))

    def _distances(self, operator, chosen, weights, share, random_state):
        """`mmd_`, its standard error, and what random subsets reach; or three None."""
        if self.compute_mmd is False:
            return None, None, None
        limit = None if self.compute_mmd is True else thinning.ALL_PAIRS_ROWS
        mmd, error = mean_distance(
            operator, chosen, weights, share, limit, random_state
        )
        chance = random_distance(operator, len(chosen), share, random_state)
        return mmd, error, chance
