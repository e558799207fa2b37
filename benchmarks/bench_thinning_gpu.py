"""Kernel thinning and Stein thinning on a GPU, and the same on the host's CPU.

    python benchmarks/bench_thinning_gpu.py

Normal samples on the device, kernel ``exp(-|x - z|^2 / (4 d))``, Compress++ with
oversampling 4; `ratio` is the mean distance (MMD) of random subsets over that of the
coreset, from at most 20,000 rows in float64, the same estimate for both. Times are
medians of three seeds after a call that compiles, without that estimate. `same_rows` is
the share of the coreset that a CPU chooses too, from the same float64 rows and seed.
Scores of Stein thinning are those of the normal distribution, its draws are wider.
"""

from __future__ import annotations

import _harness
import cupy as cp
import numpy as np

from gpkern import KernelThinning, SteinThinning
from gpkern.kernels import RBF

SEEDS = 3


def timed(make, data, **given):
    """Median time over seeds, and the model of the last."""
    make(0).fit(data, **given)
    found = []
    for seed in range(SEEDS):
        cp.cuda.Device().synchronize()
        found.append(
            _harness.seconds(
                lambda seed=seed: make(seed).fit(data, **given),
                sync=lambda: cp.cuda.Device().synchronize(),
            )
        )
    return float(np.median([t for t, _ in found])), found[-1][1]


def on_both(work, make, data, cpu, **given):
    """A row: times on the GPU and, where it is not too long, on the CPU."""
    gpu_s, model = timed(make, data, **given)
    row = {"work": work, "gpu_s": gpu_s}
    if cpu:
        there = {name: value.get() for name, value in given.items()}
        row["cpu_s"], own = timed(make, data.get(), **there)
        row["gpu_times_faster"] = row["cpu_s"] / gpu_s
        same = np.isin(model.sample_indices_.get(), own.sample_indices_)
        row["same_rows"] = float(same.mean())
    return row


def kernel_thinning(n, size, d, cpu, **more):
    """Compress++ of normal rows."""
    X = cp.random.default_rng(0).standard_normal((n, d))
    options = {
        "kernel": RBF(np.sqrt(2.0 * d)),
        "method": "compress++",
        "oversampling": 4,
        **more,
    }
    told = "".join(f", {name}={value}" for name, value in more.items())
    row = on_both(
        f"KernelThinning, {n:,} to {size:,}, d {d}{told}",
        lambda seed: KernelThinning(
            size, random_state=seed, compute_mmd=False, **options
        ),
        X,
        cpu,
    )
    rated = KernelThinning(size, random_state=0, **options).fit(X)
    row |= {
        "mmd": rated.mmd_,
        "mmd_stderr": rated.mmd_stderr_,
        "mmd_random": rated.mmd_iid_,
        "ratio": rated.mmd_iid_ / rated.mmd_,
    }
    return row


def stein_thinning(n, size, d, cpu, **options):
    """Draws that are too wide."""
    X = 1.5 * cp.random.default_rng(0).standard_normal((n, d))
    method = options.get("method", "greedy")
    return on_both(
        f"SteinThinning, {method}, {n:,} to {size:,}, d {d}",
        lambda seed: SteinThinning(size, random_state=seed, **options),
        X,
        cpu,
        scores=-X,
    )


def main():
    """Run, print, write."""
    rows = [
        kernel_thinning(1 << 16, 256, 10, cpu=True),
        kernel_thinning(1 << 20, 1024, 2, cpu=False),
        kernel_thinning(1 << 20, 1024, 10, cpu=False),
        kernel_thinning(1 << 20, 1024, 10, cpu=False, n_perturbations=0),
        kernel_thinning(1 << 20, 1024, 50, cpu=False),
        stein_thinning(1 << 16, 256, 10, cpu=True),
        stein_thinning(1 << 20, 1024, 10, cpu=False),
        stein_thinning(20_000, 200, 10, cpu=True, method="debiased"),
    ]
    _harness.table(rows)
    _harness.save("thinning_gpu", rows)


if __name__ == "__main__":
    main()
