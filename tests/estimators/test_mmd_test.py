"""`MMDTest` against its definition in dense NumPy, its levels, and its edges."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from gpkern import MMDTest
from gpkern.kernels import RBF, Matern


def two(n=60, m=80, d=2, shift=0.3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d)) + shift


def gram(A, B, kernel="rbf", scale=1.0):
    if kernel == "laplacian":
        return np.exp(-cdist(A, B, "cityblock") / scale)
    r = cdist(A, B, "sqeuclidean") / scale**2
    return np.exp(-0.5 * r) if kernel == "rbf" else (1 + r) ** -0.5


def mmd2(K, first, kind):
    """Squared MMD of the rows `first` and the others, by its definition."""
    A, B = K[np.ix_(first, first)], K[np.ix_(~first, ~first)]
    between = K[np.ix_(first, ~first)].mean()
    if kind == "v":
        return A.mean() + B.mean() - 2 * between
    inside = [(G.sum() - np.trace(G)) / (len(G) * (len(G) - 1)) for G in (A, B)]
    return sum(inside) - 2 * between


@pytest.mark.parametrize("kernel", ["rbf", "laplacian", "imq"])
@pytest.mark.parametrize("kind", ["u", "v"])
def test_statistic_and_permutations_by_their_definition(kernel, kind, asarray):
    X, Y = two()
    options = {"length_scale": 1.3, "statistic": kind, "random_state": 4}
    found = MMDTest(kernel, **options).fit(asarray(X), asarray(Y))
    Z = np.vstack([X, Y])
    K, first = gram(Z, Z, kernel, 1.3), np.arange(140) < 60
    assert_allclose(found.statistic_, mmd2(K, first, kind), rtol=1e-4, atol=1e-9)
    rng = np.random.RandomState(4)
    for b in range(5):
        chosen = np.isin(np.arange(140), rng.permutation(140)[:60])
        expected = mmd2(K, chosen, kind)
        assert_allclose(found.null_distribution_[b], expected, atol=1e-6)


def test_low_rank_changes_nothing():
    X, Y = two(400, 300, d=1, shift=0.1)
    found = MMDTest(length_scale=1.0, random_state=2).fit(X, Y)
    Z, first = np.vstack([X, Y]), np.arange(700) < 400
    K, rng, expected = gram(Z, Z), np.random.RandomState(2), []
    for _ in range(1000):
        chosen = np.zeros(700, bool)
        chosen[rng.permutation(700)[:400]] = True
        expected.append(mmd2(K, chosen, "u"))
    assert_allclose(found.statistic_, mmd2(K, first, "u"), rtol=1e-4)
    spread = np.std(expected)
    assert_allclose(found.null_distribution_, expected, atol=1e-4 * spread)


def test_wild_replicates_swap_pairs():
    X, Y = two(70, 70)
    found = MMDTest(length_scale=1.0, null="wild", random_state=0).fit(X, Y)
    Kxx, Kyy, Kxy = gram(X, X), gram(Y, Y), gram(X, Y)
    H = Kxx + Kyy - Kxy - Kxy.T
    np.fill_diagonal(H, 0.0)
    assert_allclose(found.statistic_, H.sum() / (70 * 69), rtol=1e-6)
    from gpkern import RandomSigns

    W = RandomSigns(70, 1000, np.random.RandomState(0)).rows(0, 70, np, float)
    expected = np.einsum("ib,ij,jb->b", W, H, W, optimize=True) / (70 * 69)
    assert_allclose(found.null_distribution_, expected, atol=1e-6)


def test_labels_and_a_given_matrix():
    X, Y = two()
    Z, y = np.vstack([X, Y]), np.repeat(["a", "b"], [60, 80])
    mixed = np.random.default_rng(1).permutation(140)
    options = {"length_scale": 1.0, "random_state": 0}
    whole = MMDTest(**options).fit(X, Y)
    labelled = MMDTest(**options).fit(Z[mixed], y[mixed])
    assert_allclose(labelled.statistic_, whole.statistic_, rtol=1e-9)
    K = gram(Z, Z)
    given = MMDTest("precomputed", random_state=0).fit(K, y)
    assert_allclose(given.statistic_, whole.statistic_, rtol=1e-9)
    assert given.pvalue_ == whole.pvalue_
    shuffled = MMDTest("precomputed").fit(K[np.ix_(mixed, mixed)], y[mixed])
    assert_allclose(shuffled.statistic_, whole.statistic_, rtol=1e-9)
    half = np.r_[:60, 60:120]
    pairs = MMDTest("precomputed", null="wild", random_state=0)
    pairs.fit(K[np.ix_(half, half)], y[:120])
    direct = MMDTest(null="wild", **options).fit(X, Y[:60])
    assert_allclose(pairs.statistic_, direct.statistic_, rtol=1e-6)
    assert pairs.pvalue_ == direct.pvalue_


def test_aggregated():
    X, Y = two(shift=0.8)
    found = MMDTest(aggregate=True, random_state=0).fit(X, Y)
    assert len(found.kernels_) == 20 and found.rejected_
    assert_allclose(found.per_kernel_["weight"], 0.05)
    one = MMDTest(found.kernels_[3], random_state=0).fit(X, Y)
    assert_allclose(one.statistic_, found.per_kernel_["statistic"][3], rtol=1e-9)
    assert one.pvalue_ == found.per_kernel_["pvalue"][3]


def test_witness(asarray, host):
    X, Y = two()
    found = MMDTest(RBF(1.0), random_state=0).fit(asarray(X), asarray(Y))
    V = np.array([[0.0, 0.0], [2.0, 2.0]])
    expected = gram(V, X).mean(axis=1) - gram(V, Y).mean(axis=1)
    assert_allclose(host(found.witness_function(asarray(V))), expected, atol=1e-9)


def test_a_function_as_kernel():
    X, Y = two()
    found = MMDTest(lambda a, b: np.exp(-0.5 * ((a - b) ** 2).sum()), random_state=0)
    assert_allclose(
        found.fit(X, Y).statistic_,
        MMDTest(length_scale=1.0, random_state=0).fit(X, Y).statistic_,
        rtol=1e-6,
    )


def test_offsets_and_samples_far_apart():
    X, Y = two()
    near = MMDTest(length_scale=1.0, random_state=0).fit(X, Y)
    far = MMDTest(length_scale=1.0, random_state=0).fit(X + 1e7, Y + 1e7)
    assert_allclose(far.statistic_, near.statistic_, rtol=1e-5)
    assert MMDTest(length_scale=1.0).fit(X, Y + 1e6).pvalue_ < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"null": "wild"}, {"aggregate": True, "kernel": "rbf"}]
)
def test_p_values_are_uniform_under_the_null(options):
    options = {"n_resamples": 199, **options}
    p = np.array(
        [
            MMDTest(random_state=i, **options).fit(*two(80, 80, 3, 0, i)).pvalue_
            for i in range(400)
        ]
    )
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert 0.02 <= (p <= 0.05).mean() <= 0.085


def test_bad_inputs():
    X, Y = two()
    K = gram(X, X)
    y = np.arange(60) < 20
    for test, args, message in (
        (MMDTest(), (X, None), "requires y"),
        (MMDTest(), (X, Y[:, :1]), "y has 1 columns, X has 2"),
        (MMDTest(), (X, np.arange(60)), "labels of 60 classes"),
        (MMDTest(), (X, np.zeros(60)), "labels of 1 class"),
        (MMDTest(), (X, y[:30]), "30 labels for 60 rows"),
        (MMDTest(), (X[:1], Y), "at least 2"),
        (MMDTest(), (np.ones((5, 2)), np.ones((5, 2))), "equal"),
        (MMDTest(null="wild"), (X, Y), "equal size"),
        (MMDTest("precomputed"), (X, y), "square"),
        (MMDTest("precomputed"), (np.triu(K), y), "symmetric"),
        (MMDTest(["rbf", "imq"]), (X, Y), "aggregate=True"),
        (MMDTest("gauss"), (X, Y), "kernel"),
        (MMDTest("precomputed", length_scale=1.0), (K, y), "length_scale=None"),
        (MMDTest("precomputed", aggregate=True), (K, y), "aggregate=False"),
        (MMDTest(), (X, np.where(y, np.nan, 1.0)), "labels that are missing"),
        (MMDTest(), (X, [None] * 30 + ["b"] * 30), "labels that are missing"),
        (MMDTest(lambda a, b: a[0] * b[1]), (X, Y), "is not symmetric"),
        (MMDTest(alpha=2.0), (X, Y), "alpha"),
        (MMDTest(length_scale=[1.0, -1.0], aggregate=True), (X, Y), "length_scale"),
    ):
        with pytest.raises(ValueError, match=message):
            test.fit(*args)
    with pytest.raises(ValueError, match="NaN"):
        MMDTest().fit(X, np.where(Y > 1, np.nan, Y))
    with pytest.raises(ValueError, match="precomputed"):
        MMDTest("precomputed").fit(K, y).witness_function(X)
    with pytest.warns(UserWarning, match="use at least"):
        MMDTest(n_resamples=10).fit(X, Y)
    with pytest.warns(UserWarning, match=r"labels as y.ravel\(\)"):
        MMDTest().fit(X[:, :1], y.astype(float)[:, None])


def test_labels_of_an_earlier_fit_go():
    X, Y = two()
    test = MMDTest().fit(X, np.arange(60) < 20)
    assert list(test.classes_) == [False, True]
    assert not hasattr(test.fit(X, Y), "classes_")


def test_clone_and_results():
    X, Y = two()
    test = clone(MMDTest(Matern(1.0, nu=0.5), random_state=0)).fit(X, Y)
    statistic, p = test.result_
    assert (statistic, p) == (test.statistic_, test.pvalue_)
    assert test.n_features_in_ == 2


@parametrize_with_checks([MMDTest(n_resamples=19)])
def test_common_checks(estimator, check):
    check(estimator)


def test_data_frames_are_compared_by_their_columns(recwarn):
    pd = pytest.importorskip("pandas")
    X, Y = two()
    A, B = pd.DataFrame(X, columns=["a", "b"]), pd.DataFrame(Y, columns=["a", "b"])
    plain = MMDTest(random_state=0).fit(X, Y)
    for frame in (B, B[["b", "a"]]):
        assert MMDTest(random_state=0).fit(A, frame).pvalue_ == plain.pvalue_
    assert not len(recwarn)
    with pytest.raises(ValueError, match="other columns"):
        MMDTest().fit(A, B.rename(columns={"a": "c"}))
    with pytest.raises(ValueError, match="Input y contains NaN"):
        MMDTest().fit(X, np.where(Y > 1, np.nan, Y))


def test_energy_distance():
    """A kernel that is positive but for a constant."""
    X, Y = two(300, 400, 3, 0.0)

    def energy(a, b):
        return -np.sqrt(((a - b) ** 2).sum())

    found = MMDTest(energy, n_resamples=200, random_state=0).fit(X[:, :1], Y[:, :1])
    assert found.null_distribution_.std() > 0 and found.pvalue_ > 0.05
