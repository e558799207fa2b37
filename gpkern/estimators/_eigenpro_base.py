"""Fit of the EigenPro estimators, shared by regression and classification."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import _device
from .._callbacks import CallbackSupportMixin, FitCallbacks
from .._device import is_dask
from .._validation import working_dtype
from ..algorithms.eigenpro import Options, assemble
from ..algorithms.training import DivergenceError, RowSource, Rule, train
from ._door import check_same_namespace, choose_device, to_numpy_or_cupy
from ._linear_prediction import (
    choose_centers,
    kernel_of,
    predict_linear,
    takes_sparse,
)
from ._parameters import AT_LEAST_ONE, CENTERS, KERNEL, RUN

# "auto" stops early above this many rows, where a held-out part can be spared.
EARLY_STOPPING_ROWS = 10_000
# Rows of Dask arrays that are held out at most, as they are held in memory.
MOST_HELD = 50_000
# Rounding of the targets' mean, as a share of their spread, that is too much.
FAR = 1e-4


class _EigenPro(CallbackSupportMixin, BaseEstimator):
    """Parameters, fit and partial_fit on targets of shape (n, c)."""

    _parameter_constraints = {
        **KERNEL,
        **CENTERS,
        **RUN,
        "n_epochs": [AT_LEAST_ONE],
        "batch_size": [AT_LEAST_ONE, StrOptions({"auto"})],
        "n_eigencomponents": [
            Interval(Integral, 0, None, closed="left"),
            StrOptions({"auto"}),
        ],
        "n_subsamples": [AT_LEAST_ONE, StrOptions({"auto"})],
        "early_stopping": ["boolean", StrOptions({"auto"})],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [AT_LEAST_ONE],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        kernel="rbf",
        *,
        gamma="scale",
        length_scale=None,
        degree=3,
        coef0=1.0,
        kernel_params=None,
        n_centers=None,
        center_sampling="uniform",
        n_epochs=10,
        batch_size="auto",
        n_eigencomponents="auto",
        n_subsamples="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=2,
        tol=1e-4,
        warm_start=False,
        device=None,
        random_state=None,
        verbose=0,
    ):
        self.kernel = kernel
        self.gamma = gamma
        self.length_scale = length_scale
        self.degree = degree
        self.coef0 = coef0
        self.kernel_params = kernel_params
        self.n_centers = n_centers
        self.center_sampling = center_sampling
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.n_eigencomponents = n_eigencomponents
        self.n_subsamples = n_subsamples
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = takes_sparse(self)
        tags.non_deterministic = False
        return tags

    def _fit_rows(self, X, Y, kind, strata=None):
        """Fit targets Y of shape (n, c); sets the attributes.

        Returns
        -------
        held_out : ndarray of int or None
            Rows of the validation split.
        values : ndarray of shape (n_held_out, c) or None
            Predictions there.
        """
        random_state = check_random_state(self.random_state)
        warm = self.warm_start and hasattr(self, "dual_coef_")
        device = choose_device(self.device, *([] if is_dask(X) else [X]))
        training = self._blocks if is_dask(X) else self._rows
        data, held, offset, split = training(X, Y, device, warm, random_state, strata)
        machine = self._machine_for(data, warm, device, random_state)
        score, held_out, held_values = None, split[1], None
        if held_out is not None:
            X_held = held.all_rows()

            def score(coef):
                values = machine.model.predict(X_held, coef).astype(np.float64)
                return self._score_values(values + offset, held.y)

        callbacks = FitCallbacks(self, self.n_epochs)
        rule = Rule(
            self.n_epochs,
            self.n_iter_no_change,
            self.tol,
            score,
            callbacks,
            self._report if self.verbose else None,
        )
        history = self._train(machine, data, rule, random_state)
        callbacks.end()
        if held_out is not None:
            values = machine.model.predict(X_held, history.coef)
            held_values = device.get(values + offset)
        self._store(machine, history, data, offset, kind)
        self._last_split = split
        self.__dict__.pop("_machine", None)
        return held_out, held_values

    def _rows(self, X, Y, device, warm, random_state, strata):
        """Training rows, those held out or None, the targets' mean, and the split."""
        split = self._split(X.shape[0], random_state, strata, warm)
        kept, held_out = split
        Y_kept = device.put(Y if kept is None else Y[kept])
        offset = self._offset_on(device) if warm else Y_kept.mean(axis=0)
        data = RowSource(X, centred(Y_kept, offset, X), device, kept)
        if held_out is None:
            return data, None, offset, split
        held = RowSource(X, device.put(Y[held_out]), device, held_out)
        return data, held, offset, split

    def _blocks(self, X, Y, device, warm, random_state, strata):
        """The same of Dask arrays, of which no more than a few rows are held out."""
        from ..dask import arrays, stream

        if self.n_centers is None:
            remedy = "n_centers=None makes every row a center: set n_centers"
            X, Y = arrays.collect(X, remedy), arrays.collect(Y, remedy)
            return self._rows(X, Y, device, warm, random_state, device.whole(strata))
        offset = self._offset_on(device) if warm else device.whole(Y.mean(axis=0))
        offset, n = device.put(offset), len(X)
        centred_Y = centred(Y, device.get(offset), X)
        early = self.early_stopping
        if not (n > EARLY_STOPPING_ROWS if early == "auto" else early):
            return stream.BlockSource(X, centred_Y, device), None, offset, (None, None)
        old = getattr(self, "_last_split", (None, None)) if warm else (None, None)
        rows = old[1]
        if rows is None or rows[-1] >= n:
            rows = stream.held_out(n, self.validation_fraction, MOST_HELD, random_state)
        held = stream.BlockSource(X, Y, device)
        held = RowSource(held.rows(rows), held.targets(rows), device)
        return (
            stream.BlockSource(X, centred_Y, device, rows),
            held,
            offset,
            (None, rows),
        )

    def _partial_fit_rows(self, X, Y, kind):
        """One pass over a chunk with targets of shape (n, c)."""
        random_state = check_random_state(self.random_state)
        device = choose_device(self.device, X)
        known = hasattr(self, "dual_coef_")
        Y = device.put(Y)
        offset = self._offset_on(device) if known else Y.mean(axis=0)
        if len(offset) != Y.shape[1]:
            raise ValueError(
                f"y has {Y.shape[1]} columns; there were {len(offset)} before"
            )
        data = RowSource(X, centred(Y, offset, X), device, is_open=True)
        machine = self.__dict__.get("_machine")
        if machine is None:
            machine = self._machine_for(data, known, device, random_state, stream=True)
        rule = Rule(1, report=self._report if self.verbose else None)
        history = self._train(machine, data, rule, random_state)
        machine.step = history.step  # halved, where the chunk asked for it
        if known:
            history.loss_curve = self.loss_curve_ + history.loss_curve
            history.n_epochs += self.n_iter_
            history.best_epoch = history.n_epochs
        self._store(machine, history, data, offset, kind)
        self._machine = machine

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_machine", None)  # holds the device's memory; rebuilt when needed
        return state

    def _split(self, n, random_state, strata, warm):
        """Rows to train on (None for all) and rows held out.

        A warm start keeps the last split of as many rows: the rows are its centres,
        and what was held out must not be learnt from.
        """
        early = self.early_stopping
        if early == "auto":
            early = n > EARLY_STOPPING_ROWS
        if not early:
            return None, None
        kept, held_out = getattr(self, "_last_split", (None, None))
        if warm and kept is not None and len(kept) + len(held_out) == n:
            return kept, held_out
        if strata is not None and np.bincount(strata).min() < 2:
            strata = None  # a class of one row cannot be on both sides
        try:
            kept, held_out = train_test_split(
                np.arange(n),
                test_size=self.validation_fraction,
                random_state=random_state,
                stratify=strata,
            )
        except ValueError as error:
            raise ValueError(
                f"early_stopping cannot hold out validation_fraction="
                f"{self.validation_fraction} of {n} rows ({error}); set "
                "early_stopping=False"
            ) from None
        return np.sort(kept), np.sort(held_out)

    def _machine_for(self, data, warm, device, random_state, stream=False):
        """The model to train: a new one, or one that goes on from the last fit."""
        c = data.y.shape[1]
        if warm:
            kernel = self.kernel_
            centers = device.put(to_numpy_or_cupy(self.centers_))
            coef = device.put(to_numpy_or_cupy(self.dual_coef_))
            coef = coef.reshape(len(coef), -1).astype(data.dtype)
            if coef.shape[1] != c or centers.shape[1] != data.shape[1]:
                raise ValueError("X and y must have as many columns as in the last fit")
            if self.n_centers is None and not stream and _same_rows(centers, data):
                centers = None
        else:
            kernel = kernel_of(self, data.for_statistics(random_state))
            centers = choose_centers(self, kernel, data, device, random_state)
            if centers is None and stream:
                centers = data.all_rows()
            if centers is None and data.in_runs:
                raise ValueError(
                    "n_centers=None makes every row a center; for an array that is "
                    "read in slices set n_centers"
                )
            p = len(data) if centers is None else centers.shape[0]
            coef = device.xp.zeros((p, c), data.dtype)
        options = Options(
            self.batch_size,
            self.n_eigencomponents,
            self.n_subsamples,
            device.dense_bytes(),
        )
        return assemble(kernel, data, centers, coef, options, device, random_state)

    def _offset_on(self, device):
        return device.put(to_numpy_or_cupy(self._offset))

    def _train(self, machine, data, rule, random_state):
        start = machine.model.state()
        try:
            return train(
                machine.model,
                data,
                machine.batch_size,
                machine.step,
                rule,
                random_state,
            )
        except BaseException as error:
            machine.model.restore(start)  # a stream goes on from here
            if not isinstance(error, DivergenceError):
                raise
            raise ValueError(
                f"{type(self).__name__} did not converge: {error}"
            ) from None

    def _report(self, history):
        score = f", validation {history.scores[-1]:.5f}" if history.scores else ""
        print(
            f"[{type(self).__name__}] epoch {history.n_epochs}: "
            f"loss {history.loss_curve[-1]:.6g}{score}"
        )

    def _store(self, machine, history, data, offset, kind):
        """Fitted attributes, in the user's array type."""
        self.kernel_ = machine.model.operator.kernel
        self.centers_ = kind.out(machine.centers)
        self._set_coef(history.coef, kind)
        self._offset = kind.out(offset)
        # Where float32 has no digits left beside the mean, predictions have more.
        rounding = np.finfo(data.y.dtype).eps * float(abs(offset).max())
        self._is_far = rounding > FAR * float(data.y.std())
        self.batch_size_ = machine.batch_size
        self.learning_rate_ = history.step
        device = machine.model.operator.device
        self.eigenvalues_ = kind.out(device.put(machine.preconditioner.eigenvalues))
        self.n_iter_ = history.n_epochs
        self.best_iter_ = history.best_epoch
        self.loss_curve_ = history.loss_curve
        self.validation_scores_ = history.scores or None

    def _values(self, X, method):
        """Predictions of shape (m, c), the user's array kind, the device."""
        check_is_fitted(self)
        with _device.here(self.device, X):
            return self._values_here(X, method)

    def _values_here(self, X, method):
        check_same_namespace(X, self, attribute="dual_coef_", method=method)
        coef = to_numpy_or_cupy(self.dual_coef_)
        values, kind, device = predict_linear(
            self, X, self.centers_, coef.reshape(len(coef), -1)
        )
        out = values + self._offset_on(device)
        return (out if self._is_far else out.astype(values.dtype)), kind, device


def centred(Y, offset, X):
    """Targets less their mean, in the dtype of the work on X."""
    out = (Y - offset).astype(working_dtype(X))
    if not bool((abs(out) < np.inf).all()):
        raise ValueError(
            "y is too large for float32, in which float32 X is worked on: scale y, or "
            "pass X as float64"
        )
    return out


def _same_rows(centers, data):
    """Whether the centres are just the rows of the data."""
    if centers.shape != data.shape or data.in_runs:
        return False
    rows = data.all_rows()
    if sparse.issparse(rows):
        return sparse.issparse(centers) and (rows != centers).nnz == 0
    return bool((rows == centers).all())
