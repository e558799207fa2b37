"""`GaussianBernoulliRBM`: the restricted Boltzmann machine of the Stein tests."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import special
from sklearn.utils import check_random_state

from .base import Target, namespace
from .mixture import _finite

# Hidden units up to which all their states are listed for a draw.
LISTED_UNITS = 12


class GaussianBernoulliRBM(Target):
    r"""Restricted Boltzmann machine of normal visible and binary hidden units.

    .. math:: p(x, h) \propto \exp(x' B h / 2 + b' x + c' h - |x|^2 / 2),
        \quad h \in \{-1, 1\}^k,

    of which rows are x. It is a mixture of 2^k normal distributions whose constant is
    out of reach while its score is not, and the model of many experiments with Stein
    discrepancy tests.

    Parameters
    ----------
    B : array-like of shape (d, k)
        Couplings.
    b : array-like of shape (d,)
        Biases of the visible units.
    c : array-like of shape (k,)
        Biases of the hidden units.

    References
    ----------
    Liu, Lee & Jordan (2016), A kernelized Stein discrepancy for goodness-of-fit tests,
    section 6.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.targets import GaussianBernoulliRBM
    >>> rng = np.random.default_rng(0)
    >>> B = rng.choice([-1.0, 1.0], size=(5, 3))
    >>> rbm = GaussianBernoulliRBM(B, rng.normal(size=5), rng.normal(size=3))
    >>> rbm.score(rbm.sample(100, random_state=0)).shape
    (100, 5)
    """

    has_log_density = can_sample = True

    def __init__(self, B, b, c):
        self.B, self.b, self.c = _finite(B, "B"), _finite(b, "b"), _finite(c, "c")
        if self.B.ndim != 2 or 0 in self.B.shape:
            raise ValueError(f"B must have shape (d, k), not {self.B.shape}")
        if (*self.b.shape, *self.c.shape) != self.B.shape or self.b.ndim != 1:
            raise ValueError(
                f"B has shape {self.B.shape}, so b must have ({self.B.shape[0]},), not "
                f"{self.b.shape}, and c ({self.B.shape[1]},), not {self.c.shape}"
            )
        self.n_features = len(self.B)

    def _score(self, X):
        xp = namespace(X)
        B, b, c = map(xp.asarray, (self.B, self.b, self.c))
        return b - X + 0.5 * xp.tanh(0.5 * X @ B + c) @ B.T

    def _log_density(self, X):
        xp = namespace(X)
        B, b, c = map(xp.asarray, (self.B, self.b, self.c))
        field = 0.5 * X @ B + c
        hidden = xp.logaddexp(field, -field).sum(axis=1)
        return X @ b - 0.5 * (X**2).sum(axis=1) + hidden

    def sample(self, n, random_state=None, burn_in=1000):
        """Draw rows.

        Up to 12 hidden units are drawn exactly, by the list of their states. More are
        drawn by block Gibbs sampling, with a chain of its own for each row.

        Parameters
        ----------
        n : int
        random_state : int, RandomState or None, default=None
        burn_in : int, default=1000
            Steps of each chain. Strong couplings need more.

        Returns
        -------
        ndarray of shape (n, d)
        """
        if burn_in < 1:
            raise ValueError(f"burn_in={burn_in} must be at least 1")
        rng = check_random_state(random_state)
        # Whose normal numbers take a quarter of the time.
        rng = np.random.default_rng(rng.randint(1 << 32, size=4, dtype=np.uint64))
        if self.B.shape[1] <= LISTED_UNITS:
            return self._visible(self._listed(n, rng), rng)
        X = self.b + rng.standard_normal((n, self.n_features))
        for _ in range(burn_in):
            X = self._visible(self._hidden(X, rng), rng)
        return X

    def _hidden(self, X, rng):
        """Hidden units given rows: P(h_j = 1) is the sigmoid of (B' x + 2 c)_j."""
        p = special.expit(X @ self.B + 2.0 * self.c)
        return np.where(rng.uniform(size=p.shape) < p, 1.0, -1.0)

    def _visible(self, H, rng):
        """Rows given hidden units: normal of mean b + B h / 2 and variances 1."""
        means = self.b + 0.5 * H @ self.B.T
        return means + rng.standard_normal(means.shape)

    def _listed(self, n, rng):
        """Hidden units from p(h), proportional to exp(c' h + |b + B h / 2|^2 / 2)."""
        states = np.array(list(itertools.product((-1.0, 1.0), repeat=len(self.c))))
        means = self.b + 0.5 * states @ self.B.T
        logs = states @ self.c + 0.5 * (means**2).sum(axis=1)
        return states[rng.choice(len(states), n, p=special.softmax(logs))]
