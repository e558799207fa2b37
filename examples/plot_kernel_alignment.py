"""
What training does to the kernel of a network
=============================================

A kernel machine learns a target easily that lies in the first eigenvectors of its
kernel matrix. A network has a kernel too, the tangent kernel of its weights, and
training changes it. :class:`~gpkern.plotting.KernelSpectrumDisplay` shows by how much,
and whether it is for the better.
"""

# %%
# Odd or even?
# ------------
# Images of digits, and for a target whether the digit is odd: images of one class look
# nothing alike. A network of two layers, once with its weights as they were drawn, that
# is after one step of next to no length, and once trained.

import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from gpkern import EmpiricalNTK
from gpkern.kernels import NTK
from gpkern.plotting import KernelSpectrumDisplay

X, digits = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, digits % 2, test_size=0.4, random_state=0, stratify=digits
)
drawn = MLPClassifier((64, 32), max_iter=1, learning_rate_init=1e-9, random_state=0)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    drawn.fit(X_train, y_train)
trained = MLPClassifier((64, 32), max_iter=400, random_state=0).fit(X_train, y_train)
print(f"accuracy of the trained network: {trained.score(X_test, y_test):.1%}")

# %%
# Four kernels
# ------------
# All of the test images, which the network has not seen: a Gaussian of the median
# distance, the tangent kernel of networks of infinite width, and those of the two
# networks. The alignment in the legend is the cosine of the angle between the kernel
# matrix and that of the targets, both centred.

kernels = {
    "Gaussian": "rbf",
    "NTK, infinite width": NTK(depth=2, weight_variance=2.0),
    "network, as drawn": EmpiricalNTK(drawn),
    "network, trained": EmpiricalNTK(trained),
}
display = KernelSpectrumDisplay.from_kernels(kernels, X_test, y_test)
plt.show()

# %%
# The spectra are much alike, but for the long tail of infinite width. The targets are
# not: the network as drawn has less of them in its first eigenvectors than the two
# kernels that know nothing of it, and once trained it has more, from the second
# eigenvector on.

for name, shares in display.target_shares.items():
    print(f"{name:>20}: {shares[4]:.0%} in 5 eigenvectors, {shares[49]:.0%} in 50")

# %%
# The last hidden layer
# ---------------------
# The kernel of the last hidden layer alone is ``kind="conjugate"``: inner products of
# 32 units, so that there are no more eigenvalues than these.

last = {
    "last layer, as drawn": EmpiricalNTK(drawn, kind="conjugate"),
    "last layer, trained": EmpiricalNTK(trained, kind="conjugate"),
}
KernelSpectrumDisplay.from_kernels(last, X_test, y_test)
plt.show()

# %%
# As drawn, all of the layer holds less than half of the targets. Trained, its first
# eigenvector alone holds most of them, and the others add little.
