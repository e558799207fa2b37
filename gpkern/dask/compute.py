"""From graphs to numbers: what runs, what workers hold, and which block failed."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from uuid import uuid4

import dask
import numpy as np


class BlockError(RuntimeError):
    """A block could not be computed; the message has its number and its rows."""


def gather(collection, *sources):
    """The value of a Dask collection.

    Parameters
    ----------
    collection : Dask collection
    *sources : dask.array.Array
        What it is made of: of an error in these, the block is found.

    Raises
    ------
    Exception
        Of the class of the error, where that can be, with the block's number.
    """
    try:
        with quiet():
            return dask.compute(collection)[0]
    except Exception as error:
        for source in sources:
            name_block(source, error)
        raise


def persist(*collections):
    """The same, computed, where workers hold them."""
    with quiet():
        out = dask.persist(*collections)
    return out[0] if len(collections) == 1 else out


@contextmanager
def quiet():
    """No warning of graphs that hold centers or coefficients: each is sent once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        yield


def everywhere(thing):
    """An object as what tasks are given, sent to each worker once.

    It is part of a graph, so that a worker that comes later, or comes back, gets it
    too.

    Returns
    -------
    dask.delayed.Delayed
    """
    return persist(literal(thing))


def literal(thing):
    """An object as one node of a graph, which all of its tasks are given."""
    name = f"{type(thing).__name__.lower()}-{uuid4().hex}"
    return dask.delayed(thing, name=name, traverse=False)


def name_block(source, error):
    """Raise the error of the first block of an array that fails, with its number.

    Nothing is raised where none does, or the error tells already.
    """
    if "block " in str(error) or isinstance(error, (MemoryError, KeyboardInterrupt)):
        return
    first = np.concatenate([[0], np.cumsum(source.chunks[0])])
    blocks = source.to_delayed(optimize_graph=False)
    for i, block in enumerate(blocks.reshape(source.numblocks[0], -1)):
        try:
            dask.compute([dask.delayed(_nothing)(part) for part in block])
        except Exception as cause:
            where = f"block {i} (rows {first[i]} to {first[i + 1] - 1})"
            raise BlockError(
                f"{where} could not be computed: {type(cause).__name__}: {cause}"
            ) from cause


def _nothing(block):
    """Of a block that has been computed."""
