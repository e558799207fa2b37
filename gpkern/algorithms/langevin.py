"""Particles with velocities that minimise a function of their distribution.

Each of n particles moves by the force of all of them, friction and noise:

    dx = v dt,  dv = (f(x) - friction v) dt + sqrt(2 friction temperature) dB,

with f minus the gradient of the first variation of the objective F. The stationary
distribution of many particles minimises ``F + temperature * (negative entropy)``.
"""

from __future__ import annotations

import math

import numpy as np

from ..kernels.stein import BaseSlope
from ..kernels.stein_slopes import SteinSlope
from ..operator import make_operator
from .particles import FAR, DivergenceError
from .stein import stein_rows, stein_sums

# Friction times step below which series take the place of differences, and their terms.
SMALL, TERMS = 0.5, 18
# Power iterations that look for the stiffest direction.
POWERS = 12


class MMDObjective:
    """Half the squared MMD to a sample.

    Parameters
    ----------
    base : Kernel
    Z : array of shape (m, d), float64
    device : Device
    """

    def __init__(self, base, Z, device):
        self.base, self.Z, self.device = base, Z, device
        self._own = self._mean(Z, Z)

    def force(self, X):
        """Minus the gradient of the first variation at the particles, (n, d)."""
        pull = self._operator(X, self.Z).row_gradient() / len(self.Z)
        return pull - self._operator(X, X).row_gradient() / len(X)

    def squared(self, X):
        """The squared distance, pairs of a row with itself included."""
        return self._own - 2.0 * self._mean(X, self.Z) + self._mean(X, X)

    def _mean(self, X, Z):
        return self._operator(X, Z).total() / (len(X) * len(Z))

    def _operator(self, X, Z):
        return make_operator(self.base, X, Z, self.device, dtype=np.float64)


class KSDObjective:
    """Half the squared kernel Stein discrepancy to a density.

    Parameters
    ----------
    base : Kernel
        A smooth function of the Euclidean distance.
    score : callable
        ``X -> (n, d)``.
    device : Device
    """

    def __init__(self, base, score, device):
        self.base, self.score, self.device = base, score, device

    def force(self, X):
        """Minus the gradient of the first variation at the particles, (n, d).

        One score of the particles, and two of moved ones: of the second derivatives of
        the log density only their product with one vector a particle is needed.
        """
        xp, (n, d) = self.device.xp, X.shape
        S = self.score(X)
        C = X - X.mean(axis=0)
        value = make_operator(self.base, C, None, self.device, dtype=np.float64)
        first = value.with_kernel(BaseSlope(self.base, 1))
        rows = stein_rows(C, S, xp)
        along = make_operator(SteinSlope(self.base, d), rows, None, self.device)
        one = xp.ones((n, 1))
        F = first @ xp.concatenate([C, S, one], axis=1)
        W = along @ xp.concatenate([C, one], axis=1)
        sums = F[:, -1:]
        vector = value @ S - 2.0 * (sums * C - F[:, :d])
        slope = W[:, -1:] * C - W[:, :d] - 2.0 * (sums * S - F[:, d:-1])
        return -(slope + self._curvature(X, vector)) / n

    def _curvature(self, X, W):
        """Second derivatives of the log density times W, row by row, (n, d)."""
        xp = self.device.xp
        length = xp.sqrt((W * W).sum(axis=1, keepdims=True))
        length = xp.where(length > 0, length, 1.0)
        size = 1.0 + xp.sqrt((X * X).mean(axis=1, keepdims=True))
        h = float(np.finfo(np.float64).eps) ** (1 / 3) * size
        move = h * W / length
        return (self.score(X + move) - self.score(X - move)) * (length / (2.0 * h))

    def squared(self, X):
        """The squared discrepancy, pairs of a row with itself included."""
        sums = stein_sums(X, self.score(X), [self.base], self.device)
        return float(sums.totals()[0] + sums.traces()[0]) / len(X) ** 2


def exact_moments(friction, h):
    """One step of the velocity and position under a constant force.

    Returns
    -------
    decay, drift, push : float
        ``v' = decay v + drift f`` and ``x' = x + drift v + push f``.
    variances : tuple of float
        Of the noise of v, of x, and their covariance, at a temperature of 1.

    Notes
    -----
    For a small ``a = friction h`` the variance of x is ``2/3 a^3 / friction^2``, which
    differences of numbers near 1 would lose: in float32 at a = 1e-3 all of it.
    """
    a = friction * h
    decay, lost = math.exp(-a), -math.expm1(-a)
    if a < SMALL:
        terms = [(k, (-a) ** k / math.factorial(k)) for k in range(2, TERMS)]
        push = math.fsum(t for _, t in terms)
        wide = math.fsum((4.0 - 2.0**k) * t for k, t in terms)
    else:
        push = a - lost
        wide = 2.0 * a - 3.0 + 4.0 * decay - decay**2
    variances = -math.expm1(-2.0 * a), wide / friction**2, lost**2 / friction
    return decay, lost / friction, push / friction**2, variances


