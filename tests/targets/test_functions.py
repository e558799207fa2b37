"""Scores by differences, and functions that are checked against them."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.targets import LogDensity, Score, Target, as_target, check_score


def rows(n=200, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def log_bent(X):
    """Of a density with skewed, long-tailed and coupled columns."""
    return -np.log1p((X**2).sum(axis=1)) - np.exp(X[:, 0]) + np.sin(X[:, 0] * X[:, 1])


def bent(X):
    out = -2.0 * X / (1.0 + (X**2).sum(axis=1))[:, None]
    wave = np.cos(X[:, 0] * X[:, 1])
    out[:, 0] += wave * X[:, 1] - np.exp(X[:, 0])
    out[:, 1] += wave * X[:, 0]
    return out


def negative_norm(X):
    return -0.5 * (X**2).sum(axis=1)


@pytest.mark.parametrize("n", [1, 3, 200])
def test_differences(n):
    X = rows(n)
    target = LogDensity(log_bent)
    assert_allclose(target.score(X), bent(X), rtol=1e-9, atol=1e-9)
    assert_array_equal(target.log_density(X), log_bent(X))
    assert target.has_log_density
    assert not target.can_sample


def test_differences_follow_the_data(asarray, host):
    """The same function on either device, which gets arrays of that device."""
    xp = type(asarray(np.zeros(1)))

    def f(X):
        assert isinstance(X, xp)
        return -0.25 * (X**4).sum(axis=1)

    X = rows()
    score = host(LogDensity(f).score(asarray(X)))
    assert_allclose(score, -(X**3), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_steps_have_the_scale_of_the_data(scale):
    X = rows()
    target = LogDensity(lambda X: log_bent(X / scale))
    assert_allclose(target.score(scale * X) * scale, bent(X), rtol=1e-9, atol=1e-9)


def test_a_row_far_away_leaves_the_others_alone():
    X = rows()
    X[3] = 1e8
    found = LogDensity(negative_norm).score(X)
    others = np.arange(len(X)) != 3
    assert_allclose(found[others], -X[others], rtol=1e-9, atol=1e-10)


def test_narrow_far_away():
    """A width of 0.01 at 1000, and modes far apart: steps are shortened."""

    def f(X):
        z = (X[:, 0] - 1000.0) / 0.01
        return np.logaddexp(-0.5 * (z - 1) ** 2, -0.5 * (z + 1) ** 2)

    X = 1000.0 + 0.01 * rows(5, 1)
    z = (X - 1000.0) / 0.01
    assert_allclose(LogDensity(f).score(X), (np.tanh(z) - z) / 0.01, rtol=1e-5)

    def apart(X):
        return np.logaddexp(-0.5 * (X[:, 0] - 1e5) ** 2, -0.25 * (X[:, 0] + 1e5) ** 4)

    left = rows(20, 1)
    score = LogDensity(apart).score(np.vstack([left - 1e5, left + 1e5]))
    assert_allclose(score, np.vstack([-(left**3), -left]), atol=1e-3)


def test_near_an_edge():
    """Gamma(3): at 1e-5 from 0 the usual step would leave the support."""

    def f(X):
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(X > 0, 2.0 * np.log(X) - X, -np.inf)[:, 0]

    X = np.array([[1e-5], [0.01], [1.0], [5.0], [0.3], [2.0], [3.0], [4.0], [0.7]])
    assert_allclose(LogDensity(f).score(X), 2.0 / X - 1.0, rtol=1e-7, atol=1e-12)
    X[[3, 5]] = -1.0
    with pytest.raises(ValueError, match=r"in 2 of 9 rows.*row 3: such rows lie outsi"):
        LogDensity(f).score(X)


def test_values_in_float32():
    """Longer steps: three digits are left."""
    X = rows()
    target = LogDensity(lambda X: log_bent(X.astype(np.float32)))
    assert_allclose(target.score(X), bent(X), rtol=5e-3, atol=5e-3)


def test_many_columns_in_batches():
    sizes = []

    def f(X):
        sizes.append(len(X))
        return -0.25 * (X**4).sum(axis=1)

    X = rows(120, 200)
    assert_allclose(LogDensity(f).score(X), -(X**3), atol=1e-7)
    assert max(sizes) * 200 * 8 <= 2**26


def test_own_step():
    X, target = rows(), LogDensity(log_bent, step=[1e-3, 2e-3, 1e-3])
    assert_allclose(target.score(X), bent(X), rtol=1e-7, atol=1e-7)
    with pytest.raises(ValueError, match="step has 3 numbers, and X 2 columns"):
        target.score(X[:, :2])
    with pytest.raises(ValueError, match=r"step=0\.0 must be a positive number"):
        LogDensity(log_bent, step=0.0)


def test_log_density_of_a_wrong_shape():
    with pytest.raises(ValueError, match=r"shape \(\): it must give one number for"):
        LogDensity(lambda X: -0.5 * (X**2).sum()).score(rows())
    assert LogDensity(lambda X: -(X**2)).score(rows(5, 1)).shape == (5, 1)


# ------------------------------------------------------------------------ scores


def test_score():
    X = rows()
    assert_array_equal(Score(bent).score(X), bent(X))
    target = Score(bent, log_bent, n_features=3)
    assert_array_equal(target.score(X), bent(X))
    assert_array_equal(target.log_density(X), log_bent(X))
    with pytest.raises(ValueError, match="X has 2 columns, and the target 3"):
        target.score(X[:, :2])
    with pytest.raises(TypeError, match="has no log density, but a score alone"):
        Score(bent).log_density(X)
    with pytest.raises(TypeError, match="cannot be sampled from: draw from"):
        target.sample(3)
    with pytest.raises(TypeError, match="has no parameters to fit"):
        target.refit(X)


def test_score_gets_a_copy_in_its_dtype():
    def f(X):
        assert X.dtype == np.float32
        X *= -1.0
        return X

    X = rows().astype(np.float32)
    before = X.copy()
    score = Score(f).score(X)
    assert score.dtype == np.float64
    assert_array_equal(X, before)
    assert_array_equal(score, -before.astype(np.float64))


def test_score_returns_a_list_or_one_column():
    assert_array_equal(as_target(lambda X: (-X).tolist()).score([[1, 2]]), [[-1, -2]])
    assert_array_equal(as_target(lambda X: -X[:, 0]).score([[1], [2]]), [[-1], [-2]])


@pytest.mark.parametrize(
    "f, message",
    [
        (negative_norm, "looks like a log density: pass gpkern.targets.LogDensity"),
        (lambda X: -X[0], r"has shape \(3,\): it must have the shape of the rows"),
        (lambda X: np.where(X > 0, X, np.nan), "NaN or infinite in"),
        (lambda X: X.astype(str), "must hold real numbers, not <U"),
        (lambda X: [[1.0], [2.0, 3.0]], "is not an array of numbers"),
    ],
)
def test_wrong_scores(f, message):
    with pytest.raises(ValueError, match=message):
        as_target(f).score(rows())


def test_first_call_checks_the_score():
    with pytest.raises(ValueError, match=r"wrong sign: is it the .*potential energy"):
        Score(lambda X: -bent(X), log_bent).score(rows())
    with pytest.raises(ValueError, match=r"is not the gradient .* is 0\.1.*0\.001"):
        Score(lambda X: -1.2 * X, negative_norm).score(rows())
    calls = []

    def f(X):
        calls.append(len(X))
        return negative_norm(X)

    target = Score(lambda X: -X, f)
    for _ in range(3):
        target.score(rows())
    assert calls == [8, 8 * 12]
    # Zeros of the score, as at a mode, are no cause of alarm.
    wrong = Score(lambda X: X, negative_norm)
    wrong.score(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="wrong sign"):
        wrong.score(np.ones((1, 3)))


def test_check_allows_for_rounding():
    """Sums of a million terms, and float32."""
    X = rows()
    check_score(Score(bent, lambda X: log_bent(X) - 1e9), X)
    check_score(Score(bent, lambda X: log_bent(X).astype(np.float32)), X)


def test_check_score():
    X = rows()
    assert check_score(Score(bent, log_bent), X) < 1e-8
    assert check_score(LogDensity(log_bent), X) == 0.0
    off = Score(lambda X: bent(X) * (1 + 1e-4), log_bent)
    assert check_score(off, X) == pytest.approx(1e-4, rel=0.01)
    with pytest.raises(ValueError, match="is not the gradient of the log density"):
        check_score(off, X, rtol=1e-6)
    with pytest.raises(TypeError, match="has no log density"):
        check_score(bent, X)


# ------------------------------------------------------------------------ others


class Quartic(Target):
    has_log_density = True

    def _score(self, X):
        return -(X**3)

    def _log_density(self, X):
        return -0.25 * (X**4).sum(axis=1)


def test_own_target():
    target = as_target(Quartic())
    check_score(target, rows())
    for same in (pickle.loads(pickle.dumps(target)), copy.deepcopy(target)):
        assert_array_equal(same.score(rows()), target.score(rows()))


@pytest.mark.parametrize(
    "X, message",
    [
        ([1.0, 2.0], "must be a non-empty 2-D array"),
        (np.zeros((0, 2)), "must be a non-empty 2-D array"),
        ([[1.0, np.nan], [1.0, 2.0]], "NaN or infinity in 1 of 2 rows"),
        ([["a"]], "must hold real numbers"),
    ],
)
def test_wrong_rows(X, message):
    with pytest.raises(ValueError, match=message):
        Quartic().score(X)
    with pytest.raises(ValueError, match=message):
        Quartic().log_density(X)


@pytest.mark.parametrize("target", [None, 3, "normal", np.zeros((3, 2)), object()])
def test_no_target(target):
    with pytest.raises(
        TypeError, match=r"(?s)kernel_target=.* a function that returns"
    ):
        as_target(target, "kernel_target")


def test_a_class_is_no_target():
    with pytest.raises(TypeError, match="is the class Quartic: pass an object"):
        as_target(Quartic)


@pytest.mark.parametrize("make", [Score, LogDensity])
def test_no_function(make):
    with pytest.raises(TypeError, match="f must be a function of rows, not ndarray"):
        make(np.zeros(3))
    with pytest.raises(ValueError, match="n_features=0 must be a positive integer"):
        make(bent, n_features=0)


def test_subclasses_need_no_flags():
    class Known(Target):
        def _score(self, X):
            return -X

        def _sample(self, n, rng):
            return rng.normal(size=(n, 2))

    assert Known.can_sample and not Known.has_log_density and not Known.can_refit
    assert Known().sample(3, 0).shape == (3, 2)
    assert repr(Known()) == "Known()"

    class Unfinished(Target):
        def _log_density(self, X):
            return -(X**2).sum(axis=1)

    assert Unfinished.has_log_density
    with pytest.raises(NotImplementedError, match="LogDensity"):
        Unfinished().score(np.ones((2, 1)))


def test_a_fitted_test_is_no_density():
    from gpkern import KSDTest

    fitted = KSDTest(lambda X: -X).fit(np.random.default_rng(0).normal(size=(50, 1)))
    with pytest.raises(TypeError, match="KSDTest"):
        as_target(fitted)
