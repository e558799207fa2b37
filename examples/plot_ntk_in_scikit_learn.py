"""
NTK in GaussianProcessRegressor and GridSearchCV
================================================

:class:`~gpkern.kernels.NTK` is the neural tangent kernel of an infinitely wide network.
It is a kernel like those of scikit-learn: here it takes the place of ``RBF`` in a
Gaussian process, whose marginal likelihood sets its variances, and in a support vector
machine, where a grid search chooses the network.
"""

# %%
# A curve that levels off
# -----------------------
# Forty noisy readings between -2 and 2.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from gpkern.kernels import NTK

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-2, 2, 40))[:, None]
y = np.clip(1.5 * x[:, 0], -1, 1.5) + 0.15 * rng.normal(size=40)

# %%
# Sums and products work as usual. ``WhiteKernel`` is the noise. ``RBF`` needs a
# ``ConstantKernel`` for its size; the network has its variances for that. Its bias
# variance is fitted once it has bounds, and starts above 0.

networks = {
    activation: NTK(
        activation=activation, bias_variance=1.0, bias_variance_bounds=(1e-4, 1e2)
    )
    for activation in ("relu", "erf")
}
kernels = {
    "RBF": ConstantKernel(1.0) * RBF(1.0) + WhiteKernel(0.1),
    "NTK, rectifiers": networks["relu"] + WhiteKernel(0.1),
    "NTK, erf": networks["erf"] + WhiteKernel(0.1),
}
models = {
    name: GaussianProcessRegressor(k, n_restarts_optimizer=2, random_state=0).fit(x, y)
    for name, k in kernels.items()
}
for name, model in models.items():
    print(name)
    found = [h for h in model.kernel_.hyperparameters if not h.fixed]
    for hyperparameter, value in zip(found, np.exp(model.kernel_.theta), strict=True):
        print(f"  {hyperparameter.name.split('__')[-1]:16} {value:.3f}")

# %%
# Mean and two standard deviations of the curve; above each the log marginal likelihood.
# All three agree where there are data. Beyond them the Gaussian kernel turns back to
# zero, the rectifiers go on in a straight line, and erf stays level, as the curve does.
# The likelihood prefers erf.

curve = np.linspace(-4, 4, 300)[:, None]
fig, axes = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
for ax, (name, model) in zip(axes, models.items(), strict=True):
    # Without the noise, which is the last term of each sum.
    quiet = GaussianProcessRegressor(
        model.kernel_.k1, alpha=model.kernel_.k2.noise_level, optimizer=None
    ).fit(x, y)
    mean, deviation = quiet.predict(curve, return_std=True)
    ax.fill_between(
        curve[:, 0], mean - 2 * deviation, mean + 2 * deviation, alpha=0.25, lw=0
    )
    ax.plot(curve[:, 0], mean, label="mean, two deviations")
    ax.plot(curve[:, 0], np.clip(1.5 * curve[:, 0], -1, 1.5), "k:", label="true curve")
    ax.plot(x[:, 0], y, "k.", ms=4, label="readings")
    ax.set_title(f"{name}: {model.log_marginal_likelihood_value_:.1f}")
    ax.set_xlabel("x")
axes[0].set_ylim(-4, 4)
axes[0].legend(loc="lower right", fontsize="small")
plt.show()

# %%
# A grid over networks
# --------------------
# 133 wines, thirteen columns, three growers. Depth and activation have no gradient, so
# they are for :class:`~sklearn.model_selection.GridSearchCV`, which reaches into the
# kernel.

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=0.25, random_state=0, stratify=y
)
search = GridSearchCV(
    make_pipeline(StandardScaler(), SVC(kernel=NTK())),
    {
        "svc__kernel__depth": [1, 2, 3, 4],
        "svc__kernel__activation": ["relu", "erf", "gelu"],
        "svc__kernel__weight_variance": [0.5, 2.0],
        "svc__kernel__bias_variance": [0.0, 1.0],
        "svc__C": [0.1, 1.0, 10.0],
    },
    cv=4,
)
search.fit(X_train, y_train)
for name, value in search.best_params_.items():
    print(f"{name.split('__')[-1]:16} {value}")
print(f"cross-validation {search.best_score_:.3f}")
print(f"test             {search.score(X_test, y_test):.3f}")

# %%
# What the search saw
# -------------------
# In each cell the better of both bias variances.

results = pd.DataFrame(search.cv_results_)
results.columns = [c.split("__")[-1] for c in results.columns]
fig, axes = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, (activation, part) in zip(axes, results.groupby("activation"), strict=True):
    cells = part.pivot_table(
        "mean_test_score", ["weight_variance", "C"], "depth", aggfunc="max"
    )
    image = ax.imshow(cells, vmin=0.4, vmax=1, aspect="auto", cmap="cividis")
    for (i, j), score in np.ndenumerate(cells.to_numpy()):
        shade = "white" if score < 0.75 else "black"
        ax.text(j, i, f"{score:.2f}", ha="center", va="center", color=shade)
    ax.set_xticks(range(cells.shape[1]), cells.columns)
    ax.set_yticks(range(len(cells)), [f"{w:g}, {c:g}" for w, c in cells.index])
    ax.set_xlabel("hidden layers")
    ax.set_title(activation)
axes[0].set_ylabel("weight variance, C")
fig.colorbar(image, ax=axes, label="accuracy by cross-validation")
plt.show()

# %%
# 0.40 is the share of the largest class. The dark cells are all at a weight variance of
# 0.5 and a small C: each layer makes the kernel smaller, until C leaves it without
# effect. With a variance of 2 that does not happen. The bright cells are within five
# wines of the best: on so few rows the search can rule out bad networks, hardly choose
# among good ones.
