"""Random features of networks, and their parts, against their expected values."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import eval_hermitenorm

from gpkern.algorithms.activations import Activation
from gpkern.algorithms.sketches import (
    DENSE,
    Monomials,
    Place,
    PolynomialSketch,
    PowerSketch,
    Projection,
    Summed,
    divided,
)
from gpkern.algorithms.tangent_features import (
    Network,
    RandomNetwork,
    nonnegative_series,
)

ACTIVATIONS = ["relu", "leaky_relu", "erf", "gelu"]
SLOPE = 0.2

# Standard normal numbers, and the share of the distribution at each. None is at the
# kink of a rectifier.
GRID = np.linspace(-12.0, 12.0, 48_000)
SHARES = np.exp(-0.5 * GRID**2) / np.exp(-0.5 * GRID**2).sum()


@pytest.fixture
def place(xp):
    return Place(xp, np.float64)


def rows(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def mean_gram(make, X, place, count):
    """Mean Gram matrix of so many draws of features, and its standard error."""
    grams = []
    for seed in range(count):
        F = make(np.random.RandomState(seed))(place.xp.asarray(X), place)
        grams.append(F @ F.T)
    grams = np.array([g.get() if hasattr(g, "get") else g for g in grams])
    return grams.mean(axis=0), grams.std(axis=0) / math.sqrt(count)


def assert_mean(make, X, place, expected, count=200):
    mean, error = mean_gram(make, X, place, count)
    # Some 50 entries, so that 5 standard errors are exceeded by none. Where they are a
    # millionth they come from a few rare directions, and are not known themselves.
    slack = 5.0 * error + 1e-6 * abs(expected).max()
    assert (abs(mean - expected) <= slack).all()
    return error


# -------------------------------------------------------------------- activations


@pytest.mark.parametrize("q", [1e-4, 0.7, 30.0])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_means_of_derivatives(name, q):
    """By Stein's lemma: q^(k/2) E a^(k)(u) = E a(u) He_k(u / sqrt q)."""
    activation = Activation(name, SLOPE)
    values = activation.value(math.sqrt(q) * GRID, np)
    for k in range(7):
        expected = (values * eval_hermitenorm(k, GRID)) @ SHARES
        got = activation.mean(k, q) * (math.sqrt(q) if k else 1.0)
        size = math.sqrt(values**2 @ SHARES)
        assert got == pytest.approx(expected, abs=1e-6 * size * math.factorial(k))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivative(name):
    u = rows(50, 4)
    activation = Activation(name, SLOPE)
    apart = activation.value(u + 1e-6, np) - activation.value(u - 1e-6, np)
    assert_allclose(apart / 2e-6, activation.derivative(u, np), atol=1e-8)


