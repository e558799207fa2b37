"""
How far can a density be trusted in 30 columns?
===============================================

A kernel density estimate always gives a number. In two columns it averages over
hundreds of rows; in thirty, with the same formula for the bandwidth, it may be that of
one row, the nearest. :meth:`~gpkern.KernelDensity.diagnose` says which, from the terms
that make up each value, with thresholds from the theory of many dimensions (Biroli and
Mezard 2023).
"""

# %%
# From two columns to thirty
# --------------------------
# 5,000 normal rows, of which the truth is known, and two bandwidths: Scott's rule, and
# the one of the largest leave-one-out likelihood, "lcv".

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from gpkern import KernelDensity
from gpkern.plotting import EffectiveNumberDisplay

rng = np.random.default_rng(0)


def judged(d, bandwidth, n=5_000):
    """An estimate, its mean loss at new rows, and the median number of rows there."""
    X, new = rng.normal(size=(n, d)), rng.normal(size=(500, d))
    kde = KernelDensity(bandwidth=bandwidth, random_state=0).fit(X)
    truth = stats.norm.logpdf(new).sum(axis=1)
    loss = np.mean(truth - kde.score_samples(new))
    return kde, loss, np.median(kde.diagnose(new).effective_number)


columns = [1, 2, 5, 10, 20, 30]
fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for rule in ("scott", "lcv"):
    found = [judged(d, rule) for d in columns]
    axes[0].plot(columns, [loss for _, loss, _ in found], "o-", label=rule)
    axes[1].semilogy(columns, [number for *_, number in found], "o-", label=rule)
axes[0].set(xlabel="columns", ylabel="lost to the truth (nats a row)")
axes[1].set(xlabel="columns", ylabel="median effective number of rows")
axes[0].legend()
plt.show()

# %%
# Both rules lose more with every column, and both average over fewer and fewer rows.
# The rule that looks at the data takes a wider bandwidth and loses a little less.

# %%
# What to read before the numbers
# -------------------------------
# The diagnosis in words, for Scott's rule in 2 and in 30 columns:

for d in (2, 30):
    kde, *_ = judged(d, "scott")
    print(f"{d} columns. {kde.diagnose()}\n")

# %%
# The same as a picture. In 2 columns the bandwidth is in the green, where each value is
# an average over hundreds of rows and has an error bar; in 30 it is in the red, and
# half of the values come from fewer than three rows.

fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for ax, d in zip(axes, (2, 30), strict=True):
    kde, *_ = judged(d, "scott")
    EffectiveNumberDisplay.from_estimator(kde, ax=ax)
    ax.set_xlabel(f"effective number of rows, {d} columns")
plt.show()

# %%
# Does it matter?
# ---------------
# The spread over new samples says so. "measured" is the standard deviation of the log
# density at ten fixed places over 30 samples of 2,000 rows; "promised" is what the
# effective number says where a value is an average, the inverse of its root. They agree
# in few columns, and part where single rows decide.

print(f"{'columns':>7} {'h / h_G':>8} {'rows':>7} {'promised':>9} {'measured':>9}")
for d in (2, 5, 10, 20, 30):
    places = rng.normal(size=(10, d))
    values, numbers = [], []
    for _ in range(30):
        kde = KernelDensity(bandwidth="scott").fit(rng.normal(size=(2_000, d)))
        values.append(kde.score_samples(places))
        diagnosis = kde.diagnose(places)
        numbers.append(diagnosis.effective_number)
    number = np.median(numbers)
    measured = np.median(np.std(values, axis=0))
    print(
        f"{d:7d} {diagnosis.ratio:8.2f} {number:7.1f} {number**-0.5:9.2f} "
        f"{measured:9.2f}"
    )

# %%
# So: below h_G, a density is a distance to the nearest rows in disguise. It can rank
# rows, as for anomalies, but its value is not to be quoted, nor an error bar put on it.
# A wider bandwidth buys an average at the price of a bias; fewer columns, or a
# parametric model, buy more.
