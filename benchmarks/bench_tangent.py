"""Tangent kernels of networks: times, and how faithful machines of them are.

    python benchmarks/bench_tangent.py            # some fifteen minutes

Jacobians by torch (``pip install torch``) are timed for few rows, since those of all
take more memory than there is; the time of all is that of the Jacobians times the rows,
and of their products times the squares of the rows. MNIST and Fashion-MNIST need
``mnist.npz`` and ``fashion_mnist.npz``, see ``_data.py``.
"""

from __future__ import annotations

import importlib.util

import _data
import _harness
import numpy as np
from scipy import special, stats
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from gpkern import EmpiricalNTK, NTKSurrogateClassifier, trak_scores

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
    """Of networks of digits and of pieces of clothing, means of three of them each.

    Trained to the end, as scikit-learn does by default, or stopped early by a tenth of
    the rows.
    """
    X, y = load_digits(return_X_y=True)
    digits, clothes = (X / 16, y), _data.fashion_mnist()
    shirts = of_two(*clothes, 0, 6)
    sets = {
        "digits": (digits, (64, 32), 1257, False),
        "digits, 3 or 8": (of_two(*digits, 3, 8), (64, 32), 250, False),
        "Fashion-MNIST": (clothes, (128, 64), 3000, False),
        "Fashion-MNIST, stopped early": (clothes, (128, 64), 3000, True),
        "T-shirt or shirt": (shirts, (128, 64), 3000, False),
        "T-shirt or shirt, stopped early": (shirts, (128, 64), 3000, True),
    }
    for name, ((X, y), hidden, n, early) in sets.items():
        X_train, y_train = X[:n], y[:n]
        X_test, y_test = X[n : n + 2000], y[n : n + 2000]
        networks = []
        for seed in range(3):
            mlp = MLPClassifier(hidden, max_iter=300, early_stopping=early)
            networks.append(mlp.set_params(random_state=seed).fit(X_train, y_train))
        for kind in ("trace_normalized", "pseudo", "conjugate"):
            reports, times = [], []
            for mlp in networks:
                model = NTKSurrogateClassifier(mlp, kind=kind)
                time, found = _harness.seconds(
                    lambda m=model, X=X_train, y=y_train: m.fit(X, y)
                )
                reports.append(found.faithfulness_report(X_test, y_test))
                times.append(time)
            names = "accuracy", "network_accuracy", "agreement", "kendall_tau", "r2"
            yield {
                "work": f"surrogate, {name}, {n:,} rows, {kind}",
                "seconds": float(np.median(times)),
                **{k: float(np.mean([getattr(r, k) for r in reports])) for k in names},
            }


def of_two(X, y, first, second):
    some = (y == first) | (y == second)
    return X[some], y[some]


def trak():
    """How well scores foretell the margins of networks trained on halves of the rows.

    Rank correlation over the halves of true margins (the mean of four networks) and
    sums of scores, averaged over 100 test rows: the linear datamodeling score.
    """
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(X))
    X, y = X[order] / 16, y[order]
    test, n = slice(600, 700), 600

    def fitted(rows, seed):
        mlp = MLPClassifier(32, max_iter=60, learning_rate_init=5e-3, batch_size=50)
        return mlp.set_params(random_state=seed).fit(X[rows], y[rows])

    def margin(mlp):
        p = mlp.predict_proba(X[test])[np.arange(100), y[test]]
        return special.logit(np.clip(p, 1e-12, 1 - 1e-12))

    halves = [rng.choice(n, n // 2, replace=False) for _ in range(60)]
    true = [np.mean([margin(fitted(h, s)) for s in range(4)], axis=0) for h in halves]
    chosen = np.array([np.isin(np.arange(n), h) for h in halves])
    whole = [fitted(np.arange(n), s) for s in range(6)]
    half = [fitted(rng.choice(n, n // 2, replace=False), s) for s in range(6)]
    for name, networks, options in (
        ("one network", whole[:1], {}),
        ("six networks", whole, {}),
        ("six networks, 512 projections", whole, {"n_projections": 512}),
        ("six networks of halves", half, {}),
        ("six networks, alpha 0", whole, {"alpha": 0.0}),
    ):
        time, scores = _harness.seconds(
            lambda e=networks, o=options: trak_scores(
                e, X[:n], y[:n], X[test], y[test], **o
            )
        )
        pairs = zip((chosen @ scores.T).T, np.transpose(true), strict=True)
        score = np.mean([stats.spearmanr(*pair).statistic for pair in pairs])
        yield {"work": f"TRAK, {name}", "seconds": time, "score": float(score)}


PARTS = {"speed": speed, "widths": widths, "surrogates": surrogates, "trak": trak}


if __name__ == "__main__":
    _harness.run_parts(__doc__, PARTS, "tangent_cpu")
