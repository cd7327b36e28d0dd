"""Learned positions stretched to another grid in other ways than AIMv2's, cut from the table, or taken a row late."""

from collections.abc import Callable
from functools import partial
from math import ceil, isqrt
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.kernels import averaging, cubic, lanczos, mitchell, picking, stretching, triangle
from aimv2_np.shapes import Array

Grid = tuple[int, int]
# (embeddings, grid of the picture) → positions (N, D), or None where they cannot be
Positions = Callable[[Any, Grid], Any]


def _stretched(matrix: Callable[[int, int], Array]) -> Positions:
    def positions(m: Any, grid: Grid) -> Array:
        table = m.position_embedding.weight
        rows, columns = (matrix(old, new).astype(table.dtype) for old, new in zip(m.grid, grid, strict=True))
        cube = table.reshape(*m.grid, -1)
        return np.einsum("Rr,Cc,rcd->RCd", rows, columns, cube, optimize=True).reshape(-1, table.shape[1])

    return positions


def _along_tokens(matrix: Callable[[int, int], Array]) -> Positions:
    """The table stretched as one row of positions, whatever its grid."""

    def positions(m: Any, grid: Grid) -> Array:
        table = m.position_embedding.weight
        return matrix(len(table), grid[0] * grid[1]).astype(table.dtype) @ table

    return positions


def _enlarged(mode: str, *, centre: bool = False) -> Positions:
    """The table with more rows and columns around it, as `np.pad` makes them, then cut to the grid."""

    def positions(m: Any, grid: Grid) -> Array:
        table = m.position_embedding.weight
        more = [max(new - old, 0) for old, new in zip(m.grid, grid, strict=True)]
        around = [(each // 2, each - each // 2) if centre else (0, each) for each in more]
        cube = np.pad(table.reshape(*m.grid, -1), [*around, (0, 0)], mode)  # type: ignore[call-overload]
        result: Array = cube[: grid[0], : grid[1]].reshape(grid[0] * grid[1], -1)
        return result

    return positions


def _lengthened(mode: str) -> Positions:
    """The table with more rows behind the last one, as `np.pad` makes them."""

    def positions(m: Any, grid: Grid) -> Array:
        table, tokens = m.position_embedding.weight, grid[0] * grid[1]
        more = [(0, max(tokens - len(table), 0)), (0, 0)]
        result: Array = np.pad(table, more, mode)[:tokens]  # type: ignore[call-overload]
        return result

    return positions


def _as_square(m: Any, grid: Grid, more: int) -> Array | None:
    """Positions of a grid as wide as the root of the number of patches, or one more."""
    tokens = grid[0] * grid[1]
    columns = isqrt(tokens) + more
    if grid[0] == grid[1]:
        return None
    result: Array = m.positions((ceil(tokens / columns), columns))[:tokens]
    return result


def _times(factor: Callable[[int], float]) -> Positions:
    """Positions times a factor, which depends on their size."""

    def positions(m: Any, grid: Grid) -> Array:
        found = m.positions(grid)
        result: Array = found * found.dtype.type(factor(found.shape[1]))
        return result

    return positions


def _halves_exchanged(m: Any, grid: Grid) -> Array:
    positions = m.positions(grid)
    return np.roll(positions, positions.shape[1] // 2, axis=1)


def _alike(m: Any, grid: Grid, of: Callable[[Array], Array]) -> Array:
    positions = m.positions(grid)
    return np.broadcast_to(of(positions), positions.shape)


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
    "bicubic with a = -1": partial(stretching, kernel=cubic(-1.0)),
    "bicubic by Mitchell and Netravali (B = C = 1/3)": partial(stretching, kernel=mitchell(1 / 3, 1 / 3)),
    "bicubic by Mitchell and Netravali (B = C = 1/3) with antialias": partial(
        stretching, kernel=mitchell(1 / 3, 1 / 3), antialias=True
    ),
    "by cubic B-splines that do not pass through the table": partial(stretching, kernel=mitchell(1.0, 0.0)),
    "by Lanczos of three lobes": partial(stretching, kernel=lanczos, reach=3),
    "by Lanczos of three lobes, whose weights do not add up to one": partial(
        stretching, kernel=lanczos, reach=3, whole=False
    ),
    "by Lanczos of three lobes, with cut edges": partial(stretching, kernel=lanczos, reach=3, clipped=False),
    "by Lanczos of three lobes, with antialias": partial(stretching, kernel=lanczos, reach=3, antialias=True),
    "by the mean of an area (adaptive average pooling)": partial(averaging, whole=True),
    "by the mean of an area, in parts": partial(averaging, whole=False),
    "bicubic with a scale for 0.1 more than the grid": partial(stretching, offset=0.1),
}
ALONG: dict[str, Callable[[int, int], Array]] = {
    name: STRETCHED[name]
    for name in ("bilinear", "bilinear with align_corners", "nearest", "bicubic with align_corners")
} | {"bicubic": stretching, "by the mean of an area": STRETCHED["by the mean of an area (adaptive average pooling)"]}
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
        "repeats the table of positions in rows and columns; it is stretched to the grid": _enlarged("wrap"),
        "repeats the table of positions row after row; it is stretched to the grid": _lengthened("wrap"),
        "adds nothing beyond the table of positions; it is stretched to the grid": _enlarged("constant"),
        "adds nothing beyond the table of positions, around it; it is stretched to the grid": _enlarged(
            "constant", centre=True
        ),
        "adds nothing beyond the last row of the table of positions; it is stretched to the grid": _lengthened(
            "constant"
        ),
        "repeats the table's last row and column; it is stretched to the grid": _enlarged("edge"),
        "repeats the table's last position; it is stretched to the grid": _lengthened("edge"),
    },
    "wrong_interpolation": {
        f"stretches positions {words}; {BICUBIC}": _stretched(matrix) for words, matrix in STRETCHED.items()
    }
    | {
        f"stretches positions along the tokens, {words}; {BICUBIC}, in rows and columns": _along_tokens(matrix)
        for words, matrix in ALONG.items()
    },
    "positions_channels": {"exchanges the halves of each position": _halves_exchanged},
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
        "takes positions of a square grid, as wide as the root of the number of patches": partial(_as_square, more=0),
        "takes positions of a square grid, as wide as the root of the number of patches, rounded up": partial(
            _as_square, more=1
        ),
    },
    "positions_reversed": {
        "counts rows from the bottom": partial(_reversed, axes=(0,)),
        "counts columns from the right": partial(_reversed, axes=(1,)),
        "counts rows from the bottom and columns from the right": partial(_reversed, axes=(0, 1)),
    },
    "positions_scaled": {
        "adds positions twice": _times(lambda size: 2.0),
        "subtracts positions; they are added": _times(lambda size: -1.0),
        "multiplies positions by the root of the hidden size": _times(lambda size: size**0.5),
        "divides positions by the root of the hidden size": _times(lambda size: size**-0.5),
        "adds half of the positions": _times(lambda size: 0.5),
    },
    "positions_channels": {"reverses the numbers of each position": lambda m, grid: m.positions(grid)[:, ::-1]},
    "positions_shifted": {
        "adds the first position to all patches": partial(_alike, of=lambda positions: positions[:1]),
        "adds the last position to all patches": partial(_alike, of=lambda positions: positions[-1:]),
        "adds the mean of all positions to all patches": partial(
            _alike, of=lambda positions: positions.mean(axis=0, keepdims=True)
        ),
    },
}
