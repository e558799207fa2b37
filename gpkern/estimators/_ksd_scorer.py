"""`ksd_scorer`: samplers judged by how near their draws come to a density."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np

from ..algorithms.stein import statistics, stein_sums
from ..kernels.program import Program
from ..kernels.stein import SteinKernel
from ..targets import as_target
from ._chains import as_rows, check_gradients
from ._door import choose_device, to_numpy_or_cupy
from ._testing import bases_of

# Attributes in which estimators keep their draws.
KEPT = ("draws_", "samples_")


def ksd_scorer(
    target,
    kernel="imq",
    length_scale=None,
    *,
    draws=None,
    n_samples=1000,
    statistic="v",
    device=None,
):
    """A scorer for scikit-learn's searches: minus the squared Stein discrepancy.

    With it `~sklearn.model_selection.GridSearchCV` chooses, say, the step size of a
    sampler that is wrapped as an estimator: one whose `fit`, whatever its X, keeps
    draws of shape (n, d) or (chain, draw, d) in ``draws_``. The rows that a search
    passes to the scorer are not looked at, so any X of a few rows will do. The length
    scale is fixed: one that depends on the draws would favour those to whose errors
    the kernel is blind.

    Parameters
    ----------
    target : object
        What the draws should be of; see `KSDTest`.
    kernel : {"imq", "rbf"} or Kernel, default="imq"
    length_scale : float, default=None
        Of the kernel, in the units of the draws. None is 1 for a kernel given by name,
        and a kernel object's own.
    draws : str, callable or None, default=None
        Where an estimator has its draws: an attribute, a method that takes a number of
        draws, or a function ``draws(estimator, X)``. None: ``draws_`` or ``samples_``,
        else the method ``sample``.
    n_samples : int, default=1000
        Draws to ask a method for.
    statistic : {"u", "v"}, default="v"
        Mean over pairs of different draws, or over all.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None

    Returns
    -------
    callable
        ``scorer(estimator, X, y=None)``, a float; larger is better.

    Raises
    ------
    ValueError
        For a length scale that is no positive number.
    TypeError
        By the scorer, for estimators without draws.

    References
    ----------
    Gorham & Mackey (2017), Measuring sample quality with kernels, section 5.3.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.mixture import GaussianMixture
    >>> from gpkern import ksd_scorer
    >>> X = np.random.default_rng(0).normal(size=(300, 1))
    >>> scorer = ksd_scorer(lambda x: -x)
    >>> near = GaussianMixture(1, random_state=0).fit(X)
    >>> far = GaussianMixture(1, random_state=0).fit(X + 1)
    >>> scorer(near, X) > scorer(far, X)
    True
    """
    number = isinstance(length_scale, Real) and not isinstance(length_scale, bool)
    if length_scale is None and isinstance(kernel, str):
        length_scale = 1.0
    elif length_scale is not None and not (number and 0 < length_scale < np.inf):
        raise ValueError(
            f"length_scale={length_scale!r} must be a number above 0: a scorer that "
            "chose it for each sample would compare different discrepancies"
        )
    if statistic not in ("u", "v"):
        raise ValueError(f"statistic={statistic!r} must be 'u' or 'v'")
    if not (isinstance(n_samples, Integral) and n_samples >= 2):
        raise ValueError(f"n_samples={n_samples!r} must be a whole number, 2 or more")
    if not (draws is None or isinstance(draws, str) or callable(draws)):
        raise TypeError(f"draws={draws!r} must be a name, a function or None")
    target = as_target(target)
    # Draws have other columns; what is wrong with the kernel is seen with any.
    d = target.n_features or 1
    base = bases_of(kernel, length_scale, False, np.eye(3, d), None)[0]
    Program.of(SteinKernel(base, d))
    return KSDScorer(target, kernel, length_scale, draws, n_samples, statistic, device)


class KSDScorer:
    """What `ksd_scorer` makes; its parameters are described there."""

    def __init__(
        self, target, kernel, length_scale, draws, n_samples, statistic, device
    ):
        self.target, self.kernel, self.length_scale = target, kernel, length_scale
        self.draws, self.n_samples = draws, n_samples
        self.statistic, self.device = statistic, device

    def __call__(self, estimator, X=None, y=None):
        """Minus the squared discrepancy of the estimator's draws."""
        points = self._draws_of(estimator, X)
        scores = check_gradients(self.target.score(points), points, "target(X)")
        device = choose_device(self.device, points)
        points, scores = (device.xp.asarray(device.put(a)) for a in (points, scores))
        bases = bases_of(self.kernel, self.length_scale, False, points, None)
        sums = stein_sums(points, scores, bases, device)
        return -float(statistics(sums, self.statistic)[0])

    def _draws_of(self, estimator, X):
        """Draws as rows."""
        if callable(self.draws):
            found = self.draws(estimator, X)
        else:
            names = (*KEPT, "sample") if self.draws is None else (self.draws,)
            name = next((v for v in names if hasattr(estimator, v)), None)
            if name is None:
                raise TypeError(
                    f"{type(estimator).__name__} has none of {', '.join(names)}: set "
                    "draws= to the attribute or method that has its draws, or to a "
                    "function of the estimator and X"
                )
            found = getattr(estimator, name)
            found = found(self.n_samples) if callable(found) else found
        found = found[0] if isinstance(found, tuple) else found
        points = to_numpy_or_cupy(as_rows(found, "draws")[0])
        if points.ndim != 2 or len(points) < 2:
            raise ValueError(
                f"draws have shape {points.shape}, not (n, d) or (chain, draw, d) "
                "of at least two draws"
            )
        return points.astype(np.float64)

    def __repr__(self):
        return (
            f"ksd_scorer({type(self.target).__name__}, kernel={self.kernel!r}, "
            f"length_scale={self.length_scale})"
        )
