"""
Larger than memory: rows in Parquet
===================================

Eight million rows in Parquet files, 640 MB as numbers, and a worker that is killed if
it takes more than 600 MB. The estimator is that of arrays in memory; only the rows come
as a Dask DataFrame.
"""

# %%
# Rows
# ----
# Each partition is a file: ten columns, of which the target needs five (Friedman 1991).

import tempfile
import threading
import time

import dask
import dask.dataframe as dd
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import psutil
from distributed import Client, LocalCluster
from sklearn.datasets import make_friedman1

from gpkern import KernelRidge

ROWS, PARTITION = 8_000_000, 250_000


def partition(number):
    """A quarter of a million rows as a data frame."""
    X, y = make_friedman1(PARTITION, n_features=10, noise=1.0, random_state=number)
    columns = [f"x{k}" for k in range(10)]
    return pd.DataFrame(X, columns=columns).assign(y=y)


folder = tempfile.TemporaryDirectory()
dd.from_map(partition, range(ROWS // PARTITION)).to_parquet(folder.name)
rows = dd.read_parquet(folder.name)
X, y = rows.drop(columns="y"), rows["y"]

# %%
# A fit within a limit
# --------------------
# ``solver="cholesky"`` with centers takes one pass: each block adds its part to the
# equations of 200 coefficients, and is forgotten. Meanwhile we watch the worker.

# So that the worker does not run this file again.
dask.config.set({"distributed.worker.multiprocessing-method": "fork"})
cluster = LocalCluster(
    n_workers=1, threads_per_worker=2, memory_limit="600MB", dashboard_address=None
)
client = Client(cluster)
worker = psutil.Process(next(iter(cluster.workers.values())).pid)
used, done = [], threading.Event()


def watch(start):
    """Keep the worker's memory, ten times a second."""
    while not done.wait(0.1):
        used.append((time.perf_counter() - start, worker.memory_info().rss / 1e6))


start = time.perf_counter()
threading.Thread(target=watch, args=(start,)).start()
model = KernelRidge(
    kernel="rbf",
    length_scale="median",
    alpha=1.0,
    n_centers=200,
    solver="cholesky",
    random_state=0,
).fit(X, y)
print(f"{ROWS:,} rows in {time.perf_counter() - start:.0f} s")
done.set()
client.close()
cluster.close()

# %%
# What comes back is an ordinary model
# ------------------------------------
# Its attributes are NumPy arrays, and it predicts rows in memory too.

test = partition(10_000)
predicted = model.predict(test.drop(columns="y"))
error = np.sqrt(np.mean((predicted - test["y"]) ** 2))
print(f"error on new rows: {error:.3f}, of which 1.000 is noise")

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.plot(*np.array(used).T, label="used by the worker")
left.axhline(600, color="C3", ls="--", label="limit")
left.axhline(ROWS * 10 * 8 / 1e6, color="C2", ls=":", label="the rows as numbers")
left.set(xlabel="seconds of the fit", ylabel="megabytes", ylim=(0, 750))
left.legend(loc="lower right")
truth, guess = test["y"][:2000], predicted[:2000]
right.scatter(truth, guess, s=3, alpha=0.4)
right.axline((15, 15), slope=1, color="k", lw=1)
right.set(xlabel="measured", ylabel="predicted", title="new rows")
plt.show()
folder.cleanup()

# %%
# Next: more workers (``Client(n_workers=4)``), more centers with ``solver="pcg"``, and
# ``gpkern.dask.cost.FitCost`` for what that will take.
