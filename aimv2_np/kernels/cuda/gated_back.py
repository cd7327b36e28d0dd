"""The derivative of SwiGLU's activation and product on the device, in one pass."""

import numpy as np

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.gradients.swiglu import backward
from aimv2_np.kernels.cuda.gated import ACTIVATIONS, rows_of
from aimv2_np.kernels.cuda.launch import block_threads, launch
from aimv2_np.shapes import Array


def gated_back(gate: Array, up: Array, g: Array, hidden_act: str) -> list[Array]:
    """∂L/∂gate and ∂L/∂up, float32; gate and up may be halves of one array."""
    gate, up = widen(gate), widen(up)
    if not (gate.dtype == up.dtype == g.dtype == np.float32) or not gate.size:
        return backward.textbook(gate, up, g, hidden_act)
    found, size = [namespace(gate).empty(gate.shape, np.float32) for _ in range(2)], gate.shape[-1]
    arrays = [rows_of(x) for x in (gate, up, g)]
    strides = [np.int64(x.strides[0] // x.itemsize) for x in arrays]
    launch("gated_back", [ACTIVATIONS[hidden_act]], [len(arrays[0])], block_threads(size),
           [*found, *arrays, np.int32(size), *strides])  # fmt: skip
    return found
