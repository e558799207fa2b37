"""Rebuild ``gpkern/datasets/data/cytometry.npz`` from a file that fcsparser tests with.

Needs the source distribution of fcsparser (MIT)::

    pip download --no-deps --no-binary :all: fcsparser==0.2.8
    python tools/build_cytometry.py fcsparser-0.2.8.tar.gz
"""

import argparse
import hashlib
import tarfile
from pathlib import Path

import numpy as np

SOURCE = (
    "fcsparser-0.2.8/fcsparser/tests/data/FlowCytometers/FACS_Diva/facs_diva_test.fcs"
)
SOURCE_SHA256 = "df0436bf678df1f4ad3274e55fa06773f884fa45d8329015913a6178d10c73ea"
OUTPUT = Path(__file__).parents[1] / "gpkern" / "datasets" / "data" / "cytometry.npz"

# Channels by name, in the order of the data set, and every so many events.
MARKERS = ("CD10", "CD19", "CD20", "CD34", "CD38", "CD45", "Syto 41")
EVERY = 4
# Of the inverse hyperbolic sine, and units of what is stored.
COFACTOR, UNIT = 150.0, 0.001


def read_source(path):
    """The FCS file within the archive, as bytes."""
    if hashlib.sha256(path.read_bytes()).hexdigest() != SOURCE_SHA256:
        raise SystemExit(f"{path} is not the source archive of fcsparser 0.2.8")
    with tarfile.open(path) as archive:
        return archive.extractfile(SOURCE).read()


def parse(content):
    """Keywords, channel names, and events of an FCS 3.0 file of floats."""
    first, last = int(content[10:18]), int(content[18:26])
    text = content[first : last + 1].decode("latin1")
    parts = text[1:].rstrip(text[0]).split(text[0])
    words = dict(zip(parts[::2], parts[1::2], strict=True))
    n, p = int(words["$TOT"]), int(words["$PAR"])
    assert words["$DATATYPE"] == "F" and words["$BYTEORD"] == "4,3,2,1"
    start = int(words["$BEGINDATA"])
    events = np.frombuffer(content, ">f4", n * p, start).reshape(n, p)
    names = [words[f"$P{i}N"] for i in range(1, p + 1)]
    stains = [words.get(f"$P{i}S", "").strip() for i in range(1, p + 1)]
    return words, names, stains, events.astype(np.float64)


def compensated(words, names, events):
    """Without the light that each dye spills into the detectors of others."""
    fields = words["SPILL"].split(",")
    count = int(fields[0])
    places = [names.index(name) for name in fields[1 : count + 1]]
    spill = np.array(fields[count + 1 :], dtype=float).reshape(count, count)
    out = events.copy()
    out[:, places] = np.linalg.solve(spill.T, events[:, places].T).T
    return out


def main():
    """Read, compensate, transform, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    words, names, stains, events = parse(read_source(parser.parse_args().archive))
    events = compensated(words, names, events)[::EVERY]
    chosen = events[:, [stains.index(name) for name in MARKERS]]
    stored = np.round(np.arcsinh(chosen / COFACTOR) / UNIT).astype(np.int16)
    # One column after another compresses better.
    np.savez_compressed(
        OUTPUT, events=np.ascontiguousarray(stored.T), names=np.array(MARKERS)
    )
    print(f"{len(stored)} events, {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
