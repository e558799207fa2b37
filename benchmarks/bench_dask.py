"""Fits on Dask arrays: scaling, overhead, a memory limit, killed workers, the model.

    python benchmarks/bench_dask.py                # some 25 minutes
    python benchmarks/bench_dask.py --parts scaling

- scaling: ``KernelRidge(solver="pcg")`` of 400,000 rows held by the workers, 2,000
  centers, in memory on one thread, on one worker and on two, each of one thread;
  medians of rounds. Errors are those of predictions against a fit in float64 in memory.
  Dask's sampling profiler is off, which takes some per cent of a core for each worker.
- limit: 20,000,000 rows of 20 float32 columns in Zarr (1.6 GB), 1,000 centers, two
  workers that are killed at 1 GB.
- faults: a worker killed three times during a fit.
- model: `gpkern.dask.cost.FitCost` beside measured fits, of rows held by the workers
  and of rows in Zarr, on one, two and four workers.
"""

from __future__ import annotations

import os
import signal
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import _harness
import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster, wait

from gpkern import KernelRidge
from gpkern.cpu import parallel
from gpkern.dask.cost import FitCost

N, D, P, BLOCK = 400_000, 20, 2_000, 50_000
ROUNDS = 4
# Of Dask's sampling profiler, which takes some per cent of a core for each worker.
QUIET = {"distributed.worker.profile.enabled": False}


