"""Targets from probabilistic programs: Stan's, by BridgeStan, and PyMC's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .base import Target, as_rows, to_numpy


class StanTarget(Target):
    """See `from_bridgestan`."""

    has_log_density = True

    def __init__(self, model):
        for name in ("log_density_gradient", "param_unc_num"):
            if not hasattr(model, name):
                raise TypeError(
                    f"model={type(model).__name__} has no {name}: pass a "
                    "bridgestan.StanModel"
                )
        self.model = model
        self.n_features = int(model.param_unc_num())

    def _score(self, X):
        return self._each(X)[1]

    def _log_density(self, X):
        return self._each(X)[0]

    def _each(self, X):
        X = np.ascontiguousarray(to_numpy(X))
        values, scores = np.full(len(X), -np.inf), np.full(X.shape, np.nan)
        refused = None
        for i, row in enumerate(X):
            try:
                value, slope = self.model.log_density_gradient(
                    row, propto=True, jacobian=True
                )
            except RuntimeError as error:  # Stan rejects the row: its density is 0
                refused = error
                continue
            values[i], scores[i] = value, slope
        if refused is not None and (values == -np.inf).all():
            raise ValueError(f"Stan rejects all rows: {refused}") from refused
        return values, scores

    def unconstrained(self, X):
        """Draws in the unconstrained coordinates.

        Parameters
        ----------
        X : array-like of shape (n, p)
            Draws of the parameters block, in the order of the model's `param_names`.

        Returns
        -------
        ndarray of shape (n, d)
        """
        rows = to_numpy(as_rows(X, name="X"))
        unconstrain = self.model.param_unconstrain
        return np.array([unconstrain(np.ascontiguousarray(row)) for row in rows])


class PyMCTarget(Target):
    """See `from_pymc`."""

    has_log_density = True

    def __init__(self, model):
        for name in ("compile_logp", "compile_dlogp", "initial_point"):
            if not hasattr(model, name):
                raise TypeError(
                    f"model={type(model).__name__} has no {name}: pass a pymc.Model of "
                    "PyMC 5 or later"
                )
        discrete = [v.name for v in getattr(model, "discrete_value_vars", [])]
        if discrete:
            raise ValueError(
                f"the model has discrete variables ({', '.join(discrete)}), of which "
                "there is no gradient: marginalise them out"
            )
        start = model.initial_point()
        # The gradient is in this order, whatever the order of the point.
        order = getattr(model, "continuous_value_vars", None)
        names = list(start) if order is None else [v.name for v in order]
        self.shapes = {name: np.shape(start[name]) for name in names}
        self.n_features = sum(int(np.prod(s)) for s in self.shapes.values())
        self.model = model
        self._logp, self._dlogp = model.compile_logp(), model.compile_dlogp()

    def _score(self, X):
        rows = to_numpy(X)
        return np.array([np.ravel(self._dlogp(self._point(row))) for row in rows])

    def _log_density(self, X):
        rows = to_numpy(X)
        return np.array([float(self._logp(self._point(row))) for row in rows])

    def _point(self, row):
        """The values of a row by their names."""
        point, i = {}, 0
        for name, shape in self.shapes.items():
            size = int(np.prod(shape))
            point[name] = row[i : i + size].reshape(shape)
            i += size
        return point

    def unconstrained(self, draws):
        """Draws of the value variables as rows.

        Parameters
        ----------
        draws : mapping of str to array-like, or Dataset
            By the names of the value variables, such as "sigma_log__", draws of shape
            (n, ...) or (chain, draw, ...).

        Returns
        -------
        ndarray of shape (n, d)
            The columns in the order of `shapes`.

        Raises
        ------
        ValueError
            Where a value variable is missing, as in draws of constrained ones.
        """
        if not isinstance(draws, Mapping):
            draws = getattr(draws, "data_vars", draws)
        missing = [name for name in self.shapes if name not in draws]
        if missing:
            raise ValueError(
                f"draws has no variable {missing[0]!r}: unconstrained draws are "
                f"needed, of {', '.join(self.shapes)} (in PyMC: pm.sample(..., "
                "idata_kwargs={'include_transformed': True}), then "
                "idata.unconstrained_posterior or idata.posterior)"
            )
        columns = []
        for name, shape in self.shapes.items():
            values = np.asarray(draws[name], dtype=np.float64)
            if values.shape[values.ndim - len(shape) :] != shape:
                raise ValueError(
                    f"draws[{name!r}] has shape {values.shape}: its last axes must be "
                    f"{shape}"
                )
            columns.append(values.reshape(-1, int(np.prod(shape))))
        return np.concatenate(columns, axis=1)


def from_bridgestan(model):
    """Target of a Stan model, by BridgeStan.

    The density is that of the *unconstrained* coordinates, in which Stan samples: a
    scale sigma > 0 is there log sigma, a simplex of k numbers k - 1 of them. It
    includes the term log |det J| of the change of coordinates. So draws must be
    unconstrained too: `unconstrained(X)` of the target maps those of the parameters
    block. The constrained density would do only where it vanishes at the edges of the
    constraints, which it seldom does.

    Parameters
    ----------
    model : bridgestan.StanModel
        Called row by row.

    Returns
    -------
    Target
        With the method ``unconstrained(X) -> (n, d)``.

    References
    ----------
    Roualdes et al. (2023), BridgeStan: efficient in-memory access to the methods of a
    Stan model; Stan Reference Manual, Constraint transforms.

    Examples
    --------
    >>> import bridgestan  # doctest: +SKIP
    >>> from gpkern.targets import from_bridgestan
    >>> model = bridgestan.StanModel("model.stan", "data.json")  # doctest: +SKIP
    >>> target = from_bridgestan(model)  # doctest: +SKIP
    >>> target.score(target.unconstrained(draws))  # doctest: +SKIP
    """
    return StanTarget(model)


def from_pymc(model):
    """Target of a PyMC model.

    The density is that of the *unconstrained* value variables, in which PyMC samples:
    a scale ``sigma`` is there ``sigma_log__``, its logarithm. It includes the term
    log |det J| of the change of coordinates. So draws must be unconstrained too: sample
    with ``idata_kwargs={"include_transformed": True}``, and let `unconstrained(draws)`
    of the target put them into the columns of the score.

    Parameters
    ----------
    model : pymc.Model
        Of PyMC 5 or later, without discrete variables. Called row by row.

    Returns
    -------
    Target
        With the method ``unconstrained(draws) -> (n, d)``, and the attribute `shapes`:
        value variables and their shapes, in the order of the columns.

    Examples
    --------
    >>> import pymc  # doctest: +SKIP
    >>> from gpkern.targets import from_pymc
    >>> with pymc.Model() as model:  # doctest: +SKIP
    ...     sigma = pymc.HalfNormal("sigma")
    >>> from_pymc(model).shapes  # doctest: +SKIP
    {'sigma_log__': ()}
    """
    return PyMCTarget(model)
