"""One number for all weights of a model: by it results are told to be of the same network."""

from collections.abc import Mapping
from hashlib import sha256

import numpy as np

from aimv2_np.arrays import to_numpy
from aimv2_np.shapes import Array

PIECE = 2**20  # elements of a weight that are hashed at a time


def hash_weights(state: Mapping[str, Array]) -> str:
    """SHA-256 over name, dtype, shape and bytes of every array, by name: what the model computes with."""
    digest = sha256()
    for name in sorted(state):
        array = state[name]
        digest.update(f"{name}\n{array.dtype.name}\n{tuple(array.shape)}\n".encode())
        flat = array.reshape(-1)
        for start in range(0, flat.size, PIECE):
            piece = to_numpy(flat[start : start + PIECE])
            digest.update(np.ascontiguousarray(piece, piece.dtype.newbyteorder("<")).view(np.uint8).data)
    return digest.hexdigest()
