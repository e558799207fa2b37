"""Kernels of infinitely wide networks: neural tangent kernels and covariances."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from . import expr as ex
from .base import FormulaKernel

ACTIVATIONS = ("relu", "leaky_relu", "erf", "gelu")
KINDS = ("ntk", "nngp")


class NTK(FormulaKernel):
    r"""Neural tangent kernel of an infinitely wide, fully connected network.

    With d columns, variances w of the weights and b of the biases, the outputs of the
    layers before their activation :math:`\phi` have covariances

    .. math:: K_0(x, z) = \frac{w}{d} x \cdot z + b, \qquad
              K_{l+1}(x, z) = w\, E[\phi(u) \phi(v)] + b,

    (u, v) being normal with the covariances :math:`K_l` of the pair. Gradient descent
    on all weights learns with the tangent kernel

    .. math:: T_0 = K_0, \qquad T_{l+1} = K_{l+1} + w\, E[\phi'(u) \phi'(v)]\, T_l.

    The kernel is :math:`T_L` for a network of L hidden layers and a linear output.

    Parameters
    ----------
    depth : int, default=1
        Hidden layers L.
    activation : {"relu", "leaky_relu", "erf", "gelu"}, default="relu"
        Activation :math:`\phi`. "gelu" is :math:`u\, P(N(0, 1) < u)`.
    weight_variance : float, default=1.0
        Variance w of the weights, times the number of inputs of their layer. With 2
        and "relu" the covariances keep their size from layer to layer.
    bias_variance : float, default=0.0
        Variance b of the biases. Without biases, the kernel of rectifiers is a
        function of the angle, times the norms of both rows.
    kind : {"ntk", "nngp"}, default="ntk"
        The tangent kernel, or the covariance :math:`K_L` of the outputs: the prior of
        the network as a Gaussian process, which is the kernel that training the last
        layer alone leads to.
    frozen_layers : int, default=0
        The first layers whose weights stay as they are: their :math:`K_l` are not
        added to T. Below `depth`; of no effect for "nngp".
    normalize : bool, default=False
        Divide by :math:`\sqrt{k(x, x) k(z, z)}`; 0 for a row without a kernel value.
    negative_slope : float, default=0.01
        Slope of "leaky_relu" for negative numbers, 0 or more; of no effect for the
        other activations.
    weight_variance_bounds : pair of floats or "fixed", default=(1e-5, 1e5)
        Bounds of the hyperparameter.
    bias_variance_bounds : pair of floats or "fixed", default="fixed"
        Bounds of the hyperparameter; a pair needs a positive `bias_variance`.

    Notes
    -----
    Errors are some units of the last place of :math:`\sqrt{k(x, x) k(z, z)}`, also for
    rows that are equal, opposite or nearly so: the layers pass on :math:`1 \pm \cos` of
    the angle instead of its cosine. Deep networks of erf or GELU with large variances
    magnify small differences, and errors with them, from layer to layer: by a thousand
    at depth 5 with w = 50 and b = 1.

    In a Gaussian process give `bias_variance` a positive value and bounds, to have it
    fitted too. A `~sklearn.gaussian_process.kernels.ConstantKernel` times the kernel of
    rectifiers only repeats what their variances do; it is of use for erf, and with
    ``normalize=True``.

    Other packages' conventions, by this kernel:

    - neural-tangents, ``Dense(n, W_std, b_std)`` in its NTK parameterisation:
      ``weight_variance=W_std**2``, ``bias_variance=b_std**2``.
    - Arora et al.'s code for the UCI data sets: ``d * NTK(dep)`` for d columns, with
      ``frozen_layers=fix_dep``.
    - scikit-ntk, without bias: ``d / 2 * NTK(depth, weight_variance=2) / (depth + 1)``.
      Its bias is added to the tangent kernel alone, which is no network's.

    References
    ----------
    Jacot, Gabriel & Hongler (2018), "Neural tangent kernel", theorem 1. Cho & Saul
    (2009), eq. 6, for rectifiers; Williams (1997), eq. 11, for erf; Tsuchida, Pearce,
    van der Heide, Roosta & Gallagher (2021) for GELU. Arora, Du, Li, Salakhutdinov,
    Wang & Yu (2020), "Harnessing the power of infinitely wide deep nets on small-data
    tasks", for frozen layers.

    Examples
    --------
    >>> from gpkern.kernels import NTK
    >>> NTK(depth=1)([[1.0, 0.0]], [[1.0, 1.0]]).round(4)
    array([[0.4546]])
    >>> NTK(depth=3, weight_variance=2.0, normalize=True).diag([[1.0, 0.0]])
    array([1.])

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import cross_val_score
    >>> from sklearn.svm import SVC
    >>> X, y = load_digits(n_class=3, return_X_y=True)
    >>> svc = SVC(kernel=NTK(depth=2, weight_variance=2.0, normalize=True))
    >>> bool(cross_val_score(svc, X, y).mean() > 0.98)
    True
    """

    def __init__(
        self,
        depth=1,
        activation="relu",
        weight_variance=1.0,
        bias_variance=0.0,
        kind="ntk",
        frozen_layers=0,
        normalize=False,
        negative_slope=0.01,
        weight_variance_bounds=(1e-5, 1e5),
        bias_variance_bounds="fixed",
    ):
        self.depth = depth
        self.activation = activation
        self.weight_variance = weight_variance
        self.bias_variance = bias_variance
        self.kind = kind
        self.frozen_layers = frozen_layers
        self.normalize = normalize
        self.negative_slope = negative_slope
        self.weight_variance_bounds = weight_variance_bounds
        self.bias_variance_bounds = bias_variance_bounds

    def is_stationary(self):
        """False: the kernel is one of the rows' angle and norms."""
        return False

    def formula(self, pair):
        """Expression of the kernel over a `Pair`."""
        _check(self, pair)
        slope = self.negative_slope if self.activation == "leaky_relu" else 0.0
        net = _Network(
            depth=self.depth,
            frozen=self.frozen_layers,
            weight=pair.hyper("weight_variance"),
            # A literal 0 makes the terms with it fall away.
            bias=pair.hyper("bias_variance") if self.bias_variance else ex.literal(0),
            mean_square=0.5 * (1.0 + slope**2),
            kink=(1.0 - slope) ** 2 / (1.0 + slope**2) / math.pi,
            columns=pair.n_features,
        )
        match self.activation:
            case "erf":
                tangent, covariance, own = _smooth(net, pair, _erf)
            case "gelu":
                tangent, covariance, own = _smooth(net, pair, _gelu)
            case _:
                tangent, covariance, own = _rectified(net, pair)
        which = KINDS.index(self.kind)
        value = (tangent, covariance)[which]
        if not self.normalize:
            return value
        first, second = own[which]
        return ex.guarded_ratio(value, first * second)


