"""What `KernelOperator` takes, and what it refuses."""

import builtins
import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.gaussian_process.kernels import RBF, Matern, WhiteKernel

from gpkern import KernelOperator
from gpkern.kernels import Chi2, Cosine, FormulaKernel, Laplacian, Polynomial

rng = np.random.default_rng(0)
X, Z = rng.standard_normal((40, 6)), rng.standard_normal((30, 6))
# Rows with zeros, as text has them; one row is all zeros, one is in both.
WITH_ZEROS, WITH_ZEROS_Z = (np.where(rng.random(a.shape) < 0.4, a, 0) for a in (X, Z))
WITH_ZEROS[3] = 0.0
WITH_ZEROS_Z[5] = WITH_ZEROS[7]
SPARSE, SPARSE_Z = sparse.csr_array(WITH_ZEROS), sparse.csr_array(WITH_ZEROS_Z)
NUMBERS = [RBF(1.5), Matern(1.5, nu=0.5), Laplacian(3.0), Polynomial(), Cosine()]


class Sliceable:
    """As HDF5 and Zarr arrays: a shape, a dtype and slices, nothing else."""

    def __init__(self, array):
        self._array = array
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, index):
        return self._array[index]


def on_disk(array, folder):
    """A read-only memory map."""
    path = folder / "rows.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def agree(op, kernel, X, Z, host, rtol=1e-12):
    assert_allclose(host(op.to_dense()), kernel(X, Z), rtol=rtol, atol=rtol)
    V = np.linspace(-1, 1, 2 * op.shape[1]).reshape(-1, 2)
    V = op.device.xp.asarray(V)
    expected = kernel(X, Z) @ host(V)
    assert_allclose(host(op @ V), expected, rtol=rtol, atol=20 * rtol)
    U = op.device.xp.ones(op.shape[0])
    expected = kernel(X, Z).sum(0)
    assert_allclose(host(op.T @ U), expected, rtol=rtol, atol=20 * rtol)


@pytest.mark.parametrize("kernel", NUMBERS, ids=str)
def test_memory_map(kernel, tmp_path, operator, host):
    mapped = on_disk(X, tmp_path)
    agree(operator(kernel, mapped, Z), kernel, X, Z, host)
    agree(operator(kernel, Z, mapped), kernel, Z, X, host)


def test_memory_map_is_read_in_parts(tmp_path, operator, host):
    """More data than the budget: no copy of it is kept."""
    mapped = on_disk(X, tmp_path)
    agree(operator(RBF(1.5), mapped, Z, memory_budget=100), RBF(1.5), X, Z, host)


@pytest.mark.parametrize("kernel", [*NUMBERS, Chi2(0.5)], ids=str)
@pytest.mark.parametrize("budget", [None, 100])
def test_sliceable(kernel, budget, operator, host):
    x, z = (np.abs(X), np.abs(Z)) if isinstance(kernel, Chi2) else (X, Z)
    op = operator(kernel, Sliceable(x), Sliceable(z), memory_budget=budget)
    agree(op, kernel, x, z, host)
    agree(operator(kernel, x, Sliceable(z)), kernel, x, z, host)


@pytest.mark.parametrize("kernel", [*NUMBERS, Chi2(0.5)], ids=str)
@pytest.mark.parametrize("container", [sparse.csr_array, sparse.csr_matrix])
def test_csr(kernel, container, operator, host):
    """Both sides sparse, the left one, the right one, one sample."""
    kernel = kernel + WhiteKernel(0.1)
    a, b = abs(container(SPARSE)), abs(container(SPARSE_Z))
    A, B = a.toarray(), b.toarray()
    tol = 1e-7 if "Matern" in str(kernel) else 1e-12  # the root of a rounding error
    for x, z in ((a, b), (a, B), (A, b)):
        agree(operator(kernel, x, z), kernel, A, B, host, tol)
    op = operator(kernel, a)
    assert_allclose(host(op.to_dense()), kernel(A), rtol=tol, atol=tol)
    assert_allclose(host(op @ op.device.xp.ones(40)), kernel(A).sum(1), rtol=tol)
    assert_allclose(host(op.rows(3)), kernel(A)[3], rtol=tol, atol=tol)
    with np.errstate(divide="ignore"):
        expected = np.log(kernel(A, B).sum(1))
    assert_allclose(
        host(operator(kernel, a, b).row_logsumexp()), expected, rtol=tol, atol=tol
    )


