"""`AttributionDisplay`: the images, labels and shares of a surrogate."""

import pytest
from numpy.testing import assert_allclose, assert_array_equal

plt = pytest.importorskip("matplotlib.pyplot")

from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.neural_network import MLPClassifier  # noqa: E402

from gpkern import NTKSurrogateClassifier  # noqa: E402
from gpkern.plotting import AttributionDisplay  # noqa: E402

X, Y = load_digits(n_class=4, return_X_y=True)
X = X / 16


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def surrogate():
    mlp = MLPClassifier(16, max_iter=200, random_state=0).fit(X[:300], Y[:300])
    return NTKSurrogateClassifier(mlp).fit(X[:300], Y[:300])


def draw(surrogate, rows=X[300:303], **options):
    return AttributionDisplay.from_estimator(surrogate, rows, **options)


def test_shows_what_adds_most(surrogate):
    display = draw(surrogate, n_top=4)
    rows, shares = surrogate.attribute(X[300:303], n_top=4)
    assert display.axes_.shape == (3, 5)
    assert_array_equal(display.shares, shares)
    assert_array_equal(display.evidence_labels, Y[rows])
    assert_allclose(display.logits, surrogate.decision_function(X[300:303]).max(axis=1))
    own, first = display.axes_[0, 0], display.axes_[0, 1]
    assert_array_equal(own.images[0].get_array(), X[300].reshape(8, 8))
    assert_array_equal(first.images[0].get_array(), X[rows[0, 0]].reshape(8, 8))
    label = surrogate.predict(X[300:301])[0]
    assert own.get_title() == f"{label}, logit {display.logits[0]:.1f}"
    assert first.get_title() == f"{Y[rows[0, 0]]}: {shares[0, 0]:+.2f}"


def test_target_axes_and_options(surrogate):
    figure, axes = plt.subplots(3, 3)
    display = draw(surrogate, target=2, n_top=2, axes=axes, cmap="viridis")
    assert display.figure_ is figure
    assert_allclose(display.logits, surrogate.decision_function(X[300:303])[:, 2])
    assert display.axes_[0, 0].images[0].get_cmap().name == "viridis"
    wide = draw(surrogate, image_shape=(4, 16))
    assert wide.images.shape == (3, 4, 16) and wide.evidence.shape == (3, 5, 4, 16)


def test_errors(surrogate):
    with pytest.raises(NotFittedError):
        draw(NTKSurrogateClassifier(surrogate.estimator))
    with pytest.raises(ValueError, match="does not hold the 64 columns"):
        draw(surrogate, image_shape=(8, 9))
    with pytest.raises(ValueError, match=r"needs \(3, 6\)"):
        draw(surrogate, axes=plt.subplots(2, 2)[1])
    with pytest.raises(ValueError, match="n_top"):
        draw(surrogate, n_top=0)
    odd = MLPClassifier(4, max_iter=5, random_state=0).fit(X[:300, :5], Y[:300])
    model = NTKSurrogateClassifier(odd).fit(X[:300, :5], Y[:300])
    with pytest.raises(ValueError, match="square images, and X has 5 columns"):
        draw(model, X[:3, :5])