@dataclass(frozen=True)
class _Network:
    """What the recursions need to know.

    Attributes
    ----------
    depth, frozen : int
        Hidden layers; the first ones that are not trained.
    weight, bias : Expr
        Their variances.
    mean_square, kink : float
        Of a rectifier: the mean square of its values for a standard normal number, and
        the loss of E phi' phi' over that with each radian between two rows.
    columns : int
        Of the data.
    """

    depth: int
    frozen: int
    weight: ex.Expr
    bias: ex.Expr
    mean_square: float
    kink: float
    columns: int


def _check(kernel, pair):
    """ValueError for parameters that make no network."""
    depth, frozen = kernel.depth, kernel.frozen_layers
    if not _is_whole(depth) or depth < 1:
        raise pair.error("depth", "must be a whole number of hidden layers, 1 or more")
    if not _is_whole(frozen) or not 0 <= frozen < depth:
        raise pair.error(
            "frozen_layers",
            f"must be a whole number from 0 to {depth - 1}, below depth={depth}; to "
            "train the output layer alone, use kind='nngp'",
        )
    for name, choices in (("activation", ACTIVATIONS), ("kind", KINDS)):
        value = getattr(kernel, name)
        if not isinstance(value, str) or value not in choices:
            raise pair.error(name, f"must be one of {', '.join(map(repr, choices))}")
    for name in ("weight_variance", "bias_variance", "negative_slope"):
        if not 0 <= pair.number(name) <= 1e100:
            raise pair.error(name, "must be 0 or more, and at most 1e100")
    if kernel.weight_variance == kernel.bias_variance == 0:
        raise pair.error("weight_variance", "must be positive where bias_variance is 0")
    for name in ("weight_variance", "bias_variance"):
        bounds = getattr(kernel, f"{name}_bounds")
        if getattr(kernel, name) == 0 and not isinstance(bounds, str):
            # The logarithm, which is what gets tuned, is infinite.
            raise pair.error(name, f"must be positive, or {name}_bounds be 'fixed'")
    if pair.n_features is None:
        raise ValueError(
            "the formula of NTK needs the number of columns of the data: "
            "Program.of(kernel, n_features)"
        )


