"""Draws chosen by `SteinThinning`: against the density, for every kind of input."""

import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import SteinThinning
from gpkern.kernels import RBF, InverseMultiquadric, Laplacian, Matern


def towards_zero(X):
    """Scores of the standard normal distribution."""
    return -X


# Scores of the standard normal distribution; its name is the same in each process.
@parametrize_with_checks(
    [
        SteinThinning(3, target=np.negative),
        SteinThinning(
            0.5,
            target=np.negative,
            method="debiased",
            weights="simplex",
            random_state=0,
        ),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def half_shifted(n=2000, d=3, seed=0):
    """A normal sample of which every other row was moved, and its scores."""
    X = np.random.default_rng(seed).normal(size=(n, d))
    X[::2] += 3.0
    return X, -X


@pytest.mark.parametrize("method", ["greedy", "debiased"])
@pytest.mark.parametrize("seed", range(3))
def test_bias_is_removed(method, seed, asarray, host):
    X, S = half_shifted(seed=seed)
    model = SteinThinning(100, method=method, random_state=0)
    rows = host(model.fit(asarray(X), scores=asarray(S)).sample_indices_)
    assert len(rows) == 100
    assert (rows % 2 == 0).mean() <= 0.03
    assert_allclose(X[rows].mean(axis=0), 0.0, atol=0.03)
    assert_allclose(host(model.weights_), 0.01)


class Mixture:
    """Normal distributions, 0.3 : 0.5 : 0.2, with exact Gaussian kernel means."""

    centres = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 2.5]])
    shares = np.array([0.3, 0.5, 0.2])

    def parts(self, X):
        squares = ((X[:, None] - self.centres) ** 2).sum(-1)
        return self.shares * np.exp(-0.5 * squares)

    def scores(self, X):
        parts = self.parts(X)
        pulls = (parts[:, :, None] * (self.centres - X[:, None])).sum(axis=1)
        return pulls / parts.sum(axis=1)[:, None]

    def chain(self, n, seed):
        """A random walk that starts far off."""
        rng = np.random.default_rng(seed)
        steps, coins = 0.6 * rng.normal(size=(n, 1, 2)), rng.uniform(size=n)
        x, out = np.array([[-7.0, 5.0]]), np.empty((n, 2))
        for i in range(n):
            new = x + steps[i]
            if coins[i] * self.parts(x).sum() < self.parts(new).sum():
                x = new
            out[i] = x
        return out

    def distance(self, X, w, scale=1.5):
        """MMD of weighted points to the mixture."""
        pairs = ((self.centres[:, None] - self.centres) ** 2).sum(-1)
        own = self._mean(pairs, 2.0, scale) @ self.shares @ self.shares
        cross = self._mean(((X[:, None] - self.centres) ** 2).sum(-1), 1.0, scale)
        inner = w @ RBF(scale)(X) @ w
        return np.sqrt(inner - 2.0 * w @ cross @ self.shares + own)

    def _mean(self, squares, variance, scale):
        """Of a Gaussian kernel over a difference of this variance, in 2 dimensions."""
        total = scale**2 + variance
        return scale**2 / total * np.exp(-0.5 * squares / total)


@pytest.mark.slow
def test_debiased_is_nearest_to_the_density():
    """Of a chain with a burn-in: nearer than greedy and random draws, than all too."""
    target, n, m = Mixture(), 1200, 40
    far = {name: [] for name in ("greedy", "debiased", "random", "all", "weighted")}

    def note(name, X, rows=slice(None), w=None):
        w = np.full(len(X[rows]), 1 / len(X[rows])) if w is None else w
        far[name].append(target.distance(X[rows], w))

    for seed in range(5):
        X, rng = target.chain(n, seed), np.random.default_rng(seed)
        model = SteinThinning(m, target=target.scores, random_state=0).fit(X)
        note("greedy", X, model.sample_indices_)
        for coins in range(2):
            model.set_params(method="debiased", random_state=coins).fit(X)
            note("debiased", X, model.sample_indices_)
        note("all", X)
        note("weighted", X, w=model.debiased_weights_)
        for _ in range(5):
            note("random", X, rng.choice(n, m, False))
    far = {name: np.sqrt(np.mean(np.square(gaps))) for name, gaps in far.items()}
    assert far["debiased"] < 0.85 * min(far["greedy"], far["random"], far["all"])
    assert far["weighted"] < 0.85 * far["all"]


