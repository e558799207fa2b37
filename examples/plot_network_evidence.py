"""
Which training images made the network say 7?
=============================================

A network is not a sum over its training rows, but a kernel machine with the network's
tangent kernel is, and it predicts nearly what the network does.
:class:`~gpkern.NTKSurrogateClassifier` is that machine: each of its logits is a sum of
what every training image adds to it.
"""

# %%
# A network of two layers, and its surrogate.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from gpkern import NTKSurrogateClassifier
from gpkern.plotting import AttributionDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X / 16, y, test_size=0.3, random_state=0, stratify=y
)
network = MLPClassifier((64, 32), max_iter=400, random_state=0).fit(X_train, y_train)
surrogate = NTKSurrogateClassifier(network).fit(X_train, y_train)

# %%
# Is it faithful?
# ---------------
# On images that neither has seen: how often both say the same, how their probabilities
# of the true digit agree in rank, and what either gets right.

report = surrogate.faithfulness_report(X_test, y_test)
print(f"same label:            {report.agreement:.1%}")
print(f"Kendall's tau:         {report.kendall_tau:.2f}")
print(f"accuracy, network:     {report.network_accuracy:.1%}")
print(f"accuracy, surrogate:   {report.accuracy:.1%}")

# %%
# Three sevens
# ------------
# In the first column what is asked, with the surrogate's logit; beside it the five
# training images that add most to that, with their labels. They add more than the logit
# itself, as images of other digits speak against it. Much the same ones speak for all
# three.

sevens = np.flatnonzero((y_test == 7) & (network.predict(X_test) == 7))[:3]
AttributionDisplay.from_estimator(surrogate, X_test[sevens], image_shape=(8, 8))
plt.show()

# %%
# And a mistake
# -------------
# Images that the network gets wrong, with those that speak for the label that it gave,
# and then those that speak for the true one.

predicted = network.predict(X_test)
wrong = np.flatnonzero(predicted != y_test)
wrong = wrong[surrogate.predict(X_test[wrong]) == predicted[wrong]][:2]
AttributionDisplay.from_estimator(surrogate, X_test[wrong], image_shape=(8, 8))
AttributionDisplay.from_estimator(
    surrogate, X_test[wrong], image_shape=(8, 8), target=y_test[wrong]
)
plt.show()

# %%
# The sum is over all training images. Most of it comes from few of them: of the first
# seven, this share of what speaks for it.

shares = surrogate.attribute(X_test[sevens[:1]])[0]
positive = np.sort(shares[shares > 0])[::-1]
for count in (5, 20, 100):
    print(f"{count:>4} images: {positive[:count].sum() / positive.sum():.0%}")
