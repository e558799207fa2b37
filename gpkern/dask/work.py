"""What runs on a worker: a block of rows against what the worker holds."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _device
from .._device import is_cupy
from .._validation import check_rows
from ..cpu import parallel
from ..operator import make_operator
from ..reductions import added
from .compute import BlockError

# Bytes of a block's rows that are prepared at a time: on a CPU as many as its caches
# hold, so that they are still there when they are multiplied.
PREPARED = {"cpu": 4 << 20, "cuda": 256 << 20}
# Bytes of multipliers of rows that are made at a time.
MULTIPLIERS = 64 << 20
# Kernel values that are held, as a share of the memory that a task may use.
OF_WORKER = 1 / 8


@dataclass
class Held:
    """One side of a kernel matrix, as every worker holds it, and what it is of.

    Attributes
    ----------
    kernel : Kernel, str or callable
    array : array of shape (m, d), or None
        On the host; None where blocks come on both sides.
    side : {"rows", "columns"}
        Which of the two it is.
    where : None, str or list of str
        Device of the workers; None follows the blocks.
    dtype : dtype
    budget : int
        Bytes for tiles and prepared rows.
    precision : str
    """

    kernel: Any
    array: Any
    side: str
    where: Any
    dtype: Any
    budget: int
    precision: str
    made: dict = field(default_factory=dict, repr=False)
    lock: Any = field(default_factory=threading.Lock, repr=False)

    def __getstate__(self):
        return self.__dict__ | {"made": {}, "lock": None}

    def __setstate__(self, state):
        self.__dict__.update(state | {"lock": threading.Lock()})

    def operator(self, rows, columns=None):
        """K of a block and what is held, or of two blocks; one of them: a sample."""
        device = _device.select(self.where, rows)
        rows = device.put(rows)
        if self.array is None:
            return self._make(rows, device.put(columns), device)
        if self.side == "rows":
            return self._make(device.put(self.array), rows, device)
        with self.lock:
            made = self.made.get(device.name)
            if made is None:
                made = self._make(rows[:1], device.put(self.array), device)
                self.made[device.name] = made
        return made.with_rows(rows)

    def _make(self, rows, columns, device):
        budget = max(1, min(self.budget, int(OF_WORKER * task_bytes())))
        return make_operator(
            self.kernel, rows, columns, device, budget, self.precision, self.dtype
        )

    def cuts(self, rows):
        """Slices of a block, little enough to prepare."""
        name = _device.select(self.where, rows).name.partition(":")[0]
        row = max(1, rows.shape[1] * np.dtype(self.dtype).itemsize)
        height = max(256, PREPARED[name] // row)
        n = rows.shape[0]
        return [slice(a, min(a + height, n)) for a in range(0, n, height)]


def task_bytes():
    """Memory that one task of this worker may use; very much, where nothing says."""
    try:
        from distributed import get_worker

        worker = get_worker()
    except (ImportError, ValueError):
        return 1 << 40
    limit = getattr(worker.memory_manager, "memory_limit", None) or 1 << 40
    return limit / max(1, worker.state.nthreads)


@contextmanager
def on_block(place, name="X"):
    """Around what is done with a block: one thread, and errors that name the block.

    Parameters
    ----------
    place : array of shape (1, 3)
        Of `places`: its number, its first row and the one after its last.
    name : str
    """
    try:
        with parallel.alone():
            yield
    except Exception as error:
        number, first, last = (int(v) for v in place[0])
        text = f"block {number} of {name} (rows {first} to {last - 1}): {error}"
        try:
            named = type(error)(text)
        except Exception:  # of a class that takes more than a message
            named = BlockError(text)
        raise named from error


def product(rows, place, V, held, flip):
    """``K @ V`` of a block, or ``K.T @ V`` where it is the columns; its rows."""
    with on_block(place):
        rows = check_rows(rows)
        return _stacked(rows, [_side(held, rows[c], flip) @ V for c in held.cuts(rows)])


def summed(rows, place, V, held, flip):
    """The same where V is of the rows of the block, and the products are summed."""
    with on_block(place):
        rows = check_rows(rows)
        cuts = held.cuts(rows)
        parts = (_side(held, rows[c], flip) @ V[c] for c in cuts)
        return Sum(_added(parts))


def _side(held, rows, flip):
    """K of some rows, such that its product with a vector is defined."""
    operator = held.operator(rows)
    return operator.T if flip else operator


def normal(rows, place, targets, weights, V, held):
    """``K.T @ U`` and sums of ``U = weights * (K @ V - targets)`` of a block."""
    with on_block(place):
        rows, total = check_rows(rows), None
        for c in held.cuts(rows):
            operator = held.operator(rows[c])
            product, U = operator.normal_matmat(V, _cut(targets, c), _cut(weights, c))
            total = added(total, _product_and_sums(product, U))
        return Sum(total)


def adjoint(rows, place, U, held):
    """``K.T @ U`` and sums of U of a block."""
    with on_block(place):
        rows, total = check_rows(rows), None
        for c in held.cuts(rows):
            product = held.operator(rows[c]).T @ U[c]
            total = added(total, _product_and_sums(product, U[c]))
        return Sum(total)


def _product_and_sums(product, U):
    return on_host(product).astype(np.float64), on_host(U.sum(axis=0, dtype=np.float64))


def _cut(array, rows):
    return None if array is None else array[rows]


def summed_rows(rows, place, *arrays, apply, held):
    """Sum of ``apply(device, K of some rows, *parts)`` over a block."""
    with on_block(place):
        rows, total = check_rows(rows), None
        for c in held.cuts(rows):
            parts = (_cut(a, c) for a in arrays)
            total = added(total, held.operator(rows[c]).sum_over_rows(apply, *parts))
        if isinstance(total, tuple):
            return Sum(tuple(on_host(part) for part in total))
        return Sum(on_host(total))


def _added(parts):
    """Sum of arrays, in float64, on the host."""
    total = 0.0
    for part in parts:
        total = total + on_host(part).astype(np.float64)
    return total


def _stacked(rows, parts):
    """Parts of a result, put together, in the type of array that the rows have."""
    if is_cupy(rows):
        return np.concatenate(parts)  # by CuPy, as they are its arrays
    return np.concatenate([on_host(part) for part in parts])


def on_host(array):
    """A NumPy array of one of either device."""
    return array.get() if is_cupy(array) else np.asarray(array)


class Sum:
    """What blocks are reduced to: a number or array, or a tuple of these."""

    def __init__(self, value):
        self.value = value

    def __add__(self, other):
        return Sum(added(self.value, other.value))


def pair(out, place, into, other, V, held, flip, is_sample):
    """``K @ V`` of two blocks, shape (b, 1, c), float64."""
    with on_block(place), on_block(other):
        out, into = check_rows(out), check_rows(into)
        if is_sample and place[0, 0] == other[0, 0]:
            return _float64(held.operator(out) @ V)
        if flip:
            return _float64(held.operator(into, out).T @ V)
        return _float64(held.operator(out, into) @ V)


def _float64(product):
    return on_host(product).astype(np.float64)[:, None, :]


def diagonal(rows, place, held):
    """Entries (i, i) of a sample's matrix."""
    with on_block(place):
        return on_host(held.operator(check_rows(rows)).diagonal())


