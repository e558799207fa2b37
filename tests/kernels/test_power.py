"""Power kernels: their spectral densities are powers, by numerical transforms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import kve

from gpkern.kernels import (
    RBF,
    BSpline,
    InverseMultiquadric,
    Laplacian,
    Matern,
    Sinc,
    power_kernel,
)

STEP, SIZE = 0.02, 2**15


def density(kernel):
    """Spectral density in one dimension, by a discrete Fourier transform."""
    x = np.arange(-SIZE // 2, SIZE // 2)[:, None] * STEP
    values = kernel(x, np.zeros((1, 1)))[:, 0]
    return np.fft.rfft(np.fft.ifftshift(values)).real * STEP


def radial_density(kernel, frequencies):
    """In three dimensions: ``4 pi / w`` times the integral of ``r k(r) sin(w r)``."""
    r = np.arange(1, 40_000) * 2e-3
    values = r * kernel(np.zeros((1, 1)), r[:, None])[0]
    return np.array([(values * np.sin(w * r)).sum() / w for w in frequencies])


@pytest.mark.parametrize(
    "kernel", [RBF(1.3), Matern(1.3, nu=2.5), 2.0 * Matern(1.3, nu=3.5)], ids=str
)
@pytest.mark.parametrize("alpha", [0.5, 0.6, 0.8])
def test_spectral_density_is_a_power(kernel, alpha):
    whole, power = density(kernel), density(power_kernel(kernel, 1, alpha))
    seen = whole > 1e-6 * whole[0]
    whole, power = whole[seen] / whole[0], power[seen] / power[0]
    assert_allclose(np.log(power[1:]) / np.log(whole[1:]), alpha, rtol=0.02)


@pytest.mark.parametrize(
    "kernel, alpha",
    [
        (RBF(1.3), 0.5),
        (Matern(1.3, nu=2.5), 0.7),
        (Matern(1.3, nu=0.5), 0.9),  # the Laplacian of the Euclidean distance
    ],
    ids=str,
)
def test_in_three_dimensions(kernel, alpha):
    w = np.array([0.2, 0.5, 1.0, 2.0, 3.0])
    whole = radial_density(kernel, w)
    power = radial_density(power_kernel(kernel, 3, alpha), w)
    ratio = np.log(power / power[0])[1:] / np.log(whole / whole[0])[1:]
    assert_allclose(ratio, alpha, rtol=0.01)


@pytest.mark.parametrize(
    "kernel", [RBF(1.3), Matern(1.3, nu=2.5), BSpline(1.3, 3), BSpline(1.3, 7)], ids=str
)
def test_root_convolved_with_itself_is_the_kernel(kernel):
    x = np.arange(-3000, 3001)[:, None] * 0.01
    root = power_kernel(kernel, 1, 0.5)(x, np.zeros((1, 1)))[:, 0]
    twice = np.convolve(root, root, mode="same")
    expected = kernel(x, np.zeros((1, 1)))[:, 0]
    assert_allclose(twice / twice[3000], expected, atol=2e-4)


@pytest.mark.parametrize("degree, new", [(1, 1), (3, 1), (5, 3), (7, 3), (9, 5)])
def test_splines(degree, new):
    power, alpha = power_kernel(BSpline(2.0, degree), 4), (new + 1) / (degree + 1)
    assert power == BSpline(2.0, new)
    assert power_kernel(BSpline(2.0, degree), 4, alpha) == power
    whole, root = density(BSpline(1.0, degree)), density(BSpline(1.0, new))
    expected = (np.maximum(whole, 0.0) / whole[0]) ** alpha
    assert_allclose(root / root[0], expected, atol=1e-3)
    with pytest.raises(ValueError, match="an even number"):
        power_kernel(BSpline(1.0, 5), 1, 0.5)


def test_sinc_is_its_own():
    assert power_kernel(Sinc(2.0), 3) == Sinc(2.0)
    assert power_kernel(0.5 * Sinc([1.0, 2.0]), 2, 0.7) == Sinc([1.0, 2.0])
    # Its density is that of a box: the same at all frequencies below 1.
    frequencies = 2 * np.pi * np.fft.rfftfreq(SIZE, STEP)
    values = density(Sinc(1.0))
    assert_allclose(values[frequencies < 0.8], np.pi, rtol=0.05)
    assert abs(values[frequencies > 1.2]).max() < 0.1


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("exponent", [0.3, 0.8, 2.5])
def test_inverse_multiquadric_dominates_the_root(exponent, d):
    """Its squared density is nowhere far below the kernel's own, in closed form."""

    def log_density(kernel, w):
        order, z = kernel.exponent - d / 2, kernel.length_scale * w
        return order * np.log(w) + np.log(kve(order, z)) - z

    kernel, w = InverseMultiquadric(1.5, exponent), np.geomspace(1e-4, 1e3, 200)
    root = power_kernel(kernel, d)
    ratio = 2 * log_density(root, w) - log_density(kernel, w)
    assert ratio.min() > ratio[0] - 2.0
    # With the same scale, or the half of it and more, it would fall off.
    wide = InverseMultiquadric(0.8, root.exponent)
    assert (2 * log_density(wide, w) - log_density(kernel, w))[-1] < ratio[0] - 20


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("nu", [1.5, 2.5, 4.5])
def test_default_is_elementary(nu, d):
    """The least alpha from 1/2 on for which the order has a half again."""
    new = power_kernel(Matern(1.3, nu=nu), d)
    alpha = (new.nu + d / 2) / (nu + d / 2)
    assert (new.nu - 0.5) % 1 == pytest.approx(0.0)
    assert 0.5 <= alpha < 1.0
    assert new.nu <= 0.5 or (new.nu - 1 + d / 2) / (nu + d / 2) < 0.5


def test_default_of_rough_kernels():
    """Half is impossible for Matern 1/2; what is used is above the least."""
    for d in (1, 3, 30):
        assert power_kernel(Matern(1.0, nu=0.5), d).nu > 0
    assert power_kernel(RBF(2.0), 5).length_scale == pytest.approx(np.sqrt(2))
    with pytest.raises(ValueError, match=r"alpha=0\.5 is too small"):
        power_kernel(Matern(1.0, nu=0.5), 3, 0.5)


def test_no_closed_form():
    with pytest.raises(ValueError, match="no power kernel in closed form"):
        power_kernel(Laplacian(1.0), 2)
    with pytest.raises(ValueError, match=r"alpha=0\.5 alone"):
        power_kernel(InverseMultiquadric(), 2, 0.7)
