"""From least-squares scores to probabilities."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax


def fit_calibration(values, codes):
    """Parameters that minimise the log loss on held-out rows.

    Parameters
    ----------
    values : ndarray of shape (n, c)
        Scores; one column for two classes.
    codes : ndarray of shape (n,)
        True class numbers.

    Returns
    -------
    ndarray
        Slope and offset of a logistic curve for two classes (Platt), with his
        smoothed targets; one inverse temperature for more.
    """
    values = values.astype(np.float64)
    if values.shape[1] > 1:

        def loss(log_t):
            logp = log_softmax(np.exp(log_t) * values, axis=1)
            return -logp[np.arange(len(codes)), codes].mean()

        return np.array([np.exp(minimize_scalar(loss, bounds=(-3, 6)).x)])
    n1 = codes.sum()
    n0 = len(codes) - n1
    # Platt (1999): targets short of 0 and 1, so that a clean split stays finite.
    target = np.where(codes == 1, (n1 + 1.0) / (n1 + 2.0), 1.0 / (n0 + 2.0))

    def platt(ab):
        z = ab[0] * values[:, 0] + ab[1]
        return -(target * log_expit(z) + (1.0 - target) * log_expit(-z)).mean()

    return minimize(platt, np.array([2.0, 0.0]), method="BFGS").x


def probabilities(values, calibration):
    """Class probabilities of scores, shape (n, n_classes).

    Parameters
    ----------
    values : ndarray of shape (n, c)
    calibration : ndarray or None
        From `fit_calibration`; None clips the scores and normalises them.
    """
    if values.shape[1] == 1:
        v = values[:, 0]
        if calibration is None:
            p = np.clip((v + 1.0) / 2.0, 0.0, 1.0)
        else:
            p = expit(calibration[0] * v + calibration[1])
        return np.column_stack([1.0 - p, p])
    if calibration is not None:
        return softmax(calibration[0] * values, axis=1)
    p = np.clip(values, 0.0, 1.0)
    total = p.sum(axis=1, keepdims=True)
    even = np.full_like(p, 1.0 / p.shape[1])
    return np.where(total > 0, p / np.where(total > 0, total, 1.0), even)
