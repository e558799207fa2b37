"""`EmpiricalNTK`: the kernel that a fitted network is."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
from scipy.sparse.linalg import LinearOperator
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils._param_validation import Interval, StrOptions

from ._door import by_blocks
from ._networks import KeepsNetwork, prepared, unwrapped
from ._parameters import RUN
from ._tangent_blocks import in_blocks, kernel_matrix, projections, tangents_of

FEATURES = ("conjugate", "embedding", "projected")
PRODUCTS = ("trace", "trace_normalized", "pseudo")
KINDS = ("full", *PRODUCTS, *FEATURES)
PROBABILITIES = (
    "estimator returns probabilities, or their logarithms, so the tangent kernel is "
    "theirs: for that of the logits leave out the softmax at its end"
)


class EmpiricalNTK(
    KeepsNetwork,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
    Kernel,
):
    r"""Tangent kernel of a fitted network, without a gradient of any row.

    Trained on a little more data, a network changes its output at x by its empirical
    neural tangent kernel with these data,

    .. math:: K(x, z)_{cc'} = \nabla f_c(x) \cdot \nabla f_{c'}(z),

    the gradients being those of its outputs c by all weights and biases. It is taken
    from one pass forward and one back, layer by layer. Outputs are those before the
    last activation: logits of classifiers.

    It is a kernel of scikit-learn, for `SVC`, `GaussianProcessRegressor` and the
    estimators here, and of `kind` "projected", "conjugate" and "embedding" also a
    transformer.

    Parameters
    ----------
    estimator : object
        A fitted `MLPClassifier` or `MLPRegressor`, alone, as the last step of a fitted
        `Pipeline`, which then transforms the rows, or in a `FrozenEstimator`. Or a
        `torch.nn.Module` or a fitted network of skorch (``pip install
        gpkern[torch]``): rows may have more axes, such as (channels, height, width),
        and go to the module in its own precision, in evaluation mode; gradients are
        those by the parameters that require them. Clones keep it as it is.
    kind : str, default="trace"
        "full": a matrix of all outputs for each pair of rows. "trace": its trace, the
        sum over the outputs. "trace_normalized": that over the root of the values of
        both rows with themselves, 0 for rows without gradients. "pseudo": of the
        gradient of the sum of the outputs over the root of their number, which for wide
        networks is each diagonal entry of "full". "projected": "trace" by random
        projections.
        "conjugate": inner product of the last hidden layer. "embedding": sum of the
        inner products of what all layers return, before and after activations.
    n_projections : int, default=2048
        Columns of "projected". The error of its kernel falls with their root.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the rows, or the parameters of a module.
    random_state : int, default=0
        Of "projected". A number, since all calls must draw the same projections.

    See Also
    --------
    gpkern.kernels.NTK : The kernel of networks of infinite width.

    Notes
    -----
    Time is in proportion to the pairs of rows times the units of all layers, for
    "trace" times the outputs; memory to the rows times both, and never to the number
    of weights.

    Of rows in float32 and a network fitted in float32 the work is in float32.

    Dense layers and convolutions along one or two axes of a module take that time, and
    where they are used at many places of a row, or by all other parameters, such as
    those of norms, embeddings and attention, gradients are held number by number, for a
    block of rows at a time. Recurrent layers go row by row. A few rows, some of them
    with noise, tell which is which. One thread at a time works on a module.

    References
    ----------
    Novak, Sohl-Dickstein & Schoenholz (2022), Fast finite width neural tangent kernel;
    Mohamadi, Bae & Sutherland (2023), A fast, well-founded approximation to the
    empirical neural tangent kernel; Engel et al. (2024), Faithful and efficient
    explanations for neural networks via neural tangent kernel surrogate models.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn.svm import SVC
    >>> from gpkern import EmpiricalNTK
    >>> X, y = load_digits(return_X_y=True)
    >>> mlp = MLPClassifier(64, max_iter=50, random_state=0).fit(X[:900] / 16, y[:900])
    >>> kernel = EmpiricalNTK(mlp, kind="trace_normalized")
    >>> kernel(X[:5] / 16, X[:3] / 16).shape
    (5, 3)
    >>> svc = SVC(kernel=kernel).fit(X[:900] / 16, y[:900])
    >>> bool(svc.score(X[900:] / 16, y[900:]) > 0.93)
    True
    """

    _parameter_constraints = {
        "estimator": [object],
        "kind": [StrOptions(set(KINDS))],
        "n_projections": [Interval(Integral, 1, None, closed="left")],
        "device": RUN["device"],
        "random_state": [Interval(Integral, 0, 2**32 - 1, closed="both")],
    }

    def __init__(
        self,
        estimator,
        *,
        kind="trace",
        n_projections=2048,
        device=None,
        random_state=0,
    ):
        self.estimator = estimator
        self.kind = kind
        self.n_projections = n_projections
        self.device = device
        self.random_state = random_state

    def fit(self, X=None, y=None):
        """Check the network; nothing is fitted.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), default=None
            Checked for its columns.
        y : Ignored

        Returns
        -------
        self
        """
        if X is None:
            self._validate_params()
            unwrapped(self.estimator)
        else:
            rows, network, _, device = self._prepared(X)
            if self.kind in FEATURES:
                with device.here():
                    one = self._features(network, rows[:1], device)
                self._n_features_out = one.shape[1]
        return self

    def kernel(self, X, Z=None):
        """Kernel of rows.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        Z : array-like of shape (m, n_features), default=None
            None for X.

        Returns
        -------
        array of shape (n, m), or (n, m, O, O) of kind "full"

        Raises
        ------
        NotFittedError
            For a network that has not been fitted.
        TypeError
            For an estimator that is none, or a module with layers whose gradients
            cannot be taken, which are named.
        ValueError
            For rows of other columns; for a module that takes rows together.
        """
        rows, network, kind, device = self._prepared(X)
        others = rows if Z is None else self._prepared(Z)[0]
        with device.here():
            if self.kind not in FEATURES:
                seed = self._seed(network)
                left = network, rows, seed
                right = None if Z is None else (network, others, seed)
                return kind.out(kernel_matrix(left, right, device, self._tile))
            P = self._features(network, rows, device)
            Q = P if Z is None else self._features(network, others, device)
            return kind.out(P @ Q.T)

    def __call__(self, X, Y=None, eval_gradient=False):
        """`kernel`, as scikit-learn calls it; there are no hyperparameters."""
        if self.kind == "full":
            raise ValueError(
                "kind='full' has a matrix for each pair of rows, where one number is "
                "wanted: use kind='trace' or 'pseudo', or operator(X, Z)"
            )
        K = self.kernel(X, Y)
        return (K, np.empty((*K.shape, 0))) if eval_gradient else K

    def diag(self, X):
        """Kernel of each row with itself.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        array of shape (n,), or (n, O, O) of kind "full"
        """
        rows, network, kind, device = self._prepared(X)
        with device.here():
            if self.kind in FEATURES:
                P = self._features(network, rows, device)
                return kind.out((P**2).sum(axis=1))
            seed = self._seed(network)
            out = [self._own(t) for t in tangents_of(network, rows, seed, device)]
            return kind.out(network.xp.concatenate(out))

    def is_stationary(self):
        """False: the kernel is no function of differences."""
        return False

    @by_blocks
    def transform(self, X):
        """Features whose inner products are the kernel.

        Parameters
        ----------
        X : array-like or dask.array.Array of shape (n, n_features)

        Returns
        -------
        array of shape (n, p)
            Of a Dask array one, lazy. p is `n_projections`, or the units of the layers.

        Raises
        ------
        ValueError
            Of kinds whose features are as many as the weights.
        """
        if self.kind not in FEATURES:
            raise ValueError(
                f"kind={self.kind!r} has as many features as the network has weights: "
                "use kind='projected', 'conjugate' or 'embedding' to transform"
            )
        rows, network, kind, device = self._prepared(X)
        with device.here():
            P = self._features(network, rows, device)
            self._n_features_out = P.shape[1]
            return kind.out(P)

    def outputs(self, X):
        """Outputs of the network before the last activation, shape (n, O)."""
        rows, network, kind, device = self._prepared(X)
        with device.here():
            return kind.out(in_blocks(network.outputs, network, rows, device))

    def operator(self, X, Z=None):
        """The full kernel, whatever `kind`, as a linear operator that is never formed.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
        Z : array-like of shape (m, n_features), default=None

        Returns
        -------
        scipy.sparse.linalg.LinearOperator of shape (n O, m O)
            Of host arrays; entry ``i O + c`` is output c of row i. A product takes a
            pass over the network for each row, however many pairs there are.
        """
        rows, network, _, device = self._prepared(X)
        others = rows if Z is None else self._prepared(Z)[0]
        q = network.n_outputs
        seed = network.xp.eye(q, dtype=network.dtype)

        def product(left, right):
            def apply(V):
                V = device.xp.asarray(V, dtype=network.dtype)
                V = V.reshape(len(right), q, -1)
                total, start = None, 0
                for t in tangents_of(network, right, seed, device):
                    part = t.pulled_back(V[start : start + len(t)])
                    start += len(t)
                    total = part if total is None else _added(total, part)
                blocks = tangents_of(network, left, seed, device)
                out = [t.pushed(total) for t in blocks]
                out = device.xp.concatenate(out).reshape(len(left) * q, -1)
                return device.get(out)

            def here(V):
                with device.here():
                    return apply(V)

            return here

        forward, back = product(rows, others), product(others, rows)
        return LinearOperator(
            (len(rows) * q, len(others) * q),
            matvec=lambda v: forward(v).ravel(),
            rmatvec=lambda v: back(v).ravel(),
            matmat=forward,
            rmatmat=back,
            dtype=network.dtype,
        )

    @property
    def requires_vector_input(self):
        """False: a Pipeline may transform anything, a module take rows of more axes."""
        return False

    @property
    def hyperparameters(self):
        """None: the network is what it is."""
        return []

    def __sklearn_is_fitted__(self):
        return True

    # ------------------------------------------------------------------ inside

    def _prepared(self, X):
        """See `prepared`."""
        self._validate_params()
        found = prepared(self.estimator, X, self.device)
        if found[1].are_probabilities:
            warnings.warn(PROBABILITIES, UserWarning, stacklevel=3)
        return found

    def _seed(self, network):
        """Weights of the outputs whose gradients are taken."""
        xp, q, dtype = network.xp, network.n_outputs, network.dtype
        if self.kind == "pseudo":
            return xp.full((1, q), q**-0.5, dtype=dtype)
        return xp.eye(q, dtype=dtype)

    def _own(self, tangents):
        if self.kind == "full":
            return tangents.diagonal_blocks()
        own = tangents.diagonal()
        return (own > 0).astype(own.dtype) if self.kind == "trace_normalized" else own

    def _tile(self, left, right):
        if self.kind == "full":
            return left.full(right)
        tile = left.trace(right)
        if self.kind != "trace_normalized":
            return tile
        return tile * left.parts[0].xp.outer(*map(_inverse_roots, (left, right)))

    def _features(self, network, rows, device):
        """Features, shape (n, p)."""
        if self.kind == "projected":
            seed = self._seed(network)
            signs = self.n_projections, self.random_state
            return projections(network, rows, seed, device, *signs)
        function = network.hidden if self.kind == "conjugate" else network.responses
        return in_blocks(function, network, rows, device)


def _inverse_roots(tangents):
    """Of the rows' values with themselves; 0 for rows without gradients."""
    xp, own = tangents.parts[0].xp, tangents.diagonal()
    return (own > 0) / xp.sqrt(xp.where(own > 0, own, own.dtype.type(1)))


def _added(total, parts):
    pairs = zip(total, parts, strict=True)
    return [[a + b for a, b in zip(p, q, strict=True)] for p, q in pairs]
