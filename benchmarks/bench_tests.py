"""Levels, powers and times of the Stein and MMD tests.

    python benchmarks/bench_tests.py                    # all three, some 25 minutes
    python benchmarks/bench_tests.py --parts speed
    python benchmarks/bench_tests.py --device cuda

"level" rows are shares of rejections where the null hypothesis holds, of so many
repetitions; "power" rows where it does not, beside what was published of KSDAgg and
MMDAgg at the same settings (200 and 500 repetitions). "speed" rows are beside the same
tests in dense NumPy: whole matrices, and products with all sign vectors.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial

import _harness
import numpy as np
from scipy import stats

from gpkern import (
    FSSDTest,
    KSDTest,
    LinearKSDTest,
    MMDTest,
    NystromKSDTest,
    PerturbedKSDTest,
)
from gpkern.targets import GaussianBernoulliRBM, Mixture

ALPHA = 0.05


def standard_normal(X):
    return -X


def share(make, repetitions):
    """Share of rejections of ``make(i)``, a fitted test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(np.mean([make(i).pvalue_ <= ALPHA for i in range(repetitions)]))


# ------------------------------------------------------------------------ samples


def normal(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1.0, size=(n, d))


def chain(n, rho, seed, shift=0.0):
    """A stationary autoregression whose draws are standard normal."""
    rng = np.random.default_rng(seed)
    x, steps = np.empty(n), rng.normal(size=n) * np.sqrt(1 - rho**2)
    x[0] = rng.normal()
    for t in range(1, n):
        x[t] = rho * x[t - 1] + steps[t]
    return x[:, None] + shift


def machine(noise=0.0):
    """The published Gaussian-Bernoulli RBM; with noise on its couplings, another one.

    That of Schrab, Guedj & Gretton (2022), section 4.4: one draw for all repetitions,
    on which powers depend a good deal.
    """
    rng = np.random.RandomState(0)
    B = rng.randint(0, 2, (50, 40)) * 2 - 1.0
    b, c = rng.randn(50), rng.randn(40)
    return GaussianBernoulliRBM(B + noise * rng.randn(*B.shape), b, c)


def machine_samples(target, seed, n=1000, burn_in=2000, between=30):
    """Samples of a machine, of one chain for each row, that go on between them.

    The chains start at normal draws, as the published ones, and hardly leave their
    modes: shares of modes depend on start and burn-in.
    """
    rng = np.random.default_rng(seed)
    X, steps = rng.normal(size=(n, target.n_features)), burn_in
    while True:
        for _ in range(steps):
            X = target._visible(target._hidden(X, rng), rng)
        yield X
        steps = between


def bumps(n, count, seed):
    """Rows of a uniform density with so many bumps (Schrab et al. 2023, eq. 17)."""
    rng = np.random.default_rng(seed)
    signs, out = rng.choice([-1.0, 1.0], count), np.empty(0)

    def half(x):
        inside = abs(x) < 1
        return np.where(inside, np.exp(-1 / (1 - np.where(inside, x, 0.0) ** 2)), 0.0)

    while len(out) < n:
        u = rng.uniform(size=4 * n)
        cell = np.minimum((u * count).astype(int), count - 1)
        t = 4 * (u * count - cell) - 4
        wave = signs[cell] * (half(t + 3) - half(t + 1))
        density = 1 + 2.7 / count * wave
        top = 1 + 2.7 / count * np.exp(-1)
        out = np.append(out, u[rng.uniform(size=4 * n) * top < density])
    return out[:n, None]


# ------------------------------------------------------------------------- levels


def levels(repetitions):
    """Rejections of true null hypotheses."""
    common = {"n_resamples": 500}
    two = Mixture([0.5, 0.5], [[0.0], [6.0]], 1.0)

    def iid(d, n=300, cls=KSDTest, **options):
        def make(i):
            test = cls(standard_normal, random_state=i, **options)
            return test.fit(normal(n, d, i))

        return make

    def of_chain(rho):
        def make(i):
            test = KSDTest(standard_normal, null="markov", random_state=i, **common)
            return test.fit(chain(1000, rho, i))

        return make

    boltzmann = machine()
    samples = machine_samples(boltzmann, 0)

    def of_machine(i):
        return KSDTest(boltzmann, random_state=i, **common).fit(next(samples))

    def of_samples(i, **options):
        test = MMDTest(random_state=i, **common, **options)
        return test.fit(normal(300, 2, 2 * i), normal(300, 2, 2 * i + 1))

    def of_modes(method):
        def make(i):
            X = two.sample(200, np.random.RandomState(i))
            test = PerturbedKSDTest(two, method=method, random_state=i, **common)
            return test.fit(X)

        return make

    cases = {f"KSD, normal, d {d}, n 300": iid(d, **common) for d in (1, 5, 50)}
    cases["KSD, RBM, d 50, n 1,000"] = of_machine
    for rho in (0.0, 0.5, 0.9):
        cases[f"KSD, 'markov', chain, rho {rho}, n 1,000"] = of_chain(rho)
    cases |= {
        "KSD, aggregated, d 5, n 300": iid(5, aggregate=True, **common),
        "KSD, multinomial, d 5, n 300": iid(5, null="multinomial", **common),
        "MMD, d 2, n 300 and 300": of_samples,
        "MMD, aggregated": lambda i: of_samples(i, aggregate=True, kernel="rbf"),
        "FSSD, d 5, n 1,000": iid(5, 1000, FSSDTest),
        "linear KSD, d 5, n 1,000": iid(5, 1000, LinearKSDTest),
        "Nystrom KSD, d 5, n 1,000": iid(5, 1000, NystromKSDTest, **common),
        "perturbed KSD, split, n 200": of_modes("split"),
        "perturbed KSD, sum, n 200": of_modes("sum"),
    }
    for name, make in cases.items():
        found = share(make, repetitions)
        yield {"work": f"level: {name}", "repetitions": repetitions, "rejected": found}


