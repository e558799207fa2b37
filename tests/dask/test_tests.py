"""Hypothesis tests of Dask arrays, beside those of the same rows in memory."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.gaussian_process.kernels import RBF

from gpkern import (
    FSSDTest,
    KSDTest,
    LinearKSDTest,
    MMDTest,
    NystromKSDTest,
    PerturbedKSDTest,
)
from gpkern.targets import Mixture, Score

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")

N = 240
NORMAL = stats.multivariate_normal(np.zeros(2))
COMMON = {"random_state": 0, "n_resamples": 150}


@pytest.fixture(autouse=True)
def in_blocks(monkeypatch):
    """Samples of any size are worked on in blocks."""
    from gpkern.dask import sample_rows

    monkeypatch.setattr(sample_rows, "FEW_ROWS", 0)


@pytest.fixture
def threads():
    with dask.config.set(scheduler="threads"):
        yield


@pytest.fixture
def X():
    return np.random.default_rng(0).normal([0.2, 0.0], 1.0, size=(N, 2))


@pytest.fixture
def Y():
    return np.random.default_rng(1).normal(size=(150, 2))


def blocks(A, heights=(100, 37, 103)):
    heights = heights if sum(heights) == len(A) else 70
    return da.from_array(A, chunks=(heights, *A.shape[1:]))


def assert_same(found, expected, rtol=1e-10):
    """Statistics to rounding; replicates to that of kernel values, and the ranks."""
    assert_allclose(found.statistic_, expected.statistic_, rtol=rtol)
    assert_allclose(found.pvalue_, expected.pvalue_, rtol=1e-12)
    assert found.rejected_ is expected.rejected_
    null = expected.null_distribution_
    if isinstance(null, np.ndarray):
        assert_allclose(found.null_distribution_, null, atol=1e-4 * null.std(), rtol=0)


# ----------------------------------------------------------------------------- KSDTest


def name_of(value):
    """Of a test for its id: no addresses of its target, which differ between runs."""
    name = type(value).__name__
    if not hasattr(value, "get_params"):
        return str(value)
    own = value.get_params(deep=False)
    return f"{name}-" + "-".join(
        f"{k}={v}" for k, v in own.items() if isinstance(v, (str, int, bool))
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"null": "multinomial"},
        {"statistic": "v", "kernel": "rbf"},
        {"aggregate": True, "length_scale": [0.3, 1.0, 3.0]},
    ],
    ids=name_of,
)
def test_ksd(X, scheduler, options):
    expected = KSDTest(NORMAL, **COMMON, **options).fit(X)
    found = KSDTest(NORMAL, **COMMON, **options).fit(blocks(X))
    assert isinstance(found._points, da.Array)  # not gathered
    assert_same(found, expected)
    for key, values in expected.per_kernel_.items():
        assert_allclose(found.per_kernel_[key], values, rtol=1e-8)


def test_ksd_default_scales(X, threads):
    found = KSDTest(NORMAL, aggregate=True, **COMMON).fit(blocks(X))
    expected = KSDTest(NORMAL, aggregate=True, **COMMON).fit(X)
    assert found.length_scale_ == expected.length_scale_
    assert_same(found, expected)


def test_ksd_median_of_some_rows(threads):
    X = np.random.default_rng(0).normal(size=(1500, 2))
    found = KSDTest(NORMAL, random_state=0, n_resamples=50).fit(blocks(X))
    expected = KSDTest(NORMAL, random_state=0, n_resamples=50).fit(X)
    assert found.length_scale_ == expected.length_scale_
    assert_same(found, expected)


def test_scores_given(X, client):
    expected = KSDTest(**COMMON).fit(X, scores=-X)
    for scores in (-X, blocks(-X), blocks(-X, (200, 40))):
        assert_same(KSDTest(**COMMON).fit(blocks(X), scores=scores), expected)


def test_scores_are_those_of_the_rows(X, threads):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        KSDTest().fit(blocks(X), scores=-X[1:])
    with pytest.raises(ValueError, match="one number for each entry of X"):
        KSDTest().fit(blocks(X), scores=-X[:, :1])
    with pytest.raises(ValueError, match="pass scores= to fit"):
        KSDTest().fit(blocks(X))
    with pytest.raises(ValueError, match="both give the scores"):
        KSDTest(NORMAL).fit(blocks(X), scores=-X)


def test_the_target_is_asked_on_the_workers(X, client):
    asked = []

    def score(rows):
        asked.append(len(rows))
        return -rows

    test = KSDTest(Score(score), **COMMON).fit(blocks(X))
    assert not asked  # but in the workers' processes
    assert_same(test, KSDTest(NORMAL, **COMMON).fit(X))


def test_rows_of_float32(X, threads):
    X = X.astype(np.float32)
    expected = KSDTest(lambda x: -x, **COMMON).fit(X)
    assert_same(KSDTest(lambda x: -x, **COMMON).fit(blocks(X)), expected)


def test_what_is_computed_at_other_rows(X, Y, threads):
    expected = KSDTest(NORMAL, **COMMON).fit(X)
    found = KSDTest(NORMAL, **COMMON).fit(blocks(X))
    own = found.score_samples()
    assert isinstance(own, da.Array) and own.chunks == ((100, 37, 103),)
    assert_allclose(own, expected.score_samples(), rtol=1e-9)
    for test, rows in ((found, Y), (found, blocks(Y)), (expected, blocks(Y))):
        values = test.score_samples(rows)
        assert isinstance(values, da.Array if rows is not Y else np.ndarray)
        assert_allclose(values, expected.score_samples(Y), rtol=1e-9)
        witness = test.witness_function(rows)
        assert isinstance(witness, da.Array if rows is not Y else np.ndarray)
        assert_allclose(witness, expected.witness_function(Y), rtol=1e-8, atol=1e-12)
    given = found.score_samples(blocks(Y), scores=-Y)
    assert_allclose(given, expected.score_samples(Y), rtol=1e-9)
    for method in ("coordinate_contributions", "expected_contributions"):
        parts = getattr(found, method)()
        assert isinstance(parts, np.ndarray)
        assert_allclose(parts, getattr(expected, method)(), rtol=1e-9)


def test_a_fitted_test_can_be_pickled(X, threads):
    test = KSDTest(NORMAL, **COMMON).fit(blocks(X))
    again = pickle.loads(pickle.dumps(test))
    assert_allclose(again.score_samples(), test.score_samples())


# ---------------------------------------------------------------------- what goes wrong

SCORED = [KSDTest, NystromKSDTest, FSSDTest, LinearKSDTest]


@pytest.mark.parametrize("Test", [*SCORED, MMDTest], ids=lambda t: t.__name__)
def test_nan_in_a_block(X, threads, Test):
    X[110, 1] = np.nan
    message = r"block 1 of X \(rows 100 to 136\).*NaN"
    with pytest.raises(ValueError, match=message):
        if Test is MMDTest:
            Test().fit(blocks(X), X[:50])
        else:
            Test(lambda x: -x).fit(blocks(X))


@pytest.mark.parametrize("Test", SCORED, ids=lambda t: t.__name__)
def test_scores_that_are_not_finite(X, threads, Test):
    scores = -X
    scores[200, 0] = np.inf
    message = r"block 2 of scores \(rows 137 to 239\).*infinity"
    with pytest.raises(ValueError, match=message):
        Test().fit(blocks(X), scores=blocks(scores))
    with pytest.raises(ValueError, match=r"block 2 of X.*the score is NaN or inf.* 63"):
        Test(lambda x: np.where(x == X[200], np.nan, -x)).fit(blocks(X))


def test_nan_in_the_second_sample(X, Y, threads):
    Y[80, 0] = np.nan
    with pytest.raises(ValueError, match=r"block 1 of y \(rows 70 to 139\).*NaN"):
        MMDTest().fit(X, blocks(Y))


@pytest.mark.parametrize("null", ["markov", "parametric"])
def test_nulls_that_need_all_rows(X, threads, null):
    target = Mixture([1.0], [[0.0, 0.0]], 1.0)
    with pytest.raises(ValueError, match=rf"null='{null}'.*240 rows.*X.compute\(\)"):
        KSDTest(target, null=null).fit(blocks(X))


def test_chains(X, threads):
    chains = blocks(X.reshape(4, 60, 2), (2, 2))
    for Test in SCORED:
        with pytest.raises(ValueError, match=r"Dask array of chains.*X.compute\(\)"):
            Test(lambda x: -x).fit(chains)


def dependent(n):
    """Draws of a chain, whose last row of a block is that before the next one's."""
    return np.cumsum(np.random.default_rng(0).normal(size=(n, 2)), axis=0) / n**0.5


