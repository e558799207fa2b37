"""
Correcting a sampler that is only nearly right
==============================================

Fast samplers are often biased: stochastic gradients look at a few rows of the data at
a time, leave out the accept-reject step, and draw from something wider than the
posterior. :class:`~gpkern.SteinThinning` chooses draws by the score of the posterior,
the gradient of its logarithm, and not by where most draws are. It is shown here on a
Bayesian logistic regression, whose posterior a long exact chain knows.
"""

# %%
# A posterior, two samplers
# -------------------------
# Does a patient's diabetes get worse than the median patient's within a year, by five
# principal components of what was measured? The prior of the six coefficients is
# normal.

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpkern import KernelThinning, SteinThinning
from gpkern.plotting import CoresetDisplay

data, progress = load_diabetes(return_X_y=True)
columns = make_pipeline(StandardScaler(), PCA(5, whiten=True)).fit_transform(data)
rows = np.column_stack([np.ones(len(columns)), columns])
signs = np.where(progress > np.median(progress), 1.0, -1.0)
PRIOR = 5.0


def log_density(w):
    """Of coefficients, one vector a row."""
    margins = signs * (w @ rows.T)
    return -np.logaddexp(0.0, -margins).sum(axis=1) - 0.5 * (w**2).sum(axis=1) / PRIOR


def score(w, some=slice(None)):
    """Its gradient; from some of the data, made as large as that of all."""
    x, s = rows[some], signs[some]
    slope = s / (1.0 + np.exp(s * (w @ x.T)))
    return len(rows) / len(x) * slope @ x - w / PRIOR


def exact_chains(rng, n, step, n_chains, burn_in=500):
    """Langevin proposals that are accepted or rejected."""
    w, out = rng.normal(size=(n_chains, rows.shape[1])), []
    slope, density = score(w), log_density(w)
    for i in range(n // n_chains + burn_in):
        new = w + step * slope + np.sqrt(2.0 * step) * rng.normal(size=w.shape)
        new_slope, new_density = score(new), log_density(new)
        there = ((new - w - step * slope) ** 2).sum(axis=1)
        back = ((w - new - step * new_slope) ** 2).sum(axis=1)
        log_ratio = new_density - density + (there - back) / (4.0 * step)
        moves = np.log(rng.uniform(size=n_chains)) < log_ratio
        w, slope = (
            np.where(moves[:, None], *pair) for pair in ((new, w), (new_slope, slope))
        )
        density = np.where(moves, new_density, density)
        if i >= burn_in:
            out.append(w)
    return np.concatenate(out)


def stochastic_chains(rng, n, step, n_chains, batch, burn_in=500):
    """Gradients from a few rows of the data, and no rejections."""
    w, out = rng.normal(size=(n_chains, rows.shape[1])), []
    for i in range(n // n_chains + burn_in):
        some = rng.choice(len(rows), batch)
        w = w + step * score(w, some) + np.sqrt(2.0 * step) * rng.normal(size=w.shape)
        if i >= burn_in:
            out.append(w)
    return np.concatenate(out)


rng = np.random.default_rng(0)
start = time.perf_counter()
exact = exact_chains(rng, 200_000, 0.004, 200)
mean, spread = exact.mean(axis=0), exact.std(axis=0)
X = stochastic_chains(rng, 10_000, 0.004, 10, batch=32)
print(f"both samplers: {time.perf_counter() - start:.0f} s")
print(
    "spread of the stochastic draws over the true:", (X.std(axis=0) / spread).round(1)
)

# %%
# Choose by the score
# -------------------
# Scores on all the data take one pass for each draw. Errors are root mean squares over
# the coefficients: of the mean in units of the true spread, of the spread relative to
# it.

size, scores = 100, score(X)


def errors(draws):
    off = (draws.mean(axis=0) - mean) / spread
    ratio = draws.std(axis=0) / spread
    return {
        "error of the mean": np.sqrt(np.mean(off**2)),
        "of the spread": np.sqrt(np.mean((ratio - 1.0) ** 2)),
    }


table = {
    "10,000 stochastic draws": errors(X),
    "100 exact draws": errors(exact[rng.choice(len(exact), size)]),
}
ways = {
    "KernelThinning": (KernelThinning(size, random_state=0), {}),
    "SteinThinning, greedy": (SteinThinning(size, random_state=0), {"scores": scores}),
    "SteinThinning, debiased": (
        SteinThinning(size, method="debiased", random_state=0),
        {"scores": scores},
    ),
}
for name, (model, given) in ways.items():
    start = time.perf_counter()
    model.fit(X, **given)
    seconds = time.perf_counter() - start
    chosen = X[model.sample_indices_]
    table[name] = errors(chosen) | {"seconds": seconds}
print(pd.DataFrame(table).T.round(3).to_string(na_rep=""))

# %%
# Thinning by the draws alone keeps their bias. By the score, a hundred draws of the
# biased sampler are nearer to the posterior than a hundred exact ones.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
CoresetDisplay.from_estimator(model, X, features=[1, 2], ax=left)
left.set(xlabel="first component", ylabel="second component")
left.set_title("stochastic draws of two coefficients, and 100 of them")
bins = np.linspace(*np.quantile(X[:, 1], [0.001, 0.999]), 60)
for name, values in (("exact", exact), ("stochastic", X), ("chosen", chosen)):
    coarse = bins[::4] if name == "chosen" else bins
    right.hist(values[:, 1], coarse, density=True, histtype="step", label=name, lw=2)
right.set(xlabel="first component", ylabel="density", title="one coefficient")
right.legend()
plt.show()

# %%
# What it cannot do: the score does not know how much weight a mode has that lies far
# from the others, and no choice helps where no draw has been. To try next:
# ``weights="simplex"``, or ``method="greedy"`` with ``n_samples`` as many as one likes,
# as its first draws are the choice of fewer.
