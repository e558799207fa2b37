"""`EmpiricalNTK`: the kernel that a fitted network is."""

from __future__ import annotations

from numbers import Integral

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.gaussian_process.kernels import Kernel
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from ..algorithms.tangent import Tangents, signs_of
from ._door import ArrayKind, check_rows, choose_device
from ._networks import network_of, unwrapped
from ._parameters import RUN

FEATURES = ("conjugate", "embedding", "projected")
PRODUCTS = ("trace", "trace_normalized", "pseudo")
KINDS = ("full", *PRODUCTS, *FEATURES)
# Arrays of the size of a tile that are alive at a time.
ARRAYS = 4


class EmpiricalNTK(TransformerMixin, BaseEstimator, Kernel):
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
        `Pipeline`, which then transforms the rows, or in a `FrozenEstimator`. Clones
        keep it as it is.
    kind : str, default="trace"
        "full": a matrix of all outputs for each pair of rows. "trace": its trace, the
        sum over the outputs. "trace_normalized": that over the root of the values of
        both rows with themselves. "pseudo": of the gradient of the sum of the
        outputs over the root of their number, which for wide networks is each
        diagonal entry of "full". "projected": "trace" by random projections.
        "conjugate": inner product of the last hidden layer. "embedding": sum of the
        inner products of what all layers return, before and after activations.
    n_projections : int, default=2048
        Columns of "projected". The error of its kernel falls with their root.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the rows.
    random_state : int, RandomState or None, default=0
        Of "projected". With None each call draws others, which do not go together.

    See Also
    --------
    gpkern.kernels.NTK : The kernel of networks of infinite width.

    Notes
    -----
    Time is in proportion to the pairs of rows times the units of all layers, for
    "trace" times the outputs; memory to the rows times both, and never to the number
    of weights.

    Of rows in float32 and a network fitted in float32 the work is in float32.

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
        "estimator": [HasMethods("predict")],
        "kind": [StrOptions(set(KINDS))],
        "n_projections": [Interval(Integral, 1, None, closed="left")],
        "device": RUN["device"],
        "random_state": RUN["random_state"],
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
            self._prepared(X)
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
            For an estimator that is none.
        ValueError
            For rows of other columns.
        """
        rows, network, kind = self._prepared(X)
        others = rows if Z is None else self._prepared(Z)[0]
        if self.kind in FEATURES:
            P = self._features(network, rows)
            return kind.out(P @ (P if Z is None else self._features(network, others)).T)
        return kind.out(self._products(network, rows, others, Z is None))

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
        rows, network, kind = self._prepared(X)
        if self.kind in FEATURES:
            return kind.out((self._features(network, rows) ** 2).sum(axis=1))
        out = [self._own(t) for t in self._blocks(network, rows)]
        return kind.out(network.xp.concatenate(out))

    def is_stationary(self):
        """False: the kernel is no function of differences."""
        return False

    def transform(self, X):
        """Features whose inner products are the kernel.

        Parameters
        ----------
        X : array-like of shape (n, n_features)

        Returns
        -------
        array of shape (n, p)
            p is `n_projections`, or the units of the layers.

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
        rows, network, kind = self._prepared(X)
        return kind.out(self._features(network, rows))

    def outputs(self, X):
        """Outputs of the network before the last activation, shape (n, O)."""
        rows, network, kind = self._prepared(X)
        return kind.out(network.forward(rows)[1])

    def operator(self, X, Z=None):
        """The full kernel as a linear operator that is never formed.

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
        rows, network, _ = self._prepared(X)
        others = rows if Z is None else self._prepared(Z)[0]
        device, q = choose_device(self.device, X), network.n_outputs

        def product(left, right):
            def apply(V):
                V = device.xp.asarray(V, dtype=right.dtype)
                V = V.reshape(len(right), q, -1)
                total, start = None, 0
                for t in self._blocks(network, right):
                    part = t.pulled_back(V[start : start + len(t)])
                    start += len(t)
                    total = part if total is None else _added(total, part)
                out = [t.pushed(total) for t in self._blocks(network, left)]
                out = device.xp.concatenate(out).reshape(len(left) * q, -1)
                return device.get(out)

            return apply

        forward, back = product(rows, others), product(others, rows)
        return LinearOperator(
            (len(rows) * q, len(others) * q),
            matvec=lambda v: forward(v).ravel(),
            rmatvec=lambda v: back(v).ravel(),
            matmat=forward,
            rmatmat=back,
            dtype=rows.dtype,
        )

    @property
    def hyperparameters(self):
        """None: the network is what it is."""
        return []

    def __sklearn_clone__(self):
        """The same network: a clone of it would not be fitted."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self):
        return True

    # ------------------------------------------------------------------ inside

    def _prepared(self, X):
        """Rows on the device as the network takes them, the network, the array kind."""
        self._validate_params()
        mlp, before = unwrapped(self.estimator)
        kind = ArrayKind(X)
        if before is not None:
            X = before.transform(X)
        X = check_rows(X)
        X = X.toarray() if sparse.issparse(X) else X
        if X.shape[1] != mlp.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} columns, and the network was fitted to "
                f"{mlp.n_features_in_}"
            )
        device = choose_device(self.device, X)
        dtype = np.result_type(X.dtype, mlp.coefs_[0].dtype)
        rows = device.xp.asarray(device.put(X), dtype=dtype)
        return rows, network_of(mlp, device, dtype), kind

    def _seed(self, network):
        """Weights of the outputs whose gradients are taken."""
        xp, q, dtype = network.xp, network.n_outputs, network.weights[0].dtype
        if self.kind == "pseudo":
            return xp.full((1, q), q**-0.5, dtype=dtype)
        return xp.eye(q, dtype=dtype)

    def _blocks(self, network, rows):
        """`Tangents` of blocks of rows that fit into memory."""
        seed, height = self._seed(network), self._height(network, rows)
        for a in range(0, len(rows), height):
            yield Tangents.of(network, rows[a : a + height], seed)

    def _height(self, network, rows):
        q = 1 if self.kind == "pseudo" else network.n_outputs
        units = sum(q * W.shape[1] + W.shape[0] for W in network.weights)
        bytes_ = choose_device(self.device, rows).working_bytes()
        return int(max(1, bytes_ // (ARRAYS * rows.dtype.itemsize * units)))

    def _own(self, tangents):
        if self.kind == "full":
            return tangents.diagonal_blocks()
        own = tangents.diagonal()
        return own / own if self.kind == "trace_normalized" else own

    def _products(self, network, rows, others, is_same):
        """The kernel, tile by tile; of one sample only those above the diagonal."""
        xp, q = network.xp, network.n_outputs
        shape = (len(rows), len(others)) + ((q, q) if self.kind == "full" else ())
        K, start = xp.empty(shape, dtype=rows.dtype), 0
        for left in self._blocks(network, rows):
            at = slice(start, start + len(left))
            begin = start if is_same else 0
            for right in self._blocks(network, others[begin:]):
                to = slice(begin, begin + len(right))
                tile = left.full(right) if self.kind == "full" else left.trace(right)
                if self.kind == "trace_normalized":
                    roots = (xp.sqrt(t.diagonal()) for t in (left, right))
                    tile = tile / xp.outer(*roots)
                K[at, to] = tile
                if is_same:
                    K[to, at] = tile.transpose(1, 0, *((3, 2) if tile.ndim > 2 else ()))
                begin += len(right)
            start += len(left)
        return K

    def _features(self, network, rows):
        """Features, shape (n, p)."""
        xp = network.xp
        if self.kind == "projected":
            rng = check_random_state(self.random_state)
            q, dtype = network.n_outputs, rows.dtype
            signs = signs_of(network, self.n_projections, q, rng, dtype)
            parts = [t.sketch(signs) for t in self._blocks(network, rows)]
            return xp.concatenate(parts)
        inputs, F = network.forward(rows)
        if self.kind == "conjugate":
            return inputs[-1]
        before = [
            A @ W + b
            for A, W, b in zip(
                inputs[:-1], network.weights[:-1], network.biases[:-1], strict=True
            )
        ]
        return xp.concatenate([*before, *inputs[1:], F], axis=1)


def _added(total, part):
    return [(W + U, b + u) for (W, b), (U, u) in zip(total, part, strict=True)]
