"""What Stein tests of independent rows with a single kernel share."""

from __future__ import annotations

from numbers import Real

from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils._param_validation import Interval, StrOptions

from ._stein_sample import read_sample
from ._testing import BASES, bases_of, warn_if_dependent

ONE_KERNEL = {
    "kernel": [StrOptions(set(BASES)), Kernel],
    "length_scale": [
        Interval(Real, 0, None, closed="neither"),
        StrOptions({"median"}),
        None,
    ],
}
REMEDY = (
    "use KSDTest(null='markov'), with chains as X of shape (chain, draw, n_features)"
)


def independent_sample(estimator, X, scores=None, least=3):
    """The rows of `fit`, checked, with their scores; sets ``n_features_in_``.

    Warns where successive rows visibly correlate. To be called by `fit` itself, so
    that the warning points at the caller of `fit`.

    Parameters
    ----------
    estimator : BaseEstimator
        With a `target`.
    X : array-like or dask.array.Array of shape (n, d)
    scores : array-like of shape (n, d) or None
    least : int
        Rows that the test needs.

    Returns
    -------
    SteinSample

    Raises
    ------
    ValueError
        For chains, too few rows, equal rows, and scores that are missing or not
        finite.
    """
    name = type(estimator).__name__
    sample = read_sample(estimator, X, scores)
    if sample.has_chains:
        raise ValueError(
            f"X holds chains, whose draws are not independent as {name} takes rows to "
            "be: use KSDTest(null='markov')"
        )
    n = len(sample.points)
    if n < least:
        raise ValueError(f"n_samples={n}: {name} needs at least {least} rows of X")
    warn_if_dependent(sample.correlation, REMEDY)
    return sample


def one_base(estimator, points, rng):
    """The base kernel of an estimator, with its length scale.

    Parameters
    ----------
    estimator : BaseEstimator
        With `kernel` and `length_scale`.
    points : array of shape (n, d)
        Of which the median distance is taken, where that is asked for.
    rng : RandomState
    """
    return bases_of(estimator.kernel, estimator.length_scale, False, points, rng)[0]
