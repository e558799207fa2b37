"""
Judging the output of MCMC
==========================

Are these draws from the posterior that was asked for? R-hat and the effective sample
size compare chains with each other; where all of them miss the same region, they do
not notice. :class:`~gpkern.KSDTest` compares the chains with the density itself. All it
needs are the gradients of the log density at the draws, the scores, which samplers such
as Stan and nutpie compute anyway; the constant that nobody knows drops out.
"""

# %%
# Draws and their scores
# ----------------------
# Eight schools is a small hierarchical model: eight effects theta, about a mean mu,
# with a spread tau. The data set holds reference draws of Stan, ten chains of 400, so
# far apart that they hardly correlate.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import lfilter

from gpkern import KSDTest
from gpkern.datasets import load_posterior
from gpkern.plotting import (
    ContributionDisplay,
    NullDistributionDisplay,
    PowerCurveDisplay,
)

posterior = load_posterior("eight_schools")
X, scores = posterior.data, posterior.scores
print(X.shape, posterior.feature_names)

# %%
# ``null="markov"`` is for chains: it takes an array of shape (chain, draw, column), and
# allows for the autocorrelation that it finds. The statistic is the squared distance
# between draws and density. It is never 0 for finitely many draws; the replicates say
# how large it may be by chance.

reference = KSDTest(null="markov", random_state=0).fit(X, scores=scores)
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
NullDistributionDisplay.from_estimator(reference, ax=ax)
plt.show()

# %%
# The test has nothing against the reference draws. Neither has this one, which combines
# ten length scales, so that none needs to be believed in:

several = KSDTest(null="markov", aggregate=True, random_state=0)
print(f"ten scales: p = {several.fit(X, scores=scores).pvalue_:.2g}")

# %%
# Why log tau?
# ------------
# The columns are unconstrained coordinates: log tau stands for tau. Stein's identity,
# on which all of this rests, needs a density that falls to 0 at its ends. That of tau
# does not at 0, that of log tau does. But a density in other coordinates is another
# density: that of log tau is the one of tau times the Jacobian, tau, and its logarithm
# gets one more term, log tau, of slope 1. To forget it is a common mistake. The draws
# are as right as before, but the test is now of another density, and the columns say
# where.

forgotten = scores.copy()
forgotten[..., posterior.feature_names.index("log tau")] -= 1.0
wrong = KSDTest(null="markov", random_state=0).fit(X, scores=forgotten)
print(f"without the Jacobian: p = {wrong.pvalue_:.2g}")

fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for test, ax, title in (
    (reference, axes[0], "reference draws"),
    (wrong, axes[1], "scores without the Jacobian"),
):
    ContributionDisplay.from_estimator(
        test, feature_names=posterior.feature_names, ax=ax
    )
    ax.set_title(title, pad=24)
plt.show()

# %%
# Bars are to be compared with their marks, not with each other: columns with large
# scores contribute much by chance alone.

# %%
# Chains that miss the neck
# -------------------------
# Where tau is small, the effects are confined to a narrow funnel, which many samplers
# do not get into: Stan reports divergences. All chains miss it alike, so that R-hat is
# fine. To imitate them, draws with tau < 0.5 are left out, a tenth of all.

inside = X[..., 9] > np.log(0.5)
length = inside.sum(axis=1).min()
rows = [np.flatnonzero(chain)[:length] for chain in inside]


def without_neck(array):
    return np.stack([chain[kept] for chain, kept in zip(array, rows, strict=True)])


fig, axes = plt.subplots(
    1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained"
)
for ax, draws, title in (
    (axes[0], X, "reference"),
    (axes[1], without_neck(X), "without the neck"),
):
    ax.plot(draws[..., 0].ravel(), draws[..., 9].ravel(), ".", ms=2)
    ax.set(xlabel="theta[1]", title=title)
axes[0].set_ylabel("log tau")
plt.show()

# %%
# In which coordinates?
# ---------------------
# Next to the neck scores are large, and what is missing may drown in their noise. In
# the coordinates ``(theta - mu) / tau`` there is no funnel, which is why samplers
# prefer them too. Scores follow by the chain rule: a change of mu or of log tau now
# takes theta along, and the Jacobian, tau to the power of 8, adds 8 to the last one.


def without_funnel(X, scores):
    theta, mu, log_tau = X[..., :8], X[..., 8:9], X[..., 9:]
    tau, by_theta = np.exp(log_tau), scores[..., :8]
    points = np.concatenate([(theta - mu) / tau, mu, log_tau], axis=-1)
    changed = np.concatenate([by_theta * tau, scores[..., 8:]], axis=-1)
    changed[..., 8] += by_theta.sum(axis=-1)
    changed[..., 9] += (by_theta * (theta - mu)).sum(axis=-1) + 8.0
    return points, changed


cut = without_neck(X), without_neck(scores)
samples = {
    ("reference", "theta"): (X, scores),
    ("without the neck", "theta"): cut,
    ("reference", "(theta - mu) / tau"): without_funnel(X, scores),
    ("without the neck", "(theta - mu) / tau"): without_funnel(*cut),
}
tests = {}
for (name, coordinates), (points, own) in samples.items():
    test = KSDTest(null="markov", random_state=0).fit(points, scores=own)
    tests[name, coordinates] = test
    print(f"{name:16} by {coordinates:18}: p = {test.pvalue_:.2g}")

last = tests["without the neck", "(theta - mu) / tau"]
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
NullDistributionDisplay.from_estimator(last, ax=left)
names = [f"({name} - mu) / tau" for name in posterior.feature_names[:8]]
names += posterior.feature_names[8:]
ContributionDisplay.from_estimator(last, feature_names=names, ax=right)
plt.show()

# %%
# What is missing is found in both, more clearly in the second, where log tau is named.
# The level holds in all coordinates; what is seen depends on them.

# %%
# Why not the usual null distribution?
# ------------------------------------
# ``null="wild"``, the default, is for independent rows. Draws of a chain that is just
# right come in runs, so that their statistic varies more, and a test that does not know
# it rejects correct chains; it warns of visible runs. Here are chains of 300 draws from
# a normal distribution, tested for that very distribution.


def chain(correlation, seed):
    noise = np.random.default_rng(seed).normal(size=(300, 1))
    noise[1:] *= np.sqrt(1.0 - correlation**2)
    rows = lfilter([1.0], [1.0, -correlation], noise, axis=0)[None]
    return {"X": rows, "scores": -rows}


with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "successive rows of X correlate")
    warnings.filterwarnings("ignore", "the autocorrelation time is")
    curve = PowerCurveDisplay.from_tests(
        {null: KSDTest(null=null, n_resamples=199) for null in ("wild", "markov")},
        chain,
        [0.0, 0.5, 0.8, 0.95],
        n_repetitions=50,
        random_state=0,
        parameter_name="correlation of successive draws",
    )
plt.show()

# %%
# Signs that flip the more rarely the longer the runs are keep the level. The price is
# power: twenty draws that are alike count as one. A chain that is not rejected is
# right, or too short to tell, or wrong in a way that these coordinates do not show.
