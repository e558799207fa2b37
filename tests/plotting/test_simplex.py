"""`SimplexDisplay`: rows are where their coordinates say."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from gpkern import SteinSampler
from gpkern.plotting import SimplexDisplay

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_places():
    rows = np.vstack([np.eye(3), np.full((1, 3), 1 / 3)])
    display = SimplexDisplay(rows, names=("a", "b", "c")).plot()
    places = display.ax_.collections[0].get_offsets()
    assert_allclose(places[:3], [[0, 0], [1, 0], [0.5, np.sqrt(0.75)]])
    assert_allclose(places[3], places[:3].mean(axis=0))
    assert [t.get_text() for t in display.ax_.texts] == ["a", "b", "c"]


def test_more_columns_are_summed():
    rows = np.random.default_rng(0).dirichlet(np.ones(6), size=20)
    display = SimplexDisplay(rows, rows[:5], columns=(4, 1)).plot()
    below, above = (c.get_offsets() for c in display.ax_.collections)
    assert_allclose(above[:, 1], (1 - rows[:, 4] - rows[:, 1]) * np.sqrt(0.75))
    assert len(below) == 5
    texts = [t.get_text() for t in display.ax_.texts]
    assert texts == ["column 4", "column 1", "4 others"]


def test_of_a_sampler():
    density = stats.dirichlet([5.0, 3.0, 2.0])
    sampler = SteinSampler(
        density,
        method="msvgd",
        domain="simplex",
        n_particles=10,
        max_iter=5,
        random_state=0,
    ).fit()
    fig, ax = plt.subplots()
    display = SimplexDisplay.from_estimator(sampler, ax=ax)
    assert display.figure_ is fig and len(ax.collections[0].get_offsets()) == 10


def test_bad_inputs():
    rows = np.full((4, 3), 1 / 3)
    for args, message in (
        ((rows[:, :2],), "D >= 3"),
        ((2 * rows,), "of sum 1"),
        ((rows, None, (0, 0)), "columns"),
        ((rows, None, (0, 3)), "columns"),
        ((rows, None, (0, 0.5)), "numbers or names of columns"),
        ((rows, np.full((2, 4), 0.25)), "reference has 4 columns"),
        ((rows, None, (0, 1), ("a",)), "names"),
    ):
        with pytest.raises(ValueError, match=message):
            SimplexDisplay(*args)
