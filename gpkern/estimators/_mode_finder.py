"""`KDEModeFinder`: the modes of a density, and the rows that belong to each."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._device import is_dask
from ..algorithms.bounds import upper_bound
from ..algorithms.mean_shift import ascend
from ..algorithms.mode_search import ModeSearch, nearest_mode
from ..kernels.density import DENSITY_KERNELS, DensityKernel
from . import _density_blocks as in_blocks
from ._bandwidths import RULES
from ._density_field import density_of, field_of
from ._door import (
    ArrayKind,
    _on_host,
    all_or_nothing,
    check_fit_X,
    check_predict_X,
    check_weights,
    choose_device,
    to_numpy_or_cupy,
)
from ._thinning_rows import in_memory

# Share of the places that were climbed from up to which modes of their own are no sign
# that there are more.
MOST_FOUND = 0.25
AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")


class KDEModeFinder(ClusterMixin, BaseEstimator):
    """Modes of a density estimate or of a normal mixture, and a cluster for each.

    Mean shift climbs from many rows at once; its ends are polished by Newton's method,
    proved to be modes by their second derivatives, and merged where the density hardly
    falls between them. In many columns the search goes by random projections. A bound
    says how much denser than the densest mode any place could be; less dense ones may
    be missed where not all rows are seeds.

    Against `sklearn.cluster.MeanShift`: `kde` is the bandwidth, of a smooth kernel, by
    default a Gaussian, whose standard deviation it is (a flat kernel of radius r has
    the same in d columns where it is ``r / sqrt(d + 2)``); `modes_` are the cluster
    centers; and rows belong to the mode that they climb to.

    Parameters
    ----------
    kde : None, float, array-like, str, KernelDensity or fitted mixture, default=None
        The density: a bandwidth of `KernelDensity`; a `KernelDensity`, a clone of which
        is fitted to X even where it is fitted already; or a fitted `GaussianMixture` or
        `BayesianGaussianMixture` of `sklearn.mixture`, which is used as it is. Within a
        `~sklearn.frozen.FrozenEstimator` a fitted `KernelDensity` is used as it is too,
        and either stays so in a clone of the finder, as of a grid search. None is the
        bandwidth "silverman".
    kernel : str or DensityKernel, default="gaussian"
        Of the density, where `kde` is a bandwidth; see `KernelDensity`. For kernels
        that end ("tophat", "epanechnikov", ...) the search is heuristic in any number
        of columns: the box kernel's densest place is hard to find (Luo et al. 2023).
    strategy : {"auto", "full", "project", "grid"}, default="auto"
        "full" climbs in all columns; "project" searches `n_projections` random
        projections and lifts what it finds; "grid", of up to three columns, starts at
        the local maxima of a grid. "auto" is "project" above 64 columns.
    n_projections : int, default=4
        Of "project".
    n_components : int, default=15
        Columns of the projections.
    n_seeds : int or "auto", default="auto"
        Rows to start from: half are the densest that are apart, half drawn. "auto" is
        all of up to 1,000 rows, else 200: where the bandwidth is narrow, there may be
        more modes than these find, of which a warning tells.
    persistence : float, default=0.05
        A mode is merged into a denser one where the density falls by no more than this
        share on the way there. Single rows far out are modes that persist: leave them
        out by `min_weight`.
    min_weight : float, default=0
        Least share of the sample, by weight, that must belong to a mode. Rows of others
        get the label -1, of noise.
    assign : {"ascend", "nearest"}, default="ascend"
        How rows get their labels: by the mode that they climb to, or by the nearest
        one, which is quicker and splits clusters that are not round.
    tolerance : float, default=0.01
        Of `upper_bound_`, in nats: up to which the search for it goes on. Met in up to
        two columns (three, of a mixture); in more the bound is that of the principal
        plane, or of Cauchy-Schwarz, and may be a nat or two above.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Seeds and projections.

    Attributes
    ----------
    modes_ : ndarray of shape (n_modes, n_features)
        The densest first.
    mode_log_density_ : ndarray of shape (n_modes,)
    mode_gradient_norm_ : ndarray of shape (n_modes,)
        Norms of the gradient of the log density: what is left of it by rounding.
    mode_hessian_eigvals_ : ndarray of shape (n_modes, n_features)
        Of the second derivatives of the log density, ascending; all are negative. NaN
        for kernels that are not smooth.
    persistence_ : ndarray of shape (n_modes,)
        Share of the density that is lost on the way to a denser mode; 1 for the first.
    mode_parent_ : ndarray of int, shape (n_modes,)
        The denser mode that each would go into, were it merged; 0 for the first.
    labels_ : ndarray of int, shape (n_samples,)
        Mode of each row, -1 for none; computed when it is first asked for. A Dask
        array where X was one, and lazy where that was large.
    basin_weight_ : ndarray of shape (n_modes,)
        Share of the rows, by weight, that belong to each mode; see `labels_`.
    upper_bound_ : float
        The log density is nowhere larger; certified, and computed when it is first
        asked for.
    certified_gap_ : float
        `upper_bound_` less the largest `mode_log_density_`.
    n_evals_ : int
        Rows at which sums over all rows were taken to find the modes.
    kde_ : estimator
        The density.
    n_features_in_ : int

    References
    ----------
    Lee, Li & Luo (2021), Dimensionality reduction for kernel density mode finding; Luo
    et al. (2023), Dimensionality reduction for general KDE mode finding;
    Carreira-Perpinan (2000, 2007); Chazal et al. (2013), Persistence-based clustering.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from gpkern import KDEModeFinder
    >>> X, y = make_blobs(600, centers=[[0, 0], [6, 0], [0, 6]], random_state=0)
    >>> finder = KDEModeFinder(random_state=0).fit(X)
    >>> finder.modes_.round(0) + 0.0
    array([[0., 6.],
           [0., 0.],
           [6., 0.]])
    >>> finder.predict([[5.0, 1.0]])
    array([2])
    """

    _parameter_constraints = {
        "kde": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions(set(RULES)),
            HasMethods("score_samples"),
            "array-like",
            None,
        ],
        "kernel": [StrOptions(set(DENSITY_KERNELS)), DensityKernel],
        "strategy": [StrOptions({"auto", "full", "project", "grid"})],
        "n_projections": [AT_LEAST_ONE],
        "n_components": [AT_LEAST_ONE],
        "n_seeds": [AT_LEAST_ONE, StrOptions({"auto"})],
        "persistence": [Interval(Real, 0, 1, closed="left")],
        "min_weight": [Interval(Real, 0, 1, closed="left")],
        "assign": [StrOptions({"ascend", "nearest"})],
        "tolerance": [Interval(Real, 0, None, closed="neither")],
        "device": [str, None],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        kde=None,
        *,
        kernel="gaussian",
        strategy="auto",
        n_projections=4,
        n_components=15,
        n_seeds="auto",
        persistence=0.05,
        min_weight=0.0,
        assign="ascend",
        tolerance=0.01,
        device=None,
        random_state=None,
    ):
        self.kde = kde
        self.kernel = kernel
        self.strategy = strategy
        self.n_projections = n_projections
        self.n_components = n_components
        self.n_seeds = n_seeds
        self.persistence = persistence
        self.min_weight = min_weight
        self.assign = assign
        self.tolerance = tolerance
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None, sample_weight=None):
        """Find the modes.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_samples, n_features)
            The sample; where `kde` is fitted already, rows to be labelled. Of a Dask
            array with more than 20,000 rows the sample stays in its blocks, and each
            step of the search is a pass over these: call ``X.persist()`` first where
            the workers can hold it. Its rows get labels with ``assign="nearest"``
            alone. Of very many rows it is quicker, and labels come by either way, to
            find the modes of some: pass as `kde` a frozen `KernelDensity` of the rows
            that `KernelThinning` keeps.
        y : Ignored
        sample_weight : array-like or dask.array.Array of shape (n_samples,), \
