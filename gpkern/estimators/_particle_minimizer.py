"""`ParticleMinimizer`: particles with velocities that minimise a discrepancy."""

from __future__ import annotations

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from .._callbacks import CallbackSupportMixin, FitCallbacks, with_callbacks
from .._device import is_cupy
from ..algorithms import langevin
from ..algorithms.particles import DivergenceError
from ..kernels import median_distance, resolve_kernel
from ..kernels.program import Program
from ..kernels.stein import BaseSlope
from ._domains import REMEDY, DomainScore, columns_of, target_of
from ._door import ArrayKind, all_or_nothing, check_fit_X, choose_device
from ._gathered import gathered
from ._parameters import AT_LEAST_ONE, RUN
from ._testing import BASES

POSITIVE = Interval(Real, 0, None, closed="neither")
# An automatic step, in units of the length scale, beyond which nothing is felt.
LONGEST = 1e4
# Times at which the discrepancy is noted.
NOTES = 10


class ParticleMinimizer(CallbackSupportMixin, BaseEstimator):
    """Move particles until they stand for a sample, or for a density.

    Particles with velocities, friction and noise follow the slopes of half a squared
    discrepancy: the MMD to a sample, or the kernel Stein discrepancy to a density
    (mean-field underdamped Langevin dynamics). Unlike the rows that `KernelThinning`
    chooses, particles are new points.

    On an MMD nothing that was tried beat plain gradient descent with noise that falls
    to 0, ``integrator="euler"``, by more than a constant; and to stand for a density,
    particles of `SteinSampler` get there in fewer and cheaper steps. What velocities
    give are long steps without bias at a temperature above 0.

    Parameters
    ----------
    target : object, default=None
        A density, see `SteinSampler`: the particles minimise the kernel Stein
        discrepancy to it. None: the MMD to the sample X of `fit`.
    n_particles : int, default=100
        Where none to start from are given.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
        ``(1 + |x - y|^2 / l^2)^(-1/2)``, ``exp(-|x - y|^2 / (2 l^2))``, or a smooth
        kernel of the Euclidean distance.
    length_scale : float, "median" or None, default=None
        The l: "median" is the median distance of X. None is "median" for a kernel given
        by name, and a kernel object's own.
    integrator : {"baoab", "exact-ou", "euler"}, default="baoab"
        "baoab" has no bias where forces are linear, and one force a step. "exact-ou"
        takes the force as constant during a step, the published scheme; its steps must
        be shorter. "euler" has no velocities: noisy gradient descent.
    step_size : float or "auto", default="auto"
        Of time, for particles in units of l, or of the columns for a kernel object's
        own l. "auto" is half of what is stable at the start.
    friction : float, default=1.0
        Of velocities, per unit of time.
    temperature : float, default=1e-4
        Weight of the entropy, which noise brings in: many particles minimise half the
        squared discrepancy less `temperature` times the entropy, in units of l.
    anneal : bool, default=True
        Whether the temperature falls to 0 over the second half of the steps, so that
        particles come to rest where the discrepancy itself is least.
    max_iter : int, default=1000
        Steps.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute, in float64; None follows X.
    random_state : int, RandomState or None, default=None
        Of the start and the noise, which are drawn on the host.
    verbose : int, default=0
        Print the discrepancy ten times.

    Attributes
    ----------
    samples_ : array of shape (n_particles, n_features), float64
    discrepancy_ : float
        The squared discrepancy of the particles, pairs of one with itself included.
    discrepancy_path_ : ndarray of shape (n_notes,)
        That at the start and, evenly spaced, ten times later, the last after all
        steps.
    step_size_ : float
    kernel_ : Kernel
    n_iter_ : int
    n_features_in_ : int

    Notes
    -----
    A step takes time in proportion to the particles times the rows of X, and the
    discrepancy itself, once, to the square of the rows.

    For a density a step evaluates the scores of all particles three times: second
    derivatives of its logarithm are products that come from differences. Scores of
    random subsets of data will not do.

    The discrepancy to a density has other stationary points too: particles that all
    start on one side of it, or where it bends the wrong way, can get stuck, and shares
    of modes far apart are not seen.

    References
    ----------
    Fu & Wilson (2023), Mean-field underdamped Langevin dynamics and its spacetime
    discretization; Leimkuhler & Matthews (2013), Rational construction of stochastic
    numerical methods for molecular sampling; Korba et al. (2021), Kernel Stein
    discrepancy descent; Arbel et al. (2019), Maximum mean discrepancy gradient flow.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import ParticleMinimizer
    >>> X = np.random.default_rng(0).normal(3.0, 1.0, size=(500, 2))
    >>> model = ParticleMinimizer(n_particles=40, random_state=0).fit(X)
    >>> model.samples_.shape
    (40, 2)
    >>> bool(model.discrepancy_ < 0.1 * model.discrepancy_path_[0])
    True
    """

    _parameter_constraints = {
        **RUN,
        "target": [object],
        "n_particles": [AT_LEAST_ONE],
        "kernel": [StrOptions(set(BASES)), Kernel],
        "length_scale": [POSITIVE, StrOptions({"median"}), None],
        "integrator": [StrOptions(set(langevin.INTEGRATORS))],
        "step_size": [POSITIVE, StrOptions({"auto"})],
        "friction": [POSITIVE],
        "temperature": [Interval(Real, 0, None, closed="left")],
        "anneal": ["boolean"],
        "max_iter": [AT_LEAST_ONE],
    }

    def __init__(
        self,
        target=None,
        *,
        n_particles=100,
        kernel="imq",
        length_scale=None,
        integrator="baoab",
        step_size="auto",
        friction=1.0,
        temperature=1e-4,
        anneal=True,
        max_iter=1000,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.target = target
        self.n_particles = n_particles
        self.kernel = kernel
        self.length_scale = length_scale
        self.integrator = integrator
        self.step_size = step_size
        self.friction = friction
        self.temperature = temperature
        self.anneal = anneal
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    @with_callbacks
    def fit(self, X=None, y=None, *, start=None):
        """Move particles.

        Parameters
        ----------
        X : array-like of shape (n, n_features), default=None
            Without a target the sample that they are to stand for. With one the
            particles to start from; their median distance is the length scale, so
            that they should be spread about as widely as the density. None, with a
            target: draws of a normal distribution with variance 1. The rows of a Dask
            array are gathered.
        y : Ignored
        start : array-like of shape (n_particles, n_features), default=None
            Without a target: particles to start from. None: normal ones, with the
            means and standard deviations of the columns of X.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For scores that are not finite, steps that are too long, kernels that are
            not smooth enough, and a start that does not fit X.
        """
        self._validate_params()
        rng = check_random_state(self.random_state)
        target = None if self.target is None else target_of(self.target)
        if X is None:
            X = self._drawn(target, rng)
        kind = ArrayKind(X)
        rows = check_fit_X(self, X, sparse_ok=False, ensure_min_samples=2)
        rows = gathered(rows, "each step takes all of them: pass some, X[::10]")
        device = choose_device(self.device, rows)
        xp, on_host = device.xp, not is_cupy(rows)
        rows = xp.asarray(device.put(rows), dtype=np.float64)
        base, unit = self._kernel(rows, rng)
        start, middle = self._start(rows, start, rng, device), rows.mean(axis=0)
        if target is None:
            sample = (rows - middle) / unit
            objective = langevin.MMDObjective(base, sample, device)
        else:
            score = DomainScore(target, "real", rows.shape[1], device, on_host)
            objective = langevin.KSDObjective(
                base, lambda P: unit * score(middle + unit * P), device
            )
        # Scores of a density have units, and so has its discrepancy.
        factor = 1.0 if self.target is None else unit**-2
        samples = self._run(objective, (start - middle) / unit, rng, device, factor)
        self.samples_ = kind.out(middle + unit * samples)
        return self

    def _kernel(self, rows, rng):
        """The kernel in units of its length scale, and that; sets `kernel_`."""
        named, given = isinstance(self.kernel, str), self.length_scale
        base = BASES[self.kernel]() if named else self.kernel
        unit = 1.0
        if named or given is not None:
            follows = given is None or given == "median"
            unit = median_distance(rows, rng) if follows else float(given)
            self.kernel_ = resolve_kernel(base, rows, length_scale=unit)
            base = resolve_kernel(base, rows, length_scale=1.0)
        else:
            base = self.kernel_ = resolve_kernel(base, rows)
        Program.of(BaseSlope(base, 1), rows.shape[1])
        return base, unit

    def _drawn(self, target, rng):
        """Particles to start from where none are given."""
        if target is None:
            raise ValueError(
                "X=None: pass the sample that particles are to stand for as X, or a "
                "density as target"
            )
        return rng.standard_normal((self.n_particles, columns_of(target)))

    def _start(self, rows, start, rng, device):
        """Particles to start from, on the device."""
        xp = device.xp
        if self.target is not None:
            if start is not None:
                raise ValueError(
                    "start belongs to target=None: with a target, X are the particles "
                    "to start from"
                )
            return rows
        if start is None:
            drawn = rng.standard_normal((self.n_particles, rows.shape[1]))
            return rows.mean(axis=0) + rows.std(axis=0) * xp.asarray(drawn)
        if not is_cupy(start):
            try:
                start = check_array(start, dtype=np.float64, input_name="start")
            except ValueError as error:
                raise ValueError(f"start: {error}") from error
        start = xp.asarray(device.put(start), dtype=np.float64)
        if start.ndim != 2 or start.shape[1] != rows.shape[1] or not len(start):
            raise ValueError(
                f"start has shape {start.shape}: it must be (n_particles, "
                f"{rows.shape[1]}), as wide as X"
            )
        if not bool(xp.isfinite(start).all()):
            raise ValueError("start contains NaN or infinity")
        return start

    def _run(self, objective, start, rng, device, factor):
        """Where the particles come to; sets what is known of the way."""
        xp, path = device.xp, [factor * objective.squared(start)]
        # Noise may take particles from a better start to this, but no further.
        most = 10.0 * path[0] + 100.0 * factor * self.temperature * start.shape[1]
        noted = set(np.linspace(0, self.max_iter, NOTES + 1).round().astype(int))
        callbacks = FitCallbacks(self, self.max_iter)

        def report(i, X):
            if i in noted:
                path.append(factor * objective.squared(X))
                if not path[-1] <= most:
                    raise DivergenceError(
                        f"after {i} steps the discrepancy is {path[-1]:.3g}, and was "
                        f"{path[0]:.3g}"
                    )
                if self.verbose:
                    print(f"[ParticleMinimizer] step {i}: discrepancy {path[-1]:.4g}")
            return callbacks.step_end()

        def noise():
            return xp.asarray(rng.standard_normal(start.shape))

        self.step_size_, name = self.step_size, self.integrator
        if self.step_size == "auto":
            self.step_size_ = langevin.stable_step(
                name, self.friction, objective, start, noise(), xp
            )
            if self.step_size_ > LONGEST:
                raise ValueError(
                    "the particles feel next to no force at the start: length_scale "
                    f"is too small for them, and a stable step {self.step_size_:.2g} "
                    "long; raise it, or set step_size"
                )
        integrator = langevin.INTEGRATORS[name](self.friction, self.step_size_)
        try:
            samples, self.n_iter_ = langevin.minimize(
                objective, start, integrator, self._temperatures(), noise, report, xp
            )
        except DivergenceError as error:
            raise ValueError(f"the particles fly apart: {error}; {REMEDY}") from None
        callbacks.end()
        self.discrepancy_ = factor * objective.squared(samples)
        self.discrepancy_path_ = np.array(path)
        return samples

    def _temperatures(self):
        """Of each step: constant for half of them, then falling to 0."""
        left = 1.0 - np.arange(self.max_iter) / self.max_iter
        shares = np.minimum(1.0, 2.0 * left) if self.anneal else np.ones_like(left)
        return self.temperature * shares
