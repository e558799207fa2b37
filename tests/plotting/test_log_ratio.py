"""Displays of learned log ratios: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import LearnedLikelihoodRatioTest, MMDTest  # noqa: E402
from gpkern.plotting import LogRatioDisplay  # noqa: E402

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(4000, 3)) * [1.0, 1.0, 100.0]
BATCH = RNG.normal(size=(300, 3)) * [1.0, 1.0, 100.0]
BATCH[:60] = RNG.normal([1.0, -1.0, 100.0], [0.2, 0.2, 20.0], size=(60, 3))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def fitted():
    test = LearnedLikelihoodRatioTest(n_toys=20, random_state=0)
    test.fit(REFERENCE, expected=300).test(BATCH)
    return test


def draw(test, batch=BATCH, *args, **kwargs):
    return LogRatioDisplay.from_estimator(test, batch, *args, **kwargs)


def test_map_is_the_ratio_of_the_two_columns(fitted):
    display = draw(fitted, n_bins=8)
    rows = REFERENCE[:, :2]
    (x, y), ratio = display.edges, display.log_ratio
    assert ratio.shape == (8, 8) and len(x) == len(y) == 9
    # Where the bump is; and opposite, where there is none.
    i, j = np.searchsorted(x, 1.0) - 1, np.searchsorted(y, -1.0) - 1
    assert ratio[i, j] > 0.3
    i, j = np.searchsorted(x, -1.0) - 1, np.searchsorted(y, 1.0) - 1
    assert ratio[i, j] < 0.2
    # One bin by its definition, over the rows that are tested against.
    kept = fitted._reference * fitted._units.spread + fitted._units.middle
    inside = (x[3] <= kept[:, 0]) & (kept[:, 0] < x[4])
    inside &= (y[4] <= kept[:, 1]) & (kept[:, 1] < y[5])
    mean = np.exp(fitted.score_samples(kept[inside])).mean()
    assert ratio[3, 4] == pytest.approx(np.log(mean))
    drawn = display.ax_.collections[0].get_array()
    assert_allclose(np.ma.filled(drawn, np.nan), ratio.T)
    assert rows.min() < x[0] and display.figure_ is display.ax_.figure


def test_expected_rows_are_what_was_learned(fitted):
    """Over all bins: the machine's ratios add up to about the rows of the batch."""
    display = draw(fitted, n_bins=5)
    ratios = np.exp(fitted.score_samples(REFERENCE))
    assert 300 * ratios.mean() == pytest.approx(300, rel=0.1)
    assert display.weight * len(display.reference) == pytest.approx(300)


def test_histograms_are_counts(fitted):
    display = draw(fitted, features=(0, 2), n_bins=10)
    top, side = display.histogram_axes_
    heights = np.array([bar.get_height() for bar in top.patches[:10]])
    counts, _ = np.histogram(display.reference[:, 0], display.edges[0])
    assert_allclose(heights, counts * display.weight)
    assert side.get_legend().get_title().get_text().startswith("z = ")
    assert display.ax_.get_ylabel() == "column 2"
    assert side.get_xlabel() == "rows"
    display.figure_.canvas.draw()  # with a layout that finds room for all axes


def test_another_reference_names_and_axes():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(REFERENCE, columns=["a", "b", "c"])
    batch = pandas.DataFrame(BATCH, columns=["a", "b", "c"])
    test = LearnedLikelihoodRatioTest(n_toys=20, random_state=0)
    test.fit(frame, expected=300).test(batch)
    _, ax = plt.subplots()
    display = draw(test, batch, frame[:2000], ["c", "a"], ax=ax, cmap="PiYG")
    assert display.ax_ is ax
    assert ax.get_xlabel() == "c" and ax.get_ylabel() == "a"
    assert_array_equal(display.reference, REFERENCE[:2000, [2, 0]])
    assert display.weight == 300 / 2000
    assert ax.collections[0].get_cmap().name == "PiYG"
    with pytest.raises(ValueError, match="batch: The feature names should match"):
        draw(test, batch[["c", "b", "a"]])
    named = draw(test, batch, feature_names=["x", "y", "z"])
    assert named.feature_names == ["x", "y"]


def test_bins_beyond_the_reference_are_those_of_the_batch(fitted):
    far = np.vstack([BATCH[:270], np.full((30, 3), [30.0, 30.0, 0.0])])
    fitted.test(far)
    display = draw(fitted, far)
    assert display.edges[0][-1] >= 29 and np.isnan(display.log_ratio[-1, 0])
    score = fitted.score_samples(far[-1:])[0]
    assert score > 0 and display.log_ratio[-1, -1] == pytest.approx(score)
    assert display.ax_.collections[0].get_clim()[1] >= score - 1e-9
    fitted.test(BATCH)


def test_colours_do_not_end_at_empty_bins(fitted):
    """The rim, where nothing is expected and nothing is, must not set the scale."""
    display = draw(fitted, n_bins=30)
    x, y = display.edges
    expected = display.weight * np.histogram2d(*display.reference.T, bins=(x, y))[0]
    there = np.histogram2d(*display.batch.T, bins=(x, y))[0]
    most = np.nanmax(abs(display.log_ratio[(expected >= 1) | (there > 0)]))
    assert display.ax_.collections[0].get_clim() == pytest.approx((-most, most))


def test_all_axes_stay_where_the_given_one_was(fitted):
    figure, ax = plt.subplots()
    place = ax.get_position()
    display = draw(fitted, ax=ax)
    figure.canvas.draw()
    for own in (ax, *display.histogram_axes_):
        box = own.get_position()
        assert box.x1 <= place.x1 + 1e-6 and box.y1 <= place.y1 + 1e-6


def test_errors(fitted):
    with pytest.raises(NotFittedError):
        draw(LearnedLikelihoodRatioTest())
    fresh = LearnedLikelihoodRatioTest(n_toys=5).fit(REFERENCE, expected=300)
    with pytest.raises(NotFittedError, match=r"test\(batch\)"):
        draw(fresh)
    with pytest.raises(TypeError, match="MMDTest has learned no log ratio"):
        draw(MMDTest())
    for other in (BATCH[:10], BATCH + 0.5):
        with pytest.raises(ValueError, match="is not the last one that was tested"):
            draw(fitted, other)
    with pytest.raises(ValueError, match=r"batch: X has 2 features.* expecting 3"):
        draw(fitted, BATCH[:, :2])
    with pytest.raises(ValueError, match="must be two columns"):
        draw(fitted, features=(1, 1))
    with pytest.raises(ValueError, match="none of number 3"):
        draw(fitted, features=(0, 3))
    with pytest.raises(ValueError, match="n_bins=1 must be"):
        draw(fitted, n_bins=1)
