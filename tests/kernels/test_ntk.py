"""Neural tangent kernels: against 50 digits, against quadrature, in every engine."""

import pickle

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import erf, ndtr
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as skk
from sklearn.kernel_ridge import KernelRidge
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import gpkern
from gpkern.kernels import NTK, Program, SteinKernel

ACTIVATIONS = ["relu", "leaky_relu", "erf", "gelu"]
SLOPE = 0.2  # of leaky_relu throughout


# --------------------------------------------------------------- by 50 digits


def exact_moments(activation, K, q1, q2):
    """E phi phi' and E (d phi)(d phi'), by their closed forms."""
    pi = mp.pi
    if "relu" in activation:
        a = mp.mpf(SLOPE) if activation == "leaky_relu" else mp.mpf(0)
        p = mp.sqrt(q1 * q2)
        if p == 0:
            return p, p
        sine = mp.sqrt(max((p - K) * (p + K), 0)) / p
        slope = (1 + a * a) / 2 - (1 - a) ** 2 * mp.atan2(sine, K / p) / (2 * pi)
        return (1 - a) ** 2 * p * sine / (2 * pi) + slope * K, slope
    if activation == "erf":
        s = (1 + 2 * q1) * (1 + 2 * q2)
        return 2 / pi * mp.asin(2 * K / mp.sqrt(s)), 4 / pi / mp.sqrt(s - 4 * K * K)
    P, Q = (1 + q1) * (1 + q2), q1 * q2
    rest = P - K * K
    root = mp.sqrt(rest)
    turn = mp.atan2(K, root)
    value = K / 4 + (K * turn + (K * K + Q * rest) / (P * root)) / (2 * pi)
    slope = 1 / rest + (1 - Q) / P + 1
    return value, mp.mpf(1) / 4 + turn / (2 * pi) + K / (2 * pi * root) * slope


def exact(x, z, activation, w, b, depth=5, frozen=0):
    """Tangent kernels and covariances of 0 to `depth` hidden layers."""
    x, z = ([mp.mpf(float(v)) for v in row] for row in (x, z))
    w, b, d = mp.mpf(w), mp.mpf(b), len(x)
    K, q1, q2 = (w * mp.fdot(p, q) / d + b for p, q in ((x, z), (x, x), (z, z)))
    tangents, covariances = [K if frozen == 0 else mp.mpf(0)], [K]
    for layer in range(1, depth + 1):
        value, slope = exact_moments(activation, K, q1, q2)
        q1, q2 = (w * exact_moments(activation, q, q, q)[0] + b for q in (q1, q2))
        K = w * value + b
        tangents.append((K if layer >= frozen else 0) + w * slope * tangents[-1])
        covariances.append(K)
    return {"ntk": tangents, "nngp": covariances}


@pytest.fixture(autouse=True)
def fifty_digits():
    with mp.workdps(60):  # where rows are equal, a root takes half of them
        yield


def difficult_pairs(d, apart=1e-8):
    """Rows and other rows whose angles, or norms, lose digits if one is careless."""
    rng = np.random.default_rng(d)
    x, z, e = rng.standard_normal((3, d))
    pairs = [
        (x, z),
        (x, x),
        (x, -x),
        (x, x + apart * e),
        (x, -x + apart * e),
        (x, x + 1e4 * apart * e),
        (x, 3 * x),
        (x, -0.3 * x),
        (x, 3 * x + apart * e),
        (1e-2 * x, 1e2 * z),
        (1e-2 * x, -1e2 * x + apart * e),
        (1e2 * x, 1e2 * (x + apart * e)),
        (1e-3 * x, 1e-3 * z),
    ]
    return (np.array(rows) for rows in zip(*pairs, strict=True))


def errors(got, X, Z, activation, w, b, kind, depth, frozen=0):
    """Against sqrt(k(x, x) k(z, z)), of each pair."""
    out = []
    for value, x, z in zip(got, X, Z, strict=True):
        k, kx, kz = (
            exact(p, q, activation, w, b, depth, frozen)[kind][depth]
            for p, q in ((x, z), (x, x), (z, z))
        )
        out.append(float(abs(mp.mpf(float(value)) - k) / mp.sqrt(kx * kz)))
    return np.array(out)


