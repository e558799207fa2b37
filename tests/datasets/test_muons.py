"""`make_muons`: physics that the faults change."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpkern.datasets import make_muons


def meantime(X):
    """(t1 + t3) / 2 + t2 of straight tracks."""
    return 0.5 * (X[:, 0] + X[:, 2]) + X[:, 1]


def test_shape_and_seed():
    X = make_muons(500, random_state=0)
    assert X.shape == (500, 5) and np.isfinite(X).all()
    assert_array_equal(X, make_muons(500, random_state=0))
    assert (make_muons(500, random_state=1) != X).any()
    assert abs(X[:, 4]).max() <= 45
    assert X[:, :4].min() > -20 and X[:, :4].max() < 21 / 0.054 + 20


def test_times_of_a_track_depend_on_each_other():
    X = make_muons(20_000, random_state=0)
    near = abs(X[:, 4]) < 10
    apart = abs(meantime(X[near]) - 21 / 0.054)
    assert np.median(apart) < 10 < np.median(abs(X[:, 0] - X[:, 0].mean()))


def test_faults():
    fine, low, weak = (
        make_muons(50_000, random_state=0, **fault)
        for fault in ({}, {"threshold": 60.0}, {"cathode": 900.0})
    )
    longest = [np.quantile(X[:, :4], 0.98) for X in (fine, weak)]
    assert longest[1] > longest[0] + 5
    assert low[:, :4].mean() < fine[:, :4].mean() - 3
    assert_array_equal(low[:, 4], fine[:, 4])


def test_errors():
    for options in (
        {"threshold": 0},
        {"cathode": 12_000.0},
        {"cathode": "a"},
        {"n_samples": 0},
        {"n_samples": 2.5},
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            make_muons(**options)
