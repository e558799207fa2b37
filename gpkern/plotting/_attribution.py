"""`AttributionDisplay`: predictions beside the training rows that they come from."""

from __future__ import annotations

import numpy as np
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted

from ._coreset import _on_host
from ._density_modes import check_counts


class AttributionDisplay:
    """Images, each beside those of the training rows that speak most for its label.

    It is best made by `from_estimator`.

    Parameters
    ----------
    images : ndarray of shape (n, height, width) or (n, height, width, channels)
        What was predicted, an image in each row of the grid.
    labels : array-like of shape (n,)
        As which.
    evidence : ndarray of shape (n, n_top, height, width) or with channels
        Images of training rows, those that add most to the logit first.
    evidence_labels : ndarray of shape (n, n_top)
    shares : ndarray of shape (n, n_top)
        What each adds to the logit.
    logits : ndarray of shape (n,)

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes of shape (n, 1 + n_top)
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from gpkern import NTKSurrogateClassifier
    >>> from gpkern.plotting import AttributionDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> mlp = MLPClassifier(32, max_iter=400, random_state=0).fit(X[:900], y[:900])
    >>> surrogate = NTKSurrogateClassifier(mlp).fit(X[:900], y[:900])
    >>> display = AttributionDisplay.from_estimator(
    ...     surrogate, X[900:903], image_shape=(8, 8)
    ... )  # doctest: +SKIP
    """

    def __init__(self, images, labels, evidence, evidence_labels, shares, logits):
        self.images, self.labels = np.asarray(images), np.asarray(labels)
        self.evidence = np.asarray(evidence)
        self.evidence_labels = np.asarray(evidence_labels)
        self.shares, self.logits = np.asarray(shares), np.asarray(logits)

    @classmethod
    def from_estimator(
        cls,
        surrogate,
        X,
        *,
        image_shape=None,
        target=None,
        n_top=5,
        axes=None,
        **kwargs,
    ):
        """Draw why a surrogate says what it says of some rows.

        Parameters
        ----------
        surrogate : NTKSurrogateClassifier
            Fitted.
        X : array-like of shape (n, n_features)
            Rows, which are images.
        image_shape : tuple of int, default=None
            Height and width, and channels; None for square images of one channel.
        target : label or array-like of shape (n,), default=None
            The class to look for; None is the predicted one.
        n_top : int, default=5
            Training rows for each.
        axes : ndarray of matplotlib Axes of shape (n, 1 + n_top), default=None
            None makes a figure.
        **kwargs
            Of ``ax.imshow``.

        Returns
        -------
        AttributionDisplay
        """
        check_is_fitted(surrogate)
        check_counts(n_top=(n_top, 1))
        rows, shares = surrogate.attribute(X, target=target, n_top=n_top)
        sums = surrogate.attribute(X, target=target).sum(axis=1)
        labels = surrogate.predict(X) if target is None else target
        labels = np.broadcast_to(_on_host(labels), len(rows))
        train = _on_host(surrogate.X_fit_)
        shape = _image_shape(image_shape, train.shape[1])
        return cls(
            _on_host(X).reshape(len(rows), *shape),
            labels,
            train[rows].reshape(*rows.shape, *shape),
            surrogate.y_fit_[rows],
            shares,
            sums,
        ).plot(axes=axes, **kwargs)

    def plot(self, axes=None, **kwargs):
        """Draw it.

        Parameters
        ----------
        axes : ndarray of matplotlib Axes of shape (n, 1 + n_top), default=None
            None makes a figure.
        **kwargs
            Of ``ax.imshow``.

        Returns
        -------
        AttributionDisplay
            Itself.
        """
        check_matplotlib_support(f"{type(self).__name__}.plot")
        import matplotlib.pyplot as plt

        n, n_top = self.shares.shape
        if axes is None:
            size = 1.3 * (1 + n_top), 1.55 * n
            _, axes = plt.subplots(
                n, 1 + n_top, figsize=size, squeeze=False, layout="constrained"
            )
        axes = np.asarray(axes)
        if axes.shape != (n, 1 + n_top):
            raise ValueError(f"axes has shape {axes.shape}, and needs {(n, 1 + n_top)}")
        self.axes_, self.figure_ = axes, axes[0, 0].figure
        look = {"cmap": "gray_r"} | kwargs
        for i in range(n):
            head = f"{self.labels[i]}, logit {self.logits[i]:.1f}"
            self._image(axes[i, 0], self.images[i], head, "tab:red", look)
            for j in range(n_top):
                share = f"{self.evidence_labels[i, j]}: {self.shares[i, j]:+.2f}"
                self._image(axes[i, 1 + j], self.evidence[i, j], share, "0.8", look)
        return self

    def _image(self, ax, image, title, color, look):
        ax.imshow(image, **look)
        ax.set_title(title, fontsize="small")
        ax.set(xticks=[], yticks=[])
        for side in ax.spines.values():
            side.set_color(color)


def _image_shape(given, width):
    """Shape of images of so many numbers."""
    if given is None:
        side = round(width**0.5)
        if side * side != width:
            raise ValueError(
                f"image_shape=None is for square images, and X has {width} columns: "
                "pass (height, width) or (height, width, channels)"
            )
        return side, side
    if len(given) not in (2, 3) or int(np.prod(given)) != width:
        raise ValueError(f"image_shape={given} does not hold the {width} columns of X")
    return tuple(given)
