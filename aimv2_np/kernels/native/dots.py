"""Dot products with stored vectors in C, read where they lie: dots.c."""

from typing import Final

import numpy as np

from aimv2_np.backends.dots import STORED, dots
from aimv2_np.kernels.native.bodies import call, serves
from aimv2_np.kernels.native.library import Kernels
from aimv2_np.kernels.native.structures import KINDS, address_of, is_dense, packed
from aimv2_np.shapes import NDArray

MANY: Final = 32  # queries, from which on NumPy's product of matrices is faster, though it copies the vectors


@serves(dots)
def dots_of_rows(c: Kernels, queries: NDArray, vectors: NDArray) -> tuple[NDArray, NDArray] | None:
    """All queries with a vector while it is in the cache: one pass over the file."""
    kind = vectors.dtype.name
    readable = kind in STORED and vectors.dtype.isnative and is_dense(vectors)
    if not readable or not queries.size or len(queries) >= MANY:
        return None
    queries, (rows, width) = packed(queries), vectors.shape
    y, squares = np.empty((len(queries), rows), np.float32), np.empty(rows, np.float32)
    stride = vectors.strides[0] // vectors.itemsize
    call(c.dots, (len(queries) + 1) * vectors.size, address_of(vectors), KINDS[kind], rows, width, stride,
         address_of(queries), len(queries), address_of(y), address_of(squares))  # fmt: skip
    return y, squares
