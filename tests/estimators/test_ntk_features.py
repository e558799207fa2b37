"""`NTKFeatures` and `NNGPFeatures`: how near they are to their kernels, and the API."""

import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelRidge, NNGPFeatures, NTKFeatures
from gpkern.estimators import _ntk_features
from gpkern.kernels import NTK

ACTIVATIONS = ["relu", "leaky_relu", "erf", "gelu"]
METHODS = ["random", "polysketch"]
CLASSES = {"ntk": NTKFeatures, "nngp": NNGPFeatures}


# Some checks ask for one component.
@pytest.mark.filterwarnings("ignore:n_components=1 is below:UserWarning")
@parametrize_with_checks(
    [
        NTKFeatures(64),
        NTKFeatures(64, method="polysketch"),
        NTKFeatures(64, depth=2, activation="gelu", bias_variance=0.1),
        NNGPFeatures(64, activation="erf"),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def rows(n=60, d=10, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def relative_error(features, X, **parameters):
    """Of the Gram matrix, in the Frobenius norm; the kernel is that of the tests."""
    F = features.fit(X).transform(X).astype(np.float64)
    K = NTK(**parameters)(X)
    return np.linalg.norm(F @ F.T - K) / np.linalg.norm(K)


# ------------------------------------------------------------------- how near


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("m", "published"), [(256, 0.14), (1024, 0.074), (4096, 0.034)]
)
def test_half_of_the_published_error(m, published, method):
    """With m columns in all, where those of the published figures were 2 m."""
    seeds = range(10 if method == "random" else 4)
    errors = [
        relative_error(
            NTKFeatures(m, method=method, random_state=seed),
            rows(seed=1000 + seed),
        )
        for seed in seeds
    ]
    assert np.mean(errors) < 0.5 * published


# At 400 columns, and the exponent of the columns; the deeper, the more is random.
BOUNDS = {1: 0.06, 2: 0.15, 3: 0.25}


@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("bias", [0.0, 0.2])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_near_the_kernel(depth, activation, bias, kind):
    parameters = {
        "depth": depth,
        "activation": activation,
        "weight_variance": 1.5,
        "bias_variance": bias,
        "negative_slope": 0.2,
    }

    def error(m):
        return np.mean(
            [
                relative_error(
                    CLASSES[kind](m, random_state=seed, **parameters),
                    rows(),
                    kind=kind,
                    **parameters,
                )
                for seed in range(4)
            ]
        )

    few, many = error(400), error(1600)
    assert few < BOUNDS[depth]
    assert many < 0.7 * few  # a half, if it is as the root of the columns


@pytest.mark.parametrize("slope", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
@pytest.mark.parametrize("depth", [1, 3])
def test_polynomials_are_near_the_kernel(depth, kind, slope):
    parameters = {
        "depth": depth,
        "activation": "leaky_relu",
        "negative_slope": slope,
        "weight_variance": 1.5,
    }
    errors = [
        relative_error(
            CLASSES[kind](m, method="polysketch", random_state=0, **parameters),
            rows(),
            kind=kind,
            **parameters,
        )
        for m in (256, 2048)
    ]
    assert errors[0] < 0.1
    assert errors[1] < 0.03


def test_many_columns():
    """Fewer components than columns, and directions that are no dense matrices."""
    X = rows(40, 600)
    for method in METHODS:
        few = relative_error(NTKFeatures(256, method=method, random_state=0), X)
        more = relative_error(NTKFeatures(2048, method=method, random_state=0), X)
        assert few < 0.3
        assert more < 0.05


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [1, 3])
def test_linear_networks_are_exact(depth, method):
    parameters = {"depth": depth, "activation": "leaky_relu", "negative_slope": 1.0}
    features = NTKFeatures(40, method=method, random_state=0, **parameters)
    assert relative_error(features, rows(), **parameters) < 1e-12


def test_error_estimate(asarray, device):
    X = rows(700, 5)
    features = NTKFeatures(200, random_state=0, depth=2).fit(asarray(X))
    F = features.transform(asarray(X[:100]))
    K = NTK(depth=2)(X[:100])
    F = F if isinstance(F, np.ndarray) else F.get()
    expected = np.linalg.norm(F @ F.T - K) / np.linalg.norm(K)
    assert features.error_estimate(asarray(X[:100])) == pytest.approx(expected)
    whole = features.error_estimate(asarray(X), n_rows=700)
    assert features.error_estimate(asarray(X)) == pytest.approx(whole, rel=0.2)
    assert features.error_estimate(asarray(X)) == features.error_estimate(asarray(X))
    assert features.error_estimate(asarray(np.zeros((3, 5)))) == 0.0
    with pytest.raises(ValueError, match="n_rows=0 must be"):
        features.error_estimate(asarray(X), n_rows=0)


# ------------------------------------------------------------------- the API


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [1, 2])
def test_random_state(method, depth):
    X = rows()
    features = NTKFeatures(100, method=method, depth=depth, random_state=3)
    first, again = features.fit_transform(X), clone(features).fit_transform(X)
    assert_array_equal(first, again)
    # Of X only the number of columns matters.
    assert_array_equal(features.fit(rows(7, seed=5)).transform(X), first)
    other = clone(features).set_params(random_state=4).fit_transform(X)
    assert abs(other - first).max() > 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("depth", [1, 3])
def test_dtypes_and_devices(method, depth, device, asarray, host):
    X = rows(300, 20)
    features = NTKFeatures(
        400, method=method, depth=depth, bias_variance=0.0, random_state=0
    )
    double = features.fit_transform(X)
    assert double.dtype == np.float64
    there = features.transform(asarray(X))
    assert type(there) is type(asarray(X))
    assert_allclose(host(there), double, atol=1e-10)
    single = features.transform(asarray(X.astype(np.float32)))
    assert single.dtype == np.float32
    # A derivative of a rectifier jumps where a product's sign is that of its rounding.
    apart = np.abs(host(single) - double) > 1e-4
    assert apart.mean() < 1e-3
    by_parameter = clone(features).set_params(device=device).fit_transform(X)
    assert isinstance(by_parameter, np.ndarray)
    assert_allclose(by_parameter, double, atol=1e-10)


@pytest.mark.parametrize("entries", [1, 5000])
@pytest.mark.parametrize("method", METHODS)
def test_blocks_do_not_matter(method, entries, monkeypatch):
    X = rows()
    features = NTKFeatures(300, method=method, depth=2, random_state=0).fit(X)
    assert features._height(_ntk_features.choose_device("cpu"), np.float64) > 60
    whole = features.transform(X)
    monkeypatch.setattr(_ntk_features, "CPU_ENTRIES", entries)
    assert features._height(_ntk_features.choose_device("cpu"), np.float64) < 60
    assert_allclose(features.transform(X), whole, atol=1e-12)


class Sliced:
    """A data set that is read in slices."""

    def __init__(self, X):
        self._X, self.shape, self.dtype = X, X.shape, X.dtype

    def __getitem__(self, key):
        if not isinstance(key, slice):
            raise TypeError(f"only slices of rows, not {key!r}")
        return self._X[key].copy()


def test_kinds_of_data(tmp_path):
    X = rows(50, 4) * (rows(50, 4, seed=1) > 0)
    features = NTKFeatures(80, activation="gelu", bias_variance=0.1, random_state=0)
    dense = features.fit_transform(X)
    assert_allclose(features.transform(sparse.csr_array(X)), dense)
    assert_allclose(features.fit(Sliced(X)).transform(Sliced(X)), dense)
    assert features.error_estimate(Sliced(X), n_rows=20) < 0.1
    assert features.error_estimate(sparse.csr_array(X), n_rows=20) < 0.1
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert_allclose(features.transform(mapped), dense)
    X[30, 1] = np.nan
    for data in (X, Sliced(X)):
        with pytest.raises(ValueError, match="NaN"):
            features.transform(data)


def test_foreign_arrays():
    """There are no fitted arrays that would tie the transformer to one library."""
    import array_api_strict

    X = rows(20, 3)
    features = NTKFeatures(40, random_state=0).fit(X)
    out = features.transform(array_api_strict.asarray(X))
    assert type(out) is type(array_api_strict.asarray(X))
    assert_array_equal(np.asarray(out), features.transform(X))


def test_names():
    X = pd.DataFrame(rows(20, 3), columns=["a", "b", "c"])
    features = NTKFeatures(40, random_state=0).set_output(transform="pandas")
    out = features.fit_transform(X)
    assert list(out.columns[:2]) == ["ntkfeatures0", "ntkfeatures1"]
    assert out.shape == (20, 40)
    assert len(features.get_feature_names_out()) == 40
    assert NNGPFeatures(30).fit(X).get_feature_names_out()[-1] == "nngpfeatures29"


@pytest.mark.parametrize("method", METHODS)
def test_pickle(method):
    X = rows()
    features = NTKFeatures(100, method=method, depth=2, random_state=0).fit(X)
    again = pickle.loads(pickle.dumps(features))
    assert_array_equal(again.transform(X), features.transform(X))
    assert again.kernel_ == features.kernel_ == NTK(depth=2)


def test_ridge_is_kernel_ridge(friedman):
    X, y, X_test, y_test = friedman
    scaler = StandardScaler().fit(X)
    exact = KernelRidge(kernel=NTK(depth=2, bias_variance=0.1), alpha=0.1)
    exact.fit(scaler.transform(X), y - y.mean())
    features = NTKFeatures(2000, depth=2, bias_variance=0.1, random_state=0)
    model = make_pipeline(StandardScaler(), features, Ridge(0.1, fit_intercept=False))
    model.fit(X, y - y.mean())
    got, expected = model.predict(X_test), exact.predict(scaler.transform(X_test))
    assert np.std(got - expected) < 0.1 * np.std(expected)
    assert model.score(X_test, y_test - y.mean()) > 0.85


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("depth", [1, 2])
def test_rows_of_zeros(activation, depth, asarray, host):
    X = rows(5, 4)
    X[2] = 0.0
    for bias in (0.0, 0.2):
        for dtype in (np.float32, np.float64):
            features = NTKFeatures(
                2000, depth=depth, activation=activation, bias_variance=bias
            )
            features.set_params(random_state=0)
            F = host(features.fit_transform(asarray(X.astype(dtype))))
            assert np.isfinite(F).all()
            own = (F[2].astype(np.float64) ** 2).sum()
            assert own == pytest.approx(features.kernel_.diag(X)[2], rel=0.1)
    sketch = NTKFeatures(50, method="polysketch").fit_transform(asarray(X))
    assert_array_equal(host(sketch)[2], 0.0)
    assert np.isfinite(host(sketch)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e-30, 1e25])
