"""The derivative of looking up rows of a table on the device, in an order that is the same in every run."""

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.gradients.embedding import add_rows
from aimv2_np.kernels.cuda.launch import block_threads, launch
from aimv2_np.shapes import Array

TYPES = {"float32": "float", "float64": "double"}


def add_rows_in_order(g: Array, numbers: Array, rows: int) -> Array:
    """The sum of the rows of `g` for each number."""
    xp = namespace(g)
    if g.dtype.name not in TYPES or not g.size:
        return add_rows.textbook(g, numbers, rows)
    whole, numbers, size = xp.zeros((rows, *g.shape[1:]), g.dtype), numbers.astype(np.int64), g.size // len(g)
    order = xp.argsort(numbers, kind="stable").astype(np.int64)
    launch("embedding_back", [TYPES[g.dtype.name]], [len(g)], block_threads(size),
           [whole, xp.ascontiguousarray(g), numbers[order], order, np.int32(len(g)), np.int32(size)])  # fmt: skip
    return whole