default=None
            Of the sample.

        Returns
        -------
        self
        """
        self._validate_params()
        kind = ArrayKind(X)
        X, self._blocks = in_memory(check_fit_X(self, X, sparse_ok=False)), None
        if is_dask(X) and in_blocks.is_few(X):
            self._blocks = X.chunks[0]
            X, sample_weight = in_blocks.gathered(X, sample_weight)
        check_weights(sample_weight, X, np.float64)
        self.kde_ = density_of(self, X, sample_weight)
        if self.min_weight > 0 and is_dask(X):
            in_blocks.check_can_label(self, f"min_weight={self.min_weight}")
        device = self._device(X)
        field, whitening, log_unit = field_of(self.kde_, device)
        search = ModeSearch(
            self.strategy,
            None if self.n_seeds == "auto" else self.n_seeds,
            self.n_projections,
            self.n_components,
            self.persistence,
        )
        found = search.run(field, check_random_state(self.random_state))
        self._rows, self._row_weights = kind.out(device.put(X)), sample_weight
        self._labels, self._found, self._log_unit = None, found, log_unit
        if self.min_weight > 0:
            small = self._weights_of(len(found.kept)) < self.min_weight
            if small.all():
                raise ValueError(
                    f"min_weight={self.min_weight} is more than any mode has: lower it"
                )
            self._found = found.without(small)
            number = np.where(small, -1, np.cumsum(~small) - 1)
            self._labels = in_blocks.renumbered(self._labels, number, device, kind)
        self._store(field, whitening, kind)
        if not found.is_exhaustive and len(found.points) > MOST_FOUND * found.n_starts:
            warnings.warn(
                f"{len(found.points)} modes were found from {found.n_starts} places, "
                "so that there are likely to be more: set a wider bandwidth as kde, or "
                "a larger n_seeds",
                stacklevel=3,
            )
        return self

    def predict(self, X):
        """The mode that each row belongs to.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n_queries, n_features)
            Rows of a Dask array do not climb the density of a sample in blocks: that
            takes ``assign="nearest"``.

        Returns
        -------
        ndarray of int, shape (n_queries,)
            Numbers of the rows of `modes_`. A lazy Dask array where X is one.
        """
        check_is_fitted(self)
        kind = ArrayKind(X)
        X = in_memory(check_predict_X(self, X, sparse_ok=False))
        return in_blocks.labels_of(self, X) if is_dask(X) else self._assigned(X, kind)

    def _assigned(self, X, kind):
        """`predict` of rows that have been checked."""
        device = self._device(X, predicting=True)
        with device.here():
            field, whitening, _ = field_of(self.kde_, device)
            rows = whitening.into(device.xp.asarray(device.put(X)), device.xp)
            if self.assign == "ascend":
                run = ascend(field, rows)
                ends, place = run.ends, run.place
            else:
                ends, place = rows, device.xp.arange(len(rows))
            found = self._found
            labels = nearest_mode(device.get(ends), found.points, found.label)
            return kind.out(device.xp.asarray(labels)[place])

    @property
    def labels_(self):
        """Mode of each row of the sample."""
        check_is_fitted(self)
        if self._labels is None:
            rows = self._rows
            if is_dask(rows):
                in_blocks.check_can_label(self, "labels_")
                self._labels = in_blocks.labels_of(self, rows)
            else:
                kind, rows = ArrayKind(rows), to_numpy_or_cupy(rows)
                self._labels = self._assigned(rows, kind)
        return in_blocks.as_blocks(self._labels, self._blocks)

    @property
    def basin_weight_(self):
        """Share of the sample that belongs to each mode."""
        return self._weights_of(len(self.modes_))

    @property
    def upper_bound_(self):
        """What the log density exceeds nowhere."""
        check_is_fitted(self)
        if self._bound is None:
            device = self._device(self._rows, predicting=True)
            with device.here():
                field, _, log_unit = field_of(self.kde_, device)
                found = float(self.mode_log_density_[0]) + log_unit
                if hasattr(field, "bound"):
                    bound = field.bound(found, self.tolerance)
                else:
                    bound = upper_bound(field.exact(), found, self.tolerance)
            self._bound = bound - log_unit
        return self._bound

    @property
    def certified_gap_(self):
        """How much denser than the densest mode an unseen one could be, in nats."""
        return self.upper_bound_ - float(self.mode_log_density_[0])

    # ------------------------------------------------------------------ inside

    def _weights_of(self, count):
        """Share of the sample in each of so many basins."""
        labels = self.labels_
        if is_dask(self._rows):
            # Held by the workers from now on, as all of them have been computed.
            self._labels = choose_device("cpu").keep(labels)
            return in_blocks.shares_of(self._labels, self._row_weights, count)
        labels = np.asarray(_on_host(self._labels))
        weights = check_weights(self._row_weights, labels, np.float64)
        weights = np.ones(len(labels)) if weights is None else weights / weights.max()
        found = labels >= 0
        shares = np.bincount(labels[found], weights[found], minlength=count)
        return shares / weights.sum()

    def _device(self, X, predicting=False):
        """Where to compute, which follows the rows, or a sample in blocks."""
        points = getattr(self.kde_, "_points", None)
        arrays = (X, points) if is_dask(points) else (X,)
        return choose_device(self.device, *arrays, predicting=predicting)

    def _store(self, field, whitening, kind):
        found, log_unit = self._found, self._log_unit
        xp, device = field.device.xp, field.device
        kept, points = found.kept, xp.asarray(found.points)
        slopes = whitening.gradient_back(field.exact().gradient(points[kept]), xp)
        self.modes_ = kind.out(whitening.back(points[kept], xp))
        self.mode_log_density_ = found.values[kept] - log_unit
        self.mode_gradient_norm_ = device.get(xp.sqrt((slopes**2).sum(axis=1)))
        bends = np.full((len(kept), points.shape[1]), np.nan)
        if field.is_smooth:
            H = whitening.hessian_back(field.exact().hessian(points[kept]), xp)
            bends = device.get(xp.linalg.eigvalsh(H))
        self.mode_hessian_eigvals_ = bends
        self.persistence_ = found.persistence[kept]
        self.mode_parent_ = found.parents
        self.n_evals_ = found.n_evaluations
        self._bound = None