def test_dependent_rows(threads):
    X = dependent(N)
    with pytest.raises(ValueError, match=r"successive rows of X correlate \(0.9"):
        KSDTest(lambda x: -x).fit(blocks(X))
    for test in (KSDTest(lambda x: -x, null="wild"), NystromKSDTest(lambda x: -x)):
        with pytest.warns(UserWarning, match="successive rows of X correlate") as kept:
            test.fit(X)
        with pytest.warns(UserWarning) as found:
            test.fit(blocks(X))
        assert [str(w.message) for w in found] == [str(w.message) for w in kept]
        assert found[0].filename == __file__


@pytest.mark.parametrize("heights", [(1,) * 60, (60,), (7, 1, 52)], ids=len)
def test_moments(heights, threads):
    from gpkern.algorithms.stein import score_scale
    from gpkern.dask.sample_rows import moments_of
    from gpkern.estimators._testing import correlation_of_rows

    X = dependent(60) + 1e6
    S = 1e-3 * X[:, ::-1]
    found = moments_of(blocks(X, heights), blocks(S, heights))
    assert_allclose(found.spreads, [X.std(), S.std()], rtol=1e-9)
    assert_allclose(found.correlation, correlation_of_rows(X), rtol=1e-6)
    assert not found.are_equal
    same = blocks(np.full((60, 2), 0.1), heights)
    assert moments_of(same, blocks(S, heights)).are_equal
    blocked = score_scale(blocks(X, heights), blocks(S, heights), np)
    assert blocked == score_scale(X, S, np)


