"""Displays of coresets: what is drawn, not how it looks."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import KernelThinning  # noqa: E402
from gpkern.kernels import RBF  # noqa: E402
from gpkern.plotting import CoresetDisplay, MMDCurveDisplay  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


X = np.random.default_rng(0).normal(size=(400, 3))


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


class TestCoreset:
    def test_scatter(self):
        thinning = KernelThinning(20, weights="simplex", random_state=0).fit(X)
        display = CoresetDisplay.from_estimator(thinning, X, features=(0, 2))
        sample, coreset = display.ax_.collections
        assert_array_equal(sample.get_offsets(), X[:, [0, 2]])
        assert_array_equal(coreset.get_offsets(), thinning.samples_[:, [0, 2]])
        areas = coreset.get_sizes()
        assert_allclose(areas / areas.sum(), thinning.weights_, atol=1e-12)
        assert labels(display.ax_) == ["sample", "coreset"]
        assert display.ax_.get_xlabel() == "column 0"
        assert display.ax_.get_ylabel() == "column 2"
        assert display.figure_ is display.ax_.figure

    def test_negative_weights_are_apart(self):
        weights = np.array([0.9, -0.2, 0.3])
        display = CoresetDisplay(X[:, :2], X[:3, :2], weights, ["a", "b"]).plot()
        _, positive, negative = display.ax_.collections
        assert_array_equal(positive.get_offsets(), X[[0, 2], :2])
        assert_array_equal(negative.get_offsets(), X[[1], :2])
        assert labels(display.ax_)[2] == "of negative weight"

    def test_names_of_columns(self):
        frame = pd.DataFrame(X, columns=["a", "b", "c"])
        thinning = KernelThinning(20, random_state=0).fit(frame)
        display = CoresetDisplay.from_estimator(thinning, frame, features=["c", "a"])
        assert display.ax_.get_xlabel() == "c" and display.ax_.get_ylabel() == "a"
        assert_array_equal(display.samples, thinning.samples_[:, [2, 0]])

    def test_one_column(self):
        thinning = KernelThinning(20, random_state=0).fit(X[:, :1])
        display = CoresetDisplay.from_estimator(thinning, X[:, :1])
        assert not display.ax_.collections
        assert labels(display.ax_) == ["sample", "coreset"]
        assert display.ax_.get_ylabel() == "density"
        other = CoresetDisplay.from_estimator(thinning, X[:, :1], features=0)
        assert_array_equal(other.X, display.X)

    def test_axes_and_options(self):
        thinning = KernelThinning(20, random_state=0).fit(X)
        _, ax = plt.subplots()
        display = CoresetDisplay.from_estimator(
            thinning,
            X,
            ax=ax,
            max_points=150,
            sample_kwargs={"s": 1},
            coreset_kwargs={"label": "thinned"},
        )
        assert display.ax_ is ax
        sample, _ = ax.collections
        assert len(sample.get_offsets()) == 134 and sample.get_sizes() == [1]
        assert labels(ax) == ["sample", "thinned"]

    def test_chains_and_streams(self):
        stream = KernelThinning(20, random_state=0).partial_fit(X)
        display = CoresetDisplay.from_estimator(stream, X.reshape(4, 100, 3))
        assert_array_equal(display.X, X[:, :2])

    @pytest.mark.parametrize(
        "features, message",
        [
            ((0, 1, 2), "one or two columns"),
            ((0, 7), "none of number 7"),
            (["age"], "no column 'age'"),
        ],
    )
    def test_wrong_columns(self, features, message):
        thinning = KernelThinning(20, random_state=0).fit(X)
        with pytest.raises(ValueError, match=message):
            CoresetDisplay.from_estimator(thinning, X, features=features)

    def test_other_errors(self):
        with pytest.raises(NotFittedError):
            CoresetDisplay.from_estimator(KernelThinning(), X)
        thinning = KernelThinning(20, random_state=0).fit(X)
        with pytest.raises(ValueError, match="X has 2 columns, the coreset has 3"):
            CoresetDisplay.from_estimator(thinning, X[:, :2])


class TestCurve:
    def test_distances(self):
        thinning = KernelThinning(kernel=RBF(1.0), random_state=0)
        display = MMDCurveDisplay.from_estimator(thinning, X, sizes=[4, 8, 20])
        assert_array_equal(display.sizes, [4, 8, 20])
        for i, size in enumerate(display.sizes):
            fitted = KernelThinning(size, kernel=RBF(1.0), random_state=0).fit(X)
            assert display.distances["thinning"][i] == pytest.approx(fitted.mmd_)
            assert display.distances["random"][i] == pytest.approx(fitted.mmd_iid_)
            p = np.full(400, -1 / 400)
            p[np.arange(0, 400, 400 // size)] += 1 / size
            expected = np.sqrt(p @ RBF(1.0)(X) @ p)
            assert display.distances["standard"][i] == pytest.approx(expected)
        texts = labels(display.ax_)
        for name, text in zip(display.distances, texts, strict=True):
            x, y = np.log(display.sizes), np.log(display.distances[name])
            slope = ((x - x.mean()) * y).sum() / ((x - x.mean()) ** 2).sum()
            assert display.slopes_[name] == pytest.approx(slope)
            assert text.endswith(f"slope {slope:.2f}")
        assert abs(display.slopes_["random"] + 0.5) < 0.05
        assert len(display.ax_.lines) == 3

    def test_default_sizes_and_one_kernel(self):
        """The median is that of the first fit, also where fits would differ."""
        display = MMDCurveDisplay.from_estimator(KernelThinning(), X)
        assert_array_equal(display.sizes, [4, 8, 16])
        assert display.slopes_["thinning"] < -0.6

    def test_large_samples_are_estimated(self, monkeypatch):
        thinning, sizes = KernelThinning(kernel=RBF(1.0), random_state=0), [4, 8, 20]
        exact = MMDCurveDisplay.from_estimator(thinning, X, sizes=sizes)
        monkeypatch.setattr("gpkern.plotting._mmd_curve.ALL_PAIRS_ROWS", 300)
        found = MMDCurveDisplay.from_estimator(thinning, X, sizes=sizes, random_state=0)
        for name, values in exact.distances.items():
            assert_allclose(found.distances[name], values, rtol=0.05)

    @pytest.mark.parametrize("sizes", [[5], [0, 3], [5, 400], [0.1, 0.2]])
    def test_wrong_sizes(self, sizes):
        with pytest.raises(ValueError, match="two or more whole numbers"):
            MMDCurveDisplay.from_estimator(KernelThinning(), X, sizes=sizes)