def test_first_draws_are_the_choice_of_fewer():
    X, S = half_shifted(500)
    many, few = (SteinThinning(m).fit(X, scores=S) for m in (60, 25))
    assert_array_equal(many.sample_indices_[:25], few.sample_indices_)
    assert_allclose(many.objective_path_[:25], few.objective_path_)
    assert few.ksd_**2 == pytest.approx(few.objective_path_[-1])
    assert few.debiased_weights_ is None


def discrepancy(model, X, S, rows, w):
    """KSD by the fitted kernel's own values."""
    K = model.kernel_(np.hstack([X / model.scale_, S * model.scale_])[rows])
    return np.sqrt(w @ K @ w)


@pytest.mark.parametrize("unique", [True, False])
def test_weights(unique):
    X, S = half_shifted(300, 2)
    X, S = np.vstack([X[:40], X]), np.vstack([S[:40], S])  # some draws stand twice
    options = {"method": "debiased", "unique": unique, "random_state": 0}
    models = [
        SteinThinning(20, weights=w, **options).fit(X, scores=S)
        for w in (None, "simplex", "sum-to-one")
    ]
    equal, simplex, affine = models
    for model in models:
        rows, w = model.sample_indices_, model.weights_
        assert_array_equal(rows, equal.sample_indices_)
        assert w.sum() == pytest.approx(1.0)
        assert model.ksd_ == pytest.approx(discrepancy(model, X, S, rows, w), abs=1e-7)
    assert (simplex.weights_ >= 0).all()
    assert affine.ksd_ <= simplex.ksd_ * (1 + 1e-6) < 0.97 * equal.ksd_


def test_repeated_draws_share_their_weight():
    X, S = half_shifted(40, 2)
    model = SteinThinning(30, weights="simplex").fit(X, scores=S)
    rows, w = model.sample_indices_, model.weights_
    assert len(np.unique(rows)) < 30
    for row in np.unique(rows):
        assert_allclose(w[rows == row], w[rows == row][0])
    assert w.sum() == pytest.approx(1.0)
    assert model.ksd_ == pytest.approx(discrepancy(model, X, S, rows, w), abs=1e-7)


def test_refine():
    X, S = half_shifted(400)
    plain, one, all_ = (
        SteinThinning(20, refine=r).fit(X, scores=S) for r in ("auto", 1, "converge")
    )
    assert all_.ksd_ <= one.ksd_ < 0.95 * plain.ksd_
    assert len(one.objective_path_) == 1 < len(all_.objective_path_)
    assert all_.ksd_**2 == pytest.approx(all_.objective_path_[-1])