@pytest.mark.parametrize("bias", [0.0, 0.1])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_accuracy(activation, bias):
    for depth, d, kind, frozen in (
        (1, 4, "ntk", 0),
        (2, 1, "ntk", 1),
        (3, 7, "nngp", 0),
        (4, 1, "ntk", 0),
        (5, 7, "ntk", 0),
    ):
        X, Z = difficult_pairs(d)
        kernel = NTK(
            depth,
            activation,
            1.7,
            bias,
            kind=kind,
            frozen_layers=frozen,
            negative_slope=SLOPE,
        )
        got = np.diagonal(kernel(X, Z))
        error = errors(got, X, Z, activation, 1.7, bias, kind, depth, frozen)
        assert error.max() < 5e-15, (depth, d, kind, error)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["f32", "f64"])
@pytest.mark.parametrize(
    ("activation", "bias", "d"),
    [("relu", 0.1, 45), ("gelu", 0.0, 5)],
    ids=["products", "differences"],
)
def test_accuracy_of_the_engines(activation, bias, dtype, d, operator, host):
    near = {np.float32: 1e-4, np.float64: 1e-8}[dtype]
    X, Z = (a.astype(dtype) for a in difficult_pairs(d, near))
    # Among other rows: the CPU takes inner products where few pairs are close.
    others = np.random.default_rng(0).standard_normal((400, d)).astype(dtype)
    op = operator(NTK(2, activation, 1.7, bias), X, np.concatenate([Z, others]))
    got = np.diagonal(host(op.to_dense()))
    error = errors(got, X, Z, activation, 1.7, bias, "ntk", 2)
    assert error.max() < (2e-6 if dtype == np.float32 else 5e-15), error


# ------------------------------------------------------------- by quadrature

FUNCTIONS = {
    "relu": (lambda u: u * (u > 0), lambda u: 1.0 * (u > 0)),
    "leaky_relu": (
        lambda u: np.where(u > 0, u, SLOPE * u),
        lambda u: np.where(u > 0, 1.0, SLOPE),
    ),
    "erf": (erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-(u**2))),
    "gelu": (
        lambda u: u * ndtr(u),
        lambda u: ndtr(u) + u * np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi),
    ),
}


def mean(function, K, q1, q2):
    """E f(u) f(v) of a normal pair with these covariances, in polar coordinates."""
    n = 4000
    turn = 2 * np.pi * (np.arange(n) + 0.5) / n
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r = 6.0 * (nodes + 1)
    weights = 6.0 * weights * r * np.exp(-(r**2) / 2) / n
    u = np.sqrt(q1) * np.cos(turn)
    v = K / np.sqrt(q1) * np.cos(turn) + np.sqrt(q2 - K**2 / q1) * np.sin(turn)
    products = function(np.outer(r, u)) * function(np.outer(r, v))
    return float(weights @ products.sum(axis=1))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_two_layers_by_quadrature(activation):
    phi, slope = FUNCTIONS[activation]
    X = np.array([[1.0, 0.3, -0.8], [0.2, -1.1, 0.7]])
    w, b = 1.7, 0.2
    q1, q2, K = (w * (x @ z) / 3 + b for x, z in (X[[0, 0]], X[[1, 1]], X))
    T = K
    for _ in range(2):
        D = mean(slope, K, q1, q2)
        K, q1, q2 = (
            w * mean(phi, *c) + b
            for c in ((K, q1, q2), (q1, q1, q1 + 1e-13), (q2, q2, q2 + 1e-13))
        )
        T = K + w * D * T
    made = {"activation": activation, "weight_variance": w, "bias_variance": b}
    made["negative_slope"] = SLOPE
    got = NTK(2, **made)(X)[0, 1], NTK(2, **made, kind="nngp")(X)[0, 1]
    # Jumps and kinks cost the quadrature digits.
    assert_allclose(got, (T, K), rtol=1e-3 if "relu" in activation else 1e-7)


