"""`KernelOperator` on a GPU."""

import numpy as np
from cupyx.scipy.sparse.linalg import LinearOperator

from ..operator import Views
from ..reductions import Reductions


class CudaKernelOperator(Reductions, Views, LinearOperator):
    """A `gpkern.KernelOperator` whose operands and results are CuPy arrays.

    A `cupyx.scipy.sparse.linalg.LinearOperator`, so CuPy's ``cg``, ``eigsh`` and
    ``lobpcg`` work on it.
    """

    def _init_linear(self, dtype, shape):
        LinearOperator.__init__(self, np.dtype(dtype), shape)
