"""
Monitoring a detector
=====================

A detector delivers batches of events, day and night. Is it still working as it did when
it was calibrated? One histogram for each quantity is what control rooms look at; a
fault that changes how quantities depend on each other may leave all of them alike.
:class:`~gpkern.LearnedLikelihoodRatioTest` compares each batch with a reference sample
in all quantities at once, gives its p-value, and shows where they differ.
"""

# %%
# Muons in drift tubes
# --------------------
# A muon crosses four layers of gas-filled tubes. Electrons drift from its track to the
# wires, and the four times tell its path; the angle of the track is the fifth quantity.
# As layers are shifted by half a tube, times depend on each other: where one is short,
# that of the next layer is long.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import ks_2samp

from gpkern import LearnedLikelihoodRatioTest
from gpkern.datasets import make_muons
from gpkern.plotting import LogRatioDisplay

names = [f"time {k} [ns]" for k in range(1, 5)] + ["angle [degrees]"]
rng = np.random.RandomState(0)
reference = make_muons(20_000, random_state=rng)

fig, axes = plt.subplots(1, 3, figsize=(11, 3.5), layout="constrained")
for ax, (i, j) in zip(axes, [(0, 1), (0, 2), (1, 4)], strict=True):
    ax.plot(*reference[:3000, [i, j]].T, ".", ms=2)
    ax.set(xlabel=names[i], ylabel=names[j])
plt.show()

# %%
# Calibration
# -----------
# `fit` needs the reference, and how many events a batch holds on average. Toys, batches
# that are drawn from the reference itself, tell what the statistic is when all is well.
# It follows a chi-square distribution, so that p-values far below one over the number
# of toys can be had from its tail.

monitor = LearnedLikelihoodRatioTest(n_centers=400, random_state=0)
monitor.fit(reference, expected=1000)
print(
    f"{monitor.df_:.0f} degrees of freedom, "
    f"goodness of fit p = {monitor.goodness_of_fit_:.2f}"
)

# %%
# A fault that grows
# ------------------
# Forty batches. From the twentieth on, the threshold of the amplifiers sags, by 2 mV a
# batch: ever more hits are noise. For comparison, a Kolmogorov-Smirnov test of each
# quantity, whose smallest p-value is multiplied by five as there are five of them.

thresholds = 100.0 - 2.0 * np.maximum(np.arange(40) - 19, 0.0)
z_scores, smallest = [], []
for threshold in thresholds:
    n = rng.poisson(1000)
    batch = make_muons(n, threshold=threshold, random_state=rng)
    z_scores.append(monitor.test(batch).zscore)
    p = [ks_2samp(batch[:, j], reference[:, j]).pvalue for j in range(5)]
    smallest.append(min(1.0, 5.0 * min(p)))

fig, (above, below) = plt.subplots(
    2, 1, figsize=(7, 5), sharex=True, layout="constrained"
)
above.plot(z_scores, "o-", ms=4)
above.axhline(3.0, color="0.6", ls="--", label="alarm, z = 3")
above.set(ylabel="z-score of the batch")
above.legend(loc="upper left")
below.semilogy(smallest, "s-", ms=4, color="tab:orange")
below.axhline(1.35e-3, color="0.6", ls="--", label="the same alarm")
below.set(xlabel="batch", ylabel="p-value, one quantity\nat a time")
below.legend(loc="lower left")
for ax in (above, below):
    ax.axvline(19.5, color="tab:red", lw=1)
plt.show()

alarms = np.flatnonzero(np.array(z_scores) > 3)
single = np.flatnonzero(np.array(smallest) < 1.35e-3)
for name, found in (("all quantities at once", alarms), ("one at a time", single)):
    first = f"the first in batch {found[0]}" if len(found) else "in no batch"
    print(f"{name}: {len(found)} alarms, {first}")

# %%
# Where?
# ------
# The machine keeps what it has learned of the last batch: the logarithm of the ratio of
# densities, at any event. The map averages the ratio over bins of two times; the
# histograms at its edges, one time each, look as they should. There are too many events
# in the lower left corner, where both times are short. No track passes next to the
# wires of both layers: a noise hit has come before the signal of one of them.

display = LogRatioDisplay.from_estimator(
    monitor, batch, features=(0, 1), feature_names=names
)
display.figure_.set_size_inches(7.5, 5.5)
plt.show()

# %%
# The events that look the least like the reference, by the machine, are these. In each
# of them some pair of layers has times that are too short for one track, not the first
# two in all:

order = np.argsort(monitor.score_samples(batch))[::-1]
print(*names, sep="  ")
print(batch[order[:5]].round())

# %%
# What the p-values hold for
# --------------------------
# All batches are compared with the same reference, so that they share its noise: with
# one of twenty times the size of a batch that is little. The number of events counts
# too, unless ``counts="fixed"`` says that it is none of the detector's doing.
