"""
Choosing the kernel and its length scale by cross-validation
============================================================

Two choices decide what a kernel machine can learn: the kernel, which says how smooth
the function is, and the length scale, which says how far apart two rows may be and
still be alike. Both are ordinary parameters of the last step of a pipeline, so
:class:`~sklearn.model_selection.GridSearchCV` can choose them.

The task is that of :ref:`sphx_glr_auto_examples_plot_flights.py`, on 8,000 of its rows
and with its plain columns.
"""

# %%
# A pipeline that ends in a kernel machine
# ----------------------------------------
# ``n_centers=500`` keeps the machine small: five hundred rows, drawn at random, carry
# the coefficients.

import matplotlib.pyplot as plt
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from gpkern import KernelRidge
from gpkern.datasets import load_flights
from gpkern.kernels import RBF, Matern

flights = load_flights(as_frame=True)
X, X_rest, y, y_rest = train_test_split(
    flights.data, flights.target, train_size=8_000, random_state=0
)
X_test, y_test = X_rest[:20_000], y_rest[:20_000]
encode = make_column_transformer(
    (
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        flights.categorical_features,
    ),
    remainder=make_pipeline(SimpleImputer(), StandardScaler()),
)
model = make_pipeline(encode, KernelRidge(alpha=1.0, n_centers=500, random_state=0))

# %%
# The search
# ----------
# ``length_scale`` is a parameter of the estimator and sets the length scale of whatever
# kernel it holds, so that the grid is a plain product. ``"median"``, the median
# distance between rows, is the usual first guess; it is resolved anew in every fit.

scales = [2.0, 4.0, 8.0, 16.0, 32.0]
search = GridSearchCV(
    model,
    {
        "kernelridge__kernel": [Matern(nu=0.5), Matern(nu=1.5), RBF()],
        "kernelridge__length_scale": ["median", *scales],
    },
    scoring="neg_root_mean_squared_error",
    cv=3,
)
search.fit(X, y)
best = search.best_params_
print(f"best: {best['kernelridge__kernel']} with {best['kernelridge__length_scale']}")
print(f"test RMSE {-search.score(X_test, y_test):.2f} minutes")

# %%
# What the search saw
# -------------------

results = pd.DataFrame(search.cv_results_)
results["rmse"] = -results["mean_test_score"]
results["kernel"] = results["param_kernelridge__kernel"].astype(str)
fig, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
labels = ["Matern, nu = 1/2", "Matern, nu = 3/2", "Gaussian"]
for (_, part), label in zip(results.groupby("kernel", sort=False), labels, strict=True):
    scale = part["param_kernelridge__length_scale"]
    numeric = part[scale != "median"]
    (line,) = ax.plot(scales, numeric["rmse"], "o-", label=label)
    median = part.loc[scale == "median", "rmse"].item()
    ax.axhline(median, color=line.get_color(), lw=1, ls=":")
ax.set_xscale("log")
ax.set_xticks(scales, [f"{s:g}" for s in scales])
ax.minorticks_off()
ax.set_xlabel("length scale (standardised columns)")
ax.set_ylabel("RMSE by cross-validation (minutes)")
ax.set_title('dotted: length_scale="median"')
ax.legend()
plt.show()

# %%
# On these columns every kernel wants a length scale far above the median: the function
# is close to linear in the delay at departure, and a short length scale cannot carry
# that far. The smoother the kernel, the more it gains from the longer one. To try next:
# a grid of ``"kernelridge__alpha"``, or more centers.