@pytest.mark.parametrize("convert", [sparse.csc_array, sparse.coo_array])
def test_other_sparse_formats(convert, operator, host):
    agree(
        operator(RBF(1.5), convert(SPARSE), convert(SPARSE_Z)),
        RBF(1.5),
        SPARSE.toarray(),
        SPARSE_Z.toarray(),
        host,
    )


def test_csr_in_float32(operator, host):
    a, b = SPARSE.astype(np.float32), SPARSE_Z.astype(np.float32)
    op = operator(RBF(1.5), a, b)
    assert op.dtype == np.float32
    agree(op, RBF(1.5), a.toarray(), b.toarray(), host, 1e-5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("float16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
        ("int8", "float64"),
        ("int64", "float64"),
        ("bool", "float64"),
        (">f8", "float64"),
    ],
)
@pytest.mark.parametrize("wrap", [np.asarray, Sliceable], ids=["array", "sliceable"])
def test_dtypes(given, expected, wrap, operator, host):
    rows = np.abs(3 * X).astype(given)
    op = operator(RBF(1.5), wrap(rows))
    assert op.dtype == np.dtype(expected)
    got = host(op.to_dense())
    assert got.dtype == np.dtype(expected)
    rtol = 1e-5 if expected == "float32" else 1e-12
    assert_allclose(got, RBF(1.5)(rows.astype(float)), rtol=rtol, atol=rtol)


def test_mixed_precision_works_in_float64(operator):
    assert operator(RBF(), X.astype(np.float32), Z).dtype == np.float64
    assert operator(RBF(), X, Z.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize(
    "arrange",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=0)[::2],
        lambda a: np.hstack([a, a])[:, :6],
        lambda a: a[::-1, ::-1][::-1, ::-1],
        lambda a: pd.DataFrame(a, columns=list("abcdef")),
        np.ndarray.tolist,
    ],
    ids=["Fortran", "strided rows", "strided columns", "reversed", "frame", "list"],
)
@pytest.mark.parametrize("kernel", [RBF(1.5), Polynomial()], ids=str)
def test_arrangements(arrange, kernel, operator, host):
    agree(operator(kernel, arrange(X), arrange(Z)), kernel, X, Z, host)


def test_array_api_strict():
    strict = pytest.importorskip("array_api_strict")
    op = KernelOperator(RBF(1.5), strict.asarray(X), strict.asarray(Z))
    assert_allclose(op.to_dense(), RBF(1.5)(X, Z), rtol=1e-12)


def test_operands_may_be_strided_and_of_any_dtype(operator, asarray, host):
    op = operator(RBF(1.5), X, Z)
    K = RBF(1.5)(X, Z)
    V = rng.standard_normal((60, 8))[::2, ::2]
    assert_allclose(host(op @ asarray(V)), K @ V, rtol=1e-12, atol=1e-12)
    fortran = np.asfortranarray(V)
    assert_allclose(host(op @ asarray(fortran)), K @ V, rtol=1e-12, atol=1e-12)
    whole = asarray(np.arange(30))
    assert_allclose(host(op @ whole), K @ np.arange(30), rtol=1e-12)
    z = V[:, 0] + 2j * V[:, 1]
    assert_allclose(host(op @ asarray(z)), K @ z, rtol=1e-12, atol=1e-12)


def test_data_is_left_alone(operator, asarray):
    x, z = X.copy(), Z.copy()
    V, logw = asarray(np.ones((30, 2))), asarray(np.zeros(30))
    op = operator(RBF(1.5) + Laplacian(), x, z)
    op @ V
    op.normal_matmat(V, asarray(np.ones((40, 2))), asarray(np.ones(40)))
    op.row_logsumexp(logw)
    assert (x == X).all() and (z == Z).all()
    assert (V == 1).all() and (logw == 0).all()


