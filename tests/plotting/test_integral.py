"""`IntegralDisplay`: what it shows are the estimates."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from gpkern import SteinControlVariates
from gpkern.plotting import IntegralDisplay

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_shows_the_estimates():
    X = np.random.default_rng(0).normal(size=(200, 1))
    y = np.cos(X[:, 0])
    model = SteinControlVariates(lambda x: -x, random_state=0)
    display = IntegralDisplay.from_estimator(model, X, y, truth=np.exp(-0.5))
    assert display.sizes[0] == 20 and display.sizes[-1] == 200
    assert display.integrals[-1] == model.fit(X, y).integral_
    assert display.errors[-1] == model.standard_error_
    assert_allclose(display.means[-1], y.mean())
    labels = display.ax_.get_legend_handles_labels()[1]
    assert labels == ["known value", "mean of the values", "control variates"]
    fig, ax = plt.subplots()
    by_scores = IntegralDisplay.from_estimator(
        SteinControlVariates(random_state=0),
        X,
        y,
        scores=-X,
        sizes=[50, 100],
        name="E cos",
        ax=ax,
    )
    assert by_scores.figure_ is fig and len(by_scores.integrals) == 2
    assert ax.get_ylabel().startswith("E cos")


def test_chains_and_looks():
    rng = np.random.default_rng(0)
    chains = rng.normal(size=(4, 50, 2))
    X = chains.transpose(1, 0, 2).reshape(200, 2)  # first draws of all chains first
    model = SteinControlVariates(random_state=0)
    options = {"sizes": [40, 200], "color": "C1", "mean_kwargs": {"color": "k"}}
    of_chains = IntegralDisplay.from_estimator(
        model, chains, chains[..., 0], scores=-chains, **options
    )
    of_rows = IntegralDisplay.from_estimator(model, X, X[:, 0], scores=-X, **options)
    assert_allclose(of_chains.integrals, of_rows.integrals)
    plain, own = of_rows.ax_.containers
    assert plain.lines[0].get_color() == "k" and own.lines[0].get_color() == "C1"


def test_bad_inputs():
    X = np.zeros((10, 1))
    model = SteinControlVariates(lambda x: -x)
    with pytest.raises(ValueError, match="one integrand"):
        IntegralDisplay.from_estimator(model, X, np.zeros((10, 2)))
    for sizes in ([], [2], [11]):
        with pytest.raises(ValueError, match="sizes"):
            IntegralDisplay.from_estimator(model, X, np.zeros(10), sizes=sizes)
