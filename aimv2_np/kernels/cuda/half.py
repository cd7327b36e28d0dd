"""Products on the device of factors in half precision, whose results stay float32: those of the way back."""

import numpy as np

from aimv2_np.backends.arrays import HALF_BYTES, namespace
from aimv2_np.gradients.half import product
from aimv2_np.kernels.cuda.gemm import multiplies, multiply_transposed
from aimv2_np.shapes import Array


def product_of_halves(a: Array, b: Array) -> Array:
    """`a @ b.T` by cuBLAS, of two matrices of the same half precision; of others as written."""
    if not multiplies(a, b) or a.itemsize != HALF_BYTES:
        return product.textbook(a, b)
    return multiply_transposed(a, b, namespace(a).empty((len(a), len(b)), np.float32))
