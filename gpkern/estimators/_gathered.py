"""Dask arrays in the memory of the caller, for what needs all rows at once."""

from __future__ import annotations

from .._device import is_dask


def gathered(X, remedy, name="X"):
    """All rows of a Dask array, as a NumPy array; others unchanged.

    Parameters
    ----------
    X : array
    remedy : str
        What to do where they do not fit in memory.
    name : str
        For messages, which have the number of a block that cannot be used.

    Raises
    ------
    MemoryError
    """
    if not is_dask(X):
        return X
    from ..dask.sample_rows import whole

    return whole(X, remedy, name)
