"""Sine-cosine positions, and what others make of them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.precision import bfloat16, float16
from aimv2_np.comparison.diagnosis.stretched import Grid, Positions
from aimv2_np.shapes import Array


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
    rounded: Callable[[Array], Array] = lambda omega: omega,
    angle: Callable[[Array], Array] = lambda angles: angles,
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
        rounded, angle: what becomes of the frequencies and of the angles.
    """
    quarter = m.rms_norm.weight.shape[0] // 4
    omega = rounded(base ** -over(quarter))
    parts = []
    for axis in halves:
        shape = [1, 1]
        shape[axis] = grid[axis]
        number = np.broadcast_to((np.arange(grid[axis]) * step + first).reshape(shape) / unit(grid[axis]) + shift, grid)
        angles = angle(number[..., None] * omega)
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


def _of_sequence(m: Any, grid: Grid, *, order: Callable[[Array, Array], Array] | None = None) -> Array:
    """Positions that count all patches in one row, as the tokens of a text."""
    half = m.rms_norm.weight.shape[0] // 2
    angles = np.arange(grid[0] * grid[1])[:, None] * 10000.0 ** (-np.arange(half) / half)
    sine, cosine = np.sin(angles), np.cos(angles)
    return np.concatenate([sine, cosine], axis=-1) if order is None else order(sine, cosine)


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


BASES = (100.0, 1000.0, 5000.0, 20000.0, 50000.0, 100000.0, 500000.0, 1000000.0)
STEPS = {"half": 0.5, "twice": 2.0, "2π times": 2 * np.pi, "π times": np.pi}
NATIVE: dict[str, dict[str, Positions]] = {
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
    "positions_1d": {
        "counts all patches in one row, in one set of waves; it is rows and columns apart": _of_sequence,
        "counts all patches in one row, in waves that take turns; it is rows and columns apart": partial(
            _of_sequence, order=_alternating
        ),
        "counts all patches in one row, in waves whose cosines are first; it is rows and columns apart": partial(
            _of_sequence, order=_cosine_first
        ),
    },
    "positions_rounded": {
        f"rounds {what} to {name}": partial(waves, rounded=narrow, angle=narrow if "angles" in what else np.asarray)
        for name, narrow in {"float16": float16, "bfloat16": bfloat16}.items()
        for what in ("its frequencies", "its frequencies and angles")
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
