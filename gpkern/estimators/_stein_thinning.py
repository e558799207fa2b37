"""`SteinThinning`: a few draws of MCMC output that stand for the density itself."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import RBF, Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._device import is_dask
from ..algorithms import coresets, stein_thinning
from ..kernels import InverseMultiquadric
from ..operator import make_operator
from ..targets import as_target
from ._chains import (
    check_gradients,
    gathered,
    read_draws,
    read_statistic,
    scores_of,
)
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._parameters import RUN
from ._thinning_rows import rows_of, size_of, whole

BASES = {"imq": InverseMultiquadric, "rbf": RBF}


class SteinThinning(BaseEstimator):
    """Choose draws of MCMC output that stand for the density that was sampled.

    What counts is the density's score, the gradient of its logarithm, and not where
    the draws come from: a burn-in is left out, and the bias of chains that have not
    converged, or of an approximate sampler, is corrected as far as the draws allow. Of
    chains that have converged `KernelThinning` stands for the draws more closely; and
    where the density has a funnel, or modes far apart, the greedy choice can be worse
    than every k-th draw.

    Parameters
    ----------
    n_samples : int, float or None, default=None
        Draws to choose; a share of them below 1; None for the square root of n.
    method : {"greedy", "debiased"}, default="greedy"
        "greedy" takes one draw after another, each of which leaves the least kernel
        Stein discrepancy. "debiased" takes many in this way, halves these until
        n_samples are left, and exchanges them for better ones. It is nearer to the
        density, far nearer where that has several modes or long tails, and takes
        some ten times longer. ``refine="converge"`` with "greedy" often gets as near in
        a fraction of that.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
        Base of the Stein kernel, see `SteinKernel`: the inverse multiquadric, a
        Gaussian, or any smooth kernel of the Euclidean distance.
    length_scale : float, "median", "scaled_median" or None, default=None
        Of the base, in standardised coordinates: the median distance of draws, or that
        over ``sqrt(log(min(n, 1000)))``. None is "median" for a kernel given by name,
        and a kernel object's own.
    standardize : bool or "whiten", default=True
        Whether each column is divided by its mean absolute deviation; "whiten" makes
        the covariance of the draws the identity.
    target : object, default=None
        A function of rows, shape (n, n_features), that returns their scores, or another
        density that `gpkern.targets.as_target` takes: a fitted mixture, a distribution
        of `scipy.stats`. It stands in for `scores` in `fit`.
    regularization : float or "auto", default="auto"
        Weight of the log density, where `fit` is given it; "auto" is 1 / n_samples.
    oversampling : int or "auto", default="auto"
        Of "debiased": the first step takes ``2^oversampling`` times n_samples draws.
        "auto" is as many as there are draws, above 20,000 fewer.
    refine : "auto", "converge" or int, default="auto"
        Passes over the chosen draws in which each is exchanged for the best one, or
        until a pass changes nothing. "auto" is none for "greedy", which keeps its
        order, and "converge" for "debiased".
    unique : bool, default=False
        Whether a draw may be chosen only once.
    weights : {None, "simplex", "sum-to-one"}, default=None
        Weights of the chosen draws that leave the least discrepancy: not negative, or
        of any sign; None for equal ones.
    device : {None, "cpu", "cuda", "cuda:N"} or list of "cuda:N", default=None
        Where to compute, in float64; None follows the data.
    random_state : int, RandomState or None, default=None
        Rows of the median above 1,000, and coins of the halving.
    verbose : int, default=0
        Print what was chosen, and how near it is.

    Attributes
    ----------
    sample_indices_ : ndarray of int, shape (n_samples,)
        The chosen rows: "greedy" in the order of choice, so that the first of them
        are the choice of fewer, otherwise sorted. Draw j of chain i is row
        ``i * n_draws + j``.
    weights_ : ndarray of shape (n_samples,)
        Their weights; sum 1.
    ksd_ : float
        Kernel Stein discrepancy of the weighted draws.
    objective_path_ : list of float
        Squared discrepancy of the first 1, 2, ... draws chosen; where draws were
        exchanged, that after each pass.
    debiased_weights_ : ndarray of shape (n,) or None
        Of "debiased": weights of all draws after the first step, sum 1.
    kernel_ : SteinKernel
        Its rows are standardised draws and scores, side by side.
    scale_ : ndarray of shape (n_features,) or (n_features, n_features)
        Divisors of the columns, or the lower Cholesky factor that whitens.
    n_features_in_ : int

    References
    ----------
    Riabiz et al. (2022), Optimal thinning of MCMC output, algorithm 1; Benard, Staber &
    Da Veiga (2023), Kernel Stein discrepancy thinning, section 3; Li, Dwivedi & Mackey
    (2024), Debiased distribution compression, algorithm 1.

    Examples
    --------
    A chain that comes from far away, of the standard normal distribution:

    >>> import numpy as np
    >>> from gpkern import SteinThinning
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(1000, 2))
    >>> X[:300] += 5.0
    >>> thinning = SteinThinning(30).fit(X, scores=-X)
    >>> int((thinning.sample_indices_ < 300).sum())
    0
    >>> bool(np.abs(X[thinning.sample_indices_].mean(axis=0)).max() < 0.1)
    True

    Chains of an ArviZ data set whose sampler has stored gradients: ``fit(idata)``, or
    ``fit(idata.posterior[["mu"]], scores=gradients)`` with those of another source.
    """

    _parameter_constraints = {
        **RUN,
        "n_samples": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
            None,
        ],
        "method": [StrOptions({"greedy", "debiased"})],
        "kernel": [StrOptions(set(BASES)), Kernel],
        "length_scale": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median", "scaled_median"}),
            None,
        ],
        "standardize": ["boolean", StrOptions({"whiten"})],
        "target": [object],
        "regularization": [
            Interval(Real, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "oversampling": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "refine": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto", "converge"}),
        ],
        "unique": ["boolean"],
        "weights": [StrOptions({"simplex", "sum-to-one"}), None],
    }

    def __init__(
        self,
        n_samples=None,
        *,
        method="greedy",
        kernel="imq",
        length_scale=None,
        standardize=True,
        target=None,
        regularization="auto",
        oversampling="auto",
        refine="auto",
        unique=False,
        weights=None,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.n_samples = n_samples
        self.method = method
        self.kernel = kernel
        self.length_scale = length_scale
        self.standardize = standardize
        self.target = target
        self.regularization = regularization
        self.oversampling = oversampling
        self.refine = refine
        self.unique = unique
        self.weights = weights
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X, y=None, *, scores=None, log_density=None, second_derivatives=None):
        """Choose draws.

        Parameters
        ----------
        X : array-like of shape (n, n_features) or (chain, draw, n_features)
            The draws; also an xarray Dataset, or ArviZ's InferenceData or DataTree.
            Their variables become columns, one after another. With gradients that the
            sampler has stored, the draws are the unconstrained ones, if there are any.
            A dask.array.Array or Dask DataFrame is gathered, with its scores: both must
            fit in memory, as each choice is of all draws. Workers call the target.
        y : Ignored
        scores : array-like of the shape of X, Dataset, str or list of str, default=None
            Gradients of the log density by the coordinates of X: of the log density,
            not of the potential energy, its negative. Names are those of variables
            in ``X.sample_stats``; of ArviZ data, None is a variable "gradient",
            "grad", "score" or "scores" there.
        log_density : array-like of shape (n,) or (chain, draw) or str, default=None
            Log density of the draws, up to a constant. With it the choice prefers
            draws of high density to saddles and valleys, whose scores are as small.
        second_derivatives : array-like of the shape of X or str, default=None
            Of the log density, by each coordinate twice. Where they are positive,
            in valleys, draws are avoided.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Where there are no scores, they do not have the shape of X, or are not
            finite; the message counts such rows.
        """
        self._validate_params()
        target = None if self.target is None else as_target(self.target).score
        draws = read_draws(X, scores, target)
        kind = ArrayKind(X)
        points = check_fit_X(self, draws.points, sparse_ok=False)
        if is_dask(points):
            draws = gathered(draws, points, target)
            points, scores = draws.points, draws.scores
        else:
            scores = scores_of(draws, points, target, kind)
        size = size_of(self.n_samples, points.shape[0])
        second = whole(read_statistic(X, second_derivatives, "second_derivatives"))
        log_density = whole(read_statistic(X, log_density, "log_density", axes=2))
        device = choose_device(self.device, points, scores, second, log_density)
        operator, scale = self._operator(points, scores, device)
        penalty = self._penalty(points, second, scale, device)
        reward = self._reward(points, log_density, size, device)
        chosen, self.objective_path_, weights = self._choice().choose(
            operator, size, penalty, reward, check_random_state(self.random_state)
        )
        self.debiased_weights_ = (
            None if weights is None else kind.out(device.put(weights))
        )
        self.sample_indices_ = kind.out(device.put(chosen))
        self.scale_ = kind.out(scale)
        self._weigh(operator, chosen, kind)
        if self.verbose:
            print(
                f"[SteinThinning] {size} of {len(points)} draws of {draws.n_chains} "
                f"chains, KSD {self.ksd_:.3g}"
            )
        return self

    def fit_resample(
        self, X, y=None, *, scores=None, log_density=None, second_derivatives=None
    ):
        """Choose draws, and return them with what belongs to them.

        Parameters
        ----------
        X, scores, log_density, second_derivatives
            Of `fit`.
        y : array-like of shape (n, ...), default=None
            A row for each draw, one chain after another.

        Returns
        -------
        X : array of shape (n_samples, n_features)
            Of a Dask array one too, which is lazy.
        y : array of shape (n_samples, ...), where it was given
        """
        self.fit(
            X,
            scores=scores,
            log_density=log_density,
            second_derivatives=second_derivatives,
        )
        points = read_draws(X, scores, self.target).points
        rows = to_numpy_or_cupy(self.sample_indices_)

        def chosen(array):
            if is_dask(array):
                return rows_of(array, rows)
            return rows_of(to_numpy_or_cupy(array), rows)

        X = ArrayKind(X).out(chosen(points))
        return X if y is None else (X, ArrayKind(y).out(chosen(y)))

    def _operator(self, points, scores, device):
        """Stein kernel of the standardised draws, and their scale; sets `kernel_`."""
        xp = device.xp
        points, scores = (xp.asarray(device.put(a)) for a in (points, scores))
        points, scores, scale = stein_thinning.standardise(
            points.astype(np.float64),
            scores.astype(np.float64),
            self.standardize,
            device,
        )
        if stein_thinning.looks_reversed(points, scores):
            warnings.warn(
                "scores grow along most steps, as gradients of the potential energy "
                "do, the negative log density: such must be passed with the other sign",
                UserWarning,
                stacklevel=4,
            )
        base, length_scale = self.kernel, self.length_scale
        if isinstance(base, str):
            base = BASES[base]()
            length_scale = "median" if length_scale is None else length_scale
        self.kernel_ = stein_thinning.stein_kernel(
            base, points, length_scale, self.random_state
        )
        rows = xp.concatenate([points, scores], axis=1)
        operator = make_operator(self.kernel_, rows, None, device, dtype=np.float64)
        return operator, scale

    def _penalty(self, points, second_derivatives, scale, device):
        """What is added to the objective of each draw, or None."""
        if second_derivatives is None:
            return None
        self._check_is_plain("second_derivatives")
        if self.standardize == "whiten":
            raise ValueError(
                "second_derivatives are those of each column, which "
                "standardize='whiten' mixes: use standardize=True"
            )
        values = check_gradients(second_derivatives, points, "second_derivatives")
        return device.xp.maximum(device.put(values) * scale**2, 0.0).sum(axis=1)

    def _reward(self, points, log_density, size, device):
        """What is taken from it with each step, or None."""
        if log_density is None:
            return None
        self._check_is_plain("log_density")
        weight = self.regularization
        weight = 1.0 / size if weight == "auto" else weight
        values = check_gradients(log_density, points[:, 0], "log_density")
        return weight * device.put(values).astype(np.float64)

    def _check_is_plain(self, name):
        if self.method != "greedy" or self._passes() != 0:
            raise ValueError(
                f"{name} belongs to the greedy choice alone: use method='greedy' and "
                "refine=0, or leave it out"
            )

    def _passes(self):
        """Passes of exchanges; None until one changes nothing."""
        if self.refine == "auto":
            return 0 if self.method == "greedy" else None
        return None if self.refine == "converge" else self.refine

    def _choice(self):
        return stein_thinning.SteinChoice(
            self.method,
            None if self.oversampling == "auto" else self.oversampling,
            self._passes(),
            self.unique,
        )

    def _weigh(self, operator, chosen, kind):
        """`weights_`, equal or those of least discrepancy, and `ksd_`."""
        rows, place, count = np.unique(chosen, return_inverse=True, return_counts=True)
        K, mean = coresets.block(operator, rows), np.zeros(len(rows))
        if self.weights is None:
            weights = count / len(chosen)
        elif self.weights == "simplex":
            weights = coresets.simplex_weights(K, mean)
        else:
            weights = coresets.affine_weights(K, mean)
        self.ksd_ = coresets.distance_of(float(weights @ K @ weights))
        # What a row has is shared out among its places.
        self.weights_ = kind.out(operator.device.put((weights / count)[place]))
