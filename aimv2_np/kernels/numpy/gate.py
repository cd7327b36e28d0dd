"""SwiGLU's gate in pieces that fit a core's cache."""

import numpy as np

from aimv2_np.kernels.numpy.scratch import empty
from aimv2_np.kernels.numpy.tail import LOWEST
from aimv2_np.network.swiglu import gated
from aimv2_np.shapes import NDArray

BLOCK_ELEMENTS = 1 << 17  # of work between two visits to main memory: 256 KiB of float32, a quarter of an L2 cache


def gated_into(gate: NDArray, up: NDArray, hidden_act: str, out: NDArray) -> None:
    """out = act(gate) ⊙ up, for arrays without gaps whose elements follow each other in one order.

    SiLU is x / (1 + e^-x), where e^-x may overflow to infinity, which gives the limit, zero; and does so for all of the
    tail (tail.py).
    """
    if hidden_act not in ("silu", "swish"):
        out[...] = gated.textbook(gate, up, hidden_act)
        return
    flat_gate, flat_up, flat_out = (x.ravel("K") for x in (gate, up, out))
    work = empty((min(BLOCK_ELEMENTS, out.size),), out.dtype)
    lowest = LOWEST.get(out.dtype, -np.inf)
    for start in range(0, out.size, BLOCK_ELEMENTS):
        block = slice(start, min(start + BLOCK_ELEMENTS, out.size))
        x, y = flat_gate[block], work[: block.stop - start]
        np.negative(x, out=y)
        if x.min() < lowest:
            np.copyto(y, np.inf, where=x < lowest)
        np.exp(y, out=y)
        y += 1
        np.divide(x, y, out=y)
        np.multiply(y, flat_up[block], out=flat_out[block])
