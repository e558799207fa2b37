"""Models of BridgeStan and PyMC, by stand-ins that have their methods."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from gpkern.targets import as_target, check_score, from_bridgestan, from_pymc


class StanModel:
    """sigma ~ exponential(1), mu ~ normal(0, sigma): unconstrained (log sigma, mu)."""

    def param_unc_num(self):
        return 2

    def log_density_gradient(self, theta_unc, *, propto=True, jacobian=True, out=None):
        assert theta_unc.flags.c_contiguous
        assert theta_unc.dtype == np.float64
        z, mu = theta_unc
        if mu > 50:
            raise RuntimeError("normal_lpdf: mu is too large")
        s = np.exp(z)
        value = -s - z - 0.5 * (mu / s) ** 2 + (z if jacobian else 0.0)
        slope = [-s - 1.0 + (mu / s) ** 2 + (1.0 if jacobian else 0.0), -mu / s**2]
        return value, np.array(slope)

    def param_unconstrain(self, theta, *, out=None):
        return np.array([np.log(theta[0]), theta[1]])


def rows(n=20, d=2):
    return np.random.default_rng(0).normal(size=(n, d))


def test_bridgestan(asarray):
    target = from_bridgestan(StanModel())
    assert target.n_features == 2
    assert check_score(target, rows()) < 1e-8
    assert_array_equal(target.score(asarray(rows())), target.score(rows()))
    sigma, mu = np.exp(rows()[:, 0]), rows()[:, 1]
    constrained = np.column_stack([sigma, mu])
    assert_allclose(target.unconstrained(constrained), rows())
    # With the Jacobian: exponential(1) has the density s exp(-s) of log s.
    s = np.exp(rows()[:, 0])
    expected = -s - 0.5 * (mu / s) ** 2
    assert_allclose(target.log_density(rows()), expected)
    assert_allclose(target.score(rows())[:, 0], -s + (mu / s) ** 2)


def test_rows_that_stan_rejects():
    target, X = from_bridgestan(StanModel()), rows()
    X[4, 1] = 99.0
    assert_array_equal(np.isinf(target.log_density(X)), np.arange(20) == 4)
    with pytest.raises(ValueError, match=r"NaN or infinite in 1 of 20 rows.* row 4"):
        target.score(X)
    with pytest.raises(ValueError, match="Stan rejects all rows: normal_lpdf: mu is"):
        target.score(X[4:5])


class PyMCModel:
    """Value variables sigma_log__ and mu of shape (2, 2); the point in another order.

    In PyMC too a gradient is in the order of `continuous_value_vars`.
    """

    continuous_value_vars = (
        SimpleNamespace(name="sigma_log__"),
        SimpleNamespace(name="mu"),
    )
    discrete_value_vars = ()

    def initial_point(self):
        return {"mu": np.zeros((2, 2)), "sigma_log__": np.array(0.0)}

    def compile_logp(self):
        def logp(point):
            assert point["sigma_log__"].shape == ()
            z, mu = point["sigma_log__"], point["mu"]
            trend = mu.ravel() @ np.arange(4)
            return np.asarray(z - np.exp(z) - 0.5 * (mu**2).sum() + trend)

        return logp

    def compile_dlogp(self):
        def dlogp(point):
            slope = np.arange(4) - point["mu"].ravel()
            return np.append(1.0 - np.exp(point["sigma_log__"]), slope)

        return dlogp


def test_pymc():
    target = from_pymc(PyMCModel())
    assert target.shapes == {"sigma_log__": (), "mu": (2, 2)}
    assert target.n_features == 5
    assert check_score(target, rows(20, 5)) < 1e-8
    mu = np.arange(24.0).reshape(2, 3, 2, 2)
    draws = {"sigma_log__": np.arange(6.0).reshape(2, 3), "mu": mu, "sigma": mu}
    expected = np.column_stack([np.arange(6.0), np.arange(24.0).reshape(6, 4)])
    assert_array_equal(target.unconstrained(draws), expected)
    with pytest.raises(ValueError, match=r"no variable 'sigma_log__': unconstrained"):
        target.unconstrained({"sigma": mu, "mu": mu})
    with pytest.raises(ValueError, match=r"\['mu'\] has shape \(6, 4\): its last axes"):
        target.unconstrained(draws | {"mu": mu.reshape(6, 4)})


def test_discrete_variables():
    model = PyMCModel()
    model.discrete_value_vars = (SimpleNamespace(name="k"),)
    with pytest.raises(ValueError, match=r"discrete variables \(k\).* marginalise"):
        from_pymc(model)


def test_models_are_named():
    with pytest.raises(TypeError, match=r"pass gpkern.targets.from_bridgestan\(model"):
        as_target(StanModel())
    with pytest.raises(TypeError, match=r"pass gpkern.targets.from_pymc\(model\)"):
        as_target(PyMCModel())
    with pytest.raises(TypeError, match="has no log_density_gradient: pass a bridges"):
        from_bridgestan(PyMCModel())
    with pytest.raises(TypeError, match="has no compile_logp: pass a pymc"):
        from_pymc(StanModel())
