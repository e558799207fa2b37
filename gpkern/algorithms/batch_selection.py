"""Batch active learning: rows of a pool whose targets are worth knowing.

Each rule goes row by row and looks at the covariances of one row with all others, those
of `pool_rows`, so that a kernel matrix is never formed.
"""

from __future__ import annotations

import numpy as np

from .pool_rows import BLOCK_VALUES, cuts

# Squared distances below this share of the two variances are those of equal rows.
ROUNDING = 1e-12
# Of `bait`: how many times as many rows are taken before some are taken out again.
OVERSELECTION = 2


class Picks:
    """The rows chosen so far, none of them twice.

    Parameters
    ----------
    n : int
        Rows of the pool.
    xp : module
    """

    def __init__(self, n, xp):
        self.xp, self.free = xp, xp.ones(n, bool)
        self.rows, self.values = [], []

    def take_best(self, key, value=None):
        """The free row of the largest key, the first of equal ones."""
        key = self.xp.where(self.free, key[: len(self.free)], -np.inf)
        row = int(key.argmax())
        self.take(row, key[row] if value is None else value[row])
        return row

    def take(self, row, value):
        """A free row, and what it is chosen for."""
        self.free[row] = False
        self.rows.append(row)
        self.values.append(float(value))

    def out(self):
        """Rows, int64, and values."""
        return np.array(self.rows, np.int64), np.array(self.values)


def maxdiag(rows, n, size):
    """Rows of the largest variance."""
    variance = rows.device.get(rows.variance[:n])
    order = np.argsort(-variance, kind="stable")[:size].astype(np.int64)
    return order, variance[order]


def maxdet(rows, n, size):
    """Rows one by one, each of the largest variance given those before.

    A Cholesky factorisation of K + noise with pivots: greedily the largest determinant.
    """
    picks = Picks(n, rows.device.xp)
    rows.reserve(size)
    for _ in range(size):
        row = picks.take_best(rows.variance)
        rows.condition(row, rows.covariance(row))
    return picks.out()


def bait(rows, n, size, random_state, backward=False):
    """Rows one by one, each of which leaves the least variance of all rows together.

    Ash, Goel, Krishnamurthy & Kakade (2021), in the kernel's form of Holzmueller et al.
    (2023). With `backward` twice as many are taken, then the least useful taken out.
    """
    xp, take = rows.device.xp, min(n, OVERSELECTION * size) if backward else size
    picks = Picks(n, xp)
    rows.reserve(take)
    pairs = rows.start_pairs(random_state)
    for _ in range(take):
        row = picks.take_best(pairs / (rows.variance[: len(pairs)] + rows.noise))
        c = rows.covariance(row)
        spread = float(c[row]) + rows.noise
        cross, square = rows.pairs(c)
        pairs = pairs - 2.0 * c * cross / spread + c**2 * (square / spread**2)
        pairs = xp.maximum(pairs, 0.0)
        rows.condition(row, c)
    chosen, values = picks.out()
    if take > size:
        kept = _without_worst(rows, chosen, size)
        return chosen[kept], values[kept]
    return chosen, values


def _without_worst(rows, chosen, size):
    """Places of those that remain when the least useful are taken out one by one."""
    rows.rewind()
    get, at = rows.device.get, rows.device.xp.asarray(chosen)
    A, M = np.empty((2, len(chosen), len(chosen)))
    for i, row in enumerate(chosen):
        c = rows.covariance(int(row))
        A[i], M[i] = get(c[at]), get(rows.pairs(c)[0][at])
    A[np.diag_indices_from(A)] += rows.noise
    # Without row i the summed variance grows by M_ii / H_ii.
    H = np.linalg.inv(A)
    M, kept = H @ M @ H, np.ones(len(chosen), bool)
    for _ in range(len(chosen) - size):
        own = np.where(kept, np.diagonal(H), 1.0)
        i = int(np.where(kept, np.diagonal(M) / own, np.inf).argmin())
        h = H[i] / H[i, i]
        M = M - np.outer(h, M[i])
        M -= np.outer(M[:, i], h)
        H = H - np.outer(h, H[i])
        kept[i] = False
    return np.flatnonzero(kept)


