"""What `KernelDensity` and `KDEModeFinder` do with the blocks of Dask arrays."""

from __future__ import annotations

import copy
import functools

import numpy as np
from sklearn.utils import check_random_state

from .._device import is_dask
from ..algorithms.bandwidth import sample_of
from ..algorithms.kernel_sum import KernelSum
from ..algorithms.mode_search import nearest_mode
from ..algorithms.whitening import Whitening
from ._bandwidths import EUCLIDEAN, resolve_bandwidth
from ._door import (
    by_blocks,
    check_weights,
    choose_device,
    on_host,
    to_numpy_or_cupy,
)

# Rows up to which a Dask array is gathered, and their bytes: then all is done, and
# found, as of an array in memory.
MOST_GATHERED, MOST_BYTES = 20_000, 1 << 28


def of_queries(method):
    """`by_blocks` for a sample in memory; that of one in blocks takes Dask arrays.

    Workers that each had all of it could not hold it: sums go over pairs of blocks.
    """
    in_blocks = by_blocks(method)

    @functools.wraps(method)
    def wrapped(self, X):
        return (method if is_dask(getattr(self, "_points", None)) else in_blocks)(
            self, X
        )

    return wrapped


def is_few(X):
    """Whether a Dask array is gathered."""
    return X.shape[0] <= MOST_GATHERED and X.nbytes <= MOST_BYTES


def gathered(X, sample_weight):
    """A small Dask array in memory, its blocks checked, and its weights."""
    from ..dask.arrays import aligned, take
    from ..dask.targets import check_weights as check_blocks

    if sample_weight is not None:
        if is_dask(sample_weight):
            check_blocks(sample_weight, X, np.float64)
            sample_weight = aligned(sample_weight, X, "sample_weight").compute()
        sample_weight = on_host(sample_weight)
    rows = take(X, np.arange(X.shape[0]))
    return rows.astype(np.promote_types(rows.dtype, np.float32)), sample_weight


def as_blocks(array, blocks):
    """A result for each row of the sample as a Dask array, where X was one."""
    if blocks is None:
        return array
    import dask.array as da

    return da.from_array(on_host(array), chunks=(blocks,), name=False)


def fit_blocks(kde, X, sample_weight):
    """`KernelDensity.fit` of a sample that stays in blocks."""
    import dask.array as da

    if kde.metric not in EUCLIDEAN:
        raise ValueError(
            f"metric={kde.metric!r} needs a sample in memory: gather X.compute(), or "
            "thin it first with KernelThinning"
        )
    device, n = choose_device(kde.device, X), X.shape[0]
    weights = check_weights(sample_weight, X, np.float64)
    if weights is None:
        weights = da.full(n, 1.0 / n, chunks=(X.chunks[0],))
    else:
        weights = weights / device.whole(weights.max())  # sums of large ones overflow
        weights = device.keep(weights / device.whole(weights.sum()))
    kde.n_effective_ = 1.0 / float(device.whole((weights**2).sum()))
    sample = sample_of(X, weights, device)
    mean = sample.mean  # the first pass over all rows, which looks for NaN
    kernel = kde._kernel()
    kde.bandwidth_ = resolve_bandwidth(
        kde, kernel, sample, kde.n_effective_, check_random_state(kde.random_state)
    )
    kde._whitening = Whitening.of(mean, kde.bandwidth_)
    kde.kernel_ = kde._unit_kernel(kernel, device)
    kde._points, kde._shares, kde._own = _into(kde, X), weights, weights
    kde._place, kde.n_samples_, kde.n_distinct_ = None, n, n
    return kde


def _into(kde, X, dtype=None, farthest=np.inf):
    """Rows of a Dask array in units of the bandwidth, lazily."""
    from ..dask.samples import whitened

    keeps = X.dtype.kind == "f" and X.dtype.itemsize > 2
    keeps = keeps and not max(kde.atol, kde.rtol)
    dtype = dtype or (X.dtype if keeps else np.dtype(np.float64))
    return whitened(X, kde._whitening, dtype, farthest)


def into_units(kde, X, farthest, far):
    """Rows to look at, a Dask array, in units of the bandwidth of a sample in blocks.

    Of numbers that squares in float32 do not hold it is an error: whether a block has
    some is not known before it is computed.
    """
    double = kde._points.dtype == np.float64 or X.dtype != np.float32
    dtype = np.dtype(np.float64 if double else np.float32)
    return _into(kde, X, dtype, farthest if double else far)


