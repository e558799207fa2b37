"""`KDEModeFinder`: modes that are known, bounds that hold, labels by basins."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import MeanShift
from sklearn.datasets import load_digits, make_blobs
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity as Other
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KDEModeFinder, KernelDensity
from gpkern.kernels.density import DENSITY_KERNELS, GeneralizedGaussian

CENTERS = np.array([[0.0, 0.0, 0.0], [7.0, 0.0, 1.0], [0.0, 8.0, -2.0]])


@parametrize_with_checks([KDEModeFinder(), KDEModeFinder(1.0, assign="nearest")])
def test_common_checks(estimator, check):
    check(estimator)


@pytest.fixture
def blobs():
    return make_blobs(300, centers=CENTERS, random_state=0)


def climb(X, P, h, weights, steps=400):
    """Plain mean shift with a Gaussian kernel, by its definition."""
    for _ in range(steps):
        K = weights * np.exp(-0.5 * ((X[:, None] - P) ** 2).sum(axis=2) / h**2)
        X = K @ P / K.sum(axis=1, keepdims=True)
    return X


def test_modes_and_basins(blobs, asarray, host):
    """Those that plain mean shift of all rows ends at, and its labels."""
    X, _ = blobs
    weights = np.random.default_rng(0).uniform(0.5, 1.0, len(X))
    finder = KDEModeFinder(0.9, persistence=0.0, random_state=0)
    finder.fit(asarray(X), sample_weight=weights)
    ends = climb(X, X, 0.9, weights)
    modes = host(finder.modes_)
    distance = np.sqrt(((ends[:, None] - modes) ** 2).sum(axis=2))
    assert distance.min(axis=1).max() < 2e-2
    assert len(np.unique(distance.argmin(axis=1))) == len(modes)
    labels = host(finder.labels_)
    assert (labels == distance.argmin(axis=1)).mean() > 0.99
    assert_array_equal(host(finder.predict(asarray(X))), labels)
    shares = np.bincount(labels, weights) / weights.sum()
    assert_allclose(finder.basin_weight_, shares)


@pytest.mark.parametrize("name", DENSITY_KERNELS)
def test_every_kernel(name, blobs, asarray, host):
    """At each mode the density is a maximum, and nowhere above the bound."""
    X, _ = blobs
    h = 3.0 if DENSITY_KERNELS[name].is_compact else 0.9
    finder = KDEModeFinder(h, kernel=name, random_state=0).fit(asarray(X))
    modes = host(finder.modes_)
    density = KernelDensity(bandwidth=h, kernel=name).fit(X)
    assert_allclose(density.score_samples(modes), finder.mode_log_density_, rtol=1e-6)
    assert (np.diff(finder.mode_log_density_) <= 0).all()
    rng = np.random.default_rng(0)
    around = modes + 0.05 * h * rng.normal(size=(50, *modes.shape))
    lower = density.score_samples(around.reshape(-1, 3)).reshape(50, -1)
    slack = 1e-9 if name != "tophat" else 0.1  # the box kernel has plateaus
    assert (lower <= finder.mode_log_density_ + slack).all()
    if density.kernel_.is_smooth:
        assert (finder.mode_hessian_eigvals_ < 0).all()
        assert finder.mode_gradient_norm_.max() < 1e-5
    everywhere = np.vstack([X, modes, around.reshape(-1, 3)])
    assert density.score_samples(everywhere).max() <= finder.upper_bound_
    gap = finder.upper_bound_ - finder.mode_log_density_[0]
    assert finder.certified_gap_ == pytest.approx(gap)
    assert 0 <= gap < 2
    # The three blobs, by the largest modes.
    found = finder.basin_weight_ > 0.15
    assert found.sum() >= 3


@pytest.mark.parametrize("kernel", ["gaussian", "student-t", "tophat", "linear"])
def test_bound_in_two_columns(kernel):
    """Nearly attained: branch and bound goes on up to the tolerance."""
    X, _ = make_blobs(400, centers=CENTERS[:, :2], random_state=1)
    finder = KDEModeFinder(1.2, kernel=kernel, tolerance=0.01).fit(X)
    grid = np.stack(np.meshgrid(*[np.linspace(-4, 11, 200)] * 2), -1).reshape(-1, 2)
    density = KernelDensity(bandwidth=1.2, kernel=kernel).fit(X)
    densest = density.score_samples(grid).max()
    assert densest <= finder.upper_bound_
    if kernel != "tophat":
        assert finder.certified_gap_ < 0.02
        assert densest <= finder.mode_log_density_[0] + 1e-9


def test_strategies(blobs):
    X, _ = blobs
    wide, _ = make_blobs(900, 120, centers=5, random_state=0)
    for data, h, names in (
        (X, 1.0, ("full", "grid")),
        (wide, 6.0, ("full", "project")),
    ):
        best = [
            KDEModeFinder(h, strategy=s, random_state=0).fit(data).mode_log_density_[0]
            for s in names
        ]
        assert best[1] == pytest.approx(best[0], abs=1e-6)
    with pytest.raises(ValueError, match="up to 3 columns"):
        KDEModeFinder(1.0, strategy="grid").fit(wide)


@pytest.mark.parametrize("kernel", ["gaussian", "cauchy", "biweight", "logistic"])
def test_projections(kernel):
    """Of images, against a search in all columns."""
    X = load_digits().data[:700]
    h = 40.0 if kernel == "biweight" else 14.0
    options = {"kernel": kernel, "random_state": 0}
    full = KDEModeFinder(h, strategy="full", **options).fit(X)
    few = KDEModeFinder(h, strategy="project", n_projections=6, **options).fit(X)
    ratio = np.exp(few.mode_log_density_[0] - full.mode_log_density_[0])
    assert ratio > 0.98


def test_persistence():
    """Two bumps of one hill are one mode if so little is lost between them."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1.25, 1, 500), rng.normal(1.25, 1, 500)])[:, None]
    fine = KDEModeFinder(0.4, persistence=0.0, random_state=0).fit(x)
    density = KernelDensity(bandwidth=0.4).fit(x)
    line = np.linspace(-4, 4, 4001)
    heights = np.exp(density.score_samples(line[:, None]))
    # The definition, along the line: lost on the way to anything denser.
    for mode, lost in zip(fine.modes_[:, 0], fine.persistence_, strict=True):
        at = np.abs(line - mode).argmin()
        higher = np.flatnonzero(heights > heights[at] * (1 + 1e-7))
        higher = higher[np.abs(line[higher] - mode) > 0.05]
        if len(higher):
            left, right = higher[higher < at], higher[higher > at]
            ways = [heights[left.max() : at + 1].min()] if len(left) else []
            ways += [heights[at : right.min() + 1].min()] if len(right) else []
            assert lost == pytest.approx(1 - max(ways) / heights[at], abs=0.01)
    coarse = KDEModeFinder(0.4, persistence=0.9, random_state=0).fit(x)
    assert len(coarse.modes_) == 1 < len(fine.modes_)
    assert coarse.modes_[0] == pytest.approx(fine.modes_[0])
    assert set(coarse.labels_) == {0}