def _is_whole(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


# Below, q1 and q2 are a layer's covariances of each row with itself, K that of the
# pair. An angle is carried as near = 1 - cos and far = 1 + cos, each with all of its
# digits: the cosine itself has lost those of a small angle. Own roots are the square
# roots of the rows' kernels with themselves.


def _start(pair):
    """Near and far of the rows themselves; their squared norms; their norms."""
    squares = pair.norm_x(), pair.norm_z()
    near, far = 0.5 * pair.unit_sqdist(), 0.5 * pair.unit_sqsum()
    return near, far, squares, [ex.sqrt(s) for s in squares]


def _rectified(net, pair):
    """Tangent kernel, covariance and own roots of both, of a network of rectifiers.

    They are homogeneous, so a layer is a function of the angle, times sqrt(q1 q2). That
    is left out until the end: without biases no norm is needed before.
    """
    near, far, squares, roots = _start(pair)
    gain, scale, shares = net.weight / net.columns, ex.literal(1), [ex.literal(1)] * 2
    cosine = tangent = ex.literal(0)
    owns = tangent, tangent
    for layer in range(net.depth + 1):
        if layer:
            sine = ex.sqrt(near * far)
            theta = ex.angle(sine, cosine)
            bend = theta * cosine - sine
            near, far = near + net.kink * bend, far - net.kink * bend
            tangent = (1.0 - net.kink * theta) * tangent
            gain = net.weight * net.mean_square
        if net.bias.op == "literal":
            scale *= gain
        else:
            near, far, squares, roots, shares = _affine(
                near, far, squares, roots, gain, net.bias
            )
        cosine = 1.0 - near
        trained = float(layer >= net.frozen)
        tangent = shares[0] * shares[1] * tangent + trained * cosine
        owns = [s * s * t + trained for s, t in zip(shares, owns, strict=True)]
    size = scale * (roots[0] * roots[1])
    roots = [ex.sqrt(scale) * r for r in roots]
    own = [r * ex.sqrt(t) for r, t in zip(roots, owns, strict=True)]
    return size * tangent, size * cosine, (own, roots)


def _affine(near, far, squares, roots, gain, bias):
    """What ``K -> gain K + bias`` makes of near, far, q1 and q2, and their roots.

    Also the parts of the new roots that are due to the gain: their squares and those
    of the rest, due to the bias, add up to 1. So each row is a vector on the unit
    circle, and the pair's new cosine is that of the old angle and these vectors.
    """
    squares = [gain * s + bias for s in squares]
    inverses = [s**-0.5 for s in squares]
    a1, a2 = (ex.sqrt(gain) * r * i for r, i in zip(roots, inverses, strict=True))
    b1, b2 = (ex.sqrt(bias) * i for i in inverses)
    apart = 0.5 * ((a1 - a2) ** 2 + (b1 - b2) ** 2)
    near = a1 * a2 * near + apart
    far = a1 * a2 * far + (apart + 2.0 * (b1 * b2))
    roots = [s * i for s, i in zip(squares, inverses, strict=True)]
    return near, far, squares, roots, (a1, a2)


def _smooth(net, pair, activation):
    """Tangent kernel, covariance and own roots of both, for a smooth activation.

    With K a layer passes on ``gram``, q1 q2 - K^2, which has lost its digits once K has
    been rounded.
    """
    near, far, squares, (r1, r2) = _start(pair)
    w, b, gain, nothing = net.weight, net.bias, net.weight / net.columns, ex.literal(0)
    size = gain * r1 * r2
    K = size * (1.0 - near) + b
    gram = size * size * (near * far)
    gram += b * gain * ((r1 - r2) ** 2 + 2.0 * (r1 * r2 * near))
    squares = [gain * s + b for s in squares]
    tangent, owns = nothing, (nothing, nothing)
    for layer in range(net.depth + 1):
        if layer:
            moments = activation(K, gram, *squares)
            selves = [activation(q, nothing, q, q) for q in squares]
            v1, v2 = (s.product for s in selves)
            gram = w * w * moments.gram(selves, squares)
            gram += b * w * (v1 + v2 - 2.0 * moments.product)
            K = w * moments.product + b
            squares = [w * v + b for v in (v1, v2)]
            tangent = w * moments.slope * tangent
            owns = [w * s.slope * t for s, t in zip(selves, owns, strict=True)]
        if layer >= net.frozen:
            tangent += K
            owns = [t + q for t, q in zip(owns, squares, strict=True)]
    roots = [[ex.sqrt(k) for k in own] for own in (owns, squares)]
    return tangent, K, roots


@dataclass(frozen=True)
class _Moments:
    """Means over a normal pair (u, v).

    Attributes
    ----------
    product, slope : Expr
        E phi(u) phi(v) and E phi'(u) phi'(v).
    loss : Expr or None
        1 - 2 E phi(u) phi(v) / sqrt((1 + q1) (1 + q2)), with its digits where it is
        small. None where q1 and q2 stay small enough to do without.
    """

    product: ex.Expr
    slope: ex.Expr
    loss: ex.Expr | None = None

    def gram(self, selves, squares):
        """``v1 v2 - product^2``, v1 and v2 being the products of the rows' own."""
        one, two = selves
        if self.loss is None:
            return one.product * two.product - self.product * self.product
        y, y1, y2 = self.loss, one.loss, two.loss
        scale = 0.25 * (1.0 + squares[0]) * (1.0 + squares[1])
        return scale * (2.0 * y - (y1 + y2) + (y1 * y2 - y * y))


def _erf(K, gram, q1, q2):
    """Moments of erf, whose values are below 1."""
    both = (1.0 + 2.0 * q1) ** -0.5 * (1.0 + 2.0 * q2) ** -0.5
    inner = 1.0 + 2.0 * (q1 + q2) + 4.0 * gram
    inverse = inner**-0.5
    arcsine = ex.angle(2.0 * (K * both), inner * inverse * both)
    return _Moments((2.0 / math.pi) * arcsine, (4.0 / math.pi) * inverse)


def _gelu(K, gram, q1, q2):
    """Moments of u P(N(0, 1) < u), which for large numbers is a rectifier."""
    r1, r2 = (1.0 + q1) ** -0.5, (1.0 + q2) ** -0.5
    both, squares = r1 * r2, r1 * r1 + r2 * r2
    # Of large variances the rounding of gram, which is 0 or more, is larger than these.
    inner = 1.0 + (q1 + q2) + 0.5 * (gram + ex.absolute(gram))
    inverse = inner**-0.5
    sine, cosine = inner * inverse * both, K * both
    theta = ex.angle(sine, cosine)
    rest = inverse * (both * both) * (K * K + q1 * q2 * inner)
    product = ((math.pi - theta) * K + rest) * (0.5 / math.pi)
    slope = math.pi - theta + K * inverse * (inverse * inverse + squares)
    size = ex.absolute(cosine)  # so that nothing cancels in 1 - cosine
    near = sine * sine / (1.0 + size) + (size - cosine)
    bend = sine - theta * cosine - squares * sine + both * inverse
    loss = near - bend * (1.0 / math.pi)
    return _Moments(product, slope * (0.5 / math.pi), loss)
