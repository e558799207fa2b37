"""Kernel ridge regression and EigenPro on a CPU, against scikit-learn.

    python benchmarks/bench_regression.py

- ``KernelRidge(solver="cholesky")`` at n = 8,000: equal predictions, time in turn.
- ``make_friedman1(20000, 10, noise=1.0)``, Matern 1/2, length scale "median",
  alpha 1e-2: "pcg" and EigenPro (early stopping) against scikit-learn's dense solve,
  test RMSE on 5,000 further rows beside each time.

scikit-learn's ``KernelRidge`` solves by `scipy.linalg.solve`, which crashes at
n = 20,000 with the OpenBLAS of today's wheels (its threaded Cholesky factor writes past
a buffer). It runs in a process apart; where that fails, its own kernel matrix is
factored in halves, which is the same algorithm at the same speed, and the row says so.
All start from float64 data.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import _harness
import numpy as np
from sklearn.datasets import make_friedman1
from sklearn.kernel_ridge import KernelRidge as DenseKernelRidge

from gpkern import EigenProRegressor, KernelRidge
from gpkern.kernels import Matern, median_distance

PEER = """
import json, sys, time
import numpy as np
from gpkern.cpu.linalg import cholesky, solve_upper
from sklearn.datasets import make_friedman1
from sklearn.kernel_ridge import KernelRidge
from sklearn.gaussian_process.kernels import Matern
n, scale, dense = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "estimator"
X, y = make_friedman1(n + 5000, n_features=10, noise=1.0, random_state=0)
kernel = Matern(scale, nu=0.5)
start = time.perf_counter()
model = KernelRidge(alpha=1e-2, kernel=kernel)
if dense:
    model.fit(X[:n], y[:n])
else:
    K = model._get_kernel(X[:n])
    K.flat[:: n + 1] += 1e-2
    R = cholesky(K)
    model.dual_coef_ = solve_upper(R, solve_upper(R, y[:n], transposed=True))
    model.X_fit_ = X[:n]
    model.n_features_in_ = 10
seconds = time.perf_counter() - start
rmse = float(np.sqrt(np.mean((model.predict(X[n:]) - y[n:]) ** 2)))
print(json.dumps([seconds, rmse]))
"""


def dense_friedman(n, scale):
    """Seconds, test RMSE and name of scikit-learn's solution."""
    for how, name in (
        ("estimator", "scikit-learn KernelRidge"),
        ("factor", "scikit-learn's matrix, factored in halves"),
    ):
        out = subprocess.run(
            [sys.executable, "-c", PEER, str(n), str(scale), how],
            capture_output=True,
            text=True,
        )
        if out.returncode == 0:
            return *json.loads(out.stdout), name
    raise RuntimeError(out.stderr)


def friedman(n):
    """Rows for the friedman problem."""
    X, y = make_friedman1(n + 5000, n_features=10, noise=1.0, random_state=0)
    X_test, y_test, X, y = X[n:], y[n:], X[:n], y[:n]
    scale = median_distance(X, random_state=0)
    common = {"kernel": Matern(nu=0.5), "length_scale": "median", "random_state": 0}
    models = {
        "KernelRidge pcg": KernelRidge(1e-2, solver="pcg", tol=1e-3, **common),
        "EigenPro": EigenProRegressor(early_stopping=True, n_epochs=20, **common),
    }
    dense_s, dense_rmse, name = dense_friedman(n, scale)
    yield {"problem": "friedman", "n": n, "model": name, "fit_s": dense_s} | {
        "rmse": dense_rmse
    }
    for label, model in models.items():
        for dtype in (np.float64, np.float32):
            A, B = X.astype(dtype), X_test.astype(dtype)
            model.fit(A[:2000], y[:2000])  # compiles
            start = time.perf_counter()
            model.fit(A, y)
            seconds = time.perf_counter() - start
            rmse = float(np.sqrt(np.mean((model.predict(B) - y_test) ** 2)))
            yield {
                "problem": "friedman",
                "n": n,
                "model": f"{label} {np.dtype(dtype).name}",
                "fit_s": seconds,
                "rmse": rmse,
                "ratio": dense_s / seconds,
                "rmse_ratio": rmse / dense_rmse,
                "n_iter": int(model.n_iter_),
            }


def cholesky(n, repeats):
    """Exact solution against scikit-learn's."""
    X, y = make_friedman1(n + 1000, n_features=10, noise=1.0, random_state=0)
    gamma = 0.5
    ours = KernelRidge(0.1, kernel="rbf", gamma=gamma, solver="cholesky")
    theirs = DenseKernelRidge(0.1, kernel="rbf", gamma=gamma)
    times = _harness.in_turn(
        {
            "gpkern": lambda: ours.fit(X[:n], y[:n]),
            "scikit-learn": lambda: theirs.fit(X[:n], y[:n]),
        },
        repeats,
    )
    difference = np.abs(ours.predict(X[n:]) - theirs.predict(X[n:])).max()
    return {
        "problem": "cholesky",
        "n": n,
        "model": "KernelRidge cholesky",
        "fit_s": times["gpkern"],
        "ratio": times["scikit-learn"] / times["gpkern"],
        "max_difference": float(difference),
    }


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rows = [cholesky(2000 if quick else 8000, 3)]
    rows += friedman(4000 if quick else 20_000)
    _harness.table(rows)
    _harness.save("regression_cpu", rows)


if __name__ == "__main__":
    main()
