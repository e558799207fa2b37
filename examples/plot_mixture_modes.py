"""
The modes of a Gaussian mixture
===============================

A mixture of normal distributions has not one mode for each of its components: those
that overlap share one, and several can make a mode where none has its mean. Mixtures
that are fitted with more components than there are clusters, as is usual, are cut into
pieces by ``predict``. :class:`~gpkern.KDEModeFinder` climbs the mixture's density
instead, so that components which make up one hill are one cluster.
"""

# %%
# Eight components for three clusters
# -----------------------------------
# Three clusters that are not round, and a mixture that needs several normal ones for
# each.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from gpkern import KDEModeFinder
from gpkern.plotting import DensityModesDisplay

rng = np.random.default_rng(0)
y = np.repeat([0, 1, 2], 500)
angle = rng.uniform(-1.0, 1.0, size=500)
arc = np.c_[4.0 * np.cos(angle), 4.0 * np.sin(angle)]
line = np.c_[rng.uniform(-5.0, 0.0, size=500), np.full(500, 4.5)]
spot = np.tile([-2.0, -1.0], (500, 1))
X = np.concatenate([arc, line, spot]) + 0.35 * rng.normal(size=(1500, 2))

mixture = GaussianMixture(8, random_state=0).fit(X)
finder = KDEModeFinder(mixture, persistence=0.5).fit(X)
print(f"{mixture.n_components} components, {len(finder.modes_)} modes")

# %%
# The mixture is passed fitted, and only climbed. Within a
# :class:`~sklearn.frozen.FrozenEstimator` it stays fitted in a ``clone`` too, as a grid
# search makes them.

fig, axes = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
axes[0].scatter(*X.T, c=mixture.predict(X), s=6, cmap="tab10")
axes[0].scatter(*mixture.means_.T, c="black", marker="x", label="means")
axes[0].set_title(
    f"components: adjusted Rand index {adjusted_rand_score(y, mixture.predict(X)):.2f}"
)
axes[0].legend()
DensityModesDisplay.from_estimator(finder, X, ax=axes[1])
axes[1].set_title(
    f"modes: adjusted Rand index {adjusted_rand_score(y, finder.labels_):.2f}"
)
plt.show()

# %%
# Modes between the means
# -----------------------
# A classic of Carreira-Perpinan and Williams (2003): of three equal components in the
# corners of a triangle, the middle becomes a mode just before the others are gone. A
# search from the means alone never gets there. The finder also starts between the
# means, and its certified gap tells how much denser than the densest mode any place
# could be: here nothing to speak of.

turns = np.deg2rad([90.0, 210.0, 330.0])
corners = np.c_[np.cos(turns), np.sin(turns)]


def triangle(variance):
    """A mixture that is known, not fitted."""
    mixture = GaussianMixture(3, covariance_type="spherical")
    mixture.weights_, mixture.means_ = np.full(3, 1 / 3), corners
    mixture.covariances_ = np.full(3, variance)
    mixture.precisions_ = 1.0 / mixture.covariances_
    mixture.precisions_cholesky_ = np.sqrt(mixture.precisions_)
    mixture.n_features_in_, mixture.converged_ = 2, True
    return mixture


fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
rows = np.random.default_rng(0).uniform(-1.5, 1.5, size=(400, 2))
for ax, variance in zip(axes, (0.3, 0.52, 0.6), strict=True):
    finder = KDEModeFinder(triangle(variance), persistence=0.0, random_state=0)
    finder.fit(rows)
    DensityModesDisplay.from_estimator(finder, rows, ax=ax, colorbar=False)
    ax.set_title(
        f"variance {variance}: {len(finder.modes_)} modes, "
        f"gap {finder.certified_gap_:.2f}"
    )
plt.show()
