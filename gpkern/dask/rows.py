"""Methods of estimators that have a result for each row, block by block."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import config_context, get_config

from .arrays import aligned, check_blocks
from .compute import everywhere
from .graphs import over_blocks
from .work import OF_WORKER, on_block, task_bytes


def by_rows(estimator, method, X, options):
    """``estimator.method(X, **options)`` as a Dask array, lazily.

    Every block is one call of the method on the worker that holds it, in that worker's
    memory; the estimator is sent to each worker once.

    Parameters
    ----------
    estimator : BaseEstimator
        Fitted.
    method : str
    X : dask.array.Array of shape (n, d)
        Its columns have been checked.
    options : dict

    Returns
    -------
    dask.array.Array of shape (n, ...)
    """
    X = check_blocks(X)
    like = _of_one_row(estimator, method, X, options)
    return over_blocks(
        _of_block,
        X,
        shape=like.shape[1:],
        dtype=like.dtype,
        estimator=everywhere(estimator),
        method=method,
        options=options,
        megabytes=get_config()["working_memory"],
    )


def _of_one_row(estimator, method, X, options):
    """The result of a row that is none of X: its shape and its dtype count."""
    row = np.ones((1, X.shape[1]), X.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(getattr(estimator, method)(row, **options))


def _of_block(rows, place, estimator, method, options, megabytes):
    room = min(megabytes, OF_WORKER * task_bytes() / 2**20)
    quiet = warnings.catch_warnings()
    with on_block(place), config_context(working_memory=room), quiet:
        # Those of X have been looked at.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        return getattr(estimator, method)(rows, **options)


def by_rows_with(estimator, method, X, arrays, options):
    """The same of methods that take more than X for each row.

    Parameters
    ----------
    arrays : dict of array of shape (n, d)
        Arguments, by name, of the shape of X; Dask's or others.
    """
    X = check_blocks(X)
    names = list(arrays)
    parts = [aligned(arrays[name], X, name) for name in names]
    one = {name: np.zeros((1, X.shape[1])) for name in names}
    like = _of_one_row(estimator, method, X, options | one)
    return over_blocks(
        _of_parts,
        X,
        *parts,
        shape=like.shape[1:],
        dtype=like.dtype,
        names=names,
        estimator=everywhere(estimator),
        method=method,
        options=options,
        megabytes=get_config()["working_memory"],
    )


def _of_parts(rows, place, *parts, names, options, **how):
    options = options | dict(zip(names, parts, strict=True))
    return _of_block(rows, place, options=options, **how)
