"""`partial_fit` of `KernelThinning`: a coreset of rows that come one after another."""

from __future__ import annotations

import copy
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from .._device import is_dask, select
from ..algorithms import thinning
from ..algorithms.mean_distance import random_distance
from ..algorithms.stream import Stream
from ._door import (
    ArrayKind,
    all_or_nothing,
    check_fit_X,
    check_predict_X,
    check_weights,
    choose_device,
)
from ._thinning_blocks import parts
from ._thinning_rows import Chosen, in_memory, size_of

# Attributes of what is chosen from a stream.
RESULTS = {
    "kernel_",
    "method_",
    "mmd_",
    "mmd_iid_",
    "mmd_stderr_",
    "objective_path_",
    "sample_indices_",
    "sample_targets_",
    "samples_",
    "split_kernel_",
    "weights_",
}


class Streaming:
    """`partial_fit`, and the attributes that come of it."""

    @all_or_nothing
    def partial_fit(self, X, y=None, sample_weight=None):
        """Take in the next rows of a stream, such as a chain too long for memory.

        Rows are compressed as they come, in memory that grows as the square root of
        their number. The attributes are those of all rows so far; they are computed
        when one of them is read. A stream that is cut into other chunks gives the same.

        Length scales "median" and "scale", and mean and scale of y, are those of the
        rows so far, and from 16,384 rows on (more with `oversampling` above 6) those of
        the first so many. Up to there all rows are kept. `fit` ends a stream.
        A coreset of about as many rows as the square root of the stream is as near as
        that of a `fit`; one of far fewer is up to 1.6 times as far, as fewer rows are
        kept to exchange for.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)
            Any number of rows. The blocks of a Dask array are gathered and taken in
            one after another.
        y : array-like of shape (n,) or (n, n_targets), default=None
            Targets, for `y_kernel`; otherwise ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows in the stream; None for ones.

        Returns
        -------
        self

        Examples
        --------
        >>> import numpy as np
        >>> from gpkern import KernelThinning
        >>> rng = np.random.default_rng(0)
        >>> thinning = KernelThinning(100, random_state=0)
        >>> for _ in range(10):
        ...     thinning = thinning.partial_fit(rng.normal(size=(2000, 2)))
        >>> thinning.n_samples_seen_, thinning.samples_.shape
        (20000, (100, 2))
        """
        self._validate_params()
        if is_dask(X):
            for part in parts(X, y, sample_weight):
                self.partial_fit(*part)
            return self
        old = self.__dict__.get("_stream")
        stream = self._new_stream() if old is None else old.copy()
        begun = self.__dict__.get("_begun", self._comparison())
        if old is not None and begun != self._comparison():
            raise ValueError(
                "the kernel, its parameters or the method are other ones than when the "
                "stream began: fit starts another stream"
            )
        kind = ArrayKind(X)
        # Results go out in the type of the last rows.
        like = X[:0] if kind.is_cupy or kind.xp is not None else None
        X = check_fit_X(self, X, False) if old is None else check_predict_X(self, X)
        X = in_memory(X)
        device = choose_device(self.device, X)
        weights = check_weights(sample_weight, X, np.float64, some=False)
        if weights is None:
            weights = np.ones(X.shape[0])
        rows = self._with_targets(device.get(X), y, select("cpu"))
        if stream.width not in (None, rows.shape[1]):
            raise ValueError(
                f"y has {rows.shape[1] - X.shape[1]} columns that count, the stream "
                f"has {stream.width - X.shape[1]} so far: fit starts another one"
            )
        stream.add(np.asarray(rows), weights, self._embed(stream), device)
        wanted = self.n_samples
        if isinstance(wanted, Integral) and not stream.is_whole and wanted > stream.bin:
            raise ValueError(
                f"n_samples={wanted} is more than this stream keeps, {stream.bin} "
                "rows: set it before the first partial_fit"
            )
        if self._wants_share() and not stream.is_whole:
            raise ValueError(
                f"n_samples={self.n_samples}, a share of the rows, outgrows the memory "
                f"of a stream of {stream.block} rows: use a whole number, or None"
            )
        self._forget_stream()
        self._stream, self._begun = stream, begun
        self._like = like
        self.n_samples_seen_ = stream.n_seen
        return self

    def _new_stream(self):
        if self.stratify is not None:
            raise ValueError(
                "stratify='y' needs all rows at once: use fit, or one KernelThinning "
                "for each class"
            )
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        oversampling = self.oversampling
        wanted = 1 if self.n_samples is None or self._wants_share() else self.n_samples
        if oversampling == "auto":
            oversampling = thinning.OVERSAMPLING
            while Stream(oversampling, self.delta, seed).bin < 2 * wanted:
                oversampling += 1
        stream = Stream(oversampling, self.delta, seed)
        if stream.bin < wanted:
            raise ValueError(
                f"oversampling={oversampling} keeps {stream.bin} rows of a stream of "
                f"{stream.block}, less than n_samples={wanted}: raise it, or leave it "
                "at 'auto'"
            )
        return stream

    def _comparison(self):
        """What rows are compared by, as text."""
        names = ("kernel", "gamma", "length_scale", "method", "y_kernel", "delta")
        return repr([getattr(self, name) for name in names])

    def _wants_share(self):
        return not (self.n_samples is None or isinstance(self.n_samples, Integral))

    def _embed(self, stream):
        """How rows are compared in a stream that begins with the rows given."""
        return lambda rows: self._embedding(rows, 0, np.random.RandomState(stream.seed))

    def _choose_from_stream(self):
        stream, kind = self._stream, ArrayKind(self._like)
        device = choose_device(self.device, self._like, predicting=True)
        random_state = copy.deepcopy(stream.random_state)
        with device.here():
            summary = stream.summary(self._embed(stream), device, random_state)
            embedding, rows = summary.embedding, summary.rows
            operator = embedding.operator(rows.values, device)
            mu = summary.means(operator)
            method = self._method(embedding.kernel, 0, self.n_features_in_)
            way = self._thinning(embedding, method)
            size = self._stream_size(stream.n_kept, len(rows))
            order = rows.order(random_state)
            best = way.choose_from(operator, order, size, mu, random_state)
            chosen = np.sort(best.rows)
            weights = self._weights(operator, chosen, mu[device.xp.asarray(chosen)])
            kept, distances = rows.take(chosen), (None, None, None)
            if self.compute_mmd is not False:
                mmd = summary.distance(chosen, weights, device)
                share = None if summary.is_plain else summary.share
                chance = random_distance(operator, len(chosen), share, random_state)
                distances = mmd, summary.gap, chance
            found = Chosen(kept.numbers, kept.values, weights, best.path, distances)
            self._store(embedding, way, found, kind, device)
        if self.verbose:
            self._report(stream.n_seen)

    def _stream_size(self, n, available):
        """Rows to choose: all of a stream that does not have enough of them yet."""
        wanted = self.n_samples
        size = size_of(wanted, n if wanted is None else max(n, wanted))
        return min(size, available) if self.unique else min(size, n)

    def _forget_stream(self):
        """Before a fit, and before results that change."""
        for name in (*RESULTS, "_stream", "_begun", "_like", "n_samples_seen_"):
            self.__dict__.pop(name, None)

    def __getattr__(self, name):
        # What is chosen from a stream is computed when it is first read.
        if name in RESULTS and "_stream" in self.__dict__:
            self._choose_from_stream()
            if name in self.__dict__:
                return self.__dict__[name]
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )
