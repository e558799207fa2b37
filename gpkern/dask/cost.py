"""How long a fit on Dask arrays takes, before it is started."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from ..cpu import parallel
from ..kernels import RBF
from ..operator import make_operator

# Seconds from one task of a worker to its next, and to send a graph and get its result.
TASK, GRAPH = 0.005, 0.045
# Passes over the rows beside those of the iterations: the right side of the equations
# is half of one; and what reads the rows without kernel values: the sizes of targets,
# the rows that become centers.
RIGHT_SIDE, READS = 0.5, 2
# Rows on which a machine is measured.
MEASURED = 20_000


@dataclass(frozen=True)
class FitCost:
    """Time of ``KernelRidge(solver="pcg", n_centers=p).fit`` on a Dask array.

    Attributes
    ----------
    n, d, p : int
        Rows, columns and centers.
    n_blocks : int
        Blocks of the rows.
    n_workers : int
        Workers of one thread each, or their threads in all.
    n_cores : int, default=None
        Cores that they share; None for one each.
    n_iter : int, default=20
        Iterations of the conjugate gradients (``n_iter_`` of a fit to some rows).
    pass_seconds : float
        Of one core for the kernel values of a pass over 10^9 pairs of a row and a
        center: see `measured`.
    factor_seconds : float, default=0
        Of the driver for its factors of the centers.
    itemsize : int, default=4
        Bytes of a number.
    bandwidth : float, default=inf
        Bytes a second that are read, by all workers together: of a disk, or infinite
        for rows that workers hold.
    network : float, default=1e9
        Bytes a second from the driver to the workers.

    Examples
    --------
    >>> from gpkern.dask.cost import FitCost
    >>> cost = FitCost(n=10**8, d=20, p=10**4, n_blocks=1000, n_workers=64,
    ...                pass_seconds=2.0, bandwidth=5e9)
    >>> round(cost.seconds() / 60)
    12
    """

    n: int
    d: int
    p: int
    n_blocks: int
    n_workers: int
    pass_seconds: float
    n_cores: int | None = None
    n_iter: int = 20
    factor_seconds: float = 0.0
    itemsize: int = 4
    bandwidth: float = math.inf
    network: float = 1e9

    @classmethod
    def measured(cls, n, d, p, n_blocks, n_workers, **options):
        """With the speed of this machine, as one of its cores has it: some seconds.

        Parameters
        ----------
        n, d, p, n_blocks, n_workers, **options
            Attributes.
        """
        dtype = np.float32 if options.get("itemsize", 4) == 4 else np.float64
        per_pass = pass_seconds(d, p, dtype)
        factor = factor_seconds(p)
        known = {"pass_seconds": per_pass, "factor_seconds": factor}
        return cls(n, d, p, n_blocks, n_workers, **known | options)

    @property
    def bytes_read(self):
        """In a pass over the rows."""
        return self.n * self.d * self.itemsize

    @property
    def bytes_sent(self):
        """In a pass: coefficients to each worker, and the sum that it sends back."""
        return self.n_workers * self.p * (self.itemsize + 8)

    def pass_time(self):
        """Of one iteration."""
        cores = min(self.n_workers, self.n_cores or self.n_workers)
        # Blocks are whole: the last ones may leave workers without any.
        rounds = math.ceil(self.n_blocks / self.n_workers)
        share = rounds * self.n_workers / self.n_blocks
        work = self.pass_seconds * self.n * self.p / 1e9 * share / cores
        tasks = TASK * rounds * self.n_workers / cores
        return work + tasks + GRAPH + self.read_time() + self.bytes_sent / self.network

    def read_time(self):
        """Of the rows, once."""
        return self.bytes_read / self.bandwidth

    def seconds(self):
        """Of the fit."""
        passes = (self.n_iter + RIGHT_SIDE) * self.pass_time()
        return passes + READS * (self.read_time() + GRAPH) + self.factor_seconds


def pass_seconds(d, p, dtype=np.float32):
    """Seconds of one core for ``K.T @ (K @ v)`` of 10^9 pairs of a row and a center."""
    rng = np.random.default_rng(0)
    rows = max(1000, min(MEASURED, int(4e7 / p)))
    X = rng.standard_normal((rows, d)).astype(dtype)
    Z = rng.standard_normal((p, d)).astype(dtype)
    v, times = np.ones((p, 1), dtype), []
    with parallel.alone():
        operator = make_operator(RBF(math.sqrt(d)), X, Z, "cpu")
        for _ in range(4):
            start = time.perf_counter()
            operator.normal_matmat(v)
            times.append(time.perf_counter() - start)
    return float(np.median(times[1:])) / (rows * p) * 1e9


def factor_seconds(p):
    """Seconds of this machine for the factors of p centers."""
    size = min(p, 1000)
    A = np.eye(size) + 1e-3
    start = time.perf_counter()
    for _ in range(2):
        np.linalg.cholesky(A)
    A @ A
    return (time.perf_counter() - start) * (p / size) ** 3
