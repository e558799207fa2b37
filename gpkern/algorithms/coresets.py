"""Coresets: their distance to a sample, and rows exchanged until none is better."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import linalg, optimize

from . import greedy
from .halving import take_rows

# Passes over a coreset, at most; far fewer are needed.
MOST_PASSES = 100
# Rows of K that may be kept while rows are exchanged, in bytes.
KEPT_BYTES = 1 << 28
# Rows of K that are made at a time.
AHEAD = 32


@dataclass
class Coreset:
    """Rows that stand for a sample.

    Attributes
    ----------
    rows : ndarray of int, shape (s,)
    path : list of float
        ``mean k(C, C) - 2 mean mu(C)`` after each pass.
    """

    rows: np.ndarray
    path: list = field(default_factory=list)


def distance_of(squared):
    """Root of a squared distance, which rounding may have left below 0.

    Raises
    ------
    ValueError
        When it is NaN or infinite.
    """
    if not np.isfinite(squared):
        raise ValueError(
            "kernel values overflow on this sample: scale X, or use a bounded kernel"
        )
    return float(np.sqrt(max(0.0, squared)))


def objective(operator, rows, mu):
    """``mean k(C, C) - 2 mean mu(C)``: the squared MMD less a constant.

    Parameters
    ----------
    operator : KernelOperator
    rows : ndarray of int, shape (s,)
        The coreset.
    mu : ndarray of shape (n,)
        Mean kernel value of each row with the sample.
    """
    own = operator.with_samples(take_rows(operator, rows))
    return own.total() / len(rows) ** 2 - 2.0 * float(mu[rows].mean())


def block(operator, rows):
    """The dense K of some rows with each other, on the host; float64."""
    own = operator.with_samples(take_rows(operator, rows))
    return operator.device.get(own.to_dense()).astype(np.float64)


def without_worst(operator, rows, mu, size):
    """Which of some rows remain when the worst are taken out one by one.

    Parameters
    ----------
    operator : KernelOperator
    rows : ndarray of int, shape (k,)
    mu : ndarray of shape (k,)
        Mean kernel value of each with the sample.
    size : int

    Returns
    -------
    ndarray of int
        Sorted places among the k.
    """
    get, kept = operator.device.get, np.ones(len(mu), bool)
    own = operator.with_samples(take_rows(operator, rows))
    dense = get(own.to_dense()) if 8 * len(rows) ** 2 <= KEPT_BYTES else None
    diagonal, sums = (
        get(a).astype(np.float64) for a in (own.diagonal(), own.row_sum())
    )
    total, means = sums.sum(), mu.sum()
    for k in range(len(mu) - 1, size - 1, -1):
        left = (total - 2.0 * sums + diagonal) / k**2 - 2.0 * (means - mu) / k
        worst = int(np.argmin(np.where(kept, left, np.inf)))
        kept[worst] = False
        total += diagonal[worst] - 2.0 * sums[worst]
        sums -= get(own.rows(worst)) if dense is None else dense[worst]
        means -= mu[worst]
    return np.flatnonzero(kept)


def exchange(operator, rows, mu, passes=None, unique=True):
    """Exchange each row of a coreset for the best one, until nothing improves.

    Parameters
    ----------
    operator : KernelOperator
        K of all rows that may be chosen, with each other; symmetric.
    rows : ndarray of int, shape (s,)
        The start.
    mu : array of shape (n,)
        Mean kernel value of each row with the sample to stand for.
    passes : int, default=None
        At most; None until a pass changes nothing.
    unique : bool, default=True
        Whether a row may be in the coreset only once.

    Returns
    -------
    Coreset
    """
    return exchange_all(operator, [rows], mu, passes, unique)[0]


def exchange_all(operator, starts, mu, passes=None, unique=True):
    """`exchange` from several starts of one size; a `Coreset` from each."""
    mu = operator.device.xp.asarray(mu, dtype=np.float64)
    if DenseExchange.serves(operator):
        works = [DenseExchange(operator, np.stack(starts), mu, unique)]
    else:
        # One after another: each holds rows of K.
        works = (RowExchange(operator, rows, mu, unique) for rows in starts)
    out = []
    for work in works:
        found, active = [Coreset(None) for _ in work.rows], list(range(len(work.rows)))
        for _ in range(MOST_PASSES if passes is None else passes):
            changed, values = work.run(), work.objectives()
            for c in active:
                found[c].path.append(float(values[c]))
            active = [c for c in active if changed[c]]
            if not active:
                break
        for coreset, rows in zip(found, operator.device.get(work.rows), strict=True):
            coreset.rows = rows
        out += found
        del work  # before the next is made
    return out


class _Exchange:
    """What the two ways of exchanging share.

    Attributes
    ----------
    rows : array of int, shape (coresets, s)
    total : array of shape (coresets, n)
        Sums of the rows of K in each coreset.
    plain : array of shape (n,)
        What a row adds to the objective, but for its values with the others.
    base : array of shape (coresets, n)
        The same, and infinity for what may not be chosen.
    """

    def __init__(self, operator, rows, mu, unique):
        xp, self.mu, self.unique = operator.device.xp, mu, unique
        self.xp, self.rows = xp, rows
        self.plain = operator.diagonal() / rows.shape[1] - 2.0 * mu
        self.base = xp.tile(self.plain, (len(rows), 1))
        if unique:
            self.base[xp.arange(len(rows))[:, None], xp.asarray(rows)] = np.inf

    def objectives(self):
        """``mean k(C, C) - 2 mean mu(C)`` of each coreset."""
        chosen = self.xp.asarray(self.rows)
        inner = self.xp.take_along_axis(self.total, chosen, axis=1).mean(axis=1)
        return inner / chosen.shape[1] - 2.0 * self.mu[chosen].mean(axis=1)


class RowExchange(_Exchange):
    """Passes of `exchange` by rows of K, which are computed when they are needed.

    One coreset, its rows on the host.
    """

    def __init__(self, operator, rows, mu, unique):
        super().__init__(operator, np.array(rows).reshape(1, -1), mu, unique)
        n = operator.shape[0]
        self.operator, self.diagonal, self.kept = operator, operator.diagonal(), {}
        self.keep = 8 * len(rows) * n <= KEPT_BYTES
        self.ahead = int(max(1, min(AHEAD, KEPT_BYTES // (8 * n))))
        self.total = self.xp.zeros((1, n))
        for t in range(len(rows)):
            self.total[0] += self._row(t)
            self._let_go(t)

    def _row(self, place):
        """Row of K of one of the coreset; those of the next are made with it."""
        if place not in self.kept:
            places = range(place, min(place + self.ahead, self.rows.shape[1]))
            self._make([p for p in places if p not in self.kept])
        return self.kept[place]

    def _make(self, places):
        chosen = self.rows[0, places]
        some = self.operator.with_rows(take_rows(self.operator, chosen))
        block = some.to_dense().astype(np.float64, copy=False)
        for place, row, i in zip(places, block, chosen, strict=True):
            row[i] = self.diagonal[i]  # of a row and itself
            self.kept[place] = row

    def _let_go(self, place):
        if not self.keep:
            self.kept.pop(place, None)

    def run(self):
        """One pass: how many exchanges there were, shape (1,)."""
        rows, total, base = self.rows[0], self.total[0], self.base[0]
        changed, step = 0, 2.0 / len(rows)
        for t in range(len(rows)):
            old = int(rows[t])
            total -= self._row(t)
            base[old] = self.plain[old]
            gain = base + step * total
            best = int(gain.argmin())
            # Of equals the present one stays: no exchange without a gain.
            if best != old and float(gain[best]) < float(gain[old]):
                rows[t] = best
                changed += 1
                self._make([t])
            total += self._row(t)
            self._let_go(t)
            if self.unique:
                base[int(rows[t])] = np.inf
        return [changed]


class DenseExchange(_Exchange):
    """The same on a GPU, a pass in one launch, where K itself fits its memory.

    Several coresets, rows and all on the GPU.
    """

    def __init__(self, operator, rows, mu, unique):
        super().__init__(operator, operator.device.xp.asarray(rows), mu, unique)
        self.walks, self.K = operator.device.walks, operator.to_dense()
        self.total = self.xp.stack([self.K[r].sum(axis=0) for r in self.rows])

    @staticmethod
    def serves(operator):
        """Whether there is a GPU with room for K, in float64."""
        device, n = operator.device, operator.shape[0]
        fits = 8 * n * n <= device.dense_bytes()
        return device.name != "cpu" and operator.dtype == np.float64 and fits

    def run(self):
        """One pass: how many exchanges there were, shape (coresets,)."""
        state = self.plain, self.base, self.rows, self.total
        return self.walks.exchange(self.K, *state, self.unique).get()


def herd(operator, size, mu, unique=True):
    """Rows chosen one by one, each the best for the mean of those before: herding.

    Parameters
    ----------
    operator, mu, unique
        Of `exchange`.
    size : int

    Returns
    -------
    ndarray of int
    """
    xp = operator.device.xp
    mu, total = xp.asarray(mu, dtype=np.float64), xp.zeros(operator.shape[0])
    return greedy.choose(operator, total, size, 1.0, reward=mu, unique=unique)[0]


def simplex_weights(K, mu):
    """Weights of least squared MMD that are not negative and sum to 1.

    Parameters
    ----------
    K : ndarray of shape (s, s)
        Of the coreset.
    mu : ndarray of shape (s,)

    Returns
    -------
    ndarray of shape (s,)
    """
    K, mu = _scaled(K, mu)
    A = linalg.cholesky(K + 1e-12 * np.eye(len(K)))
    b = linalg.solve_triangular(A, mu, trans=1)
    # The sum as one more equation, of a weight that leaves it no slack to speak of.
    heavy = 1e4
    A, b = np.vstack([A, np.full(len(K), heavy)]), np.append(b, heavy)
    w = optimize.nnls(A, b, maxiter=30 * len(K) + 100)[0]
    return w / w.sum()


def affine_weights(K, mu):
    """Weights of least squared MMD that sum to 1, of any sign."""
    K, mu = _scaled(K, mu)
    sides = np.column_stack([mu, np.ones(len(K))])
    factor = linalg.cho_factor(K + 1e-12 * np.eye(len(K)))
    a, b = linalg.cho_solve(factor, sides).T
    out = a + b * (1.0 - a.sum()) / b.sum()
    return out / out.sum()


def _scaled(K, mu):
    """Both by the largest k(x, x), so that none is beyond what squares can hold."""
    scale = float(np.diagonal(K).max())
    if not 0.0 < scale < np.inf:
        raise ValueError("the kernel is 0, or overflows, on all chosen rows")
    return K / scale, mu / scale