class TestScaling:
    @pytest.mark.parametrize("method", ["greedy", "debiased"])
    def test_units_do_not_matter(self, method):
        X, S = half_shifted(300)
        units = np.array([1e-3, 1.0, 1e5])
        first, second = (
            SteinThinning(15, method=method, random_state=0).fit(x, scores=s)
            for x, s in ((X, S), (X * units + 7.0 * units, S / units))
        )
        assert_array_equal(first.sample_indices_, second.sample_indices_)
        assert second.ksd_ == pytest.approx(first.ksd_, rel=1e-6)
        assert_allclose(second.scale_, first.scale_ * units)

    def test_whitening_takes_correlations_away(self):
        X, S = half_shifted(300)
        A = np.array([[1.0, 0.0, 0.0], [5.0, 0.1, 0.0], [3.0, 2.0, 9.0]])
        first, second = (
            SteinThinning(15, standardize="whiten").fit(x, scores=s)
            for x, s in ((X, S), (X @ A.T, S @ np.linalg.inv(A)))
        )
        assert_array_equal(first.sample_indices_, second.sample_indices_)
        assert first.ksd_ == pytest.approx(second.ksd_, rel=1e-6)
        plain = SteinThinning(15).fit(X @ A.T, scores=S @ np.linalg.inv(A))
        assert not np.array_equal(plain.sample_indices_, first.sample_indices_)

    def test_constant_column(self):
        X, S = half_shifted(200)
        model = SteinThinning(9).fit(
            np.column_stack([X, np.full(200, 0.1)]),
            scores=np.column_stack([S, np.zeros(200)]),
        )
        assert (model.sample_indices_ % 2 == 0).mean() <= 0.12
        assert model.scale_[3] == 1.0

    def test_kernels(self):
        X, S = half_shifted(200)
        median = SteinThinning(9).fit(X, scores=S).kernel_
        assert median.n_features == 3
        assert type(median.base) is InverseMultiquadric
        for params, base in [
            ({"kernel": "rbf", "length_scale": 1.5}, RBF(1.5)),
            ({"kernel": Matern(2.0, nu=2.5)}, Matern(2.0, nu=2.5)),
            ({"kernel": RBF(2.0), "length_scale": 0.5}, RBF(0.5)),
            ({"kernel": "rbf"}, RBF(median.base.length_scale)),
            (
                {"length_scale": "scaled_median"},
                InverseMultiquadric(median.base.length_scale / np.sqrt(np.log(200))),
            ),
        ]:
            model = SteinThinning(9, **params).fit(X, scores=S)
            assert model.kernel_.base == base
            assert (model.sample_indices_ % 2 == 0).mean() <= 0.12


class TestRegularisation:
    def test_modes_of_low_density_are_left(self):
        """The scores of two modes are the same, their densities are not."""
        X = np.random.default_rng(0).normal(size=(400, 1))
        right = np.arange(400) % 2 == 0
        S, log_density = -X.copy(), -0.5 * X[:, 0] ** 2
        X[right] += 12.0
        log_density[right] -= 9.0
        plain = SteinThinning(40).fit(X, scores=S)
        assert 0.3 < right[plain.sample_indices_].mean() < 0.7
        for weight, most in ((0.0, 0.7), ("auto", 0.48), (1.0, 0.15), (10.0, 0.0)):
            model = SteinThinning(40, regularization=weight)
            model.fit(X, scores=S, log_density=log_density)
            assert right[model.sample_indices_].mean() <= most
            same = np.array_equal(model.sample_indices_, plain.sample_indices_)
            assert same == (weight == 0.0)
        auto, given = (
            SteinThinning(40, regularization=w).fit(
                X, scores=S, log_density=log_density
            )
            for w in ("auto", 1 / 40)
        )
        assert_array_equal(auto.sample_indices_, given.sample_indices_)

    def test_valleys_are_left(self):
        """Scores are zero between the modes too, where the curvature is positive."""
        rng = np.random.default_rng(0)
        X = 4.0 * np.where(rng.uniform(size=(400, 1)) < 0.5, -1.0, 1.0)
        X += rng.normal(size=X.shape)
        X[::8] = 0.01 * rng.normal(size=X[::8].shape)
        # log p(x) = log(exp(-(x - 4)^2 / 2) + exp(-(x + 4)^2 / 2))
        S, second = 4.0 * np.tanh(4.0 * X) - X, 16.0 / np.cosh(4.0 * X) ** 2 - 1.0
        valley = np.arange(400) % 8 == 0
        plain = SteinThinning(20).fit(X, scores=S)
        assert valley[plain.sample_indices_].sum() >= 3
        for units in (1.0, 100.0):
            model = SteinThinning(20).fit(
                X * units, scores=S / units, second_derivatives=second / units**2
            )
            assert not valley[model.sample_indices_].any()


