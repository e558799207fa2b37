"""`KernelSpectrumDisplay`: what is drawn, of which matrix."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import pandas as pd  # noqa: E402
from scipy import sparse  # noqa: E402
from scipy.spatial.distance import cdist, pdist  # noqa: E402
from sklearn.neural_network import MLPRegressor  # noqa: E402

from gpkern import EmpiricalNTK  # noqa: E402
from gpkern.kernels import NTK, RBF, WhiteKernel  # noqa: E402
from gpkern.plotting import KernelSpectrumDisplay  # noqa: E402
from gpkern.plotting import _spectrum as module  # noqa: E402

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = X[:, 0] + 0.1 * RNG.normal(size=30)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def gaussian(length):
    return np.exp(-cdist(X, X, "sqeuclidean") / (2.0 * length**2))


def by_numpy(K, center=True):
    H = np.eye(len(K)) - center / len(K)
    return np.linalg.eigvalsh(H @ K @ H)[::-1]


def one(kernel, X=X, y=None, **options):
    return KernelSpectrumDisplay.from_kernel(kernel, X, y, **options)


def eigenvalues(kernel, **options):
    (values,) = one(kernel, **options).eigenvalues.values()
    return values


def test_what_is_drawn():
    display = one(RBF(2.0), y=Y)
    K = gaussian(2.0)
    assert_allclose(display.eigenvalues["RBF"], by_numpy(K), atol=1e-12)
    left, right = display.axes_
    (line,) = left.lines
    shares = by_numpy(K) / by_numpy(K).sum()
    drawn = line.get_ydata()
    assert_array_equal(line.get_xdata(), np.arange(1, 31))
    assert_allclose(drawn[:29], shares[:29], rtol=1e-6)
    assert np.isnan(drawn[29])  # the mean, which centring takes out
    assert left.get_xscale() == left.get_yscale() == right.get_xscale() == "log"
    (line,) = right.lines
    y = Y - Y.mean()
    H = np.eye(30) - 1 / 30
    U = np.linalg.eigh(H @ K @ H)[1][:, ::-1]
    cumulative = np.cumsum((U.T @ y) ** 2) / (y @ y)
    assert_allclose(line.get_ydata()[:29], cumulative[:29], atol=1e-9)
    Kc = H @ K @ H
    alignment = (y @ Kc @ y) / (np.linalg.norm(Kc) * (y @ y))
    assert_allclose(display.alignments["RBF"], alignment)
    assert line.get_label() == f"RBF: alignment {alignment:.2f}"
    assert display.figure_ is left.figure


def test_without_targets_and_centring():
    display = one(RBF(1.0), center=False)
    assert display.target_shares is None and len(display.axes_) == 1
    assert_allclose(display.eigenvalues["RBF"], by_numpy(gaussian(1.0), False))
    assert_allclose(display.eigenvalue_shares_["RBF"].sum(), 1.0)


def test_kinds_of_kernels():
    named = eigenvalues("rbf")
    assert_allclose(named, by_numpy(gaussian(np.median(pdist(X)))), atol=1e-12)
    own = eigenvalues("precomputed", X=gaussian(1.0))
    assert_allclose(own, by_numpy(gaussian(1.0)), atol=1e-12)
    assert_allclose(eigenvalues("linear"), by_numpy(X @ X.T), atol=1e-12)
    noisy = eigenvalues(RBF(1.0) + WhiteKernel(0.5), center=False)
    assert_allclose(noisy, by_numpy(gaussian(1.0), False) + 0.5)
    assert_allclose(eigenvalues(np.dot), by_numpy(X @ X.T), atol=1e-12)
    network = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", random_state=0)
    network.fit(X, Y)
    kernel = EmpiricalNTK(network)
    wanted = by_numpy(kernel(X))
    assert_allclose(eigenvalues(kernel), wanted, atol=1e-9)
    for rows in (pd.DataFrame(X), X.tolist(), sparse.csr_array(X)):
        found = eigenvalues(RBF(1.0), X=rows)
        assert_allclose(found, by_numpy(gaussian(1.0)), atol=1e-12)


def test_what_rounding_leaves_is_not_drawn():
    """Of a kernel of rank 3 there are three points, and no more."""
    display = one("linear", y=Y)
    for ax in display.axes_:
        assert np.isfinite(ax.lines[0].get_ydata()).sum() == 3
    coefficients, *_ = np.linalg.lstsq(X - X.mean(axis=0), Y - Y.mean())
    explained = ((X - X.mean(axis=0)) @ coefficients) ** 2
    share = explained.sum() / ((Y - Y.mean()) ** 2).sum()
    assert_allclose(display.axes_[1].lines[0].get_ydata()[2], share)


def test_several_kernels_axes_and_options():
    figure, axes = plt.subplots(2)
    kernels = {"a": "rbf", "b": NTK(depth=2), "c": gaussian(1.0)}
    display = KernelSpectrumDisplay.from_kernels(
        kernels, X, Y > 0, n_components=7, axes=axes, linestyle="--"
    )
    assert display.figure_ is figure
    labels = [t.get_text().split(":")[0] for t in axes[1].get_legend().get_texts()]
    assert labels == ["a", "b", "c"]
    for line in (*axes[0].lines, *axes[1].lines):
        assert len(line.get_ydata()) == 7 and line.get_linestyle() == "--"
    assert len(display.eigenvalues["b"]) == 30
    assert_allclose(display.eigenvalues["c"], by_numpy(gaussian(1.0)), atol=1e-12)
    single = one("rbf", name="mine", axes=plt.subplots()[1])
    assert single.axes_[0].lines[0].get_label() == "mine"


def test_arrays_of_a_gpu_come_to_the_host():
    class Array:
        """As CuPy's."""

        def __init__(self, values):
            self.values, self.shape = values, values.shape

        def get(self):
            return self.values

        def __len__(self):
            return len(self.values)

    Array.__module__ = "cupy"
    found = one(RBF(1.0), Array(X), Array(Y))
    wanted = one(RBF(1.0), y=Y)
    pairs = found.eigenvalues["RBF"], wanted.eigenvalues["RBF"]
    assert_allclose(*pairs, atol=1e-12)
    assert_allclose(found.alignments["RBF"], wanted.alignments["RBF"])


