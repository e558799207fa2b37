"""`MMDTest`: do two samples come from one distribution?"""

from __future__ import annotations

from numbers import Real

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils import ClassifierTags, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._device import is_cupy, is_dask
from ..algorithms import mmd
from ..algorithms.pair_sums import GramSums, pair_sums
from ..kernels import InverseMultiquadric, Laplacian, median_distance
from ..operator import make_operator
from ..targets.base import namespace
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_predict_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._parameters import KERNEL
from ._testing import (
    LEVEL,
    N_SCALES,
    TestMixin,
    bases_of,
    check_sample,
    length_scales_of,
    some_rows,
)
from ._two_samples import (
    both_in_blocks,
    by_columns_of,
    check_gram,
    check_sizes,
    check_symmetric,
    in_order,
    second_sample,
    warn_of_labels,
)

NAMED = {"imq": InverseMultiquadric, "rbf": RBF, "laplacian": Laplacian}
DEFAULT = {False: "rbf", True: ["laplacian", "rbf"]}
# Quantile of the distances that stands for the smallest one.
SMALLEST = 0.05
# What a low-rank factor may leave: the centred kernel may be far smaller than it.
REST = 1e-7
SECOND = (
    "MMDTest.fit(X, y): y is a second sample, an array of shape (m, n_features), or "
    "one label for each row of X, of two values that tell the samples apart"
)


