"""Rows that stand for the others: centers drawn by leverage."""

from __future__ import annotations

import numpy as np

from ..operator import make_operator
from .nystrom import regularised_cholesky

# Uniform rows against which the others are measured.
PILOT_ROWS = 1000
# Penalty of that measurement, as a share of k(x, x).
PILOT_RIDGE = 1e-2
# Rows that are scored together.
CHUNK_ROWS = {"cpu": 8192, "cuda": 65_536}


def leverage_rows(kernel, data, size, device, random_state):
    """Row numbers drawn by approximate ridge leverage scores, without replacement.

    A row's score is what is left of k(x, x) after projection onto a uniform pilot
    sample (Rudi, Calandriello, Carratino & Rosasco 2018, eq. 3). Rows in dense regions
    explain each other and have low scores; rare rows have high ones.

    Parameters
    ----------
    kernel : Kernel or callable
    data : RowSource
    size : int
    device : Device
    random_state : RandomState

    Returns
    -------
    ndarray of int
        Sorted.
    """
    n = len(data)
    if size >= n:
        return np.arange(n)
    scores = leverage_scores(kernel, data, min(PILOT_ROWS, size), device, random_state)
    # Exponential clocks: the first to ring are a draw without replacement.
    clocks = random_state.exponential(size=n) / scores
    return np.sort(np.argpartition(clocks, size)[:size])


def leverage_scores(kernel, data, pilot, device, random_state):
    """The scores of `leverage_rows` with so many pilot rows: positive, shape (n,)."""
    xp, linalg, n = device.xp, device.linalg, len(data)
    Z = data.sample(pilot, random_state)
    operator = make_operator(kernel, Z, Z, device)
    W = make_operator(kernel, Z.astype(np.float64), None, device).to_dense()
    R = regularised_cholesky(W, linalg, xp, PILOT_RIDGE)
    scores = np.empty(n)
    chunk = CHUNK_ROWS[device.name.partition(":")[0]]
    for a in range(0, n, chunk):
        b = min(a + chunk, n)
        X = data.rows(np.arange(a, b))
        C = operator.with_rows(X).to_dense().astype(np.float64)
        explained = (linalg.solve_upper(R, C.T, transposed=True) ** 2).sum(axis=0)
        diagonal = make_operator(kernel, X, None, device).diagonal()
        scores[a:b] = device.get(diagonal.astype(np.float64) - explained)
    return np.maximum(scores, 1e-6 * max(float(scores.max()), np.finfo(float).tiny))
