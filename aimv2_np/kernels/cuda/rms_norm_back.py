"""The derivative of RMSNorm on the device: rows in one kernel, the sum over them for the gain in two steps."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.gradients.rms_norm import backward
from aimv2_np.kernels.cuda.launch import block_threads, computes, element, launch
from aimv2_np.shapes import Array

BLOCKS = 512  # at most, each of which has a row of sums for the gain


def rms_norm_back(x: Array, gain: Array, g: Array, eps: float) -> tuple[Array, Array]:
    """∂L/∂x and ∂L/∂gain, float32."""
    if not computes(x, gain) or g.dtype != np.float32 or gain.shape != x.shape[-1:] or not x.size:
        return backward.textbook(x, gain, g, eps)
    xp, size = namespace(x), x.shape[-1]
    x, gain, g = (xp.ascontiguousarray(it) for it in (x, gain, g))
    rows = x.size // size
    by_x, by_gain = xp.empty(x.shape, np.float32), xp.empty((min(rows, BLOCKS), size), np.float32)
    launch("rms_norm_back", [element(x)], [len(by_gain)], block_threads(size),
           [by_x, by_gain, x, gain, g, np.int32(rows), np.int32(size), np.float32(eps)])  # fmt: skip
    return by_x, by_gain.sum(axis=0)
