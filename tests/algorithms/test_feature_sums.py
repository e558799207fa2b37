"""Tests of mean features against their definition over all pairs of rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import RandomSigns
from gpkern._device import select
from gpkern.algorithms import feature_sums
from gpkern.algorithms.feature_sums import (
    group_size,
    group_sums,
    scored_blocks,
    signed_test,
)


@pytest.fixture
def few_groups(monkeypatch):
    monkeypatch.setattr(feature_sums, "MOST_GROUPS", 8)


def by_pairs(F, labels, signs):
    """Mean of r_i r_j f_i . f_j over pairs of rows in different groups."""
    apart = labels[:, None] != labels
    values = (F @ F.T) * signs[:, None] * signs
    return values[apart].mean()


@pytest.mark.parametrize("n", [7, 16, 29])
@pytest.mark.parametrize("signs_at_a_time", [5, 1 << 22])
def test_statistic_and_replicates(
    few_groups, monkeypatch, device, asarray, n, signs_at_a_time
):
    monkeypatch.setattr(feature_sums, "SIGNS", signs_at_a_time)
    F = np.random.default_rng(0).normal(0.3, 1.0, size=(n, 3))
    size = group_size(n)
    labels = np.arange(n) // size
    sums = group_sums(asarray(F), size)
    blocks = [sums[:3], sums[3:]]
    rng = np.random.RandomState(1)
    got = signed_test(blocks, n, 3, 5, select(device), rng)
    signs = RandomSigns(labels[-1] + 1, 5, np.random.RandomState(1))
    signs = signs.rows(0, labels[-1] + 1, dtype=np.float64)[labels]
    assert_allclose(got[0], by_pairs(F, labels, np.ones(n)), rtol=1e-12)
    assert_allclose(got[1], [by_pairs(F, labels, s) for s in signs.T], rtol=1e-11)


@pytest.mark.parametrize("n", [5, 12, 13])
def test_group_sums(asarray, host, n):
    F = np.arange(2.0 * n).reshape(n, 2)
    want = [F[a : a + 4].sum(axis=0) for a in range(0, n, 4)]
    assert_array_equal(host(group_sums(asarray(F), 4)), want)


def test_blocks_hold_whole_groups(few_groups, device):
    X = np.arange(20.0)[:, None]
    order = np.random.default_rng(0).permutation(20)
    blocks = list(scored_blocks(X, -X, order, 7, select(device)))
    heights = [len(x) for x, _ in blocks]
    assert heights == [6, 6, 6, 2]  # of groups of 3
    got = np.concatenate([select(device).get(x) for x, _ in blocks])[:, 0]
    assert_array_equal(got, order)
    assert_array_equal(select(device).get(blocks[0][1])[:, 0], -order[:6])


def test_few_rows_are_not_grouped():
    assert group_size(300) == group_size(1 << 14) == 1
    assert group_size((1 << 14) + 1) == 2