def chains(seed=0):
    """Four chains of 50 draws of mu and theta[2], gradients, log densities."""
    rng = np.random.default_rng(seed)
    mu, theta = rng.normal(size=(4, 50)), rng.normal(size=(4, 50, 2))
    X = np.concatenate([mu[:, :, None], theta], axis=2)
    return mu, theta, X, -X, -0.5 * (X**2).sum(-1)


class Variable:
    """What of an xarray variable is asked for."""

    def __init__(self, values, dims):
        self.values, self.dims = np.asarray(values), tuple(dims)

    def transpose(self, *dims):
        rest = [d for d in self.dims if d not in dims]
        order = [*(d for d in dims if d is not ...), *rest]
        axes = [self.dims.index(d) for d in order]
        return Variable(self.values.transpose(axes), order)


class Dataset:
    """The same of a data set."""

    dims = ("chain", "draw")

    def __init__(self, **variables):
        self.data_vars = variables

    def __getitem__(self, name):
        if isinstance(name, list):
            return Dataset(**{n: self.data_vars[n] for n in name})
        return self.data_vars[name]


def variable(name, values):
    """A variable of chains and draws whose axes come in another order."""
    values = np.asarray(values)
    dims = ["chain", "draw", *(f"{name}_{i}" for i in range(values.ndim - 2))]
    return Variable(values.T, dims[::-1])


@pytest.fixture(params=["stand-in", "xarray"])
def tree(request):
    """Makes ArviZ data from groups of arrays; skipped without xarray."""
    if request.param == "stand-in":

        def make(**groups):
            groups = {
                name: Dataset(**{k: variable(k, v) for k, v in group.items()})
                for name, group in groups.items()
            }
            return SimpleNamespace(**groups)

        return make
    xarray = pytest.importorskip("xarray")

    def make_tree(**groups):
        def data(group):
            parts = {k: variable(k, v) for k, v in group.items()}
            return xarray.Dataset({k: (v.dims, v.values) for k, v in parts.items()})

        return xarray.DataTree.from_dict({k: data(v) for k, v in groups.items()})

    return make_tree


@pytest.fixture(scope="module")
def expected():
    """The choice of draws of all chains, as rows."""
    X, S = chains()[2:4]
    return SteinThinning(9).fit(X.reshape(200, 3), scores=S.reshape(200, 3))


