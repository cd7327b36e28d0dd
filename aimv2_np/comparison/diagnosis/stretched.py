"""Learned positions stretched to another grid in other ways than AIMv2's, cut from the table, or taken a row late."""

from collections.abc import Callable
from functools import partial
from math import ceil, floor
from typing import Any

import numpy as np

from aimv2_np.shapes import Array

Grid = tuple[int, int]
# (embeddings, grid of the picture) → positions (N, D), or None where they cannot be
Positions = Callable[[Any, Grid], Any]


def cubic(a: float) -> Callable[[float], float]:
    """The kernel of cubic convolution; Keys 1981, eq. 15, has a = -1/2, PyTorch -3/4."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return (a + 2) * s**3 - (a + 3) * s**2 + 1
        return a * (s**3 - 5 * s**2 + 8 * s - 4) if s < 2 else 0.0

    return kernel


TORCH = cubic(-0.75)


def triangle(s: float) -> float:
    """The kernel of linear interpolation."""
    return max(0.0, 1 - abs(s))


def stretching(
    old: int,
    new: int,
    *,
    kernel: Callable[[float], float] = TORCH,
    reach: int = 2,
    corners: bool = False,
    antialias: bool = False,
    clipped: bool = True,
    offset: float = 0.0,
) -> Array:
    """The matrix (new, old) that stretches one axis.

    Args:
        kernel, reach: the weight at a distance, and the distance from which on it is zero.
        corners: whether the first and last samples of both fall together (`align_corners`).
        antialias: whether the kernel is widened when the axis shrinks, and cut at the edges as Pillow cuts it.
        clipped: whether samples beyond the edges repeat the last one; else they are left out and the rest add to one.
        offset: added to `new` in the scale, as DINO's 0.1 is.
    """
    scale = (old - 1) / (new - 1) if corners and new > 1 else old / (new + offset)
    wide = max(scale, 1.0) if antialias else 1.0
    matrix = np.zeros((new, old))
    for i in range(new):
        x = i * scale if corners else (i + 0.5) * scale - 0.5
        for j in range(floor(x - reach * wide), ceil(x + reach * wide) + 1):
            weight = kernel((x - j) / wide)
            if antialias or not clipped:
                if 0 <= j < old:
                    matrix[i, j] += weight
            else:
                matrix[i, min(max(j, 0), old - 1)] += weight
    return matrix / matrix.sum(axis=1, keepdims=True)


def picking(old: int, new: int, *, centre: bool) -> Array:
    """The matrix (new, old) that takes the nearest sample: of the left edge of each, or of its centre."""
    index = [min(floor((i + 0.5 * centre) * old / new), old - 1) for i in range(new)]
    return np.eye(old)[index]


def _stretched(matrix: Callable[[int, int], Array]) -> Positions:
    def positions(m: Any, grid: Grid) -> Array:
        table = m.position_embedding.weight
        rows, columns = (matrix(old, new).astype(table.dtype) for old, new in zip(m.grid, grid, strict=True))
        cube = table.reshape(*m.grid, -1)
        return np.einsum("Rr,Cc,rcd->RCd", rows, columns, cube, optimize=True).reshape(-1, table.shape[1])

    return positions


def _corner(m: Any, grid: Grid) -> Array | None:
    table = m.position_embedding.weight
    fits = grid[0] <= m.grid[0] and grid[1] <= m.grid[1]
    return table.reshape(*m.grid, -1)[: grid[0], : grid[1]].reshape(-1, table.shape[1]) if fits else None


def _centre(m: Any, grid: Grid) -> Array | None:
    table = m.position_embedding.weight
    top, left = ((old - new) // 2 for old, new in zip(m.grid, grid, strict=True))
    cube = table.reshape(*m.grid, -1)[top : top + grid[0], left : left + grid[1]] if min(top, left) >= 0 else None
    return None if cube is None else cube.reshape(-1, table.shape[1])


def _first_rows(m: Any, grid: Grid, start: int = 0) -> Array | None:
    rows = m.position_embedding.weight[start : start + grid[0] * grid[1]]
    return rows if len(rows) == grid[0] * grid[1] else None


def _moved(m: Any, grid: Grid, by: int) -> Array:
    """The row of another token: what is left of a table with a row for a CLS token, or without it."""
    return np.roll(m.positions(grid), by, axis=0)


def _edge_moved(m: Any, grid: Grid, by: int) -> Array:
    """Like `_moved`, but the last row stands for the ones that are not there."""
    number = np.clip(np.arange(grid[0] * grid[1]) - by, 0, grid[0] * grid[1] - 1)
    result: Array = m.positions(grid)[number]
    return result


def _first_missing(m: Any, grid: Grid) -> Array:
    """Positions one token on, and zero for the first: a table whose first row was a CLS token's."""
    positions = np.array(_moved(m, grid, 1))
    positions[0] = 0
    return positions