def test_extreme_rows(method, size):
    """Rectifiers without biases: features are as large as the rows."""
    X = rows(5, 4)
    features = NTKFeatures(50, method=method, random_state=0).fit(X)
    want = features.transform(X)
    got = features.transform((size * X).astype(np.float32)).astype(np.float64) / size
    assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_one_column_or_one_row(method):
    for X in (rows(30, 1), rows(1, 30), rows(1, 1)):
        features = NTKFeatures(200, method=method, random_state=0)
        assert features.fit_transform(X).shape == (len(X), 200)
        assert features.error_estimate(X) < 0.06


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"depth": 0}, "'depth' parameter of NTKFeatures must be an int in the range"),
        ({"depth": -2}, "'depth'"),
        ({"depth": 1.5}, "'depth'"),
        ({"weight_variance": -1.0}, "'weight_variance'"),
        ({"weight_variance": 0.0}, "'weight_variance'"),
        ({"weight_variance": np.nan}, "'weight_variance'"),
        ({"bias_variance": -0.1}, "'bias_variance'"),
        ({"bias_variance": np.inf}, "'bias_variance'"),
        ({"negative_slope": -0.1}, "'negative_slope'"),
        ({"n_components": 0}, "'n_components'"),
        ({"activation": "tanh"}, "'activation'.*must be a str among"),
        ({"method": "leverage"}, "'method'.*must be a str among"),
        ({"degree": 1}, "'degree'"),
        ({"device": "tpu"}, "device='tpu' must be"),
        (
            {"method": "polysketch", "activation": "gelu"},
            "activation='gelu': use method='random'",
        ),
        (
            {"method": "polysketch", "bias_variance": 0.1},
            "bias_variance=0.1: .* use method='random', or bias_variance=0",
        ),
    ],
)
def test_errors(parameters, match):
    features = NTKFeatures().set_params(**parameters)
    with pytest.raises(ValueError, match=match):
        features.fit(rows())
    assert not hasattr(features, "n_features_in_")


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({}, "n_components=1 is below the 2 that depth=1 needs: "),
        ({"depth": 3, "bias_variance": 0.1}, "n_components=1 is below the 11 that"),
        ({"method": "polysketch"}, "n_components=1 is below the 5 that degree=16"),
    ],
)
def test_too_few_components(parameters, match):
    features = NTKFeatures(1, random_state=0, **parameters)
    with pytest.warns(UserWarning, match=match):
        assert features.fit_transform(rows()).shape == (60, 1)


def test_wrong_columns():
    features = NTKFeatures(50).fit(rows())
    with pytest.raises(ValueError, match=r"has 9 features.*expecting 10"):
        features.transform(rows(d=9))
    with pytest.raises(ValueError, match="NaN"):
        features.fit(np.full((3, 2), np.nan))
