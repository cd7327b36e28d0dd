"""Dot products of queries with vectors as a file has them: of float32, float16 or int8.

    y_qn = <w_q, x_n>,    s_n = <x_n, x_n>

Both come out in float32. Numbers of one or two bytes become float32 without rounding, so the error is that of a sum of
D products in float32, whatever the vectors are stored as.
"""

import numpy as np

from aimv2_np.backends.operation import operation
from aimv2_np.shapes import NDArray

STORED = ("float32", "float16", "int8")


@operation
def dots(queries: NDArray, vectors: NDArray) -> tuple[NDArray, NDArray]:
    """(Q, N) products of `queries` (Q, D) with `vectors` (N, D), one of `STORED`; (N,) squares of the vectors."""
    wide = vectors.astype(np.float32, copy=False)
    return queries @ wide.T, np.linalg.vecdot(wide, wide)
