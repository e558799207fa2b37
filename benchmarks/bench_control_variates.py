"""Errors and times of control variates, beside those of plain means.

    python benchmarks/bench_control_variates.py     # some three minutes

Errors are root mean squares over 20 samples, against integrals that are known: of
normal distributions in closed form or by quadrature; of a logistic regression's
posterior from ten million weighted draws; of Lotka-Volterra's the means of its 4,000
reference draws, which have an error themselves: 1/63 of a standard deviation, were they
independent.
"""

from __future__ import annotations

import _harness
import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import multivariate_t

from gpkern import SteinControlVariates
from gpkern.datasets import load_posterior

REPETITIONS = 20


def minus(X):
    return -X


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


INTEGRANDS = {
    "exp(x), d 1": (1, lambda X: np.exp(X[:, 0]), np.exp(0.5)),
    "sin(x) + x y + y^2, d 2": (
        2,
        lambda X: np.sin(X[:, 0]) + X[:, 0] * X[:, 1] + X[:, 1] ** 2,
        1.0,
    ),
    "exp of a sum, d 3": (
        3,
        lambda X: np.exp(0.5 * X.sum(axis=1) / np.sqrt(3)),
        np.exp(0.125),
    ),
    "cosine of a sum, d 5": (
        5,
        lambda X: np.cos(X.sum(axis=1) / np.sqrt(5)),
        np.exp(-0.5),
    ),
    "|x|, not smooth, d 1": (1, lambda X: abs(X[:, 0]), np.sqrt(2 / np.pi)),
    "x > 0, not smooth, d 1": (1, lambda X: (X[:, 0] > 0) * 1.0, 0.5),
}


def of_normal():
    """Integrals under normal distributions."""
    for name, (d, f, truth) in INTEGRANDS.items():
        for n in (50, 100, 500, 2000):
            ours, plain, covered = [], [], []
            for seed in range(REPETITIONS):
                X = np.random.default_rng(seed).normal(size=(n, d))
                found = SteinControlVariates(minus, random_state=0).fit(X, f(X))
                ours.append(found.integral_ - truth)
                plain.append(f(X).mean() - truth)
                covered.append(abs(ours[-1]) <= 2 * found.standard_error_)
            yield row(f"{name}, n {n}", ours, plain, covered)


