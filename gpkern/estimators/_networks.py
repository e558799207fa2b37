"""Fitted networks, as layers of arrays."""

from __future__ import annotations

import importlib

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from .._device import is_cupy
from ..algorithms.dense_network import DenseNetwork
from ._door import ArrayKind, check_rows, choose_device, on_host, to_numpy_or_cupy

UNREADABLE = (
    "estimator={} is no network whose layers can be read: pass a fitted MLPClassifier "
    "or MLPRegressor of scikit-learn, alone, at the end of a Pipeline, or in a "
    "FrozenEstimator or fitted search over parameters; or a torch.nn.Module or a "
    "network of skorch (pip install gpkern[torch])"
)
NEEDS_TORCH = (
    "estimator={} needs torch, which cannot be imported ({}): pip install gpkern[torch]"
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
    while not is_network(estimator):
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
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        else:
            raise TypeError(UNREADABLE.format(type(estimator).__name__))
    if not is_module(estimator):
        check_is_fitted(
            estimator,
            "module_" if is_skorch(estimator) else "coefs_",
            msg="estimator, a %(name)s, is not fitted yet: its tangent kernel is that "
            "of a fitted network",
        )
    return estimator, before


def is_network(estimator):
    """Whether it is a kind of network that can be read."""
    known = isinstance(estimator, (MLPClassifier, MLPRegressor))
    return known or is_module(estimator) or is_skorch(estimator)


def is_module(estimator):
    """Whether it is a module of PyTorch, which is not imported for that."""
    return _is_of(estimator, "torch", "Module")


def is_skorch(estimator):
    """Whether it is a network of skorch."""
    return _is_of(estimator, "skorch", "NeuralNet")


def _is_of(estimator, package, name):
    return any(
        c.__name__ == name and c.__module__.partition(".")[0] == package
        for c in type(estimator).__mro__
    )


def prepared(estimator, X, device):
    """Rows as a network takes them, on its device, and the network there.

    Parameters
    ----------
    estimator : object
    X : array-like of shape (n, n_features), or of shape (n, ...) for PyTorch
    device : {None, "cpu", "cuda", "cuda:N"}
        None is where X is, or where the parameters of a module are.

    Returns
    -------
    rows : array of shape (n, ...)
    network : DenseNetwork or TorchNetwork
    kind : ArrayKind
        Of X.
    device : Device
    """
    network, before = unwrapped(estimator)
    if isinstance(network, (MLPClassifier, MLPRegressor)):
        return _of_scikit_learn(network, before, X, device)
    return _of_torch(network, before, X, device)


def labels_of(estimator, n_outputs, y):
    """Labels of a classifier's outputs, sorted.

    Parameters
    ----------
    estimator : object
        A network, which knows them, or a module of PyTorch. Whole numbers are then the
        numbers of the outputs, and other labels those of the outputs in their order.
    n_outputs : int
    y : array-like of shape (n,)
        Labels, all of those of a module.

    Returns
    -------
    ndarray of shape (n_classes,)
    """
    network, _ = unwrapped(estimator)
    classes = getattr(network, "classes_", None)
    binarizer = getattr(network, "_label_binarizer", None)
    several = getattr(binarizer, "y_type_", "").startswith("multilabel")
    if several or (classes is None and not is_module(network)):
        raise TypeError(
            f"estimator, a {type(network).__name__}, has no classes: pass a classifier "
            "of one label a row"
        )
    if classes is None:
        classes = np.unique(on_host(y))
        numbers = classes.dtype.kind in "iu" and n_outputs > 1
        if numbers and classes[0] >= 0 and classes[-1] < n_outputs:
            classes = np.arange(n_outputs)
    classes = np.asarray(classes)
    if n_outputs != len(classes) and not (n_outputs == 1 and len(classes) == 2):
        raise ValueError(
            f"estimator has {n_outputs} outputs, and y {len(classes)} classes: one "
            "output for each is wanted, or one for two"
        )
    return classes


class KeepsNetwork:
    """Of estimators that hold a fitted network, which their clones keep as it is."""

    def __sklearn_clone__(self):
        parameters = self.get_params(deep=False)
        copies = {
            name: value if name == "estimator" else clone(value, safe=False)
            for name, value in parameters.items()
        }
        return type(self)(**copies)


def _of_scikit_learn(mlp, before, X, device):
    kind = ArrayKind(X)
    X = X if before is None else before.transform(X)
    if hasattr(X, "iloc"):  # names and order of its columns
        validate_data(mlp, X, reset=False, skip_check_array=True)
    X = check_rows(X)
    X = X.toarray() if sparse.issparse(X) else X
    if X.shape[1] != mlp.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} columns, and the network was fitted to "
            f"{mlp.n_features_in_}"
        )
    device = choose_device(device, X)
    dtype = np.result_type(X.dtype, mlp.coefs_[0].dtype)
    with device.here():
        weights, biases = (
            [device.xp.asarray(device.put(a), dtype=dtype) for a in arrays]
            for arrays in (mlp.coefs_, mlp.intercepts_)
        )
        rows = device.xp.asarray(device.put(X), dtype=dtype)
    return rows, DenseNetwork(weights, biases, mlp.activation, device.xp), kind, device


def _of_torch(network, before, X, device):
    try:
        importlib.import_module("torch")
    except ImportError as error:
        name = type(network).__name__
        raise ImportError(NEEDS_TORCH.format(name, error)) from error
    from ._torch_layers import TensorKind, has_embedding
    from ._torch_networks import TorchNetwork

    module = network.module_ if is_skorch(network) else network
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if _is_of(module, "torch", "ScriptModule"):
        raise TypeError(
            "estimator is a ScriptModule, whose layers cannot be watched: pass the "
            "module that it was made of"
        )
    where, dtype = _place(module)
    if device is not None and choose_device(device).name != where:
        raise ValueError(
            f"device={device!r}, and the parameters of estimator are on {where!r}: "
            f"leave device at None, or move them by estimator.to({device!r})"
        )
    device, kind = choose_device(where), ArrayKind(X)
    if _is_of(X, "torch", "Tensor"):
        kind = TensorKind(X)
        X = kind.array
    if before is not None:
        X = before.transform(X)
    X = X.toarray() if sparse.issparse(X) else X
    X = X if is_cupy(X) else np.asarray(to_numpy_or_cupy(X))
    shape, row_dtype = X.shape, dtype
    if X.dtype.kind in "iu" and has_embedding(module):
        row_dtype = np.int64
    X = check_rows(X.reshape(len(X), -1) if X.ndim > 2 else X)
    with device.here():
        rows = device.xp.asarray(device.put(X), dtype=row_dtype).reshape(shape)
        return rows, TorchNetwork(module, rows, device.xp, dtype), kind, device


def _place(module):
    """Device and NumPy's dtype of a module's parameters."""
    kinds = {(str(p.device), str(p.dtype)) for p in module.parameters()}
    kinds = {k for k in kinds if k[1].startswith(("torch.float", "torch.bfloat"))}
    if not kinds:
        raise ValueError("estimator has no parameters of real numbers")
    if len(kinds) != 1:
        raise ValueError(
            f"estimator has parameters on devices and of types {sorted(kinds)}: one of "
            "both is wanted"
        )
    [(where, dtype)] = kinds
    if dtype not in ("torch.float32", "torch.float64"):
        raise ValueError(
            f"estimator has parameters of {dtype}: convert it by estimator.float()"
        )
    if where != "cpu" and not where.startswith("cuda"):
        raise ValueError(
            f"estimator is on the device {where!r}: move it by estimator.to('cpu')"
        )
    return where, dtype.partition(".")[2]
