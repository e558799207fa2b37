"""
Does the mixture fit?
=====================

A :class:`~sklearn.mixture.GaussianMixture` fits any table with any number of
components, and says nothing of whether it should. BIC and likelihood rank models; they
do not tell that all of them are wrong. :class:`~gpkern.KSDTest` can, and shows where.
"""

# %%
# A fitted model is no known density
# ----------------------------------
# 500 rows from four components, and 500 more to test with.

import matplotlib.pyplot as plt
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture

from gpkern import KSDTest, PerturbedKSDTest
from gpkern.plotting import (
    NullDistributionDisplay,
    PowerCurveDisplay,
    WitnessDisplay,
)
from gpkern.targets import Mixture

truth = Mixture(
    weights=[0.3, 0.3, 0.2, 0.2],
    means=[[0.0, 0.0], [3.0, 0.0], [1.5, 2.5], [6.0, 3.0]],
    covariances=[[0.5, 0.5], [0.6, 0.3], [0.3, 0.6], [0.5, 0.5]],
)
X, new = truth.sample(500, random_state=0), truth.sample(500, random_state=1)

# %%
# There are three ways to ask.
#
# - *frozen, same rows*: the model as if it had been known beforehand, and the rows that
#   it was fitted to. That is not a test: the model has already moved towards these very
#   rows, which look better than any sample of it.
# - *frozen, new rows*: is this density, with just these numbers, that of the rows? A
#   valid test; but no fit is exact, and with enough rows each is rejected.
# - *refitted*: is it *any* mixture of so many components? ``null="parametric"`` draws
#   samples of the model, fits a model to each, and compares: the replicates have had
#   the same advantage. This is what one wants to know of a fitted model.
#
# A model in a :class:`~sklearn.frozen.FrozenEstimator` is taken as known; a bare one
# can be refitted. The tolerance is smaller than usual: by default the fit stops so
# early that the witness further down would show it.

models, refitted = {}, {}
print(f"{'components':>10} {'same rows':>10} {'new rows':>9} {'refitted':>9}")
for k in (2, 3, 4):
    models[k] = model = GaussianMixture(k, tol=1e-5, max_iter=500, random_state=0).fit(
        X
    )
    known = KSDTest(FrozenEstimator(model), random_state=0)
    same, other = known.fit(X).pvalue_, known.fit(new).pvalue_
    refitted[k] = KSDTest(
        model, null="parametric", n_resamples=199, random_state=0
    ).fit(X)
    print(f"{k:10d} {same:10.2g} {other:9.2g} {refitted[k].pvalue_:9.2g}")

# %%
# Three components pass both frozen tests, and only the refitted one sees that they are
# too few. For the right number, p-values of the same rows are near 1, and not spread
# evenly as those of a test should be. The null distributions say why: samples of a
# model that is held fixed are much farther from it than those of a model that follows.

fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
frozen = KSDTest(FrozenEstimator(models[3]), n_resamples=199, random_state=0).fit(X)
for test, ax, name in (
    (frozen, axes[0], "held fixed"),
    (refitted[3], axes[1], "refitted"),
):
    NullDistributionDisplay.from_estimator(test, ax=ax, bins=25)
    ax.set_title(f"three components, {name}: p = {test.pvalue_:.2g}")
plt.show()

# %%
# Where is it wrong?
# ------------------
# The witness is a field of arrows: along them the rows would have to move to look like
# rows of the model. With three components, one has to cover two groups: its density is
# highest between them, and the arrows lead there. With four, next to nothing is left.
# All arrows are drawn to the same scale.

fig, axes = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
options = {}
for ax, k in zip(axes, (3, 4), strict=True):
    WitnessDisplay.from_estimator(
        refitted[k], feature_names=["x", "y"], ax=ax, **options
    )
    options["scale"] = ax.collections[-1].scale
    ax.plot(*models[k].means_.T, "r+", ms=14, mew=2)
    ax.set_title(f"{k} components (their means in red)")
plt.show()

# %%
# What a score cannot see
# -----------------------
# The score of a density at one of two far modes knows nothing of the other: the weight
# of the modes drops out of it. So a sample in which one mode has too many rows, or all
# of them, passes. :class:`~gpkern.PerturbedKSDTest` lets rows jump between the modes of
# the density by a rule that leaves the density as it is; another sample changes by it.

pair = [[0.0, 0.0], [12.0, 0.0]]
halves = Mixture([0.5, 0.5], pair, 1.0)


def make(share, seed):
    return Mixture([share, 1.0 - share], pair, 1.0).sample(200, seed)


curve = PowerCurveDisplay.from_tests(
    {
        "KSDTest": KSDTest(halves, n_resamples=199),
        "PerturbedKSDTest": PerturbedKSDTest(halves, n_resamples=199),
    },
    make,
    [0.5, 0.6, 0.7, 0.85, 1.0],
    n_repetitions=20,
    random_state=0,
    parameter_name="share of the rows in the first mode (0.5 is right)",
)
plt.show()

# %%
# It can only jump between modes that it finds: ``modes_`` lists them. Chains are no
# better off: one that has never left its mode passes a test by scores. Start several of
# them, far apart.
