"""Methods of estimators that have a result for each row, block by block."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn import config_context, get_config

from .arrays import check_blocks
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
