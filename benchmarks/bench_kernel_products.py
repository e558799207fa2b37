"""K(X, Z) @ V on a CPU: gpkern against scikit-learn, and KeOps where it is installed.

    python benchmarks/bench_kernel_products.py

Float32, n = m = 10,000, Gaussian kernel, all cores. The packages run in turn; times are
medians. Timed is everything from the arrays to the result, the preparation of X and Z
included; compilation is not (the first call does not count). Errors are those of the
first 200 rows against float64: max |error| / (|K| |V|) of the row, for random V and for
V > 0, which shows a bias that random signs hide.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import _harness
import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

from gpkern import KernelOperator
from gpkern.kernels import (
    RBF,
    InverseMultiquadric,
    Laplacian,
    Matern,
    RationalQuadratic,
)

CASES = [(3, 1), (14, 1), (32, 10), (128, 10), (784, 10)]
CHECKED = 200


def relative_error(product, kernel, X, Z, V):
    """max |error| / (|K| |V|) over the checked rows."""
    K = kernel(X[:CHECKED].astype(np.float64), Z.astype(np.float64))
    scale = np.abs(K) @ np.abs(V).astype(np.float64)
    return float((np.abs(product[:CHECKED] - K @ V) / scale).max())


def keops_product(X, Z, V, gamma):
    """The same product by KeOps; None where it is not installed."""
    try:
        from pykeops.numpy import LazyTensor
    except ImportError:
        return None

    def product():
        x, z = LazyTensor(X[:, None, :]), LazyTensor(Z[None, :, :])
        return (-((x - z) ** 2).sum(-1) * gamma).exp() @ V

    return product


def gaussian(n, d, c, repeats, rng):
    """One row of the table: K(X, Z) and K(X, X)."""
    X, Z = (rng.standard_normal((n, d)).astype(np.float32) for _ in range(2))
    V = rng.standard_normal((n, c)).astype(np.float32)
    gamma = 1.0 / (2 * d)
    kernel = RBF(np.sqrt(d))
    functions = {
        "scikit-learn": lambda: rbf_kernel(X, Z, gamma=gamma) @ V,
        "gpkern": lambda: KernelOperator(kernel, X, Z) @ V,
        "gpkern K(X, X)": lambda: KernelOperator(kernel, X) @ V,
        "gpkern K.T(K V)": lambda: KernelOperator(kernel, X, Z).normal_matmat(V),
    }
    keops = keops_product(X, Z, V, gamma)
    if keops is not None:
        functions["KeOps"] = keops
    times = _harness.in_turn(functions, repeats)
    op = KernelOperator(kernel, X, Z)
    row = {"kernel": "Gaussian", "d": d, "c": c, "n": n}
    row["sklearn_s"], row["gpkern_s"] = times["scikit-learn"], times["gpkern"]
    row["ratio"] = times["scikit-learn"] / times["gpkern"]
    row["ratio_symmetric"] = times["scikit-learn"] / times["gpkern K(X, X)"]
    row["normal_over_product"] = times["gpkern K.T(K V)"] / times["gpkern"]
    if keops is not None:
        row["ratio_keops"] = times["KeOps"] / times["gpkern"]
    row["gpairs_per_s"] = n * n / times["gpkern"] / 1e9
    row["error"] = relative_error(op @ V, kernel, X, Z, V)
    positive = np.abs(V)
    row["error_positive"] = relative_error(op @ positive, kernel, X, Z, positive)
    row["error_sklearn"] = relative_error(functions["scikit-learn"](), kernel, X, Z, V)
    return row


def other_kernels(n, d, c, repeats, rng):
    """Rates of other kernels and of float64."""
    X, Z = (rng.standard_normal((n, d)).astype(np.float32) for _ in range(2))
    V = rng.standard_normal((n, c)).astype(np.float32)
    scale = np.sqrt(d)
    kernels = [
        Matern(scale, nu=0.5),
        Matern(scale, nu=1.5),
        RationalQuadratic(scale, alpha=0.7),
        InverseMultiquadric(scale),
        RBF(scale) + Matern(2 * scale, nu=1.5),
    ]
    if d <= 32:
        kernels.append(Laplacian(float(d)))
    for kernel in kernels:
        op = KernelOperator(kernel, X, Z)
        seconds, product = _harness.seconds(lambda op=op: op @ V, repeats, warm_up=1)
        yield {
            "kernel": str(kernel),
            "d": d,
            "c": c,
            "n": n,
            "gpkern_s": seconds,
            "gpairs_per_s": n * n / seconds / 1e9,
            "error": relative_error(product, kernel, X, Z, V),
        }


MEMORY = """
import pathlib, numpy as np
from gpkern import KernelOperator
from gpkern.kernels import RBF

def status(key):
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split(key + ":")[1].split()[0]) / 1024

rng = np.random.default_rng(0)
X = rng.standard_normal(({n}, {d}), dtype=np.float32)
V = rng.standard_normal(({n}, 10), dtype=np.float32)
small = KernelOperator(RBF(5.0), X[:2000]); small @ V[:2000]
pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the peak of compilation
before = status("VmRSS")
KernelOperator(RBF(5.0), X) @ V
print(status("VmHWM") - before)
"""


def memory(n, d):
    """Peak memory of K(X, X) @ V beyond X and V, MB, in a process apart (Linux)."""
    out = subprocess.run(
        [sys.executable, "-c", MEMORY.format(n=n, d=d)],
        capture_output=True,
        text=True,
        check=True,
    )
    return {"n": n, "d": d, "peak_mb": float(out.stdout)}


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller")
    quick = parser.parse_args().quick
    n, repeats = (3000, 3) if quick else (10_000, 7)
    rng = np.random.default_rng(0)
    rows = []
    for d, c in CASES:
        rows.append(gaussian(n, d, c, repeats, rng))
        rows.extend(other_kernels(n, d, c, repeats, rng))
    _harness.table([r for r in rows if r["kernel"] == "Gaussian"])
    _harness.table([r for r in rows if r["kernel"] != "Gaussian"])
    peaks = [memory(20_000 if quick else 200_000, d) for d in (3, 32, 784)]
    _harness.table(peaks)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time")
    _harness.save("kernel_products_cpu", rows, memory=peaks)


if __name__ == "__main__":
    main()
