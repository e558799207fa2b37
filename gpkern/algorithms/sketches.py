"""Random projections of many columns, exact monomials of few, and products of both.

They are drawn on the host in float64, so that a seed gives the same features on every
device, and applied by the array library of the rows.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import comb, gammaincinv

# Columns up to which directions are orthogonal matrices; of more, what stands for them.
DENSE = 256
# Rounds of signs and mixing after which a fixed orthogonal matrix is as good as a
# random one; a signed sum of all columns takes one.
ROUNDS = 3


class Place:
    """Where rows are worked on: constants come there once, however many rows follow.

    Parameters
    ----------
    xp : module
        NumPy or CuPy.
    dtype : dtype
        Of the rows.
    """

    def __init__(self, xp, dtype):
        self.xp, self.dtype = xp, np.dtype(dtype)
        self._kept, self._matrices = {}, {}

    def __call__(self, array):
        """An array of the host there, in the dtype of the rows."""
        return self._once(array, self.dtype)

    def index(self, array):
        """Whole numbers there."""
        return self._once(array, array.dtype)

    def hartley(self, k):
        """An orthogonal matrix of k rows whose entries have much the same size."""
        if k not in self._matrices:
            turns = np.outer(np.arange(k), np.arange(k)) % k * (2.0 * math.pi / k)
            self._matrices[k] = (np.cos(turns) + np.sin(turns)) / math.sqrt(k)
        return self(self._matrices[k])

    def _once(self, array, dtype):
        key = id(array), np.dtype(dtype)
        if key not in self._kept:
            # With the original: while that lives no other object has its id.
            self._kept[key] = array, self.xp.asarray(array, dtype=dtype)
        return self._kept[key][1]


class Projection:
    """Products of rows with random directions, orthogonal ones as far as they can be.

    The directions w have ``E w w' = I``. Sets of p of them are orthogonal, so that
    their products spread more evenly than those of independent ones. Of few columns
    they are Haar matrices; of many, signs and fast transforms stand for these: a row
    costs ``m sqrt(p)`` in the place of ``m p``, and m signs are kept instead of m p
    numbers.

    Parameters
    ----------
    p, m : int
        Columns of the rows, and directions.
    rng : RandomState
    normal : bool
        Whether the directions are normal vectors; otherwise all have length sqrt(p).
    """

    def __init__(self, p, m, rng, normal):
        self.p, self.m = p, m
        self.dense = p <= DENSE
        if self.dense:
            self.directions = _haar(p, m, rng) * _lengths(p, m, rng, normal)
            return
        self.a = math.isqrt(p - 1) + 1
        self.b = -(-p // self.a)
        size = self.a * self.b
        blocks = -(-m // p)
        rounds = ROUNDS if normal else 1
        self.signs = (2 * rng.randint(2, size=(blocks, rounds, size)) - 1).astype("i1")
        # p of the transform's coordinates, as a row of zeros might fill up the rest.
        self.picks = np.array([rng.permutation(size)[:p] for _ in range(blocks)])
        self.lengths = _lengths(size, m, rng, normal)

    def __call__(self, X, place):
        """Products of rows and directions, shape (n, m)."""
        if self.dense:
            return X @ place(self.directions)
        xp, size = place.xp, self.a * self.b
        out = xp.empty((len(X), self.m), dtype=X.dtype)
        padded = xp.zeros((len(X), size), dtype=X.dtype)
        padded[:, : self.p] = X
        signs, picks, lengths = place(self.signs), self.picks, place(self.lengths)
        for at in range(len(signs)):
            Y, first, last = padded, self.a, self.b
            for s in signs[at]:
                Y = (Y * s).reshape(-1, last) @ place.hartley(last)
                # Turned, so that both factors are plain matrix products.
                Y = Y.reshape(len(X), first, last).swapaxes(1, 2).reshape(-1, first)
                Y = (Y @ place.hartley(first)).reshape(len(X), size)
                first, last = last, first
            here = slice(at * self.p, min(self.m, (at + 1) * self.p))
            picked = place.index(picks)[at, : here.stop - here.start]
            xp.multiply(xp.take(Y, picked, axis=1), lengths[here], out=out[:, here])
        return out


def _haar(p, m, rng):
    """Unit columns, of which each p are a random orthogonal matrix."""
    Q, R = np.linalg.qr(rng.standard_normal((-(-m // p), p, p)))
    Q *= np.sign(np.diagonal(R, axis1=1, axis2=2))[:, None]
    return np.moveaxis(Q, 0, 1).reshape(p, -1)[:, :m]


def _lengths(p, m, rng, normal):
    """Lengths of m directions in p columns.

    One from each m-th of their distribution: their mean square, which all kernel
    values would share, is then all but exact.
    """
    if not normal:
        return np.full(m, math.sqrt(p))
    shares = (rng.permutation(m) + rng.uniform(size=m)) / m
    return np.sqrt(2.0 * gammaincinv(0.5 * p, shares))


class Summed:
    """Random signed sums of features: fewer columns, on average the same products.

    Parameters
    ----------
    features : callable
        ``features(X, place)``.
    width, n_components : int
        Its columns, and those to return.
    rng : RandomState
    """

    def __init__(self, features, width, n_components, rng):
        self.features, self.width = features, features.width
        self.sums = Projection(width, n_components, rng, False)

    def __call__(self, X, place):
        """Features of rows in that place, shape (n, n_components)."""
        F = self.sums(self.features(X, place), place)
        F *= 1.0 / math.sqrt(self.sums.m)
        return F


class Monomials:
    """All products of so many columns: inner products are powers, without error.

    Parameters
    ----------
    p : int
        Columns.
    degree : int
        Of the largest power.
    """

    def __init__(self, p, degree):
        self.steps, self.weights = [], []
        rows = np.zeros((1, 0), dtype=int)
        for k in range(1, degree + 1):
            last = rows[:, -1] if k > 1 else np.array([p - 1])
            # Each product once: of columns in falling order.
            parents = np.repeat(np.arange(len(rows)), last + 1)
            columns = np.concatenate([np.arange(v + 1) for v in last])
            rows = np.column_stack([rows[parents], columns])
            self.steps.append((parents, columns))
            self.weights.append(_multiplicities(rows) ** 0.5)

    @staticmethod
    def count(p, degree):
        """How many there are of one degree."""
        return int(comb(p + degree - 1, degree, exact=True))

    def __call__(self, X, place):
        """Arrays U_0, U_1, ... with rows ``U_k[i] . U_k[j] = (X[i] . X[j])^k``."""
        plain = place.xp.ones((len(X), 1), dtype=X.dtype)
        out = [plain]
        for step, weights in zip(self.steps, self.weights, strict=True):
            parents, columns = map(place.index, step)
            plain = plain[:, parents] * X[:, columns]
            out.append(plain * place(weights))
        return out


def _multiplicities(rows):
    """In how many orders each row's columns, which are sorted, can be multiplied."""
    k = rows.shape[1]
    out, run = np.ones(len(rows)), np.ones(len(rows))
    for i in range(1, k):
        run = np.where(rows[:, i] == rows[:, i - 1], run + 1.0, 1.0)
        out *= (i + 1.0) / run
    return out


