"""SwiGLU's gate in pieces that fit a core's cache."""

import numpy as np

from aimv2_np.backends.parallel import pieces
from aimv2_np.kernels.numpy.tail import LOWEST
from aimv2_np.network.swiglu import gated
from aimv2_np.shapes import NDArray

BLOCK_ELEMENTS = 1 << 17  # of work between two visits to main memory: 512 KiB of float32


def gated_into(gate: NDArray, up: NDArray, hidden_act: str, out: NDArray) -> None:
    """out = act(gate) ⊙ up, for arrays (size,).

    SiLU is x / (1 + e^-x), where e^-x may overflow to infinity, which gives the limit, zero; and does so for all of the
    tail (tail.py).
    """
    lowest = LOWEST.get(out.dtype, -np.inf)
    for block in pieces(out.size, BLOCK_ELEMENTS):
        x, y = gate[block], out[block]
        if hidden_act not in ("silu", "swish"):
            y[...] = gated.textbook(x, up[block], hidden_act)
            continue
        np.negative(x, out=y)
        if x.min() < lowest:
            np.copyto(y, np.inf, where=x < lowest)
        np.exp(y, out=y)
        y += 1
        np.divide(x, y, out=y)
        y *= up[block]