def test_saddles_are_no_modes():
    """A start between two modes, where mean shift would stay."""
    X = np.array([[-2.0, 0.0], [2.0, 0.0]])
    finder = KDEModeFinder(1.0, persistence=0.0, strategy="grid").fit(X)
    assert len(finder.modes_) == 2
    assert_allclose(np.sort(finder.modes_[:, 0]), [-1.998, 1.998], atol=0.01)


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_mixtures(covariance):
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(c, [1.0, 1.0, 3.0], (300, 3)) for c in CENTERS])
    mixture = GaussianMixture(3, covariance_type=covariance, random_state=0).fit(X)
    finder = KDEModeFinder(FrozenEstimator(mixture), random_state=0).fit(X)
    # Far apart: the modes are nearly the means.
    order = np.argsort(-mixture.score_samples(mixture.means_))
    assert_allclose(finder.modes_, mixture.means_[order], atol=0.2)
    assert_allclose(
        finder.mode_log_density_, mixture.score_samples(finder.modes_), rtol=1e-9
    )
    at_means = mixture.score_samples(mixture.means_[order])
    assert (finder.mode_log_density_ >= at_means - 1e-9).all()
    assert (finder.mode_hessian_eigvals_ < 0).all()
    assert finder.upper_bound_ >= finder.mode_log_density_[0]
    same = adjusted_rand_score(finder.labels_, mixture.predict(X))
    assert same > 0.95
    assert_array_equal(clone(finder).fit(X).labels_, finder.labels_)


