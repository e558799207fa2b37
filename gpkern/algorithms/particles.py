"""Particles that move towards a density: directions of Stein samplers, and steps.

All directions come from sums over the particles, of scores and of slopes of the
kernel, with the inverse Hessian H of a mirror map at each particle:

    M_m = 1/n sum_l k(l, m) g_l + H_l grad_l k(l, m)

with g the mirrored score. SVGD and MSVGD move along M itself; SVMD and SVNG take it
apart by the eigenvectors of the Gram matrix.
"""

from __future__ import annotations

import numpy as np

from ..kernels.stein import BaseSlope
from ..operator import make_operator
from .training import DivergenceError

# Particles up to which the Gram matrix is held: products with it are then BLAS's.
DENSE_ROWS = 2048
# Share of the eigenvalues' sum that SVMD and SVNG leave out.
LEFT_OUT = 0.02
# Memory of averages over steps, and what is added to the metric of scores.
MEMORY, DAMPING = 0.9, 0.01
# A step this many times as long as the particles are apart is divergence.
FAR = 1e4


class Interactions:
    """Kernel values and slopes between all particles.

    Parameters
    ----------
    base : Kernel
        A smooth function of the Euclidean distance.
    P : array of shape (n, D), float64
        The particles, on the device.
    scale : float
        Unit of the distances: the kernel is ``base(P / scale)``. One that changes with
        each step is kept out of the kernel, whose formula is so prepared only once.
    device : Device
    """

    def __init__(self, base, P, scale, device):
        self.xp, self.P = device.xp, P
        self._centred = P - P.mean(axis=0)  # differences keep their digits
        value = make_operator(
            base, self._centred / scale, None, device, dtype=np.float64
        )
        slope = value.with_kernel(BaseSlope(base, 1))
        held = len(P) <= DENSE_ROWS
        self.value = value.to_dense() if held else value
        self._slope = slope.to_dense() if held else slope
        self._factor = 2.0 / scale**2

    def push(self, h=None, t=None):
        """``sum_l H_l grad_l k(l, m)`` with ``H = diag(h) - t t'``, shape (n, D).

        None stands for an h of ones, and a t of zeros.
        """
        P, d = self._centred, self.P.shape[1]
        h = self.xp.ones_like(P[:, :1]) if h is None else h
        both = self._slope @ self.xp.concatenate([h * P, h], axis=1)
        out = both[:, :d] - both[:, d:] * P
        if t is not None:
            out -= self._slope @ (t * (t * P).sum(axis=1, keepdims=True))
            for j in range(d):  # a column each, not n d^2 numbers at once
                out[:, j] += ((self._slope @ (t[:, j : j + 1] * t)) * P).sum(axis=1)
        return self._factor * out

    def push_matrices(self, H):
        """The same with symmetric matrices H of shape (n, D, D)."""
        P, (n, d) = self._centred[:, :, None], self.P.shape
        sums = (self._slope @ H.reshape(n, d * d)).reshape(n, d, d)
        out = self._slope @ (H @ P)[:, :, 0] - (sums @ P)[:, :, 0]
        return self._factor * out

    def root(self, linalg):
        """Eigenvectors of the Gram matrix, and roots of their eigenvalues.

        The largest, with all but `LEFT_OUT` of the trace.
        """
        if hasattr(self.value, "to_dense"):
            self.value = self.value.to_dense()
        values, vectors = linalg.eigh(self.value)
        shares = self.xp.cumsum(self.xp.maximum(values, 0.0))
        count = int((shares < (1.0 - LEFT_OUT) * shares[-1]).sum()) + 1
        return vectors[:, :count], self.xp.sqrt(values[:count])[:, None]


def svgd(pairs, S):
    """Direction of SVGD, ``1/n sum_l k(l, m) s_l + grad_l k(l, m)``, shape (n, D).

    Parameters
    ----------
    pairs : Interactions
    S : array of shape (n, D)
        Scores of the particles.

    References
    ----------
    Liu & Wang (2016), Stein variational gradient descent, algorithm 1.
    """
    return (pairs.value @ S + pairs.push()) / len(S)


