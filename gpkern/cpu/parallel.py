"""One pool of threads for everything, each with a single-threaded BLAS.

Alternating a threaded BLAS with threaded loops makes the two pools fight for the
cores. Here the tiles are spread over our threads, BLAS and Numba release the GIL,
and inside a thread both run alone.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import lru_cache

import joblib
from numba import config as numba_config
from threadpoolctl import ThreadpoolController

# Least part of an array that is copied or checked by a thread of its own.
PART_BYTES = 1 << 21
# Reentrant, because a fork takes it too.
_lock = threading.RLock()
_state = {"limit": None, "inherited": None, "pool": None, "pid": None}
_inside = threading.local()


def _renew_in_child():
    """A child has one thread: no pool, no products under way, a lock of its own.

    BLAS that the parent had limited stays so until the child's next product ends.
    """
    global _lock, _state
    _lock = threading.RLock()
    inherited = _state["limit"] or _state["inherited"]
    _state = {"limit": None, "inherited": inherited, "pool": None, "pid": None}


if hasattr(os, "register_at_fork"):
    # Forking waits until no thread is halfway through a change of the state.
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=_renew_in_child,
    )


def n_threads():
    """Threads in use: ``NUMBA_NUM_THREADS`` or the cores this process may use."""
    # joblib reads a container's limits from files, which takes longer than small tasks.
    if getattr(_inside, "alone", False):
        return 1
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    cores = _cores(frozenset(mine), os.environ.get("LOKY_MAX_CPU_COUNT"))
    return max(1, min(numba_config.NUMBA_NUM_THREADS, cores))


@lru_cache(maxsize=8)
def _cores(affinity, limit):
    """`joblib.cpu_count` of what it depends on."""
    return joblib.cpu_count()


@lru_cache(maxsize=1)
def _controller():
    import scipy.linalg  # noqa: F401  (so that its BLAS is loaded and found too)

    return ThreadpoolController()


# Rows of matrices that threads of BLAS do not help with, but wait for each other.
SMALL = 512


def blas_for(size):
    """A context for work on matrices of a size: small ones on one thread of BLAS."""
    return _single_threaded_blas() if size <= SMALL else nullcontext()


@contextmanager
def _single_threaded_blas():
    """BLAS on one thread, for the first of several concurrent users.

    Only the thread that set a limit can take it back, so it does, and those that came
    later go on without: the number of threads is a matter of speed alone.
    """
    state = _state
    with _lock:
        mine = state["limit"] is None
        if mine:
            state["limit"] = _controller().limit(limits=1, user_api="blas")
    try:
        if mine:
            with state["limit"]:
                yield
        else:
            yield
    finally:
        # Another state is that of a child, forked by one of our own tasks.
        if mine and state is _state:
            with _lock:
                state["limit"] = None
                if state["inherited"] is not None:
                    state["inherited"].restore_original_limits()
                    state["inherited"] = None


@contextmanager
def alone():
    """A context in which this thread works by itself, as one of several that do.

    Such as a task of a scheduler that has as many of them at a time as there are cores.
    ``NUMBA_NUM_THREADS``, where it is set, allows more.
    """
    if "NUMBA_NUM_THREADS" in os.environ:
        yield
        return
    before = getattr(_inside, "alone", False)
    _inside.alone = True
    try:
        with _single_threaded_blas():
            yield
    finally:
        _inside.alone = before


def _pool(workers):
    with _lock:
        # A forked child inherits the object but not the threads.
        if _state["pid"] != os.getpid() or _state["pool"]._max_workers < workers:
            _state["pool"] = ThreadPoolExecutor(workers, thread_name_prefix="gpkern")
            _state["pid"] = os.getpid()
        return _state["pool"]


def run(task, n_tasks):
    """Call ``task(index, worker)`` for each index; a free worker takes the next."""
    counter = iter(range(n_tasks))

    def work(worker):
        while True:
            with _lock:
                index = next(counter, None)
            if index is None:
                return
            task(index, worker)

    _spread(work, min(n_threads(), n_tasks))


def over_rows(task, rows):
    """Call ``task(start, stop)`` for parts of an array that are worth a thread."""
    n = rows.shape[0]
    count = max(1, min(n, rows.nbytes // PART_BYTES, 4 * n_threads()))
    cuts = [i * n // count for i in range(count + 1)]
    run(lambda i, _: task(cuts[i], cuts[i + 1]), count)


def run_fixed(task, n_tasks, workers):
    """As `run`, by so many workers, and which does what is fixed.

    For tasks that add into an array of their worker: the order of the sums, and so
    every bit of the result, is the same each time.
    """

    def work(worker):
        for index in range(n_tasks):
            # Back and forth, so that tasks of falling size balance.
            lap, place = divmod(index, workers)
            if (place if lap % 2 == 0 else workers - 1 - place) == worker:
                task(index, worker)

    _spread(work, workers)


def _spread(work, workers):
    if getattr(_inside, "active", False) or workers == 1:
        for worker in range(workers):
            work(worker)
        return

    def guarded(worker):
        _inside.active = True
        try:
            work(worker)
        finally:
            _inside.active = False

    with _single_threaded_blas():
        futures = [_pool(workers).submit(guarded, w) for w in range(1, workers)]
        try:
            guarded(0)
        finally:
            errors = [f.exception() for f in futures]
    for error in errors:
        if error is not None:
            raise error
