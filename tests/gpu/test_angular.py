"""Polynomials in the place of long functions of an angle."""

import numpy as np
import pytest

from gpkern.gpu.angular import TOLERANCES, simplified
from gpkern.kernels import NTK, RBF, Program
from gpkern.kernels.base import dense


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(
    "kernel",
    [
        NTK(3),
        NTK(6, "leaky_relu", weight_variance=2.0, normalize=True),
        2.0 * NTK(4, kind="nngp") + RBF(3.0),
    ],
    ids=str,
)
def test_values(kernel, parts):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    X[1], X[2], X[3], X[4] = X[0], -X[0], 3.0 * X[0] + 1e-7, 0.0
    program = Program.of(kernel, 5)
    short = simplified(program, parts)
    assert len(short.statements) < len(program.statements)
    exact, got = dense(program.expr, X, X), dense(short.expr, X, X)
    size = np.sqrt(np.outer(*2 * [kernel.diag(X)]))
    assert (abs(got - exact) <= 2.0 * TOLERANCES[parts] * size).all()
    assert simplified(program, parts) is short


@pytest.mark.parametrize("kernel", [RBF(1.0), NTK(1), NTK(3, bias_variance=0.5)])
def test_others_stay(kernel):
    program = Program.of(kernel, 5)
    assert simplified(program, 2) is program
