"""Spectra of kernel matrices, and how targets lie in their eigenvectors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

# Asymmetry, as a share of the largest entry: that of kernels in float32.
ASYMMETRY = 1e-4


class KernelSpectrum(NamedTuple):
    """What `kernel_spectrum` returns.

    Attributes
    ----------
    eigenvalues : ndarray of shape (n,), float64
        In descending order, as they come: rounding may leave some below 0.
    target_shares : ndarray of shape (n,), float64, or None
        Share of the squares of the centred targets in the first 1, 2, ...
        eigenvectors; the last one is 1 for a centred matrix.
    alignment : float or None
        Centred kernel-target alignment, from -1 to 1; below 0 only for matrices that
        are not positive semi-definite.
    """

    eigenvalues: np.ndarray
    target_shares: np.ndarray | None
    alignment: float | None


def kernel_spectrum(K, y=None, center=True):
    r"""Eigenvalues of a kernel matrix, and how the targets align with it.

    With the eigenvectors :math:`u_i`, in the order of their eigenvalues, and the
    centred targets Y the shares are :math:`\sum_{i \le k} |Y^T u_i|^2 / |Y|^2`.

    Parameters
    ----------
    K : array-like of shape (n, n)
        Symmetric.
    y : array-like of shape (n,) or (n, n_targets), default=None
        Targets, as `target_columns` takes them.
    center : bool, default=True
        Whether the eigenvalues are those of the matrix of centred features. The
        alignment always is of these.

    Returns
    -------
    KernelSpectrum

    Raises
    ------
    ValueError
        For a matrix that is not square, symmetric and finite; for targets that are
        constant or not finite; where there are targets and all rows are alike.

    Notes
    -----
    It takes time in proportion to n^3. Where eigenvalues are equal, such as the many
    zeros of a matrix of low rank, the eigenvectors are any basis of their space: the
    shares mean something where eigenvalues end, not between equal ones.

    References
    ----------
    Cortes, Mohri & Rostamizadeh (2012), Algorithms for learning kernels based on
    centered alignment, definition 2; Cristianini, Shawe-Taylor, Elisseeff & Kandola
    (2001), On kernel-target alignment.

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern.algorithms.alignment import kernel_spectrum
    >>> x = np.array([-2.0, -1.0, 0.0, 3.0])
    >>> found = kernel_spectrum(np.outer(x, x), y=3 * x + 1)
    >>> found.eigenvalues.round(6) + 0.0
    array([14.,  0.,  0.,  0.])
    >>> found.target_shares.round(6)
    array([1., 1., 1., 1.])
    >>> round(found.alignment, 6)
    1.0
    """
    K = _symmetric(K)
    Y = None if y is None else target_columns(y)
    if Y is not None and len(Y) != len(K):
        raise ValueError(f"y has {len(Y)} rows, and the kernel matrix {len(K)}")
    alignment = None if Y is None else centred_alignment(K, Y)
    K = centred(K) if center else K
    if Y is None:
        return KernelSpectrum(linalg.eigvalsh(K)[::-1], None, None)
    values, vectors = linalg.eigh(K, driver="evd")
    parts = ((vectors[:, ::-1].T @ Y) ** 2).sum(axis=1)
    return KernelSpectrum(values[::-1], np.cumsum(parts) / (Y**2).sum(), alignment)


def centred_alignment(K, Y):
    r"""Cosine of the angle between centred kernel and target matrices.

    .. math:: \frac{\langle K_c, Y Y^T \rangle}{|K_c|_F\, |Y Y^T|_F}

    Parameters
    ----------
    K : ndarray of shape (n, n), float64
        Symmetric.
    Y : ndarray of shape (n, c), float64
        Centred columns, not all 0.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where all rows are alike, so that the centred matrix is 0.
    """
    K = centred(K / (abs(K).max() or 1.0))  # whose squares do not overflow
    norm = np.linalg.norm(K)
    # What rounding leaves of a constant matrix.
    if norm <= 4.0 * len(K) * np.finfo(float).eps:
        raise ValueError(
            "the kernel tells no two rows apart: its centred matrix is 0, and has no "
            "alignment"
        )
    return float((Y * (K @ Y)).sum() / (norm * np.linalg.norm(Y.T @ Y)))


def centred(K):
    """Kernel matrix of the same features less their mean."""
    means = K.mean(axis=0)
    return K - means - means[:, None] + means.mean()


def target_columns(y):
    """Centred columns of targets, of which the largest entry was 1.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, n_targets)
        Floats are numbers. One column of integers, booleans or strings are classes,
        with an indicator column for each; pass counts as floats. Several columns are
        numbers each.

    Returns
    -------
    ndarray of shape (n, c), float64

    Raises
    ------
    ValueError
        For targets that are constant or not finite, or of another shape.
    """
    y = np.asarray(y)
    y = np.array(y.tolist()) if y.dtype.kind == "O" else y
    if y.ndim not in (1, 2) or 0 in y.shape:
        raise ValueError(f"y must have shape (n,) or (n, n_targets), not {y.shape}")
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim == 1 and y.dtype.kind in "iubUS":
        y = y[:, None] == np.unique(y)
    if y.dtype.kind not in "fiub":
        raise ValueError(f"y has dtype {y.dtype}: pass real numbers or one label a row")
    Y = y.reshape(len(y), -1).astype(np.float64)
    if not np.isfinite(Y).all():
        raise ValueError("y contains NaN or infinity")
    if (Y[0] == Y).all():
        raise ValueError(
            f"y is constant on the {len(Y)} rows: pass targets that differ, as others "
            "align with nothing"
        )
    Y = Y / abs(Y).max()
    return Y - Y.mean(axis=0)


def _symmetric(K):
    """The matrix in float64, checked."""
    K = np.asarray(K)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or not len(K):
        raise ValueError(f"a kernel matrix of shape (n, n) is needed, not {K.shape}")
    if K.dtype.kind not in "fiub":
        raise ValueError(f"the kernel matrix has dtype {K.dtype}: pass real numbers")
    K = K.astype(np.float64)
    if not np.isfinite(K).all():
        raise ValueError("the kernel matrix contains NaN or infinity")
    if abs(K - K.T).max() > ASYMMETRY * abs(K).max():
        raise ValueError("the kernel matrix is not symmetric: k(x, z) must be k(z, x)")
    return (K + K.T) / 2.0
