"""Multipliers, autocorrelation times, p-values and their combination."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.algorithms import mmd, resampling


def rng(seed=0):
    return np.random.RandomState(seed)


def chains(rho, m, n, seed=0):
    random = np.random.default_rng(seed)
    x, noise = np.empty((m, n)), random.normal(size=(m, n)) * np.sqrt(1 - rho**2)
    x[:, 0] = random.normal(size=m)
    for t in range(1, n):
        x[:, t] = rho * x[:, t - 1] + noise[:, t]
    return x[:, :, None]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_autoregression(rho):
    found = resampling.autocorrelation_time(chains(rho, 20, 5000))
    assert found == pytest.approx((1 + rho) / (1 - rho), rel=0.12)


def test_autocorrelation_time_at_the_edges():
    assert resampling.autocorrelation_time(chains(-0.6, 4, 2000)) == 1.0
    assert resampling.autocorrelation_time(np.ones((2, 50, 3))) == 1.0
    apart = chains(0.0, 2, 500) + np.array([-5.0, 5.0])[:, None, None]
    assert resampling.autocorrelation_time(apart) > 100  # chains that have not mixed
    mixed = np.concatenate([chains(0.0, 4, 1000), chains(0.9, 4, 1000)], axis=2)
    slow = resampling.autocorrelation_time(mixed)
    assert slow == pytest.approx(19, rel=0.3)  # the longest of the columns
    probability, time = resampling.flip_probability(mixed)
    assert time == slow and probability == pytest.approx(0.1 / (1 + slow))


def test_markov_signs():
    m, n, count, p = 3, 400, 500, 0.05
    signs = resampling.markov(m, n, p, count, rng())
    assert signs.shape == (m * n, count) and set(np.unique(signs)) == {-1, 1}
    each = signs.reshape(m, n, count).astype(float)
    assert abs(each.mean(axis=2)).max() < 6 / np.sqrt(count)
    flips = (each[:, 1:] != each[:, :-1]).mean()
    assert flips == pytest.approx(p, rel=0.05)
    # A chain begins anew: the first sign knows nothing of the last one before.
    join = (each[1:, 0] * each[:-1, -1]).mean()
    assert abs(join) < 0.15
    assert_array_equal(signs, resampling.markov(m, n, p, count, rng()))


def test_multinomial_counts():
    counts = resampling.multinomial(50, 400, rng())
    assert counts.shape == (50, 400) and (counts.sum(axis=0) == 0).all()
    assert counts.min() == -1
    assert counts.var() == pytest.approx(1 - 1 / 50, rel=0.1)


def test_p_values_count_the_observed_one():
    replicates = np.arange(99.0)
    assert resampling.p_value(1e3, replicates) == 0.01
    assert resampling.p_value(-1.0, replicates) == 1.0
    assert resampling.p_value(97.0, replicates) == 0.03
    # Replicates that are the statistic but for rounding count.
    same = np.full(9, 0.1) * (1 + 1e-15 * np.arange(-4, 5))
    assert resampling.p_value(0.1, same) == 1.0


def test_combined_is_the_smallest_of_weighted_ranks():
    random, weights = np.random.default_rng(0), np.array([0.5, 0.3, 0.2])
    replicates, statistics = random.normal(size=(3, 99)), np.array([1.5, 0.2, 2.4])
    statistic, null, own = resampling.combined(statistics, replicates, weights)
    for i in range(3):
        rank = 1 + (replicates[i] >= statistics[i]).sum()
        assert own[i] == pytest.approx(rank / 100)
    assert statistic == pytest.approx(-np.log((own / weights).min()))
    both = np.column_stack([statistics, replicates])
    ranks = np.array([[(r >= v).mean() for v in r] for r in both])
    assert_allclose(null, -np.log((ranks / weights[:, None]).min(axis=0))[1:])


def test_combined_keeps_the_level():
    """Of exchangeable columns, however they correlate: the share of p <= .05."""
    random, low = np.random.default_rng(1), 0
    mix = np.array([[1.0, 0, 0], [0.9, 0.4, 0], [0, 0, 1.0]])
    for _ in range(1000):
        both = mix @ random.normal(size=(3, 200))
        statistic, null, _ = resampling.combined(
            both[:, 0], both[:, 1:], np.full(3, 1 / 3)
        )
        low += resampling.p_value(statistic, null) <= 0.05
    assert 0.03 < low / 1000 < 0.07


def test_two_sample_signs():
    signs = mmd.permutations(5, 8, 300, rng())
    assert ((signs == 1).sum(axis=0) == 5).all()
    assert (signs == 1).mean(axis=1) == pytest.approx(5 / 13, abs=0.15)
    pairs = mmd.swaps(6, 40, rng())
    assert_array_equal(pairs[:6], -pairs[6:])
    assert_array_equal(mmd.group_signs(2, 3)[:, 0], [1, 1, -1, -1, -1])
