"""Leading eigenpairs of a kernel matrix, in float64."""

from __future__ import annotations

import numpy as np

# Up to this size LAPACK costs no more than the iteration.
FULL_SIZE = 3000


def top_eigenpairs(K, q, linalg, xp, random_state, n_iter=4):
    """Largest eigenvalues of a dense symmetric positive matrix, and their vectors.

    By LAPACK for small matrices; otherwise block subspace iteration with
    oversampling and a Rayleigh-Ritz step (Halko, Martinsson & Tropp 2011).

    Parameters
    ----------
    K : array of shape (s, s), float64
    q : int
        Number of pairs.
    linalg, xp : module
        Of the device.
    random_state : numpy.random.RandomState
        Draws the start, on the host, so that devices agree.
    n_iter : int, default=4
        Iterations. Eigenvalues of kernel matrices fall fast; the error of the last
        one shrinks by its ratio to the first one left out, squared, each time.

    Returns
    -------
    values : array of shape (q,)
        In descending order.
    vectors : array of shape (s, q)
    """
    s = K.shape[0]
    width = min(s, q + max(20, q // 4))
    if s <= FULL_SIZE or width > s // 3:
        return linalg.eigh(K, q)
    # Signs serve as well as Gaussian numbers, which take longer than all the rest.
    bits = np.frombuffer(random_state.bytes(-(-s * width // 8)), np.uint8)
    Q = 2.0 * xp.unpackbits(xp.asarray(bits))[: s * width].reshape(s, width) - 1.0
    for _ in range(n_iter):
        Q = linalg.orthonormal(K @ Q)
    values, vectors = linalg.eigh(Q.T @ (K @ Q), q)
    return values, Q @ vectors
