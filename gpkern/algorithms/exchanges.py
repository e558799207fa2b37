"""Exchanges: rows of a coreset for better ones, until none is, and from there anew."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from . import coresets
from .halving import take_rows

# Passes over a coreset, at most; far fewer are needed.
MOST_PASSES = 100
# Rows of K that are made at a time.
AHEAD = 32
# Share of the rows that a perturbation draws anew.
SHAKEN = 0.05
# Of an objective, a part that rounding may have changed: no reason to move.
ROUNDING = 1e-12


@dataclass
class Coreset:
    """Rows that stand for a sample.

    Attributes
    ----------
    rows : ndarray of int, shape (s,)
    path : list of float
        ``mean k(C, C) - 2 mean mu(C)`` after each pass, and after each perturbation
        that was kept.
    """

    rows: np.ndarray
    path: list = field(default_factory=list)


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
    return search(operator, [rows], mu, passes, unique)


def search(
    operator, starts, mu, passes=None, unique=True, perturbations=0, random_state=None
):
    """The best of what `exchange` makes of some starts, perturbed again and again.

    Iterated local search (Lourenco, Martin & Stuetzle 2003): some rows of the best set
    are drawn anew, exchanges follow, and what is better is kept.

    Parameters
    ----------
    operator, mu, passes, unique
        Of `exchange`.
    starts : list of ndarray of int, shape (s,)
    perturbations : int, default=0
    random_state : RandomState, default=None
        Of the rows that are drawn.

    Returns
    -------
    Coreset
    """
    mu = operator.device.xp.asarray(mu, dtype=np.float64)
    work, path = _best_of(operator, starts, mu, passes, unique)
    if unique and len(starts[0]) == len(mu):
        perturbations = 0  # there are no others
    for _ in range(perturbations):
        before = work.state()
        work.replace(*_drawn(work.chosen(), len(mu), unique, random_state))
        value = work.settle(passes)[0][-1]
        if value < path[-1] - ROUNDING * abs(path[-1]):
            path.append(value)
        else:
            work.restore(before)
    return Coreset(work.chosen(), path)


def _best_of(operator, starts, mu, passes, unique):
    """The exchanges from some starts that end best, and their path."""
    if DenseExchange.serves(operator):
        work = DenseExchange(operator, np.stack(starts), mu, unique)
        paths = work.settle(passes)
        best = int(np.argmin([_end(path) for path in paths]))
        work.only(best)
        return work, paths[best]
    best = path = None
    for rows in starts:
        work = RowExchange(operator, rows, mu, unique)
        found = work.settle(passes)[0]
        if best is None or _end(found) < _end(path):
            best, path = work, found
        del work  # with its rows of K, before the next is made
    return best, path


def _end(path):
    return path[-1] if path else 0.0


def _drawn(rows, n, unique, random_state):
    """Places in a coreset, and other rows for them."""
    others = np.setdiff1d(np.arange(n), rows) if unique else np.arange(n)
    count = min(max(1, round(SHAKEN * len(rows))), len(others))
    places = random_state.choice(len(rows), count, replace=False)
    return np.sort(places), random_state.choice(others, count, replace=False)


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

    # What changes, and of which a copy is a way back.
    changing = "rows", "total", "base"

    def __init__(self, operator, rows, mu, unique):
        xp, self.mu, self.unique = operator.device.xp, mu, unique
        self.xp, self.rows = xp, rows
        self.plain = operator.diagonal() / rows.shape[1] - 2.0 * mu
        self.base = xp.tile(self.plain, (len(rows), 1))
        self._bar(rows)

    def _bar(self, rows):
        """These rows may not be chosen again; shape (coresets, some)."""
        if self.unique:
            self.base[self.xp.arange(len(rows))[:, None], self.xp.asarray(rows)] = (
                np.inf
            )

    def settle(self, passes):
        """Passes until one changes nothing; the path of each coreset."""
        paths = [[] for _ in range(len(self.rows))]
        active = list(range(len(paths)))
        for _ in range(MOST_PASSES if passes is None else passes):
            changed, values = self.run(), self.objectives()
            for c in active:
                paths[c].append(float(values[c]))
            active = [c for c in active if changed[c]]
            if not active:
                break
        return paths

    def objectives(self):
        """``mean k(C, C) - 2 mean mu(C)`` of each coreset."""
        chosen = self.xp.asarray(self.rows)
        inner = self.xp.take_along_axis(self.total, chosen, axis=1).mean(axis=1)
        return inner / chosen.shape[1] - 2.0 * self.mu[chosen].mean(axis=1)

    def replace(self, places, rows):
        """Put others in some places of the only coreset."""
        self.base[0, self.rows[0, places]] = self.plain[self.rows[0, places]]
        self._put(places, self.xp.asarray(rows))
        self._bar(self.rows[:, places])

    def state(self):
        """What `restore` returns to."""
        return {name: getattr(self, name).copy() for name in self.changing}

    def restore(self, state):
        """Go back to a `state`."""
        vars(self).update(state)


class RowExchange(_Exchange):
    """Passes of `exchange` by rows of K, which are computed when they are needed.

    One coreset, its rows on the host.
    """

    changing = *_Exchange.changing, "kept"

    def __init__(self, operator, rows, mu, unique):
        super().__init__(operator, np.array(rows).reshape(1, -1), mu, unique)
        n = operator.shape[0]
        self.operator, self.diagonal, self.kept = operator, operator.diagonal(), {}
        self.keep = 8 * len(rows) * n <= coresets.KEPT_BYTES
        self.ahead = int(max(1, min(AHEAD, coresets.KEPT_BYTES // (8 * n))))
        self.total = self.xp.zeros((1, n))
        self._add(range(len(rows)), 1.0)

    def chosen(self):
        """The rows, on the host."""
        return self.rows[0]

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

    def _add(self, places, sign):
        """Add rows of the coreset to the sums, or take them away."""
        for first in range(0, len(places), self.ahead):
            part = places[first : first + self.ahead]
            self._make([p for p in part if p not in self.kept])
            for place in part:
                self.total[0] += sign * self.kept[place]
                self._let_go(place)

    def _put(self, places, rows):
        self._add(places, -1.0)
        self.rows[0, places] = rows
        for place in places:
            self.kept.pop(place, None)
        self._add(places, 1.0)

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
        self.device, self.K = operator.device, operator.to_dense()
        self.total = self.xp.stack([self.K[r].sum(axis=0) for r in self.rows])

    @staticmethod
    def serves(operator):
        """Whether there is a GPU with room for K, in float64."""
        device, n = operator.device, operator.shape[0]
        fits = 8 * n * n <= device.dense_bytes()
        return device.name != "cpu" and operator.dtype == np.float64 and fits

    def chosen(self):
        """The rows of the only coreset, on the host."""
        return self.device.get(self.rows[0])

    def only(self, c):
        """Forget all coresets but one."""
        for name in self.changing:
            setattr(self, name, getattr(self, name)[c : c + 1].copy())

    def _put(self, places, rows):
        self.total[0] += self.K[rows].sum(axis=0)
        self.total[0] -= self.K[self.rows[0, places]].sum(axis=0)
        self.rows[0, places] = rows

    def run(self):
        """One pass: how many exchanges there were, shape (coresets,)."""
        state = self.plain, self.base, self.rows, self.total
        return self.device.walks.exchange(self.K, *state, self.unique).get()
