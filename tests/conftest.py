"""What the tests share: devices, kernels with their naive values, tolerances.

A test that asks for the fixture `operator` runs on the CPU and, where there is a GPU,
on that too. `case` runs it once for each kernel of `KERNELS`, whose values are written
out here a second time, in plain NumPy.
"""

import importlib.util
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import hypothesis
import numpy as np
import pytest
from scipy.special import gamma, kv
from sklearn.gaussian_process import kernels as skk

from gpkern import KernelOperator
from gpkern import kernels as gk

hypothesis.settings.register_profile(
    "gpkern",
    deadline=None,  # the first example of a kernel compiles it
    max_examples=40,
    derandomize=True,
)
hypothesis.settings.load_profile("gpkern")


# ---------------------------------------------------------------------- devices


@cache
def _gpu_problem():
    """Why tests marked gpu cannot run here, or None."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed"
    import cupy

    try:
        cupy.cuda.runtime.getDeviceCount()
        cupy.zeros(1)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy finds no GPU: {error}"
    return None


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and (problem := _gpu_problem()):
        pytest.skip(problem)


@pytest.fixture(
    scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
)
def device(request):
    """The device to compute on: each test runs once for each."""
    return request.param


@pytest.fixture(scope="session")
def xp(device):
    """The array library of the device."""
    return np if device == "cpu" else importlib.import_module("cupy")


@pytest.fixture(scope="session")
def asarray(xp):
    """A NumPy array as an array of the device."""
    return xp.asarray


@pytest.fixture(scope="session")
def host(device):
    """An array of the device as a NumPy array."""
    return np.asarray if device == "cpu" else lambda array: array.get()


@pytest.fixture(scope="session")
def linalg(device):
    """SciPy's iterative solvers for the device."""
    package = "scipy" if device == "cpu" else "cupyx.scipy"
    return importlib.import_module(f"{package}.sparse.linalg")


@pytest.fixture(scope="session")
def operator(device):
    """`KernelOperator` on the device, from host data."""
    return partial(KernelOperator, device=device)


# ------------------------------------------------- naive values, and their tolerance

# Of a squared distance, against the sum of the two squared norms: the rounding errors
# of a product of rows; and the relative error that is promised for close rows, whose
# distances are computed from differences.
ROUNDING = 8
CLOSE = {np.dtype("float32"): 1e-3, np.dtype("float64"): 2e-6}


class Quantities:
    """Distances and products of all pairs of rows, by their definitions in float64.

    Parameters
    ----------
    X, Z : ndarray of shape (n, d), (m, d)
    same : ndarray of shape (n, m) or 0.0
        1 where both rows are one sample.
    nudge : {-1, 0, 1}
        Every distance and inner product is moved this way by the rounding error that
        is granted to work in `dtype`.
    dtype : dtype, default=None
    """

    def __init__(self, X, Z, same=0.0, nudge=0, dtype=None):
        self.X, self.Z = (np.asarray(a, dtype=np.float64) for a in (X, Z))
        self.same, self.nudge = same, nudge
        self.eps = ROUNDING * float(np.finfo(dtype).eps) if dtype else 0.0
        self.close = CLOSE[np.dtype(dtype)] if dtype else 0.0
        self.ard = ard(self.X.shape[1])

    def _differences(self, scale):
        return (self.X[:, None] - self.Z[None]) / scale

    def _norms(self, scale, centred):
        centre = self.Z.mean(axis=0) if centred else 0.0
        x, z = (np.square((a - centre) / scale).sum(1) for a in (self.X, self.Z))
        return x[:, None] + z[None]

    def sq(self, scale=1.0):
        """Squared distance."""
        s = np.square(self._differences(scale)).sum(-1)
        n = self._norms(scale, centred=True)
        slack = np.minimum(self.eps * n, self.close * s) + self.eps * np.sqrt(s * n)
        return np.maximum(s + self.nudge * slack, 0.0)

    def l1(self, scale=1.0):
        """L1 distance."""
        s = np.abs(self._differences(scale)).sum(-1)
        n = np.sqrt(self.X.shape[1] * self._norms(scale, centred=True))
        return s + self.nudge * self.eps * np.where(s > 0, n, 0.0)

    def chi2(self):
        """Chi-squared distance, terms of two zeros left out."""
        total = self.X[:, None] + self.Z[None]
        terms = np.square(self._differences(1.0)) / np.where(total > 0, total, 1.0)
        return terms.sum(-1) * (1.0 + self.nudge * self.eps)

    def dot(self):
        """Inner product."""
        slack = self.eps * self._norms(1.0, centred=False)
        return self.X @ self.Z.T + self.nudge * slack

    def cosine(self):
        """Inner product over the norms, 0 for a row of zeros."""
        x, z = (np.sqrt(np.square(a).sum(1)) for a in (self.X, self.Z))
        norms = x[:, None] * z[None]
        values = self.X @ self.Z.T / np.where(norms > 0, norms, 1.0)
        return values + self.nudge * self.eps

    def lengths(self):
        """Product of the rows' lengths."""
        x, z = (np.sqrt(np.square(a).sum(1)) for a in (self.X, self.Z))
        return x[:, None] * z[None]

    def angle(self):
        """Angle of the rows, from vectors of length 1: exact where it is small."""
        u, v = (
            a / np.sqrt(np.maximum(np.square(a).sum(1), 1e-300))[:, None]
            for a in (self.X, self.Z)
        )
        u, v = u[:, None], v[None]
        t = 2 * np.arctan2(*(np.sqrt(np.square(s).sum(-1)) for s in (u - v, u + v)))
        return np.clip(t + self.nudge * self.eps, 0.0, np.pi)


