"""Displays of null distributions: what is drawn, not how it looks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import stats

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from gpkern import (  # noqa: E402
    FSSDTest,
    KernelDensity,
    KSDTest,
    LearnedLikelihoodRatioTest,
    LinearKSDTest,
    MMDTest,
    NystromKSDTest,
    PerturbedKSDTest,
)
from gpkern.plotting import NullDistributionDisplay  # noqa: E402
from gpkern.targets import Mixture  # noqa: E402

X = np.random.default_rng(0).normal(size=(60, 1))
TWO = Mixture([0.5, 0.5], [[-1.0], [3.0]], 1.0)
FITS = {
    "KSDTest": lambda: KSDTest(TWO, n_resamples=200, random_state=0).fit(X),
    "aggregated": lambda: KSDTest(
        TWO, aggregate=True, n_resamples=400, random_state=0
    ).fit(X),
    "MMDTest": lambda: MMDTest(n_resamples=200, random_state=0).fit(X, X + 1.0),
    "FSSDTest": lambda: FSSDTest(TWO, n_locations=1, random_state=0).fit(X),
    "NystromKSDTest": lambda: NystromKSDTest(TWO, random_state=0).fit(X),
    "PerturbedKSDTest": lambda: PerturbedKSDTest(
        TWO, thetas=[0.8], n_starts=10, n_resamples=200, random_state=0
    ).fit(X),
}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def draw(test, **kwargs):
    return NullDistributionDisplay.from_estimator(test, **kwargs)


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_histogram(fit):
    test = fit()
    display = draw(test)
    ax, null = display.ax_, test.null_distribution_
    assert sum(bar.get_height() for bar in ax.patches) == len(null)
    critical, statistic = (line.get_xdata()[0] for line in ax.lines)
    assert statistic == test.statistic_
    assert critical == display.critical_value_
    assert labels(ax) == [
        f"{len(null):,} replicates",
        "critical value at 0.05",
        f"statistic: {test.statistic_:.3g}",
    ]
    verdict = "rejected" if test.rejected_ else "not rejected"
    name = type(test).__name__
    assert ax.get_title() == f"{name}: p = {test.pvalue_:.2g}, {verdict} at 0.05"
    assert display.figure_ is ax.figure


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.29, 0.5])
@pytest.mark.parametrize("b", [99, 100, 1000])
def test_critical_value_is_where_rejections_begin(alpha, b):
    null = np.random.default_rng(b).normal(size=b)
    critical = NullDistributionDisplay(0.0, null, 1.0, alpha).critical_value_
    for statistic, rejected in ((critical + 1e-9, True), (critical - 1e-9, False)):
        pvalue = (1 + (null >= statistic).sum()) / (b + 1)
        assert (pvalue <= alpha) == rejected


def test_too_few_replicates_to_reject():
    display = NullDistributionDisplay(0.3, np.arange(10.0), 0.9).plot()
    assert display.critical_value_ == np.inf
    (statistic,) = display.ax_.lines
    assert statistic.get_xdata()[0] == 0.3
    assert display.ax_.get_title() == "p = 0.9, not rejected at 0.05"


def test_known_distribution():
    """A curve, and its own quantile."""
    display = draw(LinearKSDTest(TWO, random_state=0).fit(X))
    curve, critical, _ = display.ax_.lines
    assert critical.get_xdata()[0] == pytest.approx(stats.norm.isf(0.05))
    at, height = curve.get_data()
    assert np.trapezoid(height, at) == pytest.approx(1.0, abs=1e-3)
    assert not display.ax_.patches


def test_axes_and_options():
    _, ax = plt.subplots()
    display = draw(FITS["KSDTest"](), ax=ax, bins=7, color="red")
    assert display.ax_ is ax
    assert len(ax.patches) == 7
    assert_array_equal(ax.patches[0].get_facecolor(), [1, 0, 0, 1])


def test_toys_and_their_chi_square():
    rng = np.random.default_rng(0)
    monitor = LearnedLikelihoodRatioTest(n_toys=30, random_state=0)
    monitor.fit(rng.normal(size=(3000, 2)), expected=200)
    with pytest.raises(NotFittedError, match=r"test\(batch\)"):
        draw(monitor)
    monitor.test(rng.normal(size=(200, 2)))
    display = draw(monitor, alpha=0.1)
    _, critical, _ = display.ax_.lines
    assert critical.get_xdata()[0] == pytest.approx(stats.chi2.isf(0.1, monitor.df_))
    assert sum(bar.get_height() * bar.get_width() for bar in display.ax_.patches) == (
        pytest.approx(1.0)
    )
    assert display.ax_.get_title().endswith("rejected at 0.1")
    toys = draw(monitor.set_params(calibration="toys"))
    assert toys.replicates is None and toys.null_distribution is not None
    assert_array_equal(toys.null_distribution, monitor.null_distribution_)


def test_errors():
    with pytest.raises(NotFittedError):
        draw(KSDTest(TWO))
    with pytest.raises(TypeError, match="KernelDensity has no null distribution"):
        draw(KernelDensity().fit(X))