def test_negative_eigenvalues_warn():
    K = gaussian(1.0) - 0.5 * np.eye(30)
    with pytest.warns(UserWarning, match="precomputed is not positive semi-definite"):
        display = one("precomputed", K, center=False)
    shares = display.eigenvalue_shares_["precomputed"]
    values = by_numpy(K, False)
    assert_array_equal(np.isnan(shares), values < 0)
    assert_allclose(np.nansum(shares), 1.0)


def test_errors(monkeypatch):
    with pytest.raises(ValueError, match="RBF: y is constant"):
        one(RBF(), y=np.ones(30))
    with pytest.raises(ValueError, match="n_samples=1: a spectrum needs two"):
        one(RBF(), X[:1])
    with pytest.raises(ValueError, match="contains NaN"):
        one(RBF(), np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="precomputed: the kernel matrix contains NaN"):
        one("precomputed", np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match=r"shape \(n, n\) is needed"):
        one("precomputed", X)
    with pytest.raises(ValueError, match="y contains NaN"):
        one(RBF(), y=np.full(30, np.nan))
    with pytest.raises(ValueError, match="y has 3 rows"):
        one(RBF(), y=Y[:3])
    with pytest.raises(ValueError, match="the rows are all alike"):
        one(RBF(), np.ones((5, 2)))
    with pytest.raises(ValueError, match="tells no two rows apart"):
        one(RBF(), np.ones((5, 2)), Y[:5])
    with pytest.raises(ValueError, match="'none' is not known"):
        one("none")
    with pytest.raises(TypeError, match="RBF is a class"):
        one(RBF)
    with pytest.raises(ValueError, match="n_components=0"):
        one(RBF(), n_components=0)
    with pytest.raises(ValueError, match="holds 1 Axes, and needs 2"):
        one(RBF(), y=Y, axes=plt.subplots()[1])
    with pytest.raises(TypeError, match="dict of kernels"):
        KernelSpectrumDisplay.from_kernels([RBF()], X)
    monkeypatch.setattr(module, "MOST_ROWS", 20)
    with pytest.raises(ValueError, match=r"X has 30 rows.*20 or fewer"):
        one(RBF())