class Euler:
    """Overdamped: ``x' = x + h f + sqrt(2 h temperature) xi``. No velocities.

    Parameters
    ----------
    friction : float
    h : float
        Step.
    """

    def __init__(self, friction, h):
        self.h = h

    def step(self, X, V, f, force, temperature, noise):
        """Particles, velocities and the force after a step.

        Parameters
        ----------
        X, V, f : array of shape (n, d)
            Particles, velocities, and the force at the particles.
        force : callable
        temperature : float
        noise : callable
            Returns (n, d) normal numbers.
        """
        X = X + self.h * f
        if temperature > 0:
            X = X + math.sqrt(2.0 * self.h * temperature) * noise()
        return X, V, force(X)


class Baoab:
    """Half a kick, half a drift, friction and noise, half a drift, half a kick.

    For linear forces the positions' distribution has no error. Leimkuhler & Matthews
    (2013), Rational construction of stochastic numerical methods.
    """

    def __init__(self, friction, h):
        self.h, self.decay = h, math.exp(-friction * h)
        self.width = math.sqrt(-math.expm1(-2.0 * friction * h))

    def step(self, X, V, f, force, temperature, noise):
        """As `Euler.step`."""
        half = 0.5 * self.h
        V = V + half * f
        X = X + half * V
        V = self.decay * V
        if temperature > 0:
            V = V + math.sqrt(temperature) * self.width * noise()
        X = X + half * V
        f = force(X)
        return X, V + half * f, f


class ExactOU:
    """Exact for a force that stays what it was at the start of the step.

    The scheme of Fu & Wilson (2023), Mean-field underdamped Langevin dynamics and its
    spacetime discretization.
    """

    def __init__(self, friction, h):
        self.decay, self.drift, self.push, moments = exact_moments(friction, h)
        of_v, of_x, both = moments
        self.of_v, self.shared = math.sqrt(of_v), both / math.sqrt(of_v)
        self.own = math.sqrt(max(of_x - self.shared**2, 0.0))

    def step(self, X, V, f, force, temperature, noise):
        """As `Euler.step`."""
        X = X + self.drift * V + self.push * f
        V = self.decay * V + self.drift * f
        if temperature > 0:
            root, first, second = math.sqrt(temperature), noise(), noise()
            V = V + root * self.of_v * first
            X = X + root * (self.shared * first + self.own * second)
        return X, V, force(X)


def stable_step(name, friction, objective, X, direction, xp):
    """A step of half the length at which linear forces, as at X, become unstable.

    Infinity where there are none.

    Parameters
    ----------
    name : {"baoab", "exact-ou", "euler"}
    friction : float
    objective : MMDObjective or KSDObjective
    X : array of shape (n, d)
    direction : array of shape (n, d)
        Not zero: where the search for the stiffest direction starts.
    xp : module
    """
    f, away = objective.force(X), X - X.mean(axis=0)
    size = 1e-4 * (1.0 + float(abs(away).max()))
    stiffness = 0.0
    for _ in range(POWERS):
        direction = direction / xp.sqrt((direction**2).sum())
        direction = (objective.force(X + size * direction) - f) / size
        stiffness = max(stiffness, float(xp.sqrt((direction**2).sum())))
        if not 0.0 < stiffness < np.inf:
            return np.inf
    if name == "euler":
        return 1.0 / stiffness
    stable = stiffness**-0.5
    # A force that is frozen for a step feeds in energy, which friction must take out.
    return min(stable, friction / stiffness) if name == "exact-ou" else stable


INTEGRATORS = {"baoab": Baoab, "exact-ou": ExactOU, "euler": Euler}


def minimize(objective, X, integrator, temperatures, noise, report, xp):
    """Particles after the steps, and how many were taken.

    Parameters
    ----------
    objective : MMDObjective or KSDObjective
    X : array of shape (n, d)
    integrator : Euler, Baoab or ExactOU
    temperatures : sequence of float
        Of each step.
    noise : callable
    report : callable
        ``report(i, X)`` after step i, from 1; True stops.
    xp : module

    Raises
    ------
    DivergenceError
    """
    V, f, i = xp.zeros_like(X), objective.force(X), 0
    reach = FAR * (1.0 + float(abs(X - X.mean(axis=0)).max()))
    centre = X.mean(axis=0)
    for i, temperature in enumerate(temperatures, start=1):
        X, V, f = integrator.step(X, V, f, objective.force, temperature, noise)
        if not float(abs(X - centre).max()) <= reach:
            raise DivergenceError(f"after {i} steps particles are {reach:.2g} away")
        if report(i, X):
            break
    return X, i
