"""Log densities and modes against scikit-learn; on a GPU with ``--device cuda``.

    pip install KDEpy
    python benchmarks/bench_density.py
    python benchmarks/bench_density.py --device cuda

Every row has the largest and the median error of a log density against a log-sum-exp of
differences in float64, in nats, of ours and of scikit-learn's. Scikit-learn's times are
for a tenth of the queries, times ten. "modes" rows give the largest log density that
each search reaches from as many seeds, by one density. Tables whose rows are
repeated (donors, of ADBench) are read from ``benchmarks/data`` where they are. Rows of
a grid are for as large an error as KDEpy has on its own grid, at which it is checked;
those of ours are at places anywhere. Modes are sought by `MeanShift` with a flat kernel
of the same variance, from 100 rows or, its default, from all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _harness
import numpy as np
from scipy import special, stats
from sklearn.cluster import MeanShift, estimate_bandwidth
from sklearn.datasets import load_digits, make_blobs
from sklearn.neighbors import KernelDensity as Peer

from gpkern import KDEModeFinder, KernelDensity

try:
    from KDEpy import FFTKDE
except ImportError:
    FFTKDE = None

CHECKED = 100
DATA = Path(__file__).parent / "data" / "adbench_large.npz"


def exact(X, Q, h):
    """Log density of a Gaussian kernel, by its definition."""
    d = X.shape[1]
    logs = [special.logsumexp(-0.5 * ((q - X) ** 2).sum(axis=1) / h**2) for q in Q]
    return np.array(logs) - np.log(len(X)) - d * np.log(h * np.sqrt(2.0 * np.pi))


def errors(found, truth):
    """Largest and median error, in nats."""
    off = np.abs(np.asarray(found, dtype=float)[: len(truth)] - truth)
    return float(off.max()), float(np.median(off))


def against_scikit_learn(d, n=20_000, m=2_000):
    """Normal rows, Scott's factor as bandwidth, float64."""
    rng = np.random.default_rng(0)
    X, Q, h = rng.normal(size=(n, d)), rng.normal(size=(m, d)), n ** (-1 / (d + 4))
    ours = KernelDensity(bandwidth=h).fit(X)
    peer = Peer(bandwidth=h, algorithm="kd_tree").fit(X)
    time, found = _harness.seconds(lambda: ours.score_samples(Q), 5, 1)
    fitting, _ = _harness.seconds(lambda: KernelDensity(bandwidth=h).fit(X), 3, 1)
    peer_time, theirs = _harness.seconds(lambda: peer.score_samples(Q[: m // 10]), 3)
    truth = exact(X, Q[:CHECKED], h)
    worst, median = errors(found, truth)
    peer_worst, _ = errors(theirs, truth)
    return {
        "work": f"score {m:,} by {n:,}, d {d}",
        "seconds": time,
        "fit_s": fitting,
        "error": worst,
        "median_error": median,
        "scikit_learn_s": 10 * peer_time,
        "scikit_learn_error": peer_worst,
        "ratio": 10 * peer_time / time,
    }


def repeated():
    """A table whose rows occur many times over: merged, and not."""
    X = np.load(DATA)["donors__X"].astype(np.float64)
    h, Q = 0.1 * X.std(axis=0), X[:: len(X) // 1000]
    rng = np.random.default_rng(0)
    # The same rows made distinct by what is less than rounding in the sum.
    apart = X + 1e-9 * rng.normal(size=X.shape)
    rows = []
    for name, data in (("merged", X), ("as they are", apart)):
        fit_s, model = _harness.seconds(
            lambda d=data: KernelDensity(bandwidth=h).fit(d)
        )
        model.score_samples(Q[:10])
        time, found = _harness.seconds(lambda k=model: k.score_samples(Q), 3)
        rows.append((name, fit_s, time, found, model.n_distinct_))
    off = float(np.abs(rows[0][3] - rows[1][3]).max())
    return [
        {
            "work": f"donors, {len(X):,} rows, 1,000 queries, {name}",
            "seconds": time,
            "fit_s": fit_s,
            "distinct": distinct,
            "error": off,
            "ratio": rows[1][2] / time,
        }
        for name, fit_s, time, _, distinct in rows
    ]


def against_scipy(d, n=20_000, m=2_000):
    """Normal rows and the covariance matrix of Scott's rule, as SciPy has it."""
    rng = np.random.default_rng(0)
    X, Q = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    peer = stats.gaussian_kde(X.T)
    ours = KernelDensity(bandwidth=peer.covariance).fit(X)
    times = _harness.in_turn(
        {"ours": lambda: ours.score_samples(Q), "peer": lambda: peer.logpdf(Q.T)}, 3
    )
    off = np.abs(ours.score_samples(Q) - peer.logpdf(Q.T))
    return {
        "work": f"score {m:,} by {n:,}, d {d}, a matrix, against SciPy",
        "seconds": times["ours"],
        "error": float(off.max()),
        "scipy_s": times["peer"],
        "ratio": times["peer"] / times["ours"],
    }


def against_fft(d, n=1_000_000, m=100_000):
    """A million rows by a grid, at KDEpy's error; ours from scratch, with its `fit`."""
    rng = np.random.default_rng(0)
    X, h = rng.normal(size=(n, d)), {1: 0.06, 2: 0.1}[d]
    side = round(m ** (1 / d))
    peer = FFTKDE(kernel="gaussian", bw=h)
    nodes, found = peer.fit(X).evaluate((side,) * d)
    nodes = nodes.reshape(len(found), d)
    few = rng.choice(len(found), CHECKED, replace=False)
    peer_error = float(np.abs(found[few] - np.exp(exact(X, nodes[few], h))).max())
    Q = rng.normal(size=(m, d))
    ours = KernelDensity(bandwidth=h, atol=peer_error)
    times = _harness.in_turn(
        {
            "ours": lambda: ours.fit(X).score_samples(Q),
            "peer": lambda: peer.fit(X).evaluate((side,) * d),
        },
        7,
    )
    truth = np.exp(exact(X, Q[:CHECKED], h))
    return {
        "work": f"{m:,} of {n:,}, d {d}, on a grid, against KDEpy",
        "seconds": times["ours"],
        "largest_density_error": float(
            np.abs(np.exp(ours.score_samples(Q)[:CHECKED]) - truth).max()
        ),
        "allowed": peer_error,
        "kdepy_s": times["peer"],
        "kdepy_density_error": peer_error,
        "ratio": times["peer"] / times["ours"],
    }


def modes_against_mean_shift(quantile, count, n=5_000, d=16):
    """Ten normal clusters, as many seeds for both; densities by one estimate."""
    X, _ = make_blobs(n, d, centers=10, cluster_std=3.0, random_state=0)
    rng = np.random.default_rng(0)
    width = estimate_bandwidth(X, quantile=quantile, random_state=0)
    h = width / np.sqrt(d + 2)  # of a Gaussian of the same variance
    seeds = None if count == n else X[rng.choice(n, count, replace=False)]
    density = KernelDensity(bandwidth=h).fit(X)
    flat = MeanShift(bandwidth=width, seeds=seeds)
    peer_time, _ = _harness.seconds(lambda: flat.fit(X), 1 if seeds is None else 3)
    finder = KDEModeFinder(h, n_seeds=count, random_state=0)
    time, _ = _harness.seconds(lambda: finder.fit(X), 3, 1)
    with_labels, _ = _harness.seconds(lambda: finder.fit(X).labels_, 1)
    return {
        "work": f"modes of {n:,}, d {d}, {count:,} seeds, quantile {quantile}",
        "seconds": time,
        "with_labels_s": with_labels,
        "log_density": float(finder.mode_log_density_[0]),
        "modes": len(finder.modes_),
        "largest_curvature": float(finder.mode_hessian_eigvals_.max()),
        "scikit_learn_s": peer_time,
        "scikit_learn_log_density": float(
            density.score_samples(flat.cluster_centers_).max()
        ),
        "scikit_learn_modes": len(flat.cluster_centers_),
        "ratio": peer_time / time,
    }


def projections(name, X, h, count=60):
    """The search in few columns against that in all, from as many rows and from all."""
    rows, ways = {}, (("full", count), ("project", count), ("full", len(X)))
    for strategy, seeds in ways:
        finder = KDEModeFinder(h, strategy=strategy, n_seeds=seeds, random_state=0)
        rows[strategy, seeds] = _harness.seconds(lambda f=finder: f.fit(X), 3, 1)
    (same_s, same), (time, few), (all_s, best) = (rows[way] for way in ways)
    top = best.mode_log_density_[0]
    return {
        "work": f"modes of {name}, {X.shape[0]:,} x {X.shape[1]}, projected",
        "seconds": time,
        "full_s": same_s,
        "exhaustive_s": all_s,
        "density_over_exhaustive": float(np.exp(few.mode_log_density_[0] - top)),
        "full_density_over_exhaustive": float(np.exp(same.mode_log_density_[0] - top)),
        "ratio": same_s / time,
        "exhaustive_ratio": all_s / time,
        "gap": few.certified_gap_,
    }


def on_gpu():
    """Sizes that a GPU is for."""
    import cupy as cp

    def sync():
        cp.cuda.Device().synchronize()

    rows, rng = [], cp.random.default_rng(0)
    X = rng.standard_normal((1_000_000, 16), dtype=cp.float32)
    Q = rng.standard_normal((131_072, 16), dtype=cp.float32)
    h = 1_000_000 ** (-1 / 20)
    model = KernelDensity(bandwidth=h).fit(X)
    time, found = _harness.seconds(lambda: model.score_samples(Q), 5, 1, sync)
    truth = exact(X.get().astype(float), Q[:20].get().astype(float), h)
    worst, median = errors(found.get(), truth)
    rows.append(
        {
            "work": "score 131,072 by 1,000,000, d 16, float32",
            "seconds": time,
            "error": worst,
            "median_error": median,
        }
    )
    if DATA.exists():
        X = cp.asarray(np.load(DATA)["cover__X"].astype(np.float32))
        finder = KDEModeFinder("scott", random_state=0)
        time, _ = _harness.seconds(lambda: finder.fit(X), 3, 1, sync)
        labels, _ = _harness.seconds(lambda: finder.predict(X), 1, 0, sync)
        rows.append(
            {
                "work": f"modes of cover, {len(X):,} x {X.shape[1]}",
                "seconds": time,
                "labels_s": labels,
                "modes": len(finder.modes_),
                "log_density": float(finder.mode_log_density_[0]),
                "gap": finder.certified_gap_,
            }
        )
    return rows


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda"])
    if parser.parse_args().device:
        rows = on_gpu()
        _harness.table(rows)
        _harness.save("density_gpu", rows)
        return
    rows = [against_scikit_learn(d) for d in (2, 16, 50)]
    if DATA.exists():
        rows += repeated()
    rows += [against_scipy(d) for d in (2, 16)]
    rows += [against_fft(d) for d in (1, 2)] if FFTKDE is not None else []
    for quantile in (0.05, 0.1, 0.3):  # the last is the default
        rows += [modes_against_mean_shift(quantile, count) for count in (100, 5_000)]
    blobs, _ = make_blobs(3_000, 500, centers=6, random_state=0)
    rows.append(projections("blobs", blobs, 12.0))
    rows.append(projections("digits", load_digits().data, 14.0))
    _harness.table(rows)
    _harness.save("density_cpu", rows)


if __name__ == "__main__":
    main()
