"""One fit of a `SteinSampler`: from particles and scores to a direction."""

from __future__ import annotations

import numpy as np

from ..algorithms import particles
from ..algorithms.particles import DivergenceError, Interactions, Steps
from ..kernels import median_distance, resolve_kernel
from ..kernels.program import Program
from ..kernels.stein import BaseSlope
from ._domains import REMEDY
from ._testing import BASES

# Particles whose pairs the median is taken of, in each step.
MEDIAN_ROWS = 300
# Particles of which SVMD and SVNG take the eigenvectors in each step.
MOST_EIGEN = 4096


def checked_particles(points, mirror, name="X"):
    """Particles inside of the domain, that are not all the same; or an error."""
    outside = ~mirror.inside(points)
    if bool(outside.any()):
        raise ValueError(
            f"{name} has {int(outside.sum())} of {len(points)} rows outside of domain="
            f"{mirror.name!r} or on its edge, the first of them row "
            f"{int(outside.argmax())}: rows must be {mirror.rule}"
        )
    if bool((points == points[:1]).all()):
        raise ValueError(
            f"all rows of {name} are equal: particles in one place never part; start "
            "from different ones"
        )
    return mirror.cleaned(points)


class SteinFlow:
    """One fit: from dual coordinates to a direction.

    Parameters
    ----------
    sampler : SteinSampler
    points : array of shape (n, D)
    score : DomainScore
    mirror : MirrorMap
    device : Device
    """

    def __init__(self, sampler, points, score, mirror, device):
        self.sampler, self.score = sampler, score
        self.mirror, self.device = mirror, device
        named = isinstance(sampler.kernel, str)
        given = sampler.length_scale
        self.follows = given == "median" or (given is None and named)
        base = BASES[sampler.kernel]() if named else sampler.kernel
        # The median is a unit of the rows, and not part of the kernel.
        own = 1.0 if self.follows else given
        self.base = resolve_kernel(base, points, length_scale=own)
        Program.of(BaseSlope(self.base, 1), points.shape[1])
        self.scale, n = 1.0, len(points)
        some = np.unique(np.linspace(0, n - 1, MEDIAN_ROWS).astype(int))
        self._some = device.xp.asarray(some)
        eigen = sampler.method_ == "svmd" or sampler.metric is not None
        if eigen and n > MOST_EIGEN:
            raise ValueError(
                f"method={sampler.method_!r} takes at most {MOST_EIGEN} particles, not "
                f"{n}: use 'msvgd' or 'svgd'"
            )
        self._metric = particles.ScoreMetric(device.xp)

    def run(self, points, report):
        """Where the particles come to, and the lengths of the steps."""
        sampler, mirror = self.sampler, self.mirror
        steps = Steps(
            sampler.step_size, sampler.schedule, sampler.max_iter, self.device.xp
        )
        projected = sampler.method_ == "svgd"
        # Entries of "rmsprop" that remember a huge score stand still, but do not rest.
        tol = 0.0 if sampler.schedule == "rmsprop" else sampler.tol
        to_dual, to_primal, retract = mirror.to_dual, mirror.to_primal, _same
        if projected:
            to_dual, to_primal, retract = mirror.project, _same, mirror.project
        try:
            E, norms, rests = particles.evolve(
                to_dual(points),
                lambda E: self._direction(E, to_primal(E)),
                steps,
                retract,
                sampler.max_iter,
                tol,
                report,
            )
        except DivergenceError as error:
            raise ValueError(f"the particles fly apart: {error}; {REMEDY}") from None
        self.is_restless = tol > 0 and len(norms) == sampler.max_iter and not rests
        return to_primal(E), norms

    def kernel(self):
        """The kernel in the units of the particles."""
        if not self.follows:
            return self.base
        return resolve_kernel(self.base, None, length_scale=self.scale)

    def _direction(self, E, P):
        """Where particles P move, whose coordinates of moving are E."""
        method, linalg = self.sampler.method_, self.device.linalg
        S = self.score(P)
        if method == "svgd":
            return self.mirror.tangent(particles.svgd(self._pairs(P), S))
        if method == "msvgd":
            return particles.msvgd(self._pairs(P), S, self.mirror)
        if method == "svmd":
            return particles.svmd(self._pairs(P), S, self.mirror, linalg)
        # The score of the dual coordinates' density; on "real" S itself.
        S = self.mirror.free(self.mirror.mirrored_score(P, S))
        return particles.svng(self._pairs(E), S, *self._metric_at(E, S), linalg)

    def _pairs(self, points):
        if self.follows:
            self.scale = median_distance(points[self._some])
        return Interactions(self.base, points, self.scale, self.device)

    def _metric_at(self, P, S):
        """The metric of natural gradients, and the divergence of its inverse."""
        metric = self.sampler.metric
        if metric is None:
            return self._metric(S), None
        xp, d = self.device.xp, P.shape[1]

        def metric_at(X):
            G = self.score.of_rows(metric, X)
            if G.shape != (len(X), d, d):
                raise ValueError(
                    f"metric(X) of X of shape {X.shape} has shape {G.shape}: it must "
                    f"be ({len(X)}, {d}, {d})"
                )
            if not bool(xp.isfinite(G).all()):
                raise ValueError("metric(X) holds NaN or infinity")
            return 0.5 * (G + G.transpose(0, 2, 1))

        G = metric_at(P)
        if bool((xp.linalg.eigvalsh(G)[:, 0] <= 0).any()):
            raise ValueError("metric(X) must hold positive definite matrices")
        return G, particles.inverse_divergence(metric_at, P, G, xp)


def _same(E):
    return E
