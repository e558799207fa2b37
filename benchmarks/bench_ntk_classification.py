"""Tangent kernels against the Gaussian kernel in SVC, on ten small sets.

    python benchmarks/bench_ntk_classification.py     # some fifteen minutes, two cores

It needs ``small_classification.npz``, see ``_data.py``. The list of sets was fixed
before the first run.

Each set is split into five stratified folds, with each of two seeds. Columns are
standardised by the training rows of the fold. ``GridSearchCV``, with four stratified
folds of the training rows, then picks kernel and C by accuracy; of equals the first, in
the order of scikit-learn's ``ParameterGrid``. All kernels see the same splits, and
their grids have the same number of points, 210:

- Gaussian: C and 30 gammas;
- NTK and NNGP: C, 5 depths, 3 bias variances, ``normalize`` or not.

The weight variance is 2 throughout: with rectifiers and without biases it only rescales
the kernel, which C does too; with biases what counts is the ratio of both variances.

The kernels' matrices are of the training rows alone, computed once for each point of
the grid rather than for each inner fold. So inner folds share the scaling of their
training rows, for all kernels alike.
"""

from __future__ import annotations

import argparse
import time
from itertools import product

import _data
import _harness
import numpy as np
from joblib import Parallel, delayed
from sklearn.gaussian_process.kernels import RBF
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gpkern.kernels import NTK

COSTS = np.logspace(-2, 4, 7)
GAMMAS = np.logspace(-3.5, 2, 30)  # times 1 / d
DEPTHS, BIASES, SCALED = (1, 2, 3, 4, 5), (0.0, 0.1, 1.0), (False, True)
NAMES = ("rbf", "ntk", "nngp")


def grid(name, d):
    """Kernels by their parameters, in the order of ParameterGrid."""
    if name == "rbf":
        # gamma = 1 / (2 l^2)
        return {(g,): RBF(np.sqrt(d / (2 * g))) for g in GAMMAS}
    return {
        point: NTK(
            depth=point[1],
            weight_variance=2.0,
            bias_variance=point[0],
            kind=name,
            normalize=point[2],
        )
        for point in product(BIASES, DEPTHS, SCALED)
    }


def search(kernels, X, y, seed):
    """The point of the grid that is best by cross-validation, and its C."""
    folds = list(StratifiedKFold(4, shuffle=True, random_state=seed).split(X, y))
    points, scores = list(kernels), []
    for kernel in kernels.values():
        svc = SVC(kernel="precomputed", cache_size=500)
        inner = GridSearchCV(svc, {"C": COSTS}, cv=folds, refit=False)
        scores.append(inner.fit(kernel(X), y).cv_results_["mean_test_score"])
    # C is the slowest to change in a ParameterGrid, being first in the alphabet.
    scores = np.array(scores).T
    # Equal counts may differ in the last place as means.
    best = np.flatnonzero(scores.ravel() > scores.max() - 1e-9)[0]
    cost, point = np.unravel_index(best, scores.shape)
    return points[point], COSTS[cost], float(scores.max())


def fold(name, X, y, train, test, seed):
    """Accuracy on the rows left out, and what the search chose."""
    scaler = StandardScaler().fit(X[train])
    X_train, X_test = scaler.transform(X[train]), scaler.transform(X[test])
    kernels = grid(name, X.shape[1])
    point, cost, inner = search(kernels, X_train, y[train], seed)
    svc = SVC(kernel=kernels[point], C=cost, cache_size=500).fit(X_train, y[train])
    return svc.score(X_test, y[test]), inner, cost, point


def edges(found, points):
    """Share of folds at the ends of C, and at those of gamma or the depth."""
    axis = 0 if len(points[0]) == 1 else 1
    values = [p[axis] for p in points]
    ends = min(values), max(values)
    at = np.array(
        [[c in (COSTS[0], COSTS[-1]), p[axis] in ends] for _, _, c, p in found]
    )
    return at.mean(axis=0).tolist()


def one_set(name, X, y, seeds, jobs):
    """A row of the table."""
    splits = [
        (train, test, seed)
        for seed in range(seeds)
        for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(
            X, y
        )
    ]
    row = {"set": name, "n": len(X), "d": X.shape[1], "classes": len(np.unique(y))}
    chosen = {}
    for kernel in NAMES:
        start = time.perf_counter()
        found = Parallel(jobs)(delayed(fold)(kernel, X, y, *s) for s in splits)
        row[kernel] = float(np.mean([f[0] for f in found]))
        row[f"{kernel}_inner"] = float(np.mean([f[1] for f in found]))
        ends = edges(found, list(grid(kernel, X.shape[1])))
        row[f"{kernel}_at_ends"] = ends
        row[f"{kernel}_seconds"] = time.perf_counter() - start
        chosen[kernel] = [(f[0], f[2], *f[3]) for f in found]
    for kernel in NAMES[1:]:
        row[f"{kernel}_gain"] = row[kernel] - row["rbf"]
    return row, chosen


def summary(rows):
    """Means over sets; the standard error is of the differences between sets."""
    out = {"set": "mean"} | {k: float(np.mean([r[k] for r in rows])) for k in NAMES}
    for kernel in NAMES[1:]:
        gains = np.array([r[f"{kernel}_gain"] for r in rows])
        out[f"{kernel}_gain"] = float(gains.mean())
        out[f"{kernel}_gain_se"] = float(gains.std(ddof=1) / len(gains) ** 0.5)
        out[f"{kernel}_wins"] = int((gains > 1e-9).sum())
        out[f"{kernel}_losses"] = int((gains < -1e-9).sum())
    return out


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="of the outer folds")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sets", nargs="+", choices=_data.SMALL_SETS)
    args = parser.parse_args()
    rows, chosen = [], {}
    for name, X, y in _data.small_classification():
        if args.sets is None or name in args.sets:
            row, chosen[name] = one_set(name, X, y, args.seeds, args.jobs)
            rows.append(row)
            print(row, flush=True)
    if args.sets is None:
        rows.append(summary(rows))
        _harness.save("ntk_classification_cpu", rows, seeds=args.seeds, chosen=chosen)
    _harness.table(rows)


if __name__ == "__main__":
    main()
