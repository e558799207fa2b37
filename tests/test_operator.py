"""Numbers of `KernelOperator`, against the naive matrices of conftest.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    WhiteKernel,
)

from gpkern import KernelOperator
from gpkern.kernels import FormulaKernel, Laplacian, Polynomial, Sigmoid


def within(got, exact, slack):
    """Assert that each number is as near as granted."""
    assert got.shape == exact.shape
    assert np.isfinite(got).all()
    excess = np.abs(got - exact) / np.maximum(slack, np.finfo(float).tiny)
    worst = np.unravel_index(excess.argmax(), excess.shape)
    assert excess.max() <= 1, (
        f"entry {worst}: {got[worst]!r} instead of {exact[worst]!r}, "
        f"{excess.max():.3g} times the granted error"
    )


class Expected:
    """The matrix that an operator should act as, with the error of each product."""

    def __init__(self, case, X, Z, dtype):
        self.matrix, self.slack = case.matrix(X, Z), case.slack(X, Z, dtype)
        self.eps = 8 * np.finfo(dtype).eps

    @property
    def T(self):
        out = object.__new__(Expected)
        out.matrix, out.slack, out.eps = self.matrix.T, self.slack.T, self.eps
        return out

    def __matmul__(self, V):
        rounding = self.eps * (np.abs(self.matrix) @ np.abs(V))
        return self.matrix @ V, self.slack @ np.abs(V) + rounding


def check_everything(op, expected, positive, rng, asarray, host, c=3):
    """All that an operator offers, at once: compiling is what takes the time."""
    n, m = op.shape
    dtype = op.dtype
    assert expected.matrix.shape == (n, m)
    V = rng.standard_normal((m, c)).astype(dtype)
    U = rng.standard_normal((n, c)).astype(dtype)
    weights = rng.uniform(0.5, 2.0, n).astype(dtype)

    product = op @ asarray(V)
    assert product.dtype == dtype
    within(host(product), *(expected @ V))
    within(host(op @ asarray(V[:, 0])), *(expected @ V[:, 0]))
    within(host(op.T @ asarray(U)), *(expected.T @ U))
    within(host(op.row_sum()), *(expected @ np.ones(m)))
    within(host(op.row_sum(asarray(V[:, 1]))), *(expected @ V[:, 1]))

    dense = host(op.to_dense())
    assert dense.dtype == dtype
    within(dense, expected.matrix, expected.slack)
    k = min(n, m)
    diagonal, slack = (np.diagonal(a)[:k] for a in (expected.matrix, expected.slack))
    within(host(op.diagonal()), diagonal, slack)
    within(host(op.rows(n - 1)), expected.matrix[-1], expected.slack[-1])

    gradient, residual = op.normal_matmat(asarray(V), asarray(U), asarray(weights))
    exact, slack = expected @ V
    exact, slack = (exact - U) * weights[:, None], slack * weights[:, None]
    slack += expected.eps * np.abs(exact)
    within(host(residual), exact, slack)
    back, error = expected.T @ exact
    within(host(gradient), back, error + np.abs(expected.matrix.T) @ slack)

    if positive:
        check_logsumexp(op, expected, rng, asarray, host)


def check_logsumexp(op, expected, rng, asarray, host):
    m = op.shape[1]
    for logw in (None, rng.uniform(-3, 3, m).astype(op.dtype)):
        w = np.ones(m) if logw is None else np.exp(logw.astype(float))
        total, slack = expected @ w
        got = host(op.row_logsumexp(None if logw is None else asarray(logw)))
        assert got.dtype == np.float64
        seen = total > 1e3 * slack  # the others are noise: an entry below the error
        exact = np.log(total[seen])
        # The logarithm of an entry has an error of its own size, not of the entry's.
        slack = 2 * slack[seen] / total[seen] + expected.eps * (3 + np.abs(exact))
        assert got.shape == total.shape
        if seen.any():
            within(got[seen], exact, slack)


DTYPES = [np.float32, np.float64]


# Distances by a fused loop, and by a matrix product (on every device).
@pytest.mark.parametrize(
    ("d", "dtype"),
    [(3, np.float32), (45, np.float32), (45, np.float64)],
    ids=["3-f32", "45-f32", "45-f64"],
)
def test_every_kernel(case, d, dtype, operator, asarray, host):
    rng = np.random.default_rng(d)
    X, Z = case.data(rng, 21, d, dtype), case.data(rng, 34, d, dtype)
    Z[7], Z[8] = X[2], Z[9]
    kernel = case.make(d)
    cross = Expected(case, X, Z, dtype)
    check_everything(operator(kernel, X, Z), cross, case.positive, rng, asarray, host)
    one = Expected(case, X, None, dtype)
    positive = case.positive and case.name != "White"  # log 0 off the diagonal
    check_everything(operator(kernel, X), one, positive, rng, asarray, host)


# ------------------------------------------------------------------ property of shapes

# Few programs, as each is compiled for both dtypes; of every kind of leaf.
SAMPLED = [
    "RBF",
    "RBF ARD",
    "Matern 1/2",
    "Matern 5/2",
    "RationalQuadratic",
    "signal + noise",
    "square of a noisy sum",
    "DotProduct ** 3 * RBF ARD",
    "two metrics",
    "Laplacian ARD",
    "Polynomial",
    "Cosine",
    "Chi2",
    "NTK",
]
FEW = st.integers(1, 40)
# Past one tile, two tiles, and not a multiple of them.
SIZES = st.one_of(FEW, FEW, FEW, st.integers(250, 300), st.integers(500, 1100))
FLAVOURS = ["plain", "offset", "duplicates", "constant", "near", "far", "clusters"]


def flavoured(case, rng, n, d, dtype, flavour):
    """Rows with one of the difficulties that real tables have."""
    X = case.data(rng, n, d)
    match flavour:
        case "offset":
            X += 10.0 ** rng.uniform(3, 4)
        case "duplicates":
            X = X[rng.integers(0, max(1, n // 3), n)]
        case "constant":
            X[:, rng.integers(0, d)] = 7.0
        case "near":  # as a huge length scale
            X *= 1e-3
        case "far":  # as a tiny one
            X *= 30.0
        case "clusters":
            X[::2] += 300.0
    return X.astype(dtype)


@given(data=st.data())
def test_any_shape(data, cases, operator, asarray, host):
    n, d = data.draw(SIZES, "rows"), data.draw(st.sampled_from([3, 11, 18, 33]), "d")
    m = data.draw(SIZES if n <= 40 else FEW, "columns")
    case = cases[data.draw(st.sampled_from(SAMPLED), "kernel")]
    flavour = data.draw(st.sampled_from(FLAVOURS), "flavour")
    dtype = data.draw(st.sampled_from(DTYPES), "dtype")
    symmetric = data.draw(st.booleans(), "symmetric")
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32), "seed"))
    X = flavoured(case, rng, n, d, dtype, flavour)
    Z = None if symmetric else flavoured(case, rng, m, d, dtype, flavour)
    if data.draw(st.booleans(), "Fortran order"):
        X = np.asfortranarray(X)
    budget = data.draw(st.sampled_from([None, None, 1, 50_000]), "memory_budget")
    op = operator(case.make(d), X, Z, memory_budget=budget)
    expected = Expected(case, X, Z, dtype)
    c = data.draw(st.integers(2, 6), "c")
    check_everything(op, expected, case.positive, rng, asarray, host, c)


@given(
    n=SIZES,
    m=FEW,
    name=st.sampled_from(["RBF", "Matern 1/2", "Laplacian"]),
    seed=st.integers(0, 2**32),
)
def test_one_column(n, m, name, seed, cases, operator, asarray, host):
    rng = np.random.default_rng(seed)
    case, X, Z = cases[name], rng.uniform(0, 9, (n, 1)), rng.uniform(0, 9, (m, 1))
    expected = Expected(case, X, Z, np.float64)
    check_everything(operator(case.make(1), X, Z), expected, True, rng, asarray, host)


@pytest.mark.parametrize("name", ["RBF", "Laplacian", "square of a noisy sum"])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 2049), (1500, 1), (1030, None)])
def test_more_rows_than_a_tile(name, n, m, cases, operator, asarray, host):
    rng = np.random.default_rng(0)
    case = cases[name]
    X, Z = case.data(rng, n, 3), m and case.data(rng, m, 3)
    op, expected = operator(case.make(3), X, Z), Expected(case, X, Z, np.float64)
    check_everything(op, expected, True, rng, asarray, host)


# ---------------------------------------------------------------- what is exact, always


@pytest.mark.parametrize("d", [2, 45])
@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_rough_kernel_of_duplicates(d, dtype, offset, operator, host):
    """The root of a distance of 1e-7 is no longer small: it must be exactly zero."""
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((40, d)) + offset).astype(dtype)
    X[20:] = X[:20]
    for op in (operator(Matern(nu=0.5), X, X), operator(Matern(nu=0.5), X)):
        K = host(op.to_dense())
        assert np.abs(np.diagonal(K) - 1).max() < 1e-6
        assert np.abs(np.diagonal(K, 20) - 1).max() < 1e-6


class SquaredDistance(FormulaKernel):
    def __init__(self):
        pass

    def formula(self, pair):
        return pair.sqdist()


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_distances_of_near_pairs(dtype, offset, operator, host):
    """However near, against the norms: no digit is lost to cancellation."""
    rng = np.random.default_rng(0)
    share = np.logspace(-10 if dtype == np.float32 else -20, 0, 1000)
    X = rng.standard_normal((1000, 45)) + offset
    Z = (X + np.sqrt(share)[:, None] * rng.standard_normal(X.shape)).astype(dtype)
    X = X.astype(dtype)
    exact = np.square(X.astype(np.longdouble) - Z).sum(axis=1)
    got = host(operator(SquaredDistance(), X, Z).diagonal())
    # The promise, and the rounding of the centred rows themselves.
    eps = np.finfo(dtype).eps
    rtol = {np.float32: 1e-3, np.float64: 2e-6}[dtype]
    slack = rtol * exact + 8 * eps * np.sqrt(45 * exact) + 45 * (2 * eps) ** 2
    assert (np.abs(got - exact) <= slack).all()


def test_float32_near_pairs_keep_their_digits(operator, host):
    """A thousand columns of unit variance, pairs that differ in the fifth digit."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((50, 1000)).astype(np.float32)
    Z = X + rng.uniform(-1e-5, 1e-5, X.shape).astype(np.float32)
    distance = np.sqrt(np.square(X.astype(float) - Z).sum(1))
    got = host(operator(Matern(1e-4, nu=0.5), X, Z).diagonal())
    assert_allclose(got, np.exp(-distance / 1e-4), rtol=1e-2)


