"""`trak_scores`: what training rows a network's margins come from."""

from __future__ import annotations

from numbers import Integral, Real

import numpy as np
from scipy import linalg, special
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import _num_samples

from ._door import on_host
from ._networks import labels_of, prepared
from ._tangent_blocks import in_blocks, kernel_matrix, projections


def trak_scores(
    estimator,
    X,
    y,
    X_test,
    y_test=None,
    *,
    n_projections=None,
    alpha=0.1,
    device=None,
    random_state=0,
):
    r"""Attribute a network's margins at some rows to its training rows (TRAK).

    The margin of a label of probability p is the log odds :math:`\log p / (1 - p)`.
    With the gradients :math:`\phi` of margins by all weights, at training rows those of
    their own labels in the rows of :math:`\Phi`, the score of training row i for a test
    row is

    .. math:: \phi_{test}' (\Phi' \Phi + \lambda I)^{-1} \phi_i \, (1 - p_i),

    which is by how much the margin there would be less if the row were left out, as far
    as a linear model of the network knows.

    Parameters
    ----------
    estimator : object or list of object
        A fitted classifier, as in `EmpiricalNTK`: an `MLPClassifier`, a network of
        skorch, or a `torch.nn.Module` that returns logits. Of several, trained with
        other random states or on other halves of the rows, scores are averaged, which
        makes them much better.
    X : array-like of shape (n_samples, n_features)
        Training rows.
    y : array-like of shape (n_samples,)
        Their labels.
    X_test : array-like of shape (n_test, n_features)
        Rows to explain.
    y_test : label or array-like of shape (n_test,), default=None
        The labels whose margins are explained; None for the predicted ones (of several
        networks, those that the first one predicts).
    n_projections : int, default=None
        Random projections that stand for the gradients. None for exact gradients, of
        which only the kernel is computed: with up to some 10,000 rows that is quicker.
    alpha : float, default=0.1
        :math:`\lambda` as a share of the mean of :math:`\phi_i' \phi_i`.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the rows, or a module's parameters.
    random_state : int, default=0
        Of the projections.

    Returns
    -------
    scores : ndarray of shape (n_test, n_samples), float64
        Large where a row speaks for the label. Scores of training rows of which the
        network is sure are small, and where it is sure of all of them, as after long
        training, they say little.

    Raises
    ------
    TypeError
        For an estimator that is no network with classes.
    ValueError
        For labels that the network does not know, `n_projections` below 1, negative
        `alpha`, modules that return probabilities.

    See Also
    --------
    NTKSurrogateClassifier : Shares that sum to a logit.

    References
    ----------
    Park, Georgiev, Ilyas, Leclerc & Madry (2023), TRAK: attributing model behavior at
    scale, equations 13 to 17.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from gpkern import trak_scores
    >>> X, y = load_digits(return_X_y=True)
    >>> X = X / 16
    >>> mlp = MLPClassifier(32, max_iter=100, random_state=0).fit(X[:500], y[:500])
    >>> scores = trak_scores(mlp, X[:500], y[:500], X[500:600], y[500:600])
    >>> scores.shape
    (100, 500)
    >>> best = scores.argmax(axis=1)
    >>> bool((y[best] == y[500:600]).mean() > 0.8)
    True
    """
    if n_projections is not None and not (
        isinstance(n_projections, Integral) and n_projections >= 1
    ):
        raise ValueError(
            f"n_projections={n_projections!r} must be None or a whole number from 1 on"
        )
    if not (isinstance(random_state, Integral) and random_state >= 0):
        raise ValueError(
            f"random_state={random_state!r} must be a whole number: training and test "
            "rows need the same projections"
        )
    if not (isinstance(alpha, Real) and 0 <= alpha < np.inf):
        raise ValueError(f"alpha={alpha!r} must be a number from 0 on")
    check_consistent_length(X, y)
    networks = list(estimator) if isinstance(estimator, (list, tuple)) else [estimator]
    if not networks:
        raise ValueError("estimator is an empty list: pass a network or more")
    influence = np.zeros((_num_samples(X_test), _num_samples(X)))
    doubt = np.zeros(_num_samples(X))
    for network in networks:
        train = Margins(network, X, y, device)
        test = Margins(network, X_test, y_test, device, like=train)
        y_test = test.labels
        influence += _influence(train, test, n_projections, alpha, random_state)
        doubt += 1.0 - train.probability
    return (influence / len(networks)) * (doubt / len(networks))


