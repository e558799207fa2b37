"""
What a coreset can stand for, and what it cannot
================================================

A coreset keeps the means of smooth functions. What is such a mean can be computed from
a few hundred rows instead of many thousands: a density, for one. A regression is more
than a mean. This example measures both on 5,000 flights, the loss beside the gain, with
300 rows that :class:`~gpkern.KernelThinning` chooses.
"""

# %%
# The data
# --------
# Four numbers that are known as a flight leaves the gate, on common scales; the target
# is its delay on arrival, in minutes.

import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.metrics import root_mean_squared_error
from sklearn.neighbors import KernelDensity

from gpkern import KernelRidge, KernelThinning
from gpkern.datasets import load_flights
from gpkern.kernels import RBF, Matern
from gpkern.plotting import CoresetDisplay

SIZE = 300
flights = load_flights(as_frame=True)
rows = np.random.default_rng(0).permutation(len(flights.data))[:13_000]
data, y = flights.data.iloc[rows], flights.target.iloc[rows].to_numpy()
X = pd.DataFrame(
    {
        "day of the year": 30.4 * (data["month"] - 1) + data["day"],
        "minute of departure": data["sched_dep_minute"],
        "log of the distance": np.log(data["distance"]),
        "log of the delay so far": np.log(data["dep_delay"].clip(-20) + 25),
    }
)
X = ((X - X.mean()) / X.std()).astype(float)
X_train, X_valid, X_test = X[:5000], X[5000:6000], X[6000:]
y_train, y_valid, y_test = y[:5000], y[5000:6000], y[6000:]


def timed(function, *args):
    start = time.perf_counter()
    return function(*args), time.perf_counter() - start


# %%
# A density: little is lost
# -------------------------
# The kernel of the coreset is that of the density, so that what is kept is what is
# asked for. The error is the mean difference to the density by all rows, as a share of
# the mean density. It falls with the width, as wider kernels ask for less detail.


def density(rows, width):
    model = KernelDensity(bandwidth=width, rtol=1e-4).fit(np.asarray(rows))
    return np.exp(model.score_samples(X_test.to_numpy()))


table = []
for width in (0.25, 0.5, 1.0):
    thinning = KernelThinning(SIZE, kernel=RBF(width), random_state=0)
    thinning, choose = timed(thinning.fit, X_train)
    full, slow = timed(density, X_train, width)
    found, fast = timed(density, thinning.samples_, width)
    random = density(X_train[:SIZE], width)
    table.append(
        {
            "width": width,
            "all rows (s)": slow,
            "coreset (s)": fast,
            "choosing (s)": choose,
            "error, coreset (%)": 100 * abs(found - full).mean() / full.mean(),
            "error, random (%)": 100 * abs(random - full).mean() / full.mean(),
        }
    )
table = pd.DataFrame(table).set_index("width")
print(table.round(2).to_string())

# %%
# A regression: much is lost
# --------------------------
# Kernel ridge regression is fitted to all rows, and to 300 of them. The penalty is the
# better of two on other rows. With ``y_kernel="ridge"`` rows are compared together with
# their targets. Another way uses all rows, and lets 300 of them carry coefficients
# (``n_centers``): the cost of a fit grows with the rows again, but none is thrown away.

kernel = Matern(1.5, nu=1.5)


def error(rows, targets, **options):
    """Test error of the better of two penalties."""
    models = [
        KernelRidge(alpha, kernel=kernel, **options).fit(rows, targets)
        for alpha in (0.3, 3.0)
    ]
    best = min(
        models, key=lambda m: root_mean_squared_error(y_valid, m.predict(X_valid))
    )
    return root_mean_squared_error(y_test, best.predict(X_test))


def chosen(**options):
    thinning = KernelThinning(SIZE, kernel=kernel, random_state=0, **options)
    return thinning.fit(X_train, y_train).sample_indices_


def fitted_to(rows):
    return error(X_train.iloc[rows], y_train[rows])


ways = {
    "all rows": lambda: error(X_train, y_train),
    "random rows": lambda: fitted_to(np.arange(SIZE)),
    "coreset": lambda: fitted_to(chosen()),
    "coreset with targets": lambda: fitted_to(chosen(y_kernel="ridge")),
    "centers: random": lambda: error(X_train, y_train, n_centers=X_train[:SIZE]),
    "centers: coreset": lambda: error(
        X_train, y_train, n_centers=X_train.iloc[chosen()]
    ),
    "centers: leverage": lambda: error(
        X_train, y_train, n_centers=SIZE, center_sampling="leverage", random_state=0
    ),
}
found = {name: timed(way) for name, way in ways.items()}
regression = pd.DataFrame(found, index=["test RMSE (minutes)", "seconds"]).T
print(regression.round(2).to_string())

# %%
# The two tables
# --------------

fig, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.3), layout="constrained")
CoresetDisplay.from_estimator(thinning, X_train, features=[1, 3], ax=left)
left.set_title(f"{SIZE} of {len(X_train):,} flights")
place, widths = np.arange(len(table)), [f"{w:g}" for w in table.index]
for name, color, shift in (("random", "0.6", -0.2), ("coreset", "tab:blue", 0.2)):
    middle.bar(place + shift, table[f"error, {name} (%)"], 0.4, color=color, label=name)
middle.set(xticks=place, xlabel="width of the kernel", ylabel="error (%)")
middle.set_xticklabels(widths)
middle.set_yscale("log")
middle.set_title("density")
middle.legend()
colors = ["0.3"] + ["tab:blue"] * 3 + ["tab:green"] * 3
bars = right.barh(regression.index, regression["test RMSE (minutes)"], color=colors)
right.bar_label(bars, [f"{s:.1f} s" for s in regression["seconds"]], padding=3)
right.set_xlim(0, 1.2 * regression["test RMSE (minutes)"].max())
right.invert_yaxis()
right.set(xlabel="test RMSE (minutes)", title="regression")
plt.show()

# %%
# By 300 chosen rows a smooth density is found to within some percent, five to thirty
# times nearer than by as many random ones, and each further evaluation takes a tenth of
# the time. A narrow kernel asks for detail that 300 rows do not hold, chosen or not.
#
# The regression loses a quarter of its accuracy with any 300 rows: choosing them wins
# back a minute, and their targets half a minute more. It loses little where all rows
# are used and few of them are centers. There a coreset is hardly better than chance,
# and centers by leverage are better still: a coreset stands for the many, and a fit
# needs the few rare flights as well. So thin for means, densities, and forecasts that
# are averaged; to fit a model in less time, keep the rows and choose centers.