# --------------------------------------------------------------- conventions


def test_arora():
    """Their code for the UCI data sets, but for its rounding."""
    X = np.random.default_rng(0).standard_normal((6, 4))
    for depth, fix_dep in ((1, 0), (3, 0), (3, 2)):
        S = X @ X.T
        H = np.zeros_like(S)
        for dep in range(depth + 1):
            H += S if fix_dep <= dep else 0
            if dep == depth:
                break
            P = np.sqrt(np.outer(np.diag(S), np.diag(S)))
            Sn = np.clip(S / P, -1, 1)
            turn = np.pi - np.arccos(Sn)
            S = (Sn * turn + np.sqrt(1 - Sn * Sn)) * P / 2 / np.pi
            H = H * turn / 2 / np.pi
        got = 4 * NTK(depth, frozen_layers=fix_dep)(X)
        assert_allclose(got, H, rtol=1e-7)


def test_scikit_ntk():
    """scikit-ntk 1.2.1 without bias, ``NeuralTangentKernel(depth=2, bias=0)``."""
    X = np.array([[1.0, 2.0, -0.5], [0.3, -1.0, 0.8]])
    expected = [[5.25, 0.28014185], [0.28014185, 1.73]]
    assert_allclose(3 / 2 * NTK(2, weight_variance=2.0)(X) / 3, expected, atol=1e-8)


def test_rectifiers_forget_the_norms_without_biases():
    x, z = np.random.default_rng(0).standard_normal((2, 1, 5))
    kernel = NTK(3, normalize=True)
    assert_allclose(kernel(x, z), kernel(1e-5 * x, 1e4 * z), rtol=1e-14)
    assert_allclose(NTK(3)(2 * x, 3 * z), 6 * NTK(3)(x, z), rtol=1e-14)


