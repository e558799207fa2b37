"""Workers that compute on GPUs, one for each."""

import numpy as np
import pytest
from sklearn.base import clone

from gpkern import (
    KernelDensity,
    KernelLogisticRegression,
    KernelOperator,
    KernelRidge,
    KernelThinning,
    KSDTest,
)
from gpkern.kernels import Matern

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def client():
    """A worker for each GPU that there is, two where there is one."""
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    options = {
        i: {
            "cls": distributed.Nanny,
            "options": {
                "nthreads": 1,
                "env": {"CUDA_VISIBLE_DEVICES": str(i % count)},
            },
        }
        for i in range(max(2, count))
    }
    head = {"cls": distributed.Scheduler, "options": {"dashboard": False}}
    with (
        distributed.SpecCluster(workers=options, scheduler=head) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def rows(n=20_000, d=6):
    X = np.random.default_rng(0).normal(size=(n, d)).astype("f4")
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def blocks(array, height=3000):
    return da.from_array(array, chunks=(height, *array.shape[1:]))


def test_each_worker_computes_on_its_gpu(client):
    X, y = rows()
    model = KernelRidge(
        kernel="rbf", alpha=20.0, n_centers=300, solver="pcg", random_state=0
    )
    plain = clone(model).fit(X, y)
    model.set_params(device="cuda").fit(blocks(X), blocks(y))
    assert isinstance(model.dual_coef_, np.ndarray)
    predicted = model.predict(blocks(X)).compute()
    assert isinstance(predicted, np.ndarray)
    np.testing.assert_allclose(predicted, plain.predict(X), atol=5e-3)


def test_blocks_of_cupy_arrays(client):
    import cupy

    X, y = rows()
    on_gpu = blocks(X).map_blocks(cupy.asarray, meta=cupy.empty((0, 0), "f4"))
    V = np.random.default_rng(1).normal(size=(50, 2)).astype("f4")
    K = KernelOperator(Matern(1.0, nu=1.5), on_gpu, X[:50])
    plain = KernelOperator(Matern(1.0, nu=1.5), X, X[:50])
    product = (K @ V).compute()
    assert isinstance(product, cupy.ndarray)
    np.testing.assert_allclose(product.get(), plain @ V, atol=1e-4)
    np.testing.assert_allclose(K.T @ blocks(y), plain.T @ y, rtol=1e-3, atol=1e-2)
    model = KernelRidge(kernel="rbf", alpha=20.0, n_centers=300, random_state=0)
    model.fit(on_gpu, blocks(y))
    assert isinstance(model.dual_coef_, np.ndarray)
    found = model.predict(on_gpu).compute()
    np.testing.assert_allclose(
        found.get(), clone(model).fit(X, y).predict(X), atol=5e-3
    )


def test_sums_over_pairs_of_blocks(client):
    from scipy import stats

    X = np.random.default_rng(0).normal(size=(6000, 2))
    options = {"n_resamples": 200, "random_state": 0}
    target = stats.multivariate_normal(np.zeros(2))
    plain = KSDTest(target, **options).fit(X)
    found = KSDTest(target, device="cuda", **options).fit(blocks(X, 1700))
    assert found.statistic_ == pytest.approx(plain.statistic_, rel=1e-8)
    assert found.pvalue_ == pytest.approx(plain.pvalue_, abs=0.02)


def test_densities_and_coresets(client):
    X = rows(30_000, 3)[0][:, :2]
    density = KernelDensity(bandwidth=0.3, device="cuda").fit(blocks(X))
    plain = KernelDensity(bandwidth=0.3).fit(X)
    np.testing.assert_allclose(
        density.score_samples(X[:100]), plain.score_samples(X[:100]), atol=1e-4
    )
    thinning = KernelThinning(100, device="cuda", random_state=0).fit(blocks(X))
    assert thinning.mmd_ < 0.1 * thinning.mmd_iid_


def test_classes(client):
    X, y = rows()
    y = np.array(["low", "mid", "top"])[np.searchsorted([-0.3, 0.6], y)]
    model = KernelLogisticRegression(n_centers=200, device="cuda", random_state=0)
    model.fit(blocks(X), blocks(y))
    plain = KernelLogisticRegression(n_centers=200, random_state=0).fit(X, y)
    assert model.score(blocks(X), blocks(y)) > plain.score(X, y) - 0.005
