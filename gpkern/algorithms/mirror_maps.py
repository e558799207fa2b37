"""Mirror maps: coordinates in which a constrained domain has no edges.

A strictly convex function psi of the domain gives each point theta a dual point
``eta = grad psi(theta)``, and the dual points fill a whole space. Particles move there
and never leave the domain. What their moves need of psi is its Hessian: the inverse
takes a gradient (a covector) to a tangent, the Hessian takes it back.

Points of the simplex are written with all D coordinates, of sum 1. The last one is no
coordinate of its own: dual points have D - 1 columns, and tangents have D columns of
sum 0, of which the first D - 1 count.
"""

from __future__ import annotations

import numpy as np

# Coordinates of the orthant and the simplex stay above this, so that scores such as
# (a - 1) / theta are numbers.
TINY = 1e-250
# Logarithms of the orthant's coordinates stay within it.
LONGEST = 550.0
# Distance from the edges that projected points keep: at the edge itself scores of
# densities that vanish, or grow without bound, are infinite.
MARGIN = 1e-6
# By which rows of the simplex may miss a sum of 1: float32 input does.
SUM_TOLERANCE = 1e-4


class MirrorMap:
    """The identity: a domain without edges. Base of the maps of the others.

    Parameters
    ----------
    xp : module
        NumPy or CuPy, of which all arrays are.

    Notes
    -----
    Arrays are of shape (n, D), one row a point; dual points of shape (n, d), where d is
    D, and D - 1 on the simplex.
    """

    name = "real"

    def __init__(self, xp=np):
        self.xp = xp

    def to_dual(self, P):
        """Dual points ``grad psi``, shape (n, d)."""
        return P

    def to_primal(self, E):
        """Points of the domain from dual ones; never on its edge."""
        return E

    def inverse_hessian_parts(self, P):
        """The inverse Hessian as ``diag(h) - t t'``, row by row.

        Returns
        -------
        h : array of shape (n, D)
        t : array of shape (n, D) or None
            None stands for 0.
        """
        return self.xp.ones_like(P), None

    def inverse_hessian(self, P, V):
        """Tangents ``(Hessian of psi)^-1 v`` of covectors, shape (n, D)."""
        return self.inverse_hessian_parts(P)[0] * V

    def hessian(self, P, W):
        """Covectors of dual space from tangents, shape (n, d)."""
        return W / self.inverse_hessian_parts(P)[0]

    def divergence(self, P):
        """``sum_j d/d theta_j`` of column j of the inverse Hessian, shape (n, D)."""
        return self.xp.zeros_like(P)

    def mirrored_score(self, P, S):
        """What drives mirrored particles, a tangent of shape (n, D).

        The inverse Hessian times the score, plus the divergence. On the simplex S is
        the gradient by all D coordinates, of any extension of the log density.
        """
        return self.inverse_hessian(P, S) + self.divergence(P)

    def free(self, W):
        """The columns of tangents that are coordinates, shape (n, d)."""
        return W

    def tangent(self, S):
        """Gradients along the domain, of those in the space around it."""
        return S

    def project(self, P):
        """The nearest points of the domain that are `MARGIN` inside of it."""
        return P

    def draw(self, n, n_features, rng):
        """Points to start from, shape (n, n_features), on the host."""
        return rng.standard_normal((n, n_features))

    def inside(self, P):
        """Whether rows are inside of the domain, shape (n,)."""
        return self.xp.ones(len(P), bool)

    def cleaned(self, P):
        """Checked points without the rounding of their user's precision."""
        return P

    rule = "finite"  # what rows must be, for messages


class OrthantMap(MirrorMap):
    """Positive coordinates by their logarithms: psi is ``sum t log t - t``."""

    name, rule = "orthant", "positive in all columns"

    def to_dual(self, P):
        return self.xp.log(P)

    def to_primal(self, E):
        return self.xp.exp(self.xp.clip(E, -LONGEST, LONGEST))

    def inverse_hessian_parts(self, P):
        return P, None

    def divergence(self, P):
        return self.xp.ones_like(P)

    def project(self, P):
        return self.xp.maximum(P, MARGIN)

    def draw(self, n, n_features, rng):
        return np.exp(0.5 * rng.standard_normal((n, n_features)))

    def inside(self, P):
        return (P > 0).all(axis=1)


