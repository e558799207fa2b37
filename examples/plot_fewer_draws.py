"""
An integral with a tenth of the draws
=====================================

The mean of a function under a posterior is estimated by the mean of its values at
draws, and the error falls with the root of their number. Samplers also compute the
gradients of the log density at the draws. With these a kernel knows very many functions
whose mean is exactly 0; what they explain of the values is no longer noise.
:class:`~gpkern.SteinControlVariates` fits them by ridge regression, and what remains is
the integral.
"""

# %%
# Hares and lynxes
# ----------------
# The Lotka-Volterra model of two species has eight parameters. Reference draws of its
# posterior come with their gradients; the means of all 4,000 of them are known to a
# sixtieth of a standard deviation.

import warnings

import matplotlib.pyplot as plt
import numpy as np

from gpkern import SteinControlVariates
from gpkern.datasets import load_posterior
from gpkern.plotting import IntegralDisplay

posterior = load_posterior("lotka_volterra")
d = posterior.data.shape[2]
order = np.random.default_rng(0).permutation(posterior.data.size // d)
X, scores, draws = (
    a.reshape(-1, d)[order] for a in (posterior.data, posterior.scores, posterior.draws)
)
names = posterior.parameter_names

# %%
# Means of all parameters from 100 draws. Parameters that vary alike share a length
# scale and a penalty; `weights_` holds a quadrature rule of 100 nodes for each.

few = SteinControlVariates(random_state=0).fit(X[:100], draws[:100], scores[:100])
spread = draws.std(axis=0)
print(f"length scales {few.length_scale_.round(1)}")
print(f"weights sum to {few.weights_.sum(axis=0).round(6)}")
for i, name in enumerate(names):
    plain = abs(draws[:100, i].mean() - draws[:, i].mean()) / spread[i]
    ours = abs(few.integral_[i] - draws[:, i].mean()) / spread[i]
    print(
        f"{name:>12}: off by {plain:.3f} standard deviations, with control variates "
        f"by {ours:.3f}; worth {100 * few.variance_reduction_[i]:,.0f} draws"
    )

# %%
# The error bars are on the safe side. They come from predictions of values that a fit
# has not seen: one half of the draws from the other, and the outer draws from the
# inner. From a few hundred draws on they are far below those of the mean of all 4,000.

fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for ax, i in zip(axes, (0, 4), strict=True):
    IntegralDisplay.from_estimator(
        SteinControlVariates(random_state=0),
        X[:1000],
        draws[:1000, i],
        scores=scores[:1000],
        truth=draws[:, i].mean(),
        name=f"mean of {names[i]}",
        ax=ax,
    )
axes[0].get_legend().remove()
plt.show()

# %%
# The line is the mean of the 4,000 reference draws, which has an error too.
#
# Where it fails
# --------------
# Eight schools is a funnel: the density has no length scale that suits both its narrow
# and its wide end. The fit explains nothing there, and says so.

funnel = load_posterior("eight_schools")
d = funnel.data.shape[2]
mu = funnel.feature_names.index("mu")
rows, slopes = (a.reshape(-1, d)[order[:400]] for a in (funnel.data, funnel.scores))
flat = SteinControlVariates(random_state=0)
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    flat.fit(rows, rows[:, mu], slopes)
print(f"warning: {said[0].message}")
print(f"variance reduction: {flat.variance_reduction_:.2f}")

# %%
# A costly model and a cheap one
# ------------------------------
# Of a function that takes hours there are 40 values, of a rougher one 400. Draws and
# values of both in lists, the fit learns how the two correlate, and the cheap one helps
# the costly one.


def cheap(x):
    """A rough model."""
    return np.exp(0.4 * x[:, 0]) * np.sin(2 * x[:, 1]) + np.cos(2 * x[:, 0])


def costly(x):
    """What is wanted."""
    return 1.2 * cheap(x) + 0.2 * np.sin(x[:, 0] + x[:, 1]) ** 2


def score(x):
    """Of the standard normal distribution."""
    return -x


errors = {"plain mean": [], "alone": [], "with the cheap one": []}
nodes, weights = np.polynomial.hermite_e.hermegauss(60)
grid = np.array([(a, b) for a in nodes for b in nodes])
truth = np.outer(weights, weights).ravel() @ costly(grid) / weights.sum() ** 2
for seed in range(10):
    rng = np.random.default_rng(seed)
    X40, X400 = rng.normal(size=(40, 2)), rng.normal(size=(400, 2))
    y40, y400 = costly(X40), cheap(X400)
    model = SteinControlVariates(score, random_state=0)
    errors["plain mean"].append(y40.mean() - truth)
    errors["alone"].append(model.fit(X40, y40).integral_ - truth)
    both = model.fit([X40, X400], [y40, y400])
    errors["with the cheap one"].append(both.integral_[0] - truth)
for name, values in errors.items():
    print(f"{name:>20}: error {np.sqrt(np.mean(np.square(values))):.4f}")