def msvgd(pairs, S, mirror):
    """Direction of mirrored SVGD in dual coordinates, shape (n, d).

    Parameters
    ----------
    pairs : Interactions
    S : array of shape (n, D)
        Scores of the particles, which are points of the domain.
    mirror : MirrorMap

    References
    ----------
    Shi, Liu & Mackey (2022), Sampling with mirrored Stein operators, section 4.2.
    """
    return mirror.free(_mirrored(pairs, S, mirror))


def _mirrored(pairs, S, mirror):
    """M of the module's description: tangents, shape (n, D)."""
    g = mirror.mirrored_score(pairs.P, S)
    pushed = pairs.push(*mirror.inverse_hessian_parts(pairs.P))
    return (pairs.value @ g + pushed) / len(S)


def svmd(pairs, S, mirror, linalg):
    """Direction of Stein variational mirror descent in dual coordinates, (n, d).

    Its kernel is matrix-valued: a double sum over eigenfunctions of k, with the mean of
    the mirror map's Hessian between them. With R the root of the Gram matrix it is
    ``R Hess R^-1 M``.

    Parameters
    ----------
    pairs : Interactions
    S : array of shape (n, D)
    mirror : MirrorMap
    linalg : module
        Of the device.

    References
    ----------
    Shi, Liu & Mackey (2022), section 4.1, algorithm 1.
    """
    V, root = pairs.root(linalg)
    W = V @ ((V.T @ _mirrored(pairs, S, mirror)) / root)
    return V @ (root * (V.T @ mirror.hessian(pairs.P, W)))


def svng(pairs, S, metric, divergence, linalg):
    """Direction of Stein variational natural gradient descent, shape (n, d).

    Parameters
    ----------
    pairs : Interactions
    S : array of shape (n, d)
    metric : array of shape (d, d) or (n, d, d)
        Positive definite; one for all particles, or one for each.
    divergence : array of shape (n, d) or None
        Of the inverse metric; None where the metric is one for all.
    linalg : module
        Of the device.

    Notes
    -----
    With one metric for all it is that times the direction of SVGD, inverted.

    References
    ----------
    Shi, Liu & Mackey (2022), section 5.
    """
    solve = pairs.xp.linalg.solve
    if metric.ndim == 2:
        return solve(metric, svgd(pairs, S).T).T
    H = pairs.xp.linalg.inv(metric)
    g = (H @ S[:, :, None])[:, :, 0] + divergence
    M = (pairs.value @ g + pairs.push_matrices(H)) / len(S)
    V, root = pairs.root(linalg)
    W = V @ ((V.T @ M) / root)
    W = V @ (root * (V.T @ (metric @ W[:, :, None])[:, :, 0]))
    return solve(metric, W[:, :, None])[:, :, 0]


def inverse_divergence(metric_at, P, metric, xp):
    """``sum_j d (G^-1)_ij / d x_j`` by central differences of G, shape (n, d).

    Parameters
    ----------
    metric_at : callable
        ``X -> (m, d, d)``.
    P : array of shape (n, d)
    metric : array of shape (n, d, d)
        At P.
    xp : module
    """
    n, d = P.shape
    eps = float(np.finfo(np.float64).eps)
    h = eps ** (1 / 3) * (1.0 + abs(P - P.mean(axis=0)))
    h = xp.maximum(h, eps**0.75 * abs(P))
    moves = xp.eye(d)[:, None, :] * h
    rows = xp.concatenate([P + moves, P - moves]).reshape(2 * d * n, d)
    ends = metric_at(rows).reshape(2, d, n, d, d)
    slopes = (ends[0] - ends[1]) / (2.0 * h.T[:, :, None, None])  # dG / dx_j
    # d G^-1 = -G^-1 dG G^-1, of which column j is wanted.
    H = xp.linalg.inv(metric)
    return -(H @ xp.einsum("jnab,nbj->na", slopes, H)[:, :, None])[:, :, 0]