@pytest.mark.parametrize("d", [2, 45])
def test_diagonal_of_one_sample_is_exact(d, operator, host):
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((300, d)) + 1e4).astype(np.float32)
    kernel = 2.0 * Matern(nu=0.5) + WhiteKernel(0.25)
    op = operator(kernel, X)
    assert (host(op.diagonal()) == 2.25).all()
    assert (np.diagonal(host(op.to_dense())) == 2.25).all()


def test_noise_belongs_to_one_sample(operator, host):
    """As in scikit-learn: K(X) has it, K(X, X) does not, equal rows or not."""
    X = np.array([[0.0], [0.0], [1.0]])
    kernel = RBF() + WhiteKernel(0.5)
    assert_allclose(host(operator(kernel, X).to_dense()), kernel(X), rtol=1e-15)
    cross = host(operator(kernel, X, X).to_dense())
    assert_allclose(cross, kernel(X, X), rtol=1e-15)
    assert cross[0, 0] == 1.0


@pytest.mark.parametrize("d", [3, 45])
def test_symmetric_operator_is_symmetric(d, operator, host):
    X = np.random.default_rng(0).standard_normal((600, d)).astype(np.float32)
    K = host(operator(Matern(3.0, nu=1.5), X).to_dense())
    assert_allclose(K, K.T, atol=1e-6)


