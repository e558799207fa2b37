"""Epochs of mini-batches, watched: divergence, early stopping, the best average.

Steps are as long as convergence allows, so on noisy targets the iterates wander
about the solution. What predicts is therefore their mean over the second half of an
epoch (tail averaging: Jain, Kakade, Kidambi, Netrapalli & Sidford 2018); where the
targets can be interpolated both have the same limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._device import is_cupy, is_dask
from .._validation import is_sliceable, working_dtype

# Squared residuals of an epoch this many times those of the start are divergence,
# not noise, and so are those of a final state this many times worse.
BLOW_UP = 10.0
BAD_END = 2.0
MAX_HALVINGS = 8
# Rows that the final state is tested on.
PROBE_ROWS = 1000
# Rows copied for the statistics that a kernel's length scale is chosen by.
SAMPLE_BYTES = 64 << 20
# Contiguous runs that make up a batch of an array that is read in slices.
RUNS_PER_BATCH = 32


class DivergenceError(ArithmeticError):
    """The iteration grows without bound at any step that was tried."""


@dataclass
class History:
    """What happened in training.

    Attributes
    ----------
    loss_curve : list of float
        Mean squared residual of each epoch, each batch before its own update.
    scores : list of float
        Validation score after each epoch.
    n_epochs : int
        Epochs completed.
    best_epoch : int
        1-based epoch that was kept.
    coef : array of shape (p, c)
        Its coefficients, averaged.
    step : float
        Step that was used in the end.
    """

    loss_curve: list = field(default_factory=list)
    scores: list = field(default_factory=list)
    n_epochs: int = 0
    best_epoch: int = 0
    coef: object = None
    step: float = 0.0


@dataclass
class Rule:
    """When to stop.

    Attributes
    ----------
    n_epochs : int
    patience : int
        Epochs without an improvement of more than `tol`.
    tol : float
    score : callable or None
        Validation score of coefficients, larger is better; None: no early stopping.
    callbacks : FitCallbacks or None
    report : callable or None
        Called with the `History` after each epoch.
    """

    n_epochs: int
    patience: int = 5
    tol: float = 1e-4
    score: object = None
    callbacks: object = None
    report: object = None


def batches(n, batch_size, random_state, in_runs=False):
    """Shuffled batches of row numbers, each sorted: how many, and their iterator.

    With `in_runs` a batch is made of contiguous runs of rows, for arrays where
    reading scattered rows is slow.
    """
    length = max(1, batch_size // RUNS_PER_BATCH) if in_runs else 1
    starts = random_state.permutation(-(-n // length)) * length
    per_batch = batch_size // length
    cuts = range(0, len(starts), per_batch)

    def rows(at):
        runs = np.sort(starts[at : at + per_batch])
        if length == 1:
            return runs
        return np.concatenate([np.arange(s, min(s + length, n)) for s in runs])

    return len(cuts), map(rows, cuts)


def train(model, data, batch_size, step, rule, random_state):
    """Run epochs until the rule says stop.

    The model is left at its last iterate, where a stream goes on.

    Parameters
    ----------
    model : AllCentres or DelayedProjection
    data : RowSource
        ``len(data)``, ``data.take(rows)`` -> X, y on the device.
    batch_size : int
    step : float
        Halved when the iteration diverges.
    rule : Rule
    random_state : RandomState

    Returns
    -------
    History

    Raises
    ------
    DivergenceError
        When no step converges.
    """
    history = History(step=step)
    best_score, waited = -np.inf, 0
    watch, halvings = _Watch(model, data, random_state), 0
    while history.n_epochs < rule.n_epochs:
        before = model.state()
        loss, coef = _epoch(
            model, data, batch_size, history.step, random_state, watch, rule
        )
        last = history.n_epochs + 1 == rule.n_epochs
        if coef is None or (last and watch.ends_badly(model, coef)):
            halvings += 1
            if halvings > MAX_HALVINGS:
                raise DivergenceError(
                    "the training loss grows at every step size tried; is the "
                    "kernel positive definite? A smaller batch_size or "
                    "n_eigencomponents is more cautious"
                )
            model.restore(before)
            history.step *= 0.5
            continue
        history.n_epochs += 1
        history.loss_curve.append(loss)
        if rule.score is None:
            history.coef, history.best_epoch = coef, history.n_epochs
        else:
            score = rule.score(coef)
            history.scores.append(score)
            waited = 0 if score > best_score + rule.tol else waited + 1
            if score > best_score or history.coef is None:
                best_score, history.coef = score, coef
                history.best_epoch = history.n_epochs
        if rule.report is not None:
            rule.report(history)
        stop = rule.callbacks is not None and rule.callbacks.epoch_end()
        if stop or (rule.score is not None and waited >= rule.patience):
            break
    return history


def _epoch(model, data, batch_size, step, random_state, watch, rule):
    """One pass: its mean loss and its averaged coefficients; None if it diverges."""
    n_batches, parts = data.batches(batch_size, random_state)
    total, average, count = 0.0, model.coef.copy(), 0
    if rule.callbacks is not None:
        rule.callbacks.epoch_begin(n_batches)
    for i, (X, y, place) in enumerate(parts):
        residual = model.update(X, y, place, step)
        total += _sum_of_squares(residual)
        if i + 1 == n_batches:
            model.settle(step)
        if 2 * (i + 1) > n_batches and model.settled:
            count += 1
            average += (model.coef - average) / count
        if rule.callbacks is not None:
            rule.callbacks.batch_end()
        # Reading the loss waits for the GPU, so not after every batch.
        if i % 16 == 15 and not float(total) <= watch.limit:
            return None, None
    total = float(total)
    return (total / data.y.size, average) if total <= watch.limit else (None, None)


class _Watch:
    """What counts as divergence, measured against the start.

    Sums over all rows, because those of one batch jump where targets have outliers.
    """

    def __init__(self, model, data, random_state):
        start = float(_sum_of_squares(data.y)) / len(data)
        self.rows = data.choose(PROBE_ROWS, random_state)
        self.X, self.y, _ = data.take(self.rows)
        probe = max(start, float(_sum_of_squares(self.y)) / len(self.rows))
        if model.coef.any():
            # Goes on from another fit, whose errors on these rows may be large.
            error = self.y - model.predict(self.X, model.coef)
            start = max(start, float(_sum_of_squares(error)) / len(self.rows))
        tiny = np.finfo(np.float64).tiny
        self.limit = max(tiny, BLOW_UP * start * len(data))
        self.end_limit = max(tiny, BAD_END * max(probe, start) * len(self.rows))

    def ends_badly(self, model, coef):
        """Whether the model is far worse than predicting the mean."""
        error = self.y - model.predict(self.X, coef)
        return not float(_sum_of_squares(error)) <= self.end_limit


def _sum_of_squares(a):
    """In float64, where the squares of large float32 numbers do not overflow."""
    return (a.astype(np.float64) ** 2).sum()


def taken(array, rows):
    """Some sorted rows of a Dask array, on the host."""
    from ..dask.arrays import take

    return take(array, rows)


class RowSource:
    """Training rows and targets, on the device when they are wanted.

    Parameters
    ----------
    X : array, CSR matrix, sliceable or Dask array of shape (N, d)
    y : array of shape (n, c)
        Targets of the rows in `subset`, on the device.
    device : Device
    subset : ndarray of int or None
        Which rows of X are meant, sorted; None for all.
    is_open : bool, default=False
        Whether more rows may come: a stream.
    """

    def __init__(self, X, y, device, subset=None, is_open=False):
        self.is_open = is_open
        self.in_runs = is_sliceable(X)
        # Data that stays on the host is gathered there, batch by batch.
        self.X = X if self.in_runs else device.put(X)
        self.y, self.device, self.subset = y, device, subset
        self.shape = (X.shape[0] if subset is None else len(subset), X.shape[1])
        self.dtype = working_dtype(X)

    def __len__(self):
        return self.shape[0]

    def batches(self, batch_size, random_state):
        """How many batches there are, and the batches: X, y and the row numbers."""
        count, parts = batches(len(self), batch_size, random_state, self.in_runs)
        return count, map(self.take, parts)

    def take(self, rows):
        """X, y and the row numbers, all on the device."""
        place = self.device.xp.asarray(rows)
        return self.rows(rows), self.targets(rows), place

    def targets(self, rows):
        """y of some sorted rows, on the device."""
        if is_dask(self.y):
            return taken(self.y, rows)
        return self.y[self.device.xp.asarray(rows)]

    def rows(self, rows):
        """X of some sorted rows, on the device."""
        if self.subset is not None:
            rows = self.subset[rows]
        if self.in_runs:
            return self.device.put(self._read_runs(rows))
        if is_cupy(self.X):
            return self.X[self.device.xp.asarray(rows)]
        if is_dask(self.X):
            return taken(self.X, rows).astype(self.dtype, copy=False)
        part = self.X[rows]
        if part.dtype.kind != "f":  # integers on a disk
            part = part.astype(self.dtype)
        return self.device.put(part)

    def all_rows(self):
        """X of all rows, on the device."""
        if self.subset is None and not self.in_runs:
            return self.X
        return self.rows(np.arange(len(self)))

    def for_statistics(self, random_state):
        """X itself where all its rows are meant, or a moderate sample of them."""
        if self.subset is None and not self.in_runs:
            return self.X
        row = self.shape[1] * np.dtype(self.dtype).itemsize
        return self.sample(max(1000, SAMPLE_BYTES // row), random_state)

    def sample(self, size, random_state):
        """X of at most `size` random rows, on the device."""
        return self.rows(self.choose(size, random_state))

    def choose(self, size, random_state):
        """At most `size` random row numbers, sorted."""
        n = len(self)
        if size >= n:
            return np.arange(n)
        if self.in_runs:
            return next(batches(n, size, random_state, in_runs=True)[1])[:size]
        return np.sort(random_state.choice(n, size, replace=False))

    def _read_runs(self, rows):
        cuts = np.flatnonzero(np.diff(rows) > 1) + 1
        parts = np.split(rows, cuts)
        X = np.concatenate([np.asarray(self.X[p[0] : p[-1] + 1]) for p in parts])
        if not np.isfinite(X).all():
            raise ValueError(
                f"Input X contains NaN or infinity in rows {rows[0]} to {rows[-1]}."
            )
        return X.astype(self.dtype, copy=False)