class PowerSketch:
    """Columns whose inner products are, on average, powers of those of the rows.

    One degree from the next lower one: a signed sum of its columns times one of the
    rows' own. The signs of each step are independent of all others, as the expectation
    of a product needs. Each step adds as much to the relative variance, where a product
    of as many sums would multiply it.

    Parameters
    ----------
    p : int
        Columns of the rows.
    start, start_width : int
        The degree that is given, and its columns.
    degree : int
        The largest one.
    m : int
        Columns of each degree.
    rng : RandomState
    """

    def __init__(self, p, start, start_width, degree, m, rng):
        self.m, width, self.steps = m, start_width, []
        for _ in range(start, degree):
            pair = Projection(width, m, rng, False), Projection(p, m, rng, False)
            self.steps.append(pair)
            width = m

    def __call__(self, U, X, place):
        """Those of the degrees after that of U, one after another."""
        for power, row in self.steps:
            U = power(U, place) * row(X, place)
            U *= 1.0 / math.sqrt(self.m)
            yield U


class PolynomialSketch:
    """Features of ``|x| |z| f(cos)``, f being a polynomial and cos that of the angle.

    Powers of low degree are taken exactly, as long as that makes the error of the whole
    smaller; the others share the columns in proportion to their coefficients.

    Parameters
    ----------
    n_features, n_components : int
        Columns of the data, and of what is returned.
    coefficients : ndarray of shape (degree + 1,)
        Of f; none is negative, the first one is positive.
    rng : RandomState

    Raises
    ------
    ValueError
        For fewer components than f has terms.
    """

    def __init__(self, n_features, n_components, coefficients, rng):
        self.coefficients = c = np.asarray(coefficients, dtype=np.float64)
        used, best, fixed = self.terms(c), None, 0
        if n_components < len(used):
            raise ValueError(f"{len(used)} terms need at least as many columns")
        for at in range(1, len(used) + 1):
            fixed += Monomials.count(n_features, used[at - 1])
            free = n_components - fixed
            if free < len(used) - at:
                break
            error = c[used[at:]].sum() / math.sqrt(max(free, 1))
            if best is None or error < best[0]:
                best = error, at, free
        _, at, self.free = best
        self.exact, sketched = used[:at], used[at:]
        self.monomials = Monomials(n_features, self.exact[-1])
        self.width = max(n_features, n_components)
        self.shares, self.powers = {}, None
        if sketched:
            shares = divided(self.free, [[v] for v in c[sketched]])
            self.shares = {k: s for k, (s,) in zip(sketched, shares, strict=True)}
            start = self.exact[-1]
            width = Monomials.count(n_features, start)
            self.powers = PowerSketch(
                n_features, start, width, sketched[-1], n_components, rng
            )

    @staticmethod
    def terms(coefficients):
        """Degrees of the polynomial's terms, each of which needs a column."""
        least = 1e-12 * coefficients.sum()
        return [int(k) for k in np.flatnonzero(coefficients > least)]

    def __call__(self, X, place):
        """Features of rows in that place, shape (n, n_components)."""
        xp = place.xp
        norms = (X * X).sum(axis=1, keepdims=True) ** 0.5
        unit = X * inverse(norms, xp)
        known = self.monomials(unit, place)
        parts = [known[k] * math.sqrt(self.coefficients[k]) for k in self.exact]
        if self.shares:
            higher = self.powers(known[-1], unit, place)
            for k, U in enumerate(higher, start=len(known)):
                if share := self.shares.get(k):
                    size = math.sqrt(self.coefficients[k] * U.shape[1] / share)
                    parts.append(U[:, :share] * size)
        elif self.free:
            parts.append(xp.zeros((len(X), self.free), dtype=X.dtype))
        out = xp.concatenate(parts, axis=1)
        out *= norms
        return out


def divided(total, loads):
    """Whole numbers of a sum, in proportion to the loads and at least 1."""
    flat = np.ravel(loads)
    flat = flat / flat.sum() if flat.sum() > 0 else np.full(flat.size, 1 / flat.size)
    ends = np.round(np.cumsum(flat) * (total - flat.size)).astype(int)
    counts = np.diff(ends, prepend=0) + 1
    return [tuple(map(int, row)) for row in counts.reshape(np.shape(loads))]


def inverse(x, xp):
    """``1 / x`` of numbers of 0 or more; 0 in the place of 1 / 0."""
    return (x > 0) / xp.where(x > 0, x, 1.0)
