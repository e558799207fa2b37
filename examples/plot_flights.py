"""
Arrival delays of 327,346 flights
=================================

How late will a flight arrive, judged at the moment it leaves the gate? The rows are all
flights out of New York City in 2013. What is known at push-back is the calendar, the
schedule, carrier, origin, destination, distance, the plane's age and the delay so far.

A dense kernel matrix of the training rows would take 690 GB.
:class:`~gpkern.EigenProRegressor` never forms it: this script fits a kernel machine
with all 294,611 training rows as centers in a minute or two on two CPU cores, and
compares it with a linear model and with gradient boosted trees.
"""

# %%
# The data
# --------
# One column is added: the time of departure in days since New Year. A kernel of it
# compares a flight with those of the same days, which shared its weather and its
# queues.

import threading
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)

from gpkern import EigenProRegressor
from gpkern.datasets import load_flights
from gpkern.kernels import Matern

flights = load_flights(as_frame=True)
X, y = flights.data, flights.target
date = pd.to_datetime({"year": 2013, "month": X["month"], "day": X["day"]})
days = (date - pd.Timestamp("2013-01-01")).dt.days + X["sched_dep_minute"] / 1440
X = X.assign(days=days.astype("float32"))

order = np.random.default_rng(0).permutation(len(X))
train, test = order[: int(0.9 * len(X))], order[int(0.9 * len(X)) :]
X_train, y_train = X.iloc[train], y.iloc[train]
X_test, y_test = X.iloc[test], y.iloc[test]
print(f"{len(X_train):,} flights to learn from, {len(X_test):,} to judge by")

# %%
# The kernel machine
# ------------------
# A kernel sees all columns through one distance, so their scales matter. Here
# ``transformer_weights`` set them: each is the inverse of how far apart two flights may
# be in that column and still be alike. A Matern kernel suits data that is less smooth
# than a Gaussian assumes. Every training row is a center, and two passes over the rows
# are enough. The last step turns the columns into float32, which halves the time.


def scaled():
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
columns = ColumnTransformer(
    [
        ("days", "passthrough", ["days"]),
        ("departure", scaled(), ["sched_dep_minute"]),
        ("arrival", scaled(), ["sched_arr_minute"]),
        ("weekday", scaled(), ["day_of_week"]),
        ("distance", scaled(), ["distance"]),
        ("age", scaled(), ["plane_age"]),
        ("delay", scaled(), ["dep_delay"]),
        ("carrier", one_hot, ["carrier"]),
        ("origin", one_hot, ["origin"]),
        ("destination", TargetEncoder(target_type="continuous"), ["dest"]),
    ],
    transformer_weights={
        "days": 1.0,
        "departure": 0.7,
        "arrival": 0.9,
        "weekday": 0.7,
        "distance": 0.5,
        "age": 0.1,
        "delay": 0.15,
        "carrier": 0.2,
        "origin": 0.5,
        "destination": 0.05,
    },
)
to_float32 = FunctionTransformer(lambda a: np.asarray(a, dtype=np.float32))
machine = EigenProRegressor(
    Matern(length_scale=8.0, nu=0.5),
    n_centers=None,  # all rows
    n_epochs=2,
    early_stopping=False,
    random_state=0,
)
kernel_machine = make_pipeline(columns, to_float32, machine)
try:  # scikit-learn 1.9 shows progress; it needs rich
    from sklearn.callback import ProgressBar

    kernel_machine.set_callbacks(ProgressBar())
    # Steps without a progress of their own would say so.
    warnings.filterwarnings("ignore", "The estimator .* does not support callbacks")
except ImportError:
    machine.set_params(verbose=1)

# %%
# Its competitors
# ---------------
# Both get the same information: the linear model with every category as a column of its
# own, the trees with the categories as they are. Many large trees suit these data
# better than scikit-learn's defaults do.

categories = ["carrier", "origin", "dest"]
numbers = [c for c in X.columns if c not in categories]
linear_columns = ColumnTransformer(
    [("numbers", scaled(), numbers), ("categories", OneHotEncoder(), categories)]
)
models = {
    "Ridge": make_pipeline(linear_columns, Ridge()),
    "HistGradientBoosting": HistGradientBoostingRegressor(
        max_iter=1000,
        max_leaf_nodes=127,
        early_stopping=False,
        categorical_features="from_dtype",
        random_state=0,
    ),
    "EigenPro": kernel_machine,
}


# %%
# Fit and compare
# ---------------


class PeakMemory:
    """Largest resident memory of this process inside a with block, in MB."""

    def __enter__(self):
        self.megabytes, self._done = float("nan"), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.wait(0.05):
            try:
                with open("/proc/self/statm") as f:  # Linux; elsewhere NaN
                    now = int(f.read().split()[1]) * 4096 / 1e6
            except OSError:
                return
            self.megabytes = np.fmax(self.megabytes, now)


rows, predictions = {}, {}
for name, model in models.items():
    print(f"fitting {name} ...", flush=True)
    with PeakMemory() as memory:
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
    predictions[name] = model.predict(X_test)
    rows[name] = {
        "test RMSE (min)": root_mean_squared_error(y_test, predictions[name]),
        "fit (s)": seconds,
        "process memory (MB)": memory.megabytes,
    }
table = pd.DataFrame(rows).T.round(2)
print(table.to_string())

# %%
# Where the difference comes from: the error by month. In summer thunderstorms make some
# days much worse than others; a model that knows what happened to the flights around
# gains most there.

month = X_test["month"].to_numpy().astype(int)
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
colors = ["tab:gray", "tab:green", "tab:blue"]
bars = left.barh(list(rows), table["test RMSE (min)"], color=colors)
left.bar_label(bars, fmt="%.1f", padding=3)
left.set(
    xlabel="test RMSE (minutes)", title=f"{len(X_test):,} flights not seen in training"
)
left.set_xlim(0, 1.15 * table["test RMSE (min)"].max())
for (name, predicted), color in zip(predictions.items(), colors, strict=True):
    error = (predicted - y_test.to_numpy()) ** 2
    by_month = [np.sqrt(error[month == m].mean()) for m in range(1, 13)]
    right.plot(range(1, 13), by_month, "o-", color=color, label=name)
right.set(xlabel="month of 2013", ylabel="test RMSE (minutes)", xticks=range(1, 13))
right.set_ylim(bottom=0)
right.legend()
fig.savefig("flights.png", dpi=120)
print("the plot is in flights.png")
plt.show()

# %%
# Trees are far quicker to fit on a CPU. To try next: a third epoch
# (``machine.set_params(n_epochs=3)``); with a GPU, ``device="cuda"`` fits in seconds.
