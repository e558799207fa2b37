"""What the tests of estimators share: data, and the estimators in their variants."""

import numpy as np
import pytest
from sklearn.datasets import make_classification, make_friedman1
from sklearn.gaussian_process.kernels import Matern

import gpkern


@pytest.fixture(scope="session")
def friedman():
    """X, y to train on and X, y to test on; the noise has variance 0.25."""
    X, y = make_friedman1(600, n_features=5, noise=0.5, random_state=0)
    return X[:400], y[:400], X[400:], y[400:]


@pytest.fixture(scope="session")
def blobs():
    """Three overlapping classes: X, y to train on and X, y to test on."""
    X, y = make_classification(
        1200,
        n_features=5,
        n_informative=3,
        n_redundant=0,
        n_classes=3,
        flip_y=0.1,
        random_state=0,
    )
    return X[:600], y[:600], X[600:], y[600:]


# Every estimator in the variants that run different code.
REGRESSORS = {
    "ridge": lambda: gpkern.KernelRidge(kernel="rbf", alpha=0.1),
    "ridge-pcg": lambda: gpkern.KernelRidge(
        kernel="rbf", alpha=0.1, solver="pcg", random_state=0
    ),
    "ridge-falkon": lambda: gpkern.KernelRidge(
        kernel="rbf", alpha=0.1, n_centers=20, random_state=0
    ),
    "ridge-normal": lambda: gpkern.KernelRidge(
        kernel="rbf", alpha=0.1, n_centers=20, solver="cholesky", random_state=0
    ),
    "eigenpro": lambda: gpkern.EigenProRegressor(Matern(2.0, nu=0.5), random_state=0),
    "eigenpro-centers": lambda: gpkern.EigenProRegressor(
        Matern(2.0, nu=0.5), n_centers=20, random_state=0
    ),
}
CLASSIFIERS = {
    "ridge": lambda: gpkern.KernelRidgeClassifier(kernel="rbf", alpha=0.1),
    "ridge-falkon": lambda: gpkern.KernelRidgeClassifier(
        kernel="rbf", alpha=0.1, n_centers=20, random_state=0
    ),
    "eigenpro": lambda: gpkern.EigenProClassifier(Matern(2.0, nu=0.5), random_state=0),
    "eigenpro-centers": lambda: gpkern.EigenProClassifier(
        Matern(2.0, nu=0.5), n_centers=20, random_state=0
    ),
}
ALL = {f"{name}-regressor": make for name, make in REGRESSORS.items()} | {
    f"{name}-classifier": make for name, make in CLASSIFIERS.items()
}


def _fixture(makers):
    @pytest.fixture(params=makers.values(), ids=makers.keys())
    def fixture(request):
        return request.param()

    return fixture


regressor = _fixture(REGRESSORS)
classifier = _fixture(CLASSIFIERS)
estimator = _fixture(ALL)
eigenpro = _fixture({k: v for k, v in ALL.items() if "eigenpro" in k})


@pytest.fixture(scope="session")
def small():
    """40 rows of 3 columns, targets that suit regressors and classifiers alike."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    return X, (X[:, 0] + 0.3 * rng.normal(size=40) > 0).astype(float)
