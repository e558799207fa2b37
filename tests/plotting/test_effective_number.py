"""Displays of effective numbers of rows: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.neighbors import KernelDensity as SklearnKernelDensity

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import KernelDensity  # noqa: E402
from gpkern.plotting import EffectiveNumberDisplay  # noqa: E402

X = np.random.default_rng(0).normal(size=(500, 10))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(kde, *args, **kwargs):
    return EffectiveNumberDisplay.from_estimator(kde, *args, **kwargs)


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def counts(ax):
    return np.array([bar.get_height() for bar in ax.patches])


class TestEffectiveNumber:
    @pytest.mark.parametrize("rows", [None, X[:77]])
    def test_histogram(self, rows):
        kde = KernelDensity(bandwidth=0.7).fit(X)
        display = draw(kde, rows)
        number = kde.diagnose(rows).effective_number
        assert_array_equal(display.effective_number, number)
        ax = display.ax_
        assert counts(ax).sum() == len(number)
        edges = np.array([bar.get_x() for bar in ax.patches])
        assert edges[0] == pytest.approx(1.0)
        expected, _ = np.histogram(number, np.append(edges, number.max() * 1.01))
        assert_array_equal(counts(ax), expected)
        assert ax.get_xscale() == "log"
        (median,) = ax.lines
        assert median.get_xdata()[0] == pytest.approx(np.median(number))
        assert labels(ax) == [f"median: {np.median(number):.3g}"]
        assert display.figure_ is ax.figure

    def test_bandwidths_are_marked(self):
        kde = KernelDensity(bandwidth=0.7).fit(X)
        display, found = draw(kde), kde.diagnose()
        assert display.bandwidth == pytest.approx(0.7)
        strip = display.strip_ax_
        marks = [line.get_xdata()[0] for line in strip.lines]
        assert_array_equal(marks, [found.h_g, found.h_clt])
        (dot,) = (c for c in strip.collections if len(c.get_offsets()))
        assert dot.get_offsets()[0, 0] == pytest.approx(0.7)
        low, high = strip.get_xlim()
        assert low < min([*marks, 0.7]) and high > max([*marks, 0.7])

    def test_least_loss_in_many_columns(self):
        """In few it would be far too narrow a bandwidth."""
        many = np.random.default_rng(0).normal(size=(300, 25))
        kde = KernelDensity(bandwidth=1.0).fit(many)
        display, found = draw(kde), kde.diagnose()
        marks = [line.get_xdata()[0] for line in display.strip_ax_.lines]
        assert_array_equal(marks, [found.h_kl, found.h_g, found.h_clt])

    @pytest.mark.parametrize(
        "ratio, words",
        [
            (0.5, "the nearest rows decide each value"),
            (1.2, "a few rows weigh much in each value"),
            (3.0, "each value averages many rows"),
        ],
    )
    def test_title_tells_the_regime(self, ratio, words):
        h_g = KernelDensity(bandwidth=1.0).fit(X).diagnose().h_g
        display = draw(KernelDensity(bandwidth=ratio * h_g).fit(X))
        title = display.strip_ax_.get_title()
        assert title == f"h = {ratio:.3g} $h_G$: {words}"

    def test_bandwidths_of_columns(self):
        """Then all are in units of the present bandwidth."""
        kde = KernelDensity(bandwidth="silverman").fit(X)
        display, found = draw(kde), kde.diagnose()
        assert display.bandwidth == pytest.approx(1.0)
        assert display.h_g == found.h_g == pytest.approx(1.0 / found.ratio)

    def test_from_diagnosis(self):
        kde = KernelDensity(bandwidth=0.7).fit(X)
        _, ax = plt.subplots()
        display = EffectiveNumberDisplay.from_diagnosis(
            kde.diagnose(), ax=ax, color="red"
        )
        other = draw(kde)
        assert_array_equal(display.effective_number, other.effective_number)
        assert display.bandwidth == other.bandwidth and display.ax_ is ax
        assert ax.patches[0].get_facecolor()[:3] == (1.0, 0.0, 0.0)

    def test_kernels_that_end(self):
        """A value of no row has no place on a log axis: the legend tells of it."""
        kde = KernelDensity(kernel="tophat", bandwidth=2.0).fit(X)
        display = draw(kde)
        none = display.effective_number == 0
        assert 0 < none.sum() < len(X)
        assert counts(display.ax_).sum() == (~none).sum()
        assert f"of no row: {none.mean():.0%} of the values" in labels(display.ax_)
        alone = draw(KernelDensity(kernel="tophat", bandwidth=0.1).fit(X))
        assert labels(alone.ax_) == ["of no row: 100% of the values"]

    def test_a_single_row_has_no_strip(self):
        """Without a spread, there are no thresholds."""
        display = draw(KernelDensity(bandwidth=1.0).fit([[1.0, 1.0]]), [[1.0, 1.0]])
        assert display.strip_ax_ is None
        assert_array_equal(counts(display.ax_).sum(), 1)

    def test_errors(self):
        with pytest.raises(NotFittedError):
            draw(KernelDensity())
        with pytest.raises(TypeError, match="pass a fitted KernelDensity of gpkern"):
            draw(SklearnKernelDensity().fit(X))
        with pytest.raises(ValueError, match="10 features"):
            draw(KernelDensity().fit(X), X[:, :3])
