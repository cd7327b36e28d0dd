"""Stretching learned positions on the device: two products, with matrices that are copied there once per grid."""

from functools import lru_cache
from types import ModuleType

import numpy as np

from aimv2_np.backends.arrays import namespace, settle, widen
from aimv2_np.kernels.cuda.gemm import matmul, multiplies
from aimv2_np.network.positions import cubic_matrix, interpolate_positions
from aimv2_np.shapes import Array, Float


def interpolate_on_device(
    table: Float[Array, "N D"], grid: tuple[int, int], new_grid: tuple[int, int]
) -> Float[Array, "M D"]:
    """K_rows · table · K_columnsᵀ. Copies nothing to the device but for a new grid, so that it can be recorded."""
    if grid == new_grid:
        return table
    wide = widen(table)
    if not multiplies(wide) or not wide.size:
        return interpolate_positions.textbook(table, grid, new_grid)
    xp = namespace(table)
    (old_rows, old_columns), (rows, columns), size = grid, new_grid, table.shape[1]
    k_rows = _matrix(xp, old_rows, rows, wide.dtype, table.device.id)
    k_columns = _matrix(xp, old_columns, columns, wide.dtype, table.device.id)
    cube = xp.ascontiguousarray(wide).reshape(1, old_rows, old_columns * size)
    tall = xp.empty((1, rows, old_columns * size), wide.dtype)
    matmul(k_rows[None], cube, tall)  # (R, r) @ (r, c·D) -> (R, c·D)
    out = xp.empty((rows, columns, size), wide.dtype)
    matmul(xp.broadcast_to(k_columns, (rows, columns, old_columns)), tall.reshape(rows, old_columns, size), out)
    return out.reshape(rows * columns, size).astype(table.dtype, copy=False)


@lru_cache(64)
def _matrix(xp: ModuleType, old: int, new: int, dtype: np.dtype, device: int) -> Float[Array, "new old"]:
    """`cubic_matrix` on the device, where any stream may read it."""
    matrix = xp.asarray(cubic_matrix(old, new), dtype=dtype)
    settle("cupy")
    return matrix
