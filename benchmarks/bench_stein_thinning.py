"""Stein thinning of biased chains against the package stein-thinning.

    pip install stein-thinning
    python benchmarks/bench_stein_thinning.py
    python benchmarks/bench_stein_thinning.py --device cuda

Ten chains start far away, and are unadjusted: their steps are so long that they do not
end up at the density (a mixture, a twisted normal distribution), whose true sample is
known. `mmd_to_truth` is the distance of the coreset to 20,000 true draws, Gaussian
kernel ``exp(-|x - z|^2 / (4 d))`` in standardised columns, `ksd` the kernel Stein
discrepancy with the kernel that `SteinThinning` takes by default; both in float64 by
one function for all. Times are medians of three, after one call that compiles.
"""

from __future__ import annotations

import argparse

import _chains
import _harness
import numpy as np

from gpkern import KernelOperator, KernelThinning, SteinThinning
from gpkern.kernels import RBF

try:
    from stein_thinning.thinning import thin as peer
except ImportError:
    peer = None

SIZE = 100


def methods(device):
    """Functions of draws and scores that return rows and weights, by name."""

    def ours(estimator, with_scores, **options):
        def choose(X, S):
            model = estimator(SIZE, device=device, random_state=0, **options)
            model.fit(X, scores=S) if with_scores else model.fit(X)
            return model.sample_indices_, model.weights_

        return choose

    found = {
        "every k-th": lambda X, S: (np.arange(0, len(X), len(X) // SIZE), None),
        "KernelThinning": ours(KernelThinning, False, compute_mmd=False),
        "greedy": ours(SteinThinning, True),
        "greedy, simplex weights": ours(SteinThinning, True, weights="simplex"),
        "debiased": ours(SteinThinning, True, method="debiased"),
        "debiased, simplex weights": ours(
            SteinThinning, True, method="debiased", weights="simplex"
        ),
    }
    if peer is not None:
        found["stein-thinning"] = lambda X, S: (
            peer(X, S, SIZE, preconditioner="med"),
            None,
        )
    return found


def distance(kernel, rows, weights, others):
    """MMD between weighted rows and a sample."""
    across = KernelOperator(kernel, rows, others).row_sum() / len(others)
    own = KernelOperator(kernel, others).total() / len(others) ** 2
    square = own - 2.0 * weights @ across + weights @ kernel(rows) @ weights
    return float(np.sqrt(max(square, 0.0)))


def compare(target, n, device):
    """One row for each method."""
    X, S, truth = _chains.biased(target, n)
    scale = truth.std(axis=0)
    smooth = RBF(np.sqrt(2.0 * X.shape[1]))
    default = SteinThinning(SIZE, random_state=0).fit(X, scores=S)
    stein_rows = np.hstack([X / default.scale_, S * default.scale_])
    out = []
    for name, choose in methods(device).items():
        time, (rows, weights) = _harness.seconds(
            lambda f=choose: f(X, S), repeats=3, warm_up=1
        )
        weights = np.full(len(rows), 1.0 / len(rows)) if weights is None else weights
        ksd = weights @ default.kernel_(stein_rows[rows]) @ weights
        out.append(
            {
                "target": target,
                "n": n,
                "d": X.shape[1],
                "method": name,
                "mmd_to_truth": distance(
                    smooth, X[rows] / scale, weights, truth / scale
                ),
                "ksd": float(np.sqrt(max(ksd, 0.0))),
                "seconds": time,
            }
        )
    return out


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device")
    device = parser.parse_args().device
    rows = []
    for target in ("mixture", "twisted"):
        for n in (10_000, 100_000):
            rows += compare(target, n, device)
    _harness.table(rows)
    _harness.save("stein_thinning_gpu" if device else "stein_thinning_cpu", rows)


if __name__ == "__main__":
    main()