def of_posterior():
    """Means of eight parameters of a posterior, in units of their spread."""
    data = load_posterior("lotka_volterra")
    d = data.data.shape[2]
    X, S, F = (a.reshape(-1, d) for a in (data.data, data.scores, data.draws))
    truth, spread = F.mean(axis=0), F.std(axis=0)
    for n in (50, 100, 400, 1000):
        ours, plain, covered = [], [], []
        for seed in range(REPETITIONS // 2):
            at = np.random.default_rng(seed).choice(len(X), n, replace=False)
            found = SteinControlVariates(random_state=0).fit(X[at], F[at], S[at])
            ours.append((found.integral_ - truth) / spread)
            plain.append((F[at].mean(axis=0) - truth) / spread)
            error = np.hypot(found.standard_error_ / spread, 1 / np.sqrt(len(X)))
            covered.append(abs(ours[-1]) <= 2 * error)
        yield row(f"Lotka-Volterra posterior, d 8, n {n}", ours, plain, covered)


class LogisticPosterior:
    """Of five coefficients, prior N(0, 4), given 60 labels; with independent draws.

    Draws are taken and rejected from a t distribution about the mode.
    """

    def __init__(self):
        rng = np.random.default_rng(0)
        self.A = np.column_stack([np.ones(60), rng.normal(size=(60, 4))])
        odds = self.A @ np.array([0.5, 1.0, -1.0, 0.5, 0.0])
        self.sign = np.where(rng.uniform(size=60) < expit(odds), 1.0, -1.0)
        found = minimize(
            lambda w: -self.log_density(w[None])[0], np.zeros(5), method="BFGS"
        )
        self.about = multivariate_t(found.x, 1.3 * found.hess_inv, df=8)
        some = self.about.rvs(200_000, random_state=1)
        ratio = self.log_density(some) - self.about.logpdf(some)
        self.bound = ratio.max() + 0.05

    def log_density(self, W):
        odds = self.sign * (W @ self.A.T)
        return log_expit(odds).sum(axis=1) - (W**2).sum(axis=1) / 8.0

    def score(self, W):
        pull = self.sign * expit(-self.sign * (W @ self.A.T))
        return pull @ self.A - W / 4.0

    def draws(self, n, seed):
        rng, kept = np.random.default_rng(seed), []
        while sum(map(len, kept)) < n:
            W = self.about.rvs(4 * n, random_state=rng)
            ratio = self.log_density(W) - self.about.logpdf(W) - self.bound
            kept.append(W[np.log(rng.uniform(size=len(W))) < ratio])
        return np.concatenate(kept)[:n]

    def means(self, f):
        """Means and standard deviations of functions of the coefficients."""
        total = first = second = 0.0
        for seed in range(50):
            W = self.about.rvs(200_000, random_state=100 + seed)
            ratio = self.log_density(W) - self.about.logpdf(W)
            weight, F = np.exp(ratio - self.bound), f(W)
            total = total + weight.sum()
            first, second = first + weight @ F, second + weight @ F**2
        mean = first / total
        return mean, np.sqrt(second / total - mean**2)


def of_logistic():
    """Coefficients, their squares, and a prediction, in units of their spread."""

    def f(W):
        return np.column_stack([W, W**2, expit(W @ [1.0, 1.0, 0.0, -1.0, 0.5])])

    posterior = LogisticPosterior()
    truth, spread = posterior.means(f)
    for n in (50, 100, 500, 2000):
        ours, plain, covered = [], [], []
        for seed in range(REPETITIONS):
            W = posterior.draws(n, seed)
            found = SteinControlVariates(posterior.score, random_state=0).fit(W, f(W))
            ours.append((found.integral_ - truth) / spread)
            plain.append((f(W).mean(axis=0) - truth) / spread)
            error = np.hypot(found.standard_error_ / spread, 3e-4)
            covered.append(abs(ours[-1]) <= 2 * error)
        yield row(f"logistic regression's posterior, d 5, n {n}", ours, plain, covered)


def of_two():
    """A costly model at few draws, a cheap one at many."""

    def cheap(X):
        return np.exp(0.4 * X[:, 0]) * np.sin(2 * X[:, 1]) + np.cos(2 * X[:, 0])

    def costly(X):
        return 1.2 * cheap(X) + 0.2 * np.sin(X[:, 0] + X[:, 1]) ** 2

    x, w = np.polynomial.hermite_e.hermegauss(60)
    grid = np.array([(a, b) for a in x for b in x])
    truth = np.outer(w, w).ravel() @ costly(grid) / w.sum() ** 2
    for n in (20, 40, 80):
        alone, both, plain, covered = [], [], [], []
        for seed in range(REPETITIONS):
            rng = np.random.default_rng(seed)
            X, Z = rng.normal(size=(n, 2)), rng.normal(size=(400, 2))
            model = SteinControlVariates(minus, random_state=0)
            alone.append(model.fit(X, costly(X)).integral_ - truth)
            model.fit([X, Z], [costly(X), cheap(Z)])
            both.append(model.integral_[0] - truth)
            plain.append(costly(X).mean() - truth)
            covered.append(abs(both[-1]) <= 2 * model.standard_error_[0])
        out = row(f"two fidelities, {n} and 400 draws", both, plain, covered)
        yield out | {"rms_scalar": rms(alone)}


def row(work, ours, plain, covered):
    return {
        "work": work,
        "rms": rms(ours),
        "rms_of_mean": rms(plain),
        "ratio": rms(plain) / rms(ours),
        "within_two_standard_errors": float(np.mean(covered)),
    }


def speed():
    """Times of a fit."""
    for n, d, solver in (
        (500, 5, "auto"),
        (2000, 5, "auto"),
        (10_000, 5, "auto"),
        (10_000, 5, "pcg"),
        (20_000, 5, "auto"),
    ):
        X = np.random.default_rng(0).normal(size=(n, d))
        y = np.cos(X.sum(axis=1) / np.sqrt(d))
        model = SteinControlVariates(minus, solver=solver, random_state=0)
        time, found = _harness.seconds(lambda m=model, x=X, f=y: m.fit(x, f))
        yield {
            "work": f"fit, n {n:,}, d {d}, {found.solver_}",
            "seconds": time,
            "rms": abs(found.integral_ - np.exp(-0.5)),
        }


PARTS = {f.__name__: f for f in (of_normal, of_logistic, of_posterior, of_two, speed)}

if __name__ == "__main__":
    _harness.run_parts(__doc__, PARTS, "control_variates")