@pytest.mark.parametrize("degrees", [(), (0,), (0, 1), (1,), (0, 1, 2), (0, 1, 2, 4)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_rests(name, degrees, xp, host):
    """They have nothing of the degrees that were taken away, and all of the others."""
    activation, q = Activation(name, SLOPE), 0.6
    u, one = xp.asarray(math.sqrt(q) * GRID[None]), xp.full((1, 1), q)
    rest = host(activation.rest(u, one, degrees, xp))[0]
    slope = host(activation.rest_of_derivative(u, one, degrees, xp))[0]
    values = activation.value(math.sqrt(q) * GRID, np)
    for k in range(6):
        H = eval_hermitenorm(k, GRID)
        before = 0.0 if k in degrees else (values * H) @ SHARES
        assert (rest * H) @ SHARES == pytest.approx(before, abs=1e-5)
        if k:
            lower = eval_hermitenorm(k - 1, GRID)
            got = math.sqrt(q) * (slope * lower) @ SHARES
            assert got == pytest.approx(before, abs=1e-3)  # of a jump, by a grid


# ----------------------------------------------------------------------- sketches


@pytest.mark.parametrize("normal", [False, True])
@pytest.mark.parametrize("p", [1, 7, 289])  # 289 is 17^2: nothing is filled up
def test_directions_are_orthogonal(p, normal, place, host):
    m = 2 * p + p // 2
    projection = Projection(p, m, np.random.RandomState(0), normal)
    assert projection.dense == (p <= DENSE)
    W = host(projection(place.xp.eye(p), place))
    assert W.shape == (p, m)
    lengths = np.sqrt((W**2).sum(axis=0))
    if not normal:
        assert_allclose(lengths, math.sqrt(p))
    for block in (slice(p), slice(p, 2 * p), slice(2 * p, m)):
        part = W[:, block] / lengths[block]
        assert_allclose(part.T @ part, np.eye(part.shape[1]), atol=1e-12)


@pytest.mark.parametrize("p", [3, 300])
def test_directions_are_normal(p, place, host):
    m = 20 * p if p > DENSE else 6000
    W = host(Projection(p, m, np.random.RandomState(0), True)(place.xp.eye(p), place))
    assert_allclose((W**2).sum() / W.size, 1.0, rtol=1e-2)
    for k, moment in ((2, 1.0), (4, 3.0), (6, 15.0)):
        assert (W**k).mean() == pytest.approx(moment, rel=0.1)
    # Along any other direction too.
    along = rows(1, p)[0] @ W / np.linalg.norm(rows(1, p)[0])
    assert (along**4).mean() == pytest.approx(3.0, rel=0.2)


def test_projections_keep_products_on_average(place):
    X = rows(5, 270)
    assert_mean(
        lambda rng: scaled(Projection(270, 40, rng, False), 40**-0.5),
        X,
        place,
        X @ X.T,
    )


def scaled(function, size):
    return lambda X, place: function(X, place) * size


@pytest.mark.parametrize("p", [1, 2, 5])
def test_monomials(p, place, host):
    X = rows(6, p)
    powers = Monomials(p, 4)(place.xp.asarray(X), place)
    for k, U in enumerate(powers):
        assert U.shape == (6, Monomials.count(p, k))
        assert_allclose(host(U @ U.T), (X @ X.T) ** k, atol=1e-12)


def test_powers_on_average(place):
    X = rows(4, 3)
    X /= np.linalg.norm(X, axis=1, keepdims=True)

    class Last:
        """The fifth power from exact squares."""

        def __init__(self, rng):
            self.low = Monomials(3, 2)
            self.high = PowerSketch(3, 2, 6, 5, 30, rng)

        def __call__(self, X, place):
            *_, U = self.high(self.low(X, place)[-1], X, place)
            return U

    assert_mean(Last, X, place, (X @ X.T) ** 5, count=400)


@pytest.mark.parametrize("total", [3, 10, 11, 1000])
def test_division(total):
    assert divided(total, [[1.0]]) == [(total,)]
    counts = [v for row in divided(total, [[1.0], [5.0], [1e-9]]) for v in row]
    assert sum(counts) == total and min(counts) >= 1
    assert abs(counts[1] - 5 * counts[0]) <= 5
    assert divided(8, [[0.0, 0.0], [0.0, 0.0]]) == [(2, 2), (2, 2)]


# ------------------------------------------------------------------------ networks


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_layer_is_unbiased(activation, bias, kind, place):
    network = Network(1, activation, 1.7, bias, kind, SLOPE)
    X = rows(6, 3) * [[0.1], [0.5], [1.0], [1.0], [2.0], [5.0]]
    X[4] = -X[3]
    K = network.kernel(X)
    for m in (6, 25):  # with few exact terms, and with more
        error = assert_mean(
            lambda rng, m=m: RandomNetwork(3, m, network, rng), X, place, K
        )
    assert error.max() < 0.1 * K.max()  # the test has power


@pytest.mark.parametrize("depth", [2, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_deep_networks_are_nearly_unbiased(activation, depth, place):
    network = Network(depth, activation, 1.7, 0.2, "ntk", SLOPE)
    X = rows(6, 3)
    K = network.kernel(X)
    mean, error = mean_gram(
        lambda rng: RandomNetwork(3, 200, network, rng), X, place, 100
    )
    # The covariances of a layer are means of 200 directions, in which later ones are
    # not linear: a bias of the order of 1 / 200.
    assert (abs(mean - K) < 5 * error + 0.01 * K.max()).all()


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_terms_without_chance(kind, place, host):
    """Only the rest depends on the seed, so that hardly anything is left of it."""
    network = Network(1, "gelu", 1.0, 0.1, kind)
    X = 0.1 * rows(8, 2)  # of these nearly all is in the low degrees
    features = RandomNetwork(2, 40, network, np.random.RandomState(0))
    assert set(features.degrees) >= {0, 1, 2}
    F = host(features(place.xp.asarray(X), place))
    K = network.kernel(X)
    assert_allclose(F @ F.T, K, rtol=0, atol=1e-3 * K.max())


def test_degrees_follow_the_columns():
    def degrees(d, m, activation="relu"):
        network = Network(1, activation, 1.0, 0.0, "ntk")
        return RandomNetwork(d, m, network, np.random.RandomState(0)).degrees

    assert degrees(10, 6) == (0,)
    assert degrees(10, 40) == (0, 1)
    assert degrees(10, 256) == (0, 1, 2)
    assert degrees(1000, 256) == (0,)
    assert degrees(10, 256, "erf")[0] == 1  # which has no even ones
    assert 4 in degrees(3, 256)


def test_every_column_counts(place):
    for depth in (1, 2, 4):
        for kind in ("ntk", "nngp"):
            for m in (16, 61, 300):
                network = Network(depth, "relu", 2.0, 0.1, kind)
                features = RandomNetwork(5, m, network, np.random.RandomState(0))
                F = features(place.xp.asarray(rows(30, 5)), place)
                assert F.shape == (30, m)
                assert (abs(F).max(axis=0) > 0).all()


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("depth", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_fewer_columns_than_parts(depth, kind, place):
    """Random sums of the parts, which are right on average too."""
    network = Network(depth, "relu", 2.0, 0.1, kind)
    least = RandomNetwork.least(network)
    with pytest.raises(ValueError, match=f"at least {least} columns"):
        RandomNetwork(3, least - 1, network, np.random.RandomState(0))
    X, K = rows(3, 3), network.kernel(rows(3, 3))

    def make(rng):
        return Summed(RandomNetwork(3, 100, network, rng), 100, 2, rng)

    assert make(np.random.RandomState(0))(place.xp.asarray(X), place).shape == (3, 2)
    mean, error = mean_gram(make, X, place, 400)
    assert (abs(mean - K) < 5 * error + 0.02 * K.max()).all()


# --------------------------------------------------------------------- polynomials


@pytest.mark.parametrize(
    ("depth", "degree", "bound"), [(1, 4, 0.03), (1, 16, 0.012), (3, 16, 0.05)]
)
def test_series(depth, degree, bound):
    network = Network(depth, "relu", 2.0, 0.0, "ntk")
    c = nonnegative_series(network, degree)
    assert (c >= 0).all()
    x = np.array([[1.0, 0.0]])
    angles = np.linspace(0, np.pi, 77)
    Z = 3.0 * np.column_stack([np.cos(angles), np.sin(angles)])
    got = 3.0 * np.polyval(c[::-1], np.cos(angles)) / 2
    expected = network.kernel(x, Z)[0]
    assert abs(got - expected).max() < bound * expected.max()


@pytest.mark.parametrize(("d", "m"), [(3, 12), (3, 30), (20, 60), (2, 200)])
def test_polynomials_on_average(d, m, place):
    c = np.array([0.5, 1.0, 0.7, 0.0, 0.4, 0.2])
    X = rows(5, d) * [[0.1], [1.0], [1.0], [3.0], [0.0]]
    norms = np.linalg.norm(X, axis=1)
    scale = norms[:, None] * norms
    cosines = X @ X.T / np.where(scale > 0, scale, 1.0)
    expected = scale * np.polyval(c[::-1], cosines)
    error = assert_mean(
        lambda rng: PolynomialSketch(d, m, c, rng), X, place, expected, count=400
    )
    sketch = PolynomialSketch(d, m, c, np.random.RandomState(0))
    if m == 200:
        assert sketch.exact == [0, 1, 2, 4, 5]
        assert_array_equal(sketch.shares, {})
        assert error.max() < 1e-12
    else:
        assert sketch.shares
