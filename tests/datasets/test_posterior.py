import inspect

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.datasets import load_posterior
from gpkern.targets import LogDensity

Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
S = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


@pytest.fixture(scope="module", params=["eight_schools", "lotka_volterra"])
def posterior(request):
    return load_posterior(request.param)


def eight_schools(rows):
    """Log density by theta, mu and log tau."""
    theta, mu, log_tau = rows[:, :8], rows[:, 8], rows[:, 9]
    tau = np.exp(log_tau)
    likelihood = -0.5 * (((Y - theta) / S) ** 2).sum(axis=1)
    effects = -0.5 * (((theta - mu[:, None]) / tau[:, None]) ** 2).sum(axis=1)
    effects -= 8.0 * log_tau
    prior = -0.5 * (mu / 5.0) ** 2 - np.log1p((tau / 5.0) ** 2)
    return likelihood + effects + prior + log_tau


def test_bunch(posterior):
    chains, draws, d = shape = posterior.data.shape
    assert (chains, draws) == (10, 400)
    assert posterior.scores.shape == posterior.draws.shape == shape
    assert posterior.log_density.shape == (chains, draws)
    for key in ("data", "scores", "draws", "log_density"):
        assert posterior[key].dtype == np.float64
        assert posterior[key].flags.c_contiguous
        assert np.isfinite(posterior[key]).all()
    assert len(posterior.feature_names) == len(posterior.parameter_names) == d
    assert "BSD 3-Clause License" in posterior.DESCR


def test_default_is_eight_schools():
    default = inspect.signature(load_posterior).parameters["name"].default
    assert default == "eight_schools"
    assert load_posterior().feature_names[8:] == ["mu", "log tau"]


def test_parameters(posterior):
    """By their names: positive ones were drawn by their logarithms."""
    for j, name in enumerate(posterior.feature_names):
        parameter = posterior.parameter_names[j]
        points, draws = posterior.data[..., j], posterior.draws[..., j]
        if name == parameter:
            assert_array_equal(draws, points)
        else:
            assert name == f"log {parameter}"
            assert_allclose(draws, np.exp(points))
    assert posterior.feature_names[-1].startswith("log ")


def test_chains_are_apart(posterior):
    """Draws differ, and each chain is of the same distribution."""
    flat = posterior.data.reshape(-1, posterior.data.shape[2])
    assert len(np.unique(flat, axis=0)) == len(flat)
    away = abs(posterior.data.mean(axis=1) - flat.mean(axis=0)) / flat.std(axis=0)
    assert away.max() < 5.0 / np.sqrt(400)


def test_mean_score_is_zero(posterior):
    """As under any density that falls to 0: more than its gradient's noise is not."""
    flat = posterior.scores.reshape(-1, posterior.scores.shape[2])
    assert (abs(flat.mean(axis=0)) < 4.0 * flat.std(axis=0) / np.sqrt(len(flat))).all()


def test_stein_identity(posterior):
    """E[x_j s_k] = -1 for j = k and 0 otherwise, where scores are not too large."""
    X = posterior.data.reshape(-1, posterior.data.shape[2])
    scores = posterior.scores.reshape(X.shape)
    X = X - X.mean(axis=0)
    products = X[:, :, None] * scores[:, None, :]
    error = products.std(axis=0) / np.sqrt(len(X))
    assert (abs(products.mean(axis=0) + np.eye(X.shape[1])) < 4.5 * error).all()


def test_eight_schools_is_its_model():
    posterior = load_posterior("eight_schools")
    rows, scores = (a.reshape(-1, 10) for a in (posterior.data, posterior.scores))
    constant = posterior.log_density.ravel() - eight_schools(rows)
    assert np.ptp(constant) < 0.01
    # Stored draws are rounded: where tau is small, scores notice.
    wide = posterior.draws[..., 9].ravel() > 0.2
    assert wide.mean() > 0.9
    slopes = LogDensity(eight_schools).score(rows[wide])
    assert_allclose(scores[wide], slopes, rtol=1e-3, atol=1e-2)


def test_lotka_volterra_scores_are_slopes():
    """Between near draws the log density rises by the mean slope times the step."""
    posterior = load_posterior("lotka_volterra")
    X, scores = (a.reshape(-1, 8) for a in (posterior.data, posterior.scores))
    unit = (X - X.mean(axis=0)) / X.std(axis=0)
    apart = ((unit[:, None] - unit[None, :300]) ** 2).sum(axis=2)
    j = np.arange(300)
    apart[j, j] = np.inf
    i = np.argmin(apart, axis=0)
    slopes = 0.5 * ((scores[i] + scores[j]) * (X[i] - X[j])).sum(axis=1)
    rises = posterior.log_density.ravel()[i] - posterior.log_density.ravel()[j]
    assert np.corrcoef(slopes, rises)[0, 1] > 0.99
    assert_allclose((slopes @ rises) / (slopes @ slopes), 1.0, rtol=0.05)


def test_unknown_name():
    with pytest.raises(ValueError, match="eight_schools, lotka_volterra"):
        load_posterior("nine_schools")
