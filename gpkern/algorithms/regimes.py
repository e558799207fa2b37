"""From how many rows a density's values come, and what theory says of it.

For a normal sample in many dimensions, d and log n large alike, a sum of Gaussian
kernels has three regimes (Biroli & Mezard 2023, "Kernel density estimators in large
dimensions", section 3): wide bandwidths average over many rows (central limit theorem),
narrow ones leave one term that dominates, and between the two values are heavy-tailed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize

from .._device import is_dask
from ..kernels.density import Gaussian
from .bandwidth import sample_of

# Median effective numbers from which values average over many rows, and over some.
MANY, FEW = 10.0, 2.0
# Columns from which the theory of many says where the loss is least.
MANY_COLUMNS = 20
BANDWIDTHS = ("h_clt", "h_g", "h_kl")


@dataclass(frozen=True, repr=False)
class DensityDiagnosis:
    """How far a density estimate can be trusted.

    Attributes
    ----------
    effective_number : array of shape (n_queries,)
        ``(sum v)^2 / sum v^2`` of the terms of each value: from how many rows it comes.
    ratio : float
        The bandwidth over the one at which few rows begin to dominate, h_G, for a
        normal sample of the same covariance.
    h_clt, h_g, h_kl : float
        Bandwidths, in units of the present one or, where that is a number, in those of
        the data: above the first, values average over many rows; below the second, one
        row dominates; the third has, in the limit of many columns, the least
        Kullback-Leibler divergence: in few it is far too narrow.
    tail_index : float
        Index of the stable law of the values, below 2 between these bandwidths.
    n_features : int
    is_gaussian : bool
        Whether the kernel is, as it is in the theory. For others the regime goes by the
        effective numbers alone.
    text : str
        All of this in words.
    """

    effective_number: Any
    ratio: float
    h_clt: float
    h_g: float
    h_kl: float
    tail_index: float
    n_features: int = 1
    is_gaussian: bool = True
    text: str = ""

    def __str__(self):
        return self.text

    __repr__ = __str__

    @property
    def regime(self):
        """ "one", "few" or "many": the rows that values come from."""
        median = float(np.median(_host(self.effective_number)))
        ratio = self.ratio if self.is_gaussian else np.inf
        if ratio >= np.sqrt(2.0) and median >= MANY:
            return "many"
        return "few" if ratio >= 1.0 and median >= FEW else "one"

    def described(self, bandwidth, effective_number):
        """With its text, and bandwidths in the units of a number."""
        out, unit = replace(self, effective_number=effective_number), bandwidth or 1.0
        out = replace(out, **{h: getattr(self, h) * unit for h in BANDWIDTHS})
        return replace(out, text=out._in_words(bandwidth))

    def _in_words(self, bandwidth):
        median = float(np.median(_host(self.effective_number)))
        name = "" if bandwidth is None else f"h = {bandwidth:.3g}: "
        rows = f"{median:.1f} rows or fewer" if median >= 1.05 else "a single row"
        text = f"{name}half of the values come from {rows}; {self._meaning(median)}."
        if not np.isfinite(self.ratio):
            return text
        of = "" if self.is_gaussian else " and a Gaussian kernel"
        unit = "as multiples of the one in use" if bandwidth is None else ""
        text += (
            f"\nFor a normal sample of this covariance{of}, bandwidths {unit}: one row "
            f"dominates below {self.h_g:.3g}, many average above {self.h_clt:.3g}"
        ).replace(" :", ":")
        if self.n_features >= MANY_COLUMNS:
            text += f"; the loss (Kullback-Leibler) is least near {self.h_kl:.3g}"
        return text + "."

    def _meaning(self, median):
        """What the regime is, and what follows."""
        if not np.isfinite(self.ratio):
            return "all rows are one"
        if self.regime == "many":
            error = 1.0 / np.sqrt(max(median, 1.0))
            return (
                "each averages over many rows, so that its error by chance is about "
                f"normal (a relative one of {error:.0%}). Whether the bandwidth is too "
                "wide is not seen here: compare loo_score_samples().mean()"
            )
        if self.regime == "few":
            index = f", of index {self.tail_index:.2f}" if self.is_gaussian else ""
            return (
                f"a few rows weigh much in each: errors are heavy-tailed{index} (below "
                "2 there is no variance), and standard errors too small"
            )
        return (
            "the nearest rows decide each: it says how far these are, and no error bar "
            "can be put on it; fewer columns help, and a wider bandwidth makes it "
            "steadier, if not nearer"
        )


def diagnose(sums, n_effective, rows, most, rng):
    """`DensityDiagnosis` of a sum of kernels, in units of its bandwidth.

    Parameters
    ----------
    sums : KernelSum
    n_effective : float
        Rows of the sample.
    rows : array of shape (m, d) or None
        Where to look; None for the points, at most so many, without themselves.
    most : int
    rng : RandomState
    """
    count, blocked = len(sums.points), is_dask(sums.points)
    if rows is not None:
        number = sums.device.whole(sums.effective_number(lambda k: k.log(rows)))
    elif count <= most and not blocked:
        number = sums.effective_number(lambda k: k.log_without_self())
    else:
        chosen = _some_of(count, most, rng, blocked)
        number = sums.effective_number(lambda k: k.log_of_others(chosen))
    sample = sample_of(sums.points, sums.weights, sums.device)
    C = sample.covariance(n_effective)
    spread = np.maximum(np.linalg.eigvalsh(C), 0.0)
    g, kl = thresholds(n_effective, spread)
    ratio = 1.0 / g if g > 0 else np.inf
    index, gaussian = float(min(2.0, ratio**2)), type(sums.kernel) is Gaussian
    d = sums.points.shape[1]
    return DensityDiagnosis(number, ratio, np.sqrt(2.0) * g, g, kl, index, d, gaussian)


def _some_of(count, most, rng, blocked):
    """Numbers of points, ascending; of blocks without a permutation of all."""
    if blocked:
        from ..dask.samples import some_of

        return some_of(count, most, rng)
    return np.sort(rng.choice(count, most, replace=False))


def thresholds(n, variances):
    """h_G and h_KL of a normal sample of n rows and these principal variances.

    h_G is where the rows that matter run out: the entropy of the rows that make up a
    sum, ``log n - sum_j log(1 + s_j) / 2 - s_j / (2 (1 + s_j)^2)`` with
    ``s_j = variance_j / h^2``, is 0. h_KL is the root mean square distance there.
    """
    variances = np.asarray(variances)[np.asarray(variances) > 0]
    if not len(variances) or n <= 1:
        return 0.0, 0.0

    def spent(log_h):
        s = variances * np.exp(-2.0 * log_h)
        return float((0.5 * np.log1p(s) - 0.5 * s / (1.0 + s) ** 2).sum()) - np.log(n)

    middle = 0.5 * np.log(variances.max())
    low = middle
    while spent(low) < 0:
        low -= 1.0
    high = middle
    while spent(high) > 0:
        high += 1.0
    h = float(np.exp(optimize.brentq(spent, low, high)))
    s = variances / h**2
    return h, float(np.sqrt(np.mean(variances * (2.0 + s) / (1.0 + s) ** 2)))


def _host(array):
    return np.asarray(array.get() if hasattr(array, "get") else array)
