"""`KernelThinning` of rows with their targets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import KernelRidge, KernelThinning
from gpkern.kernels import RBF, SupervisedKernel


@parametrize_with_checks(
    [
        KernelThinning(3, y_kernel="ridge", random_state=0),
        KernelThinning(3, y_kernel="smoother", weights="simplex", random_state=0),
    ]
)
def test_common_checks(estimator, check):
    check(estimator)


def data(n=1500, seed=0):
    """A function that is steep in a corner, far from zero."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 2))
    y = 100.0 + np.exp(-20 * ((X - 0.8) ** 2).sum(axis=1)) + 0.01 * rng.normal(size=n)
    return X, y


def reference(X, Y, form):
    """The kernel with targets centred and scaled, by its definition."""
    k, t = RBF(0.3)(X), (Y - Y.mean(axis=0))
    t = t / np.sqrt((t**2).sum(axis=1).mean())
    return k**2 + k * (t @ t.T) if form == "ridge" else k * (1 + t @ t.T)


@pytest.mark.parametrize("form", ["ridge", "smoother"])
@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_distance_is_that_of_the_kernel(form, targets, weighted, asarray, host):
    X, y = data(400)
    Y = np.stack([y, X[:, 0] ** 2], axis=1)[:, :targets]
    w = np.arange(400) % 4 if weighted else np.ones(400)
    model = KernelThinning(20, kernel=RBF(0.3), y_kernel=form, random_state=0).fit(
        asarray(X),
        asarray(Y if targets > 1 else y),
        sample_weight=w if weighted else None,
    )
    rows = host(model.sample_indices_)
    assert_array_equal(host(model.samples_), X[rows])
    assert_array_equal(host(model.sample_targets_), Y[rows] if targets > 1 else y[rows])
    assert type(model.kernel_) is SupervisedKernel and model.kernel_.form == form
    some = w > 0
    K = reference(X[some], Y[some], form)
    p = -w[some] / w.sum()
    p[np.searchsorted(np.flatnonzero(some), rows)] += 1 / 20
    assert model.mmd_ == pytest.approx(np.sqrt(p @ K @ p), rel=1e-6)
    assert model.mmd_ < model.mmd_iid_ / 2.5


@pytest.mark.parametrize("form", ["ridge", "smoother"])
def test_units_of_the_targets_do_not_matter(form):
    X, y = data(300)
    first, second = (
        KernelThinning(15, y_kernel=form, random_state=0).fit(X, t).sample_indices_
        for t in (y, 3600.0 * y - 7.0)
    )
    assert_array_equal(first, second)


def test_targets_decide():
    X, y = data()
    plain = KernelThinning(30, kernel=RBF(0.3), random_state=0).fit(X, y)
    model = KernelThinning(30, kernel=RBF(0.3), y_kernel="smoother", random_state=0)
    assert not np.array_equal(model.fit(X, y).sample_indices_, plain.sample_indices_)
    constant = model.fit(X, np.ones(1500))
    assert_allclose(constant.kernel_.target_scale, 1.0)


def test_a_model_of_the_coreset():
    """The mean of y, weighed by any smooth function of x, is nearer than random's."""
    X, y = data()
    f = np.cos(4 * X @ [1.0, 0.5])
    random = [
        np.random.default_rng(s).choice(1500, 40, replace=False) for s in range(50)
    ]
    found = [
        KernelThinning(40, kernel=RBF(0.3), y_kernel="smoother", random_state=s)
        .fit(X, y)
        .sample_indices_
        for s in range(5)
    ]
    exact = (f * (y - 100)).mean()

    def error(sets):
        return np.sqrt(
            np.mean([((f * (y - 100))[rows].mean() - exact) ** 2 for rows in sets])
        )

    assert error(found) < error(random) / 4
    model = KernelRidge(1e-3, kernel=RBF(0.3)).fit(X[found[0]], y[found[0]] - 100)
    assert model.score(X, y - 100) > 0.8


class TestErrors:
    def test_no_targets(self):
        X, _ = data(20)
        with pytest.raises(ValueError, match="requires y"):
            KernelThinning(5, y_kernel="ridge").fit(X)

    def test_labels(self):
        X, y = data(20)
        with pytest.raises(ValueError, match="could not convert string"):
            KernelThinning(5, y_kernel="ridge").fit(X, y.astype(str) + "a")
        with pytest.raises(ValueError, match="inconsistent numbers"):
            KernelThinning(5, y_kernel="ridge").fit(X, y[:9])
        with pytest.raises(ValueError, match="set one of them to None"):
            KernelThinning(5, y_kernel="ridge", stratify="y").fit(X, y)

    def test_no_power_kernel(self):
        X, y = data(20)
        with pytest.raises(ValueError, match="no power kernel"):
            KernelThinning(5, y_kernel="ridge", method="power").fit(X, y)

    def test_kernel_without_a_formula(self):
        class Own(RBF):
            def __call__(self, X, Y=None, eval_gradient=False):
                return super().__call__(X, Y)

        X, y = data(20)
        with pytest.raises(ValueError, match="a kernel with a formula"):
            KernelThinning(5, kernel=Own(1.0), y_kernel="ridge").fit(X, y)