@pytest.mark.parametrize("name", ["RBF", "Matern 1/2", "Laplacian", "two metrics"])
@pytest.mark.parametrize("d", [3, 45])
# In float64 the order of the sums shows in the last bits.
@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
def test_two_runs_give_the_same_bits(name, d, dtype, cases, operator, host, asarray):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2300, d)).astype(dtype)
    V = asarray(rng.standard_normal((2300, 3)).astype(dtype))
    kernel = cases[name].make(d)

    def results():
        op = operator(kernel, X)
        return [
            op @ V,
            op.T @ V[:, 0],
            *op.normal_matmat(V, V),
            op.row_logsumexp(V[:, 1]),
            op.to_dense(),
        ]

    first = [host(a) for a in results()]
    for _ in range(3):
        for a, b in zip(first, results(), strict=True):
            assert np.array_equal(a, host(b))


@pytest.mark.parametrize("budget", [1, 10_000, 2**20])
def test_a_small_budget_gives_the_same_numbers(budget, cases, operator, host, asarray):
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((300, 45)), rng.standard_normal((700, 45))
    V, U = (
        asarray(rng.standard_normal((700, 2))),
        asarray(rng.standard_normal((300, 2))),
    )
    for name in ("signal + noise", "two metrics"):
        kernel = cases[name].make(45)
        for small, large in (
            (operator(kernel, X, Z, memory_budget=budget), operator(kernel, X, Z)),
            (operator(kernel, Z, memory_budget=budget), operator(kernel, Z)),
        ):
            assert_allclose(host(small @ V), host(large @ V), rtol=1e-11, atol=1e-11)
            assert_allclose(host(small.to_dense()), host(large.to_dense()), rtol=1e-12)
            both = small.normal_matmat(V), large.normal_matmat(V)
            for a, b in zip(*both, strict=True):
                assert_allclose(host(a), host(b), rtol=1e-11, atol=1e-9)
            if small.shape[0] == 300:
                assert_allclose(
                    host(small.T @ U), host(large.T @ U), rtol=1e-11, atol=1e-11
                )


