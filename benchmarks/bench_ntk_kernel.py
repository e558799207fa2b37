"""The analytic tangent kernel: against 50 digits; its time beside the Gaussian.

    python benchmarks/bench_ntk_kernel.py             # some five minutes

Errors are of ``NTK(...)(X, Z)`` (NumPy) and of `KernelOperator` in float64 and float32,
over sqrt(k(x, x) k(z, z)), the largest of random, equal and opposite rows and of rows
1e-8 (float32: 1e-4) from equal and opposite, in 5 and 784 columns, with and without
biases (float32: 784 columns and biases). The reference is the recursion by mpmath in
110 digits: where rows are equal a square root leaves half of them. Its closed forms of
the activations' moments are those of the papers, not those of gpkern, which avoid
cancellation.

Times are of the whole Gram matrix of MNIST's 10,000 test images (``mnist.npz``, see
``_data.py``) beside scikit-learn's ``rbf_kernel``; medians of calls in turn. "Engine"
is `KernelOperator`, which gpkern's estimators use; "call" is ``NTK(depth=3)(X)``, which
is what scikit-learn's do, timed for 2,000 rows.
"""

from __future__ import annotations

import argparse
from itertools import product

import _data
import _harness
import mpmath as mp
import numpy as np
from sklearn.metrics.pairwise import rbf_kernel

from gpkern import KernelOperator
from gpkern.kernels import NTK

ACTIVATIONS = ("relu", "leaky_relu", "erf", "gelu")
DEPTHS, WEIGHT, SLOPE = range(1, 6), 2.0, 0.01
APART = {np.float64: 1e-8, np.float32: 1e-4}
# Bias variance, columns and type. Few columns go by differences, many by products.
CASES = [
    (0.0, 5, np.float64),
    (0.0, 784, np.float64),
    (0.1, 784, np.float64),
    (0.1, 784, np.float32),
]


# ------------------------------------------------------------------ reference


def rectified(K, q1, q2, a):
    """E phi(u) phi(v) and E phi'(u) phi'(v) of u (u > 0) + a u (u < 0)."""
    p = mp.sqrt(q1 * q2)
    angle = mp.acos(min(max(K / p, -1), 1))
    # u+ v+, and by the signs of u and v what is left of u v.
    both = (p * mp.sin(angle) + (mp.pi - angle) * K) / (2 * mp.pi)
    mixed = (p * mp.sin(angle) - angle * K) / (2 * mp.pi)
    value = (1 + a * a) * both - 2 * a * mixed
    alike, unlike = (mp.pi - angle) / (2 * mp.pi), angle / (2 * mp.pi)
    return value, (1 + a * a) * alike + 2 * a * unlike


def error_function(K, q1, q2, _):
    """The same of erf: Williams (1997)."""
    s = (1 + 2 * q1) * (1 + 2 * q2)
    return 2 / mp.pi * mp.asin(2 * K / mp.sqrt(s)), 4 / mp.pi / mp.sqrt(s - 4 * K * K)


def gelu(K, q1, q2, _):
    """The same of u P(N(0, 1) < u): Tsuchida et al. (2021)."""
    P, Q = (1 + q1) * (1 + q2), q1 * q2
    rest = P - K * K
    root, turn = mp.sqrt(rest), mp.asin(K / mp.sqrt(P))
    value = K / 4 + (K * turn + (K * K + Q * rest) / (P * root)) / (2 * mp.pi)
    slope = 1 / rest + (1 - Q) / P + 1
    return value, mp.mpf(1) / 4 + turn / (2 * mp.pi) + K * slope / (2 * mp.pi * root)


MOMENTS = {
    "relu": rectified,
    "leaky_relu": rectified,
    "erf": error_function,
    "gelu": gelu,
}


def exact(x, z, activation, bias):
    """Tangent kernel and covariance of each depth from 0."""
    moments = MOMENTS[activation]
    a = mp.mpf(SLOPE) if activation == "leaky_relu" else mp.mpf(0)
    x, z = ([mp.mpf(float(v)) for v in row] for row in (x, z))
    w, b, d = mp.mpf(WEIGHT), mp.mpf(bias), len(x)
    K, q1, q2 = (w * mp.fdot(p, q) / d + b for p, q in ((x, z), (x, x), (z, z)))
    found = {"ntk": [K], "nngp": [K]}
    for _ in DEPTHS:
        value, slope = moments(K, q1, q2, a)
        q1, q2 = (w * moments(q, q, q, a)[0] + b for q in (q1, q2))
        K = w * value + b
        found["ntk"].append(K + w * slope * found["ntk"][-1])
        found["nngp"].append(K)
    return found


