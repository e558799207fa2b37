"""From an estimator's parameters to a kernel object."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.spatial.distance import cdist, pdist
from sklearn.gaussian_process import kernels as skk
from sklearn.metrics.pairwise import pairwise_kernels, rbf_kernel

from gpkern import KernelOperator
from gpkern import kernels as gk
from gpkern.kernels import from_name, median_distance, resolve_kernel

rng = np.random.default_rng(0)
X = rng.standard_normal((60, 4)) * [1.0, 2.0, 0.5, 3.0] + 7.0


class Sliceable:
    """As HDF5 and Zarr arrays: a shape, a dtype and slices, nothing else."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        return self._array[index]


# ------------------------------------------------------------------------- from_name


def test_default_gamma_is_one_over_the_columns():
    assert from_name("laplacian", n_features=4).length_scale == 4.0
    assert from_name("poly", n_features=4).gamma == 0.25
    assert from_name("chi2").gamma == 1.0
    assert from_name("rbf", n_features=8).length_scale == 2.0


def test_none_stands_for_the_default():
    kernel = from_name("poly", n_features=4, gamma=None, degree=None, coef0=None)
    assert kernel == gk.Polynomial(degree=3, gamma=0.25, coef0=1.0)


def test_gamma_needs_the_number_of_columns():
    with pytest.raises(ValueError, match="needs gamma"):
        from_name("rbf")


@pytest.mark.parametrize("name", ["gaussian", "", "RBF", "precomputed"])
def test_unknown_name(name):
    with pytest.raises(ValueError, match=r"is not known.*'laplacian'"):
        from_name(name)
    with pytest.raises(ValueError, match=r"is not known.*'laplacian'"):
        resolve_kernel(name, X)
    with pytest.raises(ValueError, match=r"is not known.*'laplacian'"):
        KernelOperator(name, X)


@pytest.mark.parametrize("gamma", [0.0, -1.0, np.nan, np.inf, "auto", [1.0]])
def test_bad_gamma(gamma):
    with pytest.raises(ValueError, match="gamma"):
        from_name("rbf", gamma=gamma)
    with pytest.raises(ValueError, match="gamma"):
        resolve_kernel("rbf", X, gamma=gamma)


def test_numpy_numbers_are_numbers():
    assert_allclose(from_name("rbf", gamma=np.float32(0.5)).length_scale, 1.0)
    assert from_name("rbf", gamma=np.int64(2)).length_scale == 0.5


@pytest.mark.parametrize(
    ("name", "param"),
    [("rbf", "degree"), ("cosine", "gamma"), ("laplacian", "coef0"), ("linear", "x")],
)
def test_parameters_that_do_not_belong(name, param):
    with pytest.raises(ValueError, match=f"no parameter '{param}'"):
        from_name(name, n_features=4, strict=True, **{param: 1.0})
    # As pairwise_kernels(filter_params=True) in scikit-learn's estimators.
    from_name(name, n_features=4, **{param: 1.0})


# --------------------------------------------------------------------- resolve_kernel


@pytest.mark.parametrize("name", sorted(gk.KERNEL_NAMES))
def test_names_as_in_kernel_ridge(name):
    params = {"gamma": 0.3, "degree": 2, "coef0": 0.5}
    A = np.abs(X)
    got = resolve_kernel(name, A, **params)(A)
    expected = pairwise_kernels(A, metric=name, filter_params=True, **params)
    assert_allclose(got, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("params", [{"gamma": 0.1}, {"gama": 0.1}])
def test_kernel_params_of_a_name(params):
    with pytest.raises(ValueError, match=r"as a callable.*gamma, degree or coef0"):
        resolve_kernel("poly", X, kernel_params=params)
    resolve_kernel("poly", X, kernel_params={})


@pytest.mark.parametrize(
    "wrap", [np.asarray, sparse.csr_array, sparse.csr_matrix, Sliceable]
)
def test_scale(wrap):
    """As in scikit-learn's SVC."""
    data, var = wrap(X), X.var()
    gamma = 1 / (4 * var)
    assert resolve_kernel("poly", data, gamma="scale").gamma == pytest.approx(gamma)
    kernel = resolve_kernel("rbf", data, gamma="scale")
    same = resolve_kernel("rbf", data, length_scale="scale")
    assert kernel.length_scale == pytest.approx(np.sqrt(1 / (2 * gamma)))
    assert same.length_scale == pytest.approx(kernel.length_scale)


@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_array, Sliceable])
def test_median(wrap):
    kernel = resolve_kernel("rbf", wrap(X), length_scale="median")
    assert kernel.length_scale == pytest.approx(np.median(pdist(X)))


def test_scale_of_constant_data():
    assert resolve_kernel("rbf", np.ones((5, 2)), gamma="scale").length_scale == 1.0


def test_scale_of_data_far_from_the_origin():
    far = (X + 1e4).astype(np.float32)
    kernel = resolve_kernel("poly", far, gamma="scale")
    assert kernel.gamma == pytest.approx(1 / (4 * X.var()), rel=1e-3)


def test_length_scale_of_a_name():
    assert resolve_kernel("rbf", X, length_scale=2.0) == skk.RBF(2.0)
    assert resolve_kernel("laplacian", X, length_scale=2) == gk.Laplacian(2.0)
    scales = [1.0, 2.0, 3.0, 4.0]
    kernel = resolve_kernel("rbf", X, length_scale=scales)
    assert_allclose(kernel.length_scale, scales)
    assert_allclose(kernel(X), skk.RBF(1.0)(X / scales))


