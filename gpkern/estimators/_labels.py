"""Classes: labels to numbers, and scores to labels."""

from __future__ import annotations

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from ._door import check_labels


def encode(y, n, estimator):
    """Classes and the class number of each label, of a y that has been given to fit.

    Raises
    ------
    ValueError
        When there are fewer than two classes.
    """
    y = check_labels(y, n, estimator)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{type(estimator).__name__} needs samples of at least 2 classes, but the "
            f"data contains only one class: {classes.tolist()[0]!r}"
        )
    return classes, codes


def winners(values):
    """Class number of each row of scores."""
    return values.argmax(axis=1) if values.shape[1] > 1 else (values[:, 0] > 0) * 1


def labels_out(classes, index, kind, device):
    """Labels of predicted class numbers, in the user's array type where it can be."""
    labels = classes[device.get(index)]
    if kind.is_cupy and labels.dtype.kind in "fiub":
        return device.xp.asarray(labels)
    return labels if kind.is_cupy else kind.out(labels)
