"""Fitted networks, as layers of arrays."""

from __future__ import annotations

from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..algorithms.tangent import DenseNetwork

UNREADABLE = (
    "estimator={} is no network whose layers can be read: pass a fitted MLPClassifier "
    "or MLPRegressor of scikit-learn, alone, at the end of a Pipeline, or in a "
    "FrozenEstimator"
)


def unwrapped(estimator):
    """The network, and what transforms rows before it, or None.

    Raises
    ------
    TypeError
        For other estimators.
    NotFittedError
    """
    before = None
    while not isinstance(estimator, (MLPClassifier, MLPRegressor)):
        if isinstance(estimator, Pipeline) and len(estimator.steps):
            if before is not None:
                raise TypeError(
                    "estimator is a Pipeline in a Pipeline: pass one of both"
                )
            check_is_fitted(estimator)
            before = estimator[:-1] if len(estimator.steps) > 1 else None
            estimator = estimator.steps[-1][1]
        elif type(estimator).__name__ == "FrozenEstimator":
            estimator = estimator.estimator
        else:
            raise TypeError(UNREADABLE.format(type(estimator).__name__))
    check_is_fitted(
        estimator,
        "coefs_",
        msg="estimator, a %(name)s, is not fitted yet: its tangent kernel is that of a "
        "fitted network",
    )
    return estimator, before


def network_of(mlp, device, dtype):
    """Its layers on a device.

    Parameters
    ----------
    mlp : MLPClassifier or MLPRegressor
        Fitted. The outputs are those before the last activation: logits.
    device : Device
    dtype : dtype

    Returns
    -------
    DenseNetwork
    """
    xp = device.xp
    weights, biases = (
        [xp.asarray(device.put(a), dtype=dtype) for a in arrays]
        for arrays in (mlp.coefs_, mlp.intercepts_)
    )
    return DenseNetwork(weights, biases, mlp.activation, xp)
