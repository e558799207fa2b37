"""
Which simulations to run next?
==============================

Where each target takes a simulation or an experiment, the rows without one are plenty,
and what counts is which of them to run. :class:`~gpkern.BatchSelector` chooses the next
batch with the network that is being trained;
:class:`~gpkern.plotting.SelectionCurveDisplay` shows what the choice is worth.
"""

# %%
# The flow of water through a borehole, a test function of the engineers: eight columns,
# drawn at random from their ranges, some of them of great influence and some of next to
# none. Here the simulator is one formula, and all targets are known; the model sees
# those alone whose rows have been chosen.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gpkern import EmpiricalNTK, selection_curve
from gpkern.plotting import SelectionCurveDisplay


def flow(X):
    """Of radius, reach, transmissivities, heads, length and conductivity."""
    r, R, T_upper, H_upper, T_lower, H_lower, L, K = X.T
    log = np.log(R / r)
    resistance = 1 + 2 * L * T_upper / (log * r**2 * K) + T_upper / T_lower
    return 2 * np.pi * T_upper * (H_upper - H_lower) / (log * resistance)


low = np.array([0.05, 100, 63070, 990, 63.1, 700, 1120, 9855])
high = np.array([0.15, 50000, 115600, 1110, 116, 820, 1680, 12045])
X = low + (high - low) * np.random.default_rng(0).uniform(size=(6000, 8))
y = flow(X)
y = (y - y.mean()) / y.std()
pool, test = slice(0, 3000), slice(3000, None)

# %%
# The network, and what it compares rows by
# -----------------------------------------
# Two rows are alike where the same weights would have to change to correct both: that
# is what the tangent kernel of the trained network measures. Random projections of its
# gradients, 256 for each row, are enough.

network = MLPRegressor(
    hidden_layer_sizes=(64, 64),
    learning_rate_init=3e-3,
    n_iter_no_change=30,
    max_iter=300,
    random_state=0,
)
model = make_pipeline(StandardScaler(), network)


def gradients(fitted):
    return EmpiricalNTK(fitted, kind="projected", n_projections=256)


# %%
# Batch after batch
# -----------------
# 64 rows to start with, then six batches of 32. After each the network is trained anew,
# and the next batch chosen with it. Lines are means of five starts, bands one standard
# deviation.

settings = {
    "X_test": X[test],
    "y_test": y[test],
    "n_initial": 64,
    "batch_size": 32,
    "n_batches": 6,
    "n_repeats": 5,
    "random_state": 0,
}
display = SelectionCurveDisplay.from_estimator(
    model,
    X[pool],
    y[pool],
    methods=("random", "lcmd", "maxdet"),
    features=gradients,
    **settings,
)
plt.show()

# %%
# Both rules stay below random rows. The error that these reach with 256 rows, "maxdet"
# is below with 160 and "lcmd" with 192. "maxdet", which takes the rows of largest
# variance given those before, is ahead at first; in the end both are alike.

for name, errors in display.values_.items():
    print(f"{name:>6}: RMSE {errors.mean(axis=0).round(3)}")

# %%
# Without the network
# -------------------
# The same rules, with rows compared by their standardised columns. What one method
# draws does not depend on the others, so the random rows are those from before.

curve = selection_curve(
    model,
    X[pool],
    y[pool],
    methods=("lcmd", "maxdet"),
    features=lambda fitted: fitted[:-1].transform,
    **settings,
)
by_columns = {"random": display.scores["random"]} | curve.scores
fig, axes = plt.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
display.plot(ax=axes[0])
SelectionCurveDisplay(curve.n_rows, by_columns, curve.score_name).plot(ax=axes[1])
axes[0].set_title("compared by gradients")
axes[1].set(title="compared by columns", ylabel=None)
plt.show()

# %%
# On this function most of the gain needs no network: "lcmd" by columns is nearly what
# it is by gradients. "maxdet" falls faster by gradients: with 160 rows it is at .103,
# and by columns at .120. To try next: other rules of :class:`~gpkern.BatchSelector`,
# such as "bait", and larger batches.