# ------------------------------------------------------------------- accuracy


def pairs(d, dtype):
    """Random rows, equal ones, opposite ones, and those nearly so."""
    rng = np.random.default_rng(d)
    x, z, e = rng.standard_normal((3, 4, d))
    near = APART[dtype] * e / np.linalg.norm(e, axis=1, keepdims=True)
    rows = [(x, z), (x, x), (x, -x), (x, x + near), (x, -x + near)]
    return (np.concatenate(side).astype(dtype) for side in zip(*rows, strict=True))


def by_engine(kernel, X, Z):
    """The pairs' values, among other rows, as the engine decides by them."""
    others = np.random.default_rng(0).standard_normal((400, X.shape[1]))
    rest = np.concatenate([Z, others.astype(Z.dtype)])
    return np.diagonal(KernelOperator(kernel, X, rest).to_dense())


def accuracy():
    """Largest errors, of each activation, kind and depth."""
    worst = {}
    for activation, (bias, d, dtype) in product(ACTIVATIONS, CASES):
        X, Z = pairs(d, dtype)
        with mp.workdps(110):
            cross, first, second = (
                [exact(p, q, activation, bias) for p, q in zip(A, B, strict=True)]
                for A, B in ((X, Z), (X, X), (Z, Z))
            )
            for kind, depth in product(("ntk", "nngp"), DEPTHS):
                kernel = NTK(depth, activation, WEIGHT, bias, kind=kind)
                ways = {f"error_{np.dtype(dtype).name}": by_engine(kernel, X, Z)}
                if dtype == np.float64:
                    ways["error_call"] = np.diagonal(kernel(X, Z))
                row = worst.setdefault((activation, kind, depth), {})
                for way, got in ways.items():
                    for value, k, kx, kz in zip(got, cross, first, second, strict=True):
                        k, kx, kz = (v[kind][depth] for v in (k, kx, kz))
                        away = abs(mp.mpf(float(value)) - k) / mp.sqrt(kx * kz)
                        row[way] = max(row.get(way, 0.0), float(away))
    for (activation, kind, depth), row in worst.items():
        yield {"work": f"error, {activation}, {kind}, depth {depth}"} | row


# ----------------------------------------------------------------------- time


def speed(repeats, n):
    """Gram matrices of depth 3."""
    X = _data.mnist()[2][:n].astype(np.float64)
    X32, kernel = X.astype(np.float32), NTK(depth=3)
    times = _harness.in_turn(
        {
            "rbf float64": lambda: rbf_kernel(X),
            "ntk float64": lambda: KernelOperator(kernel, X).to_dense(),
            "called float64": lambda: kernel(X),
            "rbf float32": lambda: rbf_kernel(X32),
            "ntk float32": lambda: KernelOperator(kernel, X32).to_dense(),
        },
        repeats,
    )
    for dtype in ("float64", "float32"):
        yield beside(f"Gram matrix, engine, {dtype}", X, times, dtype)
    called = {
        "rbf float64": times["rbf float64"],
        "ntk float64": times["called float64"],
    }
    yield beside("Gram matrix, call, float64", X, called, "float64")
    few = X[: n // 10]  # below what is handed over to the engine
    called = _harness.in_turn(
        {"rbf float64": lambda: rbf_kernel(few), "ntk float64": lambda: kernel(few)},
        repeats=3,
    )
    yield beside("Gram matrix, call, float64", few, called, "float64")


def beside(work, X, times, dtype):
    """A row of the table."""
    time, base = times[f"ntk {dtype}"], times[f"rbf {dtype}"]
    return {
        "work": work,
        "n": len(X),
        "d": X.shape[1],
        "seconds": time,
        "rbf_seconds": base,
        "times_rbf": time / base,
    }


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer rows, not written")
    args = parser.parse_args()
    rows = list(accuracy())
    _harness.table(rows)
    times = list(speed(args.repeats, 1000 if args.quick else 10_000))
    _harness.table(times)
    if not args.quick:
        _harness.save("ntk_kernel_cpu", rows + times)


if __name__ == "__main__":
    main()
