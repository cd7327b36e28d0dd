"""Mistakes with positions: stretched otherwise, counted otherwise, added elsewhere."""

from collections.abc import Callable
from functools import partial
from math import ceil, floor
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, varying, with_fields
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe

Grid = tuple[int, int]
# (embeddings, grid of the picture) → positions (N, D)
Positions = Callable[[Any, Grid], Array]


def embed(m: Any, pixels: Array, *, positions: Positions | None = None, before: bool = False) -> Array:
    """Embedded patches with other positions, or with positions added before the norm."""
    grid = m.grid_of(pixels)
    found = (m.positions(grid) if positions is None else positions(m, grid)).astype(pixels.dtype, copy=False)
    observe("position_embedding", found)
    patches = m.patch_embed(pixels)
    result: Array = m.rms_norm(patches + found) if before else m.rms_norm(patches) + found
    return result


# learned positions


def cubic(a: float) -> Callable[[float], float]:
    """The kernel of cubic convolution; Keys 1981, eq. 15, has a = -1/2, PyTorch -3/4."""

    def kernel(s: float) -> float:
        s = abs(s)
        if s <= 1:
            return (a + 2) * s**3 - (a + 3) * s**2 + 1
        return a * (s**3 - 5 * s**2 + 8 * s - 4) if s < 2 else 0.0

    return kernel


def triangle(s: float) -> float:
    """The kernel of linear interpolation."""
    return max(0.0, 1 - abs(s))