class ScoreMetric:
    """Running mean of the outer products of scores, a bit of the identity added.

    For particles of the target it is the Fisher information of its location.
    """

    def __init__(self, xp):
        self.xp, self.mean = xp, None

    def __call__(self, S):
        """The metric after a step with these scores, shape (d, d)."""
        new, d = S.T @ S / len(S), S.shape[1]
        old = new if self.mean is None else self.mean
        self.mean = MEMORY * old + (1.0 - MEMORY) * new
        size = float(self.xp.trace(self.mean)) / d
        return self.mean + DAMPING * (size or 1.0) * self.xp.eye(d)


class Steps:
    """Directions to moves.

    Parameters
    ----------
    step_size : float
    schedule : {"constant", "rmsprop", "adagrad"} or callable
    max_iter : int
        Steps of "rmsprop", which become shorter in the second half: entries whose
        squares are forgotten never come to rest, but jump to and fro.
    xp : module
    """

    def __init__(self, step_size, schedule, max_iter, xp):
        self.step_size, self.schedule, self.xp = step_size, schedule, xp
        self.max_iter, self._squares, self._count = max_iter, None, 0
        self.factor = 1.0

    @property
    def shortest(self):
        """Length that steps have whatever the direction's is."""
        return self.step_size if self.schedule in ("rmsprop", "adagrad") else 0.0

    def __call__(self, way):
        """The move along a direction, of its shape."""
        self._count += 1
        if callable(self.schedule):
            factor = self.schedule(self._count - 1)
            try:
                self.factor = float(factor)
            except (TypeError, ValueError):
                self.factor = np.nan
            if not 0.0 <= self.factor < np.inf:
                raise ValueError(
                    f"schedule({self._count - 1}) returned {factor!r}: it must be a "
                    "number from 0 on, the factor of step_size"
                )
            return self.step_size * self.factor * way
        if self.schedule == "constant":
            return self.step_size * way
        old, new, step = self._squares, way * way, self.step_size
        if self.schedule == "adagrad":
            self._squares = new if old is None else old + new
        else:
            self._squares = new if old is None else MEMORY * old + (1 - MEMORY) * new
            step *= min(1.0, 2.0 * (1.0 - (self._count - 1) / self.max_iter))
        size = self.xp.sqrt(self._squares)
        # An entry that has never moved stays.
        return step * way / self.xp.where(size > 0, size, 1.0)


def evolve(E, direction, steps, retract, max_iter, tol, report):
    """Move particles until they rest.

    Parameters
    ----------
    E : array of shape (n, d)
    direction : callable
        ``E -> (n, d)``.
    steps : Steps
    retract : callable
        ``E -> E``: back to the domain.
    max_iter : int
    tol : float
        Of the root mean square of a move, over that of the particles' distance from
        their mean.
    report : callable
        ``report(norms)`` after each step; True stops.

    Returns
    -------
    E : array of shape (n, d)
    norms : list of float
        Root mean squares of the moves.
    rests : bool
        Whether the last one was within `tol`.

    Raises
    ------
    DivergenceError
    """
    norms, rests, reach = [], False, FAR * (_spread(E) + _rms(E) + steps.shortest)
    for _ in range(max_iter):
        move = steps(direction(E))
        norms.append(_rms(move))
        if not norms[-1] <= reach:
            raise DivergenceError(f"step {len(norms)} is {norms[-1]:.2g} long")
        E = retract(E + move)
        # A schedule may start at 0.
        rests = tol > 0 and steps.factor > 0 and norms[-1] <= tol * _spread(E)
        if report(norms) or rests:
            break
    return E, norms, rests


def _rms(A):
    with np.errstate(over="ignore"):
        return float((A * A).mean()) ** 0.5


def _spread(E):
    return _rms(E - E.mean(axis=0))
