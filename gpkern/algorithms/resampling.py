"""Null distributions of quadratic statistics: multipliers of the rows, and p-values.

A degenerate U- or V-statistic ``sum_ij u_ij`` of an independent sample has, under the
null hypothesis, nearly the distribution of ``sum_ij r_i r_j u_ij`` with random
multipliers r of mean 0 and variance 1 (Arcones & Gine 1992; Chwialkowski, Sejdinovic &
Gretton 2014, for dependent ones).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from .._signs import RandomSigns

# Of the replicates' spread: how much below the statistic a replicate still counts, so
# that rounding never makes a p-value too small.
TIES = 1e-4
# Flips of the signs of chains in one autocorrelation time, and a draw.
FLIPS = 0.1


def wild(n, count, rng):
    """Independent signs, of shape (n, count)."""
    return RandomSigns(n, count, rng)


def multinomial(n, count, rng):
    """How often a row was drawn again, less once: shape (n, count), int16."""
    out = np.empty((n, count), np.int16)
    for b in range(count):
        out[:, b] = np.bincount(rng.randint(n, size=n), minlength=n)
    out -= 1
    return out


def markov(n_chains, n_draws, probability, count, rng):
    """Signs of chains that flip at random, each chain from a sign of its own.

    Parameters
    ----------
    n_chains, n_draws : int
        Rows are chains, one after another.
    probability : float
        Of a flip between two draws.
    count : int
    rng : RandomState

    Returns
    -------
    ndarray of int8, shape (n_chains * n_draws, count)

    References
    ----------
    Chwialkowski, Strathmann & Gretton (2016), A kernel test of goodness of fit, eq. 6.
    """
    out = np.empty((n_chains * n_draws, count), np.int8)
    for c in range(n_chains):
        for b in range(0, count, 256):  # few at a time: the draws are float64
            width = min(256, count - b)
            flips = rng.uniform(size=(n_draws, width)) < probability
            flips[0] = rng.uniform(size=width) < 0.5
            odd = np.bitwise_xor.accumulate(flips.view(np.uint8), axis=0)
            at = slice(c * n_draws, (c + 1) * n_draws)
            out[at, b : b + width] = 1 - 2 * odd.astype(np.int8)
    return out


def flip_probability(chains, share=FLIPS):
    """Of `markov`: so many flips in twice the time over which the columns correlate.

    That is the sum of the autocorrelations of all lags from 0 on, and twice it the
    autocorrelation time plus 1: a little slower for draws that hardly correlate, to
    which flips in the autocorrelation time alone do no justice.

    Parameters
    ----------
    chains : ndarray of shape (n_chains, n_draws, c)
    share : float

    Returns
    -------
    probability, time : float
    """
    time = autocorrelation_time(chains)
    return share / (1.0 + time), time


def autocorrelation_time(chains):
    """The longest integrated autocorrelation time of the columns, at least 1.

    Autocovariances are averaged over the chains, each about the mean of all of them,
    so that chains that have not mixed have a long one; their sum ends where that of a
    pair of lags is negative (Geyer 1992, the initial monotone sequence).

    Parameters
    ----------
    chains : ndarray of shape (n_chains, n_draws, c)

    Returns
    -------
    float
        In draws; at most ``n_draws``.
    """
    n = chains.shape[1]
    X = chains - chains.mean(axis=(0, 1))
    spectrum = np.fft.rfft(X, 2 * n, axis=1)
    power = (abs(spectrum) ** 2).mean(axis=0)
    covariances = np.fft.irfft(power, 2 * n, axis=0)[:n] / n
    longest = 1.0
    for own in covariances.T:
        if own[0] <= 1e-300:
            continue
        rho = own / own[0]
        pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
        end = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
        kept = np.minimum.accumulate(pairs[:end])
        longest = max(longest, 2.0 * float(kept.sum()) - 1.0)
    return min(longest, float(n))


def p_value(statistic, replicates):
    """Share of the statistics at least as large, the observed one counted.

    Parameters
    ----------
    statistic : float
    replicates : ndarray of shape (b,)

    Returns
    -------
    float
        At least 1 / (b + 1).
    """
    return (1 + int((replicates >= least(statistic, replicates)).sum())) / (
        len(replicates) + 1
    )


def least(statistic, replicates):
    """From where on a replicate counts as no less than the statistic."""
    top = float(abs(replicates).max(initial=0.0))
    spread = top * float((replicates / top).std()) if top > 0 else 0.0
    return statistic - TIES * spread - 1e-9 * abs(statistic)


def combined(statistics, replicates, weights):
    """One test of several statistics by the smallest of their weighted p-values.

    The p-values of all statistics, those of each replicate included, are their ranks
    among all replicates and the observed one. Under the null hypothesis these are
    exchangeable, so that the rank of the smallest weighted one has an exact level.

    Parameters
    ----------
    statistics : ndarray of shape (k,)
    replicates : ndarray of shape (k, b)
        Each column from the same multipliers.
    weights : ndarray of shape (k,)
        Of sum 1.

    Returns
    -------
    statistic : float
        Minus the logarithm of the smallest p-value over its weight.
    replicates : ndarray of shape (b,)
        The same of the replicates.
    p_values : ndarray of shape (k,)
        Of each statistic by itself.

    References
    ----------
    Schrab, Guedj & Gretton (2022), KSD aggregated goodness-of-fit test, section 3.3,
    with the same replicates for quantiles and level (Westfall & Young 1993, section
    2.3).
    """
    lowered = [least(s, r) for s, r in zip(statistics, replicates, strict=True)]
    pool = np.column_stack([lowered, replicates])
    # How many are larger or as large: the rank from above, ties at the last one.
    ranks = rankdata(-pool, method="max", axis=1) / pool.shape[1]
    smallest = (ranks / np.asarray(weights)[:, None]).min(axis=0)
    return -np.log(smallest[0]), -np.log(smallest[1:]), ranks[:, 0]
