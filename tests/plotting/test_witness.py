"""Displays of witnesses: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.quiver import Quiver  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import FSSDTest, KSDTest, MMDTest  # noqa: E402
from gpkern.plotting import WitnessDisplay  # noqa: E402

RNG = np.random.default_rng(0)
X, Y = RNG.normal([1.0, 0.0], size=(150, 2)), RNG.normal(size=(200, 2))
WIDE = RNG.normal([0.0, 0.0, 1.0, 3.0], size=(150, 4))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def stein(rows=X):
    return KSDTest(lambda X: -X, n_resamples=50, random_state=0).fit(rows)


def two_samples(first=X, second=Y, **options):
    return MMDTest(n_resamples=50, random_state=0, **options).fit(first, second)


def draw(test, **kwargs):
    return WitnessDisplay.from_estimator(test, **kwargs)


def arrows(ax):
    (found,) = (c for c in ax.collections if isinstance(c, Quiver))
    return found


def scattered(ax):
    """Collections of the rows of samples."""
    paths = matplotlib.collections.PathCollection
    return [c for c in ax.collections if isinstance(c, paths)]


class TestStein:
    def test_arrows(self):
        test = stein()
        display = draw(test, n_grid=5)
        found = arrows(display.ax_)
        at = np.column_stack([found.X, found.Y])
        assert at.shape == (25, 2)
        assert_allclose(np.column_stack([found.U, found.V]), test.witness_function(at))
        assert at.min(axis=0)[0] < X[:, 0].min() and at.max(axis=0)[1] > X[:, 1].max()
        assert display.figure_ is display.ax_.figure

    def test_arrows_lead_to_the_density(self):
        """The sample lies to the right of it."""
        display = draw(stein(), n_grid=9)
        middle = display.witness[3:6, 3:6]
        assert (middle[..., 0] < 0).all()

    def test_rows_have_the_colours_of_what_they_add(self):
        test = stein()
        (rows,) = scattered(draw(test, n_grid=3).ax_)
        assert_array_equal(rows.get_offsets(), X)
        assert_allclose(rows.get_array(), test.score_samples())
        (rows,) = scattered(draw(test, n_grid=3, max_points=75).ax_)
        assert_array_equal(rows.get_offsets(), X[::2])
        assert_allclose(rows.get_array(), test.score_samples()[::2])

    def test_cut_through_many_columns(self):
        test = stein(WIDE)
        display = draw(test, features=[3, 0], n_grid=4)
        found = arrows(display.ax_)
        V = np.tile(np.median(WIDE, axis=0), (16, 1))
        V[:, 3], V[:, 0] = found.X, found.Y
        expected = test.witness_function(V)
        assert_allclose(found.U, expected[:, 3])
        assert_allclose(found.V, expected[:, 0])
        assert display.ax_.get_xlabel() == "column 3"
        assert display.ax_.get_ylabel() == "column 0"

    def test_chains(self):
        chains = X.reshape(3, 50, 2)
        test = KSDTest(null="markov", n_resamples=50, random_state=0)
        display = draw(test.fit(chains, scores=-chains), n_grid=3)
        assert_array_equal(scattered(display.ax_)[0].get_offsets(), X)

    @pytest.mark.filterwarnings("error")
    def test_names(self):
        pandas = pytest.importorskip("pandas")
        test = stein(pandas.DataFrame(WIDE, columns=list("abcd")))
        ax = draw(test, features=["d", "b"], n_grid=3).ax_
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("d", "b")
        ax = draw(stein(), feature_names=["x", "y"], n_grid=3).ax_
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")


class TestTwoSamples:
    def test_map(self):
        test = two_samples()
        display = draw(test, n_grid=6)
        V = np.stack(np.meshgrid(*display.grid, indexing="ij"), axis=-1)
        expected = test.witness_function(V.reshape(-1, 2)).reshape(6, 6)
        assert_allclose(display.witness, expected)
        # More of the first sample is on the right.
        assert display.witness[-2].sum() > 0 > display.witness[1].sum()
        first, second = scattered(display.ax_)
        assert_array_equal(first.get_offsets(), X)
        assert_array_equal(second.get_offsets(), Y)

    def test_colours_are_symmetric(self):
        ax = draw(two_samples(), n_grid=6).ax_
        (drawn,) = (c for c in ax.collections if hasattr(c, "levels"))
        assert_allclose(drawn.levels, -drawn.levels[::-1], atol=1e-12)

    def test_labels(self):
        """Samples that were told apart by labels."""
        rows, labels = np.concatenate([X, Y]), np.repeat(["a", "b"], [150, 200])
        mixed = RNG.permutation(350)
        test = two_samples(rows[mixed], labels[mixed])
        first, second = scattered(draw(test, n_grid=3).ax_)
        assert len(first.get_offsets()) == 150 and len(second.get_offsets()) == 200
        assert np.mean(first.get_offsets()[:, 0]) == pytest.approx(X[:, 0].mean())


def test_axes_and_options():
    _, ax = plt.subplots()
    display = draw(stein(), ax=ax, n_grid=3, color="red", sample_kwargs={"s": 50})
    assert display.ax_ is ax
    assert_array_equal(arrows(ax).get_facecolor(), [[1, 0, 0, 1]])
    assert scattered(ax)[0].get_sizes() == [50]


def test_errors():
    with pytest.raises(NotFittedError):
        draw(KSDTest(lambda X: -X))
    with pytest.raises(TypeError, match="FSSDTest has no witness"):
        draw(FSSDTest(lambda X: -X).fit(X))
    with pytest.raises(ValueError, match=r"4 columns.*choose them by features"):
        draw(stein(WIDE))
    with pytest.raises(ValueError, match="1 column, and the witness is drawn in two"):
        draw(stein(X[:, :1]))
    with pytest.raises(ValueError, match="must be two columns"):
        draw(stein(WIDE), features=[1])
    with pytest.raises(ValueError, match="must be two columns"):
        draw(stein(WIDE), features=[1, -3])
    with pytest.raises(ValueError, match="no column 'z'"):
        draw(stein(WIDE), features=["z", "column 1"])
    with pytest.raises(ValueError, match="n_grid=1 must be a whole number"):
        draw(stein(), n_grid=1)
    gram = np.exp(-((X[:, :1] - X[:, 0]) ** 2))
    with pytest.raises(ValueError, match="not 'precomputed'"):
        draw(two_samples(gram, np.arange(150) % 2, kernel="precomputed"))
