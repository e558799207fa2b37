"""The disk cache, fresh processes, forks, and the BLAS threads of the user."""

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import RBF
from threadpoolctl import threadpool_info, threadpool_limits

from gpkern import KernelOperator
from gpkern.cpu import parallel

X = np.random.default_rng(0).standard_normal((600, 30))
SCRIPT = """
import numpy as np
from sklearn.gaussian_process.kernels import RBF
from gpkern import KernelOperator
K = KernelOperator(RBF(2.0), np.eye(3))
assert np.allclose(K @ np.ones(3), RBF(2.0)(np.eye(3)).sum(1))
"""


def run(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_compiled_once(tmp_path):
    """The second process finds the machine code of the first."""
    folder = tmp_path / "made" / "here"
    run(SCRIPT, GPKERN_CACHE_DIR=str(folder))
    files = {p: p.stat().st_mtime_ns for p in folder.rglob("*.nbc")}
    assert files
    run(SCRIPT, GPKERN_CACHE_DIR=str(folder))
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.nbc")} == files


@pytest.mark.slow
def test_folder_that_cannot_be_written(tmp_path):
    """A read-only home: compiled in memory."""
    file = tmp_path / "file"
    file.touch()
    run(SCRIPT, GPKERN_CACHE_DIR=str(file / "below"))


def test_one_thread():
    out = run(SCRIPT + "print(2)", NUMBA_NUM_THREADS="1")
    assert out.strip() == "2"


def test_blas_threads_are_given_back():
    before = threadpool_info()
    op = KernelOperator(RBF(5.0), X)
    op @ np.ones(600)
    with pytest.raises(ZeroDivisionError):
        KernelOperator(lambda a, b: 1 / 0, np.zeros((900, 1))) @ np.ones(900)
    assert threadpool_info() == before


@pytest.mark.skipif(parallel.n_threads() < 2, reason="one core")
def test_blas_threads_are_given_back_by_several_threads():
    op, v, before = KernelOperator(RBF(5.0), X), np.ones(600), threadpool_info()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: op @ v, range(100)))
    assert threadpool_info() == before

    def limited():
        with threadpool_limits(1, user_api="blas"):
            return [i["num_threads"] for i in threadpool_info() if "blas" in str(i)]

    # No thread of ours stays the one that may set BLAS's threads.
    with ThreadPoolExecutor(1) as pool:
        assert set(pool.submit(limited).result()) <= {1}


@pytest.mark.skipif(parallel.n_threads() < 2, reason="one core")
def test_error_in_another_thread():
    """A strip that failed is not left as it was."""
    failed = threading.Event()

    def kernel(A, B):
        if threading.current_thread() is not threading.main_thread():
            failed.set()
            raise ZeroDivisionError("elsewhere")
        failed.wait(10)  # so that the others get some of the work
        return A @ B.T

    with pytest.raises(ZeroDivisionError, match="elsewhere"):
        KernelOperator(kernel, np.zeros((2000, 1))) @ np.ones(2000)


def _product():
    return KernelOperator(RBF(5.0), X) @ np.ones(600)


@pytest.mark.skipif(sys.platform != "linux", reason="no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_after_a_fork():
    """A child of a process whose threads are running has none of them."""
    expected = _product()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert_allclose(pool.apply_async(_product).get(timeout=60), expected)
    assert_allclose(_product(), expected)


FORK = """
import multiprocessing, threading, time
import numpy as np
from sklearn.gaussian_process.kernels import RBF
from threadpoolctl import threadpool_info, threadpool_limits
from gpkern import KernelOperator
from gpkern.cpu import parallel

op = KernelOperator(RBF(5.0), np.random.default_rng(0).standard_normal((600, 30)))
y = np.ones(600)
expected, limits = op @ y, threadpool_info()

def work():
    assert np.allclose(op @ y, expected)
    assert threadpool_info() == limits

def product():
    while not stop.is_set():
        op @ y

def hold():
    with parallel._lock:  # as every product does, for a moment
        held.set()
        time.sleep(1)

def in_child():
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join(20)
    code = child.exitcode
    child.kill()
    assert code == 0, code

held, stop = threading.Event(), threading.Event()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
in_child()
thread.join()

threads = [threading.Thread(target=product) for _ in range(2)]
try:
    for t in threads:
        t.start()
    for _ in range(10):
        in_child()
finally:
    stop.set()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="no fork")
def test_fork_while_others_compute():
    """A lock that another thread held is not held for ever in the child.

    Neither is BLAS left with the single thread that the parent's products take.
    """
    run(FORK, NUMBA_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")


def test_called_from_inside_a_callable():
    """A kernel of the user's own that uses an operator itself."""

    def kernel(A, B):
        return KernelOperator(RBF(5.0), A, B).to_dense()

    start = time.monotonic()
    got = KernelOperator(kernel, X) @ np.ones(600)
    assert_allclose(got, _product(), rtol=1e-10)
    assert time.monotonic() - start < 30
