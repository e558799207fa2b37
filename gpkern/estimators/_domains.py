"""Targets on domains with edges, as Stein samplers see them."""

from __future__ import annotations

import numpy as np

from ..targets import Target, as_target
from ..targets.base import to_numpy

REMEDY = "use a smaller step_size, or particles nearer to the density as X"
FEW_COLUMNS = "target has {} columns, and the particles have {}"
ON_SIMPLEX = ": it must be a function of all D coordinates, or of the first D - 1"


class DirichletTarget(Target):
    """A Dirichlet distribution, of all coordinates.

    Parameters
    ----------
    alpha : array-like of shape (D,)
    """

    has_log_density = can_sample = True

    def __init__(self, alpha):
        self.alpha = np.asarray(alpha, dtype=np.float64)
        self.n_features = len(self.alpha)

    def _score(self, X):
        return (self.alpha - 1.0) / to_numpy(X)

    def _log_density(self, X):
        return np.log(to_numpy(X)) @ (self.alpha - 1.0)

    def _sample(self, n, rng):
        return rng.dirichlet(self.alpha, n)


def target_of(given, domain="real"):
    """`as_target`, and of frozen Dirichlet distributions, on the simplex, too."""
    if given is None:
        raise ValueError(
            "target=None: pass the density, as a function that returns scores, a "
            "distribution of scipy.stats, or what gpkern.targets makes"
        )
    if type(given).__name__ == "dirichlet_frozen":
        if domain != "simplex":
            raise ValueError(
                "target is a Dirichlet distribution, which has no density on domain="
                f"{domain!r}: use domain='simplex' of SteinSampler"
            )
        return DirichletTarget(given.alpha)
    return as_target(given)


def columns_of(target):
    """Columns of a target that particles are drawn for."""
    if target.n_features is None:
        raise ValueError(
            "X=None: the target does not say how many columns it has; pass particles "
            "to start from as X, or gpkern.targets.Score(f, n_features=d)"
        )
    return target.n_features


class DomainScore:
    """Scores at points of a domain, in all columns of the points.

    On the simplex a target of the first D - 1 coordinates is taken as one of all: it
    does not depend on the last one.

    Parameters
    ----------
    target : Target
    domain : str
    n_features : int
        Columns of the points.
    device : Device
        Of the points.
    on_host : bool
        Whether the target is to be given NumPy arrays.
    """

    def __init__(self, target, domain, n_features, device, on_host):
        columns = target.n_features
        allowed = {None, n_features} | ({n_features - 1} & {*_fewer(domain, columns)})
        if columns not in allowed:
            more = ON_SIMPLEX if domain == "simplex" else ""
            raise ValueError(FEW_COLUMNS.format(columns, n_features) + more)
        self.target, self.device, self.on_host = target, device, on_host
        self.is_free = columns is not None and columns < n_features
        self._is_begun = False

    def __call__(self, P):
        """Scores of shape (n, n_features), on the device.

        After the first call an error may be that of particles that went too far.
        """
        xp, begun = self.device.xp, self._is_begun
        self._is_begun = True
        try:
            S = self.of_rows(self.target.score, P[:, :-1] if self.is_free else P)
        except ValueError as error:
            if not begun:
                raise
            raise ValueError(f"{error}; or the steps are too long: {REMEDY}") from error
        if self.is_free:
            S = xp.concatenate([S, xp.zeros_like(S[:, :1])], axis=1)
        return S

    def of_rows(self, f, rows):
        """What a user's function makes of rows, float64 on the device."""
        out = f(self.device.get(rows) if self.on_host else rows)
        return self.device.xp.asarray(self.device.put(out), dtype=np.float64)


def _fewer(domain, columns):
    return [columns] if domain == "simplex" and columns is not None else []
