"""Our own kernels as scikit-learn kernels: hyperparameters, gradients, regression."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as skk
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpkern import KernelOperator
from gpkern import kernels as gk
from gpkern.kernels import expr as ex


class Cauchy(gk.FormulaKernel):
    """A kernel of the user's own, the root of a distance in it."""

    def __init__(
        self,
        length_scale=1.0,
        weight=0.5,
        length_scale_bounds=(1e-5, 1e5),
        weight_bounds=(1e-3, 1e3),
    ):
        self.length_scale = length_scale
        self.weight = weight
        self.length_scale_bounds = length_scale_bounds
        self.weight_bounds = weight_bounds

    def formula(self, pair):
        r2 = pair.sqdist("length_scale")
        return pair.hyper("weight") / (1 + r2) + ex.exp(-ex.sqrt(r2))


class Elastic(gk.FormulaKernel):
    """Two distances that share their length scales."""

    def __init__(self, length_scale=1.0, length_scale_bounds=(1e-5, 1e5)):
        self.length_scale = length_scale
        self.length_scale_bounds = length_scale_bounds

    def formula(self, pair):
        return ex.exp(-pair.sqdist("length_scale") - pair.l1dist("length_scale"))


FREE = (1e-5, 1e5)
OWN = [
    gk.InverseMultiquadric(1.3, exponent=0.7, exponent_bounds=FREE),
    gk.InverseMultiquadric([0.7, 1.3, 2.0], exponent=0.7, exponent_bounds=FREE),
    gk.Laplacian(1.3),
    gk.Laplacian([0.7, 1.3, 2.0]),
    gk.Chi2(0.7),
    gk.AdditiveChi2(),
    gk.Polynomial(degree=3, gamma=0.4, coef0=1.2, coef0_bounds=FREE),
    gk.Polynomial(degree=2.5, gamma=0.4, coef0=1.2, coef0_bounds=FREE),
    gk.Sigmoid(gamma=0.2, coef0=0.3, coef0_bounds=FREE),
    gk.Cosine(),
    Cauchy(1.3, 0.4),
    Cauchy(np.array([0.7, 1.3, 2.0]), 0.4),
    Elastic(1.3),
    Elastic(np.array([0.7, 1.3, 2.0])),
]
COMPOUND = [
    skk.ConstantKernel(2.0) * gk.Laplacian(1.3) + skk.WhiteKernel(0.1),
    (gk.InverseMultiquadric(1.3) + skk.RBF([0.7, 1.3, 2.0])) * Cauchy(),
    gk.Polynomial(degree=2, gamma=0.4) ** 2 + 1.5,
]


def label(kernel):
    return str(kernel).replace(" ", "")


@pytest.fixture
def X():
    """Positive rows, two of which coincide and one of which is zero."""
    X = np.abs(np.random.default_rng(0).standard_normal((7, 3)))
    X[4], X[5] = X[1], 0.0
    return X


@pytest.mark.parametrize("kernel", OWN + COMPOUND, ids=label)
def test_gradient(kernel, X):
    K, gradient = kernel(X, eval_gradient=True)
    assert_allclose(K, kernel(X), rtol=1e-14)
    assert gradient.shape == (7, 7, kernel.n_dims)
    step = 1e-5
    for i, theta in enumerate(kernel.theta):
        up, down = (
            kernel.clone_with_theta(
                np.where(
                    np.arange(kernel.n_dims) == i, theta + sign * step, kernel.theta
                )
            )(X)
            for sign in (1, -1)
        )
        assert_allclose(
            gradient[:, :, i], (up - down) / (2 * step), rtol=1e-6, atol=1e-8
        )


def test_gradient_leaves_fixed_parameters_out(X):
    kernel = gk.InverseMultiquadric(1.3)
    assert [h.name for h in kernel.hyperparameters] == ["exponent", "length_scale"]
    assert kernel.n_dims == 1
    assert kernel(X, eval_gradient=True)[1].shape == (7, 7, 1)
    fixed = gk.Laplacian(length_scale_bounds="fixed")
    assert fixed(X, eval_gradient=True)[1].shape == (7, 7, 0)


