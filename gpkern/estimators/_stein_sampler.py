"""`SteinSampler`: particles that move until they stand for a density."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from .._device import is_cupy
from ..algorithms.mirror_maps import MAPS, mirror_map
from ._domains import DirichletTarget, DomainScore, columns_of, target_of
from ._door import ArrayKind, all_or_nothing, check_fit_X, choose_device
from ._gathered import gathered
from ._parameters import AT_LEAST_ONE, RUN
from ._stein_flow import SteinFlow, checked_particles
from ._testing import BASES

# Steps between the lines of `verbose`.
PRINT_EVERY = 100


class SteinSampler(CallbackSupportMixin, BaseEstimator):
    """Draw from a density by particles that move together.

    Each particle is pulled up the density and pushed away by the others, until all of
    them rest. A hundred particles that rest stand for the density better than as many
    independent draws. They are found by the score alone, the gradient of the log
    density, and, with mirror maps, on domains with edges: the simplex, positive
    numbers, a cube.

    Parameters
    ----------
    target : object, default=None
        The density: a function that returns the scores of rows (of random subsets of
        data too, when each call draws one), a frozen distribution of `scipy.stats`,
        ``scipy.stats.dirichlet(alpha)`` on the simplex, or anything of `KSDTest`.
    method : {"auto", "svgd", "msvgd", "svmd", "svng"}, default="auto"
        "auto": "svgd" on "real", "msvgd" on domains with edges.
        "svgd": Stein variational gradient descent. On a domain with edges, particles
        are moved back to the nearest point that is 1e-6 inside of it: a baseline,
        whose particles pile up at edges where the density does not vanish.
        "msvgd": the same in dual coordinates of the domain's mirror map.
        "svmd": with a kernel that knows the geometry of that map; it takes an
        eigendecomposition of the Gram matrix a step, and leaves out the least 2% of
        it, with details of the density that need them.
        "svng": natural gradients, where columns differ much in scale, or correlate; on
        domains with edges in dual coordinates and with a kernel of these, which suits
        densities that vanish at the edges.
    domain : {"real", "simplex", "orthant", "cube"}, default="real"
        Where the density lives. "simplex": rows have all D coordinates, positive and
        of sum 1. "orthant": positive numbers. "cube": from -1 to 1 in all columns.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
        ``(1 + |x - y|^2 / l^2)^(-1/2)``, ``exp(-|x - y|^2 / (2 l^2))``, or a smooth
        kernel of the Euclidean distance of points of the domain, in all columns; of
        "svng" of dual coordinates.
    length_scale : float, "median" or None, default=None
        The l. "median" is the median distance of the particles, estimated again in
        each step. None is "median" for a kernel given by name, and a kernel object's
        own.
    n_particles : int, default=100
        Where `fit` is given none to start from.
    step_size : float, default=0.1
        Length of a step: of "rmsprop" and "adagrad" that of each entry in the first
        one, in the units of the columns, or on a domain with edges in those of dual
        coordinates, such as logarithms.
    schedule : {"rmsprop", "adagrad", "constant"} or callable, default="rmsprop"
        "rmsprop" divides each entry of the direction by the root of its mean square
        over some ten steps, so that particles move about `step_size` in each step,
        `max_iter` times as far at most; in the second half of `max_iter` steps become
        shorter and shorter, since they would go to and fro otherwise. "adagrad" divides
        by the root of the sum over all steps: it rests sooner than `max_iter` steps, or
        moves too little where `step_size` is small. "constant" goes `step_size`
        times the direction; a function of the number of the step, from 0, is a factor
        of that.
    metric : callable or None, default=None
        Of "svng" on "real": ``metric(X) -> (n, d, d)``, positive definite matrices at
        particles, such as Fisher information, in the array library of X. None is the
        mean product of scores over particles and steps, one for all particles, and on
        domains with edges that of dual coordinates.
    max_iter : int, default=1000
        Steps.
    tol : float, default=1e-4
        Particles rest when the root mean square of a step is below this share of their
        spread; not of "rmsprop", whose steps do not tell. A warning says where they
        did not come to rest.
    warm_start : bool, default=False
        Whether ``fit()`` without particles goes on from ``samples_``.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute, in float64; None follows the particles.
    random_state : int, RandomState or None, default=None
        Of the particles to start from.
    verbose : int, default=0
        Print the length of every 100th step.

    Attributes
    ----------
    samples_ : array of shape (n_particles, n_features), float64
        Where the particles have come to.
    method_ : str
        What "auto" stands for.
    n_iter_ : int
        Steps.
    step_norms_ : ndarray of shape (n_iter_,)
        Root mean square of each step, of dual coordinates on domains with edges.
    kernel_ : Kernel
        With the length scale of the last step.
    n_features_in_ : int

    See Also
    --------
    KSDTest : Tells whether the particles stand for the density.
    SteinThinning : Chooses among draws of a Markov chain.

    Notes
    -----
    On the simplex, scores are derivatives by all D coordinates of the log density as a
    function of D numbers, whatever extends it off the simplex: those of a Dirichlet
    density are ``(alpha - 1) / x``. A target that has ``n_features = D - 1``, as
    ``gpkern.targets.Score(f, n_features=D - 1)``, is given the first D - 1 coordinates
    alone, and its scores are derivatives by these, where the last one is 1 less their
    sum.

    In many columns the particles of SVGD spread less than the density does, the more so
    the fewer they are. Modes far apart get shares that depend on the start.

    A step takes time in proportion to ``n_particles^2 n_features``, of "svmd" and
    "svng" with a metric also to ``n_particles^3``. Up to 2,048 particles the Gram
    matrix is held in memory.

    Callbacks of scikit-learn (1.9), as progress bars, are told of each step; one that
    returns True from ``on_fit_task_end`` ends the fit.

    Target and metric are given NumPy arrays where the particles have been, also with a
    `device` elsewhere, and CuPy arrays where these have been CuPy.

    References
    ----------
    Liu & Wang (2016), Stein variational gradient descent, algorithm 1; Shi, Liu &
    Mackey (2022), Sampling with mirrored Stein operators, sections 3 to 5.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import SteinSampler
    >>> sampler = SteinSampler(lambda X: 3.0 - X, random_state=0)
    >>> X = sampler.fit(np.random.default_rng(0).normal(size=(50, 2))).samples_
    >>> bool(np.abs(X.mean(axis=0) - 3.0).max() < 0.05)
    True

    Shares of sum 1:

    >>> from scipy import stats
    >>> sampler = SteinSampler(
    ...     stats.dirichlet([5.0, 3.0, 2.0]),
    ...     domain="simplex",
    ...     n_particles=30,
    ...     random_state=0,
    ... )
    >>> sampler.fit().samples_.mean(axis=0).round(1)
    array([0.5, 0.3, 0.2])
    """

    _parameter_constraints = {
        **RUN,
        "target": [object],
        "method": [StrOptions({"auto", "svgd", "msvgd", "svmd", "svng"})],
        "domain": [StrOptions(set(MAPS))],
        "kernel": [StrOptions(set(BASES)), Kernel],
        "length_scale": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median"}),
            None,
        ],
        "n_particles": [Interval(Integral, 2, None, closed="left")],
        "step_size": [Interval(Real, 0, None, closed="neither")],
        "schedule": [StrOptions({"rmsprop", "adagrad", "constant"}), callable],
        "metric": [callable, None],
        "max_iter": [AT_LEAST_ONE],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        target=None,
        *,
        method="auto",
        domain="real",
        kernel="imq",
        length_scale=None,
        n_particles=100,
        step_size=0.1,
        schedule="rmsprop",
        metric=None,
        max_iter=1000,
        tol=1e-4,
        warm_start=False,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.target = target
        self.method = method
        self.domain = domain
        self.kernel = kernel
        self.length_scale = length_scale
        self.n_particles = n_particles
        self.step_size = step_size
        self.schedule = schedule
        self.metric = metric
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    @with_callbacks
    def fit(self, X=None, y=None):
        """Move particles to the density.

        Parameters
        ----------
        X : array-like of shape (n_particles, n_features), default=None
            Particles to start from, inside of the domain. None: draws of a normal
            distribution with variance 1, log-normal on the orthant, uniform on the
            cube, Dirichlet with alpha 2 on the simplex. Fewer steps are needed from
            draws that are spread as widely as the density, or wider. The rows of a Dask
            array are gathered.
        y : Ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For particles on or outside of the edge of the domain, scores that are not
            finite, steps that are too long, and parameters that do not fit together.
        """
        self._validate_params()
        self._check_combination()
        target = target_of(self.target, self.domain)
        goes_on = X is None and self.warm_start and hasattr(self, "samples_")
        X = self.samples_ if goes_on else self._start(X, target)
        kind = ArrayKind(X)
        points = check_fit_X(self, X, sparse_ok=False, ensure_min_samples=2)
        points = gathered(points, "all particles move at once: pass fewer")
        device = choose_device(self.device, points)
        xp = device.xp
        mirror = mirror_map(self.domain, xp)
        on_host = not is_cupy(points)
        points = xp.asarray(device.put(points), dtype=np.float64)
        name = "samples_, from which warm_start goes on," if goes_on else "X"
        points = checked_particles(points, mirror, name)
        score = DomainScore(target, self.domain, points.shape[1], device, on_host)
        flow = SteinFlow(self, points, score, mirror, device)
        callbacks = FitCallbacks(self, self.max_iter)

        def report(norms):
            if self.verbose and len(norms) % PRINT_EVERY == 0:
                print(f"[SteinSampler] step {len(norms)}: {norms[-1]:.3g} long")
            return callbacks.step_end()

        samples, norms = flow.run(points, report)
        callbacks.end()
        if flow.is_restless:
            warnings.warn(
                f"the particles did not come to rest in max_iter={self.max_iter} steps,"
                " where a step would be below tol of their spread: raise max_iter or "
                "step_size, or use schedule='rmsprop'",
                ConvergenceWarning,
                stacklevel=4,
            )
        self.samples_ = kind.out(samples)
        self.n_iter_, self.step_norms_ = len(norms), np.array(norms)
        self.kernel_ = flow.kernel()
        return self

    def _check_combination(self):
        """An error for parameters that do not fit together; sets `method_`."""
        own = "svgd" if self.domain == "real" else "msvgd"
        self.method_ = own if self.method == "auto" else self.method
        if self.metric is not None and self.method != "svng":
            raise ValueError(f"metric belongs to method='svng', not {self.method!r}")
        if self.metric is not None and self.domain != "real":
            raise ValueError(
                f"metric is for domain='real', not {self.domain!r}: leave it None, "
                "which estimates one of the dual coordinates"
            )

    def _start(self, X, target):
        """The particles to start from, as they are given or drawn."""
        if X is not None:
            return X
        d = columns_of(target)
        if self.domain == "simplex" and not isinstance(target, DirichletTarget):
            raise ValueError(
                "X=None: on the simplex a target may be a function of D or of D - 1 "
                "coordinates; pass particles to start from, of D columns, as X"
            )
        rng = check_random_state(self.random_state)
        return mirror_map(self.domain).draw(self.n_particles, d, rng)