class TestChains:
    def test_arrays(self, expected, asarray, host):
        X, S = map(asarray, chains()[2:4])
        model = SteinThinning(9).fit(X, scores=S)
        assert_array_equal(host(model.sample_indices_), expected.sample_indices_)
        assert model.n_features_in_ == 3
        model.fit(X.tolist(), scores=S.tolist())
        assert_array_equal(model.sample_indices_, expected.sample_indices_)
        chain, draw = divmod(expected.sample_indices_, 50)
        rows = SteinThinning(9).fit_resample(X, scores=S)
        assert_array_equal(host(rows), host(X)[chain, draw])

    @pytest.mark.filterwarnings("ignore:X has no unconstrained")
    def test_stored_gradients(self, expected, tree):
        mu, theta, X, S, log_density = chains()
        data = tree(
            posterior={"mu": mu, "theta": theta},
            sample_stats={"gradient": S, "lp": log_density, "to_mu": -mu, "t": -theta},
        )
        for scores in (None, "gradient", ["to_mu", "t"], S):
            model = SteinThinning(9).fit(data, scores=scores)
            assert_array_equal(model.sample_indices_, expected.sample_indices_)
        regularised = SteinThinning(9).fit(data, log_density="lp")
        other = SteinThinning(9).fit(X, scores=S, log_density=log_density)
        assert_array_equal(regularised.sample_indices_, other.sample_indices_)
        model = SteinThinning(9, target=towards_zero).fit(data)
        assert_array_equal(model.sample_indices_, expected.sample_indices_)

    def test_unconstrained_draws(self, expected, tree):
        """The gradients that samplers store are by these coordinates."""
        mu, theta, X, S, _ = chains()
        posterior = {"mu": np.exp(mu), "theta": theta, "derived": theta * 2}
        stats = {"gradient": S, "unconstrained_draw": X}
        for data in (
            tree(posterior=posterior, sample_stats=stats),
            tree(
                posterior=posterior,
                unconstrained_posterior={"mu": mu, "theta": theta},
                sample_stats={"grad": S},
            ),
        ):
            model = SteinThinning(9).fit(data)
            assert_array_equal(model.sample_indices_, expected.sample_indices_)
            assert model.n_features_in_ == 3

    def test_data_sets(self, expected, tree):
        mu, theta, _, S, _ = chains()
        data = tree(
            posterior={"mu": mu, "theta": theta, "derived": theta},
            sample_stats={"gradient": S},
            gradients={"mu": -mu, "theta": -theta},
        )
        X = getattr(data.posterior, "dataset", data.posterior)[["mu", "theta"]]
        for scores in (S, data.gradients, data.sample_stats["gradient"]):
            model = SteinThinning(9).fit(X, scores=scores)
            assert_array_equal(model.sample_indices_, expected.sample_indices_)

    def test_errors(self, tree):
        mu, theta, X, S, log_density = chains()
        posterior = {"mu": mu, "theta": theta}
        model = SteinThinning(9)
        with pytest.raises(ValueError, match=r"pass scores= .*none of the names grad"):
            model.fit(tree(posterior=posterior, sample_stats={"lp": log_density}))
        with pytest.raises(ValueError, match="pass scores= to fit"):
            model.fit(tree(posterior=posterior))
        with pytest.raises(ValueError, match="no variable 'slope', but lp"):
            data = tree(posterior=posterior, sample_stats={"lp": log_density})
            model.fit(data, scores="slope")
        with pytest.raises(ValueError, match="leave variables of ArviZ data out"):
            data = tree(
                posterior={**posterior, "more": mu}, sample_stats={"gradient": S}
            )
            model.fit(data)
        with pytest.raises(ValueError, match="scores='gradient' names a variable"):
            model.fit(X, scores="gradient")
        with pytest.raises(ValueError, match="chain and draw must be among them"):
            data = SimpleNamespace(posterior=Dataset(mu=Variable(mu[0], ["draw"])))
            model.fit(data, scores=S)


def test_resample():
    X, S = half_shifted(200)
    y = np.arange(200)
    model = SteinThinning(9)
    got, labels = model.fit_resample(X, y, scores=S)
    assert_array_equal(got, X[model.sample_indices_])
    assert_array_equal(labels, model.sample_indices_)
    assert_array_equal(model.fit_resample(X, scores=S), got)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    got, labels = model.fit_resample(frame, pd.Series(y), scores=pd.DataFrame(S))
    assert list(got.columns) == ["a", "b", "c"] == list(model.feature_names_in_)
    assert_array_equal(labels, model.sample_indices_)


@pytest.mark.parametrize("shape", [(200, 3), (4, 50, 3)])
def test_arrays_of_other_libraries(shape):
    xp = pytest.importorskip("array_api_strict")
    X, S = half_shifted(200)
    model = SteinThinning(9, method="debiased", random_state=0)
    expected = X[model.fit(X, scores=S).sample_indices_]
    X, S = xp.asarray(X.reshape(shape)), xp.asarray(S.reshape(shape))
    got, labels = model.fit_resample(X, xp.arange(200), scores=S)
    for array in (got, labels, model.weights_, model.scale_, model.debiased_weights_):
        assert isinstance(array, type(X))
    assert_array_equal(np.asarray(got), expected)
    model.set_params(target=towards_zero).fit(X)
    assert_array_equal(np.asarray(model.sample_indices_), np.asarray(labels))