def test_gradient_of_a_cross_matrix_is_refused(X):
    with pytest.raises(ValueError, match="Y is None"):
        gk.Laplacian()(X, X, eval_gradient=True)


@pytest.mark.parametrize("kernel", OWN, ids=label)
def test_hyperparameters(kernel):
    free = [h for h in kernel.hyperparameters if not h.fixed]
    values = [np.atleast_1d(getattr(kernel, h.name)) for h in free]
    expected = np.log(np.concatenate(values)) if values else np.empty(0)
    assert_allclose(kernel.theta, expected)
    assert kernel.bounds.shape == (len(expected), 2) or not len(expected)

    other = kernel.clone_with_theta(kernel.theta + 0.5)
    assert_allclose(other.theta, kernel.theta + 0.5)
    assert type(other) is type(kernel)


@pytest.mark.parametrize("kernel", OWN, ids=label)
def test_clone_and_parameters(kernel, X):
    copy = clone(kernel)
    assert copy is not kernel and copy == kernel
    params = kernel.get_params()
    assert type(kernel)(**params) == kernel
    if "gamma" in params:
        copy.set_params(gamma=9.0)
        assert copy != kernel and copy.gamma == 9.0
        assert not np.allclose(copy(X), kernel(X))
    with pytest.raises(ValueError, match="nonsense"):
        copy.set_params(nonsense=1.0)


def test_parameters_of_a_compound_kernel():
    kernel = skk.ConstantKernel(2.0) * gk.Laplacian(1.3) + gk.Cosine()
    assert kernel.get_params()["k1__k2__length_scale"] == 1.3
    kernel.set_params(k1__k2__length_scale=2.6)
    assert_allclose(np.exp(kernel.theta), [2.0, 2.6])


@pytest.mark.parametrize(
    ("kernel", "shown"),
    [
        (gk.Laplacian(1.23456), "Laplacian(length_scale=1.23)"),
        (gk.Laplacian([1.0, 2.5]), "Laplacian(length_scale=[1.0, 2.5])"),
        (gk.Polynomial(degree=2), "Polynomial(degree=2, gamma=1, coef0=1)"),
        (gk.Cosine(), "Cosine()"),
        (gk.Laplacian() + skk.RBF(), "Laplacian(length_scale=1) + RBF(length_scale=1)"),
    ],
    ids=label,
)
def test_repr(kernel, shown):
    assert repr(kernel) == shown


@pytest.mark.parametrize("kernel", [gk.Laplacian(0.2), Cauchy(0.2)], ids=label)
def test_gaussian_process_regression(kernel):
    """The optimizer reaches a stationary point of the marginal likelihood."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 5, (40, 1))
    y = np.sin(2 * X[:, 0]) + 0.1 * rng.standard_normal(40)
    model = GaussianProcessRegressor(
        kernel + skk.WhiteKernel(0.1), normalize_y=True, random_state=0
    ).fit(X, y)
    start = model.log_marginal_likelihood(model.kernel.theta)
    best, slope = model.log_marginal_likelihood(model.kernel_.theta, eval_gradient=True)
    assert best > start + 1
    inside = (model.kernel_.theta > model.kernel_.bounds[:, 0] + 1e-6) & (
        model.kernel_.theta < model.kernel_.bounds[:, 1] - 1e-6
    )
    assert inside.any()
    assert_allclose(slope[inside], 0, atol=0.05)
    mean, std = model.predict(X, return_std=True)
    assert np.abs(mean - np.sin(2 * X[:, 0])).max() < 0.35
    assert (std > 0).all()


def test_same_regression_as_scikit_learn():
    """Laplacian on one column is Matern 1/2, gradient included."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 5, (30, 1))
    y = np.sin(2 * X[:, 0]) + 0.2 * rng.standard_normal(30)
    models = [
        GaussianProcessRegressor(k + skk.WhiteKernel(0.1)).fit(X, y)
        for k in (gk.Laplacian(), skk.Matern(nu=0.5))
    ]
    assert_allclose(models[0].kernel_.theta, models[1].kernel_.theta, rtol=1e-3)
    assert_allclose(models[0].predict(X), models[1].predict(X), rtol=1e-4, atol=1e-4)


