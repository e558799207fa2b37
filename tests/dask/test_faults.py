"""Workers that are killed during a fit, and joblib's work on a cluster."""

import os
import signal
import threading
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from gpkern import KernelLogisticRegression, KernelRidge

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")


class Killer(threading.Thread):
    """Kills a worker of a cluster each time that so many products have been made."""

    def __init__(self, cluster, times, after):
        super().__init__(daemon=True)
        self.cluster, self.times, self.after, self.killed = cluster, times, after, 0

    def run(self):
        while self.killed < self.times:
            time.sleep(self.after)
            worker = list(self.cluster.workers.values())[self.killed % 2]
            if worker.process is not None and worker.pid:
                os.kill(worker.pid, signal.SIGKILL)
                self.killed += 1


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 5)).astype("f4")
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


@pytest.mark.slow
@pytest.mark.parametrize("is_persisted", [True, False])
def test_a_worker_killed_three_times_changes_nothing(rows, is_persisted):
    X, y = rows
    model = KernelRidge(
        kernel="rbf", alpha=10.0, n_centers=200, solver="pcg", random_state=0, tol=1e-10
    )
    plain = clone(model).fit(X.astype("f8"), y)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "5s"}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        lazy = da.from_array(X.astype("f8"), chunks=(2000, 5))
        lazy = lazy.persist() if is_persisted else lazy
        model.fit(lazy, y)  # compiles
        killer = Killer(cluster, 3, 1.0)
        killer.start()
        while killer.killed < 3:
            model.fit(lazy, y)
        found = model.predict(lazy).compute()
    np.testing.assert_allclose(found, plain.predict(X.astype("f8")), atol=1e-6)


def test_grid_search_on_a_cluster(client):
    import joblib

    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.sin(X[:, 0]) + X[:, 1]
    grid = GridSearchCV(
        KernelRidge(kernel="rbf"), {"gamma": [0.1, 1.0], "alpha": [0.1, 1.0]}, cv=3
    )
    plain = clone(grid).fit(X, y)
    before = set(client.scheduler_info()["workers"])
    with joblib.parallel_config(backend="dask"):
        grid.fit(X, y)
    assert before  # it was the cluster's workers that worked
    np.testing.assert_allclose(
        grid.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"]
    )


def test_callbacks_of_dask_see_the_graphs_of_a_fit():
    from dask.callbacks import Callback

    class Count(Callback):
        n_graphs = n_tasks = 0

        def _start(self, dsk):
            Count.n_graphs += 1

        def _posttask(self, key, result, dsk, state, worker_id):
            Count.n_tasks += 1

    X = da.from_array(np.random.default_rng(0).normal(size=(1000, 2)), chunks=(250, 2))
    with dask.config.set(scheduler="threads"), Count():
        model = KernelLogisticRegression(n_centers=20, random_state=0)
        model.fit(X, (np.arange(1000) % 2))
    assert Count.n_graphs > 3 and Count.n_tasks > 4 * Count.n_graphs