def test_matrix_callable(operator, host, device):
    """It sees blocks of rows, of the device's arrays, and returns their matrix."""
    seen = []

    def kernel(A, B):
        seen.append(type(A).__module__.split(".")[0])
        return (A @ B.T + 1) ** 2

    agree(operator(kernel, X, Z), Polynomial(2), X, Z, host)
    agree(operator(kernel, X), Polynomial(2), X, X, host)
    assert set(seen) == {"numpy" if device == "cpu" else "cupy"}
    with pytest.raises(ValueError, match=r"returned shape \(\) for 40 and 30 rows"):
        operator(lambda A, B: 1.0, X, Z).to_dense()


def test_callable_that_is_not_symmetric():
    """Roles are not swapped, whichever way the matrix is applied."""

    def kernel(A, B):
        return np.exp(A[:, :1] - 2 * B[:, 1:2].T)

    K = kernel(X, Z)
    op = KernelOperator(kernel, X, Z)
    U = rng.standard_normal((40, 3))
    assert_allclose(op.T @ U, K.T @ U, rtol=1e-12)
    assert_allclose(op.T.to_dense(), K.T, rtol=1e-12)
    assert_allclose(op.T.T.to_dense(), K, rtol=1e-12)
    assert_allclose(op.T.row_logsumexp(), np.log(K.sum(0)), rtol=1e-12)
    gradient, _ = op.normal_matmat(np.ones((30, 1)))
    assert_allclose(gradient[:, 0], K.T @ K.sum(1), rtol=1e-12)


def test_error_inside_a_callable_reaches_the_user(operator):
    def kernel(A, B):
        raise ZeroDivisionError("mine")

    big = np.zeros((2000, 1))
    with pytest.raises(ZeroDivisionError, match="mine"):
        operator(kernel, big) @ np.ones(2000)


