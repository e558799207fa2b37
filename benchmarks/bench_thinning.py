"""Kernel thinning against goodpoints, and against exchanges alone.

    pip install goodpoints
    python benchmarks/bench_thinning.py

Normal samples, kernel ``exp(-|x - z|^2 / (4 d))``, the square root of n rows. Every
coreset's distance (MMD) to the whole sample is computed by one function in float64.
`ratio` is the mean distance of random subsets over that of the coreset, means over
seeds; times are medians, in one run, and include every kernel value that a method needs
(goodpoints' dense matrix too), but not the distance that is reported.
"""

from __future__ import annotations

import argparse
import time

import _harness
import numpy as np

from gpkern import KernelOperator, KernelThinning
from gpkern.kernels import RBF

try:
    from goodpoints import compress as peer_compress
    from goodpoints import kt as peer
except ImportError:
    peer = None

# Rows up to which goodpoints' dense matrix is made, and seeds that it is given.
DENSE_ROWS, PEER_SEEDS = 16_384, 2


def gpkern(kernel, **options):
    """A method of ours: rows of X for a seed, and their weights."""

    def choose(X, seed):
        model = KernelThinning(
            kernel=kernel, random_state=seed, compute_mmd=False, **options
        ).fit(X)
        return model.sample_indices_, model.weights_

    return choose


def goodpoints(kernel, d):
    """goodpoints: kernel thinning on a dense matrix, and Compress++."""

    def thinned(X, seed):
        K = kernel(X)
        rounds = round(np.log2(len(X)) / 2)
        return peer.thin_K(K, K, rounds, seed=seed, unique=True), None

    def compressed(X, seed):
        return (
            peer_compress.compresspp_kt(
                X, b"gaussian", k_params=np.array([4.0 * d]), g=4, seed=seed
            ),
            None,
        )

    return thinned, compressed


def distance(operator, rows, weights):
    """MMD of weighted rows to the whole sample."""
    p = np.full(operator.shape[0], -1.0 / operator.shape[0])
    w = np.full(len(rows), 1.0 / len(rows)) if weights is None else weights
    np.add.at(p, rows, w)
    return float(np.sqrt(max(0.0, p @ (operator @ p))))


def compare(n, d, seeds, peers=True):
    """Rows of the table for one size."""
    kernel = RBF(np.sqrt(2.0 * d))
    methods = {
        "gpkern": (gpkern(kernel), seeds),
        "gpkern, standard start": (gpkern(kernel, method="standard"), seeds),
        "gpkern, simplex weights": (gpkern(kernel, weights="simplex"), seeds),
    }
    if peer is not None and peers:
        thinned, compressed = goodpoints(kernel, d)
        if n <= DENSE_ROWS:
            methods["goodpoints KT"] = (thinned, min(seeds, PEER_SEEDS))
        methods["goodpoints Compress++"] = (compressed, min(seeds, PEER_SEEDS))
    found = {name: ([], []) for name in methods}
    chance, size = [], int(np.sqrt(n))
    for seed in range(seeds):
        X = np.random.default_rng(seed).normal(size=(n, d))
        operator = KernelOperator(kernel, X)
        random = np.random.default_rng(seed).choice(n, (20, size))
        count = 2 if n > DENSE_ROWS else 2 + 18 // seeds
        chance += [distance(operator, rows, None) for rows in random[:count]]
        for name, (choose, most) in methods.items():
            if seed >= most:
                continue
            start = time.perf_counter()
            rows, weights = choose(X, seed)
            found[name][1].append(time.perf_counter() - start)
            found[name][0].append(distance(operator, rows, weights))
    ours = float(np.median(found["gpkern"][1]))
    return [
        {
            "n": n,
            "d": d,
            "method": name,
            "seeds": len(errors),
            "mmd": float(np.mean(errors)),
            "ratio": float(np.mean(chance) / np.mean(errors)),
            "seconds": float(np.median(times)),
            "times_gpkern": float(np.median(times)) / ours,
        }
        for name, (errors, times) in found.items()
    ]


def slopes(seeds):
    """Slope of log MMD by log n: about -1/4 for random rows."""
    out = []
    for d in (2, 3, 4):
        sizes = [4**k for k in range(4, 8)]
        errors = []
        for n in sizes:
            rows = compare(n, d, seeds, peers=False)
            errors.append(rows[0]["mmd"])
        slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
        out.append({"d": d, "n": f"{sizes[0]} to {sizes[-1]}", "slope": float(slope)})
    return out


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    rows = []
    for n in (4096, 16_384):
        for d in (2, 10, 50):
            rows += compare(n, d, options.seeds)
            _harness.table(rows[-5:])
    rows += compare(65_536, 10, 2)
    _harness.table(rows)
    found = slopes(3)
    _harness.table(found)
    _harness.save("thinning_cpu", rows, slopes=found)


if __name__ == "__main__":
    main()
