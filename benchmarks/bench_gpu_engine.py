"""The fused CUDA engine against the card's own ceilings.

    python benchmarks/bench_gpu_engine.py

X and Z are different arrays on the device, kernels compiled by a first call, operands
packed before the clock starts as they are in a solver's loop. Every row has its error
against float64 on the CPU: max |error| / (|K| |V|) of the checked rows, for random V
and for V > 0, which shows a bias that random signs hide. Blockwise float32 (cuBLAS and
elementwise kernels, K in memory block by block) stands beside the fused rows.

`share` is the floor over the time: the longer of the products, at the rates that were
measured in the same run (inner products in half precision, times three for "high"; the
product with V in TF32, its columns padded to a multiple of eight), and one exponential
a pair at the special-function units' 16 a clock and multiprocessor. `peer` is the ratio
of the rate to that of the matrix product that a precision is compared with: TF32 for
"medium", float32 for "high", float64.
"""

from __future__ import annotations

import argparse
import math

import _harness
import cupy as cp
import numpy as np

from gpkern import KernelOperator, RandomSigns
from gpkern.kernels import (
    NTK,
    RBF,
    InverseMultiquadric,
    Laplacian,
    Matern,
    RationalQuadratic,
)

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


def exp_rate():
    """Exponentials a second that the special-function units can do."""
    device = cp.cuda.runtime.getDeviceProperties(0)
    clock = cp.cuda.runtime.deviceGetAttribute(13, 0)  # kHz
    return 16 * device["multiProcessorCount"] * clock * 1e3


