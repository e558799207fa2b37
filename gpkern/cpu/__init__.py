"""CPU engine: BLAS for inner products, Numba for everything per element."""
