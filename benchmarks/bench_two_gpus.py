"""The same work on one GPU and on two of one host.

    python benchmarks/bench_two_gpus.py

Columns of K are shared out; operands and results are on the first GPU. Times are
medians of calls after a first one, the preconditioner and all other set-up of ``fit``
inside the times of fits. Beside each ratio of times stands the largest difference of
the results, relative to their spread.
"""

from __future__ import annotations

import argparse

import _data
import _harness
import cupy as cp
import numpy as np

from gpkern import EigenProClassifier, EigenProRegressor, KernelOperator
from gpkern.kernels import RBF, Matern

DEVICES = ["cuda:0", "cuda:1"]


def synchronize():
    """Wait for all GPUs."""
    for i in range(cp.cuda.runtime.getDeviceCount()):
        cp.cuda.Device(i).synchronize()


def timed(function, repeats):
    """Median seconds, and the last result."""
    function()
    times = []
    for _ in range(repeats):
        synchronize()
        seconds, result = _harness.seconds(function, sync=synchronize)
        times.append(seconds)
    return float(np.median(times)), result


def works(repeats):
    """Name, repeats, and what to do on a device: an array that should be the same."""
    rng = cp.random.default_rng(0)
    X, V = (rng.standard_normal((262_144, c), dtype=cp.float32) for c in (784, 10))
    for precision in ("high", "medium"):
        operators = {}

        def product(device, precision=precision, operators=operators, X=X, V=V):
            if str(device) not in operators:
                operators[str(device)] = KernelOperator(
                    RBF(28.0), X, X, device=device, precision=precision
                )
            return operators[str(device)] @ V

        yield f"K @ V, n 262,144, d 784, c 10, {precision}", repeats, product
    del X, V
    X, y, X_test, _ = _data.mnist()
    X, X_test = cp.asarray(X), cp.asarray(X_test)

    def mnist(device):
        model = EigenProClassifier(
            RBF(5.0), n_epochs=4, early_stopping=False, random_state=0, device=device
        )
        return model.fit(X, y).decision_function(X_test)

    yield "MNIST, all centers", repeats, mnist
    flights = [cp.asarray(a) for a in _data.flights_14_columns()]

    def flight(device):
        model = EigenProRegressor(
            Matern(6.0, nu=0.5),
            n_epochs=2,
            early_stopping=False,
            random_state=0,
            device=device,
        )
        return model.fit(*flights[:2]).predict(flights[2])

    yield "flights, all centers", repeats, flight
    X, Y = _data.clusters(1_010_000, cp)

    def epoch(device):
        model = EigenProRegressor(
            Matern(20.0, nu=0.5),
            n_centers=131_072,
            n_epochs=1,
            early_stopping=False,
            random_state=0,
            device=device,
        )
        return model.fit(X[:1_000_000], Y[:1_000_000]).predict(X[1_000_000:])

    yield "1,000,000 rows, 131,072 centers, d 1,280, one epoch", 1, epoch


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--same", action="store_true", help="one GPU named twice")
    options = parser.parse_args()
    devices = ["cuda:0", "cuda:0"] if options.same else DEVICES
    rows = []
    for name, repeats, work in works(options.repeats):
        one, expected = timed(lambda work=work: work("cuda:0"), repeats)
        two, got = timed(lambda work=work: work(devices), repeats)
        difference = abs(got - expected).max() / expected.std()
        rows.append(
            {
                "work": name,
                "one_s": one,
                "two_s": two,
                "ratio": one / two,
                "difference": float(difference),
            }
        )
        print(rows[-1], flush=True)
    _harness.table(rows)
    peer = cp.cuda.runtime.deviceCanAccessPeer(0, 1) if not options.same else None
    _harness.save("two_gpus", rows, peer_access=bool(peer))


if __name__ == "__main__":
    main()
