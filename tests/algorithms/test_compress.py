"""Compression of any number of rows, and coresets of any size."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpkern import KernelOperator
from gpkern.algorithms.compress import compress, standard, thin
from gpkern.algorithms.coresets import objective
from gpkern.algorithms.exchanges import exchange
from gpkern.algorithms.halving import split
from gpkern.kernels import RBF


def sample(n, d=2, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, d))
    kernel = RBF(np.sqrt(2 * d))
    op = KernelOperator(kernel, X)
    return X, op, op.row_sum() / n


def distance(op, mu, rows):
    """MMD to the whole sample, in float64."""
    weights = np.full(op.shape[0], -1.0 / op.shape[0])
    np.add.at(weights, rows, 1.0 / len(rows))
    return np.sqrt(max(0.0, weights @ (op @ weights)))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 100, 255, 1000, 4096])
@pytest.mark.parametrize("oversampling", [0, 2])
def test_any_number_of_rows(n, oversampling):
    _, op, _ = sample(n)
    order = np.random.default_rng(1).permutation(n)
    rows = compress(op, order, oversampling, 0.5, np.random.RandomState(0))
    assert len(np.unique(rows)) == len(rows) >= 1
    size = n if n <= 4**oversampling else 2**oversampling * np.sqrt(n)
    assert 0.4 < len(rows) / size < 2.1


def test_every_part_is_represented():
    """No rows are left out because of their number, as powers of four would have it."""
    X = np.linspace(0, 1, 1000)[:, None]
    op = KernelOperator(RBF(0.05), X)
    rows = compress(op, np.arange(1000), 1, 0.5, np.random.RandomState(0))
    counts, _ = np.histogram(X[rows], bins=8, range=(0, 1))
    assert counts.min() > 0.5 * len(rows) / 8


@pytest.mark.parametrize(
    "n, size", [(10, 10), (10, 9), (100, 33), (1000, 32), (999, 7)]
)
def test_any_size(n, size):
    _, op, mu = sample(n)
    rows = thin(op, op, np.arange(n), size, mu, 0.5, np.random.RandomState(0))
    assert len(rows) == len(np.unique(rows)) == size


def test_standard_thinning():
    assert_array_equal(standard(np.arange(10), 5), [0, 2, 4, 6, 8])
    assert_array_equal(standard(np.arange(7), 7), np.arange(7))
    for n, size in ((10, 3), (1000, 999), (17, 5)):
        rows = standard(np.arange(n), size)
        assert len(np.unique(rows)) == size


def test_far_better_than_random_rows():
    """1,024 rows to 32, exchanged: at least ten times nearer; compressed first too."""
    _, op, mu = sample(1024)
    order = np.arange(1024)
    random = [np.random.RandomState(s).choice(1024, 32, False) for s in range(20)]
    chance = np.mean([distance(op, mu, r) for r in random])
    found = {"split": [], "compress": []}
    for seed in range(5):
        state = np.random.RandomState(seed)
        rows = thin(op, op, order, 32, mu, 0.5, state)
        found["split"].append(distance(op, mu, exchange(op, rows, mu).rows))
        part = compress(op, order, 2, 0.5, state)
        rows = thin(op, op, part, 32, mu, 0.5, state)
        found["compress"].append(distance(op, mu, exchange(op, rows, mu).rows))
    for values in found.values():
        assert np.mean(values) < chance / 10


def test_rates():
    """The distance falls with the size far faster than 1 / sqrt(size)."""

    def error(n, seed):
        _, op, mu = sample(n)
        state = np.random.RandomState(seed)
        rows = thin(op, op, np.arange(n), int(np.sqrt(n)), mu, 0.5, state)
        return distance(op, mu, exchange(op, rows, mu).rows)

    sizes = [256, 1024, 4096]
    errors = [np.mean([error(n, seed) for seed in range(3)]) for n in sizes]
    slope = np.polyfit(np.log(sizes), np.log(errors), 1)[0]
    assert slope < -0.45  # random rows: -0.25


def test_split_kernel_counts():
    """Halving is by the kernel that it is given, not that of the comparison."""
    X = np.random.default_rng(0).normal(size=(512, 2))
    op, mu = KernelOperator(RBF(1.0), X), RBF(1.0)(X).mean(axis=1)

    def halves(kernel):
        seed = np.random.RandomState(0)
        return split(op.with_kernel(kernel), np.arange(512), 3, 0.5, seed)

    wide, narrow = halves(RBF(1.0)), halves(RBF(0.2))
    assert any(list(a) != list(b) for a, b in zip(wide, narrow, strict=True))
    for kernel, sets in ((RBF(1.0), wide), (RBF(0.2), narrow)):
        best = min(sets, key=lambda rows: objective(op, rows, mu))
        seed = np.random.RandomState(0)
        found = thin(op, op.with_kernel(kernel), np.arange(512), 64, mu, 0.5, seed)
        assert_array_equal(np.sort(found), np.sort(best))


def test_either_half():
    """Compress keeps the first and the second half alike: so errors cancel."""
    X = np.random.default_rng(0).normal(size=(4, 1))
    op = KernelOperator(RBF(1.0), X)
    kept = [
        tuple(np.sort(compress(op, np.arange(4), 0, 0.5, np.random.RandomState(s))))
        for s in range(200)
    ]
    # One level: one of each pair, and each row about half of the time.
    counts = np.bincount(np.concatenate(kept), minlength=4) / 200
    assert (abs(counts - 0.5) < 0.15).all()