# -------------------------------------------------------------- far tail of a density


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize("d", [2, 45])
@pytest.mark.parametrize(
    "kernel",
    [
        RBF(0.01),
        Matern(1e-4, nu=1.5),
        3.0 * RBF(0.01) ** 2,
        Laplacian(1e-4) * DotProduct() ** 2,
    ],
    ids=str,
)
def test_logsumexp_far_in_the_tail(kernel, d, dtype, operator, host, asarray):
    """Log densities of -1e5 and below, where exp() is zero."""
    rng = np.random.default_rng(0)
    X, Z = rng.uniform(0, 1, (2, 20, d)).astype(dtype)
    X += 4
    logw = rng.uniform(-5, 5, 20).astype(dtype)
    logw[[0, 3]] = -np.inf
    x, z = X.astype(float)[:, None], Z.astype(float)[None]
    r2, l1, dot = ((x - z) ** 2).sum(-1), np.abs(x - z).sum(-1), (x * z).sum(-1)
    t = np.sqrt(3 * r2) / 1e-4
    log_k = {
        "RBF": -r2 / 2e-4,
        "Matern": np.log1p(t) - t,
        "1.73**2 * RBF": np.log(3.0) - r2 / 1e-4,
        "Laplacian": -l1 / 1e-4 + 2 * np.log(dot + 1),
    }[str(kernel).partition("(")[0]]
    terms = log_k + logw.astype(float)
    peak = terms.max(axis=1)
    expected = peak + np.log(np.exp(terms - peak[:, None]).sum(axis=1))
    assert expected.max() < -4e4
    got = host(operator(kernel, X, Z).row_logsumexp(asarray(logw)))
    rtol = 1e-5 if dtype == np.float32 else 1e-13
    assert_allclose(got, expected, rtol=rtol)


def test_logsumexp_of_columns_left_out(operator, host, asarray):
    X = np.random.default_rng(0).standard_normal((600, 2))
    op = operator(RBF(), X[:50], X)
    logw = np.full(600, -np.inf)
    assert (host(op.row_logsumexp(asarray(logw))) == -np.inf).all()
    for kept in (0, 599):
        logw[:] = -np.inf
        logw[kept] = 0.5
        expected = np.log(RBF()(X[:50], X[kept : kept + 1]))[:, 0] + 0.5
        got = host(op.row_logsumexp(asarray(logw)))
        assert_allclose(got, expected, rtol=1e-13, atol=1e-13)


def test_logsumexp_of_entries_that_are_zero(operator, host):
    """White noise is zero off the diagonal: log 0, which is no error."""
    X = np.random.default_rng(0).standard_normal((700, 2))
    assert_allclose(
        host(operator(WhiteKernel(0.3), X).row_logsumexp()), np.log(0.3), rtol=1e-15
    )
    assert (host(operator(WhiteKernel(0.3), X, X[:9]).row_logsumexp()) == -np.inf).all()
    orthogonal = operator(DotProduct(0.0), np.eye(3)).row_logsumexp()
    assert_allclose(host(orthogonal), 0.0, atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES, ids=["f32", "f64"])
@pytest.mark.parametrize(
    "kernel",
    [
        Sigmoid(1.0, -1.0),
        DotProduct(0.0),
        Polynomial(3, 1.0, 0.0),
        ConstantKernel(-1.0) * RBF(),
        DotProduct(0.1) * RBF(),
    ],
    ids=["Sigmoid", "DotProduct", "Polynomial", "-1 * RBF", "DotProduct * RBF"],
)
def test_logsumexp_of_a_negative_kernel(kernel, dtype, operator):
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((2, 30, 4)).astype(dtype)
    with pytest.raises(ValueError, match="negative"):
        operator(kernel, X, Z).row_logsumexp()
    # One entry of many is enough.
    Z = np.abs(X)[:1].repeat(700, axis=0)
    Z[600] *= -1
    with pytest.raises(ValueError, match="negative"):
        operator(kernel, np.abs(X), Z).row_logsumexp()


def test_logsumexp_of_a_callable(operator, host):
    X = np.random.default_rng(0).uniform(0.1, 1, (20, 3))
    got = host(operator(lambda x, z: x @ z.T, X).row_logsumexp())
    assert_allclose(got, np.log((X @ X.T).sum(1)), rtol=1e-12)
    with pytest.raises(ValueError, match="negative"), np.errstate(invalid="ignore"):
        operator(lambda x, z: -(x @ z.T), X).row_logsumexp()


def test_default_device_follows_the_data(asarray, xp):
    """No device named: computed where X is, and given back there."""
    X = asarray(np.eye(4))
    op = KernelOperator(RBF(), X)
    assert isinstance(op @ X, xp.ndarray)
    assert isinstance(op.row_logsumexp(), xp.ndarray)
    assert op.device.xp is xp
