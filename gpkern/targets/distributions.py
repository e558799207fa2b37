"""Targets from distributions of `scipy.stats`."""

from __future__ import annotations

import numpy as np
from scipy import stats

from .base import OUTSIDE, Target, to_numpy
from .differences import OFFSETS, refined
from .mixture import Mixture

# Scores of standard distributions, of z = (x - loc) / scale and the shape parameters.
SCORES = {
    "beta": lambda z, a, b: (a - 1.0) / z - (b - 1.0) / (1.0 - z),
    "cauchy": lambda z: -2.0 * z / (1.0 + z * z),
    "chi2": lambda z, df: (0.5 * df - 1.0) / z - 0.5,
    "expon": lambda z: np.full_like(z, -1.0),
    "gamma": lambda z, a: (a - 1.0) / z - 1.0,
    "gumbel_l": lambda z: 1.0 - np.exp(z),
    "gumbel_r": lambda z: np.exp(-z) - 1.0,
    "invgamma": lambda z, a: (1.0 / z - a - 1.0) / z,
    "laplace": lambda z: -np.sign(z),
    "logistic": lambda z: -np.tanh(0.5 * z),
    "lognorm": lambda z, s: -(np.log(z) / s**2 + 1.0) / z,
    "norm": np.negative,
    "t": lambda z, df: -(1.0 + 1.0 / df) * z / (1.0 + z * z / df),
    "uniform": np.zeros_like,
}
SCIPY = (
    "frozen continuous distributions of one column, multivariate_normal and "
    "multivariate_t of scipy.stats have scores here; for others pass "
    "gpkern.targets.Score or LogDensity"
)


class UnivariateTarget(Target):
    """A continuous distribution of scipy.stats: of one column, or of independent ones.

    Scores of the common distributions are in closed form. Those of others are central
    differences of `logpdf`, which have about eight digits or more.

    Parameters
    ----------
    distribution : rv_continuous_frozen, or a new-style one such as scipy.stats.Normal
        With parameters of shape (d,) there are d independent columns.
    name : str, default="target"
        For messages.
    """

    has_log_density = can_sample = True

    def __init__(self, distribution, name="target"):
        self.distribution = distribution
        self.is_frozen = hasattr(distribution, "dist")
        quantile = distribution.ppf if self.is_frozen else distribution.icdf
        with np.errstate(invalid="ignore"):
            low, high = map(np.asarray, distribution.support())
            middle, scale = quantile(0.5), quantile(0.75) - quantile(0.25)
        if low.ndim > 1:
            raise ValueError(
                f"{name} has parameters of shape {low.shape}: they must be numbers, or "
                "have one axis, that of columns"
            )
        self.n_features = max(low.size, 1)
        self._low, self._high = np.atleast_1d(low), np.atleast_1d(high)
        self._scale = np.atleast_1d(scale)
        if not (np.isfinite(middle) & np.isfinite(scale)).all():
            raise ValueError(f"{name} has parameters outside of their domain")
        self.has_edge = self._ends_abruptly()

    def _score(self, X):
        X = to_numpy(X)
        outside = ((self._low > X) | (self._high < X)).any(axis=1)
        if outside.any():
            raise ValueError(
                f"{int(outside.sum())} of {len(X)} rows, the first of them row "
                f"{int(outside.argmax())}, are outside of the support of the target, "
                f"from {self._low} to {self._high}: {OUTSIDE}"
            )
        with np.errstate(all="ignore"):  # the caller counts what is not finite
            if self._formula is None:
                return self._differences(X)
            frozen = self.distribution
            shapes, loc, scale = frozen.dist._parse_args(*frozen.args, **frozen.kwds)
            return self._formula((X - loc) / scale, *map(np.asarray, shapes)) / scale

    @property
    def _formula(self):
        """Of `SCORES`; None where there is none, or a user's own has the name."""
        dist = getattr(self.distribution, "dist", None)
        known = dist is not None and type(getattr(stats, dist.name, None)) is type(dist)
        return SCORES.get(dist.name) if known else None

    def _differences(self, X):
        logpdf = self.distribution.logpdf

        def around(rows, h):
            return np.array([logpdf(X[rows] + offset * h) for offset in OFFSETS])

        # What lies towards an edge changes over the distance to it.
        edge = np.minimum(X - self._low, self._high - X)
        scale = np.where(edge > 0, np.minimum(self._scale, edge), self._scale)
        eps = np.finfo(np.float64).eps
        return refined(around, X, logpdf(X), None, eps, scale)[0]

    def _log_density(self, X):
        with np.errstate(divide="ignore"):
            return self.distribution.logpdf(to_numpy(X)).sum(axis=1)

    def _sample(self, n, rng):
        several = self._low.size if np.ndim(self.distribution.support()[0]) else 0
        if self.is_frozen:
            shape = (n, several) if several else n
            drawn = self.distribution.rvs(size=shape, random_state=rng)
        else:
            drawn = self.distribution.sample((n,), rng=_generator(rng))
        return np.asarray(drawn, dtype=np.float64).reshape(n, self.n_features)

    def _ends_abruptly(self):
        """Whether the density falls to 0 at an edge too slowly, or not at all.

        By its power of the distance to it: of gamma(a) that is ``a - 1``. Up to a power
        of 1 scores have no variance.
        """
        distribution, scale = self.distribution, self._scale
        if self.is_frozen:
            # In its own units, where no location takes digits from the distances.
            shapes, _, unit = distribution.dist._parse_args(
                *distribution.args, **distribution.kwds
            )
            distribution, scale = distribution.dist(*shapes), scale / unit
        for edge, inwards in zip(distribution.support(), (1.0, -1.0), strict=True):
            edge = np.atleast_1d(edge)
            finite = np.isfinite(edge)
            if not finite.any():
                continue
            base = np.where(finite, edge, 0.0)
            # Steps that rounding at the edge leaves alone.
            near = np.maximum(1e-9 * scale, 1e-12 * abs(base))
            with np.errstate(all="ignore"):
                logs = [
                    distribution.logpdf(base + inwards * factor * near)
                    for factor in (1.0, 1e3)
                ]
                power = (logs[1] - logs[0]) / np.log(1e3)
            if (finite & (logs[0] > -np.inf) & (power < 1.0 + 1e-3)).any():
                return True
        return False


