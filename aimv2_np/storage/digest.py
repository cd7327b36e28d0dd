"""A hash of all weights of a model, by which results of the same network are recognised."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from aimv2_np.backends.arrays import beside, to_host
from aimv2_np.backends.dtypes import FLOATS
from aimv2_np.shapes import Array, NDArray
from aimv2_np.storage.formats.casting import to_bfloat16

PIECE = 2**20  # elements of a weight that are hashed at a time


def hash_weights(state: Mapping[str, Array], dtype: str | None = None) -> str:
    """SHA-256 over name, dtype, shape and bytes of every array, by name: what the model computes with.

    With `dtype`, what it would be if the weights were rounded to that.
    """
    digest = sha256()
    for name in sorted(state):
        array = state[name]
        target = dtype or array.dtype.name
        digest.update(f"{name}\n{target}\n{tuple(array.shape)}\n".encode())
        with beside(array):
            flat = array.reshape(-1)
            for start in range(0, flat.size, PIECE):
                digest.update(_rounded(to_host(flat[start : start + PIECE]), target, name).view(np.uint8).data)
    return digest.hexdigest()


def _rounded(piece: NDArray, dtype: str, name: str) -> NDArray:
    """The numbers as they are stored in a dtype; bfloat16 as its bits."""
    if piece.dtype.name == dtype == "bfloat16":
        piece = piece.view(np.uint16)
    elif dtype == "bfloat16":
        piece = to_bfloat16(piece, FLOATS[piece.dtype.name], name)
    else:
        with np.errstate(over="ignore"):  # another model's, which is what the hash will say
            piece = piece.astype(dtype, copy=False)
    return np.ascontiguousarray(piece, piece.dtype.newbyteorder("<"))
