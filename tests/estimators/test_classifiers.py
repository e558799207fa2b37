"""Labels, scores and probabilities of the classifiers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.gaussian_process.kernels import RBF
from sklearn.metrics import log_loss

from gpkern import EigenProClassifier, KernelRidge, KernelRidgeClassifier


@pytest.fixture(scope="module")
def rows():
    """X, class numbers 0 to 2 with some noise, X to predict at."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 2))
    codes = (X[:, 0] > -0.5).astype(int) + (X[:, 0] + 0.2 * X[:, 1] > 0.5)
    return X[:120], codes[:120], X[120:]


LABELS = {
    "int": [3, 5, 8],
    "negative": [-1, 0, 1],
    "str": ["no", "so", "yes"],
    "object": np.array(["a", "b", "c"], dtype=object),
    "float": [0.0, 1.0, 2.0],
}


class TestLabels:
    @pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_kinds(self, rows, classifier, labels, n_classes):
        X, codes, X_test = rows
        codes = np.minimum(codes, n_classes - 1)
        y = np.asarray(labels)[codes]
        out = classifier.fit(X, y).predict(X_test)
        assert_array_equal(classifier.classes_, labels[:n_classes])
        assert out.dtype == classifier.classes_.dtype == y.dtype
        assert (classifier.predict(X) == y).mean() > 0.8
        numbers = clone(classifier).fit(X, codes)
        assert_array_equal(out, np.asarray(labels)[numbers.predict(X_test)])

    def test_bool(self, rows, classifier):
        X, codes, X_test = rows
        out = classifier.fit(X, codes > 0).predict(X_test)
        assert out.dtype == bool
        assert_array_equal(classifier.classes_, [False, True])

    def test_column_vector(self, rows, classifier):
        X, codes, X_test = rows
        expected = clone(classifier).fit(X, codes).predict(X_test)
        with pytest.warns(UserWarning, match="column-vector"):
            classifier.fit(X, codes[:, None])
        assert_array_equal(classifier.predict(X_test), expected)

    def test_single_class(self, rows, classifier):
        X, codes, _ = rows
        with pytest.raises(ValueError, match="only one class: 'a'"):
            classifier.fit(X, np.full(len(codes), "a"))

    @pytest.mark.parametrize(
        "y", [np.linspace(0, 1, 120), np.eye(120)[:, :3].astype(int)]
    )
    def test_not_classes(self, rows, classifier, y):
        with pytest.raises(ValueError, match=r"continuous|1d array"):
            classifier.fit(rows[0], y)


class TestScores:
    def test_binary(self, rows, classifier):
        X, codes, X_test = rows
        y = np.where(codes > 0, "b", "a")
        scores = classifier.fit(X, y).decision_function(X_test)
        assert scores.shape == (30,)
        assert classifier.dual_coef_.ndim == 1
        assert_array_equal(classifier.predict(X_test) == "b", scores > 0)

    def test_multiclass(self, rows, classifier):
        X, codes, X_test = rows
        scores = classifier.fit(X, codes).decision_function(X_test)
        assert scores.shape == (30, 3)
        assert classifier.dual_coef_.shape[1] == 3
        assert_array_equal(classifier.predict(X_test), scores.argmax(axis=1))

    def test_ridge_classifier_is_ridge_on_signs(self, rows):
        X, codes, X_test = rows
        signs = np.where(codes[:, None] == np.arange(3), 1.0, -1.0)
        weights = np.linspace(0, 1, 120)
        for columns, y in ((signs, codes), (-signs[:, 0], codes > 0)):
            model = KernelRidgeClassifier(kernel="rbf").fit(X, y, weights)
            regressor = KernelRidge(kernel="rbf").fit(X, columns, weights)
            assert_allclose(
                model.decision_function(X_test), regressor.predict(X_test), atol=1e-10
            )

    def test_eigenpro_fits_indicators(self):
        """At convergence 1 for the class of a training row and 0 for the others."""
        X = np.linspace(-3, 3, 12)[:, None]
        codes = np.arange(12) % 3
        model = EigenProClassifier(RBF(0.3), n_epochs=300, random_state=0)
        scores = model.fit(X, codes).decision_function(X)
        assert_allclose(scores, np.eye(3)[codes], atol=1e-3)
        scores = model.fit(X, codes > 0).decision_function(X)
        assert_allclose(scores, np.where(codes > 0, 1.0, -1.0), atol=1e-3)


@pytest.fixture(params=["multiclass", "binary"])
def noisy(request, blobs):
    """Classes that overlap: X, y to train on, X, y to test on."""
    X, y, X_test, y_test = blobs
    if request.param == "binary":
        y, y_test = y > 0, y_test > 0
    return X, y, X_test, y_test


