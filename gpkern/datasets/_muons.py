"""Simulated muons in drift tubes, for monitoring a detector."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, validate_params

# The tubes: half width in mm, and drift velocity in mm / ns at the nominal voltage.
HALF, SPEED = 21.0, 0.054
# Nominal cathode voltage in V and threshold in mV.
VOLTAGE, THRESHOLD = 1200.0, 100.0
# Time resolution in ns, and distance of the layers in mm.
RESOLUTION, LAYER = 3.0, 13.0
# Share of hits that is noise at the nominal threshold, and mV to halve it.
NOISE, HALVING = 0.02, 20.0
# Share by which electrons of the very edge are slower without any voltage.
WEAK = 0.25


@validate_params(
    {
        "n_samples": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, 0, None, closed="neither")],
        "cathode": [Interval(Real, 0, 2 * VOLTAGE, closed="neither")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=True,
)
def make_muons(
    n_samples=1000, *, threshold=THRESHOLD, cathode=VOLTAGE, random_state=None
):
    """Muons that cross four layers of drift tubes.

    A muon frees electrons in each of four gas-filled tubes, which drift to the wire in
    its middle: the time tells the distance. Layers are shifted by half a tube, so that
    the times of a straight track depend on each other: ``(t1 + t3) / 2 + t2`` is about
    the longest drift time. Faults of the electronics and of the high voltage break
    that relation, often without changing any one time much. It is a simple simulation
    in the spirit of the data of Grosso et al. (2023), not of their detector.

    ==============   ============
    Dimensionality   5
    Features         real
    ==============   ============

    Parameters
    ----------
    n_samples : int, default=1000
        Muons.
    threshold : float, default=100.0
        Of the amplifiers, in mV. Below the nominal 100 signals are measured earlier,
        and more of them are hidden by noise that comes before them; above it they
        are late.
    cathode : float, default=1200.0
        Magnitude of the cathodes' voltage, in V, below 2,400. A lower one bends the
        field less, so that electrons from the tubes' edges drift more slowly.
    random_state : int, RandomState or None, default=None

    Returns
    -------
    X : ndarray of shape (n_samples, 5)
        Drift times of layers 1 to 4 in ns, and the angle of the track in degrees.

    References
    ----------
    Grosso et al. (2023), Fast kernel methods for data quality monitoring as a
    goodness-of-fit test, arXiv 2303.05413.

    Examples
    --------
    >>> from gpkern.datasets import make_muons
    >>> X = make_muons(2000, random_state=0)
    >>> X.shape
    (2000, 5)
    >>> float((0.5 * (X[:, 0] + X[:, 2]) + X[:, 1]).mean().round(-1))  # ns
    390.0
    """
    rng = check_random_state(random_state)
    # Tracks: where they enter the first layer, and the angle, cos^2 of the vertical.
    slopes = np.tan(_angles(n_samples, rng))
    start = rng.uniform(-HALF, HALF, size=n_samples)
    layers = np.arange(4)
    at = start[:, None] + LAYER * layers * slopes[:, None]
    # Wires of every other layer are shifted by half a tube; the nearest one is hit.
    shifted = at - HALF * (layers % 2)
    distance = abs((shifted + HALF) % (2 * HALF) - HALF)
    time = distance / SPEED
    # A weak field: slower at the edge of the tube, the more the nearer to it.
    weak = 1.0 - cathode / VOLTAGE
    time *= 1.0 + WEAK * weak * (distance / HALF) ** 3
    # Signals rise: they cross a higher threshold later.
    time += 0.05 * (threshold - THRESHOLD)
    time += RESOLUTION * rng.normal(size=time.shape)
    noise = min(1.0, NOISE * 2.0 ** ((THRESHOLD - threshold) / HALVING))
    hit = rng.uniform(size=time.shape) < noise
    # What comes first is measured: noise hides the later signal.
    early = rng.uniform(0.0, HALF / SPEED, size=time.shape)
    time = np.where(hit, np.minimum(time, early), time)
    return np.column_stack([time, np.degrees(np.arctan(slopes))])


def _angles(n, rng):
    """Angles to the vertical in radians, of density cos^2, up to 45 degrees."""
    out = np.empty(0)
    while len(out) < n:
        angle = rng.uniform(-np.pi / 4, np.pi / 4, size=2 * n)
        out = np.append(out, angle[rng.uniform(size=2 * n) < np.cos(angle) ** 2])
    return out[:n]
