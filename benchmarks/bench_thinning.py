"""Kernel thinning against goodpoints, and against exchanges alone.

    pip install goodpoints
    python benchmarks/bench_thinning.py

Normal samples, kernel ``exp(-|x - z|^2 / (4 d))``, the square root of n rows. Every
coreset's distance (MMD) to the whole sample is computed by one function in float64, up
to 65,536 rows exactly, and beyond by one estimate for all methods. `ratio` is the mean
distance of random subsets over that of the coreset, means over seeds; times are
medians, in one run, and include every kernel value that a method needs (goodpoints'
dense matrix too), but not the distance that is reported. Slopes are those of the
logarithm of the distance by that of n. ``--parts`` runs some parts anew and keeps the
others of the last result, which may come from another machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import time

import _chains
import _harness
import numpy as np

from gpkern import KernelOperator, KernelThinning
from gpkern.algorithms.compress import standard
from gpkern.algorithms.exchanges import exchange
from gpkern.algorithms.halving import take_rows
from gpkern.algorithms.mean_distance import DistanceEstimate
from gpkern.kernels import RBF

try:
    from goodpoints import compress as peer_compress
    from goodpoints import kt as peer
except ImportError:
    peer = None

# Rows up to which goodpoints' dense matrix is made, and seeds that it is given.
DENSE_ROWS, PEER_SEEDS = 16_384, 2
# Rows up to which distances are exact.
EXACT_ROWS = 65_536
CHAIN_DRAWS = 100_000
STREAM_ROWS, CHUNK_ROWS = 1_000_000, 10_000


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


def several(kernel, allowed):
    """Exchanges from standard starts in shuffled rows, for so many seconds."""

    def choose(X, seed):
        operator, rng = KernelOperator(kernel, X), np.random.default_rng(seed)
        start, best = time.perf_counter(), (np.inf, None)
        mu = operator.row_sum() / len(X)
        while best[1] is None or time.perf_counter() - start < allowed():
            rows = standard(rng.permutation(len(X)), int(np.sqrt(len(X))))
            found = exchange(operator, rows, mu)
            best = min(best, (found.path[-1], found.rows), key=lambda f: f[0])
        return best[1], None

    return choose


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
        "gpkern, 24 perturbations": (gpkern(kernel, n_perturbations=24), seeds),
        "gpkern, no perturbations": (gpkern(kernel, n_perturbations=0), seeds),
        "gpkern, two passes": (gpkern(kernel, refine=2), seeds),
        "gpkern, standard start": (
            gpkern(kernel, method="standard", n_perturbations=0),
            seeds,
        ),
        "the best of several of these": (
            several(kernel, lambda: found["gpkern"][1][-1]),
            seeds,
        ),
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


def table(seeds, peers):
    """Coresets of one sample: the methods side by side."""
    rows = []
    for n in (4096, 16_384):
        for d in (2, 10, 50):
            found = compare(n, d, seeds, peers)
            _harness.table(found)
            rows += found
    return rows + compare(65_536, 10, min(seeds, 2), peers)


def distances(operator):
    """A function of rows: their distance to the sample, alike for all of them."""
    if operator.shape[0] <= EXACT_ROWS:
        return lambda rows: distance(operator, rows, None)
    estimate = DistanceEstimate(operator, None, 20_000, np.random.RandomState(0))
    return lambda rows: estimate.to(
        take_rows(operator, rows), np.full(len(rows), 1.0 / len(rows))
    )[0]


def slope(sizes, errors):
    """Of the straight line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def slopes(largest):
    """Slope of log MMD by log n: about -1/4 for random rows."""
    out, sizes = [], [4**k for k in range(4, largest + 1)]
    for d in (2, 3, 4):
        kernel = RBF(np.sqrt(2.0 * d))
        errors = {"gpkern": [], "random": []}
        for n in sizes:
            found = {name: [] for name in errors}
            for seed in range(3 if n <= 4**7 else 1):
                X = np.random.default_rng(seed).normal(size=(n, d))
                to_sample = distances(KernelOperator(kernel, X))
                found["gpkern"].append(to_sample(gpkern(kernel)(X, seed)[0]))
                random = np.random.default_rng(seed).choice(n, (4, int(np.sqrt(n))))
                found["random"] += [to_sample(rows) for rows in random]
            for name, values in found.items():
                errors[name].append(float(np.mean(values)))
        out.append(
            {
                "d": d,
                "n": f"{sizes[0]} to {sizes[-1]}",
                "slope": slope(sizes, errors["gpkern"]),
                "random": slope(sizes, errors["random"]),
                "mmd": errors["gpkern"],
            }
        )
    return out


