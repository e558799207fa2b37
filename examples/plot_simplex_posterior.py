"""
Particles on a simplex
======================

Shares are positive and add up to 1, and their posterior often piles up at the edges,
where most shares are next to 0. Gradient methods step over the edge there.
:class:`~gpkern.SteinSampler` moves its particles in the dual coordinates of a mirror
map, logarithms in essence, and no step leads out.
"""

# %%
# Which of twenty products will be bought, after 60 were? With a Dirichlet prior that
# expects few favourites, the posterior is a Dirichlet density too, so that there is
# something to compare with. In general all that is needed is the gradient of the log
# density.

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from gpkern import SteinSampler
from gpkern.plotting import SimplexDisplay

rng = np.random.default_rng(0)
shares = rng.dirichlet(np.full(20, 0.1))
counts = rng.multinomial(60, shares)
posterior = stats.dirichlet(0.1 + counts)
print("counts:", counts)

# %%
# Fifty particles, by three methods from the same start: plain SVGD, put back onto the
# simplex after each step; SVGD in dual coordinates; and mirrored descent, whose kernel
# knows the geometry of the simplex. The energy distance to draws of the posterior says
# how well they stand for it; that of as many independent draws is the last line.

truth = posterior.rvs(4000, random_state=1)
start = np.random.default_rng(2).dirichlet(np.full(20, 5.0), size=50)


def energy_distance(rows):
    """Of rows to draws of the posterior, 0 for the posterior itself."""
    own = cdist(rows, rows).mean() + cdist(truth[:2000], truth[2000:]).mean()
    return 2 * cdist(rows, truth).mean() - own


samplers = {
    method: SteinSampler(
        posterior,
        method=method,
        domain="simplex",
        step_size=0.1 if method != "svgd" else 0.01,
        max_iter=1000,
        random_state=0,
    ).fit(start)
    for method in ("svgd", "msvgd", "svmd")
}
for method, sampler in samplers.items():
    print(f"{method:>8}: energy distance {energy_distance(sampler.samples_):.4f}")
draws = [posterior.rvs(50, random_state=i) for i in range(20)]
print(f"50 draws: {np.mean([energy_distance(d) for d in draws]):.4f} on average")

# %%
# Two of the products, and all others together. With plain SVGD, scores at the edge are
# a million times as large as others and drown them, whatever the step size: its
# particles stall. Those of the mirrored methods stand for the posterior better than
# independent draws do.

columns = tuple(np.argsort(counts)[::-1][:2])
names = (*(f"product {c}" for c in columns), "18 others")
fig, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
for ax, (method, sampler) in zip(axes, samplers.items(), strict=True):
    SimplexDisplay.from_estimator(
        sampler, reference=truth[:1000], columns=columns, names=names, ax=ax
    )
    ax.set_title(method, pad=20)
for ax in axes[:-1]:
    ax.get_legend().remove()
plt.show()

# %%
# The share of a product that nobody has bought is so close to 0 that only its logarithm
# can be drawn. Fifty particles do not follow it all the way down: to the kernel, as to
# the energy distance, a share of 1e-4 and one of 1e-8 are the same.

rare = int(np.argmin(counts))
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
grid = np.linspace(0.0, 1.0, 400)
for method, sampler in samplers.items():
    share = np.sort(np.log10(sampler.samples_[:, rare]))
    ax.step(share, (np.arange(50) + 0.5) / 50, where="mid", label=method)
ax.plot(np.sort(np.log10(truth[:, rare])), (np.arange(4000) + 0.5) / 4000, "k:")
ax.set(
    xlabel=f"log10 of the share of product {rare}", ylabel="cumulative", xlim=(-12, 0)
)
ax.legend(frameon=False, title="dotted: the posterior")
plt.show()