def test_dtypes(asarray, host):
    X = np.round(10 * half_shifted(200)[0])
    expected = SteinThinning(9).fit(X, scores=-X / 100).sample_indices_
    for kind in (np.float32, np.int64):
        model = SteinThinning(9).fit(
            asarray(X.astype(kind)), scores=asarray((-X / 100).astype(np.float32))
        )
        assert_array_equal(host(model.sample_indices_), expected)
        assert host(model.weights_).dtype == np.float64


def test_the_same_seed_and_pickles():
    X, S = half_shifted(1200)
    model = SteinThinning(20, method="debiased", random_state=3).fit(X, scores=S)
    again = clone(model).fit(X, scores=S)
    assert_array_equal(model.sample_indices_, again.sample_indices_)
    loaded = pickle.loads(pickle.dumps(model))
    assert_array_equal(loaded.sample_indices_, model.sample_indices_)


@pytest.mark.parametrize("method", ["greedy", "debiased"])
class TestLittleData:
    @pytest.mark.parametrize("n", [1, 2])
    def test_few_draws(self, n, method):
        X, S = half_shifted(n)
        for size in range(1, n + 1):
            model = SteinThinning(size, method=method, length_scale="scaled_median")
            assert len(model.fit(X, scores=S).sample_indices_) == size

    @pytest.mark.parametrize("unique", [True, False])
    def test_one_point(self, method, unique):
        model = SteinThinning(4, method=method, unique=unique, weights="simplex")
        model.fit(np.ones((9, 2)), scores=np.ones((9, 2)))
        assert len(np.unique(model.sample_indices_)) == (4 if unique else 1)
        assert model.weights_.sum() == pytest.approx(1.0)

    def test_scores_of_zero(self, method):
        """A flat density: draws are spread."""
        X = np.random.default_rng(0).normal(size=(200, 1))
        model = SteinThinning(10, method=method, unique=True, random_state=0)
        rows = model.fit(X, scores=np.zeros_like(X)).sample_indices_
        assert np.ptp(X[rows]) > 0.9 * np.ptp(X)

    def test_huge_scores(self, method):
        """Draws with such scores are not chosen, and do no harm to the others."""
        X, S = half_shifted(300)
        S[0] = 1e200
        model = SteinThinning(
            9, method=method, length_scale=2.0, standardize=False, random_state=0
        )
        expected = clone(model).set_params(oversampling=4).fit(X[1:], scores=S[1:])
        model.set_params(oversampling=4).fit(X, scores=S)
        assert_array_equal(model.sample_indices_, expected.sample_indices_ + 1)