class Margins:
    """Rows, and the weights of logits whose sums have the slopes of their margins.

    Parameters
    ----------
    estimator : object
    X, y
        Rows and labels.
    device : object
    like : Margins, default=None
        Of the training rows: whose reading of the network serves here too.
    """

    def __init__(self, estimator, X, y, device, like=None):
        self.rows, network, _, self.device = prepared(estimator, X, device)
        if network.are_probabilities:
            raise ValueError(
                "estimator returns probabilities, or their logarithms, and not logits: "
                "leave out the softmax at its end"
            )
        self.network = network if like is None else like.network
        with self.device.here():
            F = in_blocks(network.outputs, network, self.rows, self.device)
        F = self.device.get(F).astype(np.float64)
        classes = like.classes if like else labels_of(estimator, F.shape[1], y)
        self.classes = classes
        self.labels = self._labels(y, F)
        slopes, margins = _margins(F, np.searchsorted(classes, self.labels))
        self.probability = 0.5 + 0.5 * np.tanh(0.5 * margins)
        with self.device.here():
            xp = self.device.xp
            self.seed = xp.asarray(slopes[:, None, :], dtype=network.dtype)

    def _labels(self, y, F):
        """Those given, or the predicted ones."""
        if y is None:
            first = F[:, 0] > 0 if F.shape[1] == 1 else F.argmax(axis=1)
            return self.classes[first.astype(int)]
        y = on_host(y)
        y = np.full(len(F), y) if y.ndim == 0 else column_or_1d(y)
        check_consistent_length(F, y)
        known = np.isin(y, self.classes)
        if not known.all():
            raise ValueError(
                f"y has the label {y[~known].tolist()[0]!r}, and the network knows "
                f"{self.classes.tolist()}"
            )
        return y

    @property
    def side(self):
        """For `kernel_matrix`."""
        return self.network, self.rows, self.seed

    def features(self, n_projections, random_state):
        """Random projections of the slopes, on the host in float64."""
        with self.device.here():
            P = projections(*self.side, self.device, n_projections, random_state)
            return self.device.get(P).astype(np.float64)


def _influence(train, test, n_projections, alpha, random_state):
    """phi_test' (Phi' Phi + lambda)^-1 phi_i, by whichever matrix is smaller."""
    if n_projections is None:
        with train.device.here():
            K, cross = (
                train.device.get(kernel_matrix(*pair, train.device, _products))
                for pair in ((train.side, None), (test.side, train.side))
            )
        K, cross = K.astype(np.float64), cross.astype(np.float64)
        return _solved(K, cross.T, alpha * K.trace() / len(K)).T
    P, Q = (m.features(n_projections, random_state) for m in (train, test))
    penalty = alpha * (P * P).sum() / len(P)
    if P.shape[0] < P.shape[1]:
        return _solved(P @ P.T, P @ Q.T, penalty).T
    return (P @ _solved(P.T @ P, Q.T, penalty)).T


def _solved(K, right, penalty):
    """(K + penalty)^-1 right, of the least norm where there is none."""
    if penalty == 0:
        return np.linalg.lstsq(K, right, rcond=1e-12)[0]
    K = K.copy()
    K.flat[:: len(K) + 1] += penalty
    return linalg.solve(K, right, assume_a="pos")


def _products(left, right):
    return left.trace(right)


def _margins(F, codes):
    """Log odds of labels, and their slopes by the outputs, both of shape (n, ...)."""
    at = np.arange(len(F))
    if F.shape[1] == 1:
        signs = np.where(codes == 1, 1.0, -1.0)[:, None]
        return signs, signs[:, 0] * F[:, 0]
    others = F.copy()
    others[at, codes] = -np.inf
    slopes = -special.softmax(others, axis=1)
    slopes[at, codes] = 1.0
    return slopes, F[at, codes] - special.logsumexp(others, axis=1)
