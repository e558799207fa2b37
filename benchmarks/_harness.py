"""What every benchmark shares: the machine's description, timing, the JSON."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
import warnings
from pathlib import Path

RESULTS = Path(os.environ.get("GPKERN_RESULTS", Path(__file__).parent / "results"))
PACKAGES = (
    "gpkern",
    "numpy",
    "scipy",
    "scikit-learn",
    "numba",
    "pykeops",
    "goodpoints",
    "KDEpy",
    "stein-thinning",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "torch",
)


def _cpu_name():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def _commit():
    here = Path(__file__).parent
    try:
        out = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
        return out.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine():
    """Where and with what a benchmark runs."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    about = {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
    }
    if any(v.startswith("cupy") for v in versions):
        from gpkern.gpu import runtime

        about["gpu"] = runtime.describe()
    return about


def seconds(function, repeats=1, warm_up=0, sync=None):
    """Median time of calls, and the last result."""
    times, result = [], None
    for i in range(warm_up + repeats):
        start = time.perf_counter()
        result = function()
        if sync is not None:
            sync()
        if i >= warm_up:
            times.append(time.perf_counter() - start)
    return statistics.median(times), result


def in_turn(functions, repeats, warm_up=1, pause=0.3):
    """Median times of several functions, called in turn.

    On a shared machine the speed drifts; in turn they all see the same drift, so
    their ratios hold. The pause between them lets the threads of one's BLAS go to
    sleep, which spin on the cores for a tenth of a second after a product.
    """
    times = {name: [] for name in functions}
    for i in range(warm_up + repeats):
        for name, function in functions.items():
            time.sleep(pause)
            start = time.perf_counter()
            function()
            if i >= warm_up:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def save(name, rows, **extra):
    """Write rows and the machine to ``results/NAME.json``."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine(), **extra, "rows": rows}, indent=1) + "\n"
    )
    print(f"wrote {path}")


def table(rows):
    """Print dictionaries as a table."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    text = [[_text(row.get(k, "")) for k in keys] for row in rows]
    widths = [max(len(k), *(len(r[i]) for r in text)) for i, k in enumerate(keys)]
    print("  ".join(k.ljust(w) for k, w in zip(keys, widths, strict=True)))
    for row in text:
        print("  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)))


def _text(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_parts(description, parts, name):
    """Run a benchmark of several parts, print its rows, and write them.

    Parameters
    ----------
    description : str
        The script's docstring.
    parts : dict of str to callable
        Each yields rows. ``--parts`` chooses some, which are not written.
    name : str
        Of the JSON.
    """
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    chosen = parser.parse_args().parts
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in chosen:
            for found in parts[part]():
                rows.append(found)
                print(found, flush=True)
    table(rows)
    if chosen == list(parts):
        save(name, rows)
