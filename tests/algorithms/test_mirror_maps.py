"""Mirror maps: against symbolic derivatives, at the edges, and projections."""

import numpy as np
import pytest
import sympy
from numpy.testing import assert_allclose
from scipy.optimize import minimize

from gpkern.algorithms.mirror_maps import MAPS, MARGIN, mirror_map

DOMAINS = list(MAPS)


def points_of(domain, n=5, D=4, seed=0):
    return MAPS[domain]().draw(n, D, np.random.default_rng(seed))


def potential(domain, t):
    """psi of the coordinates that are free, as SymPy's expression."""
    match domain:
        case "real":
            return sum(v**2 for v in t) / 2
        case "orthant":
            return sum(v * sympy.log(v) - v for v in t)
        case "cube":
            sides = [1 + v for v in t] + [1 - v for v in t]
            return sum(s * sympy.log(s) for s in sides)
    last = 1 - sum(t)
    return sum(v * sympy.log(v) for v in [*t, last])


def symbolic(domain, d):
    """Gradient, Hessian, inverse Hessian and its divergence, as functions of d."""
    t = sympy.symbols(f"t0:{d}")
    psi = potential(domain, t)
    gradient = sympy.Matrix([psi.diff(v) for v in t])
    hessian = sympy.hessian(psi, t)
    inverse = hessian.inv().applyfunc(sympy.simplify)
    divergence = sympy.Matrix(
        [sum(inverse[i, j].diff(t[j]) for j in range(d)) for i in range(d)]
    )
    return [sympy.lambdify(t, m) for m in (gradient, hessian, inverse, divergence)]


@pytest.mark.parametrize("domain", DOMAINS)
def test_against_symbolic_derivatives(domain, asarray, host, xp):
    D = 3 if domain == "simplex" else 2
    P, rng = points_of(domain, D=D), np.random.default_rng(1)
    mirror, d = mirror_map(domain, xp), 2
    gradient, hessian, inverse, divergence = symbolic(domain, d)
    S = rng.normal(size=P.shape)  # by all coordinates
    own = S[:, :d] - S[:, d:] if domain == "simplex" else S  # by the free ones
    rows = asarray(P)
    eta = host(mirror.to_dual(rows))
    raised = mirror.inverse_hessian(rows, asarray(S))
    lowered = host(mirror.hessian(rows, raised))
    mirrored = host(mirror.free(mirror.mirrored_score(rows, asarray(S))))
    for i, theta in enumerate(P[:, :d]):
        shift = np.ravel(gradient(*theta)) - eta[i]
        assert_allclose(shift, shift[0], atol=1e-12)

        H = np.array(inverse(*theta), float)
        assert_allclose(host(mirror.free(raised))[i], H @ own[i], atol=1e-13)
        assert_allclose(lowered[i], own[i], atol=1e-12)
        assert_allclose(np.array(hessian(*theta), float) @ H, np.eye(d), atol=1e-12)
        wanted = H @ own[i] + np.ravel(divergence(*theta))
        assert_allclose(mirrored[i], wanted, atol=1e-13)


@pytest.mark.parametrize("domain", DOMAINS)
def test_mirrored_score_has_mean_zero_against_any_function(domain):
    """Stein's identity: of a test function f, E[g f + H grad f] = 0 under p."""
    rng, mirror, n = np.random.default_rng(0), mirror_map(domain), 400_000
    match domain:
        case "real":
            P = rng.normal(size=(n, 2))
            S = -P
        case "orthant":
            P = rng.gamma(1.5, size=(n, 2))
            S = 0.5 / P - 1.0
        case "cube":
            P = 2.0 * rng.beta(1.5, 2.0, size=(n, 2)) - 1.0
            S = 0.5 / (1.0 + P) - 1.0 / (1.0 - P)
        case _:
            alpha = np.array([0.5, 1.5, 3.0])
            P = rng.dirichlet(alpha, n)
            S = (alpha - 1.0) / P
    f = np.cos(P[:, :1] + 2.0 * P[:, 1:2])
    slope = np.zeros_like(P)
    slope[:, :2] = -np.sin(P[:, :1] + 2.0 * P[:, 1:2]) * [1.0, 2.0]
    terms = mirror.mirrored_score(P, S) * f + mirror.inverse_hessian(P, slope)
    error = terms.std(axis=0) / np.sqrt(n)
    assert (abs(terms.mean(axis=0)) < 4 * error).all()
    assert (error < 0.02).all(), "the test has no power"


def test_dirichlet_scores_are_linear():
    alpha = np.array([0.1, 0.1, 30.0, 1.0])
    P = np.array([[0.2, 0.3, 0.4, 0.1], [1e-200, 1e-12, 1.0, 1e-30]])
    g = mirror_map("simplex").mirrored_score(P, (alpha - 1.0) / P)
    assert_allclose(g, alpha - alpha.sum() * P, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("domain", DOMAINS)
def test_there_and_back(domain, asarray, host, xp):
    mirror, P = mirror_map(domain, xp), points_of(domain, 50)
    back = mirror.to_primal(mirror.to_dual(asarray(P)))
    assert_allclose(host(back), P, rtol=1e-13)
    assert host(mirror.inside(asarray(P))).all()


@pytest.mark.parametrize("domain", ["orthant", "cube", "simplex"])
def test_far_out_in_dual_space(domain):
    mirror = mirror_map(domain)
    E = np.array([[1e4, -1e4], [-1e4, -1e4], [800.0, 700.0]])
    with np.errstate(all="raise", under="ignore"):
        P = mirror.to_primal(E)
        assert mirror.inside(P).all()
        assert np.isfinite(mirror.to_dual(P)).all()
        assert np.isfinite(mirror.mirrored_score(P, 0.5 / P)).all()


@pytest.mark.parametrize("domain", ["orthant", "cube", "simplex"])
def test_projection_is_the_nearest_point(domain, asarray, host, xp):
    rng = np.random.default_rng(0)
    X = 1.5 * rng.normal(size=(6, 4))
    P = host(mirror_map(domain, xp).project(asarray(X)))
    low = np.full(4, -np.inf) if domain == "real" else np.full(4, MARGIN)
    high = np.full(4, np.inf)
    if domain == "cube":
        low, high = low - 1.0, np.full(4, 1.0 - MARGIN)
    sums = {"type": "eq", "fun": lambda p: p.sum() - 1.0}
    for x, p in zip(X, P, strict=True):
        found = minimize(
            lambda q, x=x: ((q - x) ** 2).sum(),
            np.full(4, 0.25),
            bounds=list(zip(low, high, strict=True)),
            constraints=[sums] if domain == "simplex" else (),
            method="SLSQP",
            options={"ftol": 1e-14},
        )
        assert_allclose(p, found.x, atol=1e-6)
        assert (p >= low - 1e-15).all()
    again = host(mirror_map(domain, xp).project(asarray(P)))
    assert_allclose(again, P, atol=1e-12)


def test_unknown_domain():
    with pytest.raises(ValueError, match="domain='sphere' must be one of real"):
        mirror_map("sphere")