class TestErrors:
    @pytest.mark.parametrize(
        "params, message",
        [
            ({"n_samples": 51}, "n_samples=51 is more than X has: 50 samples"),
            ({"n_samples": 0}, "n_samples"),
            ({"n_samples": 1.0}, "n_samples"),
            ({"method": "best"}, "method"),
            ({"kernel": "cosine"}, "kernel"),
            ({"kernel": Laplacian()}, "kernel of the Euclidean distance"),
            ({"kernel": Matern(nu=0.5)}, "not smooth enough"),
            ({"kernel": RBF([1.0, 2.0])}, "one length scale for all columns"),
            ({"length_scale": 0.0}, "length_scale"),
            ({"length_scale": "mean"}, "length_scale"),
            ({"standardize": "scale"}, "standardize"),
            ({"regularization": -1.0}, "regularization"),
            ({"oversampling": -1}, "oversampling"),
            ({"refine": -1}, "refine"),
            ({"weights": "any"}, "weights"),
            ({"target": np.negative}, "scores and target both give the scores"),
        ],
        ids=str,
    )
    def test_parameters(self, params, message):
        X, S = half_shifted(50, 2)
        with pytest.raises(ValueError, match=message):
            SteinThinning(**params).fit(X, scores=S)

    @pytest.mark.parametrize(
        "change, message",
        [
            (lambda S: None, "pass scores= to fit, of the shape of X, or set target="),
            (lambda S: S[:-1], r"scores has shape \(49, 2\) and X has \(50, 2\)"),
            (lambda S: S[:, 0], r"scores has shape \(50,\) and X has \(50, 2\)"),
            (lambda S: S + 1j, "scores must hold real numbers, not complex128"),
            (lambda S: S.astype(str), "scores must hold real numbers"),
            (
                lambda S: np.where(np.arange(100).reshape(50, 2) % 21 == 2, np.inf, S),
                "scores contains NaN or infinity in 5 of 50 rows, the first of them "
                "row 1: leave these draws out",
            ),
            (lambda S: S * 1e200, "of 50 of 50 rows are so large"),
        ],
        ids=["none", "rows", "columns", "complex", "strings", "infinite", "huge"],
    )
    def test_scores(self, change, message):
        X, S = half_shifted(50, 2)
        model = SteinThinning(5)
        with pytest.raises(ValueError, match=message):
            model.fit(X, scores=change(S))
        assert vars(model) == vars(SteinThinning(5))

    def test_target(self):
        model = SteinThinning(5, target=lambda X: X[:, 0])
        with pytest.raises(ValueError, match="LogDensity"):
            model.fit(half_shifted(50)[0])

    def test_regularisers(self):
        X, S = half_shifted(50, 2)
        model = SteinThinning(5)
        with pytest.raises(ValueError, match=r"log_density has shape \(3,\)"):
            model.fit(X, scores=S, log_density=np.ones(3))
        with pytest.raises(ValueError, match="log_density contains NaN or infinity"):
            model.fit(X, scores=S, log_density=np.full(50, -np.inf))
        with pytest.raises(ValueError, match="second_derivatives has shape"):
            model.fit(X, scores=S, second_derivatives=np.ones(50))
        with pytest.raises(ValueError, match="belongs to the greedy choice alone"):
            model.set_params(method="debiased").fit(X, scores=S, log_density=S[:, 0])
        model.set_params(method="greedy", standardize="whiten")
        with pytest.raises(ValueError, match="'whiten' mixes"):
            model.fit(X, scores=S, second_derivatives=S)

    def test_signs(self):
        X, S = half_shifted(50, 2)
        with pytest.warns(UserWarning, match="passed with the other sign"):
            SteinThinning(5).fit(X, scores=-S)

    def test_singular(self):
        X, S = half_shifted(50, 2)
        with pytest.raises(ValueError, match="covariance of X is singular"):
            SteinThinning(5, standardize="whiten").fit(
                np.hstack([X, X]), scores=np.hstack([S, S])
            )


def test_chains_of_other_shapes():
    """Chains and draws the wrong way around, or flattened already."""
    X = np.random.default_rng(0).normal(size=(4, 50, 2))
    for scores in (-X.transpose(1, 0, 2), -X.reshape(200, 2)):
        with pytest.raises(ValueError, match="chains first"):
            SteinThinning(9).fit(X, scores=scores)
    with pytest.raises(ValueError, match="log_density has shape"):
        SteinThinning(9).fit(X, scores=-X, log_density=np.zeros((50, 4)))


def test_target_that_writes():
    """Into what it is given: the draws stay as they are."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    before = X.copy()

    def target(rows):
        rows *= -1.0
        return rows

    SteinThinning(9, target=target).fit(X)
    assert_array_equal(X, before)


def test_scores_by_names():
    """Of data frames: columns in another order, and rows of other labels."""
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(80, 3)), columns=list("abc")
    )
    scores = -frame * [1.0, 2.0, 3.0]
    expected = SteinThinning(9, random_state=0).fit(frame, scores=scores)
    model = SteinThinning(9, random_state=0).fit(frame, scores=scores[list("cab")])
    assert_array_equal(model.sample_indices_, expected.sample_indices_)
    assert model.ksd_ == pytest.approx(expected.ksd_)
    with pytest.raises(ValueError, match="row labels"):
        SteinThinning(9).fit(frame, scores=scores.sample(frac=1.0, random_state=0))