def ard(d):
    """Length scales for d columns."""
    return np.linspace(0.8, 2.0, d) * np.sqrt(d)


@dataclass(frozen=True)
class Case:
    """A kernel and, independently, its values.

    Attributes
    ----------
    name : str
    make : callable
        ``make(d)``: the kernel for d columns.
    values : callable
        ``values(quantities)``: its matrix.
    positive : bool
        Whether it has a logarithm.
    domain : {"real", "nonnegative"}
        Of the data.
    rtol : float
        Accuracy of the special functions, where it is not that of the dtype.
    """

    name: str
    make: Any
    values: Any
    positive: bool = True
    domain: str = "real"
    rtol: float = 0.0

    def matrix(self, X, Z=None):
        """The matrix in float64: of one sample without Z."""
        return self.values(_quantities(X, Z))

    def slack(self, X, Z, dtype):
        """How far each entry of the matrix may be off in work of a dtype."""
        exact = self.matrix(X, Z)
        moved = [self.values(_quantities(X, Z, s, dtype)) for s in (-1, 1)]
        eps = ROUNDING * np.finfo(dtype).eps + self.rtol
        with np.errstate(divide="ignore"):
            digits = 1.0 + np.abs(np.log(np.abs(exact)))  # lost by an exponential
        digits = np.where(exact == 0, 1.0, digits)
        rounding = eps * (np.abs(exact) * digits + np.abs(exact).max())
        return np.maximum(*(np.abs(m - exact) for m in moved)) + rounding

    def data(self, rng, n, d, dtype="float64"):
        """Random rows that suit the kernel."""
        X = rng.standard_normal((n, d)) + 0.5
        return np.asarray(np.abs(X) if self.domain == "nonnegative" else X, dtype)


def _quantities(X, Z, nudge=0, dtype=None):
    if Z is None:
        return Quantities(X, X, np.eye(len(X)), nudge, dtype)
    return Quantities(X, Z, 0.0, nudge, dtype)


def _matern(nu, r):
    """Rasmussen & Williams, eq. 4.14."""
    z = np.sqrt(2 * nu) * np.maximum(r, 1e-100)
    with np.errstate(invalid="ignore", over="ignore"):
        k = 2 ** (1 - nu) / gamma(nu) * z**nu * kv(nu, z)
    return np.where(z < 1e-10, 1.0, k)


def _matern_5_2(s):
    r = np.sqrt(5 * s)
    return (1 + r + r**2 / 3) * np.exp(-r)


def _matern_7_2(s):
    r = np.sqrt(7 * s)
    return (1 + r + 0.4 * r**2 + r**3 / 15) * np.exp(-r)


def _relu_ntk(q):
    """One hidden layer, weights of variance 2: arc-cosine kernels of order 1 and 0."""
    t, p = q.angle(), 2 * q.lengths() / q.X.shape[1]
    c = np.cos(t)
    return p * ((np.sin(t) + (np.pi - t) * c) / np.pi + c * (np.pi - t) / np.pi)


