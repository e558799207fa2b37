"""`NTKFeatures` and `NNGPFeatures`: kernels of infinitely wide networks as columns."""

from __future__ import annotations

import warnings
from numbers import Integral, Real

import numpy as np
from scipy import sparse
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from .. import _device
from .._device import is_cupy, is_dask
from .._validation import is_extreme, is_sliceable, working_dtype
from ..algorithms.sketches import Place, PolynomialSketch, Summed
from ..algorithms.tangent_features import Network, RandomNetwork, nonnegative_series
from ..kernels.ntk import ACTIVATIONS
from ..operator import KernelOperator
from ._door import (
    ArrayKind,
    all_or_nothing,
    by_blocks,
    check_fit_X,
    check_predict_X,
    choose_device,
)
from ._parameters import AT_LEAST_ONE, RUN

METHODS = ("random", "polysketch")
RECTIFIERS = ("relu", "leaky_relu")
# Arrays as large as a block's widest that exist at a time; the entries of one, on a
# CPU those that its caches hold.
ARRAYS, CPU_ENTRIES = 8, 1 << 20


class _NetworkFeatures(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator
):
    """What both kinds of features share: all but the kind, and the documentation."""

    _kind = None

    _parameter_constraints = {
        "device": RUN["device"],
        "random_state": RUN["random_state"],
        "n_components": [AT_LEAST_ONE],
        "method": [StrOptions(set(METHODS))],
        "depth": [AT_LEAST_ONE],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "weight_variance": [Interval(Real, 0, 1e100, closed="neither")],
        "bias_variance": [Interval(Real, 0, 1e100, closed="left")],
        "negative_slope": [Interval(Real, 0, 1e100, closed="left")],
        "degree": [Interval(Integral, 2, 64, closed="both")],
    }

    def __init__(
        self,
        n_components=1024,
        *,
        method="random",
        depth=1,
        activation="relu",
        weight_variance=1.0,
        bias_variance=0.0,
        negative_slope=0.01,
        degree=16,
        device=None,
        random_state=None,
    ):
        self.n_components = n_components
        self.method = method
        self.depth = depth
        self.activation = activation
        self.weight_variance = weight_variance
        self.bias_variance = bias_variance
        self.negative_slope = negative_slope
        self.degree = degree
        self.device = device
        self.random_state = random_state

    @all_or_nothing
    def fit(self, X, y=None):
        """Draw the directions. Of X only the number of columns matters.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n, n_features)
        y : object, default=None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For networks that "polysketch" has no polynomial for.
        """
        self._validate_params()
        choose_device(self.device, check_fit_X(self, X))
        network = Network(
            self.depth,
            self.activation,
            float(self.weight_variance),
            float(self.bias_variance),
            self._kind,
            float(self.negative_slope),
        )
        self.kernel_, self._n_features_out = network.kernel, self.n_components
        self._features = self._drawn(network, check_random_state(self.random_state))
        return self

    def _drawn(self, network, rng):
        """The features, with their directions."""
        d, m = self.n_features_in_, self.n_components
        if self.method == "random":
            least, reason = RandomNetwork.least(network), f"depth={self.depth}"
            features = RandomNetwork(d, max(m, least), network, rng)
            self.exact_degrees_ = features.degrees
        else:
            self._check_polynomial()
            series = nonnegative_series(network, self.degree) / d
            least, reason = len(PolynomialSketch.terms(series)), f"degree={self.degree}"
            features = PolynomialSketch(d, max(m, least), series, rng)
            self.exact_degrees_ = tuple(features.exact)
        if m >= least:
            return features
        warnings.warn(
            f"n_components={m} is below the {least} that {reason} needs: features are "
            "random sums of these, with large errors. Use hundreds or thousands",
            UserWarning,
            stacklevel=4,
        )
        return Summed(features, least, m, rng)

    @by_blocks
    def transform(self, X):
        """Features of rows, block by block.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n, n_features)
            Also arrays that are read in slices (HDF5, Zarr) or memory-mapped, and Dask
            arrays, for which the result is one, lazy.

        Returns
        -------
        array of shape (n, n_components)
            float32 for float32 X, otherwise float64; of the type of X, dense.
        """
        check_is_fitted(self)
        kind = ArrayKind(X)
        with _device.here(self.device, X):
            X = check_predict_X(self, X)
            device = choose_device(self.device, X, predicting=True)
            dtype = working_dtype(X)
            # Squares of such rows would leave the range of float32.
            inner = np.dtype(np.float64) if is_extreme(X) else dtype
            xp = device.xp if is_cupy(X) else np
            out = xp.empty((X.shape[0], self._n_features_out), dtype=dtype)
            place, height = Place(device.xp, inner), self._height(device, inner)
            for a in range(0, len(out), height):
                F = self._features(_dense(X[a : a + height], inner, device), place)
                out[a : a + height] = F if xp is device.xp else device.get(F)
            return kind.out(out)

    def error_estimate(self, X, n_rows=500):
        """How far the Gram matrix of the features is from that of the kernel.

        Parameters
        ----------
        X : array-like or CSR matrix of shape (n, n_features)
            The sample.
        n_rows : int, default=500
            Rows to compare on, at most: random ones of X, always the same.

        Returns
        -------
        error : float
            Relative, in the Frobenius norm. It falls as the square root of
            `n_components` rises, and is a third as large with nine times as many.
        """
        check_is_fitted(self)
        if not isinstance(n_rows, Integral) or n_rows < 1:
            raise ValueError(f"n_rows={n_rows!r} must be a whole number, 1 or more")
        with _device.here(self.device, X):
            X = check_predict_X(self, X)
            device = choose_device(self.device, X, predicting=True)
            n = X.shape[0]
            if n > n_rows:
                chosen = np.random.RandomState(0).choice(n, n_rows, replace=False)
                X = _rows(X, np.sort(chosen), device)
            elif is_dask(X):
                X = _rows(X, np.arange(n), device)
            # In float64: the difference is that of the features, not of rounding.
            X = _dense(X[:], np.float64, device)
            F = self._features(X, Place(device.xp, X.dtype))
            K = KernelOperator(self.kernel_, X, device=device.name).to_dense()
            apart, size = (float((A * A).sum()) for A in (F @ F.T - K, K))
            if size == 0.0:
                return 0.0  # of rows of zeros
            return float(np.sqrt(apart / size))

    def _check_polynomial(self):
        """ValueError where the kernel is no function of the angle, times norms."""
        if self.activation not in RECTIFIERS:
            raise ValueError(
                f"method='polysketch' has no polynomial for activation="
                f"{self.activation!r}: use method='random', or activation='relu' or "
                "'leaky_relu'"
            )
        if self.bias_variance > 0:
            raise ValueError(
                f"method='polysketch' with bias_variance={self.bias_variance}: the "
                "kernel is then no function of the angle alone; use method='random', "
                "or bias_variance=0"
            )

    def _height(self, device, dtype):
        """Rows of a block."""
        entries = device.working_bytes() // (ARRAYS * np.dtype(dtype).itemsize)
        if device.name == "cpu":
            entries = min(entries, CPU_ENTRIES)
        return int(max(1, entries // self._features.width))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _dense(rows, dtype, device):
    """Rows on the device, as an array of that dtype."""
    rows = rows.toarray() if sparse.issparse(rows) else rows
    rows = device.xp.asarray(rows, dtype=dtype)
    # Of data that is read in slices nothing has been checked before.
    if not bool(device.xp.isfinite(rows).all()):
        raise ValueError("Input X contains NaN or infinity.")
    return rows


def _rows(X, chosen, device):
    """Some rows; one by one of data that can only be sliced."""
    if is_dask(X):
        from ..dask.arrays import take

        return take(X, chosen)
    if is_sliceable(X):
        return np.concatenate([np.asarray(X[i : i + 1]) for i in chosen])
    return X[device.xp.asarray(chosen) if is_cupy(X) else chosen]


class NTKFeatures(_NetworkFeatures):
    r"""Features whose inner products approximate a neural tangent kernel.

    A linear model of them, such as `Ridge`, is kernel regression with
    `gpkern.kernels.NTK`, in time and memory that grow with the rows and not with their
    square. Constants, the columns of X themselves and, where they are few enough,
    products of columns carry the kernel's terms of low degree without error. Only the
    rest is random, which makes the error a fifth of that of the published features in
    ten columns, and a half in fifty.

    Parameters
    ----------
    n_components : int, default=1024
        Columns of the result, all of them counted. The error falls as the inverse of
        their square root. Fewer than the network has parts give a warning.
    method : {"random", "polysketch"}, default="random"
        "random" draws a network's layers: every activation, with biases. "polysketch"
        approximates the kernel by a polynomial in the angle's cosine and sketches its
        powers: rectifiers without biases only, and better from two layers on.
    depth : int, default=1
        Hidden layers.
    activation : {"relu", "leaky_relu", "erf", "gelu"}, default="relu"
        Activation of the network.
    weight_variance : float, default=1.0
        Variance of the weights, times the number of inputs of their layer.
    bias_variance : float, default=0.0
        Variance of the biases.
    negative_slope : float, default=0.01
        Slope of "leaky_relu" for negative numbers.
    degree : int, default=16
        Of the polynomial of "polysketch", 2 to 64. The larger, the smaller the error
        that no number of components takes away, and the longer it takes.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Of the directions, which are the same on every device.

    Attributes
    ----------
    kernel_ : NTK
        The kernel that is approximated.
    exact_degrees_ : tuple of int
        Degrees of the terms without random error: for "random" in the first layer's
        covariance, for "polysketch" in the cosine.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X had names.

    See Also
    --------
    NNGPFeatures : The same for the covariance of the network's outputs.
    gpkern.kernels.NTK : The kernel itself.

    Notes
    -----
    Rows of zeros have features of zeros where there are no biases, as the kernel is 0.

    Of the rows of `fit` only the number of columns counts, so that rows may come one
    part after another. erf levels off on rows that are not scaled, and its features
    are then rough: `error_estimate` tells.

    References
    ----------
    Zandieh, Han, Avron, Shoham, Kim & Shin (2021), "Scaling neural tangent kernels via
    sketching and random features", algorithms 1 and 2. Ahle et al. (2020), "Oblivious
    sketching of high-degree polynomial kernels". Daniely, Frostig & Singer (2016),
    "Toward deeper understanding of neural networks", for Hermite expansions.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from gpkern import NTKFeatures
    >>> X, y = load_diabetes(return_X_y=True)
    >>> features = NTKFeatures(512, random_state=0)
    >>> model = make_pipeline(StandardScaler(), features, Ridge(10.0)).fit(X, y)
    >>> bool(model.score(X, y) > 0.5)
    True
    >>> features.fit_transform(X).shape
    (442, 512)
    >>> features.error_estimate(X) < 0.03
    True
    """

    _kind = "ntk"


class NNGPFeatures(_NetworkFeatures):
    r"""Features whose inner products approximate the covariance of a wide network.

    The network's outputs, before training, are a Gaussian process with the kernel
    ``gpkern.kernels.NTK(kind="nngp")``; for one layer of "relu" it is the arc-cosine
    kernel of order 1. Constants, the columns of X and, where they are few enough,
    products of columns carry the terms of low degree without error; only the rest is
    random.

    Parameters
    ----------
    n_components : int, default=1024
        Columns of the result. The error falls as the inverse of their square root.
    method : {"random", "polysketch"}, default="random"
        As in `NTKFeatures`.
    depth : int, default=1
        Hidden layers.
    activation : {"relu", "leaky_relu", "erf", "gelu"}, default="relu"
        Activation of the network.
    weight_variance : float, default=1.0
        Variance of the weights, times the number of inputs of their layer.
    bias_variance : float, default=0.0
        Variance of the biases.
    negative_slope : float, default=0.01
        Slope of "leaky_relu" for negative numbers.
    degree : int, default=16
        Of the polynomial of "polysketch", 2 to 64.
    device : {None, "cpu", "cuda", "cuda:N"}, default=None
        Where to compute; None follows the data.
    random_state : int, RandomState or None, default=None
        Of the directions, which are the same on every device.

    Attributes
    ----------
    kernel_ : NTK
        The kernel that is approximated.
    exact_degrees_ : tuple of int
        Degrees of the terms without random error, as in `NTKFeatures`.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X had names.

    See Also
    --------
    NTKFeatures : The same for the tangent kernel.

    References
    ----------
    Cho & Saul (2009), "Kernel methods for deep learning", eq. 6. Daniely, Frostig &
    Singer (2016), "Toward deeper understanding of neural networks".

    Examples
    --------
    >>> import numpy as np
    >>> from gpkern import NNGPFeatures
    >>> X = np.random.default_rng(0).normal(size=(100, 5))
    >>> features = NNGPFeatures(256, activation="gelu", random_state=0).fit(X)
    >>> features.error_estimate(X) < 0.01
    True
    """

    _kind = "nngp"
