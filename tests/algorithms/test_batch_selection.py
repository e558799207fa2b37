"""Rules of batch active learning against their definitions on dense matrices."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gpkern._device import select
from gpkern.algorithms import batch_selection as rules
from gpkern.algorithms import pool_rows
from gpkern.algorithms.pool_rows import FeatureRows, KernelRows
from gpkern.kernels import RBF
from gpkern.operator import make_operator

NOISE = 0.05
# Rows of the pool, training rows, columns, rows to choose.
SHAPES = [(30, 6, 3, 9), (17, 1, 5, 17), (12, 2, 2, 12), (1, 3, 2, 1), (40, 30, 8, 7)]
RULES = {
    "maxdiag": lambda rows, n, size, seeded: rules.maxdiag(rows, n, size),
    "maxdet": lambda rows, n, size, seeded: rules.maxdet(rows, n, size),
    "bait": lambda rows, n, size, seeded: rules.bait(rows, n, size, seed()),
    "bait-fb": lambda rows, n, size, seeded: rules.bait(rows, n, size, seed(), True),
    "maxdist": rules.maxdist,
    "lcmd": rules.lcmd,
    "kmeans++": lambda *args: rules.kmeans_plus_plus(*args, seed()),
    "frank-wolfe": rules.frank_wolfe,
}


def seed():
    return np.random.RandomState(3)


class Problem:
    """n rows of a pool and m training rows, with their dense matrix.

    Parameters
    ----------
    kind : {"kernel", "features"}
    """

    def __init__(self, kind, n, m, d, seed=0):
        rng = np.random.default_rng(seed)
        self.X = rng.normal(size=(n + m, d)) * rng.uniform(0.5, 2.0, size=(n + m, 1))
        self.kind, self.n, self.kernel = kind, n, 2.0 * RBF(1.5)
        self.K = self.kernel(self.X) if kind == "kernel" else self.X @ self.X.T

    def rows(self, device, columns=None):
        """Of the library, on a device."""
        device = select(device)
        X = device.put(self.X)
        if self.kind == "features":
            return FeatureRows(X, NOISE, device)
        op = make_operator(self.kernel, X, X[:columns], device, dtype=np.float64)
        square = make_operator(self.kernel, X, X, device, dtype=np.float64)
        return KernelRows(op, square.diagonal(), NOISE)


def given_rows(K, some):
    """Covariances given some rows with noise."""
    some = list(some)
    A = K[np.ix_(some, some)] + NOISE * np.eye(len(some))
    return K - K[:, some] @ np.linalg.solve(A, K[some])


def squares(K):
    v = np.diagonal(K)
    return v[:, None] + v - 2.0 * K


class ByDefinition:
    """Each rule as it is written, on the dense K; `centres` are training rows."""

    def __init__(self, K, n, size, seeded):
        self.K, self.n, self.size = K, n, size
        self.seeds = list(range(n, len(K))) if seeded else []

    def one_by_one(self, key):
        chosen = []
        for _ in range(self.size):
            values = np.array([key(chosen, j) for j in range(self.n)], float)
            values[chosen] = -np.inf
            chosen.append(int(values.argmax()))
        return chosen

    def maxdiag(self):
        return self.one_by_one(lambda chosen, j: self.K[j, j])

    def maxdet(self):
        def log_det(chosen, j):
            rows = [*chosen, j]
            A = self.K[np.ix_(rows, rows)] + NOISE * np.eye(len(rows))
            return np.linalg.slogdet(A)[1]

        return self.one_by_one(log_det)

    def bait(self):
        def left(chosen, j):
            return -np.trace(given_rows(self.K, [*chosen, j]))

        return self.one_by_one(left)

    def bait_fb(self):
        size, self.size = self.size, min(self.n, 2 * self.size)
        chosen = self.bait()
        while len(chosen) > size:
            left = [
                np.trace(given_rows(self.K, [*chosen[:i], *chosen[i + 1 :]]))
                for i in range(len(chosen))
            ]
            del chosen[int(np.argmin(left))]
        return chosen

    def maxdist(self):
        D = squares(self.K)

        def distance(chosen, j):
            centres = [*self.seeds, *chosen]
            return D[j, centres].min() if centres else self.K[j, j]

        return self.one_by_one(distance)

    def lcmd(self):
        D, chosen = squares(self.K), []
        for _ in range(self.size):
            centres = [*self.seeds, *chosen]
            if not centres:
                chosen.append(int(np.diagonal(self.K)[: self.n].argmax()))
                continue
            free = [j for j in range(self.n) if j not in chosen]
            cluster = {j: min(centres, key=lambda c: D[j, c]) for j in free}
            sums = {
                c: sum(D[j, c] for j in free if cluster[j] == c)
                for c in set(cluster.values())
            }
            largest = max(sums, key=sums.get)
            inside = [j for j in free if cluster[j] == largest]
            chosen.append(max(inside, key=lambda j: D[j, largest]))
        return chosen

    def kmeans(self):
        D, chosen = squares(self.K), []
        for tick in seed().random_sample(self.size):
            centres = [*self.seeds, *chosen]
            p = np.ones(self.n)
            if centres:
                p = D[: self.n, centres].min(axis=1)
            p[chosen] = 0.0
            chosen.append(int(np.searchsorted(np.cumsum(p / p.sum()), tick)))
        return chosen

    def frank_wolfe(self):
        """In coordinates of which K is the matrix of inner products."""
        values, Q = np.linalg.eigh(self.K)
        Phi = Q * np.sqrt(np.maximum(values, 0.0))
        lengths = np.linalg.norm(Phi, axis=1)
        some = slice(None) if self.seeds else slice(self.n)
        goal, radius = Phi[some].mean(axis=0), lengths[some].mean()
        here, chosen, self.path = np.zeros(len(self.K)), [], []
        if self.seeds:
            own = Phi[self.seeds].mean(axis=0)
            here = own * (own @ goal) / (own @ own)
        for _ in range(self.size):
            key = (Phi @ (goal - here))[: self.n] / lengths[: self.n]
            key[chosen] = -np.inf
            chosen.append(int(key.argmax()))
            step = radius * Phi[chosen[-1]] / lengths[chosen[-1]] - here
            here = here + np.clip(step @ (goal - here) / (step @ step), 0, 1) * step
            self.path.append(((goal - here) ** 2).sum())
        return chosen

    def __call__(self, method):
        name = {"kmeans++": "kmeans"}.get(method, method.replace("-", "_"))
        return getattr(self, name)()


@pytest.mark.parametrize("conditioned", [False, True])
@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.parametrize("kind", ["kernel", "features"])
@pytest.mark.parametrize("method", RULES)
def test_rules(method, kind, seeded, conditioned, device):
    for n, m, d, size in SHAPES:
        problem = Problem(kind, n, m, d)
        rows, K = problem.rows(device), problem.K
        if conditioned:
            rows.condition_on(n)
            K = given_rows(K, range(n, n + m))
        chosen, values = RULES[method](rows, n, size, seeded)
        reference = ByDefinition(K, n, size, seeded)
        assert_array_equal(chosen, reference(method))
        assert chosen.dtype == np.int64 and len(values) == size
        if method == "frank-wolfe":
            assert_allclose(values, reference.path, atol=1e-9)


@given(
    n=st.integers(1, 25),
    m=st.integers(0, 12),
    d=st.integers(1, 30),
    size=st.integers(1, 25),
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["kernel", "features"]),
    seeded=st.booleans(),
)
def test_each_row_is_the_best(n, m, d, size, seed, kind, seeded):
    """Of any shape, up to rounding: in few features all is known after some rows."""
    problem, size = Problem(kind, n, m, d, seed), min(n, size)
    K, seeds = problem.K, list(range(n, n + m)) if seeded else []
    D, tolerance = squares(K), 1e-9 * np.diagonal(K).sum()
    for method in ("maxdet", "bait", "maxdist", "lcmd"):
        chosen, _ = RULES[method](problem.rows("cpu"), n, size, bool(seeds))
        chosen = chosen.tolist()
        assert len(set(chosen)) == size
        for t, row in enumerate(chosen):
            before, free = chosen[:t], [j for j in range(n) if j not in chosen[:t]]
            centres = [*seeds, *before]
            if method in ("maxdet", "bait"):
                left = given_rows(K, before)
                key = np.diagonal(left)
                if method == "bait":
                    key = (left**2).sum(axis=1) / (key + NOISE)
            elif centres:
                key = D[:, centres].min(axis=1)
            else:
                key = np.diagonal(K)
            if method == "lcmd" and centres:
                cluster = D[:n, centres].argmin(axis=1)
                sums = np.bincount(cluster, key[:n], len(centres))
                assert sums[cluster[row]] >= sums.max() - tolerance
                free = [j for j in free if cluster[j] == cluster[row]]
            assert key[row] >= key[free].max() - tolerance


@pytest.mark.parametrize("method", ["lcmd", "maxdist", "kmeans++"])
def test_training_rows_that_are_no_columns(method, device):
    """As where they are: fewer kernel values."""
    problem = Problem("kernel", 50, 20, 3)
    few, all_ = (
        RULES[method](problem.rows(device, columns), 50, 15, True)
        for columns in (50, None)
    )
    assert_array_equal(few[0], all_[0])


@pytest.mark.parametrize("kind", ["kernel", "features"])
@pytest.mark.parametrize("method", ["lcmd", "maxdist", "kmeans++"])
def test_training_rows_in_blocks(method, kind, monkeypatch):
    problem = Problem(kind, 50, 20, 3)
    expected = RULES[method](problem.rows("cpu"), 50, 15, True)
    monkeypatch.setattr(rules, "BLOCK_VALUES", 150)
    got = RULES[method](problem.rows("cpu"), 50, 15, True)
    assert_array_equal(expected[0], got[0])


@pytest.mark.parametrize("kind", ["kernel", "features"])
def test_scores(kind, device):
    """What they are said to be."""
    n, size = 30, 8
    problem = Problem(kind, n, 5, 12)

    def run(method, seeded=False):
        return RULES[method](problem.rows(device), n, size, seeded)

    K = problem.K
    rows, values = run("maxdet")
    left = [given_rows(K, rows[:t])[rows[t], rows[t]] for t in range(size)]
    assert_allclose(values, left, rtol=1e-8)
    rows, values = run("bait")
    traces = [np.trace(given_rows(K, rows[:t])) for t in range(size + 1)]
    assert_allclose(values, -np.diff(traces), rtol=1e-6)
    for method, seeded in itertools.product(["lcmd", "maxdist", "kmeans++"], [0, 1]):
        rows, values = run(method, seeded)
        D, seeds = squares(K), list(range(n, n + 5)) if seeded else []
        for t in range(size):
            centres = [*seeds, *rows[:t]]
            near = D[rows[t], centres].min() if centres else K[rows[t], rows[t]]
            assert values[t] == pytest.approx(near)


@pytest.mark.parametrize("seeded", [False, True])
def test_frank_wolfe_never_steps_back(seeded):
    """Where all rows are taken, the last ones lead away from the mean: no step."""
    for number in range(6):
        problem = Problem("features", 13, 3, 4, number)
        rows, values = rules.frank_wolfe(problem.rows("cpu"), 13, 13, seeded)
        reference = ByDefinition(problem.K, 13, 13, seeded)
        assert_array_equal(rows, reference("frank-wolfe"))
        assert_allclose(values, reference.path, atol=1e-9)
        assert (np.diff(values) < 1e-12).all()


@pytest.mark.parametrize("kind", ["kernel", "features"])
def test_maxdet_of_training_rows(kind, device):
    """Conditioning at once is conditioning row by row (Holzmueller et al. 2023)."""
    problem = Problem(kind, 40, 12, 6)
    rows = problem.rows(device)
    rows.condition_on(40)
    at_once, _ = rules.maxdet(rows, 40, 15)
    rows = problem.rows(device)
    rows.reserve(12 + 15)
    for j in range(40, 52):
        rows.condition(j, rows.covariance(j))
    rows.reserve = lambda size: None  # there is room
    one_by_one, _ = rules.maxdet(rows, 40, 15)
    assert_array_equal(at_once, one_by_one)


@pytest.mark.parametrize("method", ["lcmd", "maxdist", "kmeans++"])
def test_features_far_from_the_origin(method, device):
    """Distances keep their digits."""
    problem = Problem("features", 60, 5, 12)
    expected = RULES[method](problem.rows(device), 60, 25, True)
    problem.X = problem.X + 1e6
    chosen, values = RULES[method](problem.rows(device), 60, 25, True)
    assert_array_equal(chosen, expected[0])
    assert_allclose(values, expected[1], rtol=1e-6)


@pytest.mark.parametrize("d", [3, 50])
@pytest.mark.parametrize("kind", ["kernel", "features"])
@pytest.mark.parametrize("method", ["lcmd", "maxdist", "kmeans++"])
def test_copies_come_last(method, kind, d, device):
    """Rows of a pool with copies, and with copies of training rows."""
    problem = Problem(kind, 40, 4, d)
    X = problem.X + 50.0  # where products of rows have few digits to spare
    X[20:36] = X[:16]
    X[36:40] = X[40:44]
    problem.X = X
    chosen, values = RULES[method](problem.rows(device), 40, 40, True)
    assert len(set(chosen.tolist())) == 40
    assert {int(j) % 20 for j in chosen[:20]} == set(range(20))
    assert (values[:20] > 0).all() and (values[20:] == 0).all()
    assert not set(chosen[:20].tolist()) & set(range(36, 40))


@pytest.mark.parametrize("kind", ["kernel", "features"])
@pytest.mark.parametrize("method", RULES)
def test_equal_rows(method, kind, device):
    problem = Problem(kind, 12, 3, 2)
    problem.X[:] = problem.X[0]
    for seeded in (False, True):
        chosen, _ = RULES[method](problem.rows(device), 12, 12, seeded)
        assert_array_equal(np.sort(chosen), np.arange(12))


@pytest.mark.parametrize("method", RULES)
def test_zero_features(method, device):
    problem = Problem("features", 9, 2, 2)
    problem.X[:] = 0.0
    problem.X[0] = 1.0
    for seeded in (False, True):
        chosen, _ = RULES[method](problem.rows(device), 9, 9, seeded)
        assert_array_equal(np.sort(chosen), np.arange(9))
        assert chosen[0] == 0 or method == "kmeans++"


def test_kmeans_plus_plus_draws_in_proportion():
    """Which row comes second, over many draws."""
    problem = Problem("kernel", 8, 2, 2)
    near = squares(problem.K)[:8, 8:].min(axis=1)
    rng, counts = np.random.RandomState(0), np.zeros(8)
    for _ in range(4000):
        counts[rules.kmeans_plus_plus(problem.rows("cpu"), 8, 1, True, rng)[0]] += 1
    expected = 4000 * near / near.sum()
    assert (abs(counts - expected) < 4.0 * np.sqrt(expected)).all()


def test_bait_of_many_rows_sums_over_some(monkeypatch):
    """Nearly as good as with all."""
    problem = Problem("kernel", 400, 20, 2)
    monkeypatch.setattr(pool_rows, "REFERENCE_ROWS", 150)
    some, _ = rules.bait(problem.rows("cpu"), 400, 20, seed())
    both, _ = rules.bait(problem.rows("cpu"), 400, 20, seed(), True)
    monkeypatch.undo()
    all_, _ = rules.bait(problem.rows("cpu"), 400, 20, seed())
    trace = np.trace(problem.K)
    gain = [trace - np.trace(given_rows(problem.K, r)) for r in (some, both, all_)]
    assert min(gain) > 0.99 * gain[2]
    assert len(set(both.tolist())) == 20


def test_backward_is_no_worse():
    problem = Problem("features", 200, 0, 30)
    left = []
    for backward in (False, True):
        rows, _ = rules.bait(problem.rows("cpu"), 200, 40, seed(), backward)
        left.append(np.trace(given_rows(problem.K, rows)))
    assert left[1] < left[0]


def test_noise_that_is_lost_in_rounding(device):
    problem = Problem("kernel", 5, 40, 1)
    problem.X[5:] = problem.X[5]
    rows = problem.rows(device)
    rows.noise = 1e-30
    with pytest.raises(ValueError, match="noise is so small"):
        rows.condition_on(5)
