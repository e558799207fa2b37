"""Mode trees: what is drawn, not how it looks."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402

from gpkern import KDEModeFinder, KernelDensity  # noqa: E402
from gpkern.plotting import ModeBandwidthDisplay  # noqa: E402

rng = np.random.default_rng(0)
# Three groups along the first column: two are near, and become one first.
X = np.concatenate(
    [rng.normal(c, 1.0, (n, 1)) for c, n in ((0, 90), (5, 60), (15, 50))]
)
X = np.hstack([X, 0.3 * rng.normal(size=X.shape)])
FACTORS = [0.5, 1.0, 2.5]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(X=X, **kwargs):
    kwargs = {"factors": FACTORS, "random_state": 0} | kwargs
    return ModeBandwidthDisplay.from_data(X, **kwargs)


class TestModeTree:
    def test_modes_are_those_of_finders(self):
        display = draw(feature=0, persistence=0.2)
        assert_array_equal(display.factors, FACTORS)
        unit = KernelDensity(bandwidth="silverman").fit(X).bandwidth_
        for k, factor in enumerate(FACTORS):
            finder = KDEModeFinder(factor * unit, persistence=0.2).fit(X)
            assert_allclose(display.positions[k], finder.modes_[:, 0], atol=1e-6)
            assert_allclose(display.weights[k], finder.basin_weight_)
            assert display.n_modes_[k] == len(finder.modes_)
        assert display.n_modes_[-1] < display.n_modes_[0]

    def test_what_is_drawn(self):
        display = draw(feature=0)
        ax = display.ax_
        marks = ax.collections[0]
        positions = np.concatenate(display.positions)
        assert_array_equal(marks.get_offsets()[:, 0], positions)
        heights = np.repeat(FACTORS, display.n_modes_)
        assert_array_equal(marks.get_offsets()[:, 1], heights)
        areas = marks.get_sizes()
        assert_allclose(areas / areas.max(), np.concatenate(display.weights))
        assert ax.get_yscale() == "log"
        (right,) = ax.child_axes
        labels = [t.get_text() for t in right.get_yticklabels()]
        assert labels == [str(n) for n in display.n_modes_]
        assert right.get_ylabel() == "number of modes"
        assert ax.get_xlabel() == "column 0"
        assert display.figure_ is ax.figure

    def test_lines_lead_to_the_mode_of_the_wider_bandwidth(self):
        tree = ModeBandwidthDisplay(
            [0.5, 1.0],
            [np.array([1.0, 4.0, 5.0]), np.array([1.1, 4.5])],
            [np.array([0.5, 0.49, 0.01]), np.array([0.5, 0.5])],
            [np.array([0, 1, 1])],
        ).plot()
        found = {tuple(line.get_xdata()) for line in tree.ax_.lines[:3]}
        assert found == {(1.0, 1.1), (4.0, 4.5), (5.0, 4.5)}

    def test_near_groups_become_one(self):
        display = draw(X[:, :1], factors=[0.5, 1.5], persistence=0.2)
        narrow, wide = display.positions
        assert len(narrow) == 3 and len(wide) == 2
        (parents,) = display.parents
        left = np.flatnonzero(narrow < 10)
        assert parents[left[0]] == parents[left[1]] == np.argmin(wide)
        assert wide[parents[np.argmax(narrow)]] > 10

    def test_first_principal_component(self):
        display = draw()
        plane = PCA(1).fit(X)
        unit = KernelDensity(bandwidth="silverman").fit(X).bandwidth_
        modes = KDEModeFinder(FACTORS[0] * unit).fit(X).modes_
        expected, found = plane.transform(modes)[:, 0], display.positions[0]
        assert_allclose(found, expected * np.sign(found @ expected), atol=1e-6)
        share = f"{plane.explained_variance_ratio_[0]:.0%}"
        assert display.ax_.get_xlabel() == (
            f"first principal component ({share} of the variance)"
        )

    def test_default_factors(self):
        display = draw(X[:, :1], factors=None)
        assert len(display.factors) == 13
        assert_allclose(display.factors[[0, 4, 8, 12]], [0.25, 0.5, 1.0, 2.0])
        assert display.ax_.get_xlabel() == "column 0"

    def test_names_axes_and_options(self):
        frame = pd.DataFrame(X, columns=["a", "b"])
        _, ax = plt.subplots()
        display = draw(frame, feature="a", ax=ax, max_points=50, color="red")
        assert display.ax_ is ax and ax.get_xlabel() == "a"
        assert_array_equal(ax.collections[0].get_facecolors(), [[1, 0, 0, 1]])
        for weights in display.weights:
            assert_allclose(weights * 50, np.round(weights * 50), atol=1e-9)

    @pytest.mark.parametrize(
        "kwargs, message",
        [
            ({"factors": [1.0]}, "factors=.* must be two or more positive numbers"),
            ({"factors": [0.0, 1.0]}, "factors=.* must be two or more positive"),
            ({"factors": [1.0, np.nan]}, "factors=.* must be two or more positive"),
            ({"feature": 2}, "feature: X has 2 columns, none of number 2"),
            ({"feature": "age"}, "feature: X has no column 'age'"),
            ({"feature": (0, 1)}, "feature=.* must be the number or name of one"),
            ({"max_points": 0}, "max_points=0 must be a whole number from 1 on"),
            ({"persistence": 2.0}, "'persistence' parameter"),
            ({"X": X[:, 0]}, r"one column is X.reshape\(-1, 1\)"),
        ],
    )
    def test_wrong_parameters(self, kwargs, message):
        with pytest.raises(ValueError, match=message):
            draw(**kwargs)