# ------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([[1.0, np.inf]]), "infinity"),
        (sparse.csr_array(np.array([[1.0, np.nan]])), "NaN"),
        (np.empty((0, 2)), "0 sample"),
        (np.empty((2, 0)), "0 feature"),
        (np.ones(3), "1D array"),
        (np.ones((2, 2, 2)), "dim 3"),
        (3.0, "scalar"),
        (np.ones((2, 2)) * 1j, "[Cc]omplex"),
        ([["a", "b"]], "convert"),
        (Sliceable(np.empty((0, 2))), "non-empty"),
        (Sliceable(np.ones(3)), "2-D"),
        (Sliceable(np.ones((2, 2), complex)), "real numbers"),
    ],
)
@pytest.mark.parametrize("side", ["X", "Z"])
def test_bad_rows(bad, message, side):
    good = np.ones((4, 2))
    with pytest.raises(ValueError, match=message):
        KernelOperator(RBF(), *((bad, good) if side == "X" else (good, bad)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("budget", [None, 5000], ids=["kept", "streamed"])
@pytest.mark.parametrize("side", ["X", "Z"])
@pytest.mark.parametrize(
    "kernel", [RBF(), lambda A, B: np.exp(A @ B.T)], ids=["RBF", "callable"]
)
def test_bad_rows_on_disk(bad, budget, side, kernel):
    """Found where they are read."""
    rows = rng.standard_normal((900, 2))
    rows[801, 1] = bad
    good = np.ones((4, 2))
    args = (Sliceable(rows), good) if side == "X" else (good, Sliceable(rows))
    for use in (
        lambda op: op @ np.ones(op.shape[1]),
        lambda op: op.T @ np.ones(op.shape[0]),
        lambda op: op.row_logsumexp(),
        lambda op: op.to_dense(),
    ):
        with pytest.raises(ValueError, match=f"Input {side} contains NaN or infinity"):
            use(KernelOperator(kernel, *args, memory_budget=budget))


def test_the_message_names_the_argument():
    with pytest.raises(ValueError, match="Input Z contains NaN"):
        KernelOperator(RBF(), np.ones((2, 2)), np.full((2, 2), np.nan))


def test_mismatched_columns():
    with pytest.raises(ValueError, match="X has 6 columns and Z has 5"):
        KernelOperator(RBF(), X, Z[:, :5])


@pytest.mark.parametrize("columns", [1, 2, 6])
def test_length_scales_that_do_not_fit(columns):
    with pytest.raises(ValueError, match=f"3 length scales for data of {columns} col"):
        KernelOperator(RBF([1.0, 2.0, 3.0]), X[:, :columns])
    with pytest.raises(ValueError, match=f"3 length scales for data of {columns} col"):
        Laplacian([1.0, 2.0, 3.0])(X[:, :columns])


@pytest.mark.parametrize("length", [29, 31, 1])
def test_operands_of_the_wrong_length(length, operator, asarray):
    op = operator(RBF(), X, Z)
    with pytest.raises(ValueError, match=rf"mismatch: \(40, 30\), \({length},\)"):
        op @ asarray(np.ones(length))
    with pytest.raises(ValueError, match=rf"mismatch: \(40, 30\), \({length}, 1\)"):
        op @ asarray(np.ones((length, 1)))
    with pytest.raises(ValueError, match=rf"mismatch: \(30, 40\), \({length},\)"):
        op.rmatvec(asarray(np.ones(length)))
    with pytest.raises(ValueError, match="dimension mismatch"):
        op.T @ asarray(np.ones((length, 2)))
    with pytest.raises(ValueError, match=r"weights must have shape \(30,\)"):
        op.row_sum(asarray(np.ones(length)))
    with pytest.raises(ValueError, match=r"log_weights must have shape \(30,\)"):
        op.row_logsumexp(asarray(np.ones(length)))
    V = asarray(np.ones((30, 2)))
    with pytest.raises(ValueError, match=r"V must have shape \(30, 2\)"):
        op.normal_matmat(asarray(np.ones((length, 2))))
    with pytest.raises(ValueError, match=r"V must have shape \(30, c\)"):
        op.normal_matmat(V[:, 0])
    with pytest.raises(ValueError, match=r"targets must have shape \(40, 2\)"):
        op.normal_matmat(V, asarray(np.ones((40, 1))))
    with pytest.raises(ValueError, match=r"weights must have shape \(40,\)"):
        op.normal_matmat(V, weights=asarray(np.ones((40, 1))))


@pytest.mark.parametrize("name", ["V", "targets", "weights"])
def test_complex_operands(name, operator, asarray):
    """Their imaginary part would be dropped."""
    op = operator(RBF(), X, Z)
    args = {"V": np.ones((30, 2)), "targets": np.ones((40, 2)), "weights": np.ones(40)}
    args[name] = 1j * args[name]
    with pytest.raises(TypeError, match=f"{name} is complex: pass .*{name}.real"):
        op.normal_matmat(**{key: asarray(a) for key, a in args.items()})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_log_weights_that_are_no_numbers(bad, operator, asarray):
    weights = np.zeros(30)
    weights[3] = bad
    with pytest.raises(ValueError, match=r"log_weights must be numbers or -inf"):
        operator(RBF(), X, Z).row_logsumexp(asarray(weights))
    weights[3] = -np.inf
    assert np.isfinite(float(operator(RBF(), X, Z).row_logsumexp(asarray(weights))[0]))


@pytest.mark.parametrize("budget", [0, -5, np.nan, -np.inf, "a", 1.5, [1], 0.0])
def test_bad_memory_budget(budget):
    with pytest.raises(ValueError, match=r"memory_budget=.* positive whole number"):
        KernelOperator(RBF(), X, memory_budget=budget)


@pytest.mark.parametrize("scale", [1e-20, 1e-17, 1e17, 1e20])
@pytest.mark.parametrize("wrap", [np.asarray, sparse.csr_array])
def test_float32_data_whose_squares_leave_the_range(scale, wrap, operator, host):
    rows, others = (scale * np.abs(a) for a in (X, Z))
    rows, others = rows.astype(np.float32), others.astype(np.float32)
    for kernel in (RBF(2 * scale), Matern(2 * scale, nu=1.5)):
        op = operator(kernel, wrap(rows), wrap(others))
        assert op.dtype == np.float64
        expected = kernel(rows.astype(float), others.astype(float))
        assert_allclose(host(op.to_dense()), expected, rtol=1e-6)
    # One of the two sides in the range is in the range.
    assert operator(RBF(), wrap(rows), wrap(np.float32(Z))).dtype == (
        np.float64 if scale > 1 else np.float32
    )


def test_float32_data_of_zeros_stays_float32(operator):
    assert operator(RBF(), np.zeros((5, 2), np.float32)).dtype == np.float32


@pytest.mark.parametrize("device", ["tpu", "gpu", "CUDA", "cuda:", "cuda:x", 0, ""])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="must be None, 'cpu', 'cuda', 'cuda:N' or"):
        KernelOperator(RBF(), X, device=device)


def test_cuda_without_cupy_says_what_to_install(monkeypatch):
    for name in [m for m in sys.modules if m.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    really_import = builtins.__import__

    def without_cupy(name, *args, **kwargs):
        if name.split(".")[0] == "cupy":
            raise ImportError("No module named 'cupy'")
        return really_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cupy)
    with pytest.raises(RuntimeError, match=r'pip install "gpkern\[gpu\]" for CUDA 12'):
        KernelOperator(RBF(), X, device="cuda")


def test_cuda_without_a_gpu_says_so():
    cupy = pytest.importorskip("cupy")
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        pass
    else:
        pytest.skip("there is a GPU")
    with pytest.raises(RuntimeError, match="needs an NVIDIA GPU and its driver"):
        KernelOperator(RBF(), X, device="cuda")


@pytest.mark.gpu
def test_cuda_device_that_is_not_there():
    with pytest.raises(RuntimeError, match=r"'cuda:99': this machine has \d+ GPU"):
        KernelOperator(RBF(), X, device="cuda:99")


@pytest.mark.gpu
def test_cupy_arrays_are_refused_on_the_cpu():
    cupy = pytest.importorskip("cupy")
    with pytest.raises(ValueError, match="device='cpu' with CuPy arrays"):
        KernelOperator(RBF(), cupy.asarray(X), device="cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_cupy_rows(bad):
    cupy = pytest.importorskip("cupy")
    with pytest.raises(ValueError, match="NaN or infinity"):
        KernelOperator(RBF(), cupy.full((2, 2), bad))
    with pytest.raises(ValueError, match="non-empty 2-D"):
        KernelOperator(RBF(), cupy.ones(3))
    with pytest.raises(ValueError, match="real numbers"):
        KernelOperator(RBF(), cupy.ones((2, 2), complex))


def test_sparse_rows_of_a_rough_kernel(host):
    """Distances far below the norms keep their digits."""
    X = np.random.default_rng(0).standard_normal((60, 5)) + 1e6
    rows = sparse.csr_array(X)
    K = KernelOperator(Matern(nu=0.5), rows, rows).to_dense()
    assert_allclose(K, Matern(nu=0.5)(X), atol=1e-12)


def test_large_log_weights(asarray, host):
    X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    op = KernelOperator(RBF(), asarray(X))
    got = host(op.row_logsumexp(asarray(np.full(50, -1e7 - 0.3))))
    assert_allclose(got + 1e7 + 0.3, host(op.row_logsumexp()), atol=1e-6)


class ByLeftNorm(FormulaKernel):
    """Not symmetric in its two rows."""

    def __init__(self):
        pass

    def formula(self, pair):
        return pair.dot() / pair.norm_x()


@pytest.mark.parametrize("n", [30, 2000])
def test_a_formula_that_is_not_symmetric(n, asarray, host):
    rng = np.random.default_rng(0)
    X, Z = rng.standard_normal((n, 3)), rng.standard_normal((40, 3))
    u, v = rng.standard_normal(n), rng.standard_normal(40)
    K = X @ Z.T / (X**2).sum(1)[:, None]
    op = KernelOperator(ByLeftNorm(), asarray(X), asarray(Z))
    assert_allclose(host(op @ asarray(v)), K @ v, rtol=1e-9, atol=1e-9)
    assert_allclose(host(op.T @ asarray(u)), K.T @ u, rtol=1e-9, atol=1e-9)
    gradient, _ = op.normal_matmat(asarray(v[:, None]))
    assert_allclose(host(gradient)[:, 0], K.T @ (K @ v), rtol=1e-9, atol=1e-7)
    K = X @ X.T / (X**2).sum(1)[:, None]
    one = KernelOperator(ByLeftNorm(), asarray(X))
    assert_allclose(host(one @ asarray(u)), K @ u, rtol=1e-9, atol=1e-9)
    assert_allclose(host(one.T @ asarray(u)), K.T @ u, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("device", [[], ["cpu"], ["cuda:0", 1], ("cuda:0", "tpu")])
def test_lists_of_devices(device):
    with pytest.raises(ValueError, match="'cuda:N'"):
        KernelOperator(RBF(), np.eye(3), device=device)
