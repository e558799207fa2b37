"""Epochs of mini-batches, watched: divergence, early stopping, the best state."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .._device import is_cupy
from .._validation import is_sliceable, working_dtype

# A batch loss this many times the start is divergence, not noise.
BLOW_UP = 10.0
MAX_HALVINGS = 8
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
        1-based epoch of the state that was kept.
    step : float
        Step that was used in the end.
    """

    loss_curve: list = field(default_factory=list)
    scores: list = field(default_factory=list)
    n_epochs: int = 0
    best_epoch: int = 0
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
        Validation score of the current state, larger is better; None: no early
        stopping.
    callbacks : EpochCallbacks or None
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
    """Shuffled batches of row numbers, each sorted.

    With `in_runs` a batch is made of contiguous runs of rows, for arrays where
    reading scattered rows is slow.
    """
    if not in_runs:
        order = random_state.permutation(n)
        for start in range(0, n, batch_size):
            yield np.sort(order[start : start + batch_size])
        return
    length = max(1, batch_size // RUNS_PER_BATCH)
    starts = random_state.permutation(-(-n // length)) * length
    per_batch = max(1, batch_size // length)
    for at in range(0, len(starts), per_batch):
        runs = np.sort(starts[at : at + per_batch])
        yield np.concatenate([np.arange(s, min(s + length, n)) for s in runs])


def train(model, data, batch_size, step, rule, random_state):
    """Run epochs until the rule says stop; the best state is in the model.

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
    best_score, best_state, waited = -np.inf, None, 0
    start_loss, halvings = None, 0
    while history.n_epochs < rule.n_epochs:
        before = model.state()
        loss, start_loss = _epoch(
            model, data, batch_size, history.step, random_state, start_loss, rule
        )
        if loss is None:
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
        if rule.score is not None:
            score = rule.score()
            history.scores.append(score)
            waited = 0 if score > best_score + rule.tol else waited + 1
            if score > best_score:
                best_score, best_state = score, model.state()
                history.best_epoch = history.n_epochs
        if rule.report is not None:
            rule.report(history)
        stop = rule.callbacks is not None and rule.callbacks.epoch_end()
        if stop or (rule.score is not None and waited >= rule.patience):
            break
    if best_state is not None:
        model.restore(best_state)
    else:
        history.best_epoch = history.n_epochs
    return history


def _epoch(model, data, batch_size, step, random_state, start_loss, rule):
    """One pass; mean loss, or None when it diverges, and the loss of the start."""
    n, sums = len(data), []
    if rule.callbacks is not None:
        rule.callbacks.epoch_begin(-(-n // batch_size))
    for i, rows in enumerate(batches(n, batch_size, random_state, data.in_runs)):
        X, y, place = data.take(rows)
        residual = model.update(X, y, place, step)
        sums.append((residual**2).sum(dtype=np.float64) / residual.size)
        if start_loss is None:
            start_loss = max(float(sums[0]), np.finfo(np.float64).tiny)
        if rule.callbacks is not None:
            rule.callbacks.batch_end()
        # Reading the loss waits for the GPU, so not after every batch.
        if i % 16 == 15 and not float(sums[-1]) < BLOW_UP * start_loss:
            return None, start_loss
    model.settle(step)
    losses = np.array([float(s) for s in sums])
    if not (losses < BLOW_UP * start_loss).all():
        return None, start_loss
    return float(losses.mean()), start_loss


class RowSource:
    """Training rows and targets, on the device when they are wanted.

    Parameters
    ----------
    X : array, CSR matrix or sliceable array of shape (N, d)
    y : array of shape (n, c)
        Targets of the rows in `subset`, on the device.
    device : Device
    subset : ndarray of int or None
        Which rows of X are meant, sorted; None for all.
    """

    def __init__(self, X, y, device, subset=None):
        self.in_runs = is_sliceable(X)
        # Data that stays on the host is gathered there, batch by batch.
        self.X = X if self.in_runs else device.put(X)
        self.y, self.device, self.subset = y, device, subset
        self.shape = (X.shape[0] if subset is None else len(subset), X.shape[1])
        self.dtype = working_dtype(X)

    def __len__(self):
        return self.shape[0]

    def take(self, rows):
        """X, y and the row numbers, all on the device."""
        place = self.device.xp.asarray(rows)
        return self.rows(rows), self.y[place], place

    def rows(self, rows):
        """X of some sorted rows, on the device."""
        if self.subset is not None:
            rows = self.subset[rows]
        if self.in_runs:
            return self.device.put(self._read_runs(rows))
        if is_cupy(self.X):
            return self.X[self.device.xp.asarray(rows)]
        return self.device.put(self.X[rows])

    def all_rows(self):
        """X of all rows, on the device."""
        if self.subset is None and not self.in_runs:
            return self.X
        return self.rows(np.arange(len(self)))

    def sample(self, size, random_state):
        """X of at most `size` random rows, on the device."""
        return self.rows(self.choose(size, random_state))

    def choose(self, size, random_state):
        """At most `size` random row numbers, sorted."""
        n = len(self)
        if size >= n:
            return np.arange(n)
        if self.in_runs:
            return next(batches(n, size, random_state, in_runs=True))[:size]
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