def test_grid_search_reaches_the_length_scale():
    X = np.linspace(0, 5, 30)[:, None]
    y = np.sin(2 * X[:, 0])
    model = make_pipeline(
        StandardScaler(),
        GaussianProcessRegressor(gk.Laplacian(), optimizer=None, alpha=1e-3),
    )
    grid = {"gaussianprocessregressor__kernel__length_scale": [1e-4, 1.0]}
    search = GridSearchCV(model, grid, cv=KFold(3, shuffle=True, random_state=0)).fit(
        X, y
    )
    assert search.best_params_ == {
        "gaussianprocessregressor__kernel__length_scale": 1.0
    }


# ------------------------------------------------------------------------ subclasses


class Shifted(gk.Laplacian):
    """Changes its parent's values without a formula of its own."""

    def __call__(self, X, Y=None, eval_gradient=False):
        return super().__call__(X, Y) + 1.0

    def diag(self, X):
        return super().diag(X) + 1.0


class Doubled(skk.RBF):
    def __call__(self, X, Y=None, eval_gradient=False):
        return 2.0 * super().__call__(X, Y)

    def diag(self, X):
        return 2.0 * super().diag(X)


class Renamed(skk.RBF):
    """Adds nothing: still an RBF."""


class Restated(Doubled):
    """States what its parent computes."""

    def formula(self, pair):
        return 2.0 * ex.exp(-0.5 * pair.sqdist("length_scale"))


@pytest.mark.parametrize("kernel", [Shifted(1.3), Doubled(1.3)], ids=label)
@pytest.mark.parametrize("wrap", [lambda k: k, lambda k: k + skk.WhiteKernel(0.5)])
def test_overridden_call_is_not_taken_for_its_parent(kernel, wrap, X):
    kernel = wrap(kernel)
    with pytest.raises(TypeError, match="states no formula"):
        gk.Program.of(kernel)
    assert_allclose(KernelOperator(kernel, X, X).to_dense(), kernel(X, X))
    assert_allclose(KernelOperator(kernel, X).to_dense(), kernel(X))
    assert_allclose(KernelOperator(kernel, X).diagonal(), kernel.diag(X))


class OnlyCall(skk.RBF):
    """Its `diag` is still that of its parent."""

    def __call__(self, X, Y=None, eval_gradient=False):
        return 2.0 * super().__call__(X, Y)


class OnlyCallOfOurs(gk.Laplacian):
    def __call__(self, X, Y=None, eval_gradient=False):
        return 2.0 * super().__call__(X, Y)


@pytest.mark.parametrize("kernel", [OnlyCall(1.3), OnlyCallOfOurs(1.3)], ids=label)
def test_diagonal_of_an_overridden_call(kernel, X):
    """Not the inherited one, neither of the kernel nor of a part."""
    assert_allclose(KernelOperator(kernel, X).diagonal(), 2.0)
    assert_allclose(KernelOperator(kernel, X).to_dense(), kernel(X))
    noisy = kernel + skk.WhiteKernel(0.5)
    assert_allclose(KernelOperator(noisy, X).diagonal(), 2.5)
    assert_allclose(KernelOperator(noisy, X).to_dense(), noisy(X))


@pytest.mark.parametrize("value", [2, 2.5, np.float64(2.5), np.int64(2)])
def test_a_formula_may_be_a_number(value, X):
    class Number(gk.FormulaKernel):
        def __init__(self):
            pass

        def formula(self, pair):
            return value

    kernel = Number()
    assert_allclose(kernel(X), np.full((7, 7), value))
    assert_allclose(kernel.diag(X), value)
    assert kernel.is_stationary()
    assert_allclose(KernelOperator(kernel, X).to_dense(), kernel(X))
    assert_allclose(
        KernelOperator(kernel * skk.RBF(), X).to_dense(), value * skk.RBF()(X)
    )


def test_numpy_function_in_a_formula(X):
    class Wrong(gk.FormulaKernel):
        def __init__(self):
            pass

        def formula(self, pair):
            return np.exp(-pair.sqdist())

    for compute in (Wrong(), lambda X: KernelOperator(Wrong(), X).to_dense()):
        with pytest.raises(TypeError, match=r"gpkern\.kernels\.expr: exp$"):
            compute(X)