class CubeMap(MirrorMap):
    """Coordinates between -1 and 1: psi is ``sum (1+t) log(1+t) + (1-t) log(1-t)``."""

    name, rule = "cube", "between -1 and 1 in all columns, and not on the edge"

    def to_dual(self, P):
        return self.xp.log1p(P) - self.xp.log1p(-P)

    def to_primal(self, E):
        most = 1.0 - np.finfo(np.float64).eps
        return self.xp.clip(self.xp.tanh(0.5 * E), -most, most)

    def inverse_hessian_parts(self, P):
        return 0.5 * (1.0 - P) * (1.0 + P), None

    def divergence(self, P):
        return -P

    def project(self, P):
        return self.xp.clip(P, MARGIN - 1.0, 1.0 - MARGIN)

    def draw(self, n, n_features, rng):
        return rng.uniform(-0.9, 0.9, (n, n_features))

    def inside(self, P):
        return (abs(P) < 1).all(axis=1)


class SimplexMap(MirrorMap):
    """Positive coordinates of sum 1, by the entropy: ``eta = log(t_j / t_D)``."""

    name, rule = "simplex", "positive in all columns, with a sum of 1"

    def to_dual(self, P):
        logs = self.xp.log(P)
        return logs[:, :-1] - logs[:, -1:]

    def to_primal(self, E):
        xp = self.xp
        E = xp.concatenate([E, xp.zeros_like(E[:, :1])], axis=1)
        P = xp.exp(E - E.max(axis=1, keepdims=True))
        return xp.maximum(P / P.sum(axis=1, keepdims=True), TINY)

    def inverse_hessian_parts(self, P):
        return P, P

    def inverse_hessian(self, P, V):
        # Also of D - 1 coordinates this is ``diag(t) - t t'``, and V in the space
        # around the simplex gives the same as its derivatives along it. Where V is
        # huge, as 1 / t near an edge, t V is not: no digits are lost.
        return P * V - P * (P * V).sum(axis=1, keepdims=True)

    def hessian(self, P, W):
        # Of the D - 1 coordinates ``diag(1 / t) + 1 1' / t_D``, and W has sum 0.
        ratio = W / P
        return ratio[:, :-1] - ratio[:, -1:]

    def divergence(self, P):
        return 1.0 - P.shape[1] * P

    def free(self, W):
        return W[:, :-1]

    def tangent(self, S):
        return S - S.mean(axis=1, keepdims=True)

    def project(self, P):
        """Euclidean projection: Held, Wolfe & Crowder (1974)."""
        xp, D = self.xp, P.shape[1]
        total = 1.0 - D * MARGIN
        falling = -xp.sort(-(P - MARGIN), axis=1)
        # Coordinates above a level have it taken from them, the others become 0.
        levels = (xp.cumsum(falling, axis=1) - total) / xp.arange(1, D + 1)
        count = (falling > levels).sum(axis=1)
        level = levels[xp.arange(len(P)), count - 1]
        return xp.maximum(P - MARGIN - level[:, None], 0.0) + MARGIN

    def draw(self, n, n_features, rng):
        return rng.dirichlet(np.full(n_features, 2.0), n)

    def inside(self, P):
        whole = abs(P.sum(axis=1) - 1.0) <= SUM_TOLERANCE
        return (P > 0).all(axis=1) & whole

    def cleaned(self, P):
        return P / P.sum(axis=1, keepdims=True)


MAPS = {m.name: m for m in (MirrorMap, OrthantMap, CubeMap, SimplexMap)}


def mirror_map(domain, xp=np):
    """The map of a domain by its name.

    Parameters
    ----------
    domain : {"real", "orthant", "cube", "simplex"}
    xp : module, default=numpy

    Returns
    -------
    MirrorMap

    Raises
    ------
    ValueError
        For another name.

    References
    ----------
    Shi, Liu & Mackey (2022), Sampling with mirrored Stein operators, section 3 and
    examples 1 and 2.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.algorithms.mirror_maps import mirror_map
    >>> simplex = mirror_map("simplex")
    >>> P = np.array([[0.2, 0.3, 0.5]])
    >>> simplex.to_primal(simplex.to_dual(P)).round(6)
    array([[0.2, 0.3, 0.5]])
    """
    if domain not in MAPS:
        raise ValueError(f"domain={domain!r} must be one of {', '.join(MAPS)}")
    return MAPS[domain](xp)