def test_equal_rows(threads):
    with pytest.raises(ValueError, match="all rows of X are equal"):
        KSDTest(lambda x: -x).fit(da.ones((50, 2), chunks=(20, 2)))
    with pytest.raises(ValueError, match="n_samples=2"):
        KSDTest(lambda x: -x).fit(da.ones((2, 2), chunks=(1, 2)))


# ------------------------------------------------------------------------- linear tests


@pytest.mark.parametrize(
    "test",
    [
        NystromKSDTest(NORMAL, **COMMON),
        NystromKSDTest(NORMAL, n_landmarks=7, kernel="rbf", **COMMON),
        FSSDTest(NORMAL, **COMMON),
        FSSDTest(NORMAL, locations=[[0.0, 1.0]], kernel="imq", **COMMON),
        LinearKSDTest(NORMAL, random_state=0),
    ],
    ids=name_of,
)
def test_in_linear_time(X, scheduler, test):
    expected, found = pickle.loads(pickle.dumps(test)).fit(X), test.fit(blocks(X))
    assert_same(found, expected, rtol=1e-8)
    for name in ("landmark_indices_", "locations_", "discrepancy_"):
        if hasattr(expected, name):
            assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-8)


@pytest.mark.parametrize("Test", [NystromKSDTest, FSSDTest])
def test_groups_of_rows(X, threads, monkeypatch, Test):
    """Of many rows groups share a sign, wherever their blocks are."""
    from gpkern.algorithms import feature_sums

    monkeypatch.setattr(feature_sums, "MOST_GROUPS", 50)
    expected = Test(lambda x: -x, **COMMON).fit(X)
    assert_same(Test(lambda x: -x, **COMMON).fit(blocks(X)), expected, rtol=1e-8)


@pytest.mark.parametrize("method", ["sum", "split"])
def test_perturbed(threads, method):
    X = np.random.default_rng(0).normal(size=(120, 1))
    two = Mixture([0.5, 0.5], [[0.0], [8.0]], 1.0)
    options = COMMON | {"thetas": [0.9, 1.0], "n_starts": 20, "method": method}
    expected = PerturbedKSDTest(two, **options).fit(X)
    found = PerturbedKSDTest(two, **options).fit(blocks(X))
    assert_same(found, expected)
    assert found.theta_ == expected.theta_ and found.n_modes_ == 2


# ------------------------------------------------------------------------- two samples


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"statistic": "v", "kernel": "laplacian"},
        {"aggregate": True, "length_scale": [0.5, 2.0]},
        {"kernel": [RBF(1.0), RBF(3.0)], "aggregate": True},
    ],
    ids=name_of,
)
def test_mmd(X, Y, threads, options):
    expected = MMDTest(**COMMON, **options).fit(X, Y)
    found = MMDTest(**COMMON, **options).fit(blocks(X), blocks(Y))
    assert isinstance(found._rows, da.Array)
    assert_same(found, expected)


def test_mmd_on_a_cluster(X, Y, client):
    expected = MMDTest(**COMMON).fit(X, Y)
    assert_same(MMDTest(**COMMON).fit(blocks(X), blocks(Y)), expected)


def test_mmd_of_mixed_arrays(X, Y, threads):
    expected = MMDTest(**COMMON).fit(X, Y)
    for first, second in ((blocks(X), Y), (X, blocks(Y))):
        found = MMDTest(**COMMON).fit(first, second)
        assert isinstance(found._rows, da.Array)
        assert_same(found, expected)
    for rows in (X[:9], blocks(X)):
        values = found.witness_function(rows)
        assert_allclose(values, expected.witness_function(rows), rtol=1e-9, atol=1e-14)
    assert isinstance(values, da.Array)


def test_mmd_by_labels(X, threads):
    labels = np.random.default_rng(0).choice(["a", "b"], size=N)
    expected = MMDTest(**COMMON).fit(X, labels)
    for y in (labels, blocks(labels, (200, 40)), labels[:, None]):
        found = MMDTest(**COMMON).fit(blocks(X), y)
        assert found.classes_.tolist() == ["a", "b"]
        assert_same(found, expected)


