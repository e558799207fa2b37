"""`BatchSelector`: rows of a pool whose targets are worth knowing."""

from __future__ import annotations

from numbers import Integral, Real

from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..algorithms import batch_selection as rules
from ..kernels.resolve import KERNEL_NAMES
from ._door import (
    ArrayKind,
    all_or_nothing,
    choose_device,
)
from ._gathered import gathered
from ._parameters import AT_LEAST_ONE, KERNEL, RUN
from ._pool_rows import CENTRES, POOL, RowsOfPool
from ._thinning_rows import rows_of, taken

# Rules of variances, for which training rows are rows to condition on.
VARIANCES = ("maxdiag", "maxdet", "bait", "bait-fb")
METHODS = (*CENTRES, "frank-wolfe", *VARIANCES)


class BatchSelector(RowsOfPool, BaseEstimator):
    """Choose rows of a pool whose targets are to be measured next.

    Batch active learning for regression: measuring a target is expensive, rows without
    one are plenty, and a model is fitted again after each batch. Chosen are rows that
    differ from each other, and from the training rows, where rows are compared by a
    kernel or by features of a trained network, such as its gradients. No row is chosen
    twice.

    Parameters
    ----------
    batch_size : int or float, default=10
        Rows to choose; a share of the pool below 1.
    kernel : str, Kernel or None, default=None
        The kernel that compares rows; None is "rbf", unless there are `features`.
        "linear" takes X as features. A
        `~sklearn.gaussian_process.kernels.WhiteKernel` in it counts for nothing: there
        is `noise`.
    features : callable, fitted transformer, "precomputed" or None, default=None
        A function of X that returns features, shape (n, p), or an object with
        ``transform``; rows are then compared by the inner products of these, and X is
        whatever it takes: images, texts, data frames.
        "precomputed" takes X for them. A transformer that `clone` may meet is passed as
        ``sklearn.frozen.FrozenEstimator(transformer)``.
    method : str, default="lcmd"
        Which row comes next, with the covariances of the kernel.

        - "lcmd": rows belong to their nearest centre, a row chosen before; of the
          cluster with the largest sum of squared distances, the farthest row. In the
          benchmark of its authors the best one on average.
        - "maxdist": the farthest from the nearest centre.
        - "kmeans++": one at random, in proportion to the squared distance to the
          nearest centre.
        - "maxdet": the row of the largest variance given those before: greedily the
          largest determinant.
        - "maxdiag": the rows of the largest variance; they may be all alike.
        - "bait": the row that leaves the least variance of all rows together. With a
          kernel, the variances of 2,000 rows, drawn at random, stand for those of more;
          with features it is exact. "bait-fb" takes twice as many, and takes the least
          useful ones out again.
        - "frank-wolfe": rows that bring a weighted mean near to that of the pool.
    mode : {"auto", "pool", "train-pool"}, default="auto"
        Whether training rows count as chosen: as centres, or as rows to condition on.
        "auto" is "train-pool" where `fit` is given X_train.
    posterior : bool, default=False
        Whether "lcmd", "maxdist", "kmeans++" and "frank-wolfe" too compare rows by
        covariances given the training rows, in either mode; the rules of variances do
        so in "train-pool", and with True in "pool".
    noise : float, default=1e-3
        Variance of the noise of a target, as a share of the mean k(x, x) of the
        training rows, or of the pool without them. Counts where covariances are
        given some rows.
    gamma : float, "scale" or None, default=None
        Of a kernel given by name.
    length_scale : float, ndarray, "median", "scale" or None, default=None
        None: "median" for "rbf" and "laplacian" without gamma; a kernel object's own.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute, in float64; None follows the data.
    random_state : int, RandomState or None, default=None
        Draws of "kmeans++"; rows of the median, and those that "bait" sums over.
    verbose : int, default=0
        Print what was chosen.

    Attributes
    ----------
    sample_indices_ : ndarray of int64, shape (batch_size,)
        The chosen rows of X, in the order of choice.
    samples_ : ndarray of shape (batch_size, n_features)
        These rows; with `features` as they were passed.
    scores_ : ndarray of shape (batch_size,)
        What each row was chosen for: the squared distance to the nearest centre
        ("lcmd", "maxdist", "kmeans++"; of the first row k(x, x), where there is no
        centre), the variance ("maxdiag", "maxdet"), or by how much it brings the sum
        of variances down ("bait"); for "frank-wolfe" the squared distance of the means
        after it.
    kernel_ : Kernel or None
        None where rows are compared by features.
    mode_ : {"pool", "train-pool"}
    noise_variance_ : float
        Variance of the noise.
    n_features_in_ : int

    See Also
    --------
    KernelThinning : Rows that stand for a sample, all of whose targets are known.

    Notes
    -----
    A row chosen costs the kernel values of one row of K, or a product with the matrix
    of features. Conditioning holds ``n_train + batch_size`` such rows in memory, and
    "bait" with a kernel 2,000 more. With p features it takes p x p values in their
    stead: random projections of long ones, such as gradients, serve as well.
    "frank-wolfe" with a kernel sums all of K once.

    References
    ----------
    Holzmueller, Zaverkin, Kaestner & Steinwart (2023), A framework and benchmark for
    deep batch active learning for regression; Ash, Goel, Krishnamurthy & Kakade (2021),
    Gone fishing: neural active learning with Fisher embeddings; Pinsler, Gordon,
    Nalisnick & Hernandez-Lobato (2019), Bayesian batch active learning as sparse subset
    approximation.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import BatchSelector
    >>> pool = np.linspace(0, 1, 101)[:, None]
    >>> train = [[0.0], [0.1], [0.2]]
    >>> selector = BatchSelector(4, length_scale=0.3).fit(pool, X_train=train)
    >>> selector.sample_indices_
    array([100,  60,  40,  79])

    With what a trained network makes of its rows, as features:

    >>> weights = np.random.default_rng(0).normal(size=(1, 50))
    >>> selector = BatchSelector(4, features=lambda X: np.tanh(X @ weights))
    >>> selector.select(pool, X_train=train).shape
    (4,)
    """

    _parameter_constraints = {
        **RUN,
        "device": [str, None],
        "batch_size": [AT_LEAST_ONE, Interval(Real, 0, 1, closed="neither")],
        "kernel": [StrOptions(set(KERNEL_NAMES)), Kernel, None],
        "features": [
            callable,
            HasMethods("transform"),
            StrOptions({"precomputed"}),
            None,
        ],
        "method": [StrOptions(set(METHODS))],
        "mode": [StrOptions({"auto", "pool", "train-pool"})],
        "posterior": ["boolean"],
        "noise": [Interval(Real, 0, None, closed="neither")],
        "gamma": KERNEL["gamma"],
        "length_scale": KERNEL["length_scale"],
    }

    def __init__(
        self,
        batch_size=10,
        *,
        kernel=None,
        features=None,
        method="lcmd",
        mode="auto",
        posterior=False,
        noise=1e-3,
        gamma=None,
        length_scale=None,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.batch_size = batch_size
        self.kernel = kernel
        self.features = features
        self.method = method
        self.mode = mode
        self.posterior = posterior
        self.noise = noise
        self.gamma = gamma
        self.length_scale = length_scale
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, *, X_train=None):
        """Choose rows of a pool.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            The pool. That of a Dask array is gathered.
        y : Ignored
        X_train : array-like of shape (n_train, n_features), default=None
            Rows whose targets are known already.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where the pool has fewer rows than are to be chosen; where training rows are
            asked for by `mode` or `posterior` and not given; where kernel and features
            both are; where rows are NaN or infinite, or have other columns.
        """
        self._validate_params()
        self._check_choices(X_train)
        kind, given = ArrayKind(X), X
        X, train = self._read(X, X_train)
        n, size = len(X), self._size(len(X))
        device = choose_device(self.device, X, train)
        self.mode_ = self.mode
        if self.mode == "auto":
            self.mode_ = "pool" if train is None else "train-pool"
        seeded = self.mode_ == "train-pool"
        conditioned = self.posterior or (seeded and self.method in VARIANCES)
        rows = self._rows(X, train, device)
        self.noise_variance_ = rows.noise
        if conditioned:
            rows.condition_on(n)
        chosen, scores = self._choose(rows, n, size, seeded)
        self.sample_indices_ = kind.out(device.put(chosen))
        if self._has_own_features:
            self.samples_ = gathered(rows_of(given, chosen), POOL)
        else:
            self.samples_ = kind.out(device.put(taken(X, chosen, device)))
        self.scores_ = kind.out(device.put(scores))
        if self.verbose:
            known = "" if train is None else f", {len(train)} training rows"
            print(f"[BatchSelector] {size} of {n} rows by {self.method}{known}")
        return self

    def select(self, X, *, X_train=None):
        """Choose rows of a pool, and return their numbers: `fit`, `sample_indices_`.

        Parameters
        ----------
        X, X_train
            Of `fit`.

        Returns
        -------
        ndarray of int64, shape (batch_size,)
        """
        return self.fit(X, X_train=X_train).sample_indices_

    def fit_resample(self, X, y=None, *, X_train=None):
        """Choose rows, and return them with their targets.

        Parameters
        ----------
        X, X_train
            Of `fit`.
        y : array-like of shape (n, ...), default=None
            A row for each row of X.

        Returns
        -------
        X : array of shape (batch_size, n_features)
        y : array of shape (batch_size, ...), where it was given
        """
        rows = self.select(X, X_train=X_train)
        X = rows_of(X, rows)
        return X if y is None else (X, rows_of(y, rows))

    def _check_choices(self, X_train):
        """Errors of parameters that do not go together."""
        if self.features is not None:
            for name in ("kernel", "gamma", "length_scale"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f"features are compared by their inner products: leave {name} "
                        "at None, or features"
                    )
        if isinstance(self.features, type):
            name = self.features.__name__
            raise TypeError(f"features={name} is a class: pass a fitted instance")
        if X_train is None:
            asked = [("mode='train-pool'", self.mode == "train-pool", "mode='pool'")]
            asked.append(("posterior=True", self.posterior, "posterior=False"))
            for name, wanted, other in asked:
                if wanted:
                    raise ValueError(
                        f"{name} needs training rows: pass X_train to fit, or set "
                        f"{other}"
                    )

    def _size(self, n):
        size = self.batch_size
        if not isinstance(size, Integral):
            return max(1, int(size * n))
        if size > n:
            raise ValueError(
                f"batch_size={size} is more than the pool has, n_samples={n}: set a "
                "smaller one, or a share of the rows, such as 0.5"
            )
        return int(size)

    def _choose(self, rows, n, size, seeded):
        random_state = check_random_state(self.random_state)
        if self.method in ("maxdiag", "maxdet"):
            return getattr(rules, self.method)(rows, n, size)
        if self.method in ("bait", "bait-fb"):
            return rules.bait(rows, n, size, random_state, self.method == "bait-fb")
        if self.method == "kmeans++":
            return rules.kmeans_plus_plus(rows, n, size, seeded, random_state)
        rule = getattr(rules, self.method.replace("-", "_"))
        return rule(rows, n, size, seeded)
