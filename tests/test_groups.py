"""Small parts of a kernel matrix, many at a time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.gaussian_process.kernels import WhiteKernel

from gpkern import KernelOperator
from gpkern._groups import group_blocks, group_products
from gpkern.kernels import RBF, Chi2, Laplacian, Matern, Polynomial

KERNELS = [
    lambda d: RBF(2.0),
    lambda d: RBF([1.0 + 0.1 * d] * d) + Polynomial(2, 0.1) + WhiteKernel(0.3),
    lambda d: Laplacian(3.0),
    lambda d: Matern(2.0, nu=0.5),
    lambda d: Chi2(0.2),
    lambda d: lambda A, B: np.exp(-abs(A[:, None] - B[None]).max(axis=2)),
]


@pytest.mark.parametrize("make", KERNELS)
@pytest.mark.parametrize("d", [4, 40])
@pytest.mark.parametrize("budget", [2**16, 2**30])
def test_parts(make, d, budget, asarray, host):
    rng, kernel = np.random.default_rng(0), make(d)
    X = rng.uniform(size=(50, d))
    X[7] = X[3]
    rows, columns = (
        rng.permutation(50)[:36].reshape(4, 9),
        rng.integers(50, size=(4, 5)),
    )
    rows[0, :2] = 3, 7
    op = KernelOperator(kernel, asarray(X), memory_budget=budget)
    plain, is_object = kernel(X, X), hasattr(kernel, "theta")
    own = [kernel(X[r]) if is_object else plain[np.ix_(r, r)] for r in rows]
    assert_allclose(host(group_blocks(op, asarray(rows))), own, rtol=1e-9)
    V = rng.normal(size=(4, 5))
    each = zip(rows, columns, V, strict=True)
    expected = [plain[np.ix_(r, c)] @ v for r, c, v in each]
    got = group_products(op, asarray(rows), asarray(columns), asarray(V))
    assert_allclose(host(got), expected, rtol=1e-9, atol=1e-9)
