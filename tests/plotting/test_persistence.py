"""Merge trees of modes: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.datasets import make_blobs  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.mixture import GaussianMixture  # noqa: E402

from gpkern import KDEModeFinder, KernelDensity  # noqa: E402
from gpkern.plotting import PersistenceDisplay  # noqa: E402

X, _ = make_blobs([200, 150, 100], centers=[[0, 0], [4, 0], [0, 9]], random_state=0)


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def fitted(persistence=0.05, kde=0.7, **params):
    params = {"persistence": persistence, "random_state": 0} | params
    return KDEModeFinder(kde, **params).fit(X)


def draw(finder, **kwargs):
    return PersistenceDisplay.from_estimator(finder, **kwargs)


def bars(ax, label):
    """Foot and top of each bar, by the number of its mode where it has one."""
    (found,) = (c for c in ax.collections if str(c.get_label()).startswith(label))
    return np.array(found.get_segments())


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestPersistence:
    def test_bars_lead_from_modes_to_passes(self):
        finder = fitted()
        display = draw(finder)
        segments = bars(display.ax_, "modes")
        assert len(segments) == len(finder.modes_) >= 3
        assert_allclose(segments[:, 1, 1], finder.mode_log_density_)
        expected = finder.mode_log_density_[1:] + np.log1p(-finder.persistence_[1:])
        assert_allclose(segments[1:, 0, 1], expected)
        assert segments[0, 0, 1] == display.ax_.get_ylim()[0] < expected.min()
        assert display.ax_.get_ylabel() == "log density"
        assert display.figure_ is display.ax_.figure

    def test_bars_have_the_numbers_of_modes(self):
        finder = fitted()
        ax = draw(finder).ax_
        ticks = zip(ax.get_xticklabels(), ax.get_xticks(), strict=True)
        where = {label.get_text(): x for label, x in ticks}
        at = bars(ax, "modes")[:, 0, 0]
        assert where == {f"{k}": x for k, x in enumerate(at)}

    def test_merged_modes_are_apart(self):
        """What a finder has merged is what one that merges nothing keeps besides."""
        every, few = fitted(0.0, kde=0.4), fitted(0.3, kde=0.4)
        display = draw(few)
        number = len(every.modes_) - len(few.modes_)
        assert number > 0
        assert len(bars(display.ax_, "merged")) == number
        assert labels(display.ax_) == [
            "modes (persistence > 0.3)",
            "merged (persistence \u2264 0.3)",
        ]
        assert_allclose(display.log_density, every.mode_log_density_)
        assert_allclose(display.persistence, every.persistence_)
        kept = display.number >= 0
        assert_array_equal(kept, every.persistence_ > 0.3)
        assert labels(draw(every).ax_) == ["modes (persistence > 0)"]

    def test_the_near_mode_is_linked_to_its_neighbour(self):
        """Of three hills, the pass between two that are near is the highest."""
        finder = fitted(0.5, kde=1.0)
        order = [
            np.argmin(abs(finder.modes_ - c).sum(axis=1)) for c in ([0, 0], [4, 0])
        ]
        display = draw(finder)
        numbers = list(display.number)
        hill, near = (numbers.index(k) for k in order)
        assert display.parent[near] == hill
        links = display.ax_.collections[0].get_segments()
        assert len(links) == len(display.parent) - 1

    def test_no_line_crosses_a_bar(self):
        """For any tree in which a parent is denser and ends lower."""
        rng = np.random.default_rng(0)
        k = 40
        tops = np.sort(rng.uniform(5.0, 10.0, k))[::-1]
        feet, parent = np.zeros(k), np.zeros(k, int)
        for i in range(1, k):
            parent[i] = rng.choice(np.flatnonzero(feet[:i] < tops[i]))
            feet[i] = rng.uniform(feet[parent[i]], tops[i])
        persistence = -np.expm1(feet - tops)
        persistence[0] = 1.0
        display = PersistenceDisplay(tops, persistence, parent).plot()
        segments = bars(display.ax_, "modes")
        links = display.ax_.collections[0].get_segments()
        assert len(links) == k - 1
        for (left, y), (right, _) in links:
            assert left < right
            between = (segments[:, 0, 0] > left + 0.5) & (
                segments[:, 0, 0] < right - 0.5
            )
            assert (segments[between, 0, 1] > y - 1e-12).all()

    def test_without_links(self):
        display = PersistenceDisplay([0.0, -1.0], [1.0, 0.5]).plot()
        assert_array_equal(bars(display.ax_, "modes")[:, 0, 0], [0, 1])
        assert labels(display.ax_) == ["modes"]

    def test_most_persistent_modes_alone(self):
        finder = fitted(0.0, kde=0.3)
        display = draw(finder, max_modes=4)
        most = np.sort(np.argsort(-finder.persistence_, kind="stable")[:4])
        assert_array_equal(display.number, most)
        assert_allclose(
            bars(display.ax_, "modes")[:, 1, 1], finder.mode_log_density_[most]
        )
        assert set(display.parent) <= set(range(4))

    def test_hills_with_nothing_between(self):
        """The density is 0 on the way: bars to the bottom, and no lines."""
        finder = fitted(kde=1.5, kernel="epanechnikov")
        ax = draw(finder).ax_
        alone = finder.persistence_ == 1.0
        assert alone.sum() == 2
        feet = bars(ax, "modes")[:, 0, 1]
        assert_array_equal(feet[alone], ax.get_ylim()[0])

    def test_mixtures(self):
        mixture = GaussianMixture(3, random_state=0).fit(X)
        finder = KDEModeFinder(FrozenEstimator(mixture)).fit(X)
        segments = bars(draw(finder).ax_, "modes")
        assert_allclose(segments[:, 1, 1], mixture.score_samples(finder.modes_))

    def test_one_mode(self):
        display = draw(KDEModeFinder(5.0).fit(X))
        assert len(bars(display.ax_, "modes")) == 1

    def test_axes_and_options(self):
        _, ax = plt.subplots()
        display = draw(fitted(), ax=ax, color="red")
        assert display.ax_ is ax
        (found,) = (c for c in ax.collections if "modes" in str(c.get_label()))
        assert_array_equal(found.get_colors(), [[1, 0, 0, 1]])

    def test_errors(self):
        with pytest.raises(NotFittedError):
            draw(KDEModeFinder())
        with pytest.raises(TypeError, match="pass a fitted KDEModeFinder"):
            draw(KernelDensity().fit(X))
        with pytest.raises(ValueError, match="max_modes=0 must be a whole number"):
            draw(fitted(), max_modes=0)