class Nearest:
    """Squared distance of each row of the pool to the nearest centre, and which it is.

    Parameters
    ----------
    rows : KernelRows or FeatureRows
    n : int
        Rows of the pool.
    seeded : bool
        Whether the rows after them are centres from the start.
    """

    def __init__(self, rows, n, seeded):
        xp = rows.device.xp
        self.rows, self.n, self.xp = rows.centred(), n, xp
        self.square, self.centre = xp.full(n, np.inf), xp.zeros(n, np.int64)
        self.count = 0
        if seeded:
            N, height = len(rows.variance), max(1, BLOCK_VALUES // n)
            for cut in cuts(n, N, height):
                squares = self._squares(cut)
                self._update(squares.min(axis=0), squares.argmin(axis=0) + self.count)
                self.count += cut.stop - cut.start

    def add(self, row):
        """A row of the pool as one more centre."""
        self._update(self._squares(row), self.count)
        self.square[row], self.centre[row] = 0.0, self.count
        self.count += 1

    def _update(self, squares, centre):
        nearer = squares < self.square
        self.square = self.xp.where(nearer, squares, self.square)
        self.centre = self.xp.where(nearer, centre, self.centre)

    def _squares(self, index):
        """Squared distances of the pool to a row, or to each of a slice."""
        rows, n, xp = self.rows, self.n, self.xp
        own, prior = rows.variance[index, None], rows.prior[index, None]
        out = own + rows.variance[:n] - 2.0 * rows.covariance(index)[..., :n]
        # Rounding alone, which must not tell copies of a row apart.
        return xp.where(out > ROUNDING * (prior + rows.prior[:n]), out, 0.0)


def maxdist(rows, n, size, seeded):
    """Rows one by one, each the farthest from those before; the longest at first."""

    def farthest(near, picks):
        return picks.take_best(near.square)

    return _spread(rows, n, size, seeded, farthest)


def lcmd(rows, n, size, seeded):
    """Rows one by one, each the farthest in the cluster of the largest sum of squares.

    Largest cluster maximum distance (Holzmueller et al. 2023): each row belongs to the
    nearest centre, that is one of the rows before.
    """

    def farthest_of_largest(near, picks):
        xp = near.xp
        totals = xp.bincount(near.centre, near.square, minlength=near.count)
        inside = near.centre == totals.argmax()
        # Rows of other clusters come last, and only where all distances are 0.
        key = xp.where(inside, near.square, near.square - near.square.max())
        return picks.take_best(key, near.square)

    return _spread(rows, n, size, seeded, farthest_of_largest)


def kmeans_plus_plus(rows, n, size, seeded, random_state):
    """Rows one by one at random, in proportion to the squared distance to the nearest.

    Arthur & Vassilvitskii (2007); the first of them is any row.
    """
    ticks = iter(random_state.random_sample(size))

    def drawn(near, picks):
        xp, tick = near.xp, next(ticks)
        if not near.count:
            row = int(tick * n)
            picks.take(row, rows.variance[row])
            return row
        square = xp.where(picks.free, near.square, 0.0)
        sums = xp.cumsum(square)
        total = float(sums[-1])
        if total > 0:
            place = xp.searchsorted(sums, xp.asarray([tick * total]), side="right")
            row = min(int(place[0]), n - 1)
            if not bool(square[row] > 0):  # by rounding of the sums
                row = int(square.argmax())
        else:
            free = near.rows.device.get(picks.free)
            row = int(np.flatnonzero(free)[int(tick * free.sum())])
        picks.take(row, near.square[row])
        return row

    return _spread(rows, n, size, seeded, drawn, any_first=True)


def _spread(rows, n, size, seeded, choose, any_first=False):
    near, picks = Nearest(rows, n, seeded), Picks(n, rows.device.xp)
    for _ in range(size):
        if near.count or any_first:
            near.add(choose(near, picks))
        else:
            near.add(picks.take_best(rows.variance))
    return picks.out()


def frank_wolfe(rows, n, size, seeded):
    """Rows one by one that bring a weighted mean near to that of all: Frank-Wolfe.

    Pinsler, Gordon, Nalisnick & Hernandez-Lobato (2019): a step goes towards the row
    whose direction agrees best with what is missing. The values are squared distances
    of the means after each step. With `seeded` the mean is that of the training rows
    too, and the start the multiple of their own mean that is nearest to it.
    """
    xp, N = rows.device.xp, len(rows.variance)
    lengths, picks = xp.sqrt(rows.variance), Picks(n, xp)
    share = xp.zeros(N)
    share[: N if seeded else n] = 1.0 / (N if seeded else n)
    goal, here = rows.sums(share), xp.zeros(N)
    radius, size_of_goal = float(share @ lengths), float(share @ goal)
    own = inner = 0.0  # of the point with itself, and with the goal
    if seeded:
        train = xp.zeros(N)
        train[n:] = 1.0 / (N - n)
        here = rows.sums(train)
        own, inner = float(train @ here), float(share @ here)
        factor = inner / own if own > 0 else 0.0
        here, own, inner = here * factor, own * factor**2, inner * factor
    for _ in range(size):
        long = lengths > 0
        key = xp.where(long, (goal - here) / xp.where(long, lengths, 1.0), -1e300)
        row = picks.take_best(key)
        length, at, seen = (float(a[row]) for a in (lengths, here, goal))
        step = 0.0
        if length > 0:
            ratio = radius / length
            gap = radius**2 - 2.0 * ratio * at + own
            step = (ratio * (seen - at) - inner + own) / gap if gap > 0 else 0.0
            step = min(1.0, step)
        if step > 0:
            own = (
                (1.0 - step) ** 2 * own
                + 2.0 * step * (1.0 - step) * ratio * at
                + (step * radius) ** 2
            )
            inner = (1.0 - step) * inner + step * ratio * seen
            here = (1.0 - step) * here + step * ratio * rows.covariance(row)
        picks.values[-1] = max(0.0, own - 2.0 * inner + size_of_goal)
    return picks.out()
