"""Centers by leverage: rare rows are drawn, and the error falls."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern import EigenProRegressor, KernelRidge
from gpkern._device import select
from gpkern.algorithms.landmarks import leverage_rows, leverage_scores
from gpkern.algorithms.training import RowSource
from gpkern.kernels import Matern

CPU = select("cpu")
KERNEL = Matern(1.0, nu=0.5)


@pytest.fixture(scope="module")
def rows():
    """Two thousand rows close together, fifty far apart."""
    rng = np.random.default_rng(0)
    return np.concatenate([rng.normal(size=2000), np.linspace(10, 200, 50)])[:, None]


def source(X):
    return RowSource(X, np.zeros((len(X), 1)), CPU)


def test_scores_are_what_the_pilot_rows_leave(rows):
    scores = leverage_scores(KERNEL, source(rows), 100, CPU, np.random.RandomState(0))
    chosen = np.sort(np.random.RandomState(0).choice(2050, 100, replace=False))
    W = KERNEL(rows[chosen]) + 1e-2 * np.eye(100)
    C = KERNEL(rows, rows[chosen])
    expected = 1.0 - (C * np.linalg.solve(W, C.T).T).sum(axis=1)
    assert_allclose(scores, expected, rtol=1e-6)


def test_rare_rows_are_drawn(rows):
    chosen = leverage_rows(KERNEL, source(rows), 100, CPU, np.random.RandomState(0))
    assert len(set(chosen)) == 100 and (np.diff(chosen) > 0).all()
    assert (chosen >= 2000).sum() > 25  # two or three in a uniform draw
    again = leverage_rows(KERNEL, source(rows), 100, CPU, np.random.RandomState(0))
    assert_array_equal(again, chosen)
    everything = leverage_rows(
        KERNEL, source(rows), 9999, CPU, np.random.RandomState(0)
    )
    assert_array_equal(everything, np.arange(2050))


def test_constant_kernel():
    """Nothing distinguishes the rows: any draw will do."""
    X = np.ones((300, 2))
    assert (
        len(leverage_rows(KERNEL, source(X), 20, CPU, np.random.RandomState(0))) == 20
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", [KernelRidge(1e-3), EigenProRegressor(n_epochs=5)])
def test_error_falls(rows, model):
    y = np.sin(rows[:, 0])
    model.set_params(kernel=KERNEL, n_centers=150, random_state=0)
    uniform, leverage = (
        np.mean(
            (model.set_params(center_sampling=s).fit(rows, y).predict(rows) - y) ** 2
        )
        for s in ("uniform", "leverage")
    )
    assert leverage < 0.3 * uniform


def test_other_names():
    model = KernelRidge(n_centers=2, center_sampling="kmeans")
    with pytest.raises(ValueError, match="center_sampling"):
        model.fit(np.eye(3), np.arange(3.0))
