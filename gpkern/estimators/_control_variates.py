"""`SteinControlVariates`: integrals with a fraction of the draws."""

from __future__ import annotations

import dataclasses
import warnings
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..algorithms import control_variates as cv
from ..algorithms.stein import stein_rows
from ..kernels import median_distance, resolve_kernel
from ..targets import as_target
from ._chains import as_rows, check_gradients
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_predict_X,
    choose_device,
    to_numpy_or_cupy,
)
from ._integrands import read_integrands
from ._parameters import AT_LEAST_ONE, RUN
from ._stein_sample import TARGET
from ._testing import BASES

# Reduction of the variance below which control variates gain nothing.
NO_GAIN = 1.2
# Penalty, over the mean of the diagonal, that "pcg" is left to choose.
LEAST_PCG = 1e-6


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
        is a kernel object's own.
    alpha : float or "auto", default="auto"
        Penalty, over the mean of the Stein kernel of draws with themselves. "auto"
        chooses it from 1e-10, or for "pcg" 1e-6, to 1 in the same way.
    task_covariance : array-like of shape (t, t), "auto" or None, default="auto"
        Covariance of t integrands. "auto": of integrands with draws of their own, by
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
        the number of draws. It is on the safe side but for tails that no draw has been
        in.
    variance_reduction_ : float or ndarray of shape (t,)
        Squared standard error of the mean of the values, were the draws independent,
        over that: how many times more draws it would need.
    weights_ : ndarray of shape (n,) or (n, t)
        With which `integral_` is ``weights_.T @ y``, whatever the values: a quadrature
        rule, of sum 1. Not of integrands that share draws and have a covariance.
    kernel_ : Kernel
        The base, with its length scale.
    length_scale_ : float
    alpha_ : float
        The penalty, over the mean of the diagonal.
    task_covariance_ : ndarray of shape (t, t)
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
            takes it.
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
        rows = xp.concatenate(
            [
                stein_rows(device.put(x), device.put(s), xp)
                for x, s in zip(sample.points, sample.scores, strict=True)
            ]
        )
        values = (xp.asarray(device.put(f), np.float64) for f in sample.values)
        F, task = xp.concatenate(list(values)), np.repeat(np.arange(len(sizes)), sizes)
        self.solver_ = self._choose_solver(len(rows), len(sizes), device)
        B = self._choose(rows, task, F, device, rng)
        mean = cv.mean_diagonal(self.kernel_, rows, task, B, device)
        model = cv.Model(
            self.kernel_,
            B,
            self.alpha_ * mean,
            len(sizes) == 1,
            self.solver_,
            self.tol,
            self.max_iter,
            device,
            rng,
        )
        found = model.fit(rows, task, F)
        errors = map(device.get, cv.held_out_errors(model, rows, task, F))
        self._rows, self._task, self.task_covariance_ = kind.out(rows), task, B
        self._fitted = dataclasses.replace(
            found, coef=kind.out(found.coef), constants=device.get(found.constants)
        )
        self._is_vector = sample.is_vector
        return self._conclude(found, device.get(F), task, *errors, device)

    def predict(self, X, scores=None, task=None):
        """Values of the fit ``c + g``.

        Parameters
        ----------
        X : array-like of shape (m, d)
        scores : array-like of shape (m, d), default=None
            Gradients of the log density at X, where there is no target.
        task : int, default=None
            Which integrand, where each had draws of its own; None is the first.

        Returns
        -------
        array of shape (m,) or (m, t), float64
        """
        check_is_fitted(self)
        kind, n_sets = ArrayKind(X), int(self._task[-1]) + 1
        j = 0 if task is None else task
        if not 0 <= j < n_sets:
            raise ValueError(
                f"task={task}: there are {n_sets} sets of draws, from 0 on"
            )
        points = check_predict_X(self, as_rows(X, "X")[0], sparse_ok=False)
        given = self.target[j] if isinstance(self.target, list) else self.target
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
        fitted = cv.Estimate(
            xp.asarray(self._fitted.constants),
            xp.asarray(to_numpy_or_cupy(self._fitted.coef)),
            None,
        )
        model = cv.Model.to_predict(
            self.kernel_, self.task_covariance_, n_sets == 1, device
        )
        at = np.full(len(rows), j)
        values = model.predict(fitted, device.put(own), self._task, rows, at)
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

    def _choose(self, rows, task, F, device, rng):
        """Sets the kernel and the penalty; returns the covariance of the tasks."""
        t = max(int(task[-1]) + 1, F.shape[1])
        few = cv.some_of_each(task, cv.CHOOSING_ROWS, rng)
        some, of_task = rows[device.xp.asarray(few)], task[few]
        f, d = device.get(F)[few], rows.shape[1] // 2
        bases = self._bases(some[:, :d], rng)
        given, B = self.task_covariance, np.eye(t)
        if given is not None and not isinstance(given, str):
            B = _check_covariance(given, t)
        estimated = isinstance(given, str) and of_task[-1] > 0
        # Integrands that share their draws are chosen for as if they were independent.
        own = B if of_task[-1] > 0 else np.eye(1)
        penalties = [self.alpha]
        if self.alpha == "auto":
            # Smaller ones take conjugate gradients more iterations than they are worth.
            least = LEAST_PCG if self.solver_ == "pcg" else 0.0
            penalties = cv.PENALTIES[least <= cv.PENALTIES]
        if estimated:
            own = cv.alike(f[:, 0], of_task)
        base, _ = cv.choose(bases, some, of_task, own, f, penalties, device)
        if estimated:
            K = device.get(cv.gram(base, some, device))
            B = own = cv.covariance_of_tasks(K, of_task, f[:, 0])
            bases = self._bases(some[:, :d], rng)
        self.kernel_, self.alpha_ = cv.choose(
            bases, some, of_task, own, f, penalties, device
        )
        self.length_scale_ = getattr(self.kernel_, "length_scale", None)
        return B

    def _bases(self, points, rng):
        """Base kernels to choose from."""
        scale, base = self.length_scale, self.kernel
        base = BASES[base]() if isinstance(base, str) else base
        if scale == "auto":
            scales = median_distance(points, rng) * cv.SCALES
        elif scale is None and isinstance(self.kernel, str):
            scales = [median_distance(points, rng)]
        else:
            scales = [scale]
        return [
            resolve_kernel(base, points, length_scale=s, random_state=rng)
            for s in scales
        ]

    def _conclude(self, found, F, task, halves, tails, device):
        """Attributes of a solution."""
        plain, error = [], []
        for j in range(int(task[-1]) + 1):
            own, n = task == j, int((task == j).sum())
            square = (halves[own] ** 2).sum(axis=0) + (tails[own] ** 2).sum(axis=0)
            plain.append(F[own].std(axis=0) / np.sqrt(n))
            error.append(np.sqrt(square) / n)
        plain, error = np.concatenate(plain), np.concatenate(error)
        tiny = np.finfo(np.float64).tiny
        gain = np.where(plain > 0, (plain / np.maximum(error, tiny)) ** 2, 1.0)
        poor = (gain < NO_GAIN) & (plain > 0)
        if poor.any():
            warnings.warn(
                f"the control variates explain next to nothing of {int(poor.sum())} of "
                f"{len(poor)} integrands: these are not smooth, or vary over lengths "
                "that the draws do not resolve; take more draws, or the plain mean",
                UserWarning,
                stacklevel=4,
            )
        results = device.get(found.constants), error, gain
        if not self._is_vector:
            results = [float(a[0]) for a in results]
        self.integral_, self.standard_error_, self.variance_reduction_ = results
        vars(self).pop("weights_", None)  # of an earlier fit
        if found.weights is not None:
            weights = device.get(found.weights)
            self.weights_ = weights[:, 0] if weights.shape[1] == 1 else weights
        return self


def _check_covariance(given, t):
    B = np.asarray(given, dtype=np.float64)
    if B.shape != (t, t):
        raise ValueError(
            f"task_covariance has shape {B.shape}, and there are {t} integrands"
        )
    if not (np.isfinite(B).all() and np.allclose(B, B.T)):
        raise ValueError("task_covariance must be finite and symmetric")
    if np.linalg.eigvalsh(B)[0] < -1e-10 * abs(B).max() or not B.any():
        raise ValueError("task_covariance must be positive semi-definite")
    return B
