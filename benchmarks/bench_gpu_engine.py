"""The fused CUDA engine against the card's own ceilings.

    python benchmarks/bench_gpu_engine.py

X and Z are different arrays on the device, kernels compiled by a first call, operands
packed before the clock starts as they are in a solver's loop. Every row has its error
against float64: max |error| / (|K| |V|) of the checked rows, for random V and for
V > 0, which shows a bias that random signs hide. Blockwise float32 (cuBLAS and
elementwise kernels, K in memory block by block) stands beside the fused rows.
"""

from __future__ import annotations

import argparse
import math

import _harness
import cupy as cp
import numpy as np

from gpkern import KernelOperator
from gpkern.kernels import RBF, InverseMultiquadric, Matern, RationalQuadratic

CHECKED = 48
N = 65_536


def seconds(function, repeats=5):
    """Median time of calls, by events; one call before them does not count."""
    function()
    times = []
    for _ in range(repeats):
        start, end = cp.cuda.Event(), cp.cuda.Event()
        start.record()
        function()
        end.record()
        end.synchronize()
        times.append(cp.cuda.get_elapsed_time(start, end) / 1e3)
    return float(np.median(times))


def ceilings(size=8192):
    """TFLOP/s of matrix products, by name; TF32 where PyTorch is installed."""
    found = {}
    for name, dtype in (("float64", "f8"), ("float32", "f4"), ("half", "f2")):
        a, b = (cp.random.standard_normal((size, size)).astype(dtype) for _ in range(2))
        found[name] = 2 * size**3 / seconds(lambda a=a, b=b: a @ b) / 1e12
    try:
        import torch
    except ImportError:
        return found
    torch.backends.cuda.matmul.allow_tf32 = True
    a, b = (torch.randn(size, size, device="cuda") for _ in range(2))

    def product():
        torch.matmul(a, b)
        torch.cuda.synchronize()

    found["tf32"] = 2 * size**3 / seconds(product) / 1e12
    return found


def data(n, m, d, c, dtype=cp.float32):
    """X, Z, V of standard normal numbers."""
    rng = cp.random.default_rng(0)
    return [rng.standard_normal(s, dtype=dtype) for s in ((n, d), (m, d), (m, c))]


def error(product, kernel, X, Z, V):
    """max |error| / (|K| |V|) over the checked rows."""
    rows = cp.linspace(0, len(X) - 1, CHECKED).astype(int)
    exact = KernelOperator(kernel, X[rows].astype("f8"), Z.astype("f8"))
    V = V.astype("f8")
    return float((abs(product[rows] - exact @ V) / (exact @ abs(V))).max())


def matmat(name, kernel, n, d, c, precision, repeats, dtype=cp.float32):
    """One row: K(X, Z) @ V."""
    X, Z, V = data(n, n, d, c, dtype)
    op = KernelOperator(kernel, X, Z, precision=precision)
    t = seconds(lambda: op @ V, repeats)
    return {
        "work": name,
        "precision": precision if dtype == cp.float32 else "float64",
        "ms": 1e3 * t,
        "gpairs_per_s": n * n / t / 1e9,
        "tflops": 2.0 * n * n * d / t / 1e12,
        "error": error(op @ V, kernel, X, Z, V),
        "error_positive": error(op @ abs(V), kernel, X, Z, abs(V)),
    }


def blockwise(n, d, c, repeats, block=8192):
    """The same by blocks of K in float32."""
    X, Z, V = data(n, n, d, c)
    gamma = 1.0 / (2 * d)

    def product(W):
        out = cp.zeros((n, c), cp.float32)
        for i in range(0, n, block):
            x = X[i : i + block]
            for j in range(0, n, block):
                z = Z[j : j + block]
                s = (x * x).sum(1)[:, None] + (z * z).sum(1) - 2 * (x @ z.T)
                out[i : i + block] += cp.exp(-gamma * s) @ W[j : j + block]
        return out

    t, kernel = seconds(lambda: product(V), repeats), RBF(math.sqrt(d))
    return {
        "work": f"d {d}, c {c}",
        "precision": "blockwise float32",
        "ms": 1e3 * t,
        "gpairs_per_s": n * n / t / 1e9,
        "tflops": 2.0 * n * n * d / t / 1e12,
        "error": error(product(V), kernel, X, Z, V),
        "error_positive": error(product(abs(V)), kernel, X, Z, abs(V)),
    }


def logsumexp(n, m, d, repeats):
    """Row log-sum-exp of a Gaussian; the error is absolute."""
    X, Z, _ = data(n, m, d, 1)
    kernel = RBF(math.sqrt(d))
    op = KernelOperator(kernel, X, Z)
    t = seconds(lambda: op.row_logsumexp(), repeats)
    rows = cp.linspace(0, n - 1, CHECKED).astype(int)
    exact = KernelOperator(kernel, X[rows].astype("f8"), Z.astype("f8"))
    worst = float(abs(op.row_logsumexp()[rows] - exact.row_logsumexp()).max())
    return {
        "work": f"log-sum-exp, d {d}, {n:,} x {m:,}",
        "precision": "high",
        "ms": 1e3 * t,
        "gpairs_per_s": n * m / t / 1e9,
        "tflops": 2.0 * n * m * d / t / 1e12,
        "error": worst,
    }


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    rows = []
    for d in (784, 32):
        kernel = RBF(math.sqrt(d))
        rows.append(blockwise(N, d, 10, repeats))
        for precision in ("medium", "high"):
            name = f"d {d}, c 10"
            rows.append(matmat(name, kernel, N, d, 10, precision, repeats))
        scale = math.sqrt(d)
        for other in (
            Matern(scale, nu=0.5),
            Matern(scale, nu=1.5),
            Matern(scale, nu=2.5),
            InverseMultiquadric(scale),
            RationalQuadratic(scale, alpha=0.7),
            RBF(scale) + Matern(scale, nu=1.5) + InverseMultiquadric(scale),
        ):
            name = f"d {d}, c 10, {other}"
            rows.append(matmat(name, other, N, d, 10, "high", repeats))
    rows.append(
        matmat("d 784, c 10", RBF(28.0), N // 2, 784, 10, "high", 2, cp.float64)
    )
    rows.append(matmat("d 3, c 1", RBF(1.7), 262_144, 3, 1, "high", repeats))
    rows.append(logsumexp(1 << 20, 131_072, 16, repeats))
    _harness.table(rows)
    limits = ceilings()
    print({k: round(v, 1) for k, v in limits.items()})
    _harness.save("gpu_engine", rows, ceilings_tflops=limits)


if __name__ == "__main__":
    main()
