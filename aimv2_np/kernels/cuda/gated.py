"""SwiGLU's activation and product on the device, in one pass."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.kernels.cuda.launch import block_threads, computes, element, launch, width
from aimv2_np.network.activations import ACTIVATIONS as EQUATIONS
from aimv2_np.network.swiglu import gated
from aimv2_np.shapes import Array

# hidden_act -> the function of activations.cuh: gelu_tanh is GeluTanh there
ACTIVATIONS = {name: function.__name__.title().replace("_", "") for name, function in EQUATIONS.items()}


def gated_pass(gate: Array, up: Array, hidden_act: str) -> Array:
    """WIDTH elements per thread; gate and up may be halves of one array, as they are after their stacked product."""
    if not computes(gate, up) or not gate.size:
        return gated.textbook(gate, up, hidden_act)
    xp = namespace(gate)
    size = gate.shape[-1]
    y = xp.empty(gate.shape, gate.dtype)
    gate, up = (rows_of(x) for x in (gate, up))
    vector = width(size, gate, up, y)
    launch("gated", [element(gate), vector, ACTIVATIONS[hidden_act]], [len(gate)], block_threads(size // vector),
           [y, gate, up, np.int32(size), *(np.int64(x.strides[0] // x.itemsize) for x in (gate, up))])  # fmt: skip
    return y


def rows_of(x: Array) -> Array:
    """(..., F) as rows (R, F) without gaps within; a copy only where it cannot be helped."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if rows.strides[1] == rows.itemsize and rows.strides[0] >= 0 else namespace(x).ascontiguousarray(rows)
