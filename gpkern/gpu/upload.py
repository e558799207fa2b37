"""Rows of main memory to a GPU, beside the work on the rows before."""

from __future__ import annotations

import cupy as cp
import cupyx
import numpy as np

from ..cpu import parallel


class Uploader:
    """Copies parts through two page-locked buffers in turn, on a stream of its own.

    While the GPU works on one part the next is on its way. What a call returns is
    overwritten by the second call after it, once all work given to the GPU before the
    first of these is done.
    """

    def __init__(self):
        self.stream = cp.cuda.Stream(non_blocking=True)
        self.slots, self.turn = [None, None], 0

    def __call__(self, rows, dtype):
        """Host rows as an array on the GPU.

        Parameters
        ----------
        rows : ndarray of shape (n, d)
        dtype : dtype
        """
        main = cp.cuda.get_current_stream()
        slot = self.slots[self.turn]
        if slot is not None:
            slot.copied.synchronize()  # the buffer's last part has left it
        if slot is None or slot.size < rows.size or slot.dtype != dtype:
            slot = self.slots[self.turn] = _Slot(rows.size, np.dtype(dtype))
        before = self.slots[1 - self.turn]
        if before is not None:
            before.used.record(main)
        self.turn = 1 - self.turn
        host = slot.host[: rows.size].reshape(rows.shape)
        # One thread copies at less than half of the speed that the GPU reads with.
        parallel.over_rows(
            lambda a, b: np.copyto(host[a:b], rows[a:b], casting="unsafe"), rows
        )
        out = slot.device[: rows.size].reshape(rows.shape)
        self.stream.wait_event(slot.used)
        out.set(host, stream=self.stream)
        slot.copied.record(self.stream)
        main.wait_event(slot.copied)
        return out


class _Slot:
    """A buffer on each side; when it was copied, and when its last reader was done."""

    def __init__(self, size, dtype):
        self.size, self.dtype = size, dtype
        self.host = cupyx.empty_pinned(size, dtype)
        self.device = cp.empty(size, dtype)
        self.copied, self.used = cp.cuda.Event(), cp.cuda.Event()
        # The memory may be that of arrays that work under way still reads.
        self.used.record(cp.cuda.get_current_stream())