def _grid_exchanged(m: Any, grid: Grid) -> Array:
    """Positions of the transposed grid, laid out as they lie."""
    result: Array = m.positions(grid[::-1])
    return result


def _transposed(m: Any, grid: Grid) -> Array:
    """Positions of (column, row) for (row, column)."""
    cube = m.positions(grid[::-1]).reshape(*grid[::-1], -1)
    result: Array = cube.swapaxes(0, 1).reshape(grid[0] * grid[1], -1)
    return result


def _reversed(m: Any, grid: Grid, axes: tuple[int, ...]) -> Array:
    cube = np.flip(m.positions(grid).reshape(*grid, -1), axes)
    return cube.reshape(grid[0] * grid[1], -1)


BICUBIC = "it is bicubic, a = -3/4, without antialias, between centres (align_corners=False)"
STRETCHED: dict[str, Callable[[int, int], Array]] = {
    "bilinear": partial(stretching, kernel=triangle, reach=1),
    "bilinear with antialias": partial(stretching, kernel=triangle, reach=1, antialias=True),
    "bilinear with align_corners": partial(stretching, kernel=triangle, reach=1, corners=True),
    "nearest": partial(picking, centre=False),
    "nearest, of centres": partial(picking, centre=True),
    "bicubic with align_corners": partial(stretching, corners=True),
    "bicubic with a = -1/2": partial(stretching, kernel=cubic(-0.5)),
    "bicubic with a = -1/2 and align_corners": partial(stretching, kernel=cubic(-0.5), corners=True),
    "bicubic with a = -1/2 and cut edges": partial(stretching, kernel=cubic(-0.5), clipped=False),
    "bicubic with cut edges": partial(stretching, clipped=False),
    "bicubic with antialias (a = -1/2)": partial(stretching, kernel=cubic(-0.5), antialias=True),
    "bicubic with antialias and a = -3/4": partial(stretching, antialias=True),
    "bicubic with a scale for 0.1 more than the grid": partial(stretching, offset=0.1),
}
ROWS: dict[str, Positions] = {
    "next token for each": partial(_moved, by=-1),
    "next token for each, and of the last twice": partial(_edge_moved, by=-1),
    "token before for each": partial(_moved, by=1),
    "token before for each, and of the first twice": partial(_edge_moved, by=1),
    "token before for each, and none for the first": _first_missing,
}
LEARNED: dict[str, dict[str, Positions]] = {
    "positions_sliced": {
        "takes the upper left corner of the table of positions; it is stretched to the grid": _corner,
        "takes the middle of the table of positions; it is stretched to the grid": _centre,
        "takes the first rows of the table of positions; it is stretched to the grid": _first_rows,
    },
    "wrong_interpolation": {
        f"stretches positions {words}; {BICUBIC}": _stretched(matrix) for words, matrix in STRETCHED.items()
    },
    "positions_transposed": {
        "takes positions of (column, row) for (row, column)": _transposed,
    },
}
EITHER: dict[str, dict[str, Positions]] = {
    "positions_cls_row": {
        f"takes the position of the {which}: the table has no row for a CLS token": change
        for which, change in ROWS.items()
    },
    "positions_transposed": {
        "takes positions of a grid of columns by rows, as they lie": _grid_exchanged,
    },
    "positions_reversed": {
        "counts rows from the bottom": partial(_reversed, axes=(0,)),
        "counts columns from the right": partial(_reversed, axes=(1,)),
        "counts rows from the bottom and columns from the right": partial(_reversed, axes=(0, 1)),
    },
    "positions_scaled": {
        "adds positions twice": lambda m, grid: 2 * m.positions(grid),
        "subtracts positions; they are added": lambda m, grid: -m.positions(grid),
        "multiplies positions by the root of the hidden size": lambda m, grid: (
            m.rms_norm.weight.shape[0] ** 0.5 * m.positions(grid)
        ),
    },
}
