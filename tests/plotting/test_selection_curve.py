"""`SelectionCurveDisplay`: means and bands of the scores of `selection_curve`."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.linear_model import Ridge  # noqa: E402

from gpkern import selection_curve  # noqa: E402
from gpkern.plotting import SelectionCurveDisplay  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 2))
Y = np.sin(2.0 * X[:, 0])
OPTIONS = {
    "X_test": X[60:],
    "y_test": Y[60:],
    "n_initial": 5,
    "batch_size": 5,
    "n_batches": 2,
    "random_state": 0,
}


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def draw(**options):
    options = OPTIONS | options
    return SelectionCurveDisplay.from_estimator(Ridge(), X[:60], Y[:60], **options)


def test_curves_are_those_of_the_function():
    methods = ("random", "maxdist", "lcmd")
    display = draw(methods=methods, kernel="linear", n_repeats=4)
    wanted = selection_curve(
        Ridge(),
        X[:60],
        Y[:60],
        methods=methods,
        kernel="linear",
        n_repeats=4,
        **OPTIONS,
    )
    assert_array_equal(display.n_rows, [5, 10, 15])
    for line, band, method in zip(
        display.ax_.lines, display.ax_.collections, methods, strict=True
    ):
        assert_allclose(display.scores[method], wanted.scores[method])
        errors = -wanted.scores[method]
        assert (errors > 0).all()
        assert_allclose(display.values_[method], errors)
        assert line.get_label() == method
        assert_array_equal(line.get_xdata(), [5, 10, 15])
        assert_allclose(line.get_ydata(), errors.mean(axis=0))
        ends = band.get_paths()[0].vertices
        for k, n in enumerate(wanted.n_rows):
            here = ends[ends[:, 0] == n, 1]
            mean, spread = errors[:, k].mean(), errors[:, k].std()
            assert_allclose([here.min(), here.max()], [mean - spread, mean + spread])
    assert display.ax_.get_ylabel() == "root mean squared error on test rows"
    assert display.figure_ is display.ax_.figure


def test_features_axes_and_options():
    _, ax = plt.subplots()
    display = draw(
        features=lambda model: lambda rows: rows * model.coef_,
        n_repeats=1,
        ax=ax,
        marker="v",
    )
    assert display.ax_ is ax and not ax.collections
    assert {line.get_marker() for line in ax.lines} == {"v"}
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["random", "lcmd"]


def test_scores_are_drawn_as_they_are():
    display = draw(scoring="r2", methods=["random"])
    assert_allclose(display.values_["random"], display.scores["random"])
    assert display.ax_.get_ylabel() == "r2 on test rows"
    own = draw(scoring=lambda model, A, b: -1.0, methods=["random"])
    assert_array_equal(own.values_["random"], -1.0)
    assert own.ax_.get_ylabel() == "score on test rows"


def test_curves_of_two_calls_go_together():
    one, other = draw(n_repeats=1).scores, draw(n_repeats=1, kernel="linear").scores
    display = SelectionCurveDisplay(
        [5, 10, 15], one | {"linear": other["lcmd"]}, "neg_mean_absolute_error"
    ).plot()
    assert len(display.ax_.lines) == 3
    assert_allclose(display.ax_.lines[2].get_ydata(), -other["lcmd"][0])
    assert display.ax_.get_ylabel() == "mean absolute error on test rows"


def test_errors():
    with pytest.raises(ValueError, match="the pool has 60 rows"):
        draw(n_batches=50)
    with pytest.raises(ValueError, match="n_repeats=0"):
        draw(n_repeats=0)
    with pytest.raises(ValueError, match="'worst' is not known"):
        draw(methods=["worst"])
