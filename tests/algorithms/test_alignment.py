"""Spectra and alignments, by their definitions in plain NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.algorithms.alignment import kernel_spectrum, target_columns

RNG = np.random.default_rng(0)
# Of full rank, with eigenvalues that differ.
FACTOR = RNG.normal(size=(12, 15)) + 1.0
K = FACTOR @ FACTOR.T
Y = RNG.normal(size=12)
LABELS = np.array(["a", "b", "c"] * 4)
H = np.eye(12) - 1.0 / 12


def inner(A, B):
    return (A * B).sum()


def alignment(K, T):
    """Definition 2 of Cortes, Mohri & Rostamizadeh, with T = y y'."""
    Kc, Tc = H @ K @ H, H @ T @ H
    return inner(Kc, Tc) / np.sqrt(inner(Kc, Kc) * inner(Tc, Tc))


@pytest.mark.parametrize("center", [True, False])
def test_eigenvalues_and_shares(center):
    """Singular values and vectors of the features, as another way to them."""
    found = kernel_spectrum(K, Y, center=center)
    features = H @ FACTOR if center else FACTOR
    U, s, _ = np.linalg.svd(features)
    assert_allclose(found.eigenvalues, s**2, atol=1e-12 * s[0] ** 2)
    y = Y - Y.mean()
    shares = [((U[:, :k].T @ y) ** 2).sum() / (y**2).sum() for k in range(1, 13)]
    assert_allclose(found.target_shares, shares, atol=1e-10)
    assert_allclose(found.target_shares[-1], 1.0)
    alone = kernel_spectrum(K, center=center)
    assert_allclose(alone.eigenvalues, found.eigenvalues, atol=1e-12 * s[0] ** 2)
    assert alone.target_shares is None and alone.alignment is None


def test_alignment_by_its_definition():
    for center in (True, False):
        found = kernel_spectrum(K, Y, center=center).alignment
        assert_allclose(found, alignment(K, np.outer(Y, Y)), rtol=1e-12)
    several = RNG.normal(size=(12, 3))
    found = kernel_spectrum(K, several).alignment
    assert_allclose(found, alignment(K, several @ several.T), rtol=1e-12)
    indicators = LABELS[:, None] == np.unique(LABELS)
    same = (LABELS[:, None] == LABELS).astype(float)
    assert_array_equal(indicators @ indicators.T.astype(float), same)
    assert_allclose(kernel_spectrum(K, LABELS).alignment, alignment(K, same))


def test_what_changes_nothing():
    """Units and offsets of targets and kernel, and how two classes are written."""
    wanted = kernel_spectrum(K, Y)
    for other in (
        kernel_spectrum(K, 1e200 * Y),
        kernel_spectrum(K, 3.0 - Y),
        kernel_spectrum(K, Y[:, None]),
        kernel_spectrum(K + 5.0, Y),
        kernel_spectrum(1e200 * K, Y),
    ):
        assert_allclose(other.target_shares, wanted.target_shares, atol=1e-9)
        assert_allclose(other.alignment, wanted.alignment, rtol=1e-9)
    two = Y > 0
    wanted = kernel_spectrum(K, np.where(two, 1.0, -1.0))
    for y in (two, two.astype(int), np.where(two, "yes", "no"), two.astype(object)):
        found = kernel_spectrum(K, y)
        assert_allclose(found.target_shares, wanted.target_shares, atol=1e-12)
        assert_allclose(found.alignment, wanted.alignment)


def test_alignment_is_1_with_the_targets_themselves():
    found = kernel_spectrum(np.outer(Y, Y) + 2.0, Y)
    assert_allclose(found.alignment, 1.0)
    assert_allclose(found.target_shares, 1.0)
    assert_allclose(kernel_spectrum(-np.outer(Y, Y), Y).alignment, -1.0)


def test_target_columns():
    assert_allclose(target_columns([1.0, 2.0, 4.0])[:, 0], [-1 / 3, -1 / 12, 5 / 12])
    assert target_columns([1, 2, 4]).shape == (3, 3)
    assert target_columns(np.array([1.0, 2.0, 4.0], object)).shape == (3, 1)
    assert target_columns(np.eye(3, dtype=int)).shape == (3, 3)
    assert_allclose(target_columns(LABELS).sum(axis=0), 0.0, atol=1e-12)


def test_one_row():
    found = kernel_spectrum([[3.0]], center=False)
    assert_array_equal(found.eigenvalues, [3.0])
    assert_array_equal(kernel_spectrum([[3.0]]).eigenvalues, [0.0])
    with pytest.raises(ValueError, match="y is constant on the 1 rows"):
        kernel_spectrum([[3.0]], [1.0])


def test_float32_rounding_is_no_asymmetry():
    half = (K / abs(K).max()).astype(np.float32)
    half[0, 1] += 1e-6
    assert_allclose(
        kernel_spectrum(half, Y).alignment, alignment(K, np.outer(Y, Y)), 1e-4
    )


@pytest.mark.parametrize(
    ("matrix", "y", "message"),
    [
        (K[:5], None, r"shape \(n, n\) is needed, not \(5, 12\)"),
        (np.empty((0, 0)), None, r"not \(0, 0\)"),
        (K + np.tri(12), None, "not symmetric"),
        (np.where(np.eye(12) > 0, np.nan, K), None, "kernel matrix contains NaN"),
        (K + 1j, None, "dtype complex128"),
        (K, Y[:5], "y has 5 rows, and the kernel matrix 12"),
        (K, np.full(12, 0.1), "y is constant"),
        (K, ["a"] * 12, "y is constant"),
        (K, np.where(Y > 0, np.inf, Y), "y contains NaN or infinity"),
        (K, Y + 1j, "y has dtype complex128"),
        (K, np.ones((12, 0)), r"not \(12, 0\)"),
        (np.full((12, 12), 0.1), Y, "tells no two rows apart"),
        (np.zeros((12, 12)), Y, "tells no two rows apart"),
    ],
)
def test_errors(matrix, y, message):
    with pytest.raises(ValueError, match=message):
        kernel_spectrum(matrix, y)