def _erf_ntk(q):
    """Two hidden layers, the first one frozen, biases of variance 0.2."""
    d = q.X.shape[1]
    x, z = (1.5 * np.square(a).sum(1) / d + 0.2 for a in (q.X, q.Z))
    k, t = 1.5 * q.dot() / d + 0.2, 0.0
    for _ in range(2):
        s = (1 + 2 * x)[:, None] * (1 + 2 * z)
        slope = 4 / np.pi / np.sqrt(s - 4 * k**2)
        k = 3.0 / np.pi * np.arcsin(2 * k / np.sqrt(s)) + 0.2
        t = k + 1.5 * slope * t
        x, z = (3.0 / np.pi * np.arcsin(2 * v / (1 + 2 * v)) + 0.2 for v in (x, z))
    return t


# Length scales near the distances of the data, sqrt(2 d): entries of all sizes.
KERNELS = [
    Case(
        "RBF",
        lambda d: skk.RBF(0.9 * d**0.5),
        lambda q: np.exp(-q.sq() / (2 * 0.81 * q.X.shape[1])),
    ),
    Case("RBF ARD", lambda d: skk.RBF(ard(d)), lambda q: np.exp(-q.sq(q.ard) / 2)),
    Case(
        "Matern 1/2",
        lambda d: skk.Matern(2.5, nu=0.5),
        lambda q: np.exp(-np.sqrt(q.sq(2.5))),
    ),
    Case(
        "Matern 1/2 ARD",
        lambda d: skk.Matern(ard(d), nu=0.5),
        lambda q: np.exp(-np.sqrt(q.sq(q.ard))),
    ),
    Case(
        "Matern 3/2",
        lambda d: skk.Matern(2.5, nu=1.5),
        lambda q: (1 + np.sqrt(3 * q.sq(2.5))) * np.exp(-np.sqrt(3 * q.sq(2.5))),
    ),
    Case(
        "Matern 5/2",
        lambda d: skk.Matern(2.5, nu=2.5),
        lambda q: _matern_5_2(q.sq(2.5)),
    ),
    Case(
        "Matern 7/2",
        lambda d: skk.Matern(2.5, nu=3.5),
        lambda q: _matern_7_2(q.sq(2.5)),
    ),
    Case(
        "Matern inf",
        lambda d: skk.Matern(2.5, nu=np.inf),
        lambda q: np.exp(-q.sq(2.5) / 2),
    ),
    Case(
        "Matern 1.2",
        lambda d: skk.Matern(2.5, nu=1.2),
        lambda q: _matern(1.2, np.sqrt(q.sq(2.5))),
        rtol=1e-13,
    ),
    Case(
        "Matern 0.3 ARD",
        lambda d: skk.Matern(ard(d), nu=0.3),
        lambda q: _matern(0.3, np.sqrt(q.sq(q.ard))),
        rtol=1e-13,
    ),
    Case(
        "RationalQuadratic",
        lambda d: skk.RationalQuadratic(1.4, alpha=0.7),
        lambda q: (1 + q.sq(1.4) / (2 * 0.7)) ** -0.7,
    ),
    Case(
        "ExpSineSquared",
        lambda d: skk.ExpSineSquared(1.2, periodicity=3.1),
        lambda q: np.exp(-2 * np.sin(np.pi * np.sqrt(q.sq(3.1))) ** 2 / 1.44),
    ),
    Case(
        "DotProduct",
        lambda d: skk.DotProduct(0.4),
        lambda q: q.dot() + 0.16,
        positive=False,
    ),
    Case(
        "Constant",
        lambda d: skk.ConstantKernel(3.0),
        lambda q: np.full((len(q.X), len(q.Z)), 3.0),
    ),
    Case(
        "White",
        lambda d: skk.WhiteKernel(0.3),
        lambda q: np.zeros((len(q.X), len(q.Z))) + 0.3 * q.same,
    ),
    Case(
        "signal + noise",
        lambda d: skk.ConstantKernel(2.0) * skk.RBF(2.5) + skk.WhiteKernel(0.3),
        lambda q: 2 * np.exp(-q.sq(2.5) / 2) + 0.3 * q.same,
    ),
    Case(
        "square of a noisy sum",
        lambda d: (
            (skk.RBF(2.5) + skk.Matern(4.0, nu=1.5) * 0.5 + skk.WhiteKernel(0.2)) ** 2
        ),
        lambda q: (
            (
                np.exp(-q.sq(2.5) / 2)
                + (1 + np.sqrt(3 * q.sq(4.0))) * np.exp(-np.sqrt(3 * q.sq(4.0))) / 2
                + 0.2 * q.same
            )
            ** 2
        ),
    ),
    Case(
        "DotProduct ** 3 * RBF ARD",
        lambda d: skk.DotProduct(0.4) ** 3 * skk.RBF(ard(d)),
        lambda q: (q.dot() + 0.16) ** 3 * np.exp(-q.sq(q.ard) / 2),
        positive=False,
    ),
    Case(
        "two metrics",
        lambda d: gk.Laplacian(2.0 * d) * 1.5 + gk.Cosine() ** 2,
        lambda q: 1.5 * np.exp(-q.l1(2.0 * q.X.shape[1])) + q.cosine() ** 2,
    ),
    Case(
        "RBF ** 0.7",
        lambda d: skk.RBF(2.5) ** 0.7,
        lambda q: np.exp(-0.7 * q.sq(2.5) / 2),
    ),
    Case(
        "PairwiseKernel",
        lambda d: skk.PairwiseKernel(gamma=0.1, metric="laplacian"),
        lambda q: np.exp(-0.1 * q.l1()),
    ),
    Case(
        "InverseMultiquadric",
        lambda d: gk.InverseMultiquadric(2.5),
        lambda q: 1 / np.sqrt(1 + q.sq(2.5)),
    ),
    Case(
        "InverseMultiquadric ARD",
        lambda d: gk.InverseMultiquadric(ard(d), exponent=0.8),
        lambda q: (1 + q.sq(q.ard)) ** -0.8,
    ),
    Case(
        "Laplacian",
        lambda d: gk.Laplacian(1.5 * d),
        lambda q: np.exp(-q.l1(1.5 * q.X.shape[1])),
    ),
    Case(
        "Laplacian ARD",
        lambda d: gk.Laplacian(d * ard(d)),
        lambda q: np.exp(-q.l1(q.X.shape[1] * q.ard)),
    ),
    Case(
        "Polynomial",
        lambda d: gk.Polynomial(degree=3, gamma=0.2, coef0=1.5),
        lambda q: (0.2 * q.dot() + 1.5) ** 3,
        positive=False,
    ),
    Case(
        "even Polynomial",
        lambda d: gk.Polynomial(degree=4, gamma=0.2, coef0=0.1),
        lambda q: (0.2 * q.dot() + 0.1) ** 4,
    ),
    Case(
        "Polynomial 2.5",
        lambda d: gk.Polynomial(degree=2.5, gamma=0.2, coef0=1.5),
        lambda q: (0.2 * q.dot() + 1.5) ** 2.5,
        domain="nonnegative",
    ),
    Case(
        "Sigmoid",
        lambda d: gk.Sigmoid(gamma=0.1, coef0=0.2),
        lambda q: np.tanh(0.1 * q.dot() + 0.2),
        positive=False,
    ),
    Case("Cosine", lambda d: gk.Cosine(), lambda q: q.cosine(), positive=False),
    Case(
        "Chi2",
        lambda d: gk.Chi2(0.4),
        lambda q: np.exp(-0.4 * q.chi2()),
        domain="nonnegative",
    ),
    Case(
        "AdditiveChi2",
        lambda d: gk.AdditiveChi2(),
        lambda q: -q.chi2(),
        positive=False,
        domain="nonnegative",
    ),
    Case("NTK", lambda d: gk.NTK(weight_variance=2.0), _relu_ntk, positive=False),
    Case(
        "NTK erf",
        lambda d: gk.NTK(2, "erf", 1.5, 0.2, frozen_layers=1),
        _erf_ntk,
        positive=False,
    ),
]


@pytest.fixture(params=KERNELS, ids=lambda case: case.name.replace(" ", "_"))
def case(request):
    """A kernel with its naive values: each test runs once for each."""
    return request.param


@pytest.fixture(scope="session")
def cases():
    """All kernels with their naive values, by name."""
    return {case.name: case for case in KERNELS}