@pytest.mark.parametrize("kernel", [Renamed(1.3), Restated(1.3)], ids=label)
def test_formula_is_inherited_or_restated(kernel, X):
    gk.Program.of(kernel)
    assert_allclose(KernelOperator(kernel, X).to_dense(), kernel(X))


def test_registered_formula(X):
    class Outside(skk.Kernel):
        def __call__(self, X, Y=None):
            raise AssertionError("the formula is used instead")

        def diag(self, X):
            raise AssertionError("the formula is used instead")

        def is_stationary(self):
            return True

    @gk.states(Outside)
    def _(kernel, pair):
        return ex.cos(pair.l1dist())

    got = KernelOperator(Outside(), X).to_dense()
    expected = np.cos(np.abs(X[:, None] - X).sum(-1))
    assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


def test_every_quantity_of_a_pair(X):
    class Everything(gk.FormulaKernel):
        def __init__(self):
            pass

        def formula(self, pair):
            return (
                pair.sqdist()
                + 10 * pair.l1dist()
                + 100 * pair.chi2dist()
                + 1e3 * pair.dot()
                + 1e4 * pair.norm_x()
                + 1e5 * pair.norm_z()
                + 1e6 * pair.same()
                + 1e7 * pair.unit_sqdist()
                + 1e8 * pair.unit_sqsum()
            )

    Z = X[::-1] + 0.1
    delta, total = X[:, None] - Z, X[:, None] + Z
    # A row of zeros stays one.
    u, v = (a / np.sqrt((a**2).sum(1) + 1e-300)[:, None] for a in (X, Z))
    u = u[:, None]
    expected = (
        (delta**2).sum(-1)
        + 10 * np.abs(delta).sum(-1)
        + 100 * (delta**2 / total).sum(-1)
        + 1e3 * X @ Z.T
        + 1e4 * (X**2).sum(1)[:, None]
        + 1e5 * (Z**2).sum(1)
        + 1e7 * ((u - v) ** 2).sum(-1)
        + 1e8 * ((u + v) ** 2).sum(-1)
    )
    kernel = Everything()
    assert_allclose(kernel(X, Z), expected, rtol=1e-12)
    assert_allclose(KernelOperator(kernel, X, Z).to_dense(), expected, rtol=1e-12)
    assert_allclose(KernelOperator(kernel, X).diagonal(), kernel.diag(X), rtol=1e-12)
    assert_allclose(np.diag(kernel(X)), kernel.diag(X), rtol=1e-12)


@pytest.mark.parametrize("kernel", [gk.NTK(depth=2), gk.Laplacian(1.3), Cauchy()])
def test_large_matrices(kernel):
    """Those that are handed over to the engine have the values of small ones."""
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(1500, 3)), rng.normal(size=(1450, 3))
    X[7] = X[1400]
    rows, columns = [3, 7, 1400], [0, 7, 1400]
    expected = kernel(X[rows], X[columns])
    assert_allclose(kernel(X)[np.ix_(rows, columns)], expected, rtol=1e-12)
    expected = kernel(X[rows], Z[columns])
    assert_allclose(kernel(X, Z)[np.ix_(rows, columns)], expected, rtol=1e-12)
    noisy = kernel + skk.WhiteKernel(0.5)
    assert_allclose(noisy(X).diagonal(), kernel.diag(X) + 0.5, rtol=1e-12)


def test_angles_of_close_and_of_distant_rows():
    """Few pairs that are close, among many that are not, keep their digits."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 40))
    X[1], X[2] = 3.0 * X[0] + 1e-9 * X[5], -X[0] + 1e-9 * X[6]
    X[3] = 0.0
    kernel = gk.NTK(depth=2)
    K = kernel(X)
    alone = np.array([[kernel(a[None], b[None])[0, 0] for b in X] for a in X])
    size = np.sqrt(np.outer(kernel.diag(X), kernel.diag(X)))
    assert (abs(K - alone) <= 1e-14 * size).all()
    assert_allclose(K.diagonal(), kernel.diag(X), rtol=1e-14)
