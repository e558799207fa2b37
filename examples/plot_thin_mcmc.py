"""
Thinning the output of MCMC
===========================

A Markov chain often ends in more draws than one can afford to use: when each draw that
is kept starts a simulation, a few dozen must do. To keep every k-th draw, as is
usual, gives away most of what the chain has learnt. :class:`~gpkern.KernelThinning`
looks at all draws and keeps those whose distribution is nearest to that of the chain.

The chain is one of a classic: how fast hares and lynxes breed and die, from noisy
counts of both.
"""

# %%
# Hares and lynxes
# ----------------
# The Lotka-Volterra equations have four rates. Fifty noisy counts of both animals are
# made up from known ones. Compiled by Numba, the equations are solved 70,000 times a
# second.

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from numba import njit

from gpkern import KernelThinning
from gpkern.plotting import CoresetDisplay, MMDCurveDisplay

TRUTH, NOISE = np.log([0.67, 1.33, 1.0, 1.0]), 0.2
TIMES = np.linspace(0.5, 25.0, 50)


@njit
def solve(log_rates, times, steps=12):
    """Hares and lynxes at some times, by the Runge-Kutta method of order 4."""
    a, b, c, d = np.exp(log_rates)
    state, now, out = np.ones(2), 0.0, np.empty((times.size, 2))
    slope, shifts = np.empty((4, 2)), (0.5, 0.5, 1.0)
    for i in range(times.size):
        h = (times[i] - now) / steps
        for _ in range(steps):
            u, v = state
            for k in range(4):
                slope[k, 0], slope[k, 1] = a * u - b * u * v, d * u * v - c * v
                if k < 3:
                    u = state[0] + shifts[k] * h * slope[k, 0]
                    v = state[1] + shifts[k] * h * slope[k, 1]
            for j in range(2):
                middle = 2.0 * (slope[1, j] + slope[2, j])
                state[j] += h * (slope[0, j] + middle + slope[3, j]) / 6.0
        now = times[i]
        out[i] = state
    return out


@njit
def log_density(log_rates, counts, times, noise):
    """Of the rates: a wide normal prior, log-normal counts."""
    out = -0.5 * (log_rates**2).sum()
    found = solve(log_rates, times)
    for i in range(times.size):
        for j in range(2):
            if not found[i, j] > 0.0:  # the solver has blown up
                return -np.inf
            z = (np.log(counts[i, j]) - np.log(found[i, j])) / noise
            out -= 0.5 * z * z
    return out


rng = np.random.default_rng(0)
counts = solve(TRUTH, TIMES) * np.exp(NOISE * rng.normal(size=(50, 2)))

# %%
# A chain
# -------
# A random walk whose steps take the shape of what it has seen so far. They are somewhat
# too long, so that most are refused, and the chain stays where it is: draws stand
# many times over.


@njit
def run_chain(start, counts, times, noise, normal, log_uniform, burn_in):
    """Adaptive random-walk Metropolis: draws after the burn-in, share of moves."""
    n, d = normal.shape
    draws, x = np.empty((n, d)), start.copy()
    mean, scatter = start.copy(), 1e-4 * np.eye(d)
    step, density = 0.05 * np.eye(d), log_density(start, counts, times, noise)
    accepted = 0
    for i in range(n):
        if i < burn_in and i % 200 == 199:  # steps are as they are after the burn-in
            step = 4.0 / d**0.5 * np.linalg.cholesky(scatter / (i + 1.0))
        proposal = x + step @ normal[i]
        new = log_density(proposal, counts, times, noise)
        if log_uniform[i] < new - density:
            x, density = proposal, new
            accepted += 1
        draws[i] = x
        away = x - mean
        mean += away / (i + 2.0)
        scatter += np.outer(away, x - mean)
    return draws[burn_in:], accepted / n


