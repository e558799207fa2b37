"""Rebuild ``gpkern/datasets/data/posterior.npz`` from draws of posteriordb.

Needs the reference draws of posteriordb (BSD-3, github.com/stan-dev/posteriordb) with
the gradients of the log density at them, of each posterior as arrays
``<posterior>__draws``, ``__unconstrained``, ``__grad``, of shape (10, 1000, d), and
``__logp``, ``__names``::

    python tools/build_posterior.py posteriordb_grads.npz
"""

import argparse
from pathlib import Path

import numpy as np

OUTPUT = Path(__file__).parents[1] / "gpkern" / "datasets" / "data" / "posterior.npz"

SOURCES = {
    "eight_schools": "eight_schools-eight_schools_noncentered",
    "lotka_volterra": "hudson_lynx_hare-lotka_volterra",
}
# Of each chain, the first ones.
DRAWS = 400


def read(source, posterior):
    """What is stored of a posterior, by its key."""
    names, draws, points, scores, logs = (
        source[f"{posterior}__{key}"]
        for key in ("names", "draws", "unconstrained", "grad", "logp")
    )
    # Coordinates are the parameters themselves or their logarithms.
    positive = (draws != points).any(axis=(0, 1))
    expected = np.where(positive, np.exp(points.astype(float)), points)
    assert np.allclose(draws, expected, rtol=1e-4, atol=0)
    out = {"names": names, "positive": positive}
    for key, array in (("points", points), ("scores", scores)):
        # One column after another compresses better.
        out[key] = np.ascontiguousarray(np.moveaxis(array[:, :DRAWS], 2, 0))
    out["log_density"] = logs[:, :DRAWS]
    return out


def main():
    """Read, take the first draws, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    stored = {}
    with np.load(parser.parse_args().source, allow_pickle=False) as source:
        for name, posterior in SOURCES.items():
            for key, array in read(source, posterior).items():
                stored[f"{name}__{key}"] = array
    np.savez_compressed(OUTPUT, **stored)
    print(f"{', '.join(SOURCES)}: {OUTPUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
