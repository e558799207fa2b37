"""Classes: labels to numbers, and scores to labels."""

from __future__ import annotations

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from .._device import is_dask
from ._door import check_labels


def encode(y, X, estimator):
    """Classes and the class number of the label of each row of X, given to fit.

    Raises
    ------
    ValueError
        When there are fewer than two classes.
    """
    if is_dask(X) and y is not None:
        from ..dask import targets

        return targets.encode(y, X, type(estimator).__name__)
    y = check_labels(y, X, estimator)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs samples of at least 2 classes, but the "
            f"data contains only one class: {classes.tolist()[0]!r}"
        )
    return classes, codes


def class_weights(given, classes, codes):
    """Weight of each row by its class, from a `class_weight`.

    Parameters
    ----------
    given : dict or "balanced"
    classes : ndarray of shape (k,)
    codes : array of int of shape (n,)
        A Dask array gives a Dask array.
    """
    if not is_dask(codes):
        return compute_class_weight(given, classes=classes, y=classes[codes])[codes]
    from ..dask.targets import class_counts, looked_up

    if given == "balanced":
        counts = class_counts(codes, len(classes))
        return looked_up(counts.sum() / (len(classes) * counts), codes)
    weights = compute_class_weight(given, classes=classes, y=classes)
    return looked_up(weights, codes)


def winners(values):
    """Class number of each row of scores."""
    return values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0) * 1


def labels_out(classes, index, kind, device):
    """Labels of predicted class numbers, in the user's array type where it can be."""
    labels = classes[device.get(index)]
    if kind.is_cupy and labels.dtype.kind in "fiub":
        return device.xp.asarray(labels)
    return labels if kind.is_cupy else kind.out(labels)