class MMDTest(TestMixin, BaseEstimator):
    """Kernel two-sample test by the maximum mean discrepancy.

    The null hypothesis is that two samples come from the same distribution; a small
    p-value speaks against it. Time grows with ``(n + m)^2 n_resamples``.

    Parameters
    ----------
    kernel : {"rbf", "laplacian", "imq", "precomputed"}, Kernel, callable or list, \
default=None
        None is "rbf", and with `aggregate` both "laplacian" and "rbf". "precomputed":
        X is the Gram matrix of both samples, and y tells them apart. By name are
        ``exp(-|x - y|^2 / (2 l^2))``, ``exp(-|x - y|_1 / l)`` and
        ``(1 + |x - y|^2 / l^2)^(-1/2)``.
    length_scale : float, "median", list of float or None, default=None
        The l of the kernel. None is the median distance for a kernel given by name, a
        kernel object's own, and with `aggregate` ten scales by the distances.
    null : {"permutation", "wild"}, default="permutation"
        "permutation": which row belongs to which sample is shuffled. "wild": the
        rows of a pair (x_i, y_i) are swapped at random, for samples of equal size;
        also right where the two are dependent.
    n_resamples : int, default=1000
        Replicates of the statistic.
    statistic : {"u", "v"}, default="u"
        Without or with pairs of a row with itself. "wild" takes "u".
    alpha : float, default=0.05
        Level of the test.
    aggregate : bool, default=False
        Combine tests with all kernels and length scales into one of the same level
        (MMDAgg).
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Seed of the replicates, and of the 1,000 rows that the median of larger samples
        is taken from.

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
        With their length scales; empty for "precomputed".
    length_scale_ : float or list of float
    per_kernel_ : dict of ndarray
        "statistic", "pvalue" and "weight" of each kernel by itself.
    classes_ : ndarray of shape (2,)
        The labels of the first and the second sample, where y was labels.
    best_ : int
        Which of the kernels has the smallest p-value.
    n_features_in_ : int

    See Also
    --------
    KSDTest : Compares a sample with a density.

    Notes
    -----
    Of Dask arrays with more than 5,000 rows in all both samples stay in blocks, and
    workers evaluate the pairs of these.

    References
    ----------
    Gretton et al. (2012), A kernel two-sample test; Schrab et al. (2023), MMD
    aggregated two-sample test.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import MMDTest
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(200, 2)), rng.normal(size=(300, 2))
    >>> MMDTest(random_state=0).fit(X, Y).rejected_
    False
    >>> MMDTest(random_state=0).fit(X, 1.5 * Y).pvalue_ < 0.01
    True
    """

    _parameter_constraints = {
        **LEVEL,
        "kernel": [
            StrOptions({*NAMED, "precomputed"}),
            Kernel,
            callable,
            list,
            tuple,
            None,
        ],
        "length_scale": [
            Interval(Real, 0, None, closed="neither"),
            *KERNEL["length_scale"][1:],
        ],
        "null": [StrOptions({"permutation", "wild"})],
        "statistic": [StrOptions({"u", "v"})],
        "aggregate": ["boolean"],
    }

    def __init__(
        self,
        kernel=None,
        *,
        length_scale=None,
        null="permutation",
        n_resamples=1000,
        statistic="u",
        alpha=0.05,
        aggregate=False,
        device=None,
        random_state=None,
    ):
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
    def fit(self, X, y):
        """Test whether two samples come from one distribution.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            The first sample; or the rows of both; or, for "precomputed", their Gram
            matrix.
        y : array-like or dask.array.Array of shape (m, n_features) or (n,)
            The second sample; or labels of two values, one for each row of X: the
            rows of the smaller value are the first sample.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For samples of fewer than two rows or of other columns, labels that do not
            have two values, and a Gram matrix that is not symmetric.
        """
        self._validate_params()
        vars(self).pop("classes_", None)  # of an earlier fit
        kind, rng = ArrayKind(X), check_random_state(self.random_state)
        X, n, order = self._two_samples(X, y)
        device = choose_device(self.device, X)
        xp = device.xp
        X = in_order(X if is_dask(X) else xp.asarray(device.put(X)), order, n)
        if self._is_given:
            self.kernels_, sums = [], GramSums(X[:, xp.asarray(order)], device)
        else:
            own, X = X, device.keep(X)  # of a Dask array what is lazy is kept
            check_sample(X, 4)
            self.kernels_ = self._kernels(X, rng)
            check_symmetric(self.kernels_, X, device)
            sums = pair_sums(X, self.kernels_, device, REST, "high")
            X = own
        self.length_scale_ = length_scales_of(self.kernels_)
        self._check_resamples()
        self._rows, self._first = kind.out(X), n
        return self._judge(*self._replicates(sums, n, len(X) - n, rng))

    def witness_function(self, V):
        """Where the first sample has more than the second, at rows.

        Parameters
        ----------
        V : array-like or dask.array.Array of shape (n_queries, n_features)

        Returns
        -------
        array of shape (n_queries,), float64; lazy where V is a Dask array
            Difference of the kernel means, of the kernel with the smallest p-value
            where there are several.
        """
        check_is_fitted(self)
        if not self.kernels_:
            raise ValueError("witness_function needs a kernel, not 'precomputed'")
        kind, rows = ArrayKind(V), self._rows
        rows = rows if is_dask(rows) else to_numpy_or_cupy(rows)
        V = check_predict_X(self, V, sparse_ok=False)
        device = choose_device(self.device, V, rows, predicting=True)
        n, size = self._first, len(rows)
        weights = np.r_[np.full(n, 1.0 / n), np.full(size - n, -1.0 / (size - n))]
        operator = make_operator(
            self.kernels_[self.best_], V, rows, device, dtype=np.float64
        )
        return kind.out(operator.row_sum(device.put(weights)))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Labels have two values.
        tags.classifier_tags = ClassifierTags(multi_class=False)
        tags.target_tags.required = True
        tags.input_tags.pairwise = self._is_given
        return tags

    # ------------------------------------------------------------------ inside

    @property
    def _is_given(self):
        """Whether X is the kernel's matrix."""
        return isinstance(self.kernel, str) and self.kernel == "precomputed"

    def _two_samples(self, X, y):
        """Rows, how many are the first sample's, and the order to put them in."""
        if y is None:
            raise ValueError(
                f"requires y to be passed, but the target y is None. {SECOND}"
            )
        y = by_columns_of(X, y)
        X = check_fit_X(self, X, sparse_ok=False)
        if is_dask(X) or is_dask(y):
            X, y = both_in_blocks(X, y, self._is_given)
        if self._is_given:
            if self.aggregate or self.length_scale is not None:
                raise ValueError(
                    "kernel='precomputed' is one kernel that is evaluated already: use "
                    "aggregate=False and length_scale=None"
                )
            check_gram(X)
        y = y if is_dask(y) else to_numpy_or_cupy(y)
        y = y if is_cupy(y) or is_dask(y) else np.asarray(y)
        if y.ndim == 2 and y.shape[1] == X.shape[1] and not self._is_given:
            n, first = len(X), X
            second = second_sample(y)
            check_sizes(n, len(second))
            warn_of_labels(X, second)
            if is_cupy(first) != is_cupy(second):
                raise TypeError("X and y must be of one library, NumPy or CuPy")
            return namespace(first).concatenate([first, second]), n, None
        if y.ndim == 2 and (y.shape[1] > 1 or len(y) != len(X)):
            raise ValueError(
                f"y has {y.shape[1]} columns, X has {X.shape[1]}. {SECOND}"
            )
        y = column_or_1d(y.get() if is_cupy(y) else y)
        if any(v is None or v != v for v in y.tolist()):
            raise ValueError(f"y has labels that are missing (NaN or None). {SECOND}")
        if len(y) != len(X):
            raise ValueError(f"y has {len(y)} labels for {len(X)} rows of X. {SECOND}")
        values, which = np.unique(y, return_inverse=True)
        if len(values) != 2:
            found = "1 class" if len(values) == 1 else f"{len(values)} classes"
            raise ValueError(f"y has labels of {found}. {SECOND}")
        self.classes_ = values
        n = int((which == 0).sum())
        check_sizes(n, len(y) - n)
        return X, n, np.argsort(which, kind="stable")

    def _kernels(self, X, rng):
        """The kernels, with their length scales."""
        kernel = DEFAULT[bool(self.aggregate)] if self.kernel is None else self.kernel
        options = self.length_scale, self.aggregate, X, rng
        return bases_of(kernel, *options, names=NAMED, scales_of=spread_scales)

    def _replicates(self, sums, n, m, rng):
        """Statistics of each kernel, and their replicates, shape (k, b)."""
        observed = mmd.squared_distances(sums, mmd.group_signs(n, m), self.statistic)
        if self.null == "permutation":
            signs = mmd.permutations(n, m, self.n_resamples, rng)
            return observed[:, 0], mmd.squared_distances(sums, signs, self.statistic)
        if n != m:
            raise ValueError(
                f"null='wild' swaps rows of pairs: it needs samples of equal size, not "
                f"{n} and {m}; use null='permutation'"
            )
        signs = mmd.swaps(n, self.n_resamples, rng)
        both = np.concatenate([mmd.group_signs(n, n), signs], axis=1)
        values = mmd.swapped_distances(sums, both, self._between(sums, n))
        return values[:, 0], values[:, 1:]

    def _between(self, sums, n):
        """Sums of ``k(x_i, y_i)``, shape (k,)."""
        if not self.kernels_:
            device = sums.device
            return device.get(device.xp.diagonal(sums.rows[:n, n:]).sum())[None]
        return sums.own_pairs(sums.rows[:n], sums.rows[n:])


def spread_scales(X, kernel):
    """Length scales from half of the smallest distance to twice the largest one.

    Schrab et al. (2023), section 5.2, of the distance that the kernel is of.
    """
    apart = pdist(some_rows(X), "cityblock" if kernel == "laplacian" else "euclidean")
    apart = apart[apart > 0]
    if not len(apart):
        return [median_distance(X)]
    low, high = 0.5 * np.quantile(apart, SMALLEST), 2.0 * apart.max()
    return np.geomspace(low, high, N_SCALES).tolist()
