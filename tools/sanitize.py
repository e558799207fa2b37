"""Run every CUDA kernel once on ragged shapes, for NVIDIA's compute-sanitizer.

    compute-sanitizer --tool memcheck python tools/sanitize.py
    compute-sanitizer --tool racecheck python tools/sanitize.py

Each array has memory of its own here, so that a step past its end is found.
"""

import argparse

import cupy as cp
import numpy as np

from gpkern import KernelOperator, RandomSigns
from gpkern.kernels import RBF, Laplacian, Matern, Polynomial

cp.cuda.set_allocator(None)

TWO_LEAVES = "two leaves"
# Kernel, columns, dtype, precision: each kernel of docs/engine.md and its variants.
CASES = [
    (RBF(1.7), 3, "f4", "high"),
    (Matern(1.7, nu=0.5), 3, "f8", "high"),
    (Laplacian(3.0), 20, "f4", "high"),
    (TWO_LEAVES, 20, "f4", "high"),
    (RBF(4.0), 20, "f8", "high"),
    (RBF(4.0), 20, "f4", "highest"),
    (RBF(4.0), 20, "f4", "medium"),
    (Matern(4.0, nu=0.5), 17, "f4", "high"),
    (Polynomial(2, 0.1), 40, "f4", "high"),
    (RBF(10.0), 130, "f4", "medium"),
    (Matern(10.0, nu=0.5), 130, "f4", "high"),
    (RBF(17.0), 300, "f4", "high"),
]


def check(kernel, d, dtype, precision):
    """All reductions of a kernel."""
    rng = np.random.default_rng(0)
    if kernel is TWO_LEAVES:
        kernel = RBF([4.0] * d) + RBF(list(np.linspace(2.0, 6.0, d)))
    X, Z = (cp.asarray(rng.normal(size=(n, d)), dtype=dtype) for n in (391, 275))
    for op in (
        KernelOperator(kernel, X, Z, precision=precision),
        KernelOperator(kernel, X, precision=precision),
    ):
        n, m = op.shape
        for c in (1, 3, 10, 40):
            V = cp.asarray(rng.normal(size=(m, c)), dtype=dtype)
            U = cp.asarray(rng.normal(size=(n, c)), dtype=dtype)
            assert cp.isfinite(op @ V).all()
            assert cp.isfinite(op.T @ U).all()
            assert cp.isfinite(op.normal_matmat(V, U)[0]).all()
        if not isinstance(kernel, Polynomial):
            assert cp.isfinite(op.row_logsumexp()).all()
            assert cp.isfinite(op.row_softmax(V)).all()
        if not isinstance(kernel, Laplacian):
            assert cp.isfinite(op.row_gradient()).all()
        assert cp.isfinite(op.to_dense()).all()
    assert np.isfinite(float(op.quadratic_forms(RandomSigns(n, 70, 0)).sum()))


def main():
    """Run the cases, or some of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", type=int, nargs="*", help="numbers; all by default")
    for i in parser.parse_args().cases or range(len(CASES)):
        check(*CASES[i])
        print("case", i, *CASES[i], flush=True)


if __name__ == "__main__":
    main()
