"""Displays of a density and its modes: what is drawn, not how it looks."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.datasets import make_blobs  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402

from gpkern import KDEModeFinder, KernelDensity  # noqa: E402
from gpkern.plotting import DensityModesDisplay  # noqa: E402

CENTERS = np.array([[0, 0, 0, 0], [9, 0, 5, 0], [0, 9, 0, 5]])
X, _ = make_blobs([120, 100, 80], centers=CENTERS, random_state=0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def fitted(X, **params):
    return KDEModeFinder(random_state=0, **params).fit(X)


def draw(finder, X, **kwargs):
    return DensityModesDisplay.from_estimator(finder, X, **kwargs)


def numbers(ax):
    return {text.get_text(): text.xy for text in ax.texts}


class TestTwoColumns:
    def test_what_is_drawn(self):
        X2 = X[:, :2]
        finder = fitted(X2)
        display = draw(finder, X2, n_grid=30)
        regions, rows, modes = display.ax_.collections
        assert_array_equal(rows.get_offsets(), X2)
        assert_array_equal(modes.get_offsets(), finder.modes_[::-1])
        for k, mode in enumerate(finder.modes_):
            assert_array_equal(numbers(display.ax_)[f"{k}"], mode)
        assert len(numbers(display.ax_)) == len(finder.modes_) == 3
        assert regions.levels[-1] > np.exp(finder.mode_log_density_[0]) * 0.9
        assert display.ax_.get_xlabel() == "column 0"
        assert display.ax_.get_ylabel() == "column 1"
        assert display.figure_ is display.ax_.figure

    def test_density_on_the_grid(self):
        finder = fitted(X[:, :2])
        display = draw(finder, X[:, :2], n_grid=12)
        for i, j in ((0, 0), (3, 8), (11, 5)):
            node = [[display.grid[0][i], display.grid[1][j]]]
            expected = np.exp(finder.kde_.score_samples(node)[0])
            assert display.density[i, j] == pytest.approx(expected)
        for axis, column in zip(display.grid, X.T, strict=False):
            assert axis[0] < column.min() and axis[-1] > column.max()

    def test_regions_hold_shares_of_the_rows(self):
        finder = fitted(X[:, :2])
        display = draw(finder, X[:, :2], n_grid=10, shares=(0.2, 0.5, 0.9))
        density = np.exp(finder.kde_.score_samples(X[:, :2]))
        levels = display.ax_.collections[0].levels[:-1]
        shares = [(density >= level * (1 - 1e-9)).mean() for level in levels]
        assert_allclose(shares, [0.9, 0.5, 0.2], atol=1e-12)
        _, bar = display.figure_.axes
        assert [t.get_text() for t in bar.get_yticklabels()] == ["90%", "50%", "20%"]

    def test_weights_count(self):
        """Rows of weight 2 are as rows that occur twice."""
        weights = np.where(X[:, 0] > 5, 2.0, 1.0)
        twice = np.repeat(X, weights.astype(int), axis=0)[:, :2]
        one = draw(KDEModeFinder(1.0, random_state=0).fit(twice), twice, n_grid=10)
        finder = KDEModeFinder(1.0, random_state=0).fit(X[:, :2], sample_weight=weights)
        other = draw(finder, X[:, :2], n_grid=10, sample_weight=weights)
        assert_allclose(
            other.ax_.collections[0].levels, one.ax_.collections[0].levels, rtol=1e-6
        )

    def test_equal_densities_are_one_region(self):
        rows = np.array([[0.0, 0.0]] * 50 + [[4.0, 4.0]] * 50)
        finder = fitted(rows, kde=0.5)
        levels = draw(finder, rows, n_grid=10).ax_.collections[0].levels
        assert (np.diff(levels) > 0).all()

    def test_columns_in_another_order(self):
        frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
        finder = fitted(frame)
        display = draw(finder, frame, features=["b", "a"], n_grid=10)
        assert display.ax_.get_xlabel() == "b" and display.ax_.get_ylabel() == "a"
        assert_array_equal(display.modes, finder.modes_[:, ::-1])
        straight = draw(finder, frame, n_grid=10)
        assert_array_equal(display.density, straight.density.T)

    def test_a_mixture(self):
        """Also of a data frame: names of columns are no matter of the grid."""
        frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
        mixture = GaussianMixture(3, random_state=0).fit(frame)
        finder = KDEModeFinder(FrozenEstimator(mixture)).fit(frame)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            display = draw(finder, frame, n_grid=10)
        node = [[display.grid[0][4], display.grid[1][2]]]
        frame = pd.DataFrame(node, columns=["a", "b"])
        expected = np.exp(mixture.score_samples(frame)[0])
        assert display.density[4, 2] == pytest.approx(expected)

    def test_axes_and_options(self):
        _, ax = plt.subplots()
        display = draw(
            fitted(X[:, :2]),
            X[:, :2],
            ax=ax,
            n_grid=10,
            max_points=100,
            colorbar=False,
            row_kwargs={"s": 1},
            mode_kwargs={"s": 99},
            density_kwargs={"cmap": "Greens"},
        )
        assert display.ax_ is ax and display.figure_.axes == [ax]
        _, rows, modes = ax.collections
        assert_array_equal(rows.get_offsets(), X[::3, :2])
        assert rows.get_sizes() == [1] and modes.get_sizes() == [99]


class TestOneColumn:
    def test_what_is_drawn(self):
        finder = fitted(X[:, :1])
        display = draw(finder, X[:, :1])
        (curve,), (marks,) = display.ax_.lines, display.ax_.collections
        x, y = curve.get_data()
        assert_allclose(y, np.exp(finder.kde_.score_samples(x[:, None])))
        ends = np.array(marks.get_segments())
        assert_array_equal(ends[:, 0, 0], finder.modes_[:, 0])
        assert_array_equal(ends[:, 0, 1], 0.0)
        assert_allclose(ends[:, 1, 1], np.exp(finder.mode_log_density_))
        assert display.ax_.get_ylabel() == "density"
        area = sum(p.get_width() * p.get_height() for p in display.ax_.patches)
        assert area == pytest.approx(1.0)

    def test_named(self):
        frame = pd.DataFrame({"age": X[:, 0]})
        assert draw(fitted(frame), frame, features="age").ax_.get_xlabel() == "age"


class TestManyColumns:
    def test_plane_of_principal_components(self):
        finder = fitted(X)
        display = draw(finder, X)
        plane = PCA(2).fit(X)
        rows, modes = display.ax_.collections
        found, expected = np.array(rows.get_offsets()), plane.transform(X)
        signs = np.sign((found * expected).sum(axis=0))
        assert_allclose(found, expected * signs, atol=1e-9)
        expected = plane.transform(finder.modes_)[::-1] * signs
        assert_allclose(modes.get_offsets(), expected, atol=1e-9)
        share = f"{plane.explained_variance_ratio_[0]:.0%}"
        assert display.ax_.get_xlabel() == (
            f"principal component 1 ({share} of the variance)"
        )

    def test_rows_have_the_colour_of_their_mode(self):
        finder = fitted(X)
        display = draw(finder, X)
        assert_array_equal(display.labels, finder.labels_)
        rows, modes = display.ax_.collections
        colours = modes.get_facecolors()[::-1, :3]
        assert len(np.unique(colours, axis=0)) == 3
        assert_array_equal(rows.get_facecolors()[:, :3], colours[finder.labels_])

    def test_chosen_columns(self):
        frame = pd.DataFrame(X, columns=list("abcd"))
        finder = fitted(frame)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            display = draw(finder, frame, features=(0, "d"), max_points=100)
        rows, modes = display.ax_.collections
        assert_array_equal(rows.get_offsets(), X[::3, [0, 3]])
        assert_array_equal(modes.get_offsets(), finder.modes_[::-1, [0, 3]])
        assert_array_equal(display.labels, finder.predict(frame)[::3])
        assert display.ax_.get_xlabel() == "a" and display.ax_.get_ylabel() == "d"

    def test_many_modes_are_not_numbered(self):
        modes = np.random.default_rng(0).normal(size=(30, 2))
        labels = np.arange(30)
        display = DensityModesDisplay(modes, modes, ["a", "b"], labels=labels).plot()
        assert set(numbers(display.ax_)) == {f"{k}" for k in range(9)}
        assert len(display.ax_.collections[1].get_offsets()) == 30


class TestErrors:
    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"features": (0, 7)}, "features: X has 4 columns, none of number 7"),
            ({"features": ["age", 0]}, "features: X has no column 'age'"),
            ({"features": 1}, "features=1 must be two of the 4 columns of X, or None"),
            ({"features": (1, 1)}, r"features=\(1, 1\) must be two of the 4 columns"),
            ({"n_grid": 1}, "n_grid=1 must be a whole number from 2 on"),
            ({"max_points": 0}, "max_points=0 must be a whole number from 1 on"),
            ({"sample_weight": [1.0]}, r"sample_weight has shape \(1,\), X has 300"),
        ],
    )
    def test_wrong_parameters(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            draw(fitted(X), X, **kwargs)

    def test_wrong_rows(self):
        finder = fitted(X[:, :1])
        with pytest.raises(ValueError, match="X has 4 columns, the finder was fitted"):
            draw(finder, X)
        with pytest.raises(ValueError, match=r"one column is X.reshape\(-1, 1\)"):
            draw(finder, X[:, 0])
        with pytest.raises(ValueError, match="must be the one column of X, or None"):
            draw(finder, X[:, :1], features=(0, 0))

    @pytest.mark.parametrize("shares", [(), (0.5, 1.0), (0.0,)])
    def test_wrong_shares(self, shares):
        with pytest.raises(ValueError, match=r"shares=.* must be between 0 and 1"):
            draw(fitted(X[:, :2]), X[:, :2], n_grid=5, shares=shares)

    def test_no_fitted_finder(self):
        with pytest.raises(NotFittedError):
            draw(KDEModeFinder(), X)
        for other in (KMeans(3), KernelDensity().fit(X)):
            with pytest.raises(TypeError, match="pass a fitted KDEModeFinder"):
                draw(other, X)