class TestProbabilities:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("early_stopping", [False, True])
    def test_are_probabilities(self, noisy, dtype, early_stopping):
        X, y, X_test, _ = noisy
        model = EigenProClassifier(early_stopping=early_stopping, random_state=0)
        model.fit(X.astype(dtype), y)
        # Far away too, where every score is that of the mean, or beyond.
        X_test = np.r_[X_test, 100 * X_test].astype(dtype)
        p = model.predict_proba(X_test)
        assert p.shape == (len(X_test), len(np.unique(y)))
        assert (p >= 0).all()
        assert (p <= 1).all()
        assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
        if len(model.classes_) > 2 or not early_stopping:
            # (For two classes the calibration has an offset, as Platt's has.)
            second, first = np.sort(p, axis=1)[:, -2:].T
            winners = model.classes_[p.argmax(axis=1)] == model.predict(X_test)
            assert winners[first - second > 1e-6].all()

    def test_calibration_lowers_the_log_loss(self, noisy):
        X, y, X_test, y_test = noisy
        model = EigenProClassifier(early_stopping=True, n_epochs=20, random_state=0)
        p = model.fit(X, y).predict_proba(X_test)
        assert model.calibration_ is not None
        # The same scores, clipped instead.
        model.calibration_ = None
        assert log_loss(y_test, p) < log_loss(y_test, model.predict_proba(X_test))
        shares = np.bincount(y.astype(int)) / len(y)
        assert log_loss(y_test, p) < log_loss(y_test, np.tile(shares, (len(X_test), 1)))

    def test_calibrated_probabilities_mean_what_they_say(self, noisy):
        X, y, X_test, y_test = noisy
        model = EigenProClassifier(early_stopping=True, random_state=0).fit(X, y)
        p = model.predict_proba(X_test).max(axis=1)
        right = model.predict(X_test) == y_test
        # Three standard errors of 600 test rows, and of the 60 of the calibration.
        assert abs(p.mean() - right.mean()) < 3 * 0.5 * np.sqrt(1 / 600 + 1 / 60)

    def test_without_held_out_rows_there_is_no_calibration(self, noisy):
        X, y, *_ = noisy
        assert EigenProClassifier().fit(X, y).calibration_ is None


class TestPartialFit:
    def test_classes_are_needed_first(self, rows):
        X, codes, _ = rows
        with pytest.raises(ValueError, match="classes must be passed"):
            EigenProClassifier().partial_fit(X, codes)

    def test_unseen_labels(self, rows):
        X, codes, _ = rows
        model = EigenProClassifier()
        with pytest.raises(ValueError, match=r"not in classes: \[2\]"):
            model.partial_fit(X, codes, classes=[0, 1])
        assert not hasattr(model, "classes_")
        model.partial_fit(X, np.minimum(codes, 1), classes=[0, 1])
        with pytest.raises(ValueError, match=r"not in classes: \[2\]"):
            model.partial_fit(X, codes)

    def test_other_classes_later(self, rows):
        X, codes, _ = rows
        model = EigenProClassifier().partial_fit(X, codes, classes=[2, 0, 1])
        model.partial_fit(X, codes, classes=[0, 1, 2])
        with pytest.raises(ValueError, match="differs from those of the first call"):
            model.partial_fit(X, codes, classes=[0, 1, 2, 3])

    def test_one_class_only(self, rows):
        X, codes, _ = rows
        with pytest.raises(ValueError, match="at least 2 classes"):
            EigenProClassifier().partial_fit(X, 0 * codes, classes=[0])

    def test_a_chunk_may_miss_classes(self, rows):
        X, codes, _ = rows
        model = EigenProClassifier(n_centers=X[:40], random_state=0)
        first = codes[:60] < 2
        model.partial_fit(X[:60][first], codes[:60][first], classes=[0, 1, 2])
        assert set(model.predict(X)) <= {0, 1}
        for chunk in np.array_split(np.arange(120), 4):
            model.partial_fit(X[chunk], codes[chunk])
        assert_array_equal(model.classes_, [0, 1, 2])
        assert model.score(X, codes) > 0.8


def test_warm_start_needs_the_same_classes(rows):
    X, codes, _ = rows
    model = EigenProClassifier(warm_start=True).fit(X, codes)
    for y in (codes + 1, codes > 0):
        with pytest.raises(ValueError, match="classes of the last fit"):
            model.fit(X, y)
    assert_array_equal(model.classes_, [0, 1, 2])
    model.fit(X, codes)


def test_a_class_of_one_row(rows):
    """It cannot be on both sides of the split: one that is not stratified."""
    X, codes, _ = rows
    y = np.where(np.arange(120) == 7, 3, codes)
    for early_stopping in (True, False):
        model = EigenProClassifier(early_stopping=early_stopping, random_state=0)
        assert model.fit(X, y).score(X, y) > 0.8
