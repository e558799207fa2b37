"""Kinds of cells: basins of a density against `MeanShift` and `HDBSCAN`.

    python benchmarks/bench_cytometry.py

Four subjects of the hsct data (R package ks; FlowCAP), 39,128 cells with four colours,
scaled by subject to unit variance. Every method is run over a grid of its settings, the
same for all subjects, and judged by the adjusted Rand index with the manual gates, over
the cells that are in one. `setting` is the best one for a subject, `one_setting` the
index of the one that is best on average. What HDBSCAN calls noise is a cluster more.
Times are those of a fit, labels included, medians over the grid.
"""

from __future__ import annotations

import itertools
import time

import _harness
import numpy as np
from _data import FOLDER
from sklearn.cluster import HDBSCAN, MeanShift, estimate_bandwidth
from sklearn.metrics import adjusted_rand_score

from gpkern import KDEModeFinder, KernelDensity

FACTORS = (0.6, 0.8, 1.0, 1.25, 1.6, 2.0)
PERSISTENCES = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
QUANTILES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
SIZES, NEIGHBOURS = (25, 50, 100, 200, 400, 800), (5, 10, 25, 50, 100, 200)


def basins(X):
    """Settings of ours: factors of Silverman's bandwidth, and persistence."""
    silverman = KernelDensity(bandwidth="silverman").fit(X).bandwidth_
    for factor, persistence in itertools.product(FACTORS, PERSISTENCES):
        finder = KDEModeFinder(
            factor * silverman, persistence=persistence, random_state=0
        )
        yield (factor, persistence), finder


def mean_shift(X):
    """Settings of `MeanShift`: quantiles of `estimate_bandwidth`."""
    for quantile in QUANTILES:
        width = estimate_bandwidth(X, quantile=quantile, n_samples=2000, random_state=0)
        yield (quantile,), MeanShift(bandwidth=width, bin_seeding=True, n_jobs=-1)


def hdbscan(X):
    """Settings of `HDBSCAN`: least cluster, and neighbours of a core point."""
    for size, neighbours in itertools.product(SIZES, NEIGHBOURS):
        yield (
            (size, neighbours),
            HDBSCAN(min_cluster_size=size, min_samples=neighbours, copy=True),
        )


def main():
    """Run, print, write."""
    with np.load(FOLDER / "kde_data.npz") as z:
        X, gates, subjects = (z[f"hsct__{k}"] for k in ("X", "label", "subject"))
    rows = []
    for method in (basins, mean_shift, hdbscan):
        scores, times = {}, []
        for subject in np.unique(subjects):
            rows_of = subjects == subject
            part = X[rows_of].astype(np.float64)
            part = (part - part.mean(axis=0)) / part.std(axis=0)
            gated = gates[rows_of] > 0
            for setting, model in method(part):
                start = time.perf_counter()
                labels = model.fit(part).labels_
                times.append(time.perf_counter() - start)
                found = adjusted_rand_score(gates[rows_of][gated], labels[gated])
                scores[subject, setting] = (found, len(np.unique(labels)))
        settings = sorted({s for _, s in scores})
        means = {
            s: np.mean([scores[k, s][0] for k in np.unique(subjects)]) for s in settings
        }
        common = max(means, key=means.get)
        for subject in np.unique(subjects):
            best = max(settings, key=lambda s: scores[subject, s][0])
            rows.append(
                {
                    "method": method.__name__,
                    "subject": int(subject),
                    "ari": float(scores[subject, best][0]),
                    "setting": list(best),
                    "clusters": scores[subject, best][1],
                    "one_setting": list(common),
                    "ari_one_setting": float(scores[subject, common][0]),
                    "seconds": float(np.median(times)),
                }
            )
        _harness.table(rows[-4:])
    _harness.save("cytometry_cpu", rows)


if __name__ == "__main__":
    main()