def of_rows(rows, place, method, arguments, held):
    """A method of K of a block's rows and what is held."""
    with on_block(place):
        rows = check_rows(rows)
        parts = (
            getattr(held.operator(rows[c]), method)(*arguments) for c in held.cuts(rows)
        )
        return _stacked(rows, list(parts))


def of_pair(rows, place, columns, other, *arguments, held, method, is_sample):
    """The same of two blocks, or of what is held and one of columns; (1, b, ...).

    The method may also be a function of the operator.
    """
    with on_block(other, "X" if is_sample else "Z"):
        columns = check_rows(columns)
        if rows is None or (is_sample and place[0, 0] == other[0, 0]):
            operator = held.operator(columns)
        else:
            operator = held.operator(check_rows(rows), columns)
        if callable(method):
            return on_host(method(operator, *arguments))[None]
        return on_host(getattr(operator, method)(*arguments))[None]


def form(rows, columns, place, other, R, S, held, kernels):
    """Sums of ``r_i K_ij r_j`` over two blocks and, where they are two, the mirrored.

    Of each kernel and column of R and S, which are multipliers of the two blocks. Parts
    of blocks are taken, as there may be thousands of multipliers of a row.
    """
    with on_block(place), on_block(other):
        rows, columns, total = check_rows(rows), check_rows(columns), 0.0
        is_one = place[0, 0] == other[0, 0]
        height = max(256, MULTIPLIERS // (8 * R.shape[1]))
        for i in range(0, len(rows), max(256, height)):
            a = slice(i, min(i + max(256, height), len(rows)))
            left = _multipliers(R, place, a)
            if is_one:
                own = held.operator(rows[a])
                total = total + on_host(own.quadratic_forms(left, kernels))
            for j in range(a.stop if is_one else 0, len(columns), max(256, height)):
                b = slice(j, min(j + max(256, height), len(columns)))
                operator = held.operator(rows[a], columns[b])
                right = _multipliers(S, other, b)
                parts = [
                    _form_of(operator.with_kernel(kernel), left, right)
                    for kernel in kernels
                ]
                total = total + 2.0 * np.stack(parts)
        return Sum(total)


def _form_of(operator, R, S):
    """``r' K s`` of each column of R and S, of two sets of rows."""
    if operator.device.name != "cpu":
        product = operator @ operator.device.put(S.astype(operator.dtype))
        return (R * on_host(product)).sum(axis=0, dtype=np.float64)
    # As quadratic forms of one set of rows are computed there.
    narrow = operator.matrix_.precision == "medium"
    small = S.astype(np.float32 if narrow else operator.dtype)
    out = np.zeros(S.shape[1])
    for cut, tile in operator.blocks():
        top, scale = float(abs(tile).max()) if narrow else 0.0, 1.0
        if 0.0 < top < np.inf:  # its exponent may be beyond float32
            scale = 2.0 ** -np.round(np.log2(top))
        product = (tile * scale if scale != 1.0 else tile).astype(small.dtype) @ small
        out += (R[cut] * product).sum(axis=0, dtype=np.float64) / scale
    return out


def _multipliers(R, place, part):
    """Of a part of a block, float64: `RandomSigns` are made where they are needed."""
    if not hasattr(R, "rows"):
        return on_host(R[part]).astype(np.float64)
    first = int(place[0, 1])
    return R.rows(first + part.start, first + part.stop, np, np.float64)
