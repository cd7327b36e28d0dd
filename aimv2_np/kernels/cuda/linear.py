"""The linear map on the device: all rows in one product of cuBLAS; the bias is what the sum begins with."""

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.gemm import multiplies, multiply_transposed
from aimv2_np.network.linear import linear
from aimv2_np.shapes import Array


def linear_rows(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`x @ weight.T + bias`, summed in float32 (float64 in float64) and rounded once."""
    if not multiplies(x, weight, bias):
        return linear.textbook(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    y = namespace(x).empty((len(rows), len(weight)), x.dtype)
    if bias is not None:
        y[...] = bias
    multiply_transposed(rows, weight, y, add=bias is not None)
    return y.reshape(*x.shape[:-1], len(weight))
