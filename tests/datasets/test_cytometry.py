import sys

import numpy as np
import pytest

from gpkern.datasets import load_cytometry

MARKERS = ["CD10", "CD19", "CD20", "CD34", "CD38", "CD45", "Syto 41"]


@pytest.fixture(scope="module")
def cells():
    return load_cytometry()


def test_bunch(cells):
    assert cells.data.shape == (20853, 7)
    assert cells.data.dtype == np.float32
    assert cells.data.flags.c_contiguous
    assert np.isfinite(cells.data).all()
    assert cells.feature_names == MARKERS
    assert cells.frame is None
    assert all(f"- {name} " in cells.DESCR for name in MARKERS)
    assert "MIT" in cells.DESCR


def test_kinds_of_cells(cells):
    """Where biology has them: CD10 is on early B cells, on T cells neither."""
    column = dict(zip(MARKERS, cells.data.T, strict=True))
    early = (column["CD10"] > 5) & (column["CD19"] > 3)
    mature = (column["CD10"] < 2) & (column["CD19"] > 3.5)
    neither = (column["CD10"] < 2) & (column["CD19"] < 1.5)
    for kind, least in ((early, 0.3), (mature, 0.01), (neither, 0.1)):
        assert kind.mean() > least
    # Mature B cells carry more CD20 and CD45 than early ones.
    assert np.median(column["CD20"][mature]) > np.median(column["CD20"][early])
    assert np.median(column["CD45"][mature]) > np.median(column["CD45"][early])


def test_frame(cells):
    pandas = pytest.importorskip("pandas")
    framed = load_cytometry(as_frame=True)
    assert isinstance(framed.data, pandas.DataFrame)
    assert framed.frame is framed.data
    assert list(framed.data.columns) == MARKERS
    assert np.array_equal(framed.data.to_numpy(), cells.data)


def test_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pandas"):
        load_cytometry(as_frame=True)