class MultivariateT(Target):
    """The multivariate t distribution.

    Parameters
    ----------
    loc : array-like of shape (d,)
    shape : array-like of shape (d, d)
        Positive definite.
    df : float
        Degrees of freedom.
    """

    has_log_density = can_sample = True

    def __init__(self, loc, shape, df):
        self._normal = Mixture([1.0], np.asarray(loc)[None], np.asarray(shape)[None])
        self.df, self.n_features = float(df), self._normal.n_features

    def _squares(self, X):
        """Squared distances from loc in units of shape."""
        peak = self._normal._log_density(self._normal.means)[0]
        return -2.0 * (self._normal._log_density(X) - peak)

    def _score(self, X):
        ratio = (self.df + self.n_features) / (self.df + self._squares(X))
        return ratio[:, None] * self._normal._score(X)

    def _log_density(self, X):
        X = to_numpy(X)
        return -0.5 * (self.df + self.n_features) * np.log1p(self._squares(X) / self.df)

    def _sample(self, n, rng):
        centre = self._normal.means
        lengths = np.sqrt(rng.chisquare(self.df, n) / self.df)[:, None]
        return centre + (self._normal._sample(n, rng) - centre) / lengths


def from_scipy(distribution, name="target"):
    """Target of a distribution of scipy.stats; None for what is none.

    Raises
    ------
    TypeError
        For those that are not frozen, discrete, or have no score here.
    """
    kinds = [c.__name__ for c in type(distribution).__mro__]
    ours = any(
        c.__module__.startswith("scipy.stats") for c in type(distribution).__mro__
    )
    if not ours:
        return None
    kind = kinds[0]
    if "rv_generic" in kinds or "multi_rv_generic" in kinds:
        raise TypeError(
            f"{name}={kind} is not frozen: call it with its parameters, as in "
            "scipy.stats.norm(loc=0, scale=1)"
        )
    if "rv_discrete_frozen" in kinds or "DiscreteDistribution" in kinds:
        raise TypeError(
            f"{name}={kind} is discrete: it has no density to take a gradient of"
        )
    if kind == "multivariate_normal_frozen":
        if distribution.cov_object.rank < distribution.dim:
            raise ValueError(f"{name} has a singular covariance: it has no density")
        return Mixture([1.0], distribution.mean[None], distribution.cov[None])
    if kind == "multivariate_t_frozen":
        if np.isinf(distribution.df):
            return Mixture([1.0], distribution.loc[None], distribution.shape[None])
        return MultivariateT(distribution.loc, distribution.shape, distribution.df)
    if kind == "gaussian_kde":
        from .estimators import EstimatorTarget, gaussian_kde

        rows, weights = distribution.dataset.T, distribution.weights
        kde = gaussian_kde(rows, distribution.covariance, weights)
        return EstimatorTarget(_frozen(kde), name)
    if "rv_continuous_frozen" in kinds or "_ProbabilityDistribution" in kinds:
        return UnivariateTarget(distribution, name)
    raise TypeError(f"{name}={kind}: {SCIPY}")


def _frozen(estimator):
    from sklearn.frozen import FrozenEstimator

    return FrozenEstimator(estimator)


def _generator(rng):
    return np.random.default_rng(rng.randint(2**31, size=4))
