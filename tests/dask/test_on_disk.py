"""Data on a disk, as Dask arrays and in slices, in flat memory."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.base import clone

from gpkern import EigenProRegressor, KernelRidge

da = pytest.importorskip("dask.array")

MODEL = KernelRidge(kernel="rbf", alpha=1.0, n_centers=60, random_state=0)


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 3)).astype("f4")
    return X, np.sin(2 * X[:, 0]) + X[:, 1]


def assert_alike(model, plain, X, rows):
    np.testing.assert_allclose(model.predict(X), plain.predict(rows), atol=1e-3)


def test_zarr(rows, tmp_path, scheduler):
    zarr = pytest.importorskip("zarr")
    X, y = rows
    store = zarr.create_array(str(tmp_path / "X"), data=X, chunks=(500, 3))
    plain = clone(MODEL).fit(X, y)
    lazy = da.from_zarr(str(tmp_path / "X"))
    assert_alike(clone(MODEL).fit(lazy, y), plain, lazy, X)
    # In slices, without Dask.
    assert_alike(clone(MODEL).fit(store, y), plain, store, X)


def test_parquet(rows, tmp_path, scheduler):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    dd = pytest.importorskip("dask.dataframe")
    X, y = rows
    frame = pd.DataFrame(X, columns=list("abc")).assign(y=y)
    dd.from_pandas(frame, npartitions=4).to_parquet(tmp_path / "rows")
    lazy = dd.read_parquet(tmp_path / "rows")
    model = clone(MODEL).fit(lazy[list("abc")], lazy["y"])
    assert model.feature_names_in_.tolist() == list("abc")
    assert_alike(model, clone(MODEL).fit(X, y), lazy[list("abc")], X)


def test_hdf5(rows, tmp_path):
    h5py = pytest.importorskip("h5py")
    X, y = rows
    plain = clone(MODEL).fit(X, y)
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["X"] = X
        lazy = da.from_array(file["X"], chunks=(600, 3))
        assert_alike(clone(MODEL).fit(lazy, y), plain, lazy, X)
        assert_alike(clone(MODEL).fit(file["X"], y), plain, file["X"], X)


def test_memmap(rows, tmp_path):
    X, y = rows
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    plain = clone(MODEL).fit(X, y)
    lazy = da.from_array(mapped, chunks=(600, 3))
    assert_alike(clone(MODEL).fit(lazy, y), plain, lazy, X)
    assert_alike(clone(MODEL).fit(mapped, y), plain, mapped, X)


FLAT = """
    import resource, sys
    import dask, dask.array as da
    import numpy as np
    from gpkern import {name}

    def rows(block_info=None):
        (a, b), _ = block_info[None]["array-location"]
        return np.random.default_rng(a).normal(size=(b - a, 20)).astype("f4")

    n = {n}
    height = 100_000
    chunks = ((height,) * (n // height), (20,))
    X = da.map_blocks(rows, chunks=chunks, dtype="f4", meta=np.empty((0, 0), "f4"))
    y = X[:, 0] * X[:, 1]
    model = {model}
    with dask.config.set(scheduler="threads", num_workers=2):
        model.fit(X[:height], y[:height])  # compiles
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        model.fit(X, y)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "KernelRidge(kernel='rbf', n_centers=50, random_state=0, max_iter=3)",
        "EigenProRegressor(n_centers=50, n_epochs=1, random_state=0)",
    ],
)
def test_memory_does_not_grow_with_the_rows(model):
    def growth(n):
        code = FLAT.format(name=model.partition("(")[0], n=n, model=model)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            check=True,
        )
        return float(done.stdout)

    # In MiB. The larger array takes 610 of them; EigenPro mixes blocks of some 32.
    few, many = growth(2_000_000), growth(8_000_000)
    assert many < few + 100, (few, many)


@pytest.mark.slow
def test_eigenpro_reads_slices_too(rows, tmp_path):
    zarr = pytest.importorskip("zarr")
    X, y = rows
    store = zarr.create_array(str(tmp_path / "X"), data=X, chunks=(500, 3))
    model = EigenProRegressor(n_centers=100, n_epochs=3, random_state=0)
    lazy = clone(model).fit(da.from_zarr(str(tmp_path / "X")), y)
    assert 1 - lazy.score(X, y) < 1.5 * (1 - clone(model).fit(store, y).score(X, y))