def test_mixture_of_more_terms_than_modes():
    x = np.random.default_rng(0).normal(size=(800, 2))
    mixture = BayesianGaussianMixture(n_components=6, random_state=0, max_iter=500).fit(
        x
    )
    finder = KDEModeFinder(mixture, persistence=0.3, random_state=0).fit(x)
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 121)] * 2), -1).reshape(-1, 2)
    assert mixture.score_samples(grid).max() <= finder.mode_log_density_[0]


def test_against_mean_shift(blobs):
    X, y = blobs
    flat = MeanShift(bandwidth=3.0).fit(X)
    finder = KDEModeFinder(1.2, random_state=0).fit(X)
    ours = adjusted_rand_score(y, finder.labels_)
    assert ours >= adjusted_rand_score(y, flat.labels_) - 0.01
    assert ours > 0.95


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_far_from_zero(dtype, blobs):
    X, _ = blobs
    offset = 1e6 if dtype == np.float64 else 100.0
    here = KDEModeFinder(1.2, random_state=0).fit(X)
    there = KDEModeFinder(1.2, random_state=0).fit((X + offset).astype(dtype))
    assert_allclose(there.modes_ - offset, here.modes_, atol=1e-3)


def test_small_samples():
    one = KDEModeFinder(1.0).fit([[1.0, 2.0]])
    assert_allclose(one.modes_, [[1.0, 2.0]])
    assert one.certified_gap_ == pytest.approx(0.0, abs=1e-6)
    equal = KDEModeFinder(1.0).fit(np.ones((20, 2)))
    assert_allclose(equal.modes_, [[1.0, 1.0]])
    assert_array_equal(equal.labels_, 0)
    with pytest.raises(ValueError, match="two distinct rows"):
        KDEModeFinder().fit(np.ones((20, 2)))


def test_pickle_and_fit_predict(blobs):
    X, _ = blobs
    finder = KDEModeFinder(GeneralizedGaussianKDE, random_state=0)
    labels = finder.fit_predict(X)
    again = pickle.loads(pickle.dumps(finder))
    assert_array_equal(again.predict(X), labels)
    assert not hasattr(GeneralizedGaussianKDE, "bandwidth_")


GeneralizedGaussianKDE = KernelDensity(
    bandwidth=1.5, kernel=GeneralizedGaussian(power=2.0)
)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"kde": -1.0}, ValueError, "kde"),
        ({"kde": GaussianMixture(2)}, ValueError, "FrozenEstimator"),
        ({"kde": FrozenEstimator(GaussianMixture(2))}, ValueError, "not fitted"),
        ({"kde": Other().fit(np.ones((3, 3)))}, TypeError, "gpkern KernelDensity"),
        ({"kde": KernelDensity().fit(np.ones((3, 2)))}, None, None),
        (
            {"kde": FrozenEstimator(KernelDensity().fit(np.ones((3, 2))))},
            ValueError,
            "2",
        ),
        ({"kde": KernelDensity(metric="manhattan")}, ValueError, "euclidean"),
        ({"persistence": 1.0}, ValueError, "persistence"),
        ({"n_seeds": 0}, ValueError, "n_seeds"),
    ],
)
def test_bad_parameters(params, error, message, blobs):
    finder = KDEModeFinder(**params)
    if error is None:
        finder.fit(blobs[0])
        return
    with pytest.raises(error, match=message):
        finder.fit(blobs[0])
    assert not hasattr(finder, "modes_")


def test_parents_of_modes():
    """The denser mode across the highest pass; a chain of them ends at the first."""
    X, _ = make_blobs(600, centers=[[0, 0], [5, 0], [30, 0], [35, 1]], random_state=0)
    finder = KDEModeFinder(0.8, random_state=0).fit(X)
    assert len(finder.modes_) == 4
    left = finder.modes_[:, 0] < 15
    parent = finder.mode_parent_
    assert parent[0] == 0 and (parent[1:] < np.arange(1, 4)).all()
    near = [k for k in range(1, 4) if left[parent[k]] == left[k]]
    assert len(near) == 2  # and one goes across


