"""Draws of posterior distributions with the gradients of their log densities."""

from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

_FOLDER = Path(__file__).parent
_DATA_FILE = _FOLDER / "data" / "posterior.npz"
_DESCR_FILE = _FOLDER / "descr" / "posterior.rst"
_NAMES = ("eight_schools", "lotka_volterra")


def load_posterior(name="eight_schools"):
    """Load draws of a posterior distribution, with the scores at them.

    Reference draws of Stan, of ten chains, which are nearly independent, for Stein
    discrepancies. Scores are the gradients of the log density by unconstrained
    coordinates: a positive parameter is drawn by its logarithm. The data ship with the
    package; nothing is downloaded.

    ==============   =========================================
    Samples total    4000, 10 chains of 400 draws
    Dimensionality   10 (eight schools), 8 (Lotka-Volterra)
    Features         real
    ==============   =========================================

    Parameters
    ----------
    name : {"eight_schools", "lotka_volterra"}, default="eight_schools"
        "eight_schools": effects of coaching in eight schools, about a common mean with
        an unknown spread; a funnel. "lotka_volterra": rates at which hares and
        lynxes breed and die, from counts of twenty years.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : ndarray of shape (10, 400, d)
            Draws in unconstrained coordinates, as (chain, draw, column).
        scores : ndarray of shape (10, 400, d)
            Gradients of the log density by those coordinates.
        log_density : ndarray of shape (10, 400)
            Up to a constant, in the same coordinates: with the logarithm of the
            Jacobian.
        draws : ndarray of shape (10, 400, d)
            The parameters themselves.
        feature_names : list of str
            The unconstrained coordinates.
        parameter_names : list of str
            The parameters.
        DESCR : str
            The full description of the data set.
        data_filename : str
            The path to the data file.

    Examples
    --------
    >>> from gpkern.datasets import load_posterior
    >>> posterior = load_posterior("eight_schools")
    >>> posterior.data.shape
    (10, 400, 10)
    >>> posterior.feature_names[-3:]
    ['theta[8]', 'mu', 'log tau']
    """
    if name not in _NAMES:
        raise ValueError(f"name={name!r}: the posteriors are {', '.join(_NAMES)}")
    with np.load(_DATA_FILE, allow_pickle=False) as stored:
        names, positive, points, scores, logs = (
            stored[f"{name}__{key}"]
            for key in ("names", "positive", "points", "scores", "log_density")
        )
    points, scores = (
        np.ascontiguousarray(np.moveaxis(a, 0, 2), dtype=np.float64)
        for a in (points, scores)
    )
    draws = points.copy()
    draws[..., positive] = np.exp(points[..., positive])
    names = names.tolist()
    return Bunch(
        data=points,
        scores=scores,
        log_density=logs.astype(np.float64),
        draws=draws,
        feature_names=[
            f"log {parameter}" if above else parameter
            for parameter, above in zip(names, positive, strict=True)
        ],
        parameter_names=names,
        DESCR=_DESCR_FILE.read_text(encoding="utf-8"),
        data_filename=str(_DATA_FILE),
    )