def chain():
    """A sticky chain: n of its draws, evenly spread, thinned to their square root."""
    X, moves = _chains.goodwin(CHAIN_DRAWS)
    kernel = RBF(np.sqrt(2.0 * X.shape[1]))
    sizes = [*(4**k for k in range(2, 9)), len(X)]
    to_chain, rng = distances(KernelOperator(kernel, X)), np.random.default_rng(0)
    errors = {"kernel thinning": [], "standard thinning": [], "random": []}
    for n in sizes:
        rows, size = standard(np.arange(len(X)), n), int(np.sqrt(n))
        chosen = rows[gpkern(kernel)(X[rows], 0)[0]]
        errors["kernel thinning"].append(to_chain(chosen))
        errors["standard thinning"].append(to_chain(standard(np.arange(len(X)), size)))
        random = [to_chain(rng.choice(len(X), size)) for _ in range(4)]
        errors["random"].append(float(np.mean(random)))
    return [
        {
            "draws": len(X),
            "accepted": moves,
            "method": name,
            "slope": slope(sizes, values),
            "mmd": values,
        }
        for name, values in errors.items()
    ]


def memory():
    """Resident now and at its peak, in MB."""
    with open("/proc/self/statm") as f:
        now = int(f.read().split()[1]) * resource.getpagesize() / 1e6
    return now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def stream(d):
    """A stream of a million rows in chunks, and all of them at once."""
    kernel, size = RBF(np.sqrt(2.0 * d)), int(np.sqrt(STREAM_ROWS))

    def chunks():
        rng = np.random.default_rng(0)
        for _ in range(0, STREAM_ROWS, CHUNK_ROWS):
            yield rng.normal(size=(CHUNK_ROWS, d))

    model, seen = KernelThinning(size, kernel=kernel, random_state=0), []
    start = time.perf_counter()
    for chunk in chunks():
        model.partial_fit(chunk)
        if model.n_samples_seen_ % (STREAM_ROWS // 10) == 0:
            seen.append(memory()[0])
    adding = time.perf_counter() - start
    rows, peak = model.sample_indices_, memory()[1]
    reading = time.perf_counter() - start - adding
    X = np.concatenate(list(chunks()))
    start = time.perf_counter()
    whole = gpkern(kernel)(X, 0)[0]
    batch = time.perf_counter() - start
    to_sample = distances(KernelOperator(kernel, X))
    streamed, fitted = to_sample(rows), to_sample(whole)
    return {
        "n": STREAM_ROWS,
        "d": d,
        "stream_mmd": streamed,
        "own_estimate": model.mmd_,
        "own_stderr": model.mmd_stderr_,
        "batch_mmd": fitted,
        "stream_over_batch": streamed / fitted,
        "ratio": model.mmd_iid_ / streamed,
        "stream_seconds": adding,
        "reading_seconds": reading,
        "batch_seconds": batch,
        "megabytes_after_each_tenth": seen,
        "peak_megabytes": peak,
    }


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--largest", type=int, default=9, help="n = 4^4 to 4^largest")
    parser.add_argument("--no-peers", action="store_true", help="gpkern alone")
    parts = ("stream", "slopes", "chain", "rows")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    options = parser.parse_args()
    make = {
        # First, as its memory is that of the process.
        "stream": lambda: [stream(d) for d in (2, 10)],
        "slopes": lambda: slopes(options.largest),
        "chain": chain,
        "rows": lambda: table(options.seeds, not options.no_peers),
    }
    path = _harness.RESULTS / "thinning_cpu.json"
    found = {name: [] for name in parts}
    if set(options.parts) != set(parts) and path.exists():
        found |= json.loads(path.read_text())
    for name in parts:
        if name in options.parts:
            found[name] = make[name]()
            _harness.table(found[name])
    found.pop("machine", None)
    _harness.save("thinning_cpu", found.pop("rows"), **found)


if __name__ == "__main__":
    main()