n, burn_in = 2**16, 10_000
normal = rng.normal(size=(n + burn_in, 4))
log_uniform = np.log(rng.uniform(size=n + burn_in))
start = time.perf_counter()
draws, accepted = run_chain(
    TRUTH + 0.1, counts, TIMES, NOISE, normal, log_uniform, burn_in
)
spectrum = np.abs(np.fft.rfft(draws - draws.mean(axis=0), 2 * n, axis=0)) ** 2
correlation = np.fft.irfft(spectrum, axis=0)[:n]
correlation /= correlation[0]
ends = (correlation < 0.05).argmax(axis=0)
effective = min(
    n / (2.0 * correlation[:end, j].sum() - 1.0) for j, end in enumerate(ends)
)
print(
    f"{n:,} draws in {time.perf_counter() - start:.0f} s, {accepted:.0%} of the steps "
    f"accepted; worth about {effective:,.0f} independent draws"
)

# %%
# Thin it
# -------
# The distance between the draws that are kept and all of them is the largest error of
# any mean, over functions that are as smooth as the kernel says (MMD).
# :class:`~gpkern.plotting.MMDCurveDisplay` shows how it falls with the number of draws.
# Random draws need four times as many for half the distance, a slope of -1/2.

X = (draws - draws.mean(axis=0)) / draws.std(axis=0)
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
start = time.perf_counter()
curve = MMDCurveDisplay.from_estimator(
    KernelThinning(random_state=0), X, random_state=0, ax=left
)
print(f"{len(curve.sizes)} coresets in {time.perf_counter() - start:.0f} s")

thinning = KernelThinning(64, weights="simplex", random_state=0).fit(X)
CoresetDisplay(
    np.exp(draws[::20, :2]),
    np.exp(draws[thinning.sample_indices_, :2]),
    thinning.weights_,
    ["birth rate of hares", "rate at which they are eaten"],
).plot(ax=right)
right.set_title(f"64 of {n:,} draws, weighted")
plt.show()

# %%
# What it is good for
# -------------------
# Suppose that each draw that is kept starts an expensive simulation: here, the numbers
# of lynxes in the ten years that follow. The mean of that forecast from all draws, and
# the spread about it, are what the few should reproduce. Errors are in units of the
# spread; random draws are repeated, as their luck varies.


def forecast(rows):
    later = np.linspace(26.0, 36.0, 60)
    return np.array([solve(draws[i], later, 60)[:, 1] for i in rows])


def moments(paths, weights=None):
    mean = np.average(paths, axis=0, weights=weights)
    return mean, np.sqrt(np.average((paths - mean) ** 2, axis=0, weights=weights))


size = 64
mean, spread = moments(forecast(np.arange(0, n, 16)))
equal = KernelThinning(size, random_state=0).fit(X)
shifts = np.arange(0, n // size, n // size // 20)
ways = {
    "random": [(rng.choice(n, size), None) for _ in shifts],
    "standard thinning": [(np.arange(s, n, n // size), None) for s in shifts],
    "kernel thinning": [(equal.sample_indices_, None)],
    "kernel thinning, weighted": [(thinning.sample_indices_, thinning.weights_)],
}
table = {}
for name, sets in ways.items():
    errors = []
    for rows, weights in sets:
        own_mean, own_spread = moments(forecast(rows), weights)
        errors.append([(own_mean - mean) / spread, (own_spread - spread) / spread])
    of_mean, of_spread = np.sqrt(np.mean(np.square(errors), axis=(0, 2)))
    table[name] = {"error of the mean": of_mean, "of the spread": of_spread}
print(pd.DataFrame(table).T.round(3).to_string())

# %%
# Sixty-four chosen draws do for the mean what thousands of random ones would, because
# the forecast depends smoothly on the rates. Its spread is the mean of a square, which
# is less smooth: it gains less, and so would the chance of a rare event. To try next:
# a chain that has not converged, whose bias no choice by the draws alone can mend;
# :class:`~gpkern.SteinThinning` asks the density itself.
