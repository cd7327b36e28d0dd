"""Mistakes with the positions of patches: other ones, or added elsewhere."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.fault import Plant, Table, computing, varying, with_fields
from aimv2_np.comparison.diagnosis.stretched import EITHER, LEARNED, Positions
from aimv2_np.comparison.diagnosis.waves import NATIVE, fitted_waves, waves
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import observe

CLOSE = 2e-5  # relative error of numbers that are read from the angles of float32 positions


def embed(m: Any, pixels: Array, *, positions: Positions | None = None, before: bool = False) -> Array:
    """Embedded patches with other positions, or with positions added before the norm."""
    grid = m.grid_of(pixels)
    found = (m.positions(grid) if positions is None else positions(m, grid)).astype(pixels.dtype, copy=False)
    observe("position_embedding", found)
    patches = m.patch_embed(pixels)
    result: Array = m.rms_norm(patches + found) if before else m.rms_norm(patches) + found
    return result


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
    numbers = {name: _round(value) for name, value in found.items()}
    planted = varying(embed, positions=_waves_of(numbers))(m, path, context)
    return None if planted is None else with_fields(planted, waves=numbers)


def _round(value: float) -> float:
    """The number of few digits that is meant, where there is one within what float32 tells."""
    several = (float(f"{value:.{digits}g}") for digits in range(1, 6))
    return next((near for near in (0.0, *several) if abs(near - value) <= CLOSE * max(1.0, abs(value))), value)


def _waves_of(numbers: Mapping[str, float]) -> Positions:
    return lambda m, grid: waves(m, grid, base=numbers["base"], first=numbers["first"], step=numbers["step"])


def _placed(positions: Positions, *, learned: bool | None) -> Plant:
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


def _faults(ways: dict[str, dict[str, Positions]], *, learned: bool | None) -> dict[str, dict[str, Plant]]:
    return {
        identifier: {f"{{path}} {words}": _placed(change, learned=learned) for words, change in changes.items()}
        for identifier, changes in ways.items()
    }


PLACED: dict[str, dict[str, Plant]] = {}
for ways, learned in ((LEARNED, True), (EITHER, None), (NATIVE, False)):
    for identifier, plants in _faults(ways, learned=learned).items():
        PLACED.setdefault(identifier, {}).update(plants)
PLACED["positions_waves"] = {
    "{path} has wavelengths to the base {p.waves[base]:g}, counted from {p.waves[first]:g} by "
    "{p.waves[step]:g}; it is 10000, from 0 by 1": _fitted
}
FAULTS: Table = {
    **{(identifier, VisionEmbeddings): plants for identifier, plants in PLACED.items()},
    ("positions_before_norm", VisionEmbeddings): {
        "{path} adds positions before the norm; they belong after it": varying(embed, before=True),
    },
    ("missing_positions", VisionEmbeddings): {
        "{path} adds no positions": computing(lambda m, pixels: m.rms_norm(m.patch_embed(pixels))),
    },
}
