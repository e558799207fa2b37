"""MCMC output as rows: chains in arrays, xarray data sets, ArviZ's containers.

Nothing is imported for it: xarray and ArviZ objects are known by their attributes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._device import is_cupy, is_dask
from .._validation import check_rows, is_sliceable
from ._door import to_numpy_or_cupy

# Names under which samplers store gradients of the log density (nutpie: the first).
GRADIENTS = ("gradient", "grad", "score", "scores")
# Where draws in the coordinates of such gradients are: a variable, and a group.
UNCONSTRAINED_DRAW, UNCONSTRAINED_GROUP = (
    "unconstrained_draw",
    "unconstrained_posterior",
)

MISSING = (
    "the scores, gradients of the log density at the draws, are needed: pass scores= "
    "to fit, of the shape of X, or set target= to a function that returns them"
)


@dataclass(frozen=True)
class Draws:
    """Draws of all chains as rows, one chain after another.

    Attributes
    ----------
    points : array-like of shape (n, d)
    scores : array-like of shape (n, d) or None
        Gradients of the log density; None where a target will give them.
    n_chains : int
        1 where there was no axis of chains.
    """

    points: Any
    scores: Any
    n_chains: int


def read_draws(X, scores=None, target=None):
    """Rows of MCMC output, and their scores.

    Parameters
    ----------
    X : array-like of shape (n, d) or (chain, draw, d), Dataset, InferenceData, DataTree
    scores : array-like of the shape of X, Dataset, str, list of str or None
        Gradients, or the names of their variables in ArviZ data. None: those that
        ArviZ data has.
    target : callable or None
        Will give the scores: none are read.

    Returns
    -------
    Draws

    Raises
    ------
    ValueError
        When there are no scores; the message says what to pass.
    """
    if target is not None and scores is not None:
        raise ValueError("scores and target both give the scores: pass one of them")
    stored = is_tree(X) and target is None
    if stored and (scores is None or _are_names(scores)):
        return _stored_draws(X, scores)
    if scores is None and target is None:
        raise ValueError(MISSING)
    rows = X.posterior if is_tree(X) else X
    points, n_chains = as_rows(rows, "X")
    _check_chains(X, scores, "scores")
    scores = _by_names_of(rows, scores)
    return Draws(points, read_statistic(X, scores, "scores"), n_chains)


def gathered(draws, points, target):
    """Draws and scores in memory, of points in Dask's blocks.

    They are checked, and a target is called, block by block.

    Parameters
    ----------
    draws, target
        Of `scores_of`.
    points : dask.array.Array of shape (n, d)

    Returns
    -------
    Draws
        Of arrays of float64.

    Raises
    ------
    MemoryError
        Where they would take more than half of this machine's memory.
    """
    from ..dask.arrays import aligned, collect
    from ..dask.compute import everywhere
    from ..dask.graphs import over_blocks

    scores = draws.scores
    scores = None if target is not None else aligned(scores, points, "scores")
    d = points.shape[1]
    both = over_blocks(
        _with_scores,
        points,
        scores,
        shape=(2 * d,),
        dtype=np.float64,
        target=None if target is None else everywhere(target),
    )
    remedy = "every one of them may be chosen; leave some out first, as by X[::10]"
    both = collect(both, remedy)
    return Draws(both[:, :d], both[:, d:], draws.n_chains)


def _with_scores(rows, place, scores, target):
    """Rows of a block and their scores, side by side."""
    from ..dask.work import on_block

    with on_block(place):
        rows, name = check_rows(rows), "scores"
        if target is not None:
            scores, name = target(rows.copy()), "target(X)"
        scores = check_gradients(scores, rows, name)
        rows, scores = (a.get() if is_cupy(a) else a for a in (rows, scores))
        return np.concatenate([rows, scores], axis=1, dtype=np.float64)


def scores_of(draws, points, target, kind):
    """Scores of checked points, from the target where there is one.

    Parameters
    ----------
    draws : Draws
    points : array of shape (n, d)
    target : callable or None
        Of `read_draws`.
    kind : ArrayKind
        What the target takes.
    """
    if target is None:
        return check_gradients(draws.scores, points, "scores")
    given = kind.out(points)
    given = given.copy() if hasattr(given, "copy") else given
    return check_gradients(target(given), points, "target(X)")


def read_statistic(X, values, name, axes=3):
    """What belongs to each draw, as rows: an array, or ArviZ's sample statistics.

    Parameters
    ----------
    X : object
        Of `read_draws`.
    values : array-like, Dataset, str, list of str or None
    name : str
        For messages.
    axes : {2, 3}
        How many there are with one of chains.
    """
    if values is None:
        return None
    _check_chains(X, values, name, axes)
    if not _are_names(values):
        return as_rows(values, name, axes)[0]
    if not is_tree(X):
        raise ValueError(
            f"{name}={values!r} names a variable, but X is no ArviZ data with "
            f"sample_stats: pass that as X, or {name} as an array"
        )
    names = [values] if isinstance(values, str) else values
    stats = getattr(X, "sample_stats", None)
    known = [] if stats is None else list(stats.data_vars)
    missing = [v for v in names if v not in known]
    if missing:
        raise ValueError(
            f"{name}={values!r}: sample_stats has no variable {missing[0]!r}, but "
            f"{', '.join(map(str, known)) or 'none at all'}"
        )
    rows = _side_by_side(stats, names)[0]
    return rows if axes == 3 else rows[:, 0]


def _check_chains(X, values, name, axes=3):
    """An error where both are arrays of chains, and not of the same."""
    shapes = [getattr(a, "shape", None) for a in (X, values)]
    if any(shape is None or len(shape) < 2 for shape in shapes) or len(shapes[0]) != 3:
        return
    expected = tuple(shapes[0])[:axes]
    if tuple(shapes[1]) != expected:
        raise ValueError(
            f"{name} has shape {tuple(shapes[1])}, and X has {tuple(shapes[0])}: it "
            f"must have {expected}, chains first"
        )


def _by_names_of(X, scores):
    """Scores with their columns or variables in the order of those of X.

    Where both have the same names; other names are taken by their order.

    Raises
    ------
    ValueError
        Where the rows of two data frames have other labels; Dask's are not compared.
    """
    for names in ("columns", "data_vars"):
        if hasattr(X, names) and hasattr(scores, names):
            own, theirs = list(getattr(X, names)), list(getattr(scores, names))
            if own != theirs and set(own) == set(theirs):
                scores = scores[own]
    frames = all(hasattr(a, "iloc") and not is_dask(a) for a in (X, scores))
    if frames and not X.index.equals(scores.index):
        raise ValueError(
            "scores and X are data frames with other row labels: use "
            "scores.loc[X.index]"
        )
    return scores


def as_rows(array, name, axes=3):
    """Chains as rows, and how many chains there are; what has no chains unchanged.

    Parameters
    ----------
    array : array-like of shape (chain, draw, ...) or (n, ...), DataArray or Dataset
    name : str
    axes : {2, 3}
        How many there are with one of chains.
    """
    if hasattr(array, "data_vars"):
        return _side_by_side(array, list(array.data_vars))
    if hasattr(array, "dims"):
        array = _chains_first(array, name)
    elif is_sliceable(array):
        array = array[...]
    elif isinstance(array, (list, tuple)):
        array = np.asarray(array)
    if getattr(array, "ndim", 0) != axes:
        return array, 1
    array = array if is_dask(array) else to_numpy_or_cupy(array)
    if 0 in array.shape:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    rows = array.reshape(-1, *array.shape[2:])
    if is_dask(array) and axes == 3:
        rows = rows.rechunk({1: -1})
    return rows, array.shape[0]


def check_gradients(array, X, name):
    """One real, finite number for each entry of X.

    Parameters
    ----------
    array : array-like
    X : array of shape (n, d)
    name : str
        For messages.

    Raises
    ------
    ValueError
        It counts the rows that are not finite.
    """
    array = to_numpy_or_cupy(array)
    if not is_cupy(array):
        array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, not {array.dtype}")
    if array.shape != X.shape:
        raise ValueError(
            f"{name} has shape {array.shape} and X has {X.shape}: it must have one "
            "number for each entry of X, by the same coordinates (leave variables of "
            "ArviZ data out that are not parameters, as in idata.posterior[['mu']])"
        )
    bad = ~(abs(array) < np.inf).reshape(len(array), -1).all(axis=1)
    if bool(bad.any()):
        raise ValueError(
            f"{name} contains NaN or infinity in {int(bad.sum())} of {len(array)} "
            f"rows, the first of them row {int(bad.argmax())}: leave these draws out "
            f"of X and {name}"
        )
    return array


def is_tree(X):
    """Whether X is ArviZ data: an object with a group of posterior draws."""
    array_like = hasattr(X, "dtype") or hasattr(X, "iloc")
    return not array_like and hasattr(X, "posterior")


def _are_names(values):
    names = values if isinstance(values, list) else [values]
    return bool(names) and all(isinstance(v, str) for v in names)


def _stored_draws(X, scores):
    """Draws with the gradients that were stored beside them."""
    stats = getattr(X, "sample_stats", None)
    known = [] if stats is None else list(stats.data_vars)
    by_name = scores is None
    if by_name:
        scores = next((v for v in GRADIENTS if v in known), None)
    if scores is None:
        raise ValueError(
            f"{MISSING}; sample_stats of X has none of the names "
            f"{', '.join(GRADIENTS)} (nutpie stores what is needed with "
            "store_gradient=True and store_unconstrained=True)"
        )
    gradients = read_statistic(X, scores, "scores")
    # Samplers' gradients are by unconstrained coordinates: draws in these come first.
    if UNCONSTRAINED_DRAW in known:
        points, n_chains = _side_by_side(stats, [UNCONSTRAINED_DRAW])
    else:
        if by_name and not hasattr(X, UNCONSTRAINED_GROUP):
            warnings.warn(
                "X has no unconstrained draws: its stored gradients are taken as those "
                "by the posterior's own variables, which holds for parameters without "
                "constraints alone (nutpie: store_unconstrained=True)",
                UserWarning,
                stacklevel=4,
            )
        group = getattr(X, UNCONSTRAINED_GROUP, X.posterior)
        points, n_chains = as_rows(group, "X")
    return Draws(points, gradients, n_chains)


def _side_by_side(data, names):
    """Variables as columns, of shape (chain x draw, d), and the number of chains."""
    if not names:
        raise ValueError("X has no variables")
    parts = [_chains_first(data[v], v, needed=True) for v in names]
    chains, draws = parts[0].shape[:2]
    columns = [part.reshape(chains * draws, -1) for part in parts]
    return np.concatenate(columns, axis=1), chains


def _chains_first(variable, name, needed=False):
    """Values of an xarray variable, the axes of chains and draws in front."""
    if {"chain", "draw"} <= set(variable.dims):
        return np.asarray(variable.transpose("chain", "draw", ...).values)
    if needed:
        raise ValueError(
            f"the variable {name!r} has the dimensions {tuple(variable.dims)}: chain "
            "and draw must be among them"
        )
    return np.asarray(variable.values)