def device_of(estimator, points, *arrays):
    """Device of sums over points, which may be those of a Dask array."""
    points = points if is_dask(points) else to_numpy_or_cupy(points)
    return choose_device(estimator.device, *arrays, points, predicting=True)


def sum_of(kernel, points, weights, device):
    """The sum of kernels on a device, or of the blocks of Dask arrays."""
    if not is_dask(points):
        points, weights = (
            device.xp.asarray(device.put(to_numpy_or_cupy(a)))
            for a in (points, weights)
        )
    return KernelSum(kernel, points, weights, device)


def logs_without_self(sums):
    """Log sums at each point of a sample in blocks, without it, over the other weight.

    Lazily.
    """
    own = sums.weights
    alone = own >= 1.0  # nothing is left
    return sums.log_without_self() - np.log1p(-np.where(alone, 0.0, own))


def drawn_rows(sums, n_samples, rng):
    """Rows of a sample by weight, put back, shape (n_samples, d)."""
    if not is_dask(sums.points):
        weights = sums.device.get(sums.weights)
        rows = rng.choice(len(weights), n_samples, p=weights / weights.sum())
        return sums.points[sums.device.xp.asarray(rows)]
    from ..dask.arrays import take
    from ..dask.samples import picked

    rows = picked(sums.weights, rng.random_sample(n_samples))
    rows, place = np.unique(rows, return_inverse=True)
    return take(sums.points, rows)[place]


# ------------------------------------------------------------------- modes of rows


def climbs_in_blocks(finder):
    """Whether the density of a finder is that of a sample in blocks, to be climbed."""
    in_blocks = is_dask(getattr(finder.kde_, "_points", None))
    return in_blocks and finder.assign == "ascend"


def check_can_label(finder, what):
    """An error where all rows of a Dask array would have to climb."""
    if climbs_in_blocks(finder):
        raise ValueError(
            f"{what}: with assign='ascend' each row of a Dask array would climb the "
            "density of all rows: set assign='nearest'; or thin the sample with "
            "KernelThinning and pass FrozenEstimator(KernelDensity(...).fit(thinned)) "
            "as kde"
        )


def labels_of(finder, X):
    """`KDEModeFinder.predict` of a Dask array, lazily."""
    from ..dask.graphs import over_blocks
    from ..dask.rows import by_rows

    check_can_label(finder, "predict")
    if not is_dask(getattr(finder.kde_, "_points", None)):
        # Without the rows of the fit, which are not to be sent to the workers.
        lean = copy.copy(finder)
        lean._rows = lean._labels = lean._row_weights = lean._blocks = None
        return by_rows(lean, "predict", X, {})
    rows, found = _into(finder.kde_, X, np.float64), finder._found
    how = {"points": found.points, "label": found.label}
    return over_blocks(_nearest, rows, shape=(), dtype=found.label.dtype, **how)


def _nearest(rows, place, points, label):
    return nearest_mode(on_host(rows), points, label)


def renumbered(labels, number, device, kind):
    """``number[labels]``, in the user's type of array."""
    if is_dask(labels):
        from ..dask.targets import looked_up

        return looked_up(number, labels)
    return kind.out(device.xp.asarray(number[on_host(labels)]))


def shares_of(labels, weights, count):
    """Share of all rows, by weight, that have each of so many labels.

    Parameters
    ----------
    labels : dask.array.Array of int, shape (n,)
        Below 0 of rows that have none.
    weights : array of shape (n,), or None
    count : int
    """
    from ..dask.graphs import total_over_blocks
    from ..dask.targets import check_weights as check_blocks

    if weights is not None:
        weights = check_blocks(weights, labels[:, None], np.float64)
        weights = weights / weights.max()
    sums, total = total_over_blocks(_label_sums, labels, weights, count=count)
    return sums / total


def _label_sums(labels, place, weights, count):
    from ..dask.work import Sum

    weights = np.ones(len(labels)) if weights is None else on_host(weights)
    found = labels >= 0
    sums = np.bincount(labels[found], weights[found], minlength=count)
    return Sum((sums, float(weights.sum())))