# ------------------------------------------------------------------------- powers


def powers(repetitions):
    """Rejections of false ones, at published settings."""

    def row(name, make, published=None, count=repetitions):
        found = share(make, count)
        return {
            "work": f"power: {name}",
            "repetitions": count,
            "rejected": found,
            "published": published,
        }

    def gamma(shift, null, i):
        X = stats.gamma(5 + shift, scale=0.2).rvs(500, random_state=i)[:, None]
        test = KSDTest(stats.gamma(5, scale=0.2), aggregate=True, null=null)
        count = 300 if null == "parametric" else 1000
        return test.set_params(random_state=i, n_resamples=count).fit(X)

    # Published with "wild" and with samples of the known density.
    for shift, wild in ((0.1, 0.17), (0.2, 0.43), (0.3, 0.75), (0.4, 0.915)):
        name = f"KSDAgg, Gamma(5 + {shift}, 5), n 500"
        yield row(name, lambda i, s=shift: gamma(s, "wild", i), wild)
    few = max(1, repetitions // 4)
    for shift, known in ((0.2, 0.495), (0.4, 0.945)):
        name = f"KSDAgg, parametric, Gamma(5 + {shift}, 5), n 500"
        yield row(name, lambda i, s=shift: gamma(s, "parametric", i), known, few)

    boltzmann = machine()
    for noise, wild in ((0.01, 0.31), (0.02, 0.99)):

        def rbm(i, noise=noise):
            other = machine(noise)
            test = KSDTest(boltzmann, aggregate=True, random_state=i)
            return test.fit(next(machine_samples(other, i)))

        yield row(f"KSDAgg, RBM, d 50, n 1,000, noise {noise}", rbm, wild)
    for rho, floor in ((0.0, 0.95), (0.5, 0.95), (0.9, 0.7)):

        def of_chain(i, rho=rho):
            test = KSDTest(standard_normal, null="markov", random_state=i)
            return test.fit(chain(1000, rho, i, 0.5))

        yield row(f"KSD, 'markov', chain, rho {rho}, shift 0.5", of_chain, floor)

    def uniform(count, i):
        X, Y = bumps(500, count, i), np.random.default_rng(9000 + i).uniform(size=500)
        scales = 2.0 ** np.arange(-6, -1) * 0.29 / np.sqrt(2)
        test = MMDTest("rbf", length_scale=scales, aggregate=True, random_state=i)
        return test.fit(X, Y[:, None])

    for count, known in ((1, 1.0), (2, 0.98), (3, 0.302), (4, 0.044)):
        name = f"MMDAgg, uniform with {count} bumps, n 500 and 500"
        yield row(name, lambda i, c=count: uniform(c, i), known)

    def modes(delta, method, i):
        target = Mixture([0.5, 0.5], [[0.0], [delta]], 1.0)
        X = normal(200, 1, i)
        if method is None:
            return KSDTest(target, random_state=i).fit(X)
        return PerturbedKSDTest(target, method=method, random_state=i).fit(X)

    for delta in (6.0, 20.0):
        for method in ("split", "sum", None):
            name = f"perturbed KSD, {method}" if method else "KSD"
            name += f", one of two modes, {delta:.0f} apart, n 200"
            known = 1.0 if method else 0.05
            make = lambda i, s=delta, w=method: modes(s, w, i)  # noqa: E731
            yield row(name, make, known, max(1, repetitions // 2))


# -------------------------------------------------------------------------- times


def dense_aggregated(X, scales, count, rng):
    """KSDAgg's replicates from whole matrices, in NumPy."""
    n, d = X.shape
    S, out = -X, []
    signs = rng.choice([-1.0, 1.0], size=(n, count))
    squares = (X**2).sum(axis=1)
    r = np.maximum(squares[:, None] + squares[None] - 2 * X @ X.T, 0.0)
    dot, mixed = S @ S.T, S @ X.T
    own = np.diag(mixed)
    cross = own[:, None] + own[None] - mixed - mixed.T
    for scale in scales:
        base = 1 + r / scale**2
        phi = base**-0.5
        one, two = -0.5 * base**-1.5 / scale**2, 0.75 * base**-2.5 / scale**4
        H = phi * dot - 2 * one * cross - 2 * d * one - 4 * r * two
        np.fill_diagonal(H, 0.0)
        out.append((signs * (H @ signs)).sum(axis=0))
    return np.array(out) / (n * (n - 1))


def speed():
    """Aggregated tests of ten scales, and of a million rows."""
    for n, d in ((5_000, 1), (5_000, 10), (5_000, 50)):
        X, count = normal(n, d, 0), 2000
        test = KSDTest(
            standard_normal, aggregate=True, n_resamples=count, random_state=0
        )
        time, found = _harness.seconds(lambda t=test, x=X: t.fit(x), 3, 1)
        rng, scales = np.random.default_rng(0), found.length_scale_
        # KSDAgg draws twice as many: for the quantiles, and for the level.
        dense = partial(dense_aggregated, X, scales, rng=rng)
        peer, _ = _harness.seconds(partial(dense, 2 * count))
        single, theirs = _harness.seconds(partial(dense, count))
        spread = theirs.std(axis=1)
        ours = KSDTest(standard_normal, length_scale=scales[5], n_resamples=count)
        off = ours.fit(X).null_distribution_.std() / spread[5] - 1
        yield {
            "work": f"KSDAgg, n {n:,}, d {d}, 10 scales, {count:,} resamples",
            "seconds": time,
            "dense_numpy_s": peer,
            "ratio": peer / time,
            "as_many_vectors_ratio": single / time,
            "spread_of_replicates_off_by": float(off),
        }
    X = normal(1_000_000, 10, 0)
    X[:, 0] += 0.006
    big = NystromKSDTest(standard_normal, random_state=0)
    time, found = _harness.seconds(lambda: big.fit(X))
    few = KSDTest(standard_normal, random_state=0)
    small = [few.fit(X[i * 5000 : (i + 1) * 5000]).pvalue_ for i in range(20)]
    yield {
        "work": "Nystrom KSD, n 1,000,000, d 10, shift 0.006",
        "seconds": time,
        "pvalue": found.pvalue_,
        "power_of_full_test_of_5_000": float(np.mean(np.array(small) <= ALPHA)),
    }


def on_gpu():
    """The same on a GPU."""
    import cupy as cp

    def sync():
        cp.cuda.Device().synchronize()

    for n, d, repeats in ((5_000, 1, 7), (5_000, 50, 7), (100_000, 50, 2)):
        X = normal(n, d, 0).astype(np.float32)
        test = KSDTest(
            standard_normal, aggregate=True, n_resamples=2000, random_state=0
        )
        given = cp.asarray(X)
        time, found = _harness.seconds(
            lambda t=test, x=given: t.fit(x), repeats, 1, sync
        )
        row = {
            "work": f"KSDAgg, n {n:,}, d {d}, 10 scales, 2,000 resamples, float32",
            "seconds": time,
            "pvalue": found.pvalue_,
        }
        if n <= 5_000:
            own = KSDTest(
                standard_normal, aggregate=True, n_resamples=2000, random_state=0
            ).fit(X.astype(np.float64))
            row["pvalue_on_cpu"] = own.pvalue_
            a, b = found.per_kernel_["statistic"], own.per_kernel_["statistic"]
            row["statistics_off_by"] = float(abs(a / b - 1).max())
        yield row
    X, Y = (cp.asarray(normal(50_000, 20, i)) for i in (0, 1))
    test = MMDTest(length_scale="median", random_state=0)
    time, _ = _harness.seconds(lambda: test.fit(X, Y), 2, 1, sync)
    yield {
        "work": "MMD, n 50,000 and 50,000, d 20, 1,000 permutations",
        "seconds": time,
    }


def main():
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda"])
    parser.add_argument("--parts", nargs="+", default=["level", "power", "speed"])
    parser.add_argument("--repetitions", type=int)
    options = parser.parse_args()
    if options.device:
        rows = list(on_gpu())
        _harness.table(rows)
        _harness.save("tests_gpu", rows)
        return
    for part in options.parts:
        count = options.repetitions
        rows = {
            "level": lambda c=count: levels(c or 1000),
            "power": lambda c=count: powers(c or 200),
            "speed": speed,
        }[part]()
        kept = []
        for row in rows:
            kept.append(row)
            print(row, flush=True)
        _harness.table(kept)
        _harness.save(f"tests_{part}", kept)


if __name__ == "__main__":
    main()
