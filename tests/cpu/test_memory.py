"""The matrix is never formed: what a product takes, in a fresh process."""

import subprocess
import sys

import pytest

MEASURE = """
from pathlib import Path

def status(key):
    text = Path("/proc/self/status").read_text()
    return int(text.split(key + ":")[1].split()[0]) / 1024

def start():
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of compiling
    return status("VmRSS")

"""
SCRIPT = """
import numpy as np
from sklearn import config_context
from sklearn.gaussian_process.kernels import RBF

from gpkern import KernelOperator

n, d = 60_000, 10
X = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
V = np.ones((n, 2), np.float32)
with config_context(working_memory=64):
    KernelOperator(RBF(3.0), X[:2000]) @ V[:2000]  # compiled, threads started
    before = start()
    op = KernelOperator(RBF(3.0), X{Z})
    op @ V[: op.shape[1]]
print(status("VmHWM") - before)
"""


STREAMED = """
import numpy as np
from sklearn import config_context
from sklearn.gaussian_process.kernels import RBF

from gpkern import KernelOperator


class Virtual:
    \"""Rows made when they are read: a file larger than memory.\"""

    shape, dtype = (2_000_000, 60), np.dtype(np.float32)

    def __getitem__(self, cut):
        rows = np.arange(*cut.indices(self.shape[0]), dtype=np.float32)
        return np.cos(rows[:, None] + np.arange(60, dtype=np.float32))


X = Virtual()
Z = X[:5]
with config_context(working_memory=64):
    KernelOperator(RBF(3.0), X[:2000], Z) @ np.ones(5)
    before = start()
    sums = KernelOperator(RBF(3.0), X, Z) @ np.ones(5)
last = RBF(3.0)(X[1_999_000:2_000_000], Z.astype(float)).sum(1)
assert np.allclose(sums[1_999_000:], last, rtol=1e-4)
print(status("VmHWM") - before)
"""


RIDGE = """
import warnings

import numpy as np
from sklearn import config_context
from sklearn.gaussian_process.kernels import Matern

from gpkern import KernelRidge

X = np.random.default_rng(0).standard_normal((12_000, 10))
model = KernelRidge(1e-2, kernel=Matern(3.0, nu=0.5), max_iter=2, random_state=0)
warnings.simplefilter("ignore")  # two iterations do not converge
with config_context(working_memory=64):
    model.set_params(solver="pcg").fit(X[:2000], X[:2000, 0])
    before = start()
    model.fit(X, X[:, 0])
print(status("VmHWM") - before)
"""
SINGULAR = """
import warnings

import numpy as np

from gpkern import KernelRidge

X = np.random.default_rng(0).standard_normal((1500, 4))
warnings.simplefilter("ignore")
KernelRidge(alpha=0).fit(X[:300], X[:300, 0])
before = start()
KernelRidge(alpha=0).fit(X, X[:, 0])
print((status("VmHWM") - before) / (8 * 1500**2 / 2**20))
"""
SCALES = """
import numpy as np
from sklearn import config_context

from gpkern import KernelOperator
from gpkern.kernels import RBF

X = np.random.default_rng(0).standard_normal((200_000, 20), dtype=np.float32)
R = np.ones((200_000, 1), np.float32)
few = slice(0, 200)
scales = [RBF(np.full(20, s)) for s in np.geomspace(1.0, 9.0, 40)]
with config_context(working_memory=128):
    op = KernelOperator(scales[0], X[few], X)
    op @ R
    before = start()
    for scale in scales:
        op.with_kernel(scale) @ R
print(status("VmHWM") - before)
"""


def peak_of(script):
    """What the script prints: its peak above what it held at the start, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE + script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.parametrize("Z", ["", ", X[:20_000]"], ids=["one sample", "cross matrix"])
def test_peak_memory(Z):
    """60,000 rows: the matrix would take 14.4 GB, or 4.8."""
    assert peak_of(SCRIPT.replace("{Z}", Z)) < 300


def test_conjugate_gradients():
    """The preconditioner takes 32 MB; the columns that it is of would take 80 each."""
    assert peak_of(RIDGE) < 120


def test_singular_matrix():
    """A matrix and its eigenvectors, 18 MB each."""
    assert peak_of(SINGULAR) < 2.7


def test_rows_larger_than_the_budget_are_streamed():
    """480 MB of rows, of which none is kept; 16 MB of results."""
    assert peak_of(STREAMED) < 150


def test_many_length_scales():
    """15 MB of rows in 40 length scales would take 600; half the budget is kept."""
    assert peak_of(SCALES) < 200