def stretching(
    old: int,
    new: int,
    *,
    kernel: Callable[[float], float] = cubic(-0.75),
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


# sine-cosine positions


def waves(
    m: Any,
    grid: Grid,
    *,
    base: float = 10000.0,
    first: float = 0.0,
    step: float = 1.0,
    unit: Callable[[int], float] = lambda n: 1.0,
    shift: float = 0.0,
    halves: tuple[int, int] = (1, 0),
    order: Callable[[Array, Array], Array] = lambda sine, cosine: np.concatenate([sine, cosine], axis=-1),
    over: Callable[[int], Array] = lambda quarter: np.arange(quarter) / quarter,
) -> Array:
    """Sine-cosine positions, but for some steps.

    Args:
        base: of the wavelengths.
        first, step: the number of the first row and column, and from one to the next.
        unit: how many patches → what their numbers are divided by.
        shift: added to these.
        halves: which axis (0: row) comes first, and which second.
        order: how sines and cosines of one axis lie.
        over: number of frequencies → their exponents.
    """
    quarter = m.rms_norm.weight.shape[0] // 4
    omega = base ** -over(quarter)
    parts = []
    for axis in halves:
        shape = [1, 1]
        shape[axis] = grid[axis]
        number = np.broadcast_to((np.arange(grid[axis]) * step + first).reshape(shape) / unit(grid[axis]) + shift, grid)
        angles = number[..., None] * omega
        parts.append(order(np.sin(angles), np.cos(angles)))
    return np.concatenate(parts, axis=-1).reshape(grid[0] * grid[1], -1)


def _alternating(sine: Array, cosine: Array) -> Array:
    return np.stack([sine, cosine], axis=-1).reshape(*sine.shape[:-1], -1)


def _cosine_alternating(sine: Array, cosine: Array) -> Array:
    return _alternating(cosine, sine)


def _cosine_first(sine: Array, cosine: Array) -> Array:
    return np.concatenate([cosine, sine], axis=-1)


def _sines_then_cosines(m: Any, grid: Grid) -> Array:
    """[sin(c·ω) | sin(r·ω) | cos(c·ω) | cos(r·ω)]"""
    parts = np.split(waves(m, grid), 4, axis=1)
    return np.concatenate([parts[0], parts[2], parts[1], parts[3]], axis=1)


def fitted_waves(positions: Array, grid: Grid) -> dict[str, float] | None:
    """The base, first number and step of sine-cosine positions (N, D), read from the angles of their columns."""
    quarter = positions.shape[1] // 4
    if quarter < 2 or grid[1] < 2:
        return None
    angles = np.arctan2(positions[:2, :quarter], positions[:2, quarter : 2 * quarter])  # of columns 0 and 1
    steps = (angles[1] - angles[0]) % (2 * np.pi)
    if not (np.isfinite(angles).all() and 0 < steps[1] < steps[0]):
        return None
    return {
        "base": float((steps[0] / steps[1]) ** quarter),
        "first": float(angles[0, -1] / steps[-1] * steps[0]),
        "step": float(steps[0]),
    }


def _fitted(m: Any, path: str, context: Context) -> Module | None:
    """The base and step that the other side's positions show."""
    theirs, normed = context.theirs(path), context.reference.array(f"{path}.rms_norm")
    pixels = context.input("pixel_values")
    if m.position_embedding is not None or theirs is None or normed is None or pixels is None:
        return None
    if theirs.shape != normed.shape:
        return None
    found = fitted_waves((theirs.astype(np.float64) - normed).mean(axis=0), m.grid_of(pixels))
    if found is None:
        return None
    numbers = {name: float(f"{value:.3g}") for name, value in found.items()}
    numbers["first"] = round(found["first"], 2)
    planted = varying(embed, positions=partial(waves, **numbers))(m, path, context)
    return None if planted is None else with_fields(planted, waves=numbers)


def _placed(positions: Callable[..., Array | None], *, learned: bool | None) -> Plant:
    """Embeddings with other positions, where they are learned (or are not; None: either) and this changes them."""

    def plant(m: Any, path: str, context: Context) -> Module | None:
        pixels = context.input("pixel_values")
        if pixels is None or learned not in (None, m.position_embedding is not None):
            return None
        grid = m.grid_of(pixels)
        found = positions(m, grid)
        if found is None or np.array_equal(found, m.positions(grid)):
            return None
        return varying(embed, positions=positions)(m, path, context)

    return plant


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
Ways = dict[str, dict[str, Callable[..., Array | None]]]
LEARNED: Ways = {
    "positions_sliced": {
        "takes the upper left corner of the table of positions; it is stretched to the grid": _corner,
        "takes the middle of the table of positions; it is stretched to the grid": _centre,
        "takes the first rows of the table of positions; it is stretched to the grid": _first_rows,
    },
    "wrong_interpolation": {
        f"stretches positions {words}; {BICUBIC}": _stretched(matrix) for words, matrix in STRETCHED.items()
    },
    "positions_cls_row": {
        f"takes the position of the {which}: the table has no row for a CLS token": change
        for which, change in {
            "next token for each": partial(_moved, by=-1),
            "next token for each, and of the last twice": partial(_edge_moved, by=-1),
            "token before for each": partial(_moved, by=1),
            "token before for each, and of the first twice": partial(_edge_moved, by=1),
            "token before for each, and none for the first": _first_missing,
        }.items()
    },
}
EITHER: Ways = {
    "positions_transposed": {
        "takes positions of (column, row) for (row, column)": _transposed,
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
BASES = (100.0, 1000.0, 5000.0, 20000.0, 50000.0, 100000.0, 500000.0, 1000000.0)
STEPS = {"half": 0.5, "twice": 2.0, "2π times": 2 * np.pi, "π times": np.pi}
NATIVE: Ways = {
    "positions_h_first": {
        "puts the row's sines first: the halves are [column | row], width first": partial(waves, halves=(0, 1)),
    },
    "positions_one_based": {
        "counts rows and columns from one; it is from zero": partial(waves, first=1.0),
        "counts rows and columns from their middles, one half; it is from zero": partial(waves, first=0.5),
    },
    "positions_interleaved": {
        "lets sine and cosine take turns; it is all sines, then all cosines": partial(waves, order=_alternating),
        "lets cosine and sine take turns; it is all sines, then all cosines": partial(waves, order=_cosine_alternating),
    },
    "positions_cosine_first": {
        "puts cosines first; it is sines, then cosines": partial(waves, order=_cosine_first),
        "puts cosines first, and the row; it is the column's sines": partial(waves, order=_cosine_first, halves=(0, 1)),
        "puts the sines of both axes before the cosines of both; it is an axis after the other": _sines_then_cosines,
    },
    "positions_base": {
        **{f"has wavelengths to the base {base:g}; it is 10000": partial(waves, base=base) for base in BASES},
        "divides the exponents by one frequency less, D/4 - 1; it is by D/4": partial(
            waves, over=lambda quarter: np.arange(quarter) / max(quarter - 1, 1)
        ),
        "has exponents half as large, j/(D/2); it is j/(D/4)": partial(
            waves, over=lambda quarter: np.arange(quarter) / (2 * quarter)
        ),
        "has exponents twice as large, 2j/(D/4); it is j/(D/4)": partial(
            waves, over=lambda quarter: 2 * np.arange(quarter) / quarter
        ),
    },
    "positions_step": {
        f"counts rows and columns by {words} as much; it is by one": partial(waves, step=step)
        for words, step in STEPS.items()
    },
    "positions_unit": {
        "counts rows and columns from 0 to 1, by the number of patches; it is by one": partial(waves, unit=float),
        "counts rows and columns from 0 to 1, the last one; it is by one": partial(
            waves, unit=lambda n: float(max(n - 1, 1))
        ),
        "counts rows and columns from 0 to 2π; it is by one": partial(waves, unit=lambda n: n / (2 * np.pi)),
        "counts rows and columns from -1 to 1; it is by one": lambda m, grid: _centred(m, grid),
    },
}


def _centred(m: Any, grid: Grid) -> Array:
    """Rows and columns from -1 to 1."""
    return waves(m, grid, unit=lambda n: max(n - 1, 1) / 2, first=0.0, shift=-1.0)


def _texts(m: Any, ids: Array, *, number: Callable[[Array], Array], table: float = 1.0) -> Array:
    """Embedded tokens with the positions `number(ids)`, (T) or (B, T)."""
    rows = m.position_embedding.weight
    positions = rows.dtype.type(table) * rows[np.clip(number(ids), 0, len(rows) - 1)]
    observe("position_embedding", positions)
    result: Array = m.token_embedding(ids) + positions
    return result


def _counting(number: Callable[[int], Array]) -> Plant:
    return computing(lambda m, ids: _texts(m, ids, number=lambda ids: number(ids.shape[1])))


def _after_padding(m: Any, path: str, context: Context) -> Module | None:
    """Positions that count from the first token that is no padding."""
    mask = context.input("attention_mask")
    if mask is None or (mask != 0).all():
        return None
    number = np.cumsum(mask != 0, axis=1) - 1
    return computing(lambda m, ids: _texts(m, ids, number=lambda _: number))(m, path, context)


def _with_tokens(change: Callable[[Any, Array], Array]) -> Plant:
    """Other vectors for tokens: (embeddings, ids) → (B, T, D)."""

    def forward(m: Any, ids: Array) -> Array:
        positions = m.position_embedding.weight[: ids.shape[1]]
        observe("position_embedding", positions)
        return change(m, ids) + positions

    return computing(forward)


def _looked_up(m: Any, ids: Array) -> Array:
    result: Array = m.token_embedding(np.clip(ids, 0, len(m.token_embedding.weight) - 1))
    return result


def _faults(ways: Ways, *, learned: bool | None) -> dict[str, dict[str, Plant]]:
    return {
        identifier: {f"{{path}} {words}": _placed(change, learned=learned) for words, change in changes.items()}
        for identifier, changes in ways.items()
    }


PLACED = {**_faults(LEARNED, learned=True), **_faults(EITHER, learned=None), **_faults(NATIVE, learned=False)}
PLACED["positions_waves"] = {
    "{path} has wavelengths to the base {p.waves[base]:g}, counted from {p.waves[first]:g} by "
    "{p.waves[step]:g}; it is 10000, from 0 by 1": _fitted
}
FAULTS: Table = {
    **{(identifier, VisionEmbeddings): ways for identifier, ways in PLACED.items()},
    ("positions_before_norm", VisionEmbeddings): {
        "{path} adds positions before the norm; they belong after it": varying(embed, before=True),
    },
    ("missing_positions", VisionEmbeddings): {
        "{path} adds no positions": computing(lambda m, pixels: m.rms_norm(m.patch_embed(pixels))),
    },
    ("missing_positions", TextEmbeddings): {
        "{path} adds no positions": computing(lambda m, ids: m.token_embedding(ids)),
    },
    ("positions_shifted", TextEmbeddings): {
        **{
            f"{{path}} counts positions from {first}; it is from 0": _counting(
                lambda tokens, first=first: np.arange(tokens) + first
            )
            for first in (1, 2, 3)
        },
        "{path} takes the position before for each token, and the first one twice": _counting(
            lambda tokens: np.arange(tokens) - 1
        ),
        "{path} counts positions from the end": _counting(lambda tokens: np.arange(tokens)[::-1]),
        "{path} adds the first position to all tokens": _counting(lambda tokens: np.zeros(tokens, int)),
        "{path} counts positions from the first token that is no padding; it is from the first": _after_padding,
    },
    ("positions_scaled", TextEmbeddings): {
        f"{{path}} {words}": computing(
            lambda m, ids, factor=factor: _texts(m, ids, number=lambda ids: np.arange(ids.shape[1]), table=factor)
        )
        for words, factor in {"adds positions twice": 2.0, "subtracts positions; they are added": -1.0}.items()
    },
    ("tokens_scaled", TextEmbeddings): {
        "{path} multiplies the tokens' vectors by √D, as the first Transformer did; they are taken as they are": (
            _with_tokens(lambda m, ids: m.token_embedding(ids) * np.float32(m.token_embedding.weight.shape[1] ** 0.5))
        ),
    },
    ("tokens_shifted", TextEmbeddings): {
        "{path} looks up the token after for each": _with_tokens(lambda m, ids: _looked_up(m, ids + 1)),
        "{path} looks up the token before for each": _with_tokens(lambda m, ids: _looked_up(m, ids - 1)),
    },
    ("wrong_batch", TextEmbeddings): {
        "{path} takes the texts of the batch in reverse order": computing(lambda m, ids: type(m).forward(m, ids[::-1])),
        "{path} takes the first text of the batch for all": computing(
            lambda m, ids: type(m).forward(m, np.broadcast_to(ids[:1], ids.shape))
        ),
        "{path} takes the tokens of each text in reverse order": computing(
            lambda m, ids: type(m).forward(m, ids[:, ::-1])
        ),
    },
}
