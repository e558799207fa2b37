"""Tangent kernels of networks: times, and how faithful machines of them are.

    python benchmarks/bench_tangent.py            # some ten minutes

Jacobians by torch (``pip install torch``) are timed for few rows, since those of all
take more memory than there is; the time of all is that of the Jacobians times the rows,
and of their products times the squares of the rows. MNIST needs ``mnist.npz``, see
``_data.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import warnings

import _data
import _harness
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from gpkern import EmpiricalNTK, NTKSurrogateClassifier

ROWS, FEW = 5000, 100
KINDS = ("trace", "pseudo")


def large_network():
    """784-512-512-10, as scikit-learn starts it and after one pass, in float32."""
    X, y, *_ = _data.mnist()
    mlp = MLPClassifier((512, 512), max_iter=1, random_state=0)
    return mlp.fit(X[:2000], y[:2000]), X[:ROWS]


def by_torch(mlp, X, kind):
    """The kernel from the Jacobian of each row, and the times of both steps."""
    import torch

    layers = [
        torch.as_tensor(np.asarray(a, np.float32))
        for pair in zip(mlp.coefs_, mlp.intercepts_, strict=True)
        for a in pair
    ]

    def outputs(parameters, x):
        for i in range(0, len(parameters) - 2, 2):
            x = torch.relu(x @ parameters[i] + parameters[i + 1])
        x = x @ parameters[-2] + parameters[-1]
        return x if kind == "trace" else x.sum() / len(x) ** 0.5

    rows = torch.as_tensor(X)
    jacobians = torch.func.vmap(torch.func.jacrev(outputs), (None, 0))
    first, slopes = _harness.seconds(lambda: jacobians(layers, rows), 3, 1)
    flat = [s.reshape(len(X), -1) for s in slopes]
    second, K = _harness.seconds(lambda: sum(s @ s.T for s in flat), 3, 1)
    return K.numpy(), first, second


def speed():
    """Kernels of all pairs of rows."""
    mlp, X = large_network()
    for kind in KINDS:
        kernel = EmpiricalNTK(mlp, kind=kind)
        time, K = _harness.seconds(lambda k=kernel: k.kernel(X), repeats=3, warm_up=1)
        row = {"work": f"{kind}, {ROWS:,} rows, 784-512-512-10", "seconds": time}
        if importlib.util.find_spec("torch"):
            J, first, second = by_torch(mlp, X[:FEW], kind)
            more = ROWS / FEW
            torch_seconds = first * more + second * more**2
            away = np.linalg.norm(J - K[:FEW, :FEW]) / np.linalg.norm(J)
            row |= {
                "torch_seconds": torch_seconds,
                "times_faster": torch_seconds / time,
                "relative_difference": float(away),
            }
        yield row
    kernel = EmpiricalNTK(mlp)
    operator, v = kernel.operator(X), np.ones(10 * len(X), np.float32)
    time, _ = _harness.seconds(lambda: operator @ v, repeats=3, warm_up=1)
    yield {"work": f"full kernel of {ROWS:,} rows times a vector", "seconds": time}


def widths():
    """How far the pseudo kernel is from the full one."""
    X, y = load_digits(return_X_y=True)
    X, y = X[:60] / 16, y[:60]
    sizes, errors = [32, 128, 512, 2048], []
    for width in sizes:
        away = []
        for seed in range(5):
            mlp = MLPClassifier((width, width), max_iter=1, random_state=seed)
            mlp.set_params(learning_rate_init=1e-9).fit(X, y)
            full = EmpiricalNTK(mlp, kind="full").kernel(X)
            pseudo = EmpiricalNTK(mlp, kind="pseudo").kernel(X)
            left = full - pseudo[:, :, None, None] * np.eye(10)
            away.append(np.linalg.norm(left) / np.linalg.norm(full))
        errors.append(float(np.mean(away)))
        yield {"work": f"pseudo against full, width {width}", "error": errors[-1]}
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    yield {"work": "its slope by the width", "slope": float(slope)}


def surrogates():
    """Of a network of digits, and one of MNIST."""
    digits = load_digits(return_X_y=True)
    X, y, *_ = _data.mnist()
    sets = {
        "digits": (digits[0] / 16, digits[1], (64, 32), 0.3),
        "digits, 3 or 8": (*of_two(*digits), (64, 32), 0.3),
        "MNIST, 6,000 rows": (X[:8000], y[:8000], (128, 64), 0.25),
    }
    for name, (X, y, hidden, share) in sets.items():
        split = train_test_split(X, y, test_size=share, random_state=0, stratify=y)
        X_train, X_test, y_train, y_test = split
        mlp = MLPClassifier(hidden, max_iter=300, random_state=0)
        mlp.fit(X_train, y_train)
        for kind in ("trace_normalized", "trace", "pseudo", "conjugate"):
            model = NTKSurrogateClassifier(mlp, kind=kind)
            time, found = _harness.seconds(
                lambda m=model, X=X_train, y=y_train: m.fit(X, y)
            )
            report = found.faithfulness_report(X_test, y_test)
            yield {
                "work": f"surrogate, {name}, {kind}",
                "seconds": time,
                "accuracy": report.accuracy,
                "network_accuracy": report.network_accuracy,
                "agreement": report.agreement,
                "kendall_tau": report.kendall_tau,
                "r2": report.r2,
            }


def of_two(X, y):
    some = (y == 3) | (y == 8)
    return X[some] / 16, y[some]


PARTS = {"speed": speed, "widths": widths, "surrogates": surrogates}


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    chosen = parser.parse_args().parts
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in chosen:
            for found in PARTS[name]():
                rows.append(found)
                print(found, flush=True)
    _harness.table(rows)
    if chosen == list(PARTS):
        _harness.save("tangent_cpu", rows)


if __name__ == "__main__":
    main()
