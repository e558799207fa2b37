"""Displays of contributions of columns: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import KSDTest, MMDTest  # noqa: E402
from gpkern.plotting import ContributionDisplay  # noqa: E402

X = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 1.5, 1.0]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def fitted(rows=X, **options):
    return KSDTest(lambda X: -X, n_resamples=50, random_state=0, **options).fit(rows)


def draw(test, **kwargs):
    return ContributionDisplay.from_estimator(test, **kwargs)


def bars(ax):
    return np.array([bar.get_width() for bar in ax.patches])


def names(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def marks(ax):
    (found,) = ax.collections
    return np.array([segment[0, 0] for segment in found.get_segments()])


def test_bars():
    test = fitted()
    display = draw(test)
    assert_array_equal(bars(display.ax_), test.coordinate_contributions())
    assert names(display.ax_) == ["column 0", "column 1", "column 2"]
    assert display.ax_.yaxis_inverted()
    assert bars(display.ax_).argmax() == 1
    assert_allclose(marks(display.ax_), display.expected)
    assert display.figure_ is display.ax_.figure


def test_names():
    pandas = pytest.importorskip("pandas")
    test = fitted(pandas.DataFrame(X, columns=["a", "b", "c"]))
    assert names(draw(test).ax_) == ["a", "b", "c"]
    assert names(draw(test, feature_names=["x", "y", "z"]).ax_) == ["x", "y", "z"]


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_expected_is_the_share_of_the_diagonal(kernel):
    """Pairs of a row with itself: the difference of the V- and the U-statistic."""
    test, n = fitted(kernel=kernel, statistic="u"), len(X)
    v = fitted(kernel=kernel, statistic="v").statistic_
    diagonal = v - test.statistic_ * (n - 1) / n
    assert_allclose(draw(test).expected.sum(), diagonal)


def test_expected_of_the_density_itself():
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(30):
        _, ax = plt.subplots()
        display = draw(fitted(rng.normal(size=(50, 2))), ax=ax)
        plt.close(ax.figure)
        ratios.append(display.contributions / display.expected)
    assert_allclose(np.mean(ratios, axis=0), 1.0, atol=0.3)


def test_largest_alone_in_their_order():
    test = fitted()
    display = draw(test, max_features=2)
    contributions = test.coordinate_contributions()
    most = np.sort(np.argsort(-contributions)[:2])
    assert_array_equal(bars(display.ax_), contributions[most])
    assert names(display.ax_) == [f"column {i}" for i in most]
    assert "2 of 3 columns" in display.ax_.get_xlabel()


def test_axes_and_options():
    _, ax = plt.subplots()
    display = ContributionDisplay([1.0, 2.0], ["a", "b"]).plot(ax, color="red")
    assert display.ax_ is ax
    assert not ax.collections
    assert_array_equal(ax.patches[0].get_facecolor(), [1, 0, 0, 1])


def test_errors():
    with pytest.raises(NotFittedError):
        draw(KSDTest(lambda X: -X))
    with pytest.raises(TypeError, match="pass a fitted KSDTest"):
        draw(MMDTest(n_resamples=50).fit(X, X + 1.0))
    with pytest.raises(ValueError, match="2 names for 3 columns"):
        draw(fitted(), feature_names=["a", "b"])
    with pytest.raises(ValueError, match="max_features=0 must be a whole number"):
        draw(fitted(), max_features=0)
    with pytest.raises(ValueError, match="1 names for 2 columns"):
        ContributionDisplay([1.0, 2.0], ["a"])
