"""RMSNorm on the device, in one pass."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.launch import computes, element, launch, width
from aimv2_np.network.rms_norm import rms_norm
from aimv2_np.shapes import Array


def rms_norm_rows(x: Array, weight: Array, eps: float) -> Array:
    """One block per row."""
    if not computes(x, weight) or not x.size:
        return rms_norm.textbook(x, weight, eps)
    return _normalise(namespace(x).ascontiguousarray(x), weight, eps, None)


def add_rms_norm(x: Array, residual: Array, weight: Array, eps: float) -> Array:
    """`x += residual`, in place, then the norm of `x`, in one pass; `residual` is of the shape of `x`, or one row.

    `x` has no gaps, and all are of one type that the kernels compute in.
    """
    return _normalise(x, weight, eps, namespace(x).ascontiguousarray(residual))


def _normalise(x: Array, weight: Array, eps: float, residual: Array | None) -> Array:
    size, added = x.shape[-1], residual is not None
    y = namespace(x).empty(x.shape, x.dtype)
    weight = namespace(x).ascontiguousarray(weight)
    vector = width(size, x, y, weight, *([residual] if added else []))
    threads = min(256, -(-size // (vector * 32)) * 32)
    stride = 0 if residual is None or residual.ndim == 1 else size
    launch("rms_norm", [element(x), vector, added], [x.size // size], threads,
           [y, x, weight, residual, np.int32(size), np.int32(stride), np.float32(eps)])  # fmt: skip
    return y