def make_rows(start, stop, d):
    """Rows of normal numbers, the same whatever the blocks, and their targets."""
    X = np.concatenate(
        [
            np.random.default_rng(k).standard_normal((10_000, d), np.float32)
            for k in range(start // 10_000, -(-stop // 10_000))
        ]
    )[start % 10_000 :][: stop - start]
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * np.cos(37.0 * X[:, 3])
    return X, y.astype(np.float32)


def lazy_rows(n, d, block):
    """The same as Dask arrays."""

    def part(of, block_info=None):
        (start, stop), *_ = block_info[None]["array-location"]
        return make_rows(start, stop, d)[of]

    chunks = tuple(min(block, n - a) for a in range(0, n, block))
    meta = {"dtype": np.float32, "meta": np.empty((0, 0), np.float32)}
    X = da.map_blocks(part, 0, chunks=(chunks, (d,)), **meta)
    meta["meta"] = np.empty(0, np.float32)
    return X, da.map_blocks(part, 1, chunks=(chunks,), **meta)


@contextmanager
def workers(count, **options):
    """A cluster of so many processes of one thread."""
    options = {"threads_per_worker": 1, "dashboard_address": None, **options}
    with (
        dask.config.set(QUIET),
        LocalCluster(n_workers=count, **options) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(count)
        yield client, cluster


def ridge(n, p, d, **options):
    """The model of all parts."""
    options = {"solver": "pcg", "random_state": 0} | options
    return KernelRidge(
        kernel="rbf", gamma=0.5 / d, alpha=1e-3 * n, n_centers=p, **options
    )


def scaling():
    X, y = make_rows(0, N, D)
    exact = ridge(N, P, D).fit(X.astype(np.float64), y).predict(X[:BLOCK])
    times = {"in memory": [], 1: [], 2: []}
    errors, iterations = {}, {}

    def fit(where, rows, targets):
        start = time.perf_counter()
        model = ridge(N, P, D).fit(rows, targets)
        times[where].append(time.perf_counter() - start)
        found = model.predict(X[:BLOCK])
        errors[where] = float(abs(found - exact).max() / exact.std())
        iterations[where] = model.n_iter_

    for _ in range(ROUNDS):  # idle workers of another cluster would cost some per cent
        with parallel.alone():
            fit("in memory", X, y)
        for count in (1, 2):
            with workers(count) as (client, _):
                lazy = client.persist(lazy_rows(N, D, BLOCK))
                wait(lazy)
                ridge(N, P, D, max_iter=1).fit(*lazy)  # loads what is compiled
                for _ in range(2):
                    fit(count, *lazy)
    plain, one, two = (statistics.median(t) for t in times.values())
    for where, spent in times.items():
        name = where if where == "in memory" else f"workers: {where}"
        yield {
            "part": "scaling",
            "where": f"{name}, one thread each",
            "n": N,
            "d": D,
            "p": P,
            "seconds": statistics.median(spent),
            "spread": [min(spent), max(spent)],
            "iterations": iterations[where],
            "error": errors[where],
            "over memory": statistics.median(spent) / plain,
            "speed-up of two": one / two,
        }


def limit(n=20_000_000, d=20, p=1_000, block=250_000, room="1GB"):
    with tempfile.TemporaryDirectory() as folder:
        X, y = lazy_rows(n, d, block)
        for name, array in (("X", X), ("y", y)):
            array.to_zarr(f"{folder}/{name}", compute=True)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
        with workers(2, memory_limit=room) as (client, _):
            X, y = da.from_zarr(f"{folder}/X"), da.from_zarr(f"{folder}/y")
            peaks = Peaks(client)
            start = time.perf_counter()
            model = ridge(n, p, d).fit(X, y)
            spent = time.perf_counter() - start
            score = model.score(X[: 4 * block], y[: 4 * block])
            yield {
                "part": "limit",
                "n": n,
                "d": d,
                "p": p,
                "gigabytes": n * d * 4 / 1e9,
                "gigabytes on disk": size / 1e9,
                "limit of a worker": room,
                "peak of a worker": peaks.stop(),
                "seconds": spent,
                "iterations": model.n_iter_,
                "r2": score,
            }


class Peaks(threading.Thread):
    """The largest resident memory of any worker, in bytes."""

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.top, self.is_on = client, 0, True
        self.start()

    def run(self):
        import psutil

        pids = self.client.run(os.getpid).values()
        processes = [psutil.Process(pid) for pid in pids]
        while self.is_on:
            self.top = max(self.top, *(p.memory_info().rss for p in processes))
            time.sleep(0.05)

    def stop(self):
        self.is_on = False
        self.join()
        return self.top


def faults(n=200_000, p=1_000, d=10, block=20_000):
    X, y = lazy_rows(n, d, block)
    with workers(2) as (client, cluster):
        X, y = client.persist([X, y])
        wait([X, y])
        model = ridge(n, p, d, tol=1e-7)
        expected = model.fit(X, y).predict(X).compute()
        start = time.perf_counter()
        model.fit(X, y)
        quiet = time.perf_counter() - start
        killed = []

        def kill():
            for k in range(3):
                time.sleep(quiet / 4)
                worker = list(cluster.workers.values())[k % 2]
                os.kill(worker.pid, signal.SIGKILL)
                killed.append(time.perf_counter() - start)

        start = time.perf_counter()
        thread = threading.Thread(target=kill)
        thread.start()
        found = model.fit(X, y)
        spent = time.perf_counter() - start
        thread.join()
        away = abs(found.predict(X).compute() - expected).max()
    yield {
        "part": "faults",
        "n": n,
        "p": p,
        "seconds without": quiet,
        "seconds": spent,
        "killed during the fit": sum(t < spent for t in killed),
        "largest difference": float(away / expected.std()),
    }


# Rows, columns, centers, rows of a block, workers, whether they are read from a disk.
SETTINGS = [
    (400_000, 20, 2_000, 50_000, 1, False),
    (400_000, 20, 2_000, 50_000, 2, False),
    (400_000, 20, 2_000, 50_000, 4, False),
    (1_000_000, 10, 500, 100_000, 1, False),
    (1_000_000, 10, 500, 100_000, 2, True),
    (200_000, 50, 4_000, 25_000, 2, False),
    (200_000, 100, 1_000, 25_000, 4, True),
    (2_000_000, 20, 200, 100_000, 2, True),
]


def model():
    cores = len(os.sched_getaffinity(0))
    for n, d, p, block, count, on_disk in SETTINGS:
        with tempfile.TemporaryDirectory() as folder, workers(count) as (client, _):
            X, y = lazy_rows(n, d, block)
            bandwidth = np.inf
            if on_disk:
                X.to_zarr(f"{folder}/X")
                X = da.from_zarr(f"{folder}/X")
                X.sum().compute()
                start = time.perf_counter()
                X.sum().compute()
                bandwidth = X.nbytes / (time.perf_counter() - start)
                y = client.persist(y)
            else:
                X, y = client.persist([X, y])
            wait([X, y])
            ridge(n, p, d, max_iter=2).fit(X, y)  # compiles
            cost = FitCost.measured(
                n, d, p, X.numblocks[0], count, n_cores=cores, bandwidth=bandwidth
            )
            spent, found = [], None
            for _ in range(3):
                start = time.perf_counter()
                found = ridge(n, p, d).fit(X, y)
                spent.append(time.perf_counter() - start)
            cost = dask.utils.ensure_dict(vars(cost)) | {"n_iter": found.n_iter_}
            predicted, seconds = FitCost(**cost).seconds(), statistics.median(spent)
            yield {
                "part": "model",
                "n": n,
                "d": d,
                "p": p,
                "blocks": X.numblocks[0],
                "workers": count,
                "cores": cores,
                "megabytes a second": bandwidth / 1e6 if on_disk else None,
                "iterations": found.n_iter_,
                "predicted seconds": predicted,
                "seconds": seconds,
                "predicted over measured": predicted / seconds,
            }


if __name__ == "__main__":
    parts = {"scaling": scaling, "limit": limit, "faults": faults, "model": model}
    _harness.run_parts(__doc__, parts, "dask_cpu")
