"""Streams: bins, cuts that do not matter, and what stands for all rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern._device import select
from gpkern.algorithms import stream
from gpkern.algorithms.stream import Rows, Stream
from gpkern.algorithms.thinning import Embedding
from gpkern.kernels import RBF

CPU, KERNEL = select("cpu"), RBF(1.5)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Of 256 rows."""
    monkeypatch.setattr(stream, "BLOCK_LEVELS", 4)


def embed(rows):
    return Embedding(KERNEL, KERNEL)


def sample(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 2))


def fed(X, cuts=(), weights=None, oversampling=2):
    out = Stream(oversampling, 0.5, 0)
    weights = np.ones(len(X)) if weights is None else weights
    for rows, w in zip(np.split(X, cuts), np.split(weights, cuts), strict=True):
        out.add(rows, w, embed, CPU)
    return out


def summary(found):
    return found.summary(embed, CPU, np.random.RandomState(1))


def distance(X, summarised, p=None):
    """MMD of what stands for a sample to it, by the definition."""
    p = np.full(len(X), 1 / len(X)) if p is None else p
    rows, weights = [X, summarised.rows.values], [-p, summarised.share]
    if summarised.anchors is not None:
        rows.append(summarised.anchors)
        weights.append(summarised.anchor_weights)
    w = np.concatenate(weights)
    return np.sqrt(max(0.0, w @ KERNEL(np.concatenate(rows)) @ w))


@pytest.mark.parametrize("n", [1, 255, 256, 257, 1023, 1024, 1100, 3000, 4096 + 77])
def test_what_is_kept(n):
    """No more than three bins of a level; rows are those of the stream."""
    X = sample(n)
    found = fed(X)
    assert found.n_seen == found.n_kept == n
    assert all(len(bins) < 4 for bins in found._levels)
    for level, bins in enumerate(found._levels):
        for some in bins:
            assert len(some) == 64 * 2**level
            assert_allclose(some.weights, 4 * 2**level)
    rows = summary(found).rows
    assert_array_equal(X[rows.numbers], rows.values)
    assert (np.diff(rows.numbers) > 0).all()
    assert rows.weights.sum() == pytest.approx(n, rel=0.1)
    if n < 256:
        assert_array_equal(rows.numbers, np.arange(n))


@pytest.mark.parametrize("weighted", [False, True])
def test_half(weighted):
    """Half of the weighted rows is nearer to them than random rows are."""
    X, found = sample(300), fed(sample(300))
    w = np.where(X[:, 0] > 0, 5.0, 1.0) if weighted else np.ones(300)
    p, K = w / w.sum(), KERNEL(X)
    errors = {"half": [], "random": []}
    for seed in range(20):
        state = np.random.RandomState(seed)
        half = found._half(Rows(X, np.arange(300), w), 300, state, CPU)
        assert len(half) == 150
        assert half.weights.sum() == pytest.approx(w.sum())
        for name, numbers in (
            ("half", half.numbers),
            ("random", state.choice(300, 150, p=p)),
        ):
            q = p.copy()
            np.subtract.at(q, numbers, 1 / 150)
            errors[name].append(q @ K @ q)
    assert np.mean(errors["half"]) < 0.25 * np.mean(errors["random"])


def test_memory_grows_as_the_root():
    kept = [len(summary(fed(sample(n))).rows) for n in (1024, 4096, 16_384)]
    assert kept == [4 * 32, 4 * 64, 4 * 128]


@pytest.mark.parametrize("weighted", [False, True])
def test_cuts_do_not_matter(weighted):
    X, rng = sample(2000), np.random.default_rng(0)
    w = rng.exponential(size=2000) if weighted else None
    whole = summary(fed(X, weights=w))
    for cuts in ([1, 2, 3, 700, 701, 1999], np.arange(1, 2000), [256, 512]):
        other = summary(fed(X, cuts, w))
        assert_array_equal(other.rows.numbers, whole.rows.numbers)
        assert_array_equal(other.rows.weights, whole.rows.weights)
        assert_allclose(other.anchor_weights, whole.anchor_weights, atol=1e-6)
        assert other.gap == pytest.approx(whole.gap)


def test_a_copy_goes_on_by_itself():
    X = sample(3000)
    first = fed(X[:1500])
    before = summary(first).rows.numbers
    second = first.copy()
    second.add(X[1500:], np.ones(1500), embed, CPU)
    assert_array_equal(summary(first).rows.numbers, before)
    first.add(X[1500:], np.ones(1500), embed, CPU)
    assert_array_equal(summary(first).rows.numbers, summary(second).rows.numbers)


def test_means_are_those_of_the_stream():
    X = sample(4096 + 77)
    found = summary(fed(X))
    operator = found.embedding.operator(found.rows.values, CPU)
    exact = KERNEL(found.rows.values, X).mean(axis=1)
    plain = KERNEL(found.rows.values) @ found.share
    assert abs(found.means(operator) - exact).max() < 0.05 * abs(plain - exact).max()


@pytest.mark.parametrize("count", [1, 512])
def test_the_gap_that_is_expected(count, monkeypatch):
    """That of one anchor is hardly less than without."""
    monkeypatch.setattr(stream.anchors, "COUNT", count)
    X = sample(6000)
    squares = []
    for seed in range(6):
        order = np.random.default_rng(seed).permutation(6000)
        found = summary(fed(X[order]))
        squares.append((found.gap**2, distance(X, found) ** 2))
    expected, seen = np.sqrt(np.mean(squares, axis=0))
    assert 0.5 < expected / seen < 2.0


@pytest.mark.parametrize("count, gain", [(1, 1.5), (512, 50)])
def test_better_than_random_rows(count, gain, monkeypatch):
    """By the halving alone, and much more with anchors."""
    monkeypatch.setattr(stream.anchors, "COUNT", count)
    X, found = sample(4000), []
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(4000)
        found.append(summary(fed(X[order])))
    chance = np.sqrt((1 - KERNEL(X).mean()) / len(found[0].rows))
    assert np.mean([distance(X, f) for f in found]) < chance / gain


@pytest.mark.parametrize("count, gain", [(1, 8), (512, 20)])
def test_weights(count, gain, monkeypatch):
    """A weighted stream stands for its weights, whatever their unit."""
    monkeypatch.setattr(stream.anchors, "COUNT", count)
    X = sample(3000)
    w = np.where(X[:, 0] > 0, 5.0, 1.0) * np.random.default_rng(0).exponential(
        size=3000
    )
    w[::7] = 0.0
    for unit in (1.0, 1e-6):
        found = summary(fed(X, [100, 1000], unit * w))
        assert not (found.rows.numbers % 7 == 0).any()
        weighted = distance(X, found, w / w.sum())
        assert weighted < distance(X, found) / gain
    repeated = summary(fed(X, weights=np.full(3000, 3.0)))
    assert_array_equal(repeated.rows.numbers, summary(fed(X)).rows.numbers)


def test_distance_of_a_coreset():
    X = sample(3000)
    found = summary(fed(X))
    chosen = np.arange(0, len(found.rows), 9)
    weights = np.full(len(chosen), 1 / len(chosen))
    p = np.full(3000, -1 / 3000)
    p[found.rows.numbers[chosen]] += weights
    exact = np.sqrt(p @ KERNEL(X) @ p)
    assert found.distance(chosen, weights, CPU) == pytest.approx(exact, rel=0.02)
