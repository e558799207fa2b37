"""Directions of Stein samplers: against the papers' sums, written out as loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import RBF

from gpkern import _device
from gpkern.algorithms import particles
from gpkern.algorithms.mirror_maps import MAPS, mirror_map
from gpkern.algorithms.particles import Interactions, Steps
from gpkern.kernels import InverseMultiquadric

KERNELS = [InverseMultiquadric(0.7), 0.5 * RBF(0.4) + InverseMultiquadric(2.0)]


def k(kernel, x, y):
    return kernel(x[None], y[None])[0, 0]


def slope(f, x, h=1e-5):
    """Gradient of a function of one point, by central differences."""
    out = [(f(x + e) - f(x - e)) / (2.0 * h) for e in h * np.eye(len(x))]
    return np.moveaxis(np.array(out), 0, -1)


class Free:
    """A domain in the coordinates that are free, one point at a time."""

    def __init__(self, domain, D):
        self.domain, self.d = domain, D - (domain == "simplex")

    def whole(self, t):
        return np.r_[t, 1.0 - t.sum()] if self.domain == "simplex" else t

    def hessian(self, t):
        match self.domain:
            case "real":
                return np.eye(self.d)
            case "orthant":
                return np.diag(1.0 / t)
            case "cube":
                return np.diag(2.0 / (1.0 - t**2))
        return np.diag(1.0 / t) + 1.0 / (1.0 - t.sum())

    def inverse(self, t):
        return np.linalg.inv(self.hessian(t))

    def divergence(self, t):
        slopes = slope(self.inverse, t)
        return np.einsum("ijj->i", slopes)


def example(domain, n=6, D=3, seed=0):
    """Points, scores by all coordinates, and scores by the free ones."""
    rng = np.random.default_rng(seed)
    P, S = MAPS[domain]().draw(n, D, rng), rng.normal(size=(n, D))
    own = S[:, :-1] - S[:, -1:] if domain == "simplex" else S
    return P, S, own


@pytest.fixture
def pairs(device, asarray):
    def make(kernel, P, scale=1.0):
        return Interactions(kernel, asarray(P), scale, _device.select(device))

    return make


@pytest.mark.parametrize("kernel", KERNELS)
def test_svgd(kernel, pairs, asarray, host):
    P, S, _ = example("real")
    wanted = [
        np.mean(
            [
                k(kernel, y, x) * s + slope(lambda v, x=x: k(kernel, v, x), y)
                for y, s in zip(P, S, strict=True)
            ],
            axis=0,
        )
        for x in P
    ]
    got = host(particles.svgd(pairs(kernel, P), asarray(S)))
    assert_allclose(got, wanted, atol=1e-9)
    far = host(particles.svgd(pairs(kernel, P + 1e6), asarray(S)))
    assert_allclose(far, got, atol=1e-8)


def test_scale_is_a_length_scale(pairs, asarray, host):
    P, S, _ = example("real")
    one = host(particles.svgd(pairs(RBF(0.3), P), asarray(S)))
    other = host(particles.svgd(pairs(RBF(1.0), P, 0.3), asarray(S)))
    assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("domain", list(MAPS))
def test_msvgd(domain, pairs, asarray, host, xp):
    P, S, own = example(domain)
    free, kernel = Free(domain, 3), KERNELS[0]
    T = P[:, : free.d]
    wanted = []
    for x in P:
        terms = []
        for t, s in zip(T, own, strict=True):
            H = free.inverse(t)
            g = H @ s + free.divergence(t)
            pull = k(kernel, free.whole(t), x) * g
            push = H @ slope(lambda v, x=x: k(kernel, free.whole(v), x), t)
            terms.append(pull + push)
        wanted.append(np.mean(terms, axis=0))
    got = particles.msvgd(pairs(kernel, P), asarray(S), mirror_map(domain, xp))
    assert_allclose(host(got), wanted, atol=1e-8)


def papers_sum(kernel, P, T, whole, own, metric, inverse, divergence, left_out):
    """Mean over l of ``K_psi(., l) H s_l + div(K_psi(., l) H)`` at each particle.

    With ``K_psi(x, y) = sum_ij sqrt(a_i a_j) u_i(x) u_j(y) mean_m u_i u_j metric_m``,
    u the Nystrom extensions of the Gram matrix's eigenvectors.
    """
    n = len(P)
    values, vectors = np.linalg.eigh(kernel(P))
    values, vectors = values[::-1], vectors[:, ::-1]
    r = int((np.cumsum(values) < (1 - left_out) * values.sum()).sum()) + 1
    a = values[:r] / n

    def u(i, x):
        near = [k(kernel, x, p) for p in P]
        return np.sqrt(n) * vectors[:, i] @ near / values[i]

    U = np.array([[u(i, p) for i in range(r)] for p in P])
    assert_allclose(U, np.sqrt(n) * vectors[:, :r], atol=1e-8)
    G = [
        [
            np.mean([U[m, i] * U[m, j] * metric(T[m]) for m in range(n)], axis=0)
            for j in range(r)
        ]
        for i in range(r)
    ]
    inner = np.zeros((r, T.shape[1]))  # of each u_j, the mean over l
    for t, s in zip(T, own, strict=True):
        H, div = inverse(t), divergence(t)
        for j in range(r):
            bend = slope(lambda v, j=j: u(j, whole(v)), t)
            inner[j] += (u(j, whole(t)) * (H @ s + div) + H @ bend) / n
    out = np.zeros_like(T)
    for x in range(n):
        for i in range(r):
            for j in range(r):
                out[x] += np.sqrt(a[i] * a[j]) * U[x, i] * G[i][j] @ inner[j]
    return out


@pytest.mark.parametrize("domain", list(MAPS))
@pytest.mark.parametrize("left_out", [0.02, 0.2])
def test_svmd(domain, left_out, pairs, asarray, host, xp, device, monkeypatch):
    monkeypatch.setattr(particles, "LEFT_OUT", left_out)
    P, S, own = example(domain)
    free, kernel = Free(domain, 3), InverseMultiquadric(0.2)
    wanted = papers_sum(
        kernel,
        P,
        P[:, : free.d],
        free.whole,
        own,
        free.hessian,
        free.inverse,
        free.divergence,
        left_out,
    )
    linalg = _device.select(device).linalg
    mirror = mirror_map(domain, xp)
    got = particles.svmd(pairs(kernel, P), asarray(S), mirror, linalg)
    assert_allclose(host(got), wanted, atol=1e-7 * abs(wanted).max())


def test_svmd_without_a_mirror_is_svgd(pairs, asarray, host, device, xp, monkeypatch):
    monkeypatch.setattr(particles, "LEFT_OUT", 0.0)
    P, S, _ = example("real", 20)
    linalg, both = _device.select(device).linalg, pairs(KERNELS[0], P)
    svmd = particles.svmd(both, asarray(S), mirror_map("real", xp), linalg)
    svgd = particles.svgd(both, asarray(S))
    assert_allclose(host(svmd), host(svgd), atol=1e-10)


def bumpy(X):
    """A metric that changes from point to point."""
    d = X.shape[1]
    rank_one = X[:, :, None] * X[:, None, :]
    return rank_one + (1.5 + np.sin(X)).sum(axis=1)[:, None, None] * np.eye(d)


def test_svng(pairs, asarray, host, device, xp):
    P, S, _ = example("real", 5, 2)

    def metric(t):
        return bumpy(t[None])[0]

    def inverse(t):
        return np.linalg.inv(metric(t))

    def divergence(t):
        return np.einsum("ijj->i", slope(inverse, t))

    kernel = InverseMultiquadric(0.3)
    wanted = papers_sum(
        kernel, P, P, lambda t: t, S, metric, inverse, divergence, particles.LEFT_OUT
    )
    wanted = [inverse(p) @ w for p, w in zip(P, wanted, strict=True)]

    def metric_at(X):
        return asarray(bumpy(host(X)))

    G = metric_at(asarray(P))
    div = particles.inverse_divergence(metric_at, asarray(P), G, xp)
    assert_allclose(host(div), [divergence(p) for p in P], atol=1e-8)
    linalg = _device.select(device).linalg
    got = particles.svng(pairs(kernel, P), asarray(S), G, div, linalg)
    assert_allclose(host(got), wanted, atol=1e-7)


def test_svng_with_one_metric_is_svgd_in_its_units(pairs, asarray, host, xp, device):
    P, S, _ = example("real", 8)
    G = np.cov(np.random.default_rng(0).normal(size=(3, 9)))
    linalg, both = _device.select(device).linalg, pairs(KERNELS[0], P)
    one = particles.svng(both, asarray(S), asarray(G), None, linalg)
    wanted = np.linalg.solve(G, host(particles.svgd(both, asarray(S))).T).T
    assert_allclose(host(one), wanted, atol=1e-10)


@pytest.mark.parametrize("domain", list(MAPS))
def test_many_particles_are_not_held(
    domain, pairs, asarray, host, xp, device, monkeypatch
):
    P, S, _ = example(domain, 60)
    mirror, linalg = mirror_map(domain, xp), _device.select(device).linalg
    svmd = host(particles.svmd(pairs(KERNELS[0], P), asarray(S), mirror, linalg))
    held = host(particles.msvgd(pairs(KERNELS[0], P), asarray(S), mirror))
    monkeypatch.setattr(particles, "DENSE_ROWS", 10)
    both = pairs(KERNELS[0], P)
    assert not hasattr(both.value, "sum")
    got = host(particles.msvgd(both, asarray(S), mirror))
    assert_allclose(got, held, atol=1e-12)
    got = host(particles.svmd(both, asarray(S), mirror, linalg))
    assert_allclose(got, svmd, rtol=1e-7, atol=1e-9)


def test_metric_of_scores(asarray, host, xp):
    S = np.random.default_rng(0).normal(size=(40, 2)) @ [[2.0, 1.0], [0.0, 0.5]]
    metric = particles.ScoreMetric(xp)
    first, second = host(metric(asarray(S))), host(metric(asarray(0.0 * S)))
    mean = S.T @ S / 40
    assert_allclose(first, mean + 0.005 * np.trace(mean) * np.eye(2))
    assert_allclose(second, 0.9 * first)


def test_steps(xp, asarray, host):
    way = np.array([[2.0, -0.5], [0.0, 8.0]])
    one = np.sign(way)

    def moves(schedule, count=3):
        steps = Steps(0.1, schedule, 4, xp)
        return [host(steps(asarray(way))) for _ in range(count)]

    assert_allclose(moves("constant"), [0.1 * way] * 3)
    assert_allclose(moves(lambda i: 1 / (1 + i)), [0.1 * way / i for i in (1, 2, 3)])
    assert_allclose(moves("adagrad"), [0.1 * one / i**0.5 for i in (1, 2, 3)])
    assert_allclose(moves("rmsprop"), [0.1 * one, 0.1 * one, 0.1 * one])
    assert_allclose(moves("rmsprop", 4)[3], 0.05 * one)
