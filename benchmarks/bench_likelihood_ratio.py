"""Time, level and power of the learned likelihood ratio; kernel logistic regression.

    python benchmarks/bench_likelihood_ratio.py                  # all parts
    python benchmarks/bench_likelihood_ratio.py --parts power
    python benchmarks/bench_likelihood_ratio.py --device cuda    # the published sizes

"speed" is of the sizes of Letizia et al. (2022), Table 1, DIMUON: 44.9 s for each toy.
On a CPU it has a tenth of the centres. "level" is the share of rejections at 5 % where
the batches follow the reference; "power" where they do not, beside Kolmogorov-Smirnov
tests of each variable with Bonferroni's correction, and `MMDTest`. "logistic" is the
time of `KernelLogisticRegression`, and its log loss over that of all rows as centres.
"""

from __future__ import annotations

import argparse
import warnings

import _harness
import numpy as np
from scipy import stats
from sklearn.metrics import log_loss

from gpkern import KernelLogisticRegression, LearnedLikelihoodRatioTest, MMDTest

ALPHA, D = 0.05, 5
# Published seconds for each toy, and the bar for logistic regression.
PUBLISHED, BAR = 44.9, 20.0


def normal(n, seed):
    return np.random.default_rng(seed).normal(size=(n, D))


def speed(device, repetitions):
    """Of a fit with ten toys, and of a test."""
    centers = 20_000 if device else 2_000
    X = normal(100_000, 0).astype(np.float32)
    batch = normal(20_000, 1).astype(np.float32)
    sync = None
    if device:
        import cupy

        X, batch = cupy.asarray(X), cupy.asarray(batch)
        sync = cupy.cuda.Device().synchronize
    # With a null sample no row of the reference is set aside.
    null = normal(100_000, 2).astype(np.float32)
    test = LearnedLikelihoodRatioTest(
        n_centers=centers, length_scale=3.0, penalty=1e-6, n_toys=10, random_state=0
    )
    fit, _ = _harness.seconds(
        lambda: test.fit(X, expected=20_000, null=null), sync=sync
    )
    one, result = _harness.seconds(lambda: test.test(batch), 3, 1, sync)
    yield {
        "work": f"N_ref 100,000, N 20,000, d 5, {centers:,} centers",
        "where": device or "cpu",
        "fit_of_10_toys_s": fit,
        "test_s": one,
        "published_toy_s": PUBLISHED,
        "published_centers": 20_000,
        "zscore_of_null": result.zscore,
    }


def level(device, repetitions):
    """Share of rejections of batches of the reference, for three references."""
    each = (repetitions or 300) // 3
    for calibration in ("chi2", "toys"):
        p = []
        for seed in range(3):
            rng = np.random.default_rng(seed)
            test = fitted(rng, calibration)
            for n in rng.poisson(2000, size=each):
                p.append(test.test(rng.normal(size=(n, D))).pvalue)
        yield {
            "work": f"level, N_ref 20,000, N 2,000, calibration {calibration}",
            "batches": len(p),
            "level": float(np.mean(np.array(p) <= ALPHA)),
            "uniform_pvalue": float(stats.kstest(p, "uniform").pvalue),
        }


def fitted(rng, calibration="chi2"):
    test = LearnedLikelihoodRatioTest(calibration=calibration, random_state=0)
    return test.fit(rng.normal(size=(20_000, D)), expected=2000)


def bump(rng, X):
    """1 % of the rows within a narrow peak."""
    k = len(X) // 100
    X[:k] = rng.normal(1.5, 0.05, size=(k, D))
    return X


def wide(rng, X):
    """One variable spreads 5 % more."""
    X[:, 0] *= 1.05
    return X


def power(device, repetitions):
    """Share of rejections of batches with something wrong."""
    count = repetitions or 100
    for name, change in (("1 % narrow bump", bump), ("5 % wider variable", wide)):
        rng = np.random.default_rng(1)
        reference = rng.normal(size=(20_000, D))
        test = LearnedLikelihoodRatioTest(random_state=0).fit(reference, expected=2000)
        ours, single, mmd = [], [], []
        for i in range(count):
            n = rng.poisson(2000)
            X = change(rng, rng.normal(size=(n, D)))
            ours.append(test.test(X).zscore)
            p = [stats.ks_2samp(X[:, j], reference[:, j]).pvalue for j in range(D)]
            single.append(D * min(p))
            if i < count // 5:  # it takes a second or more
                peer = MMDTest(n_resamples=200, random_state=0)
                mmd.append(peer.fit(X, reference[:6000]).pvalue_)
        ours = np.array(ours)
        yield {
            "work": f"power, {name}, N_ref 20,000, N 2,000",
            "batches": count,
            "learned": float(np.mean(ours >= stats.norm.isf(ALPHA))),
            "median_zscore": float(np.median(ours)),
            "kolmogorov_smirnov": float(np.mean(np.array(single) <= ALPHA)),
            "mmd": float(np.mean(np.array(mmd) <= ALPHA)),
            "mmd_batches": len(mmd),
        }


def logistic(device, repetitions):
    """Time of many rows, and the loss against the exact solution of few."""
    options = {"kernel": "rbf", "length_scale": 2.0, "device": device}

    def problem(n, seed):
        X = normal(n, seed)
        odds = 2.0 * np.sin(2.0 * X[:, 0]) + X[:, 1] * X[:, 2]
        rng = np.random.default_rng(seed + 100)
        return X, rng.uniform(size=n) < 1 / (1 + np.exp(-odds))

    (X, y), (X_test, y_test) = problem(100_000, 0), problem(20_000, 1)
    model = KernelLogisticRegression(1.0, n_centers=5_000, random_state=0, **options)
    for dtype in (np.float32, np.float64):
        rows = X.astype(dtype)
        time, _ = _harness.seconds(lambda x=rows: model.fit(x, y))
        P = model.predict_proba(X_test.astype(dtype)).astype(float)
        name = np.dtype(dtype).name
        yield {
            "work": f"logistic regression, n 100,000, d 5, 5,000 centers, {name}",
            "where": device or "cpu",
            "seconds": time,
            "bar_s": BAR,
            "n_iter": model.n_iter_,
            "log_loss": log_loss(y_test, P),
        }
    X, y = problem(4_000, 2)
    exact = KernelLogisticRegression(1.0, tol=1e-10, **options).fit(X, y)
    few = KernelLogisticRegression(1.0, n_centers=1_000, random_state=0, **options)
    losses = [log_loss(y_test, m.predict_proba(X_test)) for m in (exact, few.fit(X, y))]
    yield {
        "work": "logistic regression, n 4,000, 1,000 centers against all rows",
        "where": device or "cpu",
        "log_loss": losses[1],
        "exact_log_loss": losses[0],
        "ratio": losses[1] / losses[0],
    }


PARTS = {"speed": speed, "level": level, "power": power, "logistic": logistic}


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda"])
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--repetitions", type=int)
    options = parser.parse_args()
    for part in options.parts:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kept = []
            for row in PARTS[part](options.device, options.repetitions):
                kept.append(row)
                print(row, flush=True)
        _harness.table(kept)
        where = "gpu" if options.device else "cpu"
        _harness.save(f"likelihood_ratio_{part}_{where}", kept)


if __name__ == "__main__":
    main()
