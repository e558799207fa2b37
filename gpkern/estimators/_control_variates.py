"""`SteinControlVariates`: integrals with a fraction of the draws."""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .._device import is_dask
from ..algorithms import control_variates as cv
from ..algorithms import integrand_choices as choices
from ..algorithms.stein import score_scale, stein_rows
from ..cpu.parallel import blas_for
from ..kernels import SteinKernel, median_distance, resolve_kernel
from ..targets import as_target
from ._chains import as_rows, check_gradients
from ._door import (
    ArrayKind,
    all_or_nothing,
    by_blocks,
    check_predict_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._integrands import correlation_of, read_integrands
from ._parameters import AT_LEAST_ONE, RUN
from ._stein_sample import TARGET
from ._testing import BASES

# Reduction of the variance below which control variates gain nothing.
NO_GAIN = 1.2
# Penalty, over the mean of the diagonal, that "pcg" is left to choose.
LEAST_PCG = 1e-6
# Standard error, over the spread of the values, that is taken for one of 0.
LEAST_ERROR = 1e-150
# Of the covariance of integrands, over its largest one.
LEAST_VARIANCE = 1e-12


class SteinControlVariates(BaseEstimator):
    """Kernel control variates: means of functions under a density, from few draws.

    Of draws x_i with the scores of the density there and values f(x_i) of an
    integrand, the mean of f is estimated by a fit ``f = c + g``, in which functions g
    of a Stein kernel have the mean 0: what g explains is no longer noise, and c is the
    estimate. For smooth integrands its error falls far faster than that of the mean
    of the values. The draws need not follow the density: those of a chain that is
    short of its end, or of a sparse grid, do as well.

    Several integrands may share their draws, or have draws of their own, as a costly
    model and a cheap one: then they inform each other (vector-valued control variates).

    Parameters
    ----------
    target : object or list of these, default=None
        The density, as in `KSDTest`; a list has one for each integrand with draws of
        its own. None: `fit` is given scores.
    kernel : {"imq", "rbf"} or Kernel, default="rbf"
        Base of the Stein kernel.
    length_scale : float, "median", "auto" or None, default="auto"
        The l of the kernel. "auto" is the one, from a quarter of the median distance to
        eight of them, that best predicts each of up to 500 values from the others. None
        is a kernel object's own. Integrands that share their draws have what suits
        each of them.
    alpha : float or "auto", default="auto"
        Penalty, over the mean of the Stein kernel of draws with themselves. "auto"
        chooses it from 1e-10, or for "pcg" 1e-6, to 1 in the same way.
    task_covariance : array-like of shape (t, t), "auto" or None, default="auto"
        Covariance of t integrands, of which the correlations count: how widely each
        varies is told by its values. "auto": of integrands with draws of their own, by
        restricted maximum likelihood of up to 500 values; those that share all draws
        learn next to nothing from each other, and are taken as independent.
    solver : {"auto", "direct", "pcg"}, default="auto"
        "direct" factors the matrix of all draws; "pcg" runs conjugate gradients on a
        matrix that is never formed. "auto" is "direct" while the matrix fits
        scikit-learn's ``working_memory``.
    tol : float, default=1e-5
        Relative residual at which "pcg" stops; of errors of predictions 1e-3 is enough.
    max_iter : int, default=500
        Limit of the iterations of "pcg".
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Draws the rows by which parameters are chosen.

    Attributes
    ----------
    integral_ : float or ndarray of shape (t,)
        Estimates of the integrands' means.
    standard_error_ : float or ndarray of shape (t,)
        Root of the summed squares of what is missed where values are predicted from
        one half of the draws, and those further out than most from all others, over
        the number of draws. From a few hundred draws on it is on the safe side; of
        fewer than a hundred it may be too small by far where f grows in tails that no
        draw has been in.
    variance_reduction_ : float or ndarray of shape (t,)
        Squared standard error of the mean of the values, were the draws independent,
        over that: how many times more draws it would need.
    weights_ : ndarray of shape (n,) or (n, t)
        A quadrature rule of sum 1 for each integrand, whatever the values:
        ``integral_[j]`` is ``weights_[:, j] @ y[:, j]``. The draws of several sets are
        those of one after the other, in the place of a column. Draws that occur again
        have weight 0. There is none of integrands that share draws and have a
        covariance.
    kernel_ : Kernel or list of t Kernels
        The base, with its length scale. This and the next two are of each integrand
        where several share their draws and are independent.
    length_scale_ : float or ndarray of shape (t,)
    alpha_ : float or ndarray of shape (t,)
        The penalty, over the mean of the diagonal.
    task_covariance_ : ndarray of shape (t, t)
        With the variances of the values; 0 between independent integrands.
    solver_ : str
        "direct" or "pcg".
    n_features_in_ : int

    See Also
    --------
    SteinThinning : Few draws with equal weights.
    KSDTest : Whether draws follow the density at all.

    Notes
    -----
    Of draws that occur more than once, as rejected proposals do, the first counts.
    What a fit cannot tell is a part of f that no draw has seen.

    References
    ----------
    Oates, Girolami & Chopin (2017), Control functionals for Monte Carlo integration;
    Oates, Cockayne, Briol & Girolami (2019), Convergence rates for a class of
    estimators based on Stein's method; Sun, Barp & Briol (2023), Vector-valued control
    variates.

    Examples
    --------
    The mean of cos(x) under the standard normal distribution is exp(-0.5):

    >>> import numpy as np
    >>> from scipy import stats
    >>> from gpkern import SteinControlVariates
    >>> X = np.random.default_rng(0).normal(size=(100, 1))
    >>> y = np.cos(X[:, 0])
    >>> mean = SteinControlVariates(stats.norm(), random_state=0).fit(X, y)
    >>> bool(abs(y.mean() - np.exp(-0.5)) > 5e-3)
    True
    >>> bool(abs(mean.integral_ - np.exp(-0.5)) < 1e-4)
    True
    """

    _parameter_constraints = {
        "target": TARGET,
        "kernel": [StrOptions(set(BASES)), Kernel],
        "length_scale": [
            Interval(Real, 0, None, closed="neither"),
            StrOptions({"median", "auto"}),
            None,
        ],
        "alpha": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "task_covariance": ["array-like", StrOptions({"auto"}), None],
        "solver": [StrOptions({"auto", "direct", "pcg"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [AT_LEAST_ONE],
        "device": RUN["device"],
        "random_state": RUN["random_state"],
    }

    def __init__(
        self,
        target=None,
        *,
        kernel="rbf",
        length_scale="auto",
        alpha="auto",
        task_covariance="auto",
        solver="auto",
        tol=1e-5,
        max_iter=500,
        device=None,
        random_state=None,
    ):
        self.target = target
        self.kernel = kernel
        self.length_scale = length_scale
        self.alpha = alpha
        self.task_covariance = task_covariance
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y, scores=None):
        """Estimate the means of integrands.

        Parameters
        ----------
        X : array-like of shape (n, d) or (chain, draw, d), or list of t arrays (n_t, d)
            Draws; a list has those of each integrand. Also ArviZ data, as `KSDTest`
            takes it, and Dask arrays, which are gathered.
        y : array-like of shape (n,) or (n, t), or list of t arrays of shape (n_t,)
            Values of the integrands; of chains, also of shape (chain, draw).
        scores : array-like of the shape of X, or list of these, default=None
            Gradients of the log density at X, in the place of a target.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For fewer than three draws of an integrand, values or scores that are not
            finite, and kernels that are not smooth enough.
        """
        self._validate_params()
        rng = check_random_state(self.random_state)
        sample = read_integrands(self, X, y, scores)
        kind, device = sample.kind, choose_device(self.device, *sample.arrays)
        xp, sizes = device.xp, sample.sizes
        points, scores, values = (
            xp.concatenate([xp.asarray(device.put(a), np.float64) for a in parts])
            for parts in (sample.points, sample.scores, sample.values)
        )
        rows, task = stein_rows(points, scores, xp), np.repeat(range(len(sizes)), sizes)
        self._score_scale = score_scale(points, scores, xp)
        self.solver_ = self._choose_solver(len(rows), len(sizes), device)
        with blas_for(len(rows)):
            family = self._choose(rows, task, values, device, rng)
            found = family.fit(rows, task, values)
            errors = cv.held_out_errors(family, rows, task, values)
        errors = map(device.get, errors)
        self._rows, self._task, self._units = kind.out(rows), task, family.units
        self._fitted = dataclasses.replace(
            found,
            coef=kind.out(found.coef),
            constants=device.get(found.constants),
            weights=None,
        )
        self._is_vector = sample.is_vector
        self.integral_ = device.get(family.integrals(found))
        return self._conclude(found, sample, task, *errors, device)

    def predict(self, X, scores=None, task=None):
        """Values of the fit ``c + g``.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (m, d)
        scores : array-like of shape (m, d), default=None
            Gradients of the log density at X, where there is no target.
        task : int, default=None
            Which integrand, where each had draws of its own; None is the first.

        Returns
        -------
        array of shape (m,) or (m, t), float64; a Dask array, lazy, for one
        """
        if is_dask(X) and scores is not None:
            from ..dask.rows import by_rows_with

            check_is_fitted(self)
            X = check_predict_X(self, X, sparse_ok=False)
            return by_rows_with(self, "predict", X, {"scores": scores}, {"task": task})
        return self._predict(X, scores=scores, task=task)

    @by_blocks
    def _predict(self, X, *, scores, task):
        check_is_fitted(self)
        kind, n_sets = ArrayKind(X), int(self._task[-1]) + 1
        j = 0 if task is None else task
        if not (isinstance(j, Integral) and 0 <= j < n_sets):
            raise ValueError(
                f"task={task!r}: there are {n_sets} sets of draws, from 0 on"
            )
        points = check_predict_X(self, as_rows(X, "X")[0], sparse_ok=False)
        given = (
            self.target[j] if isinstance(self.target, (list, tuple)) else self.target
        )
        if scores is None and given is None:
            raise ValueError(
                "there is no target: pass scores, the gradients of the log density at X"
            )
        scores = as_target(given).score(points) if scores is None else scores
        scores = check_gradients(scores, points, "scores")
        own = to_numpy_or_cupy(self._rows)
        device = choose_device(self.device, points, own, predicting=True)
        xp = device.xp
        rows = stein_rows(device.put(points), device.put(scores), xp)
        fitted = dataclasses.replace(
            self._fitted,
            constants=xp.asarray(self._fitted.constants),
            coef=xp.asarray(to_numpy_or_cupy(self._fitted.coef)),
        )
        models = [self._model(base, C, 0.0, device) for base, C, _ in self._parts]
        family = cv.Family(models, [c for *_, c in self._parts], self._units)
        at = np.full(len(rows), j)
        values = family.predict(fitted, device.put(own), self._task, rows, at)
        return kind.out(values if self._is_vector and n_sets == 1 else values[:, 0])

    # ------------------------------------------------------------------ inside

    def _choose_solver(self, n, n_sets, device):
        """What ``solver="auto"`` stands for."""
        if self.solver == "pcg" and n_sets > 1:
            raise ValueError(
                "solver='pcg' takes integrands that share their draws, and X is a list "
                "of sets: use solver='direct'"
            )
        if self.solver != "auto":
            return self.solver
        fits = 8 * n * n <= device.dense_bytes()
        return "direct" if fits or n_sets > 1 else "pcg"

    def _stein(self, base):
        return SteinKernel(base, self.n_features_in_, self._score_scale)

    def _model(self, base, C, alpha, device, rng=None):
        return cv.Model(
            self._stein(base),
            C,
            alpha,
            self._n_sets == 1,
            self.solver_,
            self.tol,
            self.max_iter,
            device,
            rng,
        )

    def _choose(self, rows, task, values, device, rng):
        """The `Family` to fit, with kernels, penalties, and covariance."""
        F, xp = device.get(values), device.xp
        units, n_sets = cv.Units.of(F, task), int(task[-1]) + 1
        t, given = max(n_sets, F.shape[1]), self.task_covariance
        C, is_given = np.eye(t), given is not None and not isinstance(given, str)
        if is_given:
            C = correlation_of(given, t)
        few = choices.some_of_each(task, choices.CHOOSING_ROWS, rng)
        some, of_task = rows[xp.asarray(few)], task[few]
        f = units.scaled(F[few], of_task, np)
        if n_sets > 1 and isinstance(given, str):
            first = choices.alike(units.is_constant)
            [(base, *_)] = self._settings(some, of_task, first, f, True, device, rng)
            C = self._correlation_of(base, some, of_task, f, units, device)
        # Integrands that share their draws are chosen for as if they were independent.
        own, is_joint = (C, True) if n_sets > 1 else (np.eye(1), is_given)
        chosen = self._settings(some, of_task, own, f, is_joint, device, rng)
        self._n_sets, self._parts, models = n_sets, [], []
        for base, alpha, columns in chosen:
            mean = cv.mean_diagonal(self._stein(base), rows, device)
            self._parts.append((base, C if is_joint else np.eye(len(columns)), columns))
            models.append(self._model(*self._parts[-1][:2], alpha * mean, device, rng))
        self.task_covariance_ = np.outer(units.spread, units.spread) * C
        self._describe(chosen, is_joint or not F.shape[1] > 1)
        return cv.Family(models, [c for *_, c in chosen], units)

    def _settings(self, some, of_task, C, f, is_joint, device, rng):
        """Bases and penalties, and the integrands that take them."""
        penalties = [self.alpha]
        if self.alpha == "auto":
            # Smaller ones take conjugate gradients more iterations than they are worth.
            least = LEAST_PCG if self.solver_ == "pcg" else 0.0
            penalties = choices.PENALTIES[least <= choices.PENALTIES]
        bases = self._candidates(some[:, : some.shape[1] // 2], rng)
        errors = choices.left_out_errors(
            [self._stein(b) for b in bases], some, of_task, C, f, penalties, device
        )
        found = choices.settings(errors, is_joint)
        return [(bases[i], float(penalties[j]), c) for (i, j), c in found.items()]

    def _correlation_of(self, base, some, of_task, f, units, device):
        """Correlation of integrands with draws of their own."""
        C = np.eye(len(units.spread))
        varies = np.flatnonzero(~units.is_constant)
        if len(varies) > 1:
            at = np.isin(of_task, varies)
            rows = some[device.xp.asarray(np.flatnonzero(at))]
            K = device.get(cv.gram(self._stein(base), rows, device))
            number = np.searchsorted(varies, of_task[at])
            B = choices.covariance_of_tasks(K, number, f[at, 0])
            wide = np.sqrt(np.maximum(np.diag(B), LEAST_VARIANCE))
            C[np.ix_(varies, varies)] = B / np.outer(wide, wide)
            np.fill_diagonal(C, 1.0)
        return C

    def _candidates(self, points, rng):
        """Base kernels to choose from."""
        scale, base = self.length_scale, self.kernel
        base = BASES[base]() if isinstance(base, str) else base
        if scale == "auto":
            scales = median_distance(points, rng) * choices.SCALES
        elif scale is None and isinstance(self.kernel, str):
            scales = [median_distance(points, rng)]
        else:
            scales = [scale]
        return [
            resolve_kernel(base, points, length_scale=s, random_state=rng)
            for s in scales
        ]

    def _describe(self, chosen, is_one):
        """Sets `kernel_`, `length_scale_` and `alpha_`: of all, or of each."""
        if is_one:
            [(self.kernel_, self.alpha_, _)] = chosen
            self.length_scale_ = getattr(self.kernel_, "length_scale", None)
            return
        each = {int(c): (base, alpha) for base, alpha, own in chosen for c in own}
        bases, alphas = zip(*(each[i] for i in range(len(each))), strict=True)
        scales = [getattr(base, "length_scale", None) for base in bases]
        self.kernel_, self.alpha_ = list(bases), np.array(alphas)
        self.length_scale_ = None if None in scales else np.array(scales)

    def _conclude(self, found, sample, task, halves, tails, device):
        """Attributes of a solution."""
        plain, error, flat = [], [], self._units.is_constant
        halves, tails = (self._units.in_spreads(a, task) for a in (halves, tails))
        for j in range(int(task[-1]) + 1):
            own, n = task == j, int((task == j).sum())
            square = (halves[own] ** 2).sum(axis=0) + (tails[own] ** 2).sum(axis=0)
            plain.append(np.full(square.shape, n**-0.5))
            error.append(np.sqrt(square) / n)
        plain, error = np.concatenate(plain), np.concatenate(error)
        gain = np.where(flat, 1.0, (plain / np.maximum(error, LEAST_ERROR)) ** 2)
        poor = np.flatnonzero((gain < NO_GAIN) & ~flat)
        if len(poor):
            some = "the integrand: it is"
            if len(gain) > 1:
                some = f"integrands {poor.tolist()} of {len(gain)}: they are"
            warnings.warn(
                f"the control variates explain next to nothing of {some} not smooth, "
                "or vary over lengths that the draws do not resolve; take more draws, "
                "or the plain mean",
                UserWarning,
                stacklevel=4,
            )
        self.standard_error_ = self._units.spread * error
        self.variance_reduction_ = gain
        vars(self).pop("weights_", None)  # of an earlier fit
        if found.weights is not None:
            self.weights_ = sample.of_all(device.get(found.weights))
        if not self._is_vector:
            for name in ("integral_", "standard_error_", "variance_reduction_"):
                setattr(self, name, float(getattr(self, name)[0]))
            if found.weights is not None:
                self.weights_ = self.weights_[:, 0]
        return self
