"""Markov chains that go wrong: one that is sticky, and some that are biased.

The sticky one draws from the posterior of a Goodwin oscillator's rates. Goodwin (1965):
a gene makes a protein that makes an enzyme that slows the gene down; Riabiz et al.
(2022), "Optimal thinning of MCMC output", thin chains of it. Here the gene and its
product are observed with noise, four rates are unknown, and a random walk with steps
that are too long stays where it is most of the time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TRUTH = np.log([1.97, 0.15, 0.53, 0.46])
TIMES, NOISE = np.linspace(2.0, 80.0, 40), 0.1


@njit(cache=True)
def oscillate(log_rates, times, steps=16):
    """Gene, product and enzyme at some times, by the Runge-Kutta method of order 4."""
    a, alpha, k1, k2 = np.exp(log_rates)
    state, now, out = np.zeros(3), 0.0, np.empty((times.size, 3))
    slope, shifts = np.empty((4, 3)), (0.5, 0.5, 1.0)
    for i in range(times.size):
        h = (times[i] - now) / steps
        for _ in range(steps):
            x, y, z = state
            for k in range(4):
                slope[k, 0] = a / (1.0 + max(z, 0.0) ** 10) - alpha * x
                slope[k, 1] = k1 * x - alpha * y
                slope[k, 2] = k2 * y - alpha * z
                if k < 3:
                    x = state[0] + shifts[k] * h * slope[k, 0]
                    y = state[1] + shifts[k] * h * slope[k, 1]
                    z = state[2] + shifts[k] * h * slope[k, 2]
            for j in range(3):
                middle = 2.0 * (slope[1, j] + slope[2, j])
                state[j] += h * (slope[0, j] + middle + slope[3, j]) / 6.0
        now = times[i]
        out[i] = state
    return out


@njit(cache=True)
def log_density(log_rates, data, times, noise):
    """Of the rates: a wide normal prior, normal noise on the first two quantities."""
    found = oscillate(log_rates, times)
    out = -0.5 * (log_rates**2).sum()
    for i in range(times.size):
        for j in range(2):
            if not np.isfinite(found[i, j]):
                return -np.inf
            out -= 0.5 * ((data[i, j] - found[i, j]) / noise) ** 2
    return out


@njit(cache=True)
def _walk(start, data, times, noise, normal, log_uniform, burn_in):
    n, d = normal.shape
    draws, x = np.empty((n, d)), start.copy()
    mean, scatter, step = start.copy(), 1e-5 * np.eye(d), 0.01 * np.eye(d)
    density, moves = log_density(start, data, times, noise), 0
    for i in range(n):
        if i < burn_in and i % 200 == 199:
            step = 4.0 / d**0.5 * np.linalg.cholesky(scatter / (i + 1.0))
        proposal = x + step @ normal[i]
        new = log_density(proposal, data, times, noise)
        if log_uniform[i] < new - density:
            x, density = proposal, new
            moves += i >= burn_in
        draws[i] = x
        away = x - mean
        mean += away / (i + 2.0)
        scatter += np.outer(away, x - mean)
    return draws[burn_in:], moves / (n - burn_in)


def goodwin(n, burn_in=20_000, seed=0):
    """Draws of a chain, standardised, shape (n, 4), and the share of steps accepted."""
    rng = np.random.default_rng(seed)
    data = oscillate(TRUTH, TIMES)[:, :2] + NOISE * rng.normal(size=(len(TIMES), 2))
    normal = rng.normal(size=(n + burn_in, 4))
    log_uniform = np.log(rng.uniform(size=n + burn_in))
    draws, moves = _walk(TRUTH, data, TIMES, NOISE, normal, log_uniform, burn_in)
    return (draws - draws.mean(axis=0)) / draws.std(axis=0), moves


MEANS, SHARES = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]), (0.5, 0.3, 0.2)
TWIST = 0.5


def mixture_score(X):
    """Of three normal distributions in the plane."""
    apart = MEANS - X[:, None, :]
    parts = np.log(SHARES) - 0.5 * (apart**2).sum(axis=2)
    parts = np.exp(parts - parts.max(axis=1, keepdims=True))
    parts /= parts.sum(axis=1, keepdims=True)
    return (parts[:, :, None] * apart).sum(axis=1)


def mixture_draws(rng, n):
    """A true sample of them."""
    return MEANS[rng.choice(3, n, p=SHARES)] + rng.normal(size=(n, 2))


def twisted_score(X):
    """Of a normal distribution whose second column is bent by the first."""
    out = -X
    off = X[:, 1] - TWIST * (X[:, 0] ** 2 - 1.0)
    out[:, 1] = -off
    out[:, 0] += 2.0 * TWIST * off * X[:, 0]
    return out


def twisted_draws(rng, n, d=10):
    """A true sample of it."""
    X = rng.normal(size=(n, d))
    X[:, 1] += TWIST * (X[:, 0] ** 2 - 1.0)
    return X


def biased(target, n, n_chains=10, step=0.5, seed=0):
    """Chains of the unadjusted Langevin sampler: draws, scores, and a true sample.

    Steps of that length spread too far, and the first draws are those on the way from
    places far away.
    """
    score, draw = {
        "mixture": (mixture_score, mixture_draws),
        "twisted": (twisted_score, twisted_draws),
    }[target]
    rng = np.random.default_rng(seed)
    truth = draw(rng, 20_000)
    x = truth[:n_chains] + 4.0
    X = np.empty((n // n_chains, *x.shape))
    for draws in X:
        slope = score(x)
        # A step no longer than one: far away the twisted one's scores are huge.
        slope /= np.maximum(1.0, step * np.linalg.norm(slope, axis=1))[:, None]
        x = x + step * slope + np.sqrt(2.0 * step) * rng.normal(size=x.shape)
        draws[:] = x
    X = X.transpose(1, 0, 2).reshape(-1, x.shape[1])
    return X, score(X), truth