def test_names_of_columns_give_no_warning():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(
        np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finder = KDEModeFinder(random_state=0).fit(X)
        assert finder.labels_.shape == (60,)
        assert np.array_equal(finder.predict(X), finder.labels_)
        assert finder.basin_weight_.sum() == pytest.approx(1.0)


def triangle(variance):
    """Equal spherical terms in the corners of a triangle around the origin."""
    mixture = GaussianMixture(3, covariance_type="spherical")
    turns = np.deg2rad([90.0, 210.0, 330.0])
    mixture.means_ = np.c_[np.cos(turns), np.sin(turns)]
    mixture.weights_ = np.full(3, 1 / 3)
    mixture.covariances_ = np.full(3, variance)
    mixture.precisions_ = 1.0 / mixture.covariances_
    mixture.precisions_cholesky_ = np.sqrt(mixture.precisions_)
    mixture.n_features_in_, mixture.converged_ = 2, True
    return mixture


@pytest.mark.parametrize(
    "variance, count, middle",
    [(0.3, 3, False), (0.49, 3, False), (0.51, 4, True), (0.6, 1, True)],
)
def test_mode_between_the_means(variance, count, middle):
    """The middle is a mode from a variance of 1/2 on, before the others are gone."""
    mixture = triangle(variance)
    finder = KDEModeFinder(mixture, persistence=0.0, random_state=0)
    finder.fit(mixture.means_)
    assert len(finder.modes_) == count
    assert (np.linalg.norm(finder.modes_, axis=1).min() < 1e-6) == middle
    assert 0.0 <= finder.certified_gap_ <= 0.011


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_bound_of_mixtures(d, covariance):
    """Close to the densest place, which may lie beyond the hull of the means."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, d)) * np.geomspace(1.0, 9.0, d) + rng.normal(size=(1, d))
    mixture = GaussianMixture(4, covariance_type=covariance, random_state=0).fit(X)
    finder = KDEModeFinder(mixture, random_state=0).fit(X)
    assert finder.certified_gap_ <= 0.02
    drawn, _ = mixture.sample(20_000)
    assert mixture.score_samples(drawn).max() <= finder.upper_bound_


def test_least_weight_of_modes():
    """Single rows far out are modes that persist: noise, where it is asked for."""
    X, y = make_blobs(400, centers=[[0, 0], [8, 0]], random_state=0)
    X = np.r_[X, [[40.0, 0.0], [0.0, 40.0]]]
    every = KDEModeFinder(0.8, random_state=0).fit(X)
    assert len(every.modes_) >= 4
    finder = KDEModeFinder(0.8, min_weight=0.05, random_state=0).fit(X)
    assert len(finder.modes_) == 2
    assert_array_equal(finder.labels_[-2:], [-1, -1])
    assert adjusted_rand_score(y, finder.labels_[:400]) > 0.95
    assert_array_equal(finder.predict(X), finder.labels_)
    assert_array_equal(
        finder.predict([[41.0, 1.0], [8.0, 0.0]]),
        [-1, finder.labels_[np.argmax(y == 1)]],
    )
    assert (finder.basin_weight_ > 0.4).all() and finder.basin_weight_.sum() < 1.0
    assert_array_equal(finder.mode_parent_, [0, 0])
    assert len(finder.persistence_) == len(finder.mode_log_density_) == 2
    with pytest.raises(ValueError, match="min_weight"):
        KDEModeFinder(0.8, min_weight=0.9, random_state=0).fit(X)


def test_warning_where_modes_are_missing():
    X = np.random.default_rng(0).normal(size=(1500, 3))
    with pytest.warns(UserWarning, match="larger n_seeds"):
        KDEModeFinder(0.1, n_seeds=50, random_state=0).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KDEModeFinder(0.1, n_seeds=1500, random_state=0).fit(X)
        KDEModeFinder(1.0, n_seeds=50, random_state=0).fit(X)


def test_kernel_of_a_density():
    X = np.random.default_rng(0).normal(size=(50, 2))
    for kde in (GaussianMixture(2).fit(X), KernelDensity()):
        with pytest.raises(ValueError, match="has its own"):
            KDEModeFinder(kde, kernel="tophat").fit(X)