def test_a_linear_network():
    """Every layer adds the same: no activation at all."""
    X = np.random.default_rng(0).standard_normal((5, 3))
    kernel = NTK(3, "leaky_relu", negative_slope=1.0)
    assert_allclose(kernel(X), 4 * X @ X.T / 3, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_normalize(activation, kind, bias):
    X = np.random.default_rng(0).standard_normal((5, 3))
    made = {"bias_variance": bias, "kind": kind, "frozen_layers": 1}
    plain, own = NTK(3, activation, **made), NTK(3, activation, **made, normalize=True)
    roots = np.sqrt(plain.diag(X))
    assert_allclose(own(X), plain(X) / np.outer(roots, roots), rtol=1e-13)
    assert_allclose(own.diag(X), 1.0, rtol=1e-14)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("bias", [0.0, 0.1])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients(activation, bias, normalize):
    """By the logarithms of the variances, against differences of 50 digits."""
    w, h, depth, frozen = 1.3, mp.mpf(10) ** -20, 3, 1
    kernel = NTK(
        depth,
        activation,
        w,
        bias,
        frozen_layers=frozen,
        normalize=normalize,
        negative_slope=SLOPE,
        bias_variance_bounds=(1e-3, 1e3) if bias else "fixed",
    )

    def value(x, z, w, b):
        def one(x, z):
            return exact(x, z, activation, w, b, depth, frozen)["ntk"][depth]

        scale = mp.sqrt(one(x, x) * one(z, z)) if normalize else 1
        return one(x, z) / scale

    for x, z in zip(*difficult_pairs(3), strict=True):
        K, gradient = kernel(np.array([x, z]), eval_gradient=True)
        up, down = mp.exp(h), mp.exp(-h)
        steps = [((w, bias * up), (w, bias * down))] if bias else []
        steps += [((w * up, bias), (w * down, bias))]
        slopes = [float((value(x, z, *a) - value(x, z, *b)) / 2 / h) for a, b in steps]
        size = np.sqrt(K[0, 0] * K[1, 1])
        assert_allclose(gradient[0, 1] / size, np.array(slopes) / size, atol=1e-12)


def test_hyperparameters():
    kernel = NTK(2, "erf", 2.0, 0.5, bias_variance_bounds=(1e-2, 1e2))
    assert [h.name for h in kernel.hyperparameters] == [
        "bias_variance",
        "weight_variance",
    ]
    assert_allclose(kernel.theta, np.log([0.5, 2.0]))
    assert_allclose(kernel.bounds, np.log([[1e-2, 1e2], [1e-5, 1e5]]))
    moved = kernel.clone_with_theta(np.log([0.1, 3.0]))
    assert (moved.bias_variance, moved.depth) == (pytest.approx(0.1), 2)
    assert NTK().theta.shape == (1,)
    assert not kernel.is_stationary() and not (kernel + skk.RBF()).is_stationary()
    # No matter how large the weights are.
    X = np.array([[1.0, 2.0], [0.5, -1.0]])
    gradient = NTK(normalize=True)(X, eval_gradient=True)[1]
    assert gradient.shape == (2, 2, 1) and np.abs(gradient).max() < 1e-15


# ---------------------------------------------------------------------- edges


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_rows_of_zeros(activation, normalize):
    X = np.array([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    with np.errstate(all="raise"):
        kernel = NTK(2, activation, normalize=normalize)
        K, gradient = kernel(X, eval_gradient=True)
        assert (K[1:] == 0).all() and (gradient[1:] == 0).all() and K[0, 0] > 0
        assert (kernel.diag(X) == np.diag(K)).all()
        kernel = NTK(2, activation, 1.0, 0.1, normalize=normalize)
        K, gradient = kernel(X, eval_gradient=True)
        assert (K > 0).all() and np.isfinite(gradient).all()
    assert_allclose(K[1, 1], K[1, 2], rtol=1e-14)


def test_rows_of_zeros_in_the_engine(operator, host):
    X = np.array([[1.0, 2.0], [0.0, 0.0]])
    kernel = NTK(weight_variance=2.0)
    for op in (operator(kernel, X), operator(kernel, X, X)):
        assert_allclose(host(op.to_dense()), kernel(X), rtol=1e-14)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depth": 0}, r"depth=0 of NTK must be a whole number .* 1 or more"),
        ({"depth": 1.0}, "depth=1.0 of NTK must be a whole number"),
        ({"depth": True}, "depth=True"),
        ({"activation": "tanh"}, "activation='tanh' .* 'relu', 'leaky_relu', 'erf'"),
        ({"activation": None}, "activation=None"),
        ({"kind": "ck"}, "kind='ck' of NTK must be one of 'ntk', 'nngp'"),
        ({"weight_variance": -1.0}, "weight_variance=-1.0 of NTK must be 0 or more"),
        ({"bias_variance": -0.1}, "bias_variance=-0.1 of NTK must be 0 or more"),
        ({"weight_variance": np.nan}, "weight_variance=nan of NTK must be finite"),
        ({"weight_variance": "2"}, "weight_variance='2' of NTK must be a number"),
        ({"weight_variance": 0.0}, "must be positive where bias_variance is 0"),
        ({"bias_variance_bounds": (0.1, 1)}, "bias_variance_bounds be 'fixed'"),
        ({"frozen_layers": 1}, "from 0 to 0, below depth=1; .* use kind='nngp'"),
        ({"frozen_layers": -1}, "frozen_layers=-1"),
        ({"frozen_layers": 0.5}, r"frozen_layers=0\.5"),
        ({"negative_slope": -0.1}, r"negative_slope=-0\.1 of NTK must be 0 or more"),
    ],
    ids=str,
)
def test_bad_parameters(parameters, message):
    kernel = NTK(**parameters)
    X = np.eye(2)
    for use in (kernel, lambda X: gpkern.KernelOperator(kernel + skk.RBF(), X)):
        with pytest.raises(ValueError, match=message):
            use(X)


def test_the_number_of_columns():
    """It is part of the formula, in compound kernels too."""
    with pytest.raises(ValueError, match=r"Program\.of\(kernel, n_features\)"):
        Program.of(NTK())
    X = np.random.default_rng(0).standard_normal((4, 6))
    kernel = 2.0 * NTK(weight_variance=2.0) + skk.DotProduct(1.0)
    assert_allclose(gpkern.KernelOperator(kernel, X).to_dense(), kernel(X), rtol=1e-13)
    with pytest.raises(ValueError, match="must be a kernel of the Euclidean distance"):
        SteinKernel(NTK(), n_features=3)(X)


def test_the_formula_stays_short():
    """Every pair pays for every statement."""
    lengths = [len(Program.of(NTK(depth), 10).statements) for depth in (1, 3, 5)]
    assert lengths[1] <= 60
    assert lengths[2] - lengths[1] <= 32
    roots = [op for _, op, _ in Program.of(NTK(3), 10).statements if op != "mul"]
    assert roots.count("sqrt") == 5 and "recip" not in roots


# ----------------------------------------------------------------- estimators


def test_as_a_kernel_of_scikit_learn():
    kernel = NTK(3, "gelu", 1.5, 0.25, bias_variance_bounds=(1e-3, 1e2))
    assert pickle.loads(pickle.dumps(kernel)) == kernel == clone(kernel)
    assert "depth=3, activation='gelu', weight_variance=1.5" in repr(kernel)
    X = np.random.default_rng(0).standard_normal((5, 3))
    for other in (kernel + skk.RBF(), skk.ConstantKernel(2.0) * kernel):
        _, gradient = other(X, eval_gradient=True)
        assert gradient.shape == (5, 5, 3)
        h = 1e-6
        for i, step in enumerate(h * np.eye(3)):
            up, down = (other.clone_with_theta(other.theta + s) for s in (step, -step))
            slope = (up(X) - down(X)) / (2 * h)
            assert_allclose(gradient[..., i], slope, atol=1e-8)


def test_estimators():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 3))
    y = np.abs(X[:, 0]) + 0.5 * X[:, 1]
    kernel = NTK(weight_variance=2.0)
    noisy = kernel + skk.WhiteKernel(0.1, "fixed")
    fitted, given = (
        GaussianProcessRegressor(noisy, optimizer=o).fit(X, y)
        for o in ("fmin_l_bfgs_b", None)
    )
    assert (
        fitted.log_marginal_likelihood_value_ > given.log_marginal_likelihood_value_ + 1
    )
    ours = gpkern.KernelRidge(kernel=kernel, alpha=0.1).fit(X, y).predict(X)
    theirs = KernelRidge(kernel="precomputed", alpha=0.1).fit(kernel(X), y)
    assert_allclose(ours, theirs.predict(kernel(X)), rtol=1e-6)
    model = gpkern.EigenProRegressor(kernel=kernel, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8
    search = GridSearchCV(SVC(kernel=kernel), {"kernel__depth": [1, 2]}, cv=2)
    assert search.fit(X, y > 0.7).best_score_ > 0.7


@pytest.mark.parametrize("depth, weight", [(10, 100.0), (4, 1e5)])
def test_large_variances(depth, weight):
    """Rounding is then larger than the ones in GELU's formula."""
    X = np.random.default_rng(0).normal(size=(50, 5))
    kernel = NTK(depth, "gelu", weight, normalize=True)
    K = kernel(X)
    assert np.isfinite(K).all()
    assert_allclose(K.diagonal(), 1.0, rtol=1e-6)
    assert_allclose(kernel.diag(X), 1.0)


def test_rows_that_do_not_go_together():
    with pytest.raises(ValueError, match="X has 3 columns and Y has 2"):
        NTK()(np.ones((2, 3)), np.ones((2, 2)))
    with pytest.raises(TypeError, match=r"Y is sparse: pass Y.toarray\(\)"):
        NTK()(np.ones((2, 3)), sparse.csr_array(np.ones((2, 3))))
