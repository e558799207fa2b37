"""Flights out of New York City in 2013: arrival delay, known at push-back."""

from pathlib import Path

import numpy as np
from sklearn.utils import Bunch

_FOLDER = Path(__file__).parent
_DATA_FILE = _FOLDER / "data" / "flights.npz"
_DESCR_FILE = _FOLDER / "descr" / "flights.rst"

_MINUTES_PER_DAY = 24 * 60
_CATEGORICAL = ["carrier", "origin", "dest"]
_TARGET = "arr_delay"


def _day_of_week(month, day):
    """Day of the week in 2013, Monday = 0."""
    first_of_month = np.datetime64("2012-12") + month.astype("timedelta64[M]")
    date = first_of_month.astype("datetime64[D]") + (day.astype(np.int64) - 1)
    # Dates count days from 1970-01-01, a Thursday.
    return (date.astype(np.int64) + 3) % 7


def _read_columns():
    """Decode the data file, written by ``tools/build_flights.py``.

    Returns
    -------
    columns : dict of str to ndarray of shape (n_samples,)
        The features in their order; categorical columns hold codes.
    target : ndarray of shape (n_samples,)
    categories : dict of str to list of str
    """
    with np.load(_DATA_FILE, allow_pickle=False) as stored:
        z = {name: stored[name] for name in stored.files}

    # The rows of a day are sorted by the clock time of departure, so its steps
    # take far less room than the scheduled times, which follow from it.
    departure = np.cumsum(z["departure_step"], dtype=np.int64)
    sched_dep = (departure - z["dep_delay"]) % _MINUTES_PER_DAY
    sched_arr = (sched_dep + z["sched_span"]) % _MINUTES_PER_DAY

    route = z["route"]
    columns = {
        "month": z["month"],
        "day": z["day"],
        "day_of_week": _day_of_week(z["month"], z["day"]),
        "sched_dep_minute": sched_dep,
        "sched_arr_minute": sched_arr,
        "carrier": z["carrier"],
        "origin": z["route_origin"][route],
        "dest": z["route_dest"][route],
        "distance": z["route_distance"][route],
        # Unknown ages are stored as -1.
        "plane_age": np.where(z["plane_age"] < 0, np.nan, z["plane_age"]),
        "dep_delay": z["dep_delay"],
    }
    target = z["dep_delay"] + z["lost_in_flight"]
    categories = {name: z[f"{name}_labels"].tolist() for name in _CATEGORICAL}
    return columns, target, categories


def _to_frame(columns, target, categories):
    """One DataFrame of all features, then the target."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("load_flights with as_frame=True requires pandas.") from error

    frame = {
        name: (
            pd.Categorical.from_codes(values, categories=categories[name])
            if name in categories
            else values.astype(np.float32)
        )
        for name, values in columns.items()
    }
    return pd.DataFrame({**frame, _TARGET: target})


def load_flights(*, return_X_y=False, as_frame=False):
    """Load the flights data set (regression).

    Predict how late a flight arrives from what the airline knows at push-back,
    for the 327,346 flights that left New York City in 2013 and arrived at their
    destination. The data ship with the package; nothing is downloaded.

    ==============   =================================
    Samples total    327346
    Dimensionality   11 (8 numeric, 3 categorical)
    Missing values   in ``plane_age`` only
    Target           arrival delay, -86 to 1272 minutes
    ==============   =================================

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch.

    as_frame : bool, default=False
        If True, `data` is a pandas DataFrame and `target` a pandas Series.
        ``carrier``, ``origin`` and ``dest`` are then of dtype ``category``, the
        other columns are float32. Requires pandas.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (327346, 11)
            The features. As an array, of dtype float32; a categorical column
            then holds positions in its list of `categories`.
        target : {ndarray, Series} of shape (327346,)
            The arrival delay in minutes, of dtype float32; negative if early.
        frame : DataFrame of shape (327346, 12) or None
            `data` and `target` together if `as_frame` is True, else None.
        feature_names : list of str
            The names of the columns of `data`.
        target_names : list of str
            The name of the target.
        categorical_features : list of str
            The names of the categorical columns.
        categories : dict of str to list of str
            For each categorical column its labels, in the order of their codes.
        DESCR : str
            The full description of the data set.
        data_filename : str
            The path to the data file.

    (data, target) : tuple if ``return_X_y`` is True
        The `data` and `target` described above.

    Notes
    -----
    The rows keep the order of the source, which is not chronological: its months
    come as 1, 10, 11, 12, 2, ..., 9. Sort by ``month`` and ``day`` before
    splitting by date.

    Examples
    --------
    >>> from gpkern.datasets import load_flights
    >>> flights = load_flights()
    >>> flights.data.shape
    (327346, 11)
    >>> flights.target[:3]
    array([11., 20., 33.], dtype=float32)

    The categorical columns, to be encoded by a
    :class:`~sklearn.compose.ColumnTransformer`:

    >>> [flights.feature_names.index(c) for c in flights.categorical_features]
    [5, 6, 7]
    >>> flights.categories["origin"]
    ['EWR', 'JFK', 'LGA']
    """
    columns, target, categories = _read_columns()
    feature_names = list(columns)
    target = target.astype(np.float32)

    frame = None
    if as_frame:
        frame = _to_frame(columns, target, categories)
        data, target = frame[feature_names], frame[_TARGET]
    else:
        data = np.empty((len(target), len(columns)), dtype=np.float32)
        for j, values in enumerate(columns.values()):
            data[:, j] = values

    if return_X_y:
        return data, target
    return Bunch(
        data=data,
        target=target,
        frame=frame,
        feature_names=feature_names,
        target_names=[_TARGET],
        categorical_features=list(_CATEGORICAL),
        categories=categories,
        DESCR=_DESCR_FILE.read_text(encoding="utf-8"),
        data_filename=str(_DATA_FILE),
    )
