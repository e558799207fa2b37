import datetime
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder

from gpkern.datasets import load_flights

N_FLIGHTS = 327_346
FEATURES = [
    "month",
    "day",
    "day_of_week",
    "sched_dep_minute",
    "sched_arr_minute",
    "carrier",
    "origin",
    "dest",
    "distance",
    "plane_age",
    "dep_delay",
]


@pytest.fixture(scope="module")
def flights():
    return load_flights()


@pytest.fixture(scope="module")
def column(flights):
    return dict(zip(flights.feature_names, flights.data.T, strict=True))


def test_bunch(flights):
    assert flights.data.shape == (N_FLIGHTS, len(FEATURES))
    assert flights.data.dtype == np.float32
    assert flights.data.flags.c_contiguous
    assert flights.target.shape == (N_FLIGHTS,)
    assert flights.target.dtype == np.float32
    assert flights.frame is None
    assert flights.feature_names == FEATURES
    assert flights.target_names == ["arr_delay"]
    assert flights.categorical_features == ["carrier", "origin", "dest"]
    assert "CC0" in flights.DESCR
    assert all(f"- {name} " in flights.DESCR for name in FEATURES)


def test_nothing_recorded_after_take_off(flights):
    assert not {"air_time", "arr_time", "arr_delay"} & set(flights.feature_names)
    # Nor anything that gives the arrival away under another name.
    complete = np.nan_to_num(flights.data)
    for j, name in enumerate(flights.feature_names):
        correlation = np.corrcoef(complete[:, j], flights.target)[0, 1]
        assert abs(correlation) < (0.93 if name == "dep_delay" else 0.25), name


def test_only_plane_age_is_missing(column):
    n_missing = {name: int(np.isnan(x).sum()) for name, x in column.items()}
    assert n_missing.pop("plane_age") == 53_493
    assert set(n_missing.values()) == {0}


def test_target(flights):
    y = flights.target.astype(np.float64)
    assert (y.min(), np.median(y), y.max()) == (-86, -5, 1272)
    assert y.sum() == 2_257_174
    assert y.std() == pytest.approx(44.633224, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("month", 1, 12),
        ("day", 1, 31),
        ("day_of_week", 0, 6),
        ("sched_dep_minute", 300, 1439),
        ("sched_arr_minute", 1, 1439),
        ("distance", 80, 4983),
        ("plane_age", 0, 57),
        ("dep_delay", -43, 1301),
    ],
)
def test_numeric_columns(column, name, low, high):
    values = column[name]
    assert (np.nanmin(values), np.nanmax(values)) == (low, high)
    known = values[~np.isnan(values)]
    assert np.array_equal(known, np.round(known))


def test_first_and_last_flight(flights, column):
    def row(i):
        shown = dict(zip(flights.feature_names, flights.data[i].tolist(), strict=True))
        for name in flights.categorical_features:
            shown[name] = flights.categories[name][int(shown[name])]
        return list(shown.values())

    # Read off the source table; the first of January 2013 was a Tuesday.
    assert row(0) == [1, 1, 1, 315, 499, "UA", "EWR", "IAH", 1400, 14, 2]
    assert row(-1) == [9, 30, 0, 1439, 230, "B6", "JFK", "PSE", 1617, 13, -10]
    assert flights.target[[0, -1]].tolist() == [11, -25]


def test_categories(flights, column):
    assert {name: len(x) for name, x in flights.categories.items()} == {
        "carrier": 16,
        "origin": 3,
        "dest": 104,
    }
    for name, labels in flights.categories.items():
        assert labels == sorted(set(labels))
        assert np.array_equal(np.unique(column[name]), np.arange(len(labels)))


def test_rows_keep_the_order_of_the_source(column):
    month, day = column["month"], column["day"]
    starts = np.flatnonzero(np.diff(month, prepend=0))
    assert month[starts].tolist() == [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]
    assert (np.diff(day)[np.diff(month) == 0] >= 0).all()


def test_day_of_week(column):
    dates = np.column_stack([column[c] for c in ("month", "day", "day_of_week")])
    dates = np.unique(dates.astype(int), axis=0)
    assert len(dates) == 365
    for month, day, day_of_week in dates:
        assert day_of_week == datetime.date(2013, month, day).weekday()


def test_distance_follows_from_the_route(column):
    route = np.column_stack([column[c] for c in ("origin", "dest")])
    with_distance = np.column_stack([route, column["distance"]])
    # The distances from EWR and JFK to EGE changed once.
    assert len(np.unique(route, axis=0)) == 223
    assert len(np.unique(with_distance, axis=0)) == 225


def test_return_X_y(flights):
    X, y = load_flights(return_X_y=True)
    np.testing.assert_array_equal(X, flights.data)
    np.testing.assert_array_equal(y, flights.target)


def test_calls_do_not_share_memory(flights):
    other = load_flights()
    other.data[:] = 0
    other.categories["origin"].clear()
    assert flights.data[0, 0] == 1
    assert len(flights.categories["origin"]) == 3


def test_column_transformer(flights):
    indices = [flights.feature_names.index(c) for c in flights.categorical_features]
    encoder = make_column_transformer((OneHotEncoder(), indices))
    encoded = encoder.fit_transform(flights.data[::10])
    n_labels = [len(np.unique(flights.data[::10, j])) for j in indices]
    assert encoded.shape[1] == sum(n_labels)


def test_as_frame(flights):
    pd = pytest.importorskip("pandas")
    bunch = load_flights(as_frame=True)
    assert bunch.data.columns.tolist() == FEATURES
    assert bunch.frame.columns.tolist() == [*FEATURES, "arr_delay"]
    assert isinstance(bunch.target, pd.Series)
    assert bunch.target.name == "arr_delay"
    for name, dtype in bunch.frame.dtypes.items():
        if name in bunch.categorical_features:
            assert isinstance(dtype, pd.CategoricalDtype)
            assert dtype.categories.tolist() == flights.categories[name]
        else:
            assert dtype == np.float32

    codes = bunch.data.copy()
    for name in bunch.categorical_features:
        codes[name] = codes[name].cat.codes
    np.testing.assert_array_equal(codes.to_numpy(dtype=np.float32), flights.data)
    np.testing.assert_array_equal(bunch.target, flights.target)


def test_as_frame_return_X_y():
    pd = pytest.importorskip("pandas")
    X, y = load_flights(as_frame=True, return_X_y=True)
    assert isinstance(X, pd.DataFrame)
    assert X.shape == (N_FLIGHTS, len(FEATURES))
    assert isinstance(y, pd.Series)


def test_pandas_is_needed_for_frames_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert load_flights().frame is None
    with pytest.raises(ImportError, match="as_frame=True requires pandas"):
        load_flights(as_frame=True)


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError):
        load_flights(True)


def test_small_and_fast(flights):
    assert Path(flights.data_filename).stat().st_size < 2_000_000
    times = []
    for _ in range(3):
        start = time.perf_counter()
        load_flights()
        times.append(time.perf_counter() - start)
    # About 0.1 s; the bound leaves room for a busy machine.
    assert min(times) < 1