def test_length_scale_of_an_object():
    original = 2.0 * skk.RBF(1.0) + gk.Laplacian(1.0) * skk.DotProduct()
    kernel = resolve_kernel(original, X, length_scale="median")
    median = pytest.approx(np.median(pdist(X)))
    assert kernel.k1.k2.length_scale == median
    assert kernel.k2.k1.length_scale == median
    assert original.k1.k2.length_scale == 1.0, "the user's object is left alone"


def test_object_is_copied():
    original = skk.Matern(2.0, nu=1.5)
    kernel = resolve_kernel(original, X, gamma="scale")
    assert kernel == original and kernel is not original


def test_callable():
    def overlap(x, z, power=1):
        return np.minimum(x, z).sum() ** power

    kernel = resolve_kernel(overlap, X, kernel_params={"power": 2})
    expected = np.minimum(X[:, None], X).sum(-1) ** 2
    assert_allclose(KernelOperator(kernel, X).to_dense(), expected, rtol=1e-12)
    assert_allclose(KernelOperator(kernel, X).diagonal(), np.diag(expected))


@pytest.mark.parametrize(
    ("kernel", "params", "message"),
    [
        ("rbf", {"gamma": 1.0, "length_scale": 1.0}, "two names for one number"),
        ("poly", {"length_scale": 1.0}, "has no length_scale"),
        ("rbf", {"length_scale": -1.0}, "must be positive"),
        ("rbf", {"length_scale": 0.0}, "must be positive"),
        ("rbf", {"length_scale": np.nan}, "must be positive"),
        ("rbf", {"length_scale": np.inf}, "must be positive"),
        ("rbf", {"length_scale": [1.0, -1.0, 1.0, 1.0]}, "must be positive"),
        ("rbf", {"length_scale": np.ones((4, 1))}, "must be positive"),
        ("rbf", {"length_scale": [1.0, 1.0]}, "2 entries for 4 columns"),
        ("rbf", {"length_scale": "mean"}, "'median' or 'scale'"),
        ("rbf", {"gamma": "mean"}, "'scale' or None"),
        (skk.RBF(), {"gamma": 1.0}, "a kernel object holds its own"),
        (skk.RBF(), {"kernel_params": {"a": 1}}, "given as a callable"),
        (skk.DotProduct(), {"length_scale": 1.0}, "has no length scale"),
        (min, {"length_scale": 1.0}, "does not apply to a callable"),
    ],
)
def test_contradictions(kernel, params, message):
    with pytest.raises(ValueError, match=message):
        resolve_kernel(kernel, X, **params)


@pytest.mark.parametrize("kernel", [None, 3, ["rbf"]])
def test_not_a_kernel(kernel):
    with pytest.raises(TypeError, match="must be a name, a kernel object or a call"):
        resolve_kernel(kernel, X)
    with pytest.raises(TypeError, match="must be a name, a kernel object or a call"):
        KernelOperator(kernel, X)


@pytest.mark.parametrize("kernel", [skk.RBF, gk.Laplacian])
def test_a_class_is_no_instance(kernel):
    message = rf"is a class: pass an instance, such as {kernel.__name__}\(\)"
    with pytest.raises(TypeError, match=message):
        resolve_kernel(kernel, X)
    with pytest.raises(TypeError, match=message):
        KernelOperator(kernel, X)


def _from_cdist(a, b):
    return np.exp(-cdist(a, b))


@pytest.mark.parametrize("function", [rbf_kernel, _from_cdist])
def test_a_function_of_matrices(function):
    """It serves an operator, not an estimator."""
    op = KernelOperator(function, X)
    assert_allclose(op.to_dense(), function(X, X))
    op = KernelOperator(resolve_kernel(function, X), X)
    for compute in (op.to_dense, op.diagonal):
        with pytest.raises(ValueError, match=r"two single rows.*KernelOperator"):
            compute()


def test_an_error_of_the_users_function_is_not_hidden():
    def broken(x, z):
        raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        KernelOperator(resolve_kernel(broken, X), X).to_dense()


# -------------------------------------------------------------------- median_distance


def test_median_of_all_pairs():
    assert median_distance(X) == pytest.approx(np.median(pdist(X)))
    assert median_distance(X.astype(np.float32)) == pytest.approx(
        np.median(pdist(X)), rel=1e-5
    )


def test_median_of_many_rows_follows_the_random_state():
    many = np.random.default_rng(1).standard_normal((3000, 3))
    a, b, c = (median_distance(many, seed) for seed in (0, 0, 1))
    assert a == b != c
    assert a == pytest.approx(np.median(pdist(many)), rel=0.05)
    assert median_distance(Sliceable(many), 0) == a
    assert median_distance(sparse.csr_array(many), 0) == a


def test_median_among_duplicates():
    assert median_distance(np.ones((5, 2))) == 1.0
    assert median_distance(np.ones((1, 2))) == 1.0
    mostly_equal = np.array([[0.0]] * 18 + [[3.0], [3.0]])
    assert median_distance(mostly_equal) == 3.0


def test_median_far_from_the_origin():
    pair = np.array([[1e8, 0.0], [1e8 + 3.0, 4.0]])
    assert median_distance(pair) == pytest.approx(5.0)


@pytest.mark.parametrize("sparse_rows", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_variance_of_rows_far_from_zero(offset, sparse_rows):
    X = np.random.default_rng(0).standard_normal((3000, 10)) + offset
    X = X.astype(np.float32)
    rows = sparse.csr_array(X) if sparse_rows else X
    kernel = resolve_kernel("rbf", rows, gamma="scale")
    expected = 1.0 / (10 * X.astype(np.float64).var())
    assert 0.5 / kernel.length_scale**2 == pytest.approx(expected, rel=1e-6)