def floor_seconds(row, limits):
    """Least time of a row by tensor cores and exponentials; see the module."""
    d, c, pairs = row["d"], row["c"], row["pairs"]
    columns = 0 if c == 1 else -(-c // 8) * 8
    if row["precision"] == "float64":
        products = 2 * (d + c) / limits["float64"]
    else:
        times = 3 if row["precision"] == "high" else 1
        products = 2 * d * times / limits["half"]
        products += 2 * columns * times / limits.get("tf32", limits["half"] / 2)
    direct = d <= 8
    return pairs * max(0.0 if direct else products / 1e12, 1 / limits["exp"])


def data(n, m, d, c, dtype=cp.float32):
    """X, Z, V of standard normal numbers."""
    rng = cp.random.default_rng(0)
    return [rng.standard_normal(s, dtype=dtype) for s in ((n, d), (m, d), (m, c))]


def error(product, kernel, X, Z, V):
    """max |error| / (|K| |V|) over the checked rows."""
    rows = np.linspace(0, X.shape[0] - 1, CHECKED).astype(int)
    X = X[rows] if isinstance(X, InMainMemory) else X[rows].get()
    exact = KernelOperator(kernel, X.astype("f8"), Z.get().astype("f8"))
    V = V.get().astype("f8")
    off = product[cp.asarray(rows)].get() - exact @ V
    return float((abs(off) / (exact @ abs(V))).max())


def matmat(name, kernel, n, d, c, precision, repeats, dtype=cp.float32):
    """One row: K(X, Z) @ V."""
    X, Z, V = data(n, n, d, c, dtype)
    op = KernelOperator(kernel, X, Z, precision=precision)
    t = seconds(lambda: op @ V, repeats)
    return {
        "work": name,
        "d": d,
        "c": c,
        "pairs": n * n,
        "precision": precision if dtype == cp.float32 else "float64",
        "ms": 1e3 * t,
        "gpairs_per_s": n * n / t / 1e9,
        "tflops": 2.0 * n * n * d / t / 1e12,
        "error": error(op @ V, kernel, X, Z, V),
        "error_positive": error(op @ abs(V), kernel, X, Z, abs(V)),
    }


class InMainMemory:
    """Rows that are read in slices, so that they stay where they are."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def __getitem__(self, index):
        return self.rows[index]


def streamed(n, m, d, c, repeats):
    """K(X, Z) @ V of rows in main memory, by two buffers, beside rows on the GPU."""
    X, Z, V = data(n, m, d, c)
    kernel = RBF(math.sqrt(d))
    there = KernelOperator(kernel, X, Z)
    there_s = seconds(lambda: there @ V, repeats)
    # So much that a part of X on its way is some tens of MB.
    budget = 4 * X.nbytes // 16
    host = InMainMemory(X.get())
    op = KernelOperator(kernel, host, Z, device="cuda", memory_budget=budget)
    t = seconds(lambda: op @ V, repeats)
    return {
        "work": f"X streamed, {n:,} x {m:,}, d {d}, c {c}",
        "precision": "high",
        "ms": 1e3 * t,
        "gpairs_per_s": n * m / t / 1e9,
        "tflops": 2.0 * n * m * d / t / 1e12,
        "error": error(op @ V, kernel, host, Z, V),
        "error_positive": error(op @ abs(V), kernel, host, Z, abs(V)),
        "over_rows_on_gpu": t / there_s,
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
    exact = KernelOperator(kernel, X[rows].get().astype("f8"), Z.get().astype("f8"))
    off = op.row_logsumexp()[rows].get() - exact.row_logsumexp()
    worst = float(abs(off).max())
    return {
        "work": f"log-sum-exp, d {d}, {n:,} x {m:,}",
        "d": d,
        "c": 1,
        "pairs": n * m,
        "precision": "high",
        "ms": 1e3 * t,
        "gpairs_per_s": n * m / t / 1e9,
        "tflops": 2.0 * n * m * d / t / 1e12,
        "error": worst,
    }


def normal(n, m, d, c, repeats, gradient_precision):
    """K.T @ (K @ V): K kept between its two products, or computed twice."""
    X, Z, V = data(n, m, d, c)
    kernel = Matern(math.sqrt(d), nu=0.5)
    op = KernelOperator(kernel, X, Z)

    def product():
        return op.normal_matmat(V, gradient_precision=gradient_precision)[0]

    t, rows = seconds(product, repeats), cp.linspace(0, m - 1, CHECKED).astype(int)
    exact = KernelOperator(kernel, X.astype("f8"), Z.astype("f8"))
    U = exact @ V.astype("f8")
    back = KernelOperator(kernel, Z[rows].astype("f8"), X.astype("f8"))
    worst = abs(product()[rows] - back @ U) / (back @ abs(U))
    return {
        "work": f"K.T (K V), {n:,} x {m:,}, d {d}, c {c}",
        "precision": f"high, {gradient_precision or 'high'}",
        "ms": 1e3 * t,
        "gpairs_per_s": n * m / t / 1e9,
        "error": float(worst.max()),
    }


def forms(n, d, count, n_scales, precision, repeats):
    """r' K r of random signs at several length scales; error over the spread."""
    X, *_ = data(n, 1, d, 1)
    scales = [RBF(float(s)) for s in np.geomspace(2.0, 30.0, n_scales)]
    signs = RandomSigns(n, count, random_state=0)
    op = KernelOperator(scales[0], X, precision=precision)
    t = seconds(lambda: op.quadratic_forms(signs, scales), repeats)
    few = signs.rows(0, n, cp, cp.float64)[:, :4]
    checked = range(0, n_scales, 3)
    exact = KernelOperator(scales[0], X.astype("f8"))
    exact = exact.quadratic_forms(few, [scales[k] for k in checked])
    got = op.quadratic_forms(signs, scales)[list(checked)]
    worst = abs(got[:, :4] - exact).max(axis=1) / got.std(axis=1)
    return {
        "work": f"r' K r, n {n:,}, d {d}, {count:,} signs, {n_scales} scales",
        "precision": precision,
        "ms": 1e3 * t,
        "tflops": 2.0 * n * n * count * n_scales / t / 1e12,
        "error": float(worst.max()),
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
            NTK(depth=3),
        ):
            name = f"d {d}, c 10, {other}"
            rows.append(matmat(name, other, N, d, 10, "high", repeats))
    rows.append(matmat("d 784, c 10", RBF(28.0), N, 784, 10, "high", 2, cp.float64))
    for d, c in ((3, 1), (32, 1), (32, 10)):
        kernel, name = RBF(math.sqrt(d)), f"d {d}, c {c}"
        rows.append(matmat(name, kernel, N // 2, d, c, "high", 3, cp.float64))
    rows.append(matmat("d 3, c 1", RBF(1.7), 262_144, 3, 1, "high", repeats))
    two = RBF([4.0] * 32) + RBF([8.0] * 32)
    for name, kernel in (("L1", Laplacian(32.0)), ("two ARD kernels", two)):
        rows.append(matmat(f"d 32, c 1, {name}", kernel, N // 2, 32, 1, "high", 3))
    rows.append(logsumexp(1 << 20, 131_072, 16, repeats))
    rows.append(streamed(1 << 18, N, 784, 10, 3))
    for gradient_precision in (None, "medium"):
        rows.append(normal(6144, 131_072, 1280, 10, 3, gradient_precision))
    for precision in ("high", "medium"):
        rows.append(forms(100_000, 50, 2000, 10, precision, 3))
    limits = ceilings() | {"exp": exp_rate()}
    peers = {"medium": "tf32", "high": "float32", "float64": "float64"}
    for row in rows:
        if "pairs" in row and row["work"].count(",") == 1:
            row["share"] = 1e3 * floor_seconds(row, limits) / row["ms"]
            if row["d"] > 100:
                row["peer"] = row["tflops"] / limits[peers[row["precision"]]]
    _harness.table(rows)
    print({k: f"{v:.4g}" for k, v in limits.items()})
    _harness.save("gpu_engine", rows, ceilings=limits)


if __name__ == "__main__":
    main()
