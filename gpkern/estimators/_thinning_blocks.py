"""`KernelThinning` of Dask arrays: what is gathered, and what is chosen from blocks."""

from __future__ import annotations

import numpy as np

from ..algorithms import thinning
from ..algorithms.compress import levels_of
from ._thinning_rows import whole


def gathered(X, estimator):
    """Rows of a Dask array in memory, where all of them are needed at once.

    Otherwise as they are: they are to be compressed block by block.
    """
    from ..dask.arrays import collect

    method = estimator.method
    blocks = method in ("auto", "compress++") and len(X) > thinning.ALL_PAIRS_ROWS
    if not blocks:
        return collect(
            X, f"method={method!r} needs all of them: use 'compress++', or fewer rows"
        )
    if estimator.stratify is not None:
        raise ValueError(
            f"stratify='y' needs all rows in memory, and a Dask array of more than "
            f"{thinning.ALL_PAIRS_ROWS} rows is compressed block by block: use one "
            "KernelThinning for each class"
        )
    return X


def choose_of_blocks(way, embedding, operator, X, size, share, random_state):
    """`Thinning.choose` of a Dask array.

    Parameters
    ----------
    way : Thinning
    embedding : Embedding
    operator : DaskKernelOperator
        K of X with itself.
    X : dask.array.Array of shape (n, d)
        With targets, where these count.
    size, share, random_state
        Of `Thinning.choose`; `share` is a Dask array or None.
    """
    from ..dask.arrays import collect
    from ..dask.compress import compressed

    oversampling = way.oversampling_of(len(X), size)
    if 2.0**oversampling * np.sqrt(len(X)) < size:
        raise ValueError(
            f"oversampling={oversampling} compresses {len(X)} rows to about "
            f"{int(2.0**oversampling * np.sqrt(len(X)))}, less than n_samples={size}: "
            "raise it, or leave it at 'auto'"
        )
    if not levels_of(len(X), oversampling):
        remedy = f"n_samples={size} of {len(X)} rows needs all of them: choose fewer"
        own = embedding.operator(collect(X, remedy), operator.device)
        return way.choose(own, size, whole(share), random_state)
    how = oversampling, way.delta, operator.device, random_state
    order = compressed(embedding, X, share, *how)
    return way.choose_among(operator, order, size, share, random_state)


def parts(X, y, sample_weight):
    """The blocks of Dask's rows one after another, with what belongs to them.

    Parameters
    ----------
    X : dask.array.Array or dask.dataframe.DataFrame
    y, sample_weight : array-like of shape (n, ...), or None
        A weight that is one number goes with every block.

    Yields
    ------
    X, y, sample_weight
        On the host; of a data frame, X is one too.
    """
    from ..dask.arrays import aligned, check_blocks
    from ..dask.compute import gather
    from ..dask.graphs import table_of
    from ..dask.work import on_block, on_host

    frame = X._meta if hasattr(X, "columns") else None
    X = check_blocks(X)
    others = {"y": y, "sample_weight": sample_weight}
    others = {
        name: array if array is None or np.ndim(array) == 0 else aligned(array, X, name)
        for name, array in others.items()
    }
    table = table_of(X)
    for i in range(X.numblocks[0]):
        rows = on_host(gather(X.blocks[i], X))
        with on_block(table[i : i + 1]):
            rows = check_finite(rows)
        if frame is not None:
            rows = type(frame)(rows, columns=frame.columns)
        rest = (
            a if not hasattr(a, "blocks") else on_host(gather(a.blocks[i], a))
            for a in others.values()
        )
        yield rows, *rest


def check_finite(rows):
    """The same; an error for NaN or infinity."""
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise ValueError("Input X contains NaN or infinity.")
    return rows


def check_same_length(X, y):
    """An error for another number of targets than there are rows of Dask's."""
    from ..dask import arrays

    X, y = (arrays.from_frame(a) for a in (X, y))
    arrays.check_same_length(y if hasattr(y, "shape") else np.asarray(y), X, "y")
