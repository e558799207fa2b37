"""Displays of power: what is drawn, not how it looks."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

from gpkern import KernelDensity, KSDTest, MMDTest  # noqa: E402
from gpkern.plotting import PowerCurveDisplay  # noqa: E402


class Coin(BaseEstimator):
    """A test that rejects where the mean is above a value."""

    def __init__(self, above=0.5, alpha=0.05, random_state=None, warn=False):
        self.above, self.alpha = above, alpha
        self.random_state, self.warn = random_state, warn

    def fit(self, X, y=None, *, scores=None):
        assert not hasattr(self, "rejected_")  # a clone
        assert self.random_state is not None
        if self.warn:
            warnings.warn(f"a mean of {np.mean(X)}", UserWarning, stacklevel=2)
        self.rejected_ = bool(np.mean(X) > self.above)
        return self


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def make(parameter, seed):
    return np.random.default_rng(seed).uniform(size=3) + parameter


def draw(tests=None, make=make, parameters=(0.0, 0.5), **options):
    tests = {"coin": Coin()} if tests is None else tests
    options = {"n_repetitions": 10, "random_state": 0} | options
    return PowerCurveDisplay.from_tests(tests, make, parameters, **options)


def curves(ax):
    return {c.get_label(): c.lines[0] for c in ax.containers}


def test_curves():
    tests = {"half": Coin(0.5), "never": Coin(9.0)}
    display = draw(tests, parameters=[0.0, 0.2, 1.0], parameter_name="shift")
    assert display.rejections["half"][-1] == 10
    assert_array_equal(display.rejections["never"], 0)
    found = curves(display.ax_)
    for name in tests:
        assert_array_equal(found[name].get_xdata(), [0.0, 0.2, 1.0])
        assert_array_equal(found[name].get_ydata(), display.rejections[name] / 10)
        assert_array_equal(display.power_[name], display.rejections[name] / 10)
    assert display.ax_.get_xlabel() == "shift"
    assert display.figure_ is display.ax_.figure


def test_intervals_are_wilsons():
    """Wilson (1927), by its formula."""
    display = PowerCurveDisplay([1, 2, 3], {"a": [0, 3, 20]}, 20).plot()
    p, n, z = np.array([0.0, 0.15, 1.0]), 20, 1.959964
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = display.intervals_["a"].T
    assert_allclose(low, np.maximum(centre - half, 0.0), atol=1e-6)
    assert_allclose(high, np.minimum(centre + half, 1.0), atol=1e-6)
    (drawn,) = display.ax_.containers[0].lines[2]
    ends = np.array(drawn.get_segments())[:, :, 1]
    assert_allclose(ends, np.column_stack([low, high]), atol=1e-12)


def test_the_same_samples_for_all_tests():
    display = draw({"a": Coin(), "b": Coin()}, n_repetitions=30)
    assert_array_equal(display.rejections["a"], display.rejections["b"])
    assert 0 < display.rejections["a"][0] < 30
    again = draw({"a": Coin()}, n_repetitions=30)
    assert_array_equal(again.rejections["a"], display.rejections["a"])
    other = draw({"a": Coin()}, n_repetitions=30, random_state=2)
    assert other.rejections["a"].tolist() != display.rejections["a"].tolist()


def test_seeds_differ_and_parameters_are_as_given():
    seen = []

    def record(parameter, seed):
        assert type(seed) is int
        seen.append((parameter, seed))
        return np.zeros(2)

    draw(make=record, parameters=np.array([10, 20]))
    assert len({seed for _, seed in seen}) == 20
    assert [p for p, _ in seen] == [10] * 10 + [20] * 10
    assert all(type(p) is int for p, _ in seen)


def test_tests_have_other_seeds_than_samples():
    """The same ones would draw the signs from the numbers that made the sample."""
    made, given = [], []

    class Spy(Coin):
        def fit(self, X):
            given.append(self.random_state)
            return super().fit(X)

    draw({"spy": Spy()}, lambda p, seed: made.append(seed) or np.zeros(2))
    assert len(set(made + given)) == 40


def test_level():
    line = draw().ax_.lines[-1]
    assert line.get_label() == "level 0.05"
    assert_array_equal(line.get_ydata(), 0.05)
    several = draw({"a": Coin(), "b": Coin(alpha=0.1)})
    labels = [text.get_text() for text in several.ax_.get_legend().get_texts()]
    assert labels == ["a", "b"]


def test_each_warning_is_given_once():
    with pytest.warns(UserWarning, match="a mean of") as told:
        draw({"a": Coin(warn=True)})
    assert len(told) == 1


def test_real_tests():
    def pair(shift, seed):
        rng = np.random.default_rng(seed)
        return rng.normal(shift, size=(30, 1)), rng.normal(size=(30, 1))

    display = draw({"MMD": MMDTest(n_resamples=50)}, pair, [0.0, 3.0])
    assert display.rejections["MMD"][0] < 5 and display.rejections["MMD"][1] == 10

    def scored(shift, seed):
        X = np.random.default_rng(seed).normal(shift, size=(30, 1))
        return {"X": X, "scores": -X}

    display = draw({"KSD": KSDTest(n_resamples=50)}, scored, [0.0, 3.0])
    assert display.rejections["KSD"][0] < 5 and display.rejections["KSD"][1] == 10


def test_axes_and_options():
    _, ax = plt.subplots()
    display = draw(ax=ax, marker="s")
    assert display.ax_ is ax
    assert curves(ax)["coin"].get_marker() == "s"


def test_errors():
    with pytest.raises(TypeError, match="dict of one or more tests"):
        draw([Coin()])
    with pytest.raises(TypeError, match="dict of one or more tests"):
        draw({})
    with pytest.raises(TypeError, match=r"tests\['a'\].* is no estimator"):
        draw({"a": Coin})
    with pytest.raises(TypeError, match="KernelDensity is no test"):
        draw({"a": KernelDensity()}, lambda p, s: np.eye(2), [1.0])
    with pytest.raises(TypeError, match="must be a function"):
        draw(make=3)
    with pytest.raises(ValueError, match="one or more numbers"):
        draw(parameters=[])
    with pytest.raises(ValueError, match="one or more numbers"):
        draw(parameters=["a", "b"])
    with pytest.raises(ValueError, match="finite"):
        draw(parameters=[0.0, np.nan])
    with pytest.raises(ValueError, match="n_repetitions=0 must be a whole number"):
        draw(n_repetitions=0)