def test_mmd_of_pairs(X, Y, threads):
    expected = MMDTest(null="wild", **COMMON).fit(X[:150], Y)
    found = MMDTest(null="wild", **COMMON).fit(blocks(X[:150]), blocks(Y, (80, 70)))
    # In memory, observed and replicates come from one factor of low rank.
    assert_same(found, expected, rtol=1e-6)


def test_mmd_of_a_function(X, Y, threads):
    def kernel(a, b):
        return np.exp(-abs(a - b).sum())

    X, Y = X[:50], Y[:40]
    expected = MMDTest(kernel, **COMMON).fit(X, Y)
    found = MMDTest(kernel, **COMMON).fit(blocks(X, (20, 30)), Y)
    assert_same(found, expected, rtol=1e-9)


def test_mmd_of_a_gram_matrix(X, threads):
    K, labels = RBF(1.0)(X), np.arange(N) % 2
    expected = MMDTest("precomputed", **COMMON).fit(K, labels)
    found = MMDTest("precomputed", **COMMON).fit(da.from_array(K, (100, N)), labels)
    assert_same(found, expected)


def test_mmd_of_bad_samples(X, threads):
    with pytest.raises(ValueError, match="y has 3 columns, X has 2"):
        MMDTest().fit(blocks(X), da.ones((50, 3), chunks=(25, 3)))
    with pytest.raises(ValueError, match="labels of 1 class"):
        MMDTest().fit(blocks(X), np.ones(N))
    column = blocks(X[:, :1])
    with pytest.warns(UserWarning, match="y has the shape of X and two values"):
        MMDTest(**COMMON).fit(column, (column > 0).astype(float))


# ------------------------------------------------------------------------------- others


def test_many_small_blocks_are_put_together(X, threads, monkeypatch):
    from gpkern.dask import pair_sums

    monkeypatch.setattr(pair_sums, "MOST_BLOCKS", 4)
    expected = KSDTest(NORMAL, **COMMON).fit(X)
    found = KSDTest(NORMAL, **COMMON).fit(blocks(X, (5,) * 48))
    assert_same(found, expected)
    assert found.score_samples().numblocks == (48,)


def test_parts_of_blocks(X, threads, monkeypatch):
    """As many multipliers take blocks apart."""
    from gpkern.dask import work

    X = np.random.default_rng(0).normal(size=(700, 2))
    monkeypatch.setattr(work, "MULTIPLIERS", 1)  # the least height, 256 rows
    expected = KSDTest(NORMAL, null="multinomial", **COMMON).fit(X)
    found = KSDTest(NORMAL, null="multinomial", **COMMON).fit(blocks(X, (600, 100)))
    assert_same(found, expected)


def test_few_rows_are_as_in_memory(X, Y, threads, monkeypatch):
    from gpkern.dask import sample_rows

    monkeypatch.setattr(sample_rows, "FEW_ROWS", 5000)
    found = KSDTest(NORMAL, null="markov", **COMMON).fit(blocks(X))
    expected = KSDTest(NORMAL, null="markov", **COMMON).fit(X)
    assert isinstance(found._points, np.ndarray)
    assert found.autocorrelation_time_ == expected.autocorrelation_time_
    assert found.statistic_ == expected.statistic_
    assert_allclose(found.null_distribution_, expected.null_distribution_, rtol=0)
    assert isinstance(MMDTest(**COMMON).fit(blocks(X), Y)._rows, np.ndarray)
    X[3] = np.nan
    with pytest.raises(ValueError, match=r"block 0 of X \(rows 0 to 99\).*NaN"):
        KSDTest(NORMAL).fit(blocks(X))


def test_data_frames(X, Y, threads):
    pd, dd = pytest.importorskip("pandas"), pytest.importorskip("dask.dataframe")
    names = ["a", "b"]
    frame = dd.from_pandas(pd.DataFrame(X, columns=names), npartitions=3)
    test = KSDTest(NORMAL, **COMMON).fit(frame)
    assert test.feature_names_in_.tolist() == names
    assert_same(test, KSDTest(NORMAL, **COMMON).fit(X))
    other = pd.DataFrame(Y, columns=names)[["b", "a"]]
    expected = MMDTest(**COMMON).fit(X, Y)
    for second in (other, dd.from_pandas(other, npartitions=2)):
        assert_same(MMDTest(**COMMON).fit(frame, second), expected)


def test_nothing_warns(X, client):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KSDTest(NORMAL, **COMMON).fit(blocks(X))
        NystromKSDTest(NORMAL, **COMMON).fit(blocks(X))
